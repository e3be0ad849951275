/** Scans over whole disks, for scrub: everything is seen, every damage is told apart from what was freed, and nothing stops at a bad sector. */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { segmentPath } from '../../src/storage/segment-format.js';
import type { RecordCursor, ScannedRecord, ScannedShard, ScannedStray } from '../../src/storage/storage.js';
import { codeOf, nativeRig, simulatedRig, type PoolShape, type Rig, type SimulatedBackend } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };
type Simulated = Rig & { readonly backend: SimulatedBackend };

async function scan(rig: Rig, disk: number, after?: RecordCursor, frames = true): Promise<ScannedRecord[]> {
  const found: ScannedRecord[] = [];
  for await (const each of rig.storage.scanRecords(disk, after, { frames })) found.push(each);
  return found;
}

const records = (found: readonly ScannedRecord[]): ScannedShard[] => found.filter((each) => each.kind === 'record');
const strays = (found: readonly ScannedRecord[]): ScannedStray[] => found.filter((each) => each.kind === 'stray');
const nameOf = ({ blob, shard, disk, segment, offset }: ScannedShard): string => [blob, shard, disk, segment, offset].join('/');

/** Everything that the index says is on a disk, in the order of the disk. */
function expected(locations: readonly Location[], disk: number): string[] {
  const all = locations.flatMap(({ blob, shards }) =>
    shards.flatMap((place, shard) =>
      place.disk === disk ? [{ ...place, name: [blob, shard, disk, place.segment, place.offset].join('/') }] : [],
    ),
  );
  return all.sort((a, b) => a.segment - b.segment || a.offset - b.offset).map(({ name }) => name);
}

/** Blobs of two epochs, a third of them freed again. */
async function filled(make: (shape: PoolShape) => Promise<Rig>, t: Test): Promise<Rig> {
  const rig = await make(shape);
  t.teardown(() => rig.cleanUp());
  for (let n = 0; n < 24; n++) {
    const location = await rig.put(rig.content(1 + rig.random.below(300 * KiB)));
    if (n % 3 === 0) {
      rig.locations.delete(location.blob);
      await rig.storage.free(location);
    }
    if (n === 12) {
      await rig.syncAll();
      await rig.stop();
      await rig.start();
    }
  }
  return rig;
}

for (const [name, make] of [
  ['simulated', simulatedRig],
  ['native', nativeRig],
] as const)
  void t.test(`${name}: a scan sees every record once, in order, and goes on from any cursor`, async (t) => {
    const rig = await filled(make, t);
    for (let disk = 1; disk <= 6; disk++) {
      const found = await scan(rig, disk);
      const all = records(found);
      t.same(all.map(nameOf), expected([...rig.locations.values()], disk));
      t.ok(all.every(({ state, code }) => state === 'good' && code === undefined));
      for (const each of all) t.match(each, { k: 4, m: 2, codec: 0, blobBytes: rig.locations.get(each.blob)?.bytes });
      t.same(strays(found), []);
      const segments = found.filter((each) => each.kind === 'segment');
      t.equal(segments.length, (await rig.diskSet.disk(disk)?.list('segments'))?.length);
      t.same(
        segments.map(({ index }) => index),
        segments.map((_, index) => index),
      );
      for (const [index, { cursor }] of all.entries())
        t.same(records(await scan(rig, disk, cursor)).map(nameOf), all.slice(index + 1).map(nameOf), 'behind a cursor');
      const last = must(found.at(-1), 'something is there').cursor;
      t.same(await scan(rig, disk, last), [], 'behind the end');
    }
    t.same(rig.damage, [], 'scans report to their callers');
    await rig.stop();
  });

void t.test('every kind of damage is told: frames, headers, sectors, the header of a segment', async (t) => {
  const rig = (await filled(simulatedRig, t)) as Simulated;
  await rig.syncAll();
  const medium = rig.backend.medium(1);
  const before = records(await scan(rig, 1));
  t.ok(before.length >= 10);
  const [frame, header, sector, lost] = [1, 3, 5, 7].map((at) => must(before[at], 'record'));
  if (!frame || !header || !sector || !lost) throw new Error('records');
  medium.flip(segmentPath(frame.segment), frame.offset + 4096 + rig.random.below(frame.bytes - 4096));
  medium.flip(segmentPath(header.segment), header.offset + 300);
  medium.damageSectors(segmentPath(sector.segment), sector.offset + 4096, 512);
  medium.damageSectors(segmentPath(lost.segment), lost.offset + 100, 512);
  medium.flip(segmentPath(frame.segment), 20);
  const found = await scan(rig, 1);
  const bad = records(found).filter(({ state }) => state === 'bad');
  t.same(
    bad.map((each) => [nameOf(each), each.code]),
    [
      [nameOf(frame), 'EBADMSG'],
      [nameOf(sector), 'EIO'],
    ],
  );
  const good = records(found).filter(({ state }) => state === 'good');
  const rest = before.filter((each) => ![frame, header, sector, lost].includes(each));
  t.same(good.map(nameOf), rest.map(nameOf), 'all others are good');
  const stray = strays(found);
  t.match(stray[0], { segment: frame.segment, offset: 0, bytes: 4096, code: 'EBADMSG' }, 'the header of the segment');
  const within = ({ segment, offset, bytes }: ScannedShard, code: string): boolean =>
    stray.some(
      (each) => each.code === code && each.segment === segment && each.offset < offset + bytes && each.offset + each.bytes > offset,
    );
  t.ok(within(header, 'EBADMSG'), 'a record without its header');
  t.ok(within(lost, 'EIO'), 'a header that cannot be read');
  t.same(rig.diskSet.failures, [], 'sectors take no disk out');
  // The index knows what the stray bytes were.
  for (const [record, code] of [
    [header, 'EBADMSG'],
    [lost, 'EIO'],
  ] as const) {
    const location = must(rig.locations.get(record.blob), 'known');
    for (const depth of ['headers', 'frames'] as const) t.same(await rig.storage.inspect(location, depth), [{ shard: record.shard, code }]);
  }
  const frames = must(rig.locations.get(frame.blob), 'known');
  t.same(await rig.storage.inspect(frames, 'headers'), [], 'its header is whole');
  t.same(await rig.storage.inspect(frames, 'frames'), [{ shard: frame.shard, code: 'EBADMSG' }]);
  t.same(
    records(await scan(rig, 1, undefined, false)).filter(({ state }) => state === 'bad'),
    [],
    'headers alone',
  );
  await rig.stop();
});

