/** Quotas on directories: what counts, what is refused, what moves along, and that the numbers are right whatever happens and after any crash. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import type { Ino } from '../../src/namespace/namespace.js';
import type { PoolNamespace } from '../../src/namespace/pool-namespace.js';
import { checkRows } from './check.js';
import { codeOf, contentOf, O_RDWR, O_TRUNC, O_WRONLY, openPool, pattern, ROOT, root, writeFile, type Pool } from './fixture.js';

const plain = { noReplace: false, exchange: false };

async function mkdir({ namespace }: Pool, parent: Ino, name: string): Promise<Ino> {
  return (await namespace.mkdir(parent, name, 0o755, root)).ino;
}

/** What a quota counts: inodes and bytes. */
function used({ namespace }: Pool, quota: Ino): [number, number] | undefined {
  const row = namespace.ledger.quotas.get(quota);
  return row === undefined ? undefined : [row.usedInodes, row.usedBytes];
}

async function set(pool: Pool, ino: Ino, inodesMax: number | null = null, bytesMax: number | null = null): Promise<void> {
  await pool.namespace.quotas.set(ino, { inodesMax, bytesMax });
  await pool.namespace.quotas.settled();
}

/** As writeFile, and closes the file when it cannot. */
async function tryToWrite({ namespace }: Pool, parent: Ino, name: string, data: Buffer): Promise<string> {
  const { attributes, handle } = await namespace.create(parent, name, 0o644, O_WRONLY, root);
  const { ino } = attributes;
  const written = await codeOf(() => namespace.write(ino, handle, 0, data, root));
  const flushed = await codeOf(() => namespace.flush(ino, handle));
  await namespace.release(ino, handle);
  return written === 'none' ? flushed : written;
}

t.test('everything below a directory counts, as it comes, changes and goes', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  await set(pool, dir, 100, 1_000_000);
  test.same(used(pool, dir), [1, 0], 'the directory itself');
  const file = await writeFile(namespace, dir, 'file', pattern(10_000, 1));
  test.same(used(pool, dir), [2, 10_000]);
  const sub = await mkdir(pool, dir, 'sub');
  await namespace.symlink(sub, 'link', Buffer.from('x'), root);
  test.same(used(pool, dir), [4, 10_000]);
  await namespace.link(file, sub, 'again', root);
  test.same(used(pool, dir), [4, 10_000], 'a second name is no second file');
  await writeFile(namespace, ROOT, 'outside', pattern(5000, 2));
  test.same(used(pool, dir), [4, 10_000], 'what is elsewhere does not count');

  const handle = await namespace.open(file, O_RDWR, root);
  await namespace.write(file, handle, 5000, pattern(2000, 3), root);
  await namespace.write(file, handle, 20_000, pattern(1000, 4), root);
  await namespace.flush(file, handle);
  test.same(used(pool, dir), [4, 11_000], 'holes do not count, what is overwritten counts once');
  await namespace.allocate(file, handle, 0, 4000, { keepSize: true, punch: true, zero: false }, root);
  test.same(used(pool, dir), [4, 7000]);
  await namespace.setattr(file, { size: 10_000 }, root);
  await namespace.flush(file, handle);
  test.same(used(pool, dir), [4, 6000]);
  const copied = await namespace.copyRange({ ino: file, handle, offset: 4000 }, { ino: file, handle, offset: 30_000 }, 6000, root);
  test.equal(copied, 6000);
  test.same(used(pool, dir), [4, 12_000], 'a copy that shares blobs counts in full');

  await namespace.unlink(dir, 'file', root);
  await namespace.unlink(sub, 'again', root);
  test.same(used(pool, dir), [4, 12_000], 'an unlinked file counts as long as it is open');
  await namespace.release(file, handle);
  test.same(used(pool, dir), [3, 0]);
  await checkRows(pool.index);
  await namespace.unlink(sub, 'link', root);
  await namespace.rmdir(dir, 'sub', root);
  await namespace.rmdir(ROOT, 'dir', root);
  test.equal(namespace.ledger.quotas.size, 0, 'a quota goes with its directory');
  await checkRows(pool.index);
});

