/** Drain and rebalance: disks are emptied and evened out, nothing is lost or unprotected on the way, and both go on after an interruption. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { Collector } from '../../src/durability/collector.js';
import { Drain } from '../../src/durability/drain.js';
import { JobUnfinished } from '../../src/durability/job.js';
import { Rebalance } from '../../src/durability/rebalance.js';
import { countEndangered } from '../../src/durability/survey.js';
import { checkRows } from '../namespace/check.js';
import { TestContext } from './job-context.js';
import { DurabilityRig } from './rig.js';

const shape = { disks: 7, k: 4, m: 2 };

/** Runs a job while the collector does its work, as in a daemon. */
async function beside<T>(rig: DurabilityRig, run: Promise<T>): Promise<T> {
  const collector = new Collector({ namespace: rig.namespace, storage: rig.storage, clock: systemClock, log: () => undefined });
  collector.start();
  try {
    return await run;
  } finally {
    await collector.stop();
  }
}

/** Bytes of records on a disk. */
const used = (rig: DurabilityRig, disk: number): number => rig.pool.backend.medium(disk).usedBytes();

t.test('a drained disk is empty, and every blob has all its shards', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 30);
  await rig.pool.syncAll();
  const named = must((await rig.shardsByDisk()).get(3), 'shards');
  const before = used(rig, 3);
  rig.setState(3, 'draining');
  const context = new TestContext();
  const result = await beside(rig, new Drain(rig.options).run(context));
  test.match(result, { emptyDisks: [3], movedShards: named, leftShards: 0 });
  test.equal(context.progress.doneBytes, context.progress.totalBytes);
  test.equal(context.progress.doneItems, named);
  const shards = await rig.shardsByDisk();
  test.equal(shards.get(3), undefined);
  test.equal(shards.get(0), undefined);
  test.equal(await countEndangered(rig.index, systemClock), 0, 'nothing was without protection');
  test.ok(used(rig, 3) < before / 4, `${before} → ${used(rig, 3)} bytes`);
  await checkRows(rig.index);
  rig.removeMember(3);
  rig.disks.takeOut(3);
  rig.disks.takeOut(1);
  rig.disks.takeOut(7);
  test.same(await rig.differing(), []);
});

t.test('a disk that is out is drained from the others', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 10);
  rig.disks.takeOut(2);
  rig.setState(2, 'draining');
  const drain = new Drain(rig.options);
  const context = new TestContext();
  // Places on it cannot be given back before it returns; nobody waits for that.
  test.match(await drain.run(context), { emptyDisks: [2], leftShards: 0 });
  test.same(await rig.differing(), []);
});

t.test('where no disk can take them, shards stay, and the drain says so', async (test) => {
  const rig = await DurabilityRig.create(test, { ...shape, disks: 6 });
  await rig.writeMany('f', 5);
  rig.setState(1, 'draining');
  await new Drain(rig.options).run(new TestContext()).then(
    () => test.fail('it says that it is done'),
    (error: unknown) => {
      if (!(error instanceof JobUnfinished)) throw error;
      test.match(error.message, /5 shards are still on disk 1/);
      test.match(error.result, { leftShards: 5, emptyDisks: [], movedShards: 0 });
    },
  );
  test.equal((await rig.shardsByDisk()).get(1), 5);
  test.equal(await countEndangered(rig.index, systemClock), 0, 'and are not called endangered');
  test.same(await rig.differing(), []);
});

t.test('a drain that is interrupted goes on; one that is taken back ends', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 30);
  const named = must((await rig.shardsByDisk()).get(5), 'shards');
  rig.setState(5, 'draining');
  const first = new TestContext();
  first.endAt = 12;
  await test.rejects(new Drain(rig.options).run(first), { name: 'JobEnded' });
  const left = (await rig.shardsByDisk()).get(5) ?? 0;
  test.ok(left > 0 && left < named, `${left} of ${named} are left`);
  rig.setState(5, 'active');
  test.match(await new Drain(rig.options).run(new TestContext()), { emptyDisks: [], movedShards: 0 });
  rig.setState(5, 'draining');
  test.match(await beside(rig, new Drain(rig.options).run(new TestContext())), { emptyDisks: [5], movedShards: left });
  test.same(await rig.differing(), []);
});

t.test('what is written while a disk is drained goes elsewhere', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('before', 20);
  rig.setState(4, 'draining');
  const run = beside(rig, new Drain(rig.options).run(new TestContext()));
  for (let file = 0; file < 10; file++) {
    await rig.write(`during${file}`, 90_000);
    await rig.remove(`before${file}`);
  }
  test.match(await run, { emptyDisks: [4], leftShards: 0 });
  test.equal((await rig.shardsByDisk()).get(4), undefined);
  test.same(await rig.differing(), []);
  await checkRows(rig.index);
});

t.test('a disk that joined gets its part of what was there before, by its size', async (test) => {
  const capacityBytes = [24, 24, 24, 24, 24, 24, 26].map((size) => size * MiB);
  const rig = await DurabilityRig.create(test, { ...shape, capacityBytes }, 6);
  for (let file = 0; file < 60; file++) await rig.write(`f${file}`, 400_000);
  await rig.join(7);
  test.equal((await rig.shardsByDisk()).get(7), undefined);
  const context = new TestContext();
  const result = await beside(rig, new Rebalance(rig.options).run(context));
  test.equal(result.even, true);
  const levels = result.levels.map(({ after }) => after);
  test.ok(Math.max(...levels) - Math.min(...levels) <= 0.05, `levels ${levels.map((level) => level.toFixed(3)).join(' ')}`);
  const before = result.levels.map((level) => level.before);
  test.ok(Math.max(...before) - Math.min(...before) > 0.2);
  test.ok(((await rig.shardsByDisk()).get(7) ?? 0) > 40);
  const spread = [...(await rig.locations()).values()].map(({ shards }) => new Set(shards.map(({ disk }) => disk)).size);
  test.ok(spread.every((disks) => disks === 6));
  test.equal(await countEndangered(rig.index, systemClock), 0);
  test.same(await rig.differing(), []);
  const again = await new Rebalance(rig.options).run(new TestContext());
  test.match(again, { even: true, movedShards: 0 });
});

t.test('zones are kept, and an end comes where they leave no choice', async (test) => {
  const zones = ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c'];
  const rig = await DurabilityRig.create(test, { disks: 9, k: 4, m: 2, zones, capacityBytes: 16 * MiB }, 8);
  await rig.writeMany('f', 30);
  await rig.join(9);
  const { membership } = rig.disks;
  rig.disks.membership = { ...membership, members: membership.members.map((each) => (each.number === 9 ? { ...each, zone: 'c' } : each)) };
  await beside(rig, new Rebalance(rig.options).run(new TestContext()));
  for (const { shards } of (await rig.locations()).values()) {
    const counts = new Map<string, number>();
    for (const { disk } of shards) counts.set(zones[disk - 1] ?? '', (counts.get(zones[disk - 1] ?? '') ?? 0) + 1);
    if (Math.max(...counts.values()) > 2) test.fail('a zone has more than m shards of a blob');
  }
  test.same(await rig.differing(), []);
});

t.test('as many disks as shards: nothing moves, and it ends', async (test) => {
  const capacityBytes = [16, 64, 16, 16, 16, 16].map((size) => size * MiB);
  const rig = await DurabilityRig.create(test, { disks: 6, k: 4, m: 2, capacityBytes });
  for (let file = 0; file < 40; file++) await rig.write(`f${file}`, 400_000);
  test.match(await new Rebalance(rig.options).run(new TestContext()), { even: false, movedShards: 0 });
});
