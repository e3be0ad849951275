/**
 * I2, I4, I7: what `sync` called durable survives a power cut together with the loss of m disks, whatever syncs failed and disks vanished before. On
 * simulated disks, where the adversary decides what of the unsynced survives.
 */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import type { BlobId } from '../../src/base/ids.js';
import { MiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import type { Survival } from '../../src/disk/simulated-file.js';
import { replacedShards } from '../../src/storage/location-codec.js';
import { codeOf, simulatedRig, type Rig, type SimulatedBackend } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };
/** More of them in a soak. */
const seeds = Number(process.env.OSTRAKA_SEEDS ?? 10);
t.setTimeout(280_000);
const nothing: Survival = () => () => false;
type Simulated = Rig & { readonly backend: SimulatedBackend };

/** Power fails, all disks that are there come back, a new leadership starts. */
async function powerCut(rig: Simulated, survival?: Survival): Promise<void> {
  rig.backend.powerCut(survival);
  await rig.start();
}

void t.test('unsynced records do not survive, synced ones do, names of their files too', async (t) => {
  const rig = await simulatedRig(shape);
  const first = rig.content(50_000);
  const synced = await rig.put(first);
  t.equal(await rig.storage.sync(), true);
  const second = await rig.put(rig.content(50_000));
  await powerCut(rig, nothing);
  t.ok((await rig.get(synced)).equals(first));
  t.equal(await codeOf(rig.get(second)), 'EIO');
});

void t.test('a failed sync: its records are written anew before the next one says yes', async (t) => {
  const rig = await simulatedRig({ ...shape, disks: 7 });
  const data = rig.content(90_000);
  const old = await rig.put(data);
  const failing = must(old.shards[1], 'shard').disk;
  rig.backend.medium(failing).failNext('sync', 'EIO', 1, 'segments/');
  t.equal(await rig.storage.sync(), false, 'shards were moved: ask again');
  t.equal(rig.moved.length, 1);
  const now = must(rig.locations.get(old.blob), 'known');
  t.not(now.shards[1]?.disk, failing);
  t.same(rig.moved[0]?.now.missing, [], 'the seventh disk took it');
  t.same(rig.storage.current(old), now, 'who holds the old location is told');
  t.equal(await rig.storage.sync(), true);
  await powerCut(rig, nothing);
  const others = now.shards.map(({ disk }) => disk).filter((disk) => disk !== now.shards[1]?.disk);
  for (const disk of others.slice(0, 2)) rig.diskSet.takeOut(disk);
  t.ok((await rig.get(now)).equals(data), 'the moved shard counts');
});

void t.test('a failed sync without another disk: the shard is missing, after the disk was declared out', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(90_000);
  const old = await rig.put(data);
  const events: string[] = [];
  rig.onDiskOut = async (disk) => {
    await rig.clock.yield();
    events.push(`out ${disk}`);
    t.equal(rig.moved.length, 0, 'before the move is told');
  };
  const failing = must(old.shards[0], 'shard').disk;
  rig.backend.medium(failing).failNext('sync', 'EIO', 1, 'segments/');
  t.equal(await rig.storage.sync(), false);
  t.same(events, [`out ${failing}`]);
  t.same(rig.moved[0]?.now.missing, [0]);
  t.equal(rig.locations.get(old.blob)?.shards[0]?.disk, 0);
  t.equal(await rig.storage.sync(), true);
  // Back again: healed, and the poisoned file is not used for it.
  await rig.diskSet.bringBack(failing);
  const healed = await rig.storage.rebuild(must(rig.locations.get(old.blob), 'known'), [0]);
  t.same(healed.missing, []);
  t.not(healed.location.shards[0]?.segment, old.shards[0]?.segment, 'another segment');
  t.equal(await rig.storage.sync(), true);
  await powerCut(rig, nothing);
  t.ok((await rig.get(healed.location)).equals(data));
});