t.test('EDQUOT for the inode that is too many, whichever way it comes', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  const outside = await writeFile(namespace, ROOT, 'outside', pattern(10, 1));
  await set(pool, dir, 2);
  const inside = await writeFile(namespace, dir, 'a', pattern(10, 2));
  const tries: Record<string, () => unknown> = {
    create: () => namespace.create(dir, 'b', 0o644, O_WRONLY, root),
    mkdir: () => namespace.mkdir(dir, 'b', 0o755, root),
    mknod: () => namespace.mknod(dir, 'b', 0o10644, 0, root),
    symlink: () => namespace.symlink(dir, 'b', Buffer.from('x'), root),
    unnamed: () => namespace.createUnnamed(dir, 0o600, O_RDWR, root),
    rename: () => namespace.rename(ROOT, 'outside', dir, 'b', plain, root),
  };
  for (const [name, action] of Object.entries(tries)) test.equal(await codeOf(action), 'EDQUOT', name);
  test.equal(await namespace.lookup(dir, 'b', root), undefined, 'nothing of it is there');
  await namespace.link(inside, dir, 'second name', root);
  await namespace.unlink(dir, 'second name', root);
  await namespace.rename(ROOT, 'outside', dir, 'a', plain, root);
  test.same(used(pool, dir), [2, 10], 'what takes the place of something needs no room');
  test.equal(must(await namespace.lookup(dir, 'a', root), 'the name is there').ino, outside);
  await namespace.rename(dir, 'a', ROOT, 'out', plain, root);
  test.same(used(pool, dir), [1, 0], 'what leaves makes room');
  await checkRows(pool.index);
});

t.test('EDQUOT for bytes: at once where it is certain, else from flush; the file stays as it was', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  await set(pool, dir, null, 100_000);
  const file = await writeFile(namespace, dir, 'file', pattern(90_000, 1));
  const handle = await namespace.open(file, O_RDWR, root);
  await namespace.write(file, handle, 90_000, pattern(8000, 2), root);
  test.equal(await codeOf(() => namespace.write(file, handle, 98_000, pattern(3000, 3), root)), 'EDQUOT', 'with what is not committed yet');
  test.equal(await codeOf(() => namespace.flush(file, handle)), 'EDQUOT', 'told to who closes');
  test.equal(await codeOf(() => namespace.flush(file, handle)), 'none', 'once');
  test.ok((await contentOf(namespace, file)).equals(pattern(90_000, 1)), 'the last committed version stands');
  await namespace.setattr(file, { size: 90_000 }, root);
  await namespace.flush(file, handle);
  await namespace.write(file, handle, 0, pattern(50_000, 4), root);
  await namespace.write(file, handle, 90_000, pattern(10_000, 5), root);
  await namespace.flush(file, handle);
  test.same(used(pool, dir), [2, 100_000], 'to the last byte; what is overwritten needs no room');
  test.equal(
    await codeOf(() => namespace.allocate(file, handle, 100_000, 1, { keepSize: false, punch: false, zero: false }, root)),
    'EDQUOT',
  );
  await namespace.setattr(file, { size: 1_000_000 }, root);
  test.equal(
    await codeOf(() => namespace.copyRange({ ino: file, handle, offset: 0 }, { ino: file, handle, offset: 200_000 }, 5000, root)),
    'EDQUOT',
    'copies that share blobs',
  );
  await namespace.write(file, handle, 500_000, pattern(10, 6), root);
  test.equal(await codeOf(() => namespace.flush(file, handle)), 'EDQUOT', 'a hole that is filled');
  test.same(used(pool, dir), [2, 100_000]);
  await namespace.release(file, handle);

  const again = await namespace.open(file, O_WRONLY | O_TRUNC, root);
  await namespace.write(file, again, 0, pattern(100_000, 7), root);
  await namespace.flush(file, again);
  await namespace.release(file, again);
  test.ok((await contentOf(namespace, file)).equals(pattern(100_000, 7)), 'a full quota can be written anew');
  await set(pool, dir, null, 10);
  await namespace.setattr(file, { mode: 0o600, mtime: 'now' }, root);
  await namespace.setattr(file, { size: 50_000 }, root);
  test.same(used(pool, dir), [2, 50_000], 'above a limit that was lowered: less is allowed, more is not');
  test.equal(await tryToWrite(pool, dir, 'more', pattern(1, 8)), 'EDQUOT');
  await checkRows(pool.index);
});

