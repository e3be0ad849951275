/** Collection of long contents, stranded records, endangered blobs and moved shards. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { asOperatingError, OperatingError } from '../../src/base/errors.js';
import { KiB } from '../../src/base/limits.js';
import { Collector } from '../../src/durability/collector.js';
import { Heal } from '../../src/durability/heal.js';
import { countEndangered, recordEndangered } from '../../src/durability/survey.js';
import { freeStranded } from '../../src/durability/orphans.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { decodeEndangered } from '../../src/index/schema/blob-rows.js';
import { endangeredKey, parseFreeKey } from '../../src/index/schema/tables.js';
import { FakeDisks, TestContext, unused } from './job-context.js';
import { DurabilityRig } from './rig.js';
import { ManualClock } from '../disk/manual-clock.js';
import { checkRows } from '../namespace/check.js';
import { contentOf, O_RDWR, openPool, pattern, root, ROOT, rowsByTable, writeFile, type Pool, type Test } from '../namespace/fixture.js';
import { MemoryStorage } from '../namespace/memory-storage.js';

const quiet = { clock: systemClock, log: () => undefined };

const collectorOf = ({ namespace, storage }: Pool): Collector => new Collector({ namespace, storage, ...quiet });

const healOf = ({ namespace, storage }: Pool, disks = new FakeDisks()): Heal =>
  new Heal({ namespace, storage, disks, usage: unused, ...quiet });

/** A file of `pieces` separate small extents. */
async function scattered(pool: Pool, name: string, pieces: number): Promise<number> {
  const { attributes, handle } = await pool.namespace.create(ROOT, name, 0o644, O_RDWR, root);
  const { ino } = attributes;
  for (let piece = 0; piece < pieces; piece++) await pool.namespace.write(ino, handle, piece * 100, pattern(60, piece), root);
  await pool.namespace.flush(ino, handle);
  await pool.namespace.release(ino, handle);
  return ino;
}

t.test('a long content falls in bounded steps, and the name goes at once', async (test) => {
  const pool = await openPool(test);
  await scattered(pool, 'f', 3000);
  await pool.namespace.unlink(ROOT, 'f', root);
  const after = await rowsByTable(pool.index);
  test.equal(after.get('g')?.length, 1, 'a garbage row');
  test.ok((after.get('e')?.length ?? 0) >= 3000);
  test.equal(pool.namespace.status().usedBytes, 0, 'counted at once');
  await checkRows(pool.index);
  const before = pool.log.entries.length;
  const collector = collectorOf(pool);
  await collector.collect();
  await pool.index.durable();
  await collector.collect();
  test.ok(pool.log.entries.length - before >= 12, 'in steps');
  test.same([...(await rowsByTable(pool.index)).keys()].sort(), ['c', 'i']);
  test.equal(pool.storage.blobs.size, 0);
  test.equal(collector.status().contents, 1);
});

t.test('a long cut is finished by the next start before anything is served', async (test) => {
  const pool = await openPool(test);
  const ino = await scattered(pool, 'f', 3000);
  const first = pool.log.entries.length;
  await pool.namespace.setattr(ino, { size: 1000 }, root);
  const { entries } = pool.log;
  test.ok(entries.length - first > 10, 'it took several transactions');
  for (const length of [first + 1, first + 5, entries.length - 1]) {
    const crashed = await openPool(test, { entries: entries.slice(0, length), storage: pool.storage.copy(), epoch: 2 });
    test.equal((await crashed.namespace.getattr(ino)).size, 1000);
    await crashed.namespace.setattr(ino, { size: 5000 }, root);
    const content = await contentOf(crashed.namespace, ino);
    test.ok(
      content.subarray(1000).every((byte) => byte === 0),
      'nothing old shows behind the cut',
    );
    await checkRows(crashed.index);
    test.equal((await rowsByTable(crashed.index)).get('g'), undefined);
  }
});

