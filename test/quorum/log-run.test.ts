/** What durable replicas are given is read from a voter's log, and nothing of that is believed. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom } from '../../src/base/clock.js';
import { REPLICA_INTERVAL_MS, VOTER_RETRY_MS } from '../../src/base/limits.js';
import { EntryTable } from '../../src/quorum/entry-table.js';
import { RunReader, runOf } from '../../src/quorum/log-run.js';
import { originPoint } from '../../src/quorum/point.js';
import { encodeRecord, type LogRecord } from '../../src/quorum/record.js';
import type { Disk } from '../../src/disk/disk.js';
import type { LogPoint } from '../../src/quorum/state-machine.js';
import { BLOCK_BYTES } from '../../src/quorum/voter-format.js';
import { put, quiet, World } from './world.js';

/** Records behind `from`, of payloads of these sizes. */
function records(from: LogPoint, sizes: readonly number[], letter = 'a'): LogRecord[] {
  const made: LogRecord[] = [];
  for (const size of sizes) {
    const record = encodeRecord(made.at(-1)?.entry.point ?? from, 1, 'data', 0, Buffer.alloc(size, letter));
    made.push(record);
  }
  return made;
}

/** As a log has them: each of `writes` that many records, and zeros up to a whole block. */
function written(all: readonly LogRecord[], writes: readonly number[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const count of writes) {
    const write = Buffer.concat(all.slice(at, at + count).map(({ bytes }) => bytes));
    parts.push(write, Buffer.alloc((BLOCK_BYTES - (write.length % BLOCK_BYTES)) % BLOCK_BYTES));
    at += count;
  }
  return Buffer.concat(parts);
}

/** The positions that a reader finds, given pieces of these sizes. */
function read(bytes: Buffer, from: LogPoint, to: LogPoint, chunk: number, offset = 5 * BLOCK_BYTES): number[] {
  const reader = new RunReader(from, to);
  const found: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(at + chunk, bytes.length);
    const taken = reader.take(bytes.subarray(at, end), offset + at, end === bytes.length, ({ point }) => found.push(point.position));
    // A record that is longer is asked for with what follows.
    if (taken === 0) chunk += BLOCK_BYTES;
    at += taken;
  }
  reader.end();
  return found;
}

const SIZES = [10, 0, 300, 4000, 3968, 5, 20_000, 1, 64, 100];
const WRITES = [3, 1, 1, 2, 3];

t.test('records are found whatever the pieces in which their bytes come', async (test) => {
  const all = records(originPoint, SIZES);
  const bytes = written(all, WRITES);
  const to = must(all.at(-1), 'some').entry.point;
  const wanted = all.map(({ entry }) => entry.point.position);
  // As a run, it ends with the last record.
  const end = bytes.lastIndexOf(must(all.at(-1), 'some').bytes) + must(all.at(-1), 'some').bytes.length;
  for (const chunk of [1, 63, 64, 65, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, 30_000, 1e6])
    test.same(read(bytes.subarray(0, end), originPoint, to, chunk), wanted, `${chunk} bytes at a time`);
});

t.test('what is damaged, missing, of another history or too little is refused', async (test) => {
  const all = records(originPoint, SIZES);
  const to = must(all.at(-1), 'some').entry.point;
  const good = written(all, WRITES);
  const refused = (bytes: Buffer, what: string, from = originPoint, end = to): void => {
    test.throws(() => read(bytes, from, end, 1e6), { code: 'EBADMSG' }, what);
  };
  const random = seededRandom(3);
  let at = 0;
  for (const { bytes } of all) {
    at = good.indexOf(bytes, at);
    const bad = Buffer.from(good);
    const spot = at + random.below(bytes.length);
    bad[spot] = (bad[spot] ?? 0) ^ (1 << random.below(8));
    refused(bad, `a bit of byte ${spot}`);
    const gone = Buffer.from(good);
    gone.fill(0, at, at + bytes.length);
    refused(gone, 'zeros instead of a record');
  }
  const unused = Buffer.from(good);
  unused[BLOCK_BYTES - 1] = 1;
  refused(unused, 'something where nothing was written');
  refused(good.subarray(0, -1), 'a torn end');
  refused(written(all.slice(0, -1), WRITES), 'one is missing at the end');
  refused(written(all.slice(1), WRITES), 'one is missing at the beginning');
  refused(written([...all.slice(0, 4), ...all.slice(5)], WRITES), 'one is missing in between');
  refused(written([...all, ...records(to, [7])], [...WRITES, 1]), 'one too many');
  refused(written(records(originPoint, SIZES, 'b'), WRITES), 'another history');
  refused(good, 'it follows something else', { ...originPoint, chain: Buffer.alloc(16, 1) });
});

t.test('a run is one piece of each file that it touches', async (test) => {
  const disk = { directory: '/nowhere' } as Disk;
  const table = new EntryTable(originPoint);
  const all = records(originPoint, [10, 10, 10, 10, 10, 10, 10]);
  const file = (sequence: number, base: LogPoint): void => {
    table.addFile({ id: { epoch: 1, sequence }, base });
  };
  file(1, originPoint);
  for (const [index, record] of all.entries()) {
    if (index === 3) file(2, must(all[2], 'it').entry.point);
    if (index === 6) file(3, must(all[5], 'it').entry.point);
    table.put(record, BLOCK_BYTES * (1 + (index % 3)));
  }
  const bytes = must(all[0], 'it').bytes.length;
  const piece = (sequence: number, first: number, last: number): unknown => ({
    path: `quorum/log-0000001-0000${sequence}`,
    offset: BLOCK_BYTES * first,
    bytes: BLOCK_BYTES * (last - first) + bytes,
  });
  test.same(runOf(disk, table, originPoint, 2).pieces, [piece(1, 1, 2)]);
  const whole = runOf(disk, table, must(all[0], 'it').entry.point, 7);
  test.same(whole.pieces, [piece(1, 2, 3), piece(2, 1, 3), piece(3, 1, 1)]);
  test.same(whole.to, must(all[6], 'it').entry.point);
});

t.test('a log that is damaged while it is led: its replica stands, the voter is out, and is repaired', async (test) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  for (const word of ['a', 'b', 'c']) await log.durable(put(log, word));
  await quiet();
  world.clock.advance(25);
  await quiet();
  const medium = world.medium(2);
  const path = must(
    medium
      .paths()
      .filter((name) => name.includes('/log-'))
      .at(-1),
    'its log',
  );
  medium.flip(path, BLOCK_BYTES + 40);
  world.clock.advance(REPLICA_INTERVAL_MS);
  await quiet();
  const replica = (voter: number): number | undefined => world.replicas.of(world.medium(voter).id).point?.position;
  test.same([replica(1), replica(3)], [log.durablePosition, log.durablePosition]);
  test.not(log.voters()[1]?.state, 'online');
  test.match(log.voters()[1]?.reason, /damaged/);
  test.ok(log.writable);
  await log.durable(put(log, 'd'));
  world.clock.advance(VOTER_RETRY_MS);
  await quiet();
  test.equal(log.voters()[1]?.state, 'online');
  world.clock.advance(REPLICA_INTERVAL_MS);
  await quiet();
  test.same([1, 2, 3].map(replica), Array(3).fill(log.durablePosition));
  test.same(world.replicas.of(medium.id).data, ['a', 'b', 'c', 'd']);
  await log.close();
});
