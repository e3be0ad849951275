/** Heal: only what is missing, the most endangered first, done only when a count finds every blob whole. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import type { BlobId } from '../../src/base/ids.js';
import type { Location } from '../../src/base/location.js';
import { JobUnfinished } from '../../src/durability/job.js';
import type { HealResult } from '../../src/durability/heal.js';
import { systemClock } from '../../src/base/clock.js';
import { countEndangered, recordEndangered } from '../../src/durability/survey.js';
import { samePlace } from '../../src/storage/location-codec.js';
import { checkRows } from '../namespace/check.js';
import { TestContext } from './job-context.js';
import { DurabilityRig } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };

async function unfinished(run: Promise<HealResult>): Promise<{ message: string; result: HealResult }> {
  try {
    await run;
  } catch (error) {
    if (error instanceof JobUnfinished) return { message: error.message, result: error.result as HealResult };
    throw error;
  }
  throw new Error('it says that it is done');
}

/** Shards that are elsewhere now. */
function moved(before: ReadonlyMap<BlobId, Location>, after: ReadonlyMap<BlobId, Location>): string[] {
  const found: string[] = [];
  for (const [blob, old] of before) {
    const now = must(after.get(blob), 'the blob is there');
    old.shards.forEach((place, shard) => {
      if (!samePlace(place, must(now.shards[shard], 'a place'))) found.push(`${blob}/${shard}`);
    });
  }
  return found;
}

t.test('a disk that returns gets what it missed, and nothing else moves', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('before', 6);
  const before = await rig.locations();
  rig.disks.takeOut(2);
  await rig.writeMany('while it was out', 9);
  const endangered = await countEndangered(rig.index, systemClock);
  test.ok(endangered >= 3);

  const out = await unfinished(rig.heal().run(new TestContext()));
  test.match(out.result, { whole: false, endangeredBlobs: endangered, outBlobs: before.size, healedBlobs: 0, unreadableBlobs: 0 });
  test.match(out.message, /bring disks back/);

  await rig.disks.bringBack(2);
  const context = new TestContext();
  const result = await rig.heal().run(context);
  test.match(result, { whole: true, blobs: before.size + endangered, healedBlobs: endangered, endangeredBlobs: 0, outBlobs: 0 });
  test.equal(context.progress.doneItems, endangered);
  test.equal(context.progress.totalItems, endangered);
  test.equal(context.progress.doneBytes, context.progress.totalBytes);
  const after = await rig.locations();
  test.same(moved(before, after), [], 'what it had stays where it was');
  test.equal((await rig.shardsByDisk()).get(0), undefined);
  test.equal((await rig.shardsByDisk()).get(2), after.size);
  await checkRows(rig.index);
  // The promise of m losses holds again.
  rig.disks.takeOut(5);
  rig.disks.takeOut(6);
  test.same(await rig.differing(), []);
});

t.test('blobs that may lose nothing more come first, whatever their numbers are', async (test) => {
  const rig = await DurabilityRig.create(test, { ...shape, disks: 8 });
  await rig.writeMany('f', 6);
  const blobs = [...(await rig.locations()).keys()];
  const last = must(blobs.at(-1), 'a blob');
  const rows = new Map(blobs.slice(0, -1).map((blob) => [blob, [1]]));
  rows.set(last, [0, 5]);
  await recordEndangered(rig.index, rows);
  const order: BlobId[] = [];
  const rebuild = rig.storage.rebuild.bind(rig.storage);
  rig.storage.rebuild = (location, shards, options) => {
    order.push(location.blob);
    return rebuild(location, shards, options);
  };
  const result = await rig.heal().run(new TestContext());
  test.equal(result.healedBlobs, blobs.length);
  test.equal(order[0], last);
  test.same(order.slice(1), blobs.slice(0, -1));
});

