/**
 * I6, I8: whatever happens to the bytes of records (flips, lost and misdirected writes, stale records, torn tails), no wrong byte is handed out, and
 * it is counted on the right disk and reported.
 */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { FRAME_BYTES, RECORD_HEADER_BYTES } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { recordBytesOf } from '../../src/storage/record.js';
import { segmentPath } from '../../src/storage/segment-format.js';
import { codeOf, simulatedRig, type Rig, type SimulatedBackend } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };
type Simulated = Rig & { readonly backend: SimulatedBackend };

/** Flips a bit of a shard's record. */
function flip(rig: Simulated, location: Location, shard: number, at: number, bit = 0): void {
  const { disk, segment, offset } = must(location.shards[shard], 'shard');
  rig.backend.medium(disk).flip(segmentPath(segment), offset + at, bit);
}

void t.test('a flip anywhere in a record: right bytes, the right disk, one report', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(4 * (FRAME_BYTES + 4096));
  const location = await rig.put(data);
  const bytes = recordBytesOf(location.bytes, 4);
  const table = 256 + 4;
  const places = [0, 9, 40, 79, 200, 255, 256, table, 2000, 4091, 4092, 4095, 4096, 4096 + FRAME_BYTES - 1, 4096 + FRAME_BYTES, bytes - 1];
  for (let n = 0; n < 60; n++) places.push(rig.random.below(bytes));
  for (const at of places) {
    const shard = rig.random.below(4);
    const { disk } = must(location.shards[shard], 'shard');
    const before = rig.diskSet.count(disk, 'checksum');
    flip(rig, location, shard, at, rig.random.below(8));
    const wholeShard = await rig.get(location);
    t.ok(wholeShard.equals(data), `flip at ${at} of shard ${shard}`);
    t.equal(rig.diskSet.count(disk, 'checksum'), before + 1, 'counted on its disk');
    t.same(rig.damage.at(-1), { blob: location.blob, shard, disk, code: 'EBADMSG' });
    const healed = await rig.storage.rebuild(rig.storage.current(location), [shard]);
    t.same(healed.missing, []);
    // The next flip is to a fresh record of the same blob.
    Object.assign(location, { shards: healed.location.shards });
  }
  t.same(rig.diskSet.failures, [], 'a bad record takes no disk out');
  const reports = rig.damage.length;
  flip(rig, location, 1, 5000);
  for (let n = 0; n < 5; n++) await rig.get(location);
  t.equal(rig.damage.length, reports + 1, 'once for each shard');
});

void t.test('m damaged shards read right, m+1 give EIO and say on whom', async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const rig = await simulatedRig({ ...shape, seed });
    const data = rig.content(1 + rig.random.below(100_000));
    const location = await rig.put(data);
    const shards = [0, 1, 2, 3, 4, 5].sort(() => rig.random.below(3) - 1).slice(0, 3);
    // In the header, so that no part of the record is of use.
    for (const shard of shards.slice(0, 2)) flip(rig, location, shard, rig.random.below(RECORD_HEADER_BYTES), rig.random.below(8));
    t.ok((await rig.get(location)).equals(data));
    t.ok(await rig.storage.verify(location));
    flip(rig, location, must(shards[2], 'three'), rig.random.below(RECORD_HEADER_BYTES), rig.random.below(8));
    const out = Buffer.alloc(data.length);
    const code = await codeOf(rig.storage.read(location, 0, out));
    const dataLost = shards.some((shard) => shard * (recordBytesOf(data.length, 4) - 4096) < data.length && shard < 4);
    if (code === 'resolved') {
      t.notOk(dataLost, 'only parity is bad');
      t.ok(out.equals(data));
    } else t.equal(code, 'EIO');
    t.equal(await rig.storage.verify(location), false);
    t.same(
      [...new Set(rig.damage.map(({ disk }) => disk))].sort(),
      shards.map((shard) => location.shards[shard]?.disk).sort(),
      'all three are named',
    );
  }
});

