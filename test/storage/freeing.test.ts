/** I10: space that a disk does not give back at once is not forgotten; a search that cannot see everything says so and gives up nothing that it did not see. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { segmentPath } from '../../src/storage/segment-format.js';
import type { FoundRecord } from '../../src/storage/storage.js';
import { codeOf, simulatedRig, type Rig, type SimulatedBackend } from './rig.js';
import { settle } from '../disk/manual-clock.js';

const shape = { disks: 6, k: 4, m: 2 };
type Simulated = Rig & { readonly backend: SimulatedBackend };

const usedBytes = (rig: Simulated): number[] => [1, 2, 3, 4, 5, 6].map((disk) => rig.backend.medium(disk).usedBytes());

const placeNames = ({ blob, shards }: Location): string[] =>
  shards.map(({ disk, segment, offset }, shard) => [blob, shard, disk, segment, offset].join('/'));

/** What a search sees, and the code that it ends with. */
async function search(rig: Simulated): Promise<{ found: FoundRecord[]; names: string[]; code: string }> {
  const found: FoundRecord[] = [];
  const code = await codeOf(
    (async () => {
      for await (const record of rig.storage.scan()) found.push(record);
    })(),
  );
  return { found, names: found.map(({ blob, shard, disk, segment, offset }) => [blob, shard, disk, segment, offset].join('/')), code };
}

/** A pool with blobs of an epoch that is over. */
async function withOldBlobs(count: number): Promise<{ rig: Simulated; locations: Location[] }> {
  const rig = await simulatedRig(shape);
  const locations: Location[] = [];
  for (let n = 0; n < count; n++) locations.push(await rig.put(rig.content(100 * KiB)));
  await rig.syncAll();
  await rig.stop();
  await rig.start();
  return { rig, locations };
}

for (const code of ['ENOSPC', 'EDQUOT'] as const)
  void t.test(`a disk that stays in and says ${code} when it shall give space back: asked again, it does`, async (t) => {
    const rig = await simulatedRig(shape);
    const kept = await rig.put(rig.content(100 * KiB));
    await rig.syncAll();
    const before = usedBytes(rig);
    const gone = await rig.put(rig.content(100 * KiB));
    await rig.syncAll();
    const full = usedBytes(rig);
    rig.backend.medium(3).failNext('punch', code);
    t.equal(await codeOf(rig.storage.free(gone)), code);
    t.same(rig.diskSet.failures, [], 'the disk is in');
    const freed = usedBytes(rig).map((bytes, index) => (full[index] ?? 0) - bytes);
    t.ok(
      freed.every((bytes, index) => (index === 2 ? bytes === 0 : bytes > 0)),
      `the others gave it back: ${freed.join()}`,
    );
    t.equal(await codeOf(rig.storage.free(gone)), 'resolved');
    t.ok((usedBytes(rig)[2] ?? 0) < (full[2] ?? 0), 'now this one, too');
    t.equal(await codeOf(rig.get(kept)), 'resolved', 'what lives is not touched by a second free');
    await rig.storage.free(kept);
    await rig.storage.close();
    t.ok(usedBytes(rig).every((bytes, index) => bytes <= (before[index] ?? 0)));
    for (const { disk } of rig.diskSet.members()) t.same(await disk?.list('segments'), []);
    await rig.diskSet.close();
  });

void t.test('a disk that goes out with EIO: nothing to wait for, the record is found when it is searched', async (t) => {
  const rig = await simulatedRig(shape);
  const gone = await rig.put(rig.content(100 * KiB));
  const kept = await rig.put(rig.content(100 * KiB));
  await rig.syncAll();
  rig.backend.medium(3).failNext('punch', 'EIO');
  t.equal(await codeOf(rig.storage.free(gone)), 'resolved');
  t.same(rig.diskSet.failures, ['3 EIO']);
  await rig.stop();
  await rig.start();
  const { found, code } = await search(rig);
  t.equal(code, 'resolved');
  const left = found.filter(({ blob }) => blob === gone.blob);
  t.same(
    left.map(({ disk }) => disk),
    [3],
  );
  for (const record of left) await rig.storage.freeRecord(record);
  t.same((await search(rig)).names.sort(), placeNames(kept).sort());
  await rig.stop();
});

