/** New small files are packed from memory, and whatever changes them meanwhile wins (I3). */
import t from 'tap';
import { checkRows } from './check.js';
import { contentOf, O_WRONLY, openPool, pattern, root, ROOT, rowsByTable, until, writeFile, type Pool } from './fixture.js';

const BYTES = 3000;

/** Enough files for some packs. */
async function many(pool: Pool, files: number): Promise<number[]> {
  const inos: number[] = [];
  for (let file = 0; file < files; file++) inos.push(await writeFile(pool.namespace, ROOT, `f${file}`, pattern(BYTES, file)));
  return inos;
}

async function inlineBytes(pool: Pool): Promise<number> {
  const rows = (await rowsByTable(pool.index)).get('e') ?? [];
  return rows.reduce((sum, { value }) => sum + (value.length > BYTES ? value.length : 0), 0);
}

t.test('they leave the index while more are written, unread', async (test) => {
  const pool = await openPool(test);
  const inos = await many(pool, 300);
  await pool.namespace.idle();
  test.ok((await inlineBytes(pool)) < pool.storage.blobBytesMax + BYTES, 'less than a blob is left');
  test.ok(((await rowsByTable(pool.index)).get('k') ?? []).length < 50, 'packed files left the queue');
  for (const [file, ino] of inos.entries()) test.ok((await contentOf(pool.namespace, ino)).equals(pattern(BYTES, file)), `f${file}`);
  await pool.namespace.packer.packAll();
  test.equal(await inlineBytes(pool), 0, 'all are packed');
  test.same((await rowsByTable(pool.index)).get('k') ?? [], [], 'the queue is empty');
  await checkRows(pool.index);
});

t.test('a file that changes or goes while it waits, or while its pack is stored', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const inos = await many(pool, 20);
  const handle = await namespace.open(inos[1] ?? 0, O_WRONLY, root);
  await namespace.write(inos[1] ?? 0, handle, 100, pattern(50, 7), root);
  await namespace.flush(inos[1] ?? 0, handle);
  await namespace.unlink(ROOT, 'f2', root);
  const packing = namespace.packer.packAll();
  await until(() => pool.storage.stores > 0);
  await namespace.write(inos[3] ?? 0, await namespace.open(inos[3] ?? 0, O_WRONLY, root), 0, pattern(BYTES, 99), root);
  await namespace.syncAll();
  await namespace.unlink(ROOT, 'f4', root);
  await packing;
  await namespace.release(inos[1] ?? 0, handle);
  const changed = pattern(BYTES, 1);
  changed.set(pattern(50, 7), 100);
  test.ok((await contentOf(namespace, inos[1] ?? 0)).equals(changed));
  test.ok((await contentOf(namespace, inos[3] ?? 0)).equals(pattern(BYTES, 99)));
  for (const file of [0, 5, 19]) test.ok((await contentOf(namespace, inos[file] ?? 0)).equals(pattern(BYTES, file)));
  await namespace.packer.packAll();
  test.equal(await inlineBytes(pool), 0);
  await checkRows(pool.index);
});

t.test('one commit that brings more small pieces than a blob holds', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_WRONLY, root);
  const shadow = Buffer.alloc(100_000);
  for (let at = 0; at + BYTES <= shadow.length; at += BYTES + 100) {
    shadow.set(pattern(BYTES, at), at);
    await namespace.write(attributes.ino, handle, at, shadow.subarray(at, at + BYTES), root);
  }
  await namespace.setattr(attributes.ino, { size: shadow.length }, root, handle);
  await namespace.release(attributes.ino, handle);
  test.ok((await inlineBytes(pool)) > storage.blobBytesMax);
  await namespace.packer.packAll();
  await namespace.packer.packAll();
  test.same(pool.logged, [], 'nothing failed');
  test.ok((await inlineBytes(pool)) < storage.blobBytesMax, 'what fits into one is packed');
  test.ok((await contentOf(namespace, attributes.ino)).equals(shadow));
  await checkRows(pool.index);
});

t.test('after a crash the queue has those that memory had', async (test) => {
  const before = await openPool(test);
  const inos = await many(before, 10);
  const pool = await openPool(test, { storage: before.storage, entries: before.log.entries, epoch: 2 });
  test.ok((await inlineBytes(pool)) >= 10 * BYTES);
  await pool.namespace.packer.packAll();
  test.equal(await inlineBytes(pool), 0);
  for (const [file, ino] of inos.entries()) test.ok((await contentOf(pool.namespace, ino)).equals(pattern(BYTES, file)));
  await checkRows(pool.index);
});