void t.test('lost and misdirected writes', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = await simulatedRig({ ...shape, seed });
    const first = await rig.put(rig.content(30_000));
    const firstData = await rig.get(first);
    const victims = [1 + rig.random.below(3), 4 + rig.random.below(3)];
    rig.backend.medium(must(victims[0], 'two')).loseNextWrite('segments/');
    // Far enough to lie where the next record will be, or back over the last one.
    rig.backend.medium(must(victims[1], 'two')).misdirectNextWrite(rig.random.below(2) === 0 ? 12_288 : -12_288, 'segments/');
    const data = rig.content(30_000);
    const second = await rig.put(data);
    const third = await rig.put(rig.content(30_000));
    t.ok((await rig.get(second)).equals(data), `seed ${seed}`);
    t.ok((await rig.get(first)).equals(firstData));
    t.equal(await codeOf(rig.get(third)), 'resolved');
    await rig.storage.verify(first);
    await rig.storage.verify(second);
    await rig.storage.verify(third);
    for (const { disk } of rig.damage) t.ok(victims.includes(disk), 'on the right disk');
    t.ok(rig.damage.some(({ blob, disk }) => blob === second.blob && disk === victims[0]));
    t.ok(rig.damage.some(({ blob, disk }) => blob === second.blob && disk === victims[1]));
  }
});

void t.test('a stale record, whole in itself, in the place of another', async (t) => {
  const rig = await simulatedRig(shape);
  const one = await rig.put(rig.content(20_000));
  const data = rig.content(20_000);
  const two = await rig.put(data);
  const bytes = recordBytesOf(20_000, 4);
  for (const shard of [0, 1]) {
    const { disk, segment, offset } = must(two.shards[shard], 'shard');
    const path = segmentPath(segment);
    const file = rig.backend.medium(disk).file(path);
    const other = must(
      one.shards.find((place) => place.disk === disk),
      'all on six disks',
    );
    file.write(offset, file.read(other.offset, bytes));
  }
  t.ok((await rig.get(two)).equals(data));
  t.equal(rig.damage.length, 2);
});

void t.test('a bad sector is damage, many are a bad disk; reads go on', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(50_000);
  const location = await rig.put(data);
  const { disk } = must(location.shards[2], 'shard');
  const medium = rig.backend.medium(disk);
  for (let n = 0; n < 20; n++) {
    medium.failNext('read', 'EIO', 1, 'segments/');
    t.ok((await rig.get(location)).equals(data));
    await rig.clock.advance(2_000);
  }
  t.same(rig.diskSet.failures, [], 'one now and then');
  t.same(rig.damage, [{ blob: location.blob, shard: 2, disk, code: 'EIO' }]);
  medium.failNext('read', 'EIO', 1000, 'segments/');
  for (let n = 0; n < 8; n++) t.ok((await rig.get(location)).equals(data));
  t.same(rig.diskSet.failures, [`${disk} EIO`]);
  t.ok((await rig.get(location)).equals(data));
});

void t.test('a segment file that is gone', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(50_000);
  const location = await rig.put(data);
  await rig.syncAll();
  await rig.stop();
  await rig.start();
  const { disk, segment } = must(location.shards[0], 'shard');
  await must(rig.diskSet.disk(disk), 'in').unlink(segmentPath(segment));
  t.ok((await rig.get(location)).equals(data));
  t.same(rig.damage, [{ blob: location.blob, shard: 0, disk, code: 'ENODATA' }]);
  t.same(rig.diskSet.failures, [`${disk} ENOENT`], 'the disk set is told: the whole directory may be gone');
  t.ok(rig.diskSet.disk(disk), 'the disk stays in');
});

void t.test('a disk that goes away during a read', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = await simulatedRig({ ...shape, seed });
    const data = rig.content(80_000);
    const location = await rig.put(data);
    let calls = 0;
    const at = rig.random.below(12);
    const gone = [1 + rig.random.below(3), 4 + rig.random.below(3)];
    rig.backend.machine.schedule = (operation, run) => {
      if (operation.kind === 'read' && calls++ === at) for (const disk of gone) rig.diskSet.takeOut(disk);
      queueMicrotask(run);
    };
    t.ok((await rig.get(location)).equals(data), `seed ${seed}`);
    t.same(rig.diskSet.failures, []);
  }
});

void t.test('more disks than m that go and come back during a read: once more with what is there', async (t) => {
  const rig = await simulatedRig(shape);
  const data = rig.content(80_000);
  const location = await rig.put(data);
  const returning: Promise<void>[] = [];
  rig.backend.machine.schedule = (operation, run) => {
    if (operation.kind === 'read' && returning.length === 0)
      for (const disk of [1, 2, 3]) {
        rig.diskSet.takeOut(disk);
        returning.push(rig.diskSet.bringBack(disk));
      }
    setImmediate(run);
  };
  t.ok((await rig.get(location)).equals(data));
  await Promise.all(returning);
  t.same(rig.damage, [], 'nobody is blamed');
});