void t.test('a failed sync of the directory counts like one of the file', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(10_000);
  const old = await rig.put(data);
  const failing = must(old.shards[5], 'shard').disk;
  rig.backend.medium(failing).failNext('syncDirectory', 'EIO');
  t.equal(await rig.storage.sync(), false);
  t.same(rig.moved[0]?.now.missing, [5]);
});

void t.test('a disk that vanished, or went and came back, between write and sync is not trusted', async (t) => {
  for (const back of [false, true]) {
    const rig = await simulatedRig(shape);
    const data = rig.content(90_000);
    const durable = await rig.put(data);
    await rig.syncAll();
    const old = await rig.put(data);
    const gone = must(old.shards[2], 'shard').disk;
    const medium = rig.backend.medium(gone);
    rig.backend.machine.vanish(medium, nothing);
    if (back) {
      rig.diskSet.takeOut(gone);
      rig.backend.machine.comeBack(medium);
      await rig.diskSet.bringBack(gone);
    }
    t.equal(await rig.storage.sync(), false, 'moved');
    t.same(rig.moved.length, 1, 'only what was not synced');
    t.same(rig.moved[0]?.now.missing, back ? [] : [2]);
    t.equal(await rig.storage.sync(), true);
    if (!back) rig.backend.machine.comeBack(medium);
    await powerCut(rig, nothing);
    t.ok((await rig.get(must(rig.locations.get(old.blob), 'known'))).equals(data));
    t.ok((await rig.get(durable)).equals(data));
  }
});

void t.test('data that is lost before it was durable: sync says so, each time, until it is freed', async (t) => {
  const rig = await simulatedRig(shape);
  const lost = await rig.put(rig.content(90_000));
  for (const disk of [1, 2, 3]) rig.backend.machine.vanish(rig.backend.medium(disk), nothing);
  t.equal(await codeOf(rig.storage.sync()), 'EIO');
  t.equal(await codeOf(rig.storage.sync()), 'EIO', 'not forgotten');
  t.equal(rig.moved.length, 0);
  await rig.storage.free(lost);
  t.equal(await rig.storage.sync(), true);
});

void t.test('a sync without space, and no other disk: the same disk takes the shard in another file', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(90_000);
  const old = await rig.put(data);
  const full = must(old.shards[0], 'shard').disk;
  rig.backend.medium(full).failNext('sync', 'ENOSPC', 1, 'segments/');
  t.equal(await rig.storage.sync(), false);
  t.same(rig.moved[0]?.now.missing, []);
  const now = must(rig.locations.get(old.blob), 'known');
  t.equal(now.shards[0]?.disk, full);
  t.not(now.shards[0]?.segment, old.shards[0]?.segment, 'another segment');
  t.equal(await rig.storage.sync(), true);
  await powerCut(rig, nothing);
  for (const { disk } of now.shards.slice(1, 3)) rig.diskSet.takeOut(disk);
  t.ok((await rig.get(now)).equals(data), 'the moved shard counts');
});

void t.test('news that the index refuses are told again, and sync does not say yes before', async (t) => {
  const rig = await simulatedRig({ ...shape, disks: 7 });
  const old = await rig.put(rig.content(20_000));
  const record = rig.locations.get(old.blob);
  rig.backend.medium(must(old.shards[0], 'shard').disk).failNext('sync', 'EIO', 1, 'segments/');
  let refuse = true;
  const { moved } = rig;
  moved.push = (...news) => {
    if (refuse) throw new OperatingError('EROFS', 'no majority');
    return Array.prototype.push.apply(moved, news);
  };
  t.equal(await codeOf(rig.storage.sync()), 'EROFS');
  t.equal(await codeOf(rig.storage.sync()), 'EROFS');
  t.equal(rig.locations.get(old.blob), record);
  refuse = false;
  t.equal(await rig.storage.sync(), false);
  t.equal(moved.length, 1);
  t.equal(await rig.storage.sync(), true);
});

