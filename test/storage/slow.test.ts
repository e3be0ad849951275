/** A slow disk does not slow the pool: reads go around it, then leave it out, new shards go elsewhere, and it is back when it answers in time. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import type { DiskNumber } from '../../src/base/ids.js';
import { KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { settle } from '../disk/manual-clock.js';
import { simulatedRig, type Rig, type SimulatedBackend } from './rig.js';

const shape = { disks: 7, k: 4, m: 2 };
type Simulated = Rig & { readonly backend: SimulatedBackend };

/** Runs the clock until `work` is done; how long that took. */
async function timed<T>(rig: Rig, work: Promise<T>, stepMs = 1): Promise<{ value: T; ms: number }> {
  let done = false;
  const watched = work.finally(() => {
    done = true;
  });
  watched.catch(() => undefined);
  const from = rig.clock.monotonicMs();
  await settle();
  while (!done && rig.clock.monotonicMs() - from < 20_000) await rig.clock.advance(stepMs);
  if (!done) throw new Error('it hangs');
  return { value: await watched, ms: rig.clock.monotonicMs() - from };
}

async function filled(seed = 1): Promise<{ rig: Simulated; blobs: [Location, Uint8Array][] }> {
  const rig = await simulatedRig({ ...shape, seed });
  const blobs: [Location, Uint8Array][] = [];
  for (let n = 0; n < 12; n++) {
    const data = rig.content(1 + rig.random.below(150 * KiB));
    blobs.push([await rig.put(data), data]);
  }
  await rig.syncAll();
  return { rig, blobs };
}

const shardOn = ({ shards }: Location, disk: DiskNumber): number => shards.findIndex((place) => place.disk === disk);
const stall = (rig: Simulated, disk: DiskNumber): void => void (rig.backend.medium(disk).stalledPath = '');
const release = (rig: Simulated, disk: DiskNumber): void => {
  rig.backend.machine.release(rig.backend.medium(disk));
};

void t.test('a disk that hangs costs a moment, a few times; then nothing, until it answers again', async (t) => {
  const { rig, blobs } = await filled();
  stall(rig, 3);
  const times: number[] = [];
  for (let round = 0; round < 3; round++)
    for (const [location, data] of blobs) {
      const { value, ms } = await timed(rig, rig.get(location));
      t.ok(value.equals(data));
      if (shardOn(location, 3) >= 0 && shardOn(location, 3) < 4) times.push(ms);
    }
  t.ok(times.length > 12);
  t.ok(
    times.slice(0, 3).every((ms) => ms >= 30 && ms < 100),
    `at first it is waited for: ${times.join()}`,
  );
  t.same(
    times.slice(6).filter((ms) => ms > 0),
    [],
    'then it is left out',
  );
  t.ok(rig.diskSet.slow.has(3), 'and suspect');
  t.same(rig.damage, [], 'late is not damaged');
  t.same(rig.diskSet.failures, []);
  // New blobs go elsewhere, at once.
  for (let n = 0; n < 5; n++) {
    const { value, ms } = await timed(rig, rig.put(rig.content(20_000)));
    t.equal(ms, 0);
    t.equal(shardOn(value, 3), -1);
  }
  await rig.clock.advance(60_000);
  t.ok(rig.diskSet.slow.has(3), 'a probe that hangs is no answer');
  release(rig, 3);
  await rig.clock.advance(20_000);
  t.notOk(rig.diskSet.slow.has(3), 'quick again');
  for (const [location, data] of blobs) {
    const { value, ms } = await timed(rig, rig.get(location));
    t.ok(value.equals(data));
    t.equal(ms, 0);
  }
  const used = new Set<number>();
  for (let n = 0; n < 12; n++) for (const { disk } of (await rig.put(rig.content(20_000))).shards) used.add(disk);
  t.ok(used.has(3), 'and takes new shards');
  await rig.stop();
});

void t.test('files that do not open in time are gone around', async (t) => {
  const { rig, blobs } = await filled(2);
  await rig.stop();
  await rig.start();
  stall(rig, 5);
  for (const [location, data] of blobs) {
    const { value, ms } = await timed(rig, rig.get(location));
    t.ok(value.equals(data));
    t.ok(ms < 200);
  }
  t.ok(rig.diskSet.slow.has(5));
  release(rig, 5);
  await rig.stop();
});

void t.test('what is needed of a slow disk is waited for', async (t) => {
  const { rig, blobs } = await filled(3);
  const [location, data] = must(blobs[0], 'a blob');
  // Two are gone: each of the others is needed.
  const disks = location.shards.map(({ disk }) => disk);
  for (const disk of disks.slice(4)) rig.diskSet.takeOut(disk);
  const slow = must(disks[1], 'a disk');
  stall(rig, slow);
  const reading = rig.get(location);
  await rig.clock.advance(5_000);
  release(rig, slow);
  t.ok((await timed(rig, reading)).value.equals(data));
  t.same(rig.damage, []);
  // A damaged record that makes a late one necessary after all.
  for (const disk of disks.slice(4)) await rig.diskSet.bringBack(disk);
  for (const shard of [2, 3, 4].slice(0, 2)) {
    const place = must(location.shards[shard], 'shard');
    rig.backend.medium(place.disk).flip(`segments/1-${place.segment % 2 ** 20}.seg`, place.offset + 100);
  }
  stall(rig, slow);
  const again = rig.get(location);
  await rig.clock.advance(5_000);
  release(rig, slow);
  t.ok((await timed(rig, again)).value.equals(data));
  await rig.stop();
});

