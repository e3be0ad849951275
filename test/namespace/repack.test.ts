/** Packs of which most was deleted are packed anew: their space comes back, no file changes, whatever happens meanwhile (I3, I5). */
import t from 'tap';
import { checkRows } from './check.js';
import { collect, contentOf, O_RDWR, openPool, pattern, root, ROOT, until, writeFile, type Pool } from './fixture.js';

const NOTHING = { sparsePacks: 0, windows: 0, windowBytes: 0 };

/** Small files, packed; most of them deleted again. */
async function filled(pool: Pool, files: number, keep: (file: number) => boolean): Promise<Map<number, number>> {
  const { namespace } = pool;
  const kept = new Map<number, number>();
  const all: number[] = [];
  for (let file = 0; file < files; file++) all.push(await writeFile(namespace, ROOT, `f${file}`, pattern(1500 + file, file)));
  await namespace.packer.packAll();
  for (const [file, ino] of all.entries())
    if (keep(file)) kept.set(file, ino);
    else await namespace.unlink(ROOT, `f${file}`, root);
  return kept;
}

async function same(pool: Pool, kept: ReadonlyMap<number, number>): Promise<number[]> {
  const wrong: number[] = [];
  for (const [file, ino] of kept) if (!(await contentOf(pool.namespace, ino)).equals(pattern(1500 + file, file))) wrong.push(file);
  return wrong;
}

t.test('the space of deleted neighbours comes back', async (test) => {
  const pool = await openPool(test);
  const kept = await filled(pool, 400, (file) => file % 10 === 3);
  await collect(pool);
  const full = pool.storage.usedBytes;
  test.ok(full > 600_000, 'each pack has something live in it');
  test.ok(pool.namespace.ledger.partialDrops > 300);
  const { sparsePacks } = await pool.namespace.packer.repackAll();
  test.ok(sparsePacks >= 10);
  await collect(pool);
  const live = [...kept.keys()].reduce((sum, file) => sum + 1500 + file, 0);
  test.equal(pool.storage.usedBytes, live, 'what is live and nothing else');
  test.same(await same(pool, kept), []);
  await checkRows(pool.index);
  test.same(await pool.namespace.packer.repackAll(), NOTHING, 'nothing is left to do');
  test.equal(pool.storage.usedBytes, live);
});

t.test('packs with enough in them, and those shared with files far away, are left alone', async (test) => {
  const pool = await openPool(test);
  const kept = await filled(pool, 200, (file) => file % 3 !== 0);
  await collect(pool);
  const { stores } = pool.storage;
  test.same(await pool.namespace.packer.repackAll(), NOTHING);
  test.equal(pool.storage.stores, stores);
  test.same(await same(pool, kept), []);
});

t.test('files that change, go or are read while their pack is packed anew', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  const kept = await filled(pool, 200, (file) => file % 10 === 0);
  await collect(pool);
  storage.hold();
  const repacking = namespace.packer.repackAll();
  await until(() => storage.heldStores === 1);
  const changed = kept.get(50) ?? 0;
  const handle = await namespace.open(changed, O_RDWR, root);
  await namespace.write(changed, handle, 0, pattern(100, 1), root);
  const flushed = namespace.flush(changed, handle);
  await flushed;
  await namespace.release(changed, handle);
  await namespace.unlink(ROOT, 'f100', root);
  test.ok((await contentOf(namespace, kept.get(0) ?? 0)).equals(pattern(1500, 0)), 'read from the old pack');
  storage.letGo();
  await repacking;
  kept.delete(50);
  kept.delete(100);
  await collect(pool);
  test.same(await same(pool, kept), []);
  test.ok((await contentOf(namespace, changed)).equals(Buffer.concat([pattern(100, 1), pattern(1550, 50).subarray(100)])));
  await checkRows(pool.index);
});

t.test('a pack that cannot be read stays, and the others are packed', async (test) => {
  const pool = await openPool(test);
  const kept = await filled(pool, 200, (file) => file % 20 === 0);
  await collect(pool);
  const before = pool.storage.usedBytes;
  pool.storage.failReads = 1;
  await pool.namespace.packer.repackAll();
  await collect(pool);
  test.ok(pool.storage.usedBytes < before / 2);
  test.same(await same(pool, kept), []);
  await checkRows(pool.index);
});