t.test('space that cannot be given back now is tried again', async (test) => {
  const pool = await openPool(test);
  await writeFile(pool.namespace, ROOT, 'f', pattern(50_000, 1));
  await pool.namespace.unlink(ROOT, 'f', root);
  await pool.index.durable();
  const clock = new ManualClock();
  const warnings: string[] = [];
  const collector = new Collector({ ...pool, clock, log: (_, message) => warnings.push(message) });
  const { storage } = pool;
  const free = storage.free.bind(storage);
  let asked = 0;
  storage.free = async () => {
    asked++;
    throw new OperatingError('ENOSPC', 'not now');
  };
  for (let second = 0; second < 100; second++) {
    await collector.collect();
    await clock.advance(1000);
  }
  test.equal((await rowsByTable(pool.index)).get('f')?.length, 1, 'the row stays');
  test.equal(asked, 7, 'asked after 0, 1, 3, 7, 15, 31, 63 seconds');
  test.equal(warnings.length, 1);
  test.match(collector.status(), { waitingBlobs: 1, freedBlobs: 0, failure: { code: 'ENOSPC' } });
  storage.free = free;
  await writeFile(pool.namespace, ROOT, 'g', pattern(50_000, 2));
  await pool.namespace.unlink(ROOT, 'g', root);
  await pool.index.durable();
  await collector.collect();
  test.equal(storage.blobs.size, 1, 'another one does not wait for it');
  await clock.advance(300_000);
  await pool.index.durable();
  await collector.collect();
  test.equal((await rowsByTable(pool.index)).get('f'), undefined);
  test.equal(storage.blobs.size, 0);
  test.match(collector.status(), { waitingBlobs: 0, freedBlobs: 2, failure: undefined });
});

t.test('more refusals than are remembered stop a round; the rows stay, and all go when the disk allows', async (test) => {
  const pool = await openPool(test);
  const clock = new ManualClock();
  const collector = new Collector({ ...pool, clock, log: () => undefined, waitingMax: 3 });
  for (let file = 0; file < 6; file++) await writeFile(pool.namespace, ROOT, `f${file}`, pattern(50_000, file));
  for (let file = 0; file < 6; file++) await pool.namespace.unlink(ROOT, `f${file}`, root);
  await pool.index.durable();
  const { storage } = pool;
  const free = storage.free.bind(storage);
  storage.free = async () => {
    throw new OperatingError('ENOSPC', 'not now');
  };
  await test.rejects(collector.collect(), { code: 'ENOSPC' });
  test.equal((await rowsByTable(pool.index)).get('f')?.length, 6);
  test.equal(collector.status().waitingBlobs, 3);
  storage.free = free;
  await clock.advance(2000);
  await collector.collect();
  test.equal(storage.blobs.size, 0);
});

t.test('whoever finds no room gets the space of what was deleted', async (test) => {
  const storage = new MemoryStorage();
  storage.capacityBytes = 500_000;
  const pool = await openPool(test, { storage });
  const { namespace } = pool;
  const code = async (work: Promise<unknown>): Promise<string> => {
    const { code } = await work.then(() => ({ code: 'done' }), asOperatingError);
    return code;
  };
  await writeFile(namespace, ROOT, 'kept', pattern(100_000, 1));
  await writeFile(namespace, ROOT, 'old', pattern(350_000, 2));
  await namespace.unlink(ROOT, 'old', root);
  test.equal(await code(writeFile(namespace, ROOT, 'refused', pattern(300_000, 3))), 'ENOSPC', 'nobody collects');
  await namespace.unlink(ROOT, 'refused', root);
  const collector = collectorOf(pool);
  namespace.space.reclaimer = () => collector.reclaim();
  for (let turn = 0; turn < 20; turn++) {
    const data = pattern(300_000, turn);
    await writeFile(namespace, ROOT, 'again', data);
    const { ino } = must(await namespace.lookup(ROOT, 'again', root), 'the name is there');
    test.ok((await contentOf(namespace, ino)).equals(data), `file ${turn}`);
    await namespace.unlink(ROOT, 'again', root);
  }
  test.ok(collector.status().freedBlobs >= 20);
  await writeFile(namespace, ROOT, 'most', pattern(350_000, 4));
  test.equal(await code(writeFile(namespace, ROOT, 'more', pattern(100_000, 5))), 'ENOSPC', 'nothing is left to give back');
  const { ino } = must(await namespace.lookup(ROOT, 'kept', root), 'the name is there');
  test.ok((await contentOf(namespace, ino)).equals(pattern(100_000, 1)));
});