t.test('quotas within quotas: all of them count, each limits', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const outer = await mkdir(pool, ROOT, 'outer');
  const inner = await mkdir(pool, outer, 'inner');
  await writeFile(namespace, inner, 'old', pattern(1000, 1));
  await set(pool, inner, null, 50_000);
  await set(pool, outer, null, 10_000);
  await set(pool, ROOT, 20);
  test.same(
    [used(pool, inner), used(pool, outer), used(pool, ROOT)],
    [
      [2, 1000],
      [3, 1000],
      [4, 1000],
    ],
  );
  await writeFile(namespace, inner, 'new', pattern(8000, 2));
  test.same(
    [used(pool, inner), used(pool, outer), used(pool, ROOT)],
    [
      [3, 9000],
      [4, 9000],
      [5, 9000],
    ],
  );
  test.equal(await tryToWrite(pool, inner, 'much', pattern(2000, 3)), 'EDQUOT', 'the outer one is full');
  await namespace.unlink(inner, 'much', root);

  const status = await namespace.statfs(inner);
  test.match(status, { blockBytes: 4096, blocks: 12, blocksFree: 10, blocksAvailable: 0, files: 20, filesFree: 15 });
  test.match(await namespace.statfs(outer), { blocks: 2, blocksFree: 0, blocksAvailable: 0 });
  test.match(await namespace.statfs(ROOT), { blocks: (await namespace.statfs()).blocks, files: 20, filesFree: 15 });
  test.match(
    await namespace.statfs(must(await namespace.lookup(inner, 'new', root), 'the name is there').ino),
    status,
    'as well asked of a file',
  );

  await namespace.rename(outer, 'inner', ROOT, 'inner', plain, root);
  test.same(
    [used(pool, inner), used(pool, outer), used(pool, ROOT)],
    [
      [3, 9000],
      [1, 0],
      [5, 9000],
    ],
    'a whole quota moves',
  );
  await namespace.unlink(inner, 'old', root);
  await writeFile(namespace, outer, 'x', pattern(5000, 4));
  test.equal(await codeOf(() => namespace.rename(ROOT, 'inner', outer, 'inner', plain, root)), 'EDQUOT', 'only where it fits');
  await checkRows(pool.index);

  await namespace.quotas.clear(ROOT);
  await namespace.quotas.settled();
  test.same([used(pool, inner), used(pool, outer), used(pool, ROOT)], [[2, 8000], [2, 5000], undefined]);
  await checkRows(pool.index);
  test.equal(await codeOf(() => namespace.quotas.clear(ROOT)), 'ENODATA');
});