void t.test('when all are slow, nobody is: it is the load', async (t) => {
  const { rig, blobs } = await filled(4);
  // Every call takes 200 ms from now on.
  rig.backend.machine.schedule = (_operation, run) => {
    rig.clock.after(200, run);
  };
  let reads = 0;
  const { schedule } = rig.backend.machine;
  rig.backend.machine.schedule = (operation, run) => {
    if (operation.kind === 'read') reads++;
    schedule(operation, run);
  };
  for (let n = 0; n < 60; n++) {
    const [location, data] = must(blobs[n % blobs.length], 'a blob');
    const offset = rig.random.below(location.bytes);
    const { value } = await timed(rig, rig.get(location, offset, 1), 50);
    t.ok(value.equals(Buffer.from(data.subarray(offset, offset + 1))));
  }
  t.ok(rig.diskSet.slow.size <= 2, 'never more than m');
  t.ok(reads < 60 * 2 * 2.5, `not many more reads than without haste: ${reads}`);
  rig.backend.machine.schedule = (_operation, run) => {
    queueMicrotask(run);
  };
  await rig.stop();
});

void t.test('a write goes around a disk that hangs where there is another one', async (t) => {
  const { rig } = await filled(5);
  stall(rig, 3);
  const times: number[] = [];
  for (let n = 0; n < 8; n++) {
    const { value, ms } = await timed(rig, rig.put(rig.content(60_000)));
    t.equal(value.shards.filter(({ disk }) => disk !== 0).length, 6, 'with all its shards');
    t.equal(shardOn(value, 3), -1);
    times.push(ms);
  }
  t.ok(
    times.every((ms) => ms < 1000),
    `each waits for a moment: ${times.join()}`,
  );
  t.same(
    times.slice(-3).filter((ms) => ms > 0),
    [],
    'and then not at all',
  );
  t.ok(rig.diskSet.slow.has(3), 'it is suspect');
  t.same(rig.diskSet.failures, [], 'but in');
  t.same(rig.declaredOut, []);
  // It reads in time, but does not write yet.
  rig.backend.medium(3).stalledPath = 'ostraka.trial';
  rig.backend.machine.release(rig.backend.medium(3));
  rig.backend.medium(3).stalledPath = 'ostraka.trial';
  await rig.clock.advance(20_000);
  release(rig, 3);
  await rig.clock.advance(20_000);
  t.notOk(rig.diskSet.slow.has(3), 'until it writes in time again');
  const synced = await timed(rig, rig.syncAll());
  t.equal(synced.ms, 0);
  await rig.stop();
});

void t.test('where every disk is needed, one that hangs is waited for so long, and then put out', async (t) => {
  const rig = await simulatedRig({ disks: 6, k: 4, m: 2, seed: 6 });
  await rig.put(rig.content(60_000));
  await rig.syncAll();
  stall(rig, 2);
  const first = await timed(rig, rig.put(rig.content(60_000)), 50);
  t.ok(first.ms > 9_000 && first.ms < 13_000, `after ${first.ms} ms`);
  t.equal(shardOn(first.value, 2), -1);
  t.same(rig.diskSet.failures, ['2 ETIMEDOUT']);
  t.ok(rig.declaredOut.includes(2), 'declared out before the blob was without its shard');
  for (let n = 0; n < 3; n++) t.equal((await timed(rig, rig.put(rig.content(60_000)))).ms, 0);
  t.equal((await timed(rig, rig.syncAll())).ms, 0);
  release(rig, 2);
  await rig.stop();
});

void t.test('a sync that hangs is waited for so long; then what it was to make durable is written elsewhere', async (t) => {
  for (const disks of [6, 7]) {
    const rig = await simulatedRig({ disks, k: 4, m: 2, seed: 7 });
    const data: [Location, Uint8Array][] = [];
    for (let n = 0; n < 6; n++) {
      const content = rig.content(50_000);
      data.push([await rig.put(content), content]);
    }
    stall(rig, 2);
    const { ms } = await timed(rig, rig.syncAll(), 50);
    t.ok(disks === 6 ? ms > 9_000 && ms < 14_000 : ms > 2_000 && ms < 4_000, `after ${ms} ms`);
    t.same(rig.diskSet.failures, ['2 ETIMEDOUT']);
    for (const [{ blob }, content] of data) {
      const now = must(rig.locations.get(blob), 'the index has it');
      t.equal(shardOn(now, 2), -1, 'nothing points to the disk whose sync never came');
      if (disks === 7)
        t.notOk(
          now.shards.some(({ disk }) => disk === 0),
          'it is whole',
        );
      t.ok((await rig.get(now)).equals(Buffer.from(content)));
    }
    release(rig, 2);
    await rig.stop();
  }
});

void t.test('no disk is put out where new data would have no redundancy left', async (t) => {
  const rig = await simulatedRig({ disks: 3, k: 2, m: 1, seed: 8 });
  stall(rig, 2);
  const storing = rig.put(rig.content(50_000));
  await rig.clock.advance(25_000);
  t.same(rig.diskSet.failures, []);
  release(rig, 2);
  t.same(must((await timed(rig, storing)).value.shards.map(({ disk }) => disk).sort(), 'shards'), [1, 2, 3]);
  await rig.stop();
});

void t.test('a disk that is busy for a second now and then stays in', async (t) => {
  const rig = await simulatedRig({ disks: 6, k: 4, m: 2, seed: 9 });
  for (let n = 0; n < 30; n++) {
    stall(rig, 4);
    const storing = rig.put(rig.content(50_000));
    await rig.clock.advance(1_000);
    release(rig, 4);
    t.ok(shardOn((await timed(rig, storing)).value, 4) >= 0);
    await rig.clock.advance(12_000);
  }
  t.same(rig.diskSet.failures, []);
  await rig.stop();
});