void t.test('what nobody would ask for again is tried again after a sync; what is left at the end is said', async (t) => {
  const rig = await simulatedRig(shape);
  const [first, second] = [await rig.put(rig.content(100 * KiB)), await rig.put(rig.content(100 * KiB))];
  await rig.syncAll();
  rig.backend.medium(2).failNext('punch', 'ENOSPC', 2);
  await rig.storage.discard(first);
  t.equal(rig.storage.leavesRecords, true);
  // Nobody waits for what is tidied behind a sync.
  await rig.storage.sync();
  await settle();
  t.equal(rig.storage.leavesRecords, true, 'it failed once more');
  await rig.storage.sync();
  await settle();
  t.equal(rig.storage.leavesRecords, false);
  rig.backend.medium(2).failNext('punch', 'ENOSPC', 1000);
  await rig.storage.discard(second);
  await rig.storage.close();
  t.equal(rig.storage.leavesRecords, true, 'the next start has to search');
  await rig.diskSet.close();
  rig.backend.medium(2).clearFaults();
  await rig.start();
  t.same(
    (await search(rig)).found.map(({ blob, disk }) => [blob, disk]),
    [[second.blob, 2]],
  );
  await rig.stop();
});

void t.test('a move that a failed free must not forget', async (t) => {
  const rig = await simulatedRig({ ...shape, disks: 7 });
  const old = await rig.put(rig.content(100 * KiB));
  const used = new Set(old.shards.map(({ disk }) => disk));
  const one = must(old.shards[0], 'a shard').disk;
  rig.backend.medium(one).failNext('sync', 'EIO');
  await rig.syncAll();
  const now = rig.storage.current(old);
  t.not(now, old, 'a shard went to the seventh disk');
  const target = must(
    now.shards.find(({ disk }) => !used.has(disk)),
    'it has a new place',
  ).disk;
  rig.backend.medium(target).failNext('punch', 'ENOSPC');
  t.equal(await codeOf(rig.storage.free(now)), 'ENOSPC');
  t.same(rig.storage.current(old), now, 'whoever asks again still learns where it went');
  await rig.storage.free(now);
  t.same(rig.storage.current(old), old);
  await rig.stop();
});

void t.test('the search: a disk that cannot be listed, opened or read ends with its error, and keeps all that it has', async (t) => {
  for (const [kind, path] of [
    ['list', 'segments'],
    ['open', 'segments/'],
    ['size', 'segments/'],
    ['read', 'segments/'],
  ] as const) {
    const { rig, locations } = await withOldBlobs(3);
    const before = usedBytes(rig);
    const medium = rig.backend.medium(4);
    // The header, a window, and then the window's first block.
    medium.failNext(kind, 'EIO', kind === 'read' ? 3 : 1, path);
    const { names, code } = await search(rig);
    t.equal(code, 'EIO', `${kind} is said`);
    t.same(rig.diskSet.failures, [], 'the disk is in');
    const others = locations.flatMap(placeNames).filter((name) => name.split('/')[2] !== '4');
    t.ok(
      others.every((name) => names.includes(name)),
      `${kind}: the other disks were seen`,
    );
    t.same(usedBytes(rig), before, `${kind}: nothing was given back`);
    medium.clearFaults();
    const again = await search(rig);
    t.equal(again.code, 'resolved');
    t.same(again.names.sort(), locations.flatMap(placeNames).sort(), `${kind}: later all is seen`);
    await rig.stop();
  }
});

void t.test('a segment of which a part cannot be read is not unlinked, however empty the rest of it is', async (t) => {
  const { rig, locations } = await withOldBlobs(2);
  const [gone, kept] = [must(locations[0], 'a blob'), must(locations[1], 'another')];
  const place = must(kept.shards[0], 'its shard');
  rig.backend.medium(place.disk).damageSectors(segmentPath(place.segment), place.offset, 512);
  t.equal((await search(rig)).code, 'EIO');
  await rig.storage.free(gone);
  t.equal(rig.backend.medium(place.disk).has(segmentPath(place.segment)), true);
  const record = { blob: kept.blob, shard: 0, ...place, bytes: 4096 };
  t.equal(await codeOf(rig.storage.freeRecord(record)), 'EIO', 'and a record that cannot be read is not freed');
  rig.backend.medium(place.disk).clearFaults();
  t.equal(await codeOf(rig.get(kept)), 'resolved');
  t.equal(rig.diskSet.disk(place.disk) === undefined, false);
  await rig.stop();
});

void t.test('the place of a record that did not land cannot be punched out: the next start has to search', async (t) => {
  const rig = await simulatedRig(shape);
  await rig.put(rig.content(100 * KiB));
  const medium = rig.backend.medium(4);
  medium.failNext('write', 'ENOSPC', 1, 'segments/');
  t.equal(await codeOf(rig.storage.store(rig.content(100 * KiB))), 'ENOSPC');
  await settle();
  t.equal(rig.storage.leavesRecords, false, 'all that was taken for it is given back');
  medium.failNext('write', 'ENOSPC', 1, 'segments/');
  medium.failNext('punch', 'ENOSPC', 1000);
  // It is not taken for full any more.
  await rig.storage.capacity(true);
  t.equal(await codeOf(rig.storage.store(rig.content(100 * KiB))), 'ENOSPC');
  await settle();
  t.equal(rig.storage.leavesRecords, true);
  medium.clearFaults();
  await rig.stop();
});