void t.test('a disk that leaves, or of which nothing can be read, ends the scan', async (t) => {
  const rig = (await filled(simulatedRig, t)) as Simulated;
  await rig.syncAll();
  let seen = 0;
  const leaving = async (): Promise<void> => {
    for await (const each of rig.storage.scanRecords(2)) {
      if (each.kind === 'record') seen++;
      if (seen === 3) rig.diskSet.takeOut(2);
    }
  };
  t.equal(await codeOf(leaving()), 'ENODEV');
  t.equal(await codeOf(scan(rig, 2)), 'ENODEV');
  rig.backend.medium(3).failNext('read', 'EIO', 1_000_000);
  t.equal(await codeOf(scan(rig, 3)), 'EIO');
  t.same(rig.diskSet.failures, ['3 EIO'], 'reported');
  await rig.stop();
});

void t.test('what is stored and freed while a scan runs is no damage', async (t) => {
  const rig = await filled(simulatedRig, t);
  const { machine } = (rig as Simulated).backend;
  // Calls complete in any order.
  machine.schedule = (_operation, run) => {
    if (rig.random.below(3) === 0) queueMicrotask(run);
    else setImmediate(run);
  };
  let busy = true;
  const churn = async (): Promise<void> => {
    while (busy) {
      const location = await rig.put(rig.content(1 + rig.random.below(40 * KiB)));
      const [oldest] = rig.locations.values();
      for (const each of [location, oldest]) {
        if (!each || rig.random.below(2) === 0) continue;
        rig.locations.delete(each.blob);
        await rig.storage.free(each);
      }
    }
  };
  const churning = Promise.all([churn(), churn()]);
  for (let n = 0; n < 3; n++)
    for (let disk = 1; disk <= 6; disk++) {
      const found = await scan(rig, disk);
      t.same(
        records(found).filter(({ state }) => state === 'bad'),
        [],
      );
    }
  busy = false;
  await churning;
  await rig.stop();
});

void t.test('damaged records are set aside, and the oldest go', async (t) => {
  for (const make of [simulatedRig, nativeRig]) {
    const rig = await filled(make, t);
    const disk = must(rig.diskSet.disk(1), 'in');
    const all = records(await scan(rig, 1));
    const one = must(all[0], 'record');
    t.equal(await rig.storage.setAside(one), true);
    t.equal(await rig.storage.setAside(one), true, 'once is enough');
    const names = await disk.list('damaged');
    t.equal(names.length, 1);
    const kept = await disk.open(`damaged/${must(names[0], 'kept')}`);
    const original = await disk.open(segmentPath(one.segment));
    t.ok((await kept.read(0, 1 << 20)).equals(await original.read(one.offset, one.bytes)));
    await kept.close();
    await original.close();
    const wide = { disk: 1, segment: one.segment, bytes: 4096 };
    for (let n = 1; n <= 300; n++) {
      await rig.clock.advance(1);
      t.equal(await rig.storage.setAside({ ...wide, offset: n * 4096 }), true);
    }
    const now = await disk.list('damaged');
    t.equal(now.length, 256);
    t.notOk(now.includes(must(names[0], 'kept')), 'the first one is gone');
    await rig.stop();
  }
});

void t.test('segments of earlier lives that are emptied later go, also where no search for stranded records ran', async (t) => {
  for (const make of [simulatedRig, nativeRig]) {
    const rig = await filled(make, t);
    await rig.syncAll();
    await rig.stop();
    await rig.start();
    const disk = must(rig.diskSet.disk(1), 'in');
    const before = (await disk.list('segments')).length;
    t.ok(before >= 4);
    t.same(rig.storage.segments(1), [], 'nothing is known of them yet');
    const locations = [...rig.locations.values()];
    const kept = must(locations.pop(), 'a blob');
    for (const location of locations) await rig.storage.free(location);
    for (let round = 0; round < 20; round++) await rig.storage.survey(1, 2);
    const left = (await disk.list('segments')).length;
    t.ok(left <= 1, `${left} of ${before} are left`);
    const [segment] = rig.storage.segments(1);
    if (kept.shards.some((place) => place.disk === 1))
      t.match(segment, { liveRecords: 1, segment: kept.shards.find((place) => place.disk === 1)?.segment });
    const all = await rig.get(kept);
    t.equal(all.length, kept.bytes);
    await rig.stop();
  }
});