t.test('renames and links between quotas', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const [a, b] = [await mkdir(pool, ROOT, 'a'), await mkdir(pool, ROOT, 'b')];
  await set(pool, a, 1000, 100_000);
  await set(pool, b, 1000, 100_000);
  const file = await writeFile(namespace, a, 'file', pattern(3000, 1));
  await namespace.rename(a, 'file', b, 'file', plain, root);
  test.same(
    [used(pool, a), used(pool, b)],
    [
      [1, 0],
      [2, 3000],
    ],
  );
  test.equal(await codeOf(() => namespace.link(file, a, 'link', root)), 'EXDEV');
  await namespace.link(file, b, 'link', root);
  test.equal(await codeOf(() => namespace.rename(b, 'file', a, 'file', plain, root)), 'EXDEV', 'one of two names');
  await namespace.unlink(b, 'link', root);

  const tree = await mkdir(pool, b, 'tree');
  const deep = await mkdir(pool, tree, 'deep');
  for (let i = 0; i < 10; i++) await writeFile(namespace, deep, `f${i}`, pattern(100, i));
  await namespace.rename(b, 'tree', a, 'tree', plain, root);
  test.same(
    [used(pool, a), used(pool, b)],
    [
      [13, 1000],
      [2, 3000],
    ],
    'a small tree goes as it is',
  );
  await namespace.rename(a, 'tree', b, 'file', { noReplace: false, exchange: true }, root);
  test.same(
    [used(pool, a), used(pool, b)],
    [
      [2, 3000],
      [13, 1000],
    ],
    'and changes places',
  );
  for (let i = 10; i < 300; i++) await namespace.mknod(deep, `f${i}`, 0o644, 0, root);
  test.equal(await codeOf(() => namespace.rename(b, 'file', ROOT, 'tree', plain, root)), 'EXDEV', 'a large one has to be copied');
  test.same(
    [used(pool, a), used(pool, b)],
    [
      [2, 3000],
      [303, 1000],
    ],
    'and nothing of it has moved',
  );
  await namespace.rename(b, 'file', b, 'renamed', plain, root);
  await set(pool, tree, null, null);
  await namespace.rename(b, 'renamed', ROOT, 'tree', plain, root);
  test.same(
    [used(pool, tree), used(pool, b)],
    [
      [302, 1000],
      [1, 0],
    ],
    'with a quota of its own it goes',
  );

  const unnamed = await namespace.createUnnamed(b, 0o600, O_RDWR, root);
  test.same(used(pool, b), [2, 0]);
  await namespace.write(unnamed.attributes.ino, unnamed.handle, 0, pattern(500, 1), root);
  await namespace.link(unnamed.attributes.ino, a, 'named', root);
  await namespace.flush(unnamed.attributes.ino, unnamed.handle);
  await namespace.release(unnamed.attributes.ino, unnamed.handle);
  test.same(
    [used(pool, a), used(pool, b)],
    [
      [3, 3500],
      [1, 0],
    ],
    'O_TMPFILE counts where it gets its name',
  );
  await checkRows(pool.index);
});