void t.test('a blob that is being committed while it is moved', async (t) => {
  const rig = await simulatedRig({ ...shape, disks: 7 });
  const data = rig.content(20_000);
  const { location } = await rig.storage.store(data);
  rig.backend.medium(must(location.shards[3], 'shard').disk).failNext('sync', 'EIO', 1, 'segments/');
  t.equal(await rig.storage.sync(), false);
  const current = rig.storage.current(location);
  t.not(current.shards[3]?.disk, location.shards[3]?.disk);
  t.same(
    replacedShards(location, current).shards.map(({ disk }) => disk),
    [0, 0, 0, location.shards[3]?.disk, 0, 0],
  );
  await rig.storage.free(replacedShards(location, current));
  t.ok((await rig.get(current)).equals(data), 'the rest is untouched');
});

void t.test('a blob that is freed while it is moved leaves nothing behind', async (t) => {
  const rig = await simulatedRig({ ...shape, disks: 7 });
  const other = await rig.put(rig.content(5000));
  await rig.syncAll();
  const location = await rig.put(rig.content(20_000));
  const failing = must(location.shards[0], 'shard').disk;
  rig.backend.medium(failing).failNext('sync', 'EIO', 1, 'segments/');
  let freeing: Promise<void> | undefined;
  rig.backend.machine.schedule = (operation, run) => {
    // The first write of a record after the failed sync is the move's.
    if (operation.kind === 'write' && rig.diskSet.failures.length > 0) freeing ??= rig.storage.free(location);
    queueMicrotask(run);
  };
  await rig.syncAll();
  t.ok(freeing, 'freed in between');
  await freeing;
  t.same(rig.moved, [], 'there is nothing to tell');
  await rig.stop();
  await rig.start();
  const blobs = new Set<BlobId>();
  // The disk that was out keeps what it has until a scan finds it.
  for await (const { blob, disk } of rig.storage.scan()) if (disk !== failing) blobs.add(blob);
  t.same([...blobs], [other.blob]);
});

void t.test('syncs that overlap: each covers what was written before it was asked', async (t) => {
  const rig = await simulatedRig(shape);
  const blobs: Location[] = [];
  const asked: Promise<boolean>[] = [];
  for (let n = 0; n < 6; n++) {
    blobs.push(await rig.put(rig.content(9000)));
    asked.push(rig.storage.sync());
  }
  await Promise.all(asked.slice(0, 4));
  const last = await asked.at(-1);
  t.equal(last, true);
  await powerCut(rig, nothing);
  for (const blob of blobs) t.equal(await codeOf(rig.get(blob)), 'resolved');
});

interface Model {
  readonly data: Map<BlobId, Uint8Array>;
  /** As the index stood when sync last said yes. */
  durable: Map<BlobId, Location>;
}

/** One random thing that can happen to a disk. */
function trouble(rig: Simulated): void {
  const number = 1 + rig.random.below(rig.shape.disks);
  const medium = rig.backend.medium(number);
  const online = rig.diskSet.members().filter(({ disk }) => disk).length;
  switch (rig.random.below(7)) {
    case 0:
      medium.failNext('sync', 'EIO', 1, 'segments/');
      break;
    case 1:
      medium.failNext('write', 'EIO', 1, 'segments/');
      break;
    case 2:
      medium.failNext('write', 'ENOSPC', 1, 'segments/');
      break;
    case 3:
      medium.failNext('open', 'EIO', 1, 'segments/');
      break;
    case 4:
      if (!medium.gone && online > 5) rig.backend.machine.vanish(medium);
      break;
    case 5:
      if (online > 4) rig.diskSet.takeOut(number);
      break;
    default:
      medium.failNext('syncDirectory', 'EIO');
  }
}

