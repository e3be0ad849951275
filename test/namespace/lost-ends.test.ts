/**
 * After an upload is lost that changed a file's length, the kernel keeps the length that it would have made, and sends what is written next to where it would
 * lie. No file may come of that which nobody wrote: zeros in the place of what is lost, or a new end on an old beginning.
 */
import t from 'tap';
import { codeOf, contentOf, O_RDWR, O_TRUNC, openPool, pattern, root, ROOT, writeFile, type Pool } from './fixture.js';

const OLD = pattern(10_000, 1);
const LOST_END = 30_000;

/** A file of 10,000 bytes whose growth to 30,000 is lost. */
async function losing(
  test: Parameters<typeof openPool>[0] & Pick<typeof t, 'equal' | 'ok'>,
  flags = O_RDWR,
): Promise<Pool & { ino: number; handle: number }> {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  const ino = await writeFile(namespace, ROOT, 'f', OLD);
  const handle = await namespace.open(ino, flags, root);
  storage.failStores = { count: 1, code: 'EIO' };
  const start = flags === O_RDWR ? OLD.length : 0;
  await namespace.write(ino, handle, start, pattern(LOST_END - start, 2), root);
  test.equal(await codeOf(() => namespace.fsync(ino, handle, false)), 'EIO', 'it is lost, and told');
  test.ok((await contentOf(namespace, ino)).equals(OLD));
  return { ...pool, ino, handle };
}

t.test('appended by the same handle: refused as a whole, no zeros', async (test) => {
  const { namespace, ino, handle } = await losing(test);
  await namespace.write(ino, handle, LOST_END, Buffer.from('behind'), root);
  test.equal(await codeOf(() => namespace.fsync(ino, handle, false)), 'EIO');
  test.ok((await contentOf(namespace, ino)).equals(OLD));
  await namespace.write(ino, handle, LOST_END + 6, Buffer.from('behind that'), root);
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'EIO', 'and again');
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(OLD));
});

t.test('by another handle, a longer length, or a copied range: the same', async (test) => {
  const { namespace, ino, handle } = await losing(test);
  await namespace.release(ino, handle);
  const other = await namespace.open(ino, O_RDWR, root);
  await namespace.write(ino, other, LOST_END, Buffer.from('behind'), root);
  test.equal(await codeOf(() => namespace.flush(ino, other)), 'EIO');
  const mode = { keepSize: false, punch: false, zero: false };
  test.equal(await codeOf(() => namespace.allocate(ino, other, LOST_END, 5000, mode, root)), 'EIO');
  const from = { ino, handle: other, offset: 0 };
  test.equal(await codeOf(() => namespace.copyRange(from, { ...from, offset: LOST_END }, 100, root)), 'EIO');
  await namespace.release(ino, other);
  test.equal(await codeOf(() => namespace.setattr(ino, { size: LOST_END + 1 }, root)), 'EIO');
  test.ok((await contentOf(namespace, ino)).equals(OLD));
});

t.test('what is lost is written again, in any order: it is the file', async (test) => {
  const { namespace, ino, handle } = await losing(test);
  const again = pattern(LOST_END - OLD.length, 3);
  await namespace.write(ino, handle, LOST_END, Buffer.from('behind'), root);
  await namespace.write(ino, handle, 20_000, again.subarray(10_000), root);
  await namespace.write(ino, handle, 10_000, again.subarray(0, 10_000), root);
  await namespace.fsync(ino, handle, false);
  const all = Buffer.concat([OLD, again, Buffer.from('behind')]);
  test.ok((await contentOf(namespace, ino)).equals(all));
  await namespace.write(ino, handle, 50_000, Buffer.from('sparse'), root);
  await namespace.fsync(ino, handle, false);
  test.ok(
    (await contentOf(namespace, ino)).equals(Buffer.concat([all, Buffer.alloc(50_000 - all.length), Buffer.from('sparse')])),
    'a hole that a program leaves by itself is its own matter',
  );
  await namespace.release(ino, handle);
});

t.test('a part of it is written again: the rest is still missed', async (test) => {
  const { namespace, ino, handle } = await losing(test);
  await namespace.write(ino, handle, 10_000, pattern(5000, 3), root);
  await namespace.fsync(ino, handle, false);
  await namespace.write(ino, handle, LOST_END, Buffer.from('behind'), root);
  test.equal(await codeOf(() => namespace.fsync(ino, handle, false)), 'EIO');
  test.ok((await contentOf(namespace, ino)).equals(Buffer.concat([OLD, pattern(5000, 3)])));
  await namespace.release(ino, handle);
});

t.test('cut to what is there, or forgotten by the kernel: as any other file', async (test) => {
  for (const way of ['cut', 'emptied', 'forgotten']) {
    const { namespace, ino, handle } = await losing(test);
    let size = OLD.length;
    if (way === 'cut') {
      size = 7000;
      await namespace.setattr(ino, { size }, root, handle);
    }
    await namespace.release(ino, handle);
    if (way === 'forgotten') namespace.forget(ino, 1_000_000);
    const next = await namespace.open(ino, way === 'emptied' ? O_RDWR | O_TRUNC : O_RDWR, root);
    if (way === 'emptied') size = 0;
    await namespace.write(ino, next, 40_000, Buffer.from('far'), root);
    await namespace.flush(ino, next);
    await namespace.release(ino, next);
    test.ok(
      (await contentOf(namespace, ino)).equals(Buffer.concat([OLD.subarray(0, size), Buffer.alloc(40_000 - size), Buffer.from('far')])),
      way,
    );
  }
});

t.test('a replaced content is lost: no new end on an old beginning', async (test) => {
  const { namespace, ino, handle } = await losing(test, O_RDWR | O_TRUNC);
  await namespace.write(ino, handle, 5000, Buffer.from('goes on'), root);
  test.equal(await codeOf(() => namespace.fsync(ino, handle, false)), 'EIO');
  await namespace.write(ino, handle, 0, pattern(8000, 3), root);
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'EIO', 'nor a new beginning on an old end');
  test.ok((await contentOf(namespace, ino)).equals(OLD));
  await namespace.setattr(ino, { size: 0 }, root, handle);
  await namespace.write(ino, handle, 0, pattern(8000, 3), root);
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(pattern(8000, 3)));
});

t.test('a full pool: pages behind the one that was refused make no file with a hole', async (test) => {
  const pool = await openPool(test);
  const { namespace, storage } = pool;
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  storage.capacityBytes = 10_000;
  // Looked at every so often.
  await namespace.statfs();
  test.equal(await codeOf(() => namespace.write(ino, handle, 0, pattern(60_000, 1), root)), 'ENOSPC');
  storage.capacityBytes = 1e12;
  await namespace.statfs();
  await namespace.write(ino, handle, 60_000, pattern(4000, 2), root);
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'ENOSPC');
  await namespace.release(ino, handle);
  test.equal((await contentOf(namespace, ino)).length, 0);
});
