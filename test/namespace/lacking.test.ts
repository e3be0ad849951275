/** While disks are out nothing is moved to where it would be protected less (I2): what every voter has stays in the index, what is whole stays whole. */
import t from 'tap';
import { PACK_LACKING_BYTES_MIN } from '../../src/base/limits.js';
import { checkRows } from './check.js';
import { collect, contentOf, openPool, pattern, root, ROOT, rowsByTable, until, writeFile, type Pool } from './fixture.js';

const BYTES = 3000;
const NOTHING = { sparsePacks: 0, windows: 0, windowBytes: 0 };

async function many(pool: Pool, files: number): Promise<number[]> {
  const inos: number[] = [];
  for (let file = 0; file < files; file++) inos.push(await writeFile(pool.namespace, ROOT, `f${file}`, pattern(BYTES, file)));
  return inos;
}

async function inlineExtents(pool: Pool): Promise<number> {
  return ((await rowsByTable(pool.index)).get('e') ?? []).filter(({ value }) => value.length > BYTES).length;
}

async function wrong(pool: Pool, inos: readonly number[]): Promise<number[]> {
  const files: number[] = [];
  for (const [file, ino] of inos.entries()) if (!(await contentOf(pool.namespace, ino)).equals(pattern(BYTES, file))) files.push(file);
  return files;
}

t.test('small files stay in the index until the disks are back', async (test) => {
  const pool = await openPool(test);
  pool.storage.lacking = true;
  pool.storage.missing = [5];
  const inos = await many(pool, 300);
  await pool.namespace.idle();
  await pool.namespace.packer.packAll();
  test.equal(pool.storage.stores, 0, 'no blob was made');
  test.equal(await inlineExtents(pool), 300);
  test.same(await wrong(pool, inos), []);
  pool.storage.lacking = false;
  pool.storage.missing = [];
  await pool.namespace.packer.packAll();
  test.equal(await inlineExtents(pool), 0, 'all are packed');
  test.same(await wrong(pool, inos), []);
  test.same((await rowsByTable(pool.index)).get('k') ?? [], [], 'the queue is empty');
  await checkRows(pool.index);
});

t.test('a disk goes out while a pack is stored', async (test) => {
  for (const fromMemory of [true, false]) {
    const before = await openPool(test);
    const inos = await many(before, 20);
    // After a start nothing is in memory.
    const pool = fromMemory ? before : await openPool(test, { storage: before.storage, entries: before.log.entries, epoch: 2 });
    pool.storage.missing = [2];
    pool.storage.hold();
    const packing = pool.namespace.packer.packAll();
    await until(() => pool.storage.heldStores === 1);
    pool.storage.lacking = true;
    pool.storage.letGo();
    await packing;
    test.equal(await inlineExtents(pool), 20, 'all is where it was');
    await collect(pool);
    test.equal(pool.storage.usedBytes, 0, 'and the blob is gone');
    pool.storage.lacking = false;
    pool.storage.missing = [];
    await pool.namespace.packer.packAll();
    test.equal(await inlineExtents(pool), 0);
    test.same(await wrong(pool, inos), []);
    await checkRows(pool.index);
  }
});

t.test('what waits is bounded', async (test) => {
  const pool = await openPool(test);
  pool.storage.lacking = true;
  pool.storage.missing = [5];
  const inos = await many(pool, 40);
  await pool.namespace.packer.packAll();
  test.equal(await inlineExtents(pool), 40);
  pool.namespace.packer.note(PACK_LACKING_BYTES_MIN);
  await pool.namespace.idle();
  test.equal(await inlineExtents(pool), 0, 'packed all the same');
  test.same(await wrong(pool, inos), []);
  await checkRows(pool.index);
});

t.test('sparse packs stay what they are', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  const inos = await many(pool, 200);
  await namespace.packer.packAll();
  for (let file = 20; file < 200; file++) if (file % 10 !== 0) await namespace.unlink(ROOT, `f${file}`, root);
  await collect(pool);
  const { usedBytes, stores } = storage;
  const drops = namespace.ledger.partialDrops;
  storage.lacking = true;
  storage.missing = [0];
  test.same(await namespace.packer.repackAll(), NOTHING);
  test.equal(storage.stores, stores);
  test.equal(namespace.ledger.partialDrops, drops, 'it remains to be done');
  // The first to find out may be the pack itself.
  storage.lacking = false;
  await namespace.packer.repackAll();
  await collect(pool);
  test.equal(storage.usedBytes, usedBytes, 'no row points to a blob that lacks a shard');
  storage.missing = [];
  await namespace.packer.repackAll();
  await collect(pool);
  test.ok(storage.usedBytes < usedBytes / 2);
  test.same(await wrong(pool, inos.slice(0, 20)), []);
  await checkRows(pool.index);
});

t.test('who closes the namespace waits for what it moves', async (test) => {
  const pool = await openPool(test);
  await many(pool, 40);
  pool.storage.hold();
  let packed = false;
  const packing = pool.namespace.packer.packAll().then(() => (packed = true));
  await until(() => pool.storage.heldStores === 1);
  let closed = false;
  const closing = pool.namespace.close().then(() => (closed = true));
  await new Promise((resolve) => setImmediate(resolve));
  test.notOk(closed);
  pool.storage.letGo();
  await closing;
  test.ok(packed);
  await packing;
});