/** Brings some disks back. */
async function repair(rig: Simulated): Promise<void> {
  const { epoch } = rig;
  for (const { member } of rig.diskSet.members()) {
    if (rig.random.below(3) > 0 || rig.epoch !== epoch) continue;
    const medium = rig.backend.medium(member.number);
    if (medium.gone) {
      rig.diskSet.takeOut(member.number);
      rig.backend.machine.comeBack(medium);
    }
    await rig.diskSet.bringBack(member.number);
  }
}

async function history(t: Test, rig: Simulated, model: Model, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    const what = rig.random.below(12);
    if (what < 6) {
      const data = rig.content(1 + rig.random.below(20_000));
      try {
        const { blob } = await rig.put(data);
        model.data.set(blob, data);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        t.ok(['EIO', 'ENOSPC'].includes(error.code), error.message);
      }
    } else if (what === 6) {
      trouble(rig);
    } else if (what === 7) {
      await repair(rig);
    } else if (what === 8) {
      const [blob] = [...rig.locations.keys()].slice(-1);
      const location = blob === undefined ? undefined : rig.locations.get(blob);
      if (blob === undefined || !location) continue;
      // The pointer goes first; the space follows when that is durable.
      rig.locations.delete(blob);
      if (!model.durable.has(blob)) await rig.storage.free(rig.storage.current(location));
    } else if (what < 11) {
      for (let round = 0; round < 20; round++) {
        const said = await rig.storage.sync().catch((error: unknown) => {
          if (!(error instanceof OperatingError)) throw error;
          return false;
        });
        if (!said) continue;
        model.durable = new Map(rig.locations);
        break;
      }
    } else {
      const known = [...rig.locations.values()];
      const one = known[rig.random.below(Math.max(1, known.length))];
      if (one) await check(t, rig, one, must(model.data.get(one.blob), 'stored'), 'in between');
    }
  }
}

/** Right, or EIO; and right if enough shards must be there. */
async function check(t: Test, rig: Simulated, location: Location, data: Uint8Array, when: string, mustRead = false): Promise<void> {
  try {
    const got = await rig.get(location);
    if (!got.equals(data)) t.fail(`wrong bytes of blob ${location.blob} ${when}`);
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== 'EIO') throw error;
    if (mustRead) t.fail(`seed ${rig.shape.seed}: blob ${location.blob} is lost ${when}: ${error.message}`);
  }
}

/** Every shard that a durable location names must be there and whole, not only k of them. */
async function checkShards(t: Test, rig: Simulated, durable: Iterable<Location>): Promise<void> {
  const before = rig.damage.length;
  for (const location of durable) await rig.storage.verify(location);
  t.same(rig.damage.slice(before), [], `seed ${rig.shape.seed}: shards that were durable are damaged`);
}

void t.test('random histories, power cuts, and m disks lost with them', async (t) => {
  let durableBlobs = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const rig = await simulatedRig({ k: 4, m: 2, disks: seed % 2 === 0 ? 6 : 8, seed, capacityBytes: 64 * MiB });
    const model: Model = { data: new Map(), durable: new Map() };
    for (let life = 0; life < 3; life++) {
      await history(t, rig, model, 60);
      const { durable } = model;
      rig.locations.clear();
      for (const [blob, location] of durable) rig.locations.set(blob, location);
      rig.backend.powerCut();
      await repairMedia(rig);
      await rig.start();
      for (const location of durable.values())
        await check(t, rig, location, must(model.data.get(location.blob), 'stored'), 'after a cut', true);
      await checkShards(t, rig, durable.values());
      const lost = [1 + rig.random.below(rig.shape.disks), 1 + rig.random.below(rig.shape.disks)];
      for (const disk of lost) rig.diskSet.takeOut(disk);
      for (const location of durable.values()) {
        const there = location.shards.filter(({ disk }) => disk !== 0 && !lost.includes(disk)).length;
        await check(
          t,
          rig,
          location,
          must(model.data.get(location.blob), 'stored'),
          `after a cut without ${lost.join(' and ')}`,
          there >= 4,
        );
        durableBlobs++;
      }
      for (const disk of lost) await rig.diskSet.bringBack(disk);
    }
  }
  t.ok(durableBlobs > 15 * seeds, `${durableBlobs} durable blobs were looked at`);
});