t.test('a tree that is there is counted while it is used; a crash at any point goes on', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  const folders: Ino[] = [dir];
  for (let i = 0; i < 12; i++) folders.push(await mkdir(pool, folders[Math.floor(i / 2)] ?? dir, `d${i}`));
  for (let i = 0; i < 600; i++) await namespace.mknod(folders[i % 3] ?? dir, `n${i}`, 0o100644, 0, root);
  for (const [at, folder] of folders.entries()) await writeFile(namespace, folder, 'file', pattern(100, at));
  await namespace.quotas.set(dir, { inodesMax: 10_000, bytesMax: 1_000_000 });
  test.equal(namespace.ledger.quotas.get(dir)?.state, 'counting');
  // Meanwhile files come, go, and move between what is counted and what is not.
  const random = seededRandom(7);
  for (let i = 0; namespace.ledger.quotas.get(dir)?.state === 'counting'; i++) {
    const [from, to] = [folders[random.below(folders.length)] ?? dir, folders[random.below(folders.length)] ?? dir];
    await writeFile(namespace, from, `new${i}`, pattern(10, i));
    await codeOf(() => namespace.rename(from, `new${i}`, to, `moved${i}`, plain, root));
    await codeOf(() => namespace.rename(from, `n${i}`, ROOT, `out${i}`, plain, root));
    await codeOf(() => namespace.rename(from, `d${random.below(12)}`, to, `e${i}`, plain, root));
    await systemClock.yield();
  }
  await namespace.quotas.settled();
  await checkRows(pool.index);
  test.ok((used(pool, dir)?.[0] ?? 0) > 600);
  await namespace.quotas.clear(dir);
  test.ok((await namespace.create(dir, 'after', 0o644, O_WRONLY, root)).attributes.ino > 0);
  await namespace.quotas.settled();
  test.equal(namespace.ledger.quotas.size, 0);
  await checkRows(pool.index);
  await namespace.close();

  const { entries } = pool.log;
  let counting = 0;
  let clearing = 0;
  for (let length = entries.length; length > 650; length -= 3) {
    const crashed = await openPool(test, { storage: pool.storage.copy(), entries: entries.slice(0, length), epoch: 2 });
    const states = crashed.namespace.ledger.quotas.all().map(([, { state }]) => state);
    if (states.includes('counting')) counting++;
    if (states.includes('clearing')) clearing++;
    await crashed.namespace.quotas.settled();
    for (const [, { state }] of crashed.namespace.ledger.quotas.all()) test.equal(state, 'active');
    await checkRows(crashed.index);
    await crashed.namespace.close();
  }
  test.ok(counting > 2 && clearing > 0, `crashes while counting (${counting}) and clearing (${clearing})`);
});

t.test('set again while it is being cleared, and cleared while it is being counted', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  for (let i = 0; i < 600; i++) await namespace.mknod(dir, `n${i}`, 0o100644, 0, root);
  await namespace.quotas.set(dir, { inodesMax: 5 });
  await namespace.quotas.clear(dir);
  await namespace.quotas.set(dir, { inodesMax: 700 });
  await namespace.quotas.clear(dir);
  await namespace.quotas.set(dir, { bytesMax: 700 });
  await namespace.quotas.settled();
  test.match(namespace.ledger.quotas.get(dir), { state: 'active', usedInodes: 601, bytesMax: 700, inodesMax: undefined });
  test.equal(await codeOf(() => namespace.quotas.set(ROOT + 1000, {})), 'ENOENT');
  const file = must(await namespace.lookup(dir, 'n1', root), 'the name is there').ino;
  test.equal(await codeOf(() => namespace.quotas.set(file, {})), 'ENOTDIR');
  await checkRows(pool.index);
});

t.test('a quota whose directory goes while a file of it is open', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const dir = await mkdir(pool, ROOT, 'dir');
  await set(pool, dir, 10);
  await set(pool, ROOT, 10);
  const { attributes, handle } = await namespace.create(dir, 'open', 0o644, O_WRONLY, root);
  await namespace.write(attributes.ino, handle, 0, pattern(100, 1), root);
  await namespace.flush(attributes.ino, handle);
  await namespace.unlink(dir, 'open', root);
  await namespace.rmdir(ROOT, 'dir', root);
  test.same(
    [used(pool, dir), used(pool, ROOT)],
    [
      [1, 100],
      [2, 100],
    ],
  );
  await checkRows(pool.index);
  await namespace.release(attributes.ino, handle);
  test.same([used(pool, dir), used(pool, ROOT)], [undefined, [1, 0]]);
  await checkRows(pool.index);
});

t.test('pools without quotas write no row of them', async (test) => {
  const pool = await openPool(test);
  const namespace: PoolNamespace = pool.namespace;
  const dir = await mkdir(pool, ROOT, 'dir');
  await writeFile(namespace, dir, 'file', pattern(10_000, 1));
  await set(pool, dir, 10);
  await namespace.quotas.clear(dir);
  await namespace.quotas.settled();
  const { inodes } = await checkRows(pool.index);
  test.same(
    [...inodes.values()].map(({ quota }) => quota),
    [0, 0, 0],
    'and none is left of one that was cleared',
  );
});