t.test('a disk that failed for good: the count finds its blobs, and they are rebuilt elsewhere', async (test) => {
  const rig = await DurabilityRig.create(test, { ...shape, disks: 7 });
  await rig.writeMany('f', 20);
  const named = must((await rig.shardsByDisk()).get(3), 'shards on the disk');
  rig.disks.takeOut(3);
  rig.setState(3, 'failed');
  test.equal(await countEndangered(rig.index, systemClock), 0, 'no row says so yet');
  const result = await rig.heal().run(new TestContext());
  test.match(result, { whole: true, healedBlobs: named });
  test.equal((await rig.shardsByDisk()).get(3), undefined);
  rig.removeMember(3);
  test.match(await rig.heal().run(new TestContext()), { whole: true, healedBlobs: 0 });
  rig.disks.takeOut(1);
  rig.disks.takeOut(2);
  test.same(await rig.differing(), []);
});

t.test('a bad shard is rebuilt in its own place’s stead while another disk is out', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 2);
  const blob = must([...(await rig.locations()).keys()][0], 'a blob');
  rig.disks.takeOut(1);
  await recordEndangered(rig.index, new Map([[blob, [3]]]));
  test.ok(await rig.heal().canHelp());
  const { result } = await unfinished(rig.heal().run(new TestContext()));
  test.match(result, { healedBlobs: 1, endangeredBlobs: 0 });
  test.ok(result.outBlobs >= 1, 'and the blobs on the disk that is out are not whole');
  test.notOk(await rig.heal().canHelp());
});

t.test('damage that is recorded while a blob is rebuilt is not forgotten', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 2);
  const [blob, location] = must([...(await rig.locations())][0], 'a blob');
  const now = await rig.storage.rebuild(location, [1]);
  await recordEndangered(rig.index, new Map([[blob, [1, 4]]]));
  await rig.namespace.moved(location, now);
  test.equal(await countEndangered(rig.index, systemClock), 1, 'shard 4 is still bad');
  test.match(await rig.heal().run(new TestContext()), { whole: true, healedBlobs: 1 });
});

t.test('more losses than the code makes up for are said, not hidden, and end when the disks are back', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 5);
  for (const disk of [1, 2, 3]) rig.disks.takeOut(disk);
  const { message, result } = await unfinished(rig.heal().run(new TestContext()));
  test.equal(result.unreadableBlobs, result.blobs);
  test.match(message, /fewer good shards/);
  for (const disk of [1, 2, 3]) await rig.disks.bringBack(disk);
  test.match(await rig.heal().run(new TestContext()), { whole: true });
});

t.test('a rebuild that fails leaves the blob for the next heal', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 5);
  const blobs = [...(await rig.locations()).keys()];
  await recordEndangered(rig.index, new Map(blobs.map((blob) => [blob, [2]])));
  const rebuild = rig.storage.rebuild.bind(rig.storage);
  rig.storage.rebuild = async () => {
    throw new OperatingError('ENOSPC', 'no room');
  };
  const { message, result } = await unfinished(rig.heal().run(new TestContext()));
  test.match(message, /no room/);
  test.equal(result.endangeredBlobs, blobs.length);
  rig.storage.rebuild = rebuild;
  test.match(await rig.heal().run(new TestContext()), { whole: true, healedBlobs: blobs.length });
  await rig.collect();
  test.same(await rig.differing(), []);
});

t.test('a heal that is ended in its midst goes on where it was', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 20);
  const blobs = [...(await rig.locations()).keys()];
  await recordEndangered(rig.index, new Map(blobs.map((blob) => [blob, [2]])));
  const context = new TestContext();
  context.endAt = blobs.length + 7;
  await test.rejects(rig.heal().run(context), { name: 'JobEnded' });
  const left = await countEndangered(rig.index, systemClock);
  test.ok(left > 0 && left < blobs.length, `${left} of ${blobs.length} are left`);
  test.match(await rig.heal().run(new TestContext()), { whole: true, healedBlobs: left });
});
