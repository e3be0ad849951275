/**
 * What every `StripeIo` must do, on whatever disks. Run over simulated disks by stripe.test.ts and over real ones by the native tests. `damage` flips
 * a bit of a file behind the back of the disk.
 */
import type { Test } from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { FRAME_BYTES, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES } from '../../src/base/limits.js';
import type { DiskFile } from '../../src/disk/disk.js';
import type { ShardRecord, StripeGeometry, StripeIo } from '../../src/disk/stripe.js';

export interface StripeSubject {
  readonly io: StripeIo;
  /** As many new files, each on a disk of its own. */
  readonly files: readonly DiskFile[];
  readonly damage: (file: DiskFile, offset: number) => Promise<void>;
  /** The file's disk answers nothing from now on, until what is returned is called. */
  readonly hold: (file: DiskFile) => Promise<() => void>;
  readonly cleanUp: () => Promise<void>;
}

interface Stored extends StripeSubject {
  readonly geometry: StripeGeometry;
  readonly data: Buffer;
  readonly records: readonly ShardRecord[];
}

async function store(t: Test, subject: StripeSubject, geometry: StripeGeometry, bytes: number): Promise<Stored> {
  const random = seededRandom(geometry.k * 100 + geometry.m);
  const records = subject.files.map((file, shard) => ({
    shard,
    file,
    offset: 4096 * (shard + 1),
    prefix: random.bytes(RECORD_PREFIX_BYTES),
    seed: random.below(2 ** 32),
  }));
  const data = Buffer.from(random.bytes(bytes));
  t.same(await subject.io.store(geometry, data, records), []);
  return { ...subject, geometry, data, records };
}

const shardsOf = (failures: readonly { shard: number }[]): number[] => failures.map(({ shard }) => shard).sort((a, b) => a - b);

async function roundTrip(t: Test, { io, geometry, data, records }: Stored): Promise<void> {
  const whole = Buffer.alloc(data.length);
  t.same(await io.fetch(geometry, records, 0, whole), []);
  t.ok(whole.equals(data), 'all of it');
  const random = seededRandom(9);
  for (let round = 0; round < 30; round++) {
    const offset = random.below(data.length);
    const part = Buffer.alloc(1 + random.below(Math.min(data.length - offset, 3 * FRAME_BYTES)));
    t.same(await io.fetch(geometry, records, offset, part), []);
    t.ok(part.equals(data.subarray(offset, offset + part.length)), `${part.length} bytes at ${offset}`);
  }
  const stripe = Buffer.alloc(geometry.k * geometry.shardBytes, 1);
  t.same(await io.fetch(geometry, records, 0, stripe), []);
  t.ok(stripe.equals(Buffer.concat([data, Buffer.alloc(stripe.length - data.length)])), 'zeros behind the content');
  t.same(await io.verify(geometry, records), []);
}

/** Every choice of up to m shards may be missing. */
async function losses(t: Test, { io, geometry, data, records }: Stored): Promise<void> {
  const { k, m } = geometry;
  for (let mask = 0; mask < 2 ** (k + m); mask++) {
    const left = records.filter((_, shard) => (mask & (1 << shard)) === 0);
    if (left.length < k) continue;
    const out = Buffer.alloc(data.length);
    t.same(await io.fetch(geometry, left, 0, out), []);
    t.ok(out.equals(data), `without ${mask.toString(2)}`);
  }
  const few = records.slice(m + 1);
  await t.rejects(io.fetch(geometry, few, 0, Buffer.alloc(data.length)), { code: 'EIO' });
}

async function damages(t: Test, { io, geometry, data, records, damage }: Stored): Promise<void> {
  const [zero, one, two] = records;
  if (!zero || !one || !two) throw new Error('three records at least');
  await damage(zero.file, zero.offset + RECORD_HEADER_BYTES + FRAME_BYTES + 5);
  const tail = Buffer.alloc(100);
  t.same(await io.fetch(geometry, records, 0, tail), [], 'a frame that is not needed is not looked at');
  const out = Buffer.alloc(data.length);
  const failures = await io.fetch(geometry, records, 0, out);
  t.ok(out.equals(data), 'I6: a damaged frame is never handed out');
  t.same(shardsOf(failures), [0]);
  t.equal(failures[0]?.error.code, 'EBADMSG');
  t.ok(zero.file.disk.health.checksumErrors >= 1, 'counted on its disk');
  t.equal(one.file.disk.health.checksumErrors, 0, 'and on no other');

  // Another frame of another shard: m = 2 failures, and every column of frames has k good ones.
  await damage(one.file, one.offset + RECORD_HEADER_BYTES);
  t.same(shardsOf(await io.fetch(geometry, records, 0, out.fill(0))), [0, 1]);
  t.ok(out.equals(data));
  t.same(shardsOf(await io.verify(geometry, records)), [0, 1]);
  await damage(two.file, two.offset + 10);
  t.same(shardsOf(await io.verify(geometry, records)), [0, 1, 2], 'a damaged prefix');
}