t.test('the collector runs by itself, and stops', async (test) => {
  let tick = (): void => undefined;
  const clock = {
    ...systemClock,
    after: (_: number, action: () => void) => {
      tick = action;
      return () => undefined;
    },
  };
  const pool = await openPool(test);
  const collector = new Collector({ namespace: pool.namespace, storage: pool.storage, clock, log: () => undefined });
  await writeFile(pool.namespace, ROOT, 'f', pattern(50_000, 1));
  await pool.namespace.unlink(ROOT, 'f', root);
  await pool.index.durable();
  collector.start();
  tick();
  await collector.stop();
  // It may have been stopped before its first step; a new one does the rest.
  await collectorOf(pool).collect();
  test.equal(pool.storage.blobs.size, 0);
});

/** A pool whose last session stored blobs that no row knows of. */
async function stranded(test: Test): Promise<{ pool: Pool; blobs: number[] }> {
  const first = await openPool(test);
  await writeFile(first.namespace, ROOT, 'kept', pattern(50_000, 1));
  await writeFile(first.namespace, ROOT, 'deleted', pattern(50_000, 2));
  await first.namespace.unlink(ROOT, 'deleted', root);
  const { entries } = first.log;
  await first.storage.store(pattern(1000, 3));
  const storage = first.storage.copy();
  const pool = await openPool(test, { entries, storage, epoch: 2 });
  await writeFile(pool.namespace, ROOT, 'new', pattern(50_000, 4));
  return { pool, blobs: [...storage.blobs.keys()] };
}

t.test('I10: stranded records are found and freed, nothing else', async (test) => {
  const { pool, blobs } = await stranded(test);
  const { storage, index } = pool;
  // A leftover shard of a blob that lives, at a place that its row does not name.
  const kept = must(blobs[0], 'a blob');
  await storage.rebuild(must(await pool.namespace.ledger.locations.find(kept), 'its location'), [2]);
  const report = await freeStranded({ index, storage, ...quiet, stopped: () => false });
  test.equal(report.strandedRecords, 6, 'the six shards of the one blob');
  test.equal(storage.blobs.size, 3, 'kept, deleted (the collector’s) and new');
  const { ino } = must(await pool.namespace.lookup(ROOT, 'kept', root), 'the name is there');
  test.ok((await contentOf(pool.namespace, ino)).equals(pattern(50_000, 1)));
});

t.test('I10 fails closed: an index that cannot answer frees nothing', async (test) => {
  const { pool, blobs } = await stranded(test);
  const broken = Object.create(pool.index) as IndexStore;
  broken.durable = () => pool.index.durable();
  broken.get = async () => {
    throw new OperatingError('EIO', 'damaged');
  };
  await test.rejects(freeStranded({ index: broken, storage: pool.storage, ...quiet, stopped: () => false }), { code: 'EIO' });
  test.same([...pool.storage.blobs.keys()], blobs);
});

t.test('I2: what is missing is recorded with the commit, and healed', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage, index } = pool;
  storage.missing = [1, 4];
  const data = pattern(150_000, 1);
  const ino = await writeFile(namespace, ROOT, 'f', data);
  storage.missing = [];
  const rows = (await rowsByTable(index)).get('m') ?? [];
  test.ok(rows.length >= 3);
  for (const { value } of rows) test.same(decodeEndangered(value), [1, 4]);
  test.equal(await countEndangered(index, systemClock), rows.length);
  const report = await healOf(pool).run(new TestContext());
  test.match(report, { whole: true, healedBlobs: rows.length, endangeredBlobs: 0, blobs: rows.length });
  test.equal((await rowsByTable(index)).get('m'), undefined);
  await checkRows(index);
  test.ok((await contentOf(namespace, ino)).equals(data));
  await namespace.unlink(ROOT, 'f', root);
  await index.durable();
  await collectorOf(pool).collect();
  test.equal(storage.blobs.size, 0, 'healed shards go with their blob');
});