/** Calls complete in random order, some late. */
function shuffleCalls(rig: Simulated): void {
  const waiting: (() => void)[] = [];
  const pump = (): void => {
    // Read anew: a call that runs may submit others.
    const index = rig.random.below(waiting.length);
    const [run] = waiting.splice(index, 1);
    run?.();
    if (waiting.length > 0) setImmediate(pump);
  };
  rig.backend.machine.schedule = (_operation, run) => {
    waiting.push(run);
    if (waiting.length === 1) setImmediate(pump);
  };
}

/** Runs stores, syncs, frees and troubles at the same time, until one of them has done its steps and the power goes. */
async function concurrentLife(rig: Simulated, model: Model): Promise<void> {
  let cut = false;
  const step = async (work: () => Promise<void>): Promise<void> => {
    await rig.clock.yield();
    try {
      await work();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
    }
  };
  const storing = async (): Promise<void> => {
    while (!cut)
      await step(async () => {
        const data = rig.content(1 + rig.random.below(6000));
        const { location } = await rig.storage.store(data);
        if (cut) return;
        // The commit comes some turns later: the blob may have been moved by then.
        for (let turns = rig.random.below(4); turns > 0; turns--) await rig.clock.yield();
        model.data.set(location.blob, data);
        rig.locations.set(location.blob, rig.storage.current(location));
      });
  };
  const syncing = async (): Promise<void> => {
    for (let n = 0; n < 10; n++) {
      for (let turns = rig.random.below(150); turns > 0; turns--) await rig.clock.yield();
      await step(async () => {
        const covered = [...rig.locations.keys()];
        if (!(await rig.storage.sync()) && !(await rig.storage.sync())) return;
        for (const blob of covered) {
          const location = rig.locations.get(blob);
          if (location) model.durable.set(blob, location);
        }
      });
    }
    cut = true;
  };
  const troubling = async (): Promise<void> => {
    while (!cut) {
      for (let turns = rig.random.below(700); turns > 0; turns--) await rig.clock.yield();
      if (cut) return;
      if (rig.random.below(3) > 0) trouble(rig);
      else await step(() => repair(rig));
    }
  };
  const workers = [storing(), storing(), storing(), syncing(), troubling()];
  while (!cut) await rig.clock.yield();
  rig.backend.powerCut();
  await Promise.all(workers);
}

void t.test('the same with everything at once and calls that complete in any order', async (t) => {
  let durableBlobs = 0;
  let moves = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const rig = await simulatedRig({ k: 4, m: 2, disks: seed % 2 === 0 ? 6 : 8, seed, capacityBytes: 64 * MiB });
    shuffleCalls(rig);
    const model: Model = { data: new Map(), durable: new Map() };
    await concurrentLife(rig, model);
    moves += rig.moved.length;
    await repairMedia(rig);
    await rig.start();
    await checkShards(t, rig, model.durable.values());
    for (const location of model.durable.values()) {
      await check(t, rig, location, must(model.data.get(location.blob), 'stored'), 'after a cut', true);
      durableBlobs++;
    }
  }
  t.ok(durableBlobs > 15 * seeds, `${durableBlobs} durable blobs were looked at`);
  t.ok(moves > seeds, `${moves} moves`);
});

/** After a power cut the disks that had vanished are there again. */
async function repairMedia(rig: Simulated): Promise<void> {
  for (let number = 1; number <= rig.shape.disks; number++) {
    const medium = rig.backend.medium(number);
    medium.clearFaults();
    if (medium.gone) rig.backend.machine.comeBack(medium);
  }
}