async function misplaced(t: Test, { io, geometry, data, records }: Stored): Promise<void> {
  const [zero, one] = records;
  if (!zero || !one) throw new Error('two records at least');
  const out = Buffer.alloc(data.length);
  const wrongPrefix = Uint8Array.from(one.prefix, (byte, i) => (i === 200 ? byte ^ 1 : byte));
  const wrong = [{ ...zero, seed: zero.seed ^ 1 }, { ...one, prefix: wrongPrefix }, ...records.slice(2)];
  const failures = await io.fetch(geometry, wrong, 0, out);
  t.same(shardsOf(failures), [0, 1], 'another seed, another identity');
  t.ok(out.equals(data));
  t.same(shardsOf(await io.fetch(geometry, [{ ...zero, offset: 1 << 24 }, ...records.slice(1)], 0, out)), [0], 'nothing there');
}

/** Records made of others are as a store writes them. */
async function remakes(t: Test, { io, geometry, data, records, damage }: Stored): Promise<void> {
  const elsewhere = records.map((record) => ({ ...record, offset: record.offset + (1 << 20) }));
  const only = (all: readonly ShardRecord[], ...shards: number[]): ShardRecord[] => all.filter(({ shard }) => shards.includes(shard));
  const recordOf = ({ file, offset }: ShardRecord): Promise<Buffer> => file.read(offset, RECORD_HEADER_BYTES + geometry.shardBytes);
  for (const lost of [[0], [5], [1, 4], [2, 3]]) {
    const rest = records.filter(({ shard }) => !lost.includes(shard));
    t.same(await io.remake(geometry, rest, only(elsewhere, ...lost)), { sources: [], targets: [], enough: true });
    for (const shard of lost) {
      const [made, stored] = [elsewhere[shard], records[shard]];
      if (!made || !stored) throw new Error('a record');
      t.ok((await recordOf(made)).equals(await recordOf(stored)), `shard ${shard}, byte for byte`);
    }
  }
  const out = Buffer.alloc(data.length);
  t.same(await io.fetch(geometry, [...only(elsewhere, 0, 1, 2), ...only(records, 3, 4, 5)], 0, out), []);
  t.ok(out.equals(data));
  // A bad source is gone around; one that is not needed is not looked at; with too few nothing is written.
  const [zero, , , , , five] = records;
  if (!zero || !five) throw new Error('six records');
  await damage(zero.file, zero.offset + RECORD_HEADER_BYTES + 3);
  const target = [{ ...five, offset: five.offset + (2 << 20) }];
  const around = await io.remake(geometry, records.slice(0, 5), target);
  t.match(around, { sources: [{ shard: 0, error: { code: 'EBADMSG' } }], targets: [], enough: true });
  t.ok(zero.file.disk.health.checksumErrors >= 1, 'I6: counted on its disk');
  t.same((await io.remake(geometry, [...only(records, 1, 2, 3, 4), zero], target)).sources, []);
  const further = [{ ...five, offset: five.offset + (3 << 20) }];
  t.match(await io.remake(geometry, records.slice(0, 4), further), { enough: false, targets: [] });
  t.ok((await five.file.size()) <= five.offset + (3 << 20), 'nothing was written');
  // A copy of one record, parity too.
  const alone = { k: 1, m: 0, shardBytes: geometry.shardBytes };
  const as = (record: ShardRecord, offset: number): ShardRecord[] => [{ ...record, shard: 0, offset }];
  t.same(await io.remake(alone, as(five, five.offset), as(five, five.offset + (4 << 20))), { sources: [], targets: [], enough: true });
  t.ok((await recordOf({ ...five, offset: five.offset + (4 << 20) })).equals(await recordOf(five)));
}