t.test('a shard that rots is recorded, rebuilt, and its old place freed', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage, index } = pool;
  await writeFile(namespace, ROOT, 'f', pattern(50_000, 1));
  const blob = must([...storage.blobs.keys()][0], 'a blob');
  await recordEndangered(index, new Map([[blob, [3]]]));
  await recordEndangered(
    index,
    new Map([
      [blob, [0]],
      [999, [0]],
    ]),
  );
  test.same(decodeEndangered(must(await index.get(endangeredKey(blob)), 'a row')), [0, 3]);
  test.equal((await healOf(pool).run(new TestContext())).healedBlobs, 1);
  const free = (await rowsByTable(index)).get('f') ?? [];
  test.same(
    free.map(({ key }) => parseFreeKey(key)),
    [{ blob, serial: 1 }],
  );
  await index.durable();
  await collectorOf(pool).collect();
  test.equal(storage.blobs.get(blob)?.places.size, 6, 'six places again');
  await checkRows(index);
});

t.test('two movers of one blob do not undo each other', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  await writeFile(namespace, ROOT, 'f', pattern(50_000, 1));
  const blob = must([...storage.blobs.keys()][0], 'a blob');
  const old = must(await namespace.ledger.locations.find(blob), 'its location');
  const one = await storage.rebuild(old, [1]);
  const two = await storage.rebuild(old, [2]);
  test.ok(await namespace.moved(old, one));
  test.ok(await namespace.moved(old, two));
  const now = must(await namespace.ledger.locations.find(blob), 'its location');
  test.same(now.shards[1], one.location.shards[1]);
  test.same(now.shards[2], two.location.shards[2]);
  test.same(now.shards[3], old.shards[3]);
  test.equal((await rowsByTable(pool.index)).get('f')?.length, 2, 'both old places wait to be freed');
});

t.test('I10: a deleted blob that moved more than once leaves nothing where it was in between', async (test) => {
  const rig = await DurabilityRig.create(test, { disks: 4, k: 2, m: 2 });
  await rig.write('f', 100 * KiB);
  await rig.remove('f');
  // A full disk stays in: each sync that finds no space moves the shard to another segment.
  rig.pool.backend.medium(2).failNext('sync', 'ENOSPC', 3, 'segments/');
  for (let round = 0; round < 3; round++) test.equal(await rig.storage.sync(), false, 'a shard was moved');
  await rig.index.durable();
  await rig.collect();
  const records: number[] = [];
  for (const disk of [1, 2, 3, 4])
    for await (const { kind } of rig.storage.scanRecords(disk, undefined, { frames: false })) if (kind === 'record') records.push(disk);
  test.same(records, []);
});

t.test('a blob that moves before its row is committed is committed where it is', async (test) => {
  const storage = new MemoryStorage();
  const pool = await openPool(test, { storage });
  const { namespace, index } = pool;
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  let letGo = (): void => undefined;
  // Nobody commits while this has the turn.
  const turn = namespace.ledger.exclusively(() => new Promise<void>((resolve) => (letGo = resolve)));
  await namespace.write(attributes.ino, handle, 0, pattern(30_000, 1), root);
  const flushed = namespace.flush(attributes.ino, handle);
  while (storage.blobs.size === 0) await systemClock.yield();
  await systemClock.yield();
  const blob = must([...storage.blobs.keys()][0], 'a blob');
  const old = must(namespace.ledger.locations.expected(blob), 'on its way').location;
  const moved = await storage.rebuild(old, [5]);
  test.equal(await namespace.moved(old, moved), true);
  letGo();
  await turn;
  await flushed;
  test.same((await namespace.ledger.locations.find(blob))?.shards, moved.location.shards);
  await namespace.release(attributes.ino, handle);
  await checkRows(index);
  test.equal(await namespace.moved({ ...old, blob: 12345 }, moved), false, 'a blob that nothing refers to');
});
