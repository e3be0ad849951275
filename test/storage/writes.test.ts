/** I2: where shards go when disks fail, are full or leave while a blob is written; I5: space is given back only when nobody reads. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import { STORES_IN_FLIGHT_MAX } from '../../src/base/limits.js';
import type { StripeIo } from '../../src/disk/stripe.js';
import { codeOf, Rig, simulatedBackend, simulatedRig } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };

void t.test('a failing disk: another one takes the shard if there is one', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = await simulatedRig({ ...shape, disks: 7, seed });
    const { random } = rig;
    const failing = 1 + random.below(7);
    rig.backend.medium(failing).failNext(random.below(2) === 0 ? 'write' : 'open', 'EIO', 1, 'segments/');
    for (let n = 0; n < 3; n++) {
      const data = rig.content(30_000);
      const stored = await rig.storage.store(data);
      t.same(stored.missing, []);
      t.equal(new Set(stored.location.shards.map(({ disk }) => disk)).size, 6);
      t.ok((await rig.get(stored.location)).equals(data));
    }
    t.same(rig.declaredOut, [], 'nothing was left out');
    t.same(rig.diskSet.failures, [`${failing} EIO`]);
    t.same(rig.damage, []);
  }
});

void t.test('a failing disk and no other: declared out before the blob is there', async (t) => {
  const rig = await simulatedRig(shape);
  const failing = 3;
  rig.backend.medium(failing).failNext('write', 'EIO', 1, 'segments/');
  let declared = false;
  let done = false;
  rig.onDiskOut = async (disk) => {
    t.equal(disk, failing);
    await rig.clock.yield();
    t.notOk(done, 'awaited');
    declared = true;
  };
  const stored = await rig.storage.store(rig.content(30_000));
  done = true;
  t.ok(declared);
  t.equal(stored.missing.length, 1);
  t.equal(stored.location.shards.filter(({ disk }) => disk === failing).length, 0);
});

void t.test('a disk that cannot be declared out: no blob without its shard', async (t) => {
  const rig = await simulatedRig(shape);
  rig.onDiskOut = async () => {
    throw new OperatingError('EROFS', 'no majority');
  };
  rig.diskSet.takeOut(4);
  t.equal(await codeOf(rig.storage.store(rig.content(30_000))), 'EROFS');
  t.equal(await codeOf(rig.storage.store(rig.content(30_000))), 'EROFS', 'asked again');
  rig.onDiskOut = async (disk) => void rig.declaredOut.push(disk);
  t.same((await rig.storage.store(rig.content(30_000))).missing.length, 1);
  await rig.storage.store(rig.content(30_000));
  t.same(rig.declaredOut, [4], 'asked once while it is out');
  await rig.diskSet.bringBack(4);
  rig.diskSet.takeOut(4);
  await rig.storage.store(rig.content(30_000));
  t.same(rig.declaredOut, [4, 4], 'and again when it went out again');
});

void t.test('a disk that refuses a shard and is well otherwise: the blob is refused', async (t) => {
  const rig = await simulatedRig(shape);
  const { diskSet } = rig;
  diskSet.reportFailure = (number, error) => void diskSet.failures.push(`${number} ${error.code}`);
  rig.backend.medium(2).failNext('write', 'ENOMEM', 1, 'segments/');
  t.equal(await codeOf(rig.storage.store(rig.content(30_000))), 'EIO');
  t.same(rig.declaredOut, []);
  t.equal(await codeOf(rig.storage.store(rig.content(30_000))), 'resolved');
});

void t.test('a full disk is passed over when others can take its shard, and refuses the blob when not', async (t) => {
  for (const disks of [6, 7]) {
    const rig = await simulatedRig({ ...shape, disks });
    await rig.put(rig.content(1000));
    const full = 2;
    const medium = rig.backend.medium(full);
    medium.capacityBytes = medium.usedBytes();
    let failures = 0;
    for (let n = 0; n < 20; n++) {
      const code = await codeOf(rig.put(rig.content(400_000)));
      if (disks === 7) t.equal(code, 'resolved');
      else if (code !== 'resolved') failures++;
      if (code !== 'resolved') t.equal(code, 'ENOSPC');
    }
    if (disks === 6) t.ok(failures > 10);
    for (const { shards } of rig.locations.values())
      t.ok(
        shards.every(({ disk }) => disk !== 0),
        'never degraded',
      );
    t.same(rig.declaredOut, []);
    t.same(rig.diskSet.failures, [], 'full is not failing');
    t.ok(rig.diskSet.count(full, 'write') > 0, 'but counted');
    await rig.syncAll();
    for (const location of rig.locations.values()) t.equal(await codeOf(rig.get(location)), 'resolved');
  }
});

void t.test('a disk that cannot say what is free is out, not full', async (t) => {
  const rig = await simulatedRig(shape);
  rig.backend.medium(3).failNext('capacity', 'EIO');
  const { missing } = await rig.storage.store(rig.content(1000));
  t.equal(missing.length, 1);
  t.same(rig.declaredOut, [3]);
});

void t.test('a directory of segments that somebody removed', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(200_000);
  const location = await rig.put(data);
  await rig.syncAll();
  const medium = rig.backend.medium(2);
  for (const path of medium.paths()) medium.unlink(path);
  medium.wipe();
  for (let n = 0; n < 8; n++) t.same((await rig.storage.store(rig.content(200_000))).missing, [], 'goes on in a new one');
  t.ok(medium.paths().length > 0);
  t.equal(await rig.storage.sync(), true);
  t.ok((await rig.get(location)).equals(data));
});

void t.test('zones: no more than m shards in one, also when disks are out', async (t) => {
  const zones = ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c'];
  const rig = await simulatedRig({ ...shape, disks: 9, zones });
  const zoneCounts = (disks: readonly number[]): number[] =>
    ['a', 'b', 'c'].map((zone) => disks.filter((disk) => disk !== 0 && zones[disk - 1] === zone).length);
  for (let n = 0; n < 30; n++) {
    const { shards } = await rig.put(rig.content(5000));
    t.same(zoneCounts(shards.map(({ disk }) => disk)), [2, 2, 2]);
  }
  for (const disk of [7, 8, 9]) rig.diskSet.takeOut(disk);
  for (const [location, code] of [...rig.locations.values()].map((each) => [each, 'resolved'] as const))
    t.equal(await codeOf(rig.get(location)), code);
  const degraded = await rig.storage.store(rig.content(5000));
  t.same(zoneCounts(degraded.location.shards.map(({ disk }) => disk)), [2, 2, 0], 'missing rather than beyond the limit');
  for (const disk of [7, 8, 9]) await rig.diskSet.bringBack(disk);
  const healed = await rig.storage.rebuild(degraded.location, degraded.missing);
  t.same(zoneCounts(healed.location.shards.map(({ disk }) => disk)), [2, 2, 2]);
});

void t.test('a bounded number of stores at a time, first come first served', async (t) => {
  const backend = simulatedBackend(shape);
  let running = 0;
  let most = 0;
  const order: number[] = [];
  const inner = backend.stripeIo;
  const counted: StripeIo = {
    store: async (geometry, data, records) => {
      order.push(data.length);
      most = Math.max(most, ++running);
      const failures = await inner.store(geometry, data, records);
      running--;
      return failures;
    },
    fetch: (geometry, records, offset, out) => inner.fetch(geometry, records, offset, out),
    remake: (geometry, sources, targets) => inner.remake(geometry, sources, targets),
    scan: (file, offset, bytes, identity) => inner.scan(file, offset, bytes, identity),
    verify: (geometry, records) => inner.verify(geometry, records),
  };
  const rig = await new Rig({ ...backend, stripeIo: counted }, shape).start();
  await Promise.all(Array.from({ length: 20 }, (_, n) => rig.put(rig.content(1000 + n))));
  t.equal(most, STORES_IN_FLIGHT_MAX);
  t.same(
    order,
    Array.from({ length: 20 }, (_, n) => 1000 + n),
  );
});

void t.test('space is not given back under a read in flight', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(60_000);
  const location = await rig.put(data);
  const held: (() => void)[] = [];
  rig.backend.machine.schedule = (operation, run) => {
    if (operation.kind === 'read') held.push(run);
    else queueMicrotask(run);
  };
  const reading = rig.get(location);
  await rig.clock.yield();
  t.ok(held.length > 0, 'the read waits for its disks');
  let freed = false;
  const freeing = rig.storage.free(location).then(() => {
    freed = true;
  });
  for (let n = 0; n < 5; n++) await rig.clock.yield();
  t.notOk(freed);
  rig.backend.machine.schedule = (_operation, run) => {
    queueMicrotask(run);
  };
  for (const run of held) run();
  t.ok((await reading).equals(data));
  await freeing;
  t.equal(await codeOf(rig.get(location)), 'EIO');
});

void t.test('freeing punches the records out and closed segments go when they are empty', async (t) => {
  const rig = await simulatedRig(shape);
  const used = (): number => {
    let bytes = 0;
    for (let disk = 1; disk <= 6; disk++) bytes += rig.backend.medium(disk).usedBytes();
    return bytes;
  };
  for (let n = 0; n < 40; n++) await rig.put(rig.content(100_000));
  await rig.syncAll();
  const files = (await must(rig.diskSet.disk(1), 'in').list('segments')).length;
  t.ok(files > 3, `${files} segments`);
  const before = used();
  for (const location of [...rig.locations.values()]) await rig.storage.free(location);
  t.ok(before - used() >= 40 * 6 * 28_672, 'space came back');
  t.equal((await must(rig.diskSet.disk(1), 'in').list('segments')).length, 1, 'all but the one that takes records');
  const data = rig.content(100_000);
  t.ok((await rig.get(await rig.put(data))).equals(data));
});

void t.test('freeing twice harms nobody', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(100_000);
  const kept = await rig.put(data);
  const gone = await rig.put(rig.content(100_000));
  for (let n = 0; n < 12; n++) await rig.put(rig.content(100_000));
  await rig.syncAll();
  for (let n = 0; n < 20; n++) await rig.storage.free(gone);
  t.ok((await rig.get(kept)).equals(data));
});