/** A caller in a hurry does not wait for one disk of many; but for as many as it needs it does. */
async function hurries(t: Test, { io, geometry, data, records, hold }: Stored): Promise<void> {
  const [slow, second] = records;
  if (!slow || !second) throw new Error('two records at least');
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
  const out = Buffer.alloc(data.length);
  const endings: string[] = [];
  const patience = (hurry: () => void): (() => void) => {
    setTimeout(hurry, 20);
    return () => endings.push('ended');
  };
  const release = await hold(slow.file);
  const late = await io.fetch(geometry, records, 0, out, patience);
  t.match(late, [{ shard: 0, error: { code: 'ETIME' } }]);
  t.equal(late.length, 1);
  t.ok(out.equals(data), 'made of the others');
  t.same(endings, ['ended']);
  const before = { ...slow.file.disk.health };
  // A second disk that hangs: with m = 2 also that one is gone around.
  const releaseSecond = await hold(second.file);
  t.same(shardsOf(await io.fetch(geometry, records, 0, out.fill(0), patience)), [0, 1]);
  t.ok(out.equals(data));
  // Without the others no haste helps.
  const few = Buffer.alloc(data.length);
  let done = false;
  const waiting = io.fetch(geometry, records.slice(0, geometry.k + 1), 0, few, patience).then((failures) => {
    done = true;
    return failures;
  });
  await turn();
  await turn();
  t.notOk(done, 'k - 1 are not enough');
  out.fill(0xaa);
  releaseSecond();
  release();
  t.ok((await waiting).length <= 1);
  t.ok(few.equals(data));
  await turn();
  t.ok(
    out.every((byte) => byte === 0xaa),
    'what comes late is not written to memory that was given back',
  );
  t.same(slow.file.disk.health, before, 'late is no error');
  t.same(await io.fetch(geometry, records, 0, out, patience), [], 'in time again');
  t.ok(out.equals(data));
}

/** A store can be told not to wait for a disk; the others' records are whole, and what that disk writes later does no harm. */
async function givesUp(t: Test, { io, geometry, data, records, hold }: Stored): Promise<void> {
  const [slow, ...others] = records;
  if (!slow) throw new Error('a record');
  const moved = records.map((record) => ({ ...record, offset: record.offset + (1 << 20) }));
  const release = await hold(slow.file);
  const seen: number[][] = [];
  const endings: string[] = [];
  const before = { ...slow.file.disk.health };
  const content = Buffer.from(data);
  const late = await io.store(geometry, content, moved, (store) => {
    const look = (): void => {
      seen.push(store.late().sort());
      if (seen.at(-1)?.length === 1) store.giveUp([0]);
      else setTimeout(look, 5);
    };
    setTimeout(look, 5);
    return () => endings.push('ended');
  });
  t.match(late, [{ shard: 0, error: { code: 'ETIME' } }]);
  t.equal(late.length, 1);
  t.same(seen.at(-1), [0], 'it was late alone');
  t.same(endings, ['ended']);
  t.same(slow.file.disk.health, before, 'late is no error');
  // The memory is the caller's again.
  content.fill(0);
  release();
  const out = Buffer.alloc(data.length);
  t.same(await io.fetch(geometry, moved.slice(1), 0, out), []);
  t.ok(out.equals(data), 'the others have it');
  t.same(await io.store(geometry, data, moved), [], 'nobody is late');
  t.same(await io.fetch(geometry, moved, 0, out.fill(0)), []);
  t.ok(out.equals(data));
  t.equal(others.length, geometry.k + geometry.m - 1);
}

/** Adds the suite's tests to `t`. `make` gives `count` files on new disks. */
export function stripeConformance(t: Test, make: (count: number) => Promise<StripeSubject>): void {
  const each = (name: string, geometry: StripeGeometry, bytes: number, run: (t: Test, stored: Stored) => Promise<void>): void => {
    void t.test(`${name}, ${geometry.k}+${geometry.m} × ${geometry.shardBytes}`, async (t) => {
      const subject = await make(geometry.k + geometry.m);
      try {
        await run(t, await store(t, subject, geometry, bytes));
      } finally {
        await subject.cleanUp();
      }
    });
  };
  const shardBytes = 2 * FRAME_BYTES + 4096;
  each('round trip', { k: 4, m: 2, shardBytes }, 4 * shardBytes - 1234, roundTrip);
  each('round trip', { k: 1, m: 0, shardBytes: 4096 }, 77, roundTrip);
  each('round trip', { k: 1, m: 1, shardBytes: 4 * FRAME_BYTES }, 4 * FRAME_BYTES, roundTrip);
  each('losses', { k: 4, m: 2, shardBytes }, 4 * shardBytes - 1234, losses);
  each('losses', { k: 3, m: 3, shardBytes: FRAME_BYTES }, 3 * FRAME_BYTES - 1, losses);
  each('losses', { k: 1, m: 2, shardBytes: 8192 }, 8000, losses);
  each('giving up', { k: 4, m: 2, shardBytes }, 4 * shardBytes - 99, givesUp);
  each('damage', { k: 4, m: 2, shardBytes }, 4 * shardBytes, damages);
  each('records made of others', { k: 4, m: 2, shardBytes }, 4 * shardBytes - 99, remakes);
  each('haste', { k: 4, m: 2, shardBytes }, 4 * shardBytes - 5, hurries);
  each('haste', { k: 4, m: 2, shardBytes: 64 * FRAME_BYTES }, 4 * 64 * FRAME_BYTES - 5, hurries);
  each('misplaced records', { k: 4, m: 2, shardBytes }, 4 * shardBytes, misplaced);
}