/** All of what a scan finds. */
async function scanAll(rig: Rig): Promise<string[]> {
  const seen: string[] = [];
  for await (const { blob, shard, disk, segment, offset } of rig.storage.scan()) seen.push([blob, shard, disk, segment, offset].join());
  return seen.sort();
}

function recordsOf(locations: Iterable<Location>): string[] {
  const all: string[] = [];
  for (const { blob, shards } of locations)
    shards.forEach(({ disk, segment, offset }, shard) => {
      if (disk !== 0) all.push([blob, shard, disk, segment, offset].join());
    });
  return all.sort();
}

async function tornHistory(t: Test, seed: number): Promise<void> {
  const rig = await simulatedRig({ ...shape, seed });
  for (let n = 0; n < 15; n++) await rig.put(rig.content(1 + rig.random.below(60_000)));
  await rig.syncAll();
  const freed = [...rig.locations.values()].filter(() => rig.random.below(3) === 0);
  for (const location of freed) {
    rig.locations.delete(location.blob);
    await rig.storage.free(location);
  }
  const durable = new Map(rig.locations);
  for (let n = 0; n < 5; n++) await rig.put(rig.content(1 + rig.random.below(60_000)));
  rig.backend.powerCut();
  await rig.start();
  const seen = new Set(await scanAll(rig));
  for (const record of recordsOf(durable.values())) if (!seen.has(record)) t.fail(`seed ${seed}: ${record} was not found`);
  // Beside the live ones: what was freed and came back with the power cut, and what landed of the unsynced.
  const possible = new Set([...recordsOf(rig.locations.values()), ...recordsOf(freed)]);
  for (const record of seen) if (!possible.has(record)) t.fail(`seed ${seed}: ${record} was never written`);
  for await (const found of rig.storage.scan()) if (!durable.has(found.blob)) await rig.storage.freeRecord(found);
  t.same(await scanAll(rig), recordsOf(durable.values()), 'exactly the live ones are left');
  for (const location of durable.values()) t.equal(await codeOf(rig.get(location)), 'resolved');
  await rig.stop();
}

void t.test('scans of torn segments find what is there and nothing else', async (t) => {
  for (let seed = 1; seed <= 25; seed++) await tornHistory(t, seed);
});

void t.test('a scan crosses damage, leaves what is foreign, and takes no record out of place for one', async (t) => {
  const rig = await simulatedRig(shape);
  const locations: Location[] = [];
  for (let n = 0; n < 4; n++) locations.push(await rig.put(rig.content(20_000)));
  await rig.syncAll();
  await rig.stop();
  const [first, second, third] = locations;
  const one = must(must(first, 'blob').shards[0], 'shard');
  const path = segmentPath(one.segment);
  // A damaged header, and a copy of a record where none was written.
  rig.backend.medium(one.disk).flip(path, one.offset + 60);
  const bytes = recordBytesOf(20_000, 4);
  const file = rig.backend.medium(one.disk).file(path);
  const onSameDisk = (location: Location | undefined): number =>
    must(
      must(location, 'blob').shards.find(({ disk }) => disk === one.disk),
      'shard',
    ).offset;
  file.write(5 * bytes + 4096, file.read(onSameDisk(second), bytes));
  // A segment of another disk, copied here under a name that could be ours.
  const copied = rig.backend.medium(one.disk).create('segments/1-77.seg');
  const elsewhere = must(
    must(third, 'blob').shards.find(({ disk }) => disk !== one.disk),
    'shard',
  );
  const source = rig.backend.medium(elsewhere.disk).file(segmentPath(elsewhere.segment));
  copied.write(0, source.read(0, source.size));
  await rig.start();
  const expected = recordsOf(locations).filter((record) => record !== [first?.blob, 0, one.disk, one.segment, one.offset].join());
  t.same(await scanAll(rig), expected);
  t.ok(rig.backend.medium(one.disk).has('segments/1-77.seg'), 'left alone');
  // What is freed must be what was found.
  const wrong = { blob: must(second, 'blob').blob, shard: 3, disk: one.disk, segment: one.segment, offset: one.offset, bytes };
  await rig.storage.freeRecord(wrong);
  await rig.storage.freeRecord({ ...wrong, offset: onSameDisk(third) });
  t.same(await scanAll(rig), expected, 'nothing else went');
});
