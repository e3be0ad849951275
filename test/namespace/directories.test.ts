/** Names, attributes and extended attributes: what POSIX wants of each, and errors by their codes. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import type { Ino, Namespace } from '../../src/namespace/namespace.js';
import { checkRows } from './check.js';
import { codeOf, contentOf, O_RDONLY, O_RDWR, openPool, root, ROOT, rowsByTable, writeFile } from './fixture.js';

const none = { noReplace: false, exchange: false };
const someone = { uid: 1000, gid: 100, pid: 7 };

async function list(namespace: Namespace, ino: Ino, plus = false): Promise<string[]> {
  const names: string[] = [];
  await namespace.readdir(ino, 0, plus, ({ name }) => names.push(name) > 0);
  return names;
}

t.test('what is made has the attributes that it was made with', async (test) => {
  const { namespace } = await openPool(test);
  const dir = await namespace.mkdir(ROOT, 'dir', 0o750, someone);
  test.match(dir, { mode: 0o040750, links: 2, uid: 1000, gid: 100 });
  test.equal((await namespace.getattr(ROOT)).links, 3);
  const link = await namespace.symlink(dir.ino, 'link', Buffer.from('../else\xff', 'latin1'), someone);
  test.match(link, { mode: 0o120777, size: 8 });
  test.equal((await namespace.readlink(link.ino)).toString('latin1'), '../else\xff');
  const fifo = await namespace.mknod(dir.ino, 'fifo', 0o010644, 0, someone);
  test.equal(fifo.mode, 0o010644);
  const device = await namespace.mknod(dir.ino, 'null', 0o020666, 0x103, root);
  test.match(device, { mode: 0o020666, rdev: 0x103 });
  test.same(await list(namespace, dir.ino), ['.', '..', 'link', 'fifo', 'null']);
  test.equal(must(await namespace.lookup(dir.ino, '..', root), 'the name is there').ino, ROOT);
  test.equal(must(await namespace.lookup(dir.ino, 'fifo', root), 'the name is there').ino, fifo.ino);
});

t.test('a set-group-id directory hands its group down', async (test) => {
  const { namespace } = await openPool(test);
  const dir = await namespace.mkdir(ROOT, 'dir', 0o755, root);
  await namespace.setattr(dir.ino, { mode: 0o2755, gid: 55 }, root);
  const below = await namespace.mkdir(dir.ino, 'below', 0o755, someone);
  test.match(below, { gid: 55, mode: 0o042755, uid: 1000 });
  test.match(await namespace.mknod(dir.ino, 'file', 0o100644, 0, someone), { gid: 55, mode: 0o100644 });
});

t.test('errors by their codes', async (test) => {
  const { namespace } = await openPool(test);
  const dir = await namespace.mkdir(ROOT, 'dir', 0o755, root);
  const file = await writeFile(namespace, ROOT, 'file', Buffer.from('x'));
  await namespace.mkdir(dir.ino, 'below', 0o755, root);
  test.equal(await namespace.lookup(ROOT, 'nothing', root), undefined);
  const expected: [string, () => unknown][] = [
    ['ENOTDIR', () => namespace.lookup(file, 'x', root)],
    ['ENAMETOOLONG', () => namespace.mkdir(ROOT, 'x'.repeat(256), 0o755, root)],
    ['EEXIST', () => namespace.mkdir(ROOT, 'file', 0o755, root)],
    ['EINVAL', () => namespace.mkdir(ROOT, '..', 0o755, root)],
    ['ENOTDIR', () => namespace.mkdir(file, 'x', 0o755, root)],
    ['ENOENT', () => namespace.mkdir(999, 'x', 0o755, root)],
    ['EISDIR', () => namespace.unlink(ROOT, 'dir', root)],
    ['ENOTDIR', () => namespace.rmdir(ROOT, 'file', root)],
    ['ENOTEMPTY', () => namespace.rmdir(ROOT, 'dir', root)],
    ['EINVAL', () => namespace.rename(ROOT, 'dir', dir.ino, 'x', none, root)],
    ['EISDIR', () => namespace.rename(ROOT, 'file', ROOT, 'dir', none, root)],
    ['ENOTDIR', () => namespace.rename(ROOT, 'dir', ROOT, 'file', none, root)],
    ['EPERM', () => namespace.link(dir.ino, ROOT, 'x', root)],
    ['EEXIST', () => namespace.link(file, ROOT, 'dir', root)],
    ['EINVAL', () => namespace.readlink(file)],
    ['ENAMETOOLONG', () => namespace.symlink(ROOT, 'x', Buffer.alloc(4096, 0x61), root)],
    ['EISDIR', () => namespace.open(dir.ino, O_RDWR, root)],
    ['ESTALE', () => namespace.open(12345, O_RDONLY, root)],
    ['ESTALE', () => namespace.getattr(12345)],
    ['ENOTDIR', () => list(namespace, file)],
    ['ENOTDIR', () => namespace.fsyncdir(file)],
    ['EBADF', () => namespace.read(file, 4711, 0, 1)],
    ['EISDIR', () => namespace.setattr(dir.ino, { size: 0 }, root)],
    ['EFBIG', () => namespace.setattr(file, { size: 2 ** 53 - 1 }, root)],
  ];
  for (const [code, action] of expected) test.equal(await codeOf(action), code, action.toString());
});

t.test('a removed directory that is still somebody’s working directory', async (test) => {
  const { namespace } = await openPool(test);
  const dir = await namespace.mkdir(ROOT, 'dir', 0o755, root);
  await namespace.rmdir(ROOT, 'dir', root);
  test.equal((await namespace.getattr(dir.ino)).links, 0);
  test.equal(await codeOf(() => namespace.mkdir(dir.ino, 'x', 0o755, root)), 'ENOENT');
  test.same(await list(namespace, dir.ino), ['.', '..']);
  namespace.forget(dir.ino, 1);
  test.equal(await codeOf(() => namespace.getattr(dir.ino)), 'ESTALE');
});

t.test('an inode that is gone, and that the kernel still knows', async (test) => {
  const { namespace } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'a', Buffer.from('x'));
  await namespace.setxattr(ino, 'user.kept', Buffer.from('v'), 0, root);
  await namespace.unlink(ROOT, 'a', root);
  const times = { mtime: { seconds: 5, nanoseconds: 0 }, ctime: { seconds: 5, nanoseconds: 0 } };
  test.equal((await namespace.setattr(ino, times, root)).links, 0, 'the kernel sends the times of a file that was unlinked');
  await namespace.setattr(ino, { mode: 0o600, uid: 7 }, root);
  test.match(await namespace.getattr(ino), { mode: 0o100600, uid: 7, links: 0 }, 'who looked it up before can still change it');
  test.equal(await codeOf(() => namespace.getxattr(ino, 'user.kept')), 'ESTALE', 'and looks again for what is not there any more');
  test.equal(await codeOf(() => namespace.listxattr(ino)), 'ESTALE');
  test.equal(await codeOf(() => namespace.open(ino, O_RDONLY, root)), 'ESTALE');
  namespace.forget(ino, 1);
  test.equal(await codeOf(() => namespace.setattr(ino, times, root)), 'ESTALE', 'forgotten');
  const link = await namespace.symlink(ROOT, 'link', Buffer.from('target'), root);
  await namespace.unlink(ROOT, 'link', root);
  test.equal(await codeOf(() => namespace.readlink(link.ino)), 'ESTALE', 'a link, too');
});

t.test('an inode that is held is as if it were open', async (test) => {
  const { namespace, index } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'file', Buffer.from('content'));
  const link = await namespace.symlink(ROOT, 'link', Buffer.from('target'), root);
  const releases = [await namespace.hold(ino), await namespace.hold(link.ino)];
  await namespace.unlink(ROOT, 'file', root);
  await namespace.unlink(ROOT, 'link', root);
  test.equal((await contentOf(namespace, ino)).toString(), 'content');
  test.equal((await namespace.readlink(link.ino)).toString(), 'target');
  await namespace.setxattr(ino, 'user.a', Buffer.from('v'), 0, root);
  test.equal((await rowsByTable(index)).get('z')?.length, 2, 'a crash would remove them');
  for (const release of releases) await release();
  test.equal(await codeOf(() => namespace.open(ino, O_RDONLY, root)), 'ESTALE');
  test.equal(await codeOf(() => namespace.hold(ino)), 'ESTALE');
  test.notOk((await rowsByTable(index)).has('z'), 'no orphan is left');
  await checkRows(index);
});

t.test('as many entries in one listing as there is room for, with their attributes or without', async (test) => {
  const { namespace } = await openPool(test);
  const names = [...Array(700).keys()].map((n) => `entry-${n}`);
  const inos: Ino[] = [];
  for (const name of names) {
    const { ino } = await namespace.mknod(ROOT, name, 0o100644, 0, root);
    inos.push(ino);
    namespace.forget(ino, 1);
  }
  for (const plus of [false, true]) {
    const some: string[] = [];
    await namespace.readdir(ROOT, 0, plus, ({ name }) => some.length < 600 && some.push(name) > 0);
    test.same(some, ['.', '..', ...names].slice(0, 600), 'as far as it went');
  }
  // The kernel was told of what there was room for, and asks for nothing else that is gone.
  await namespace.unlink(ROOT, 'entry-597', root);
  await namespace.unlink(ROOT, 'entry-598', root);
  test.equal((await namespace.getattr(must(inos[597], 'made'))).links, 0);
  test.equal(await codeOf(() => namespace.getattr(must(inos[598], 'made'))), 'ESTALE');
  const left = names.filter((name) => name !== 'entry-597' && name !== 'entry-598');
  for (const plus of [false, true])
    test.same(await list(namespace, ROOT, plus), ['.', '..', ...left], plus ? 'with attributes' : 'without');
});

t.test('ten thousand entries, listed while they are deleted', async (test) => {
  const { namespace, index } = await openPool(test);
  const count = 10_000;
  for (let entry = 0; entry < count; entry++) await namespace.mknod(ROOT, `entry-${entry}`, 0o100644, 0, root);
  const seen = new Set<string>();
  let offset = 0;
  let added = 0;
  for (;;) {
    const batch: string[] = [];
    await namespace.readdir(ROOT, offset, batch.length % 2 === 0, (entry) => {
      if (batch.length === 100) return false;
      batch.push(entry.name);
      offset = entry.nextOffset;
      return true;
    });
    if (batch.length === 0) break;
    for (const name of batch) {
      if (name.startsWith('.')) continue;
      if (seen.has(name)) test.fail(`${name} was listed twice`);
      seen.add(name);
      if (name.startsWith('entry-')) await namespace.unlink(ROOT, name, root);
    }
    if (added < 20) await namespace.mknod(ROOT, `added-${added++}`, 0o100644, 0, root);
  }
  test.equal([...seen].filter((name) => name.startsWith('entry-')).length, count, 'every one was seen');
  test.equal((await list(namespace, ROOT)).length, 2 + added);
  await checkRows(index);
});

t.test('a rename says which directories have another parent', async (test) => {
  const { namespace } = await openPool(test);
  const [a, b] = [await namespace.mkdir(ROOT, 'a', 0o755, root), await namespace.mkdir(ROOT, 'b', 0o755, root)];
  const [inA, inB] = [await namespace.mkdir(a.ino, 'x', 0o755, root), await namespace.mkdir(b.ino, 'x', 0o755, root)];
  await writeFile(namespace, a.ino, 'file', Buffer.from('1'));
  const exchange = { noReplace: false, exchange: true };
  test.same(await namespace.rename(ROOT, 'b', ROOT, 'c', none, root), [], 'it is where it was');
  test.same(await namespace.rename(a.ino, 'x', a.ino, 'x', none, root), [], 'nothing happens');
  test.same(await namespace.rename(a.ino, 'x', b.ino, 'x', exchange, root), [inA.ino, inB.ino]);
  test.same(await namespace.rename(a.ino, 'file', b.ino, 'x', exchange, root), [inA.ino], 'and a file goes the other way');
  test.same(await namespace.rename(a.ino, 'x', ROOT, 'y', none, root), [inB.ino]);
  test.same(await namespace.rename(b.ino, 'x', ROOT, 'z', none, root), [], 'a file knows no parent');
});

t.test('hard links share one file', async (test) => {
  const { namespace } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'a', Buffer.from('one'));
  test.equal((await namespace.link(ino, ROOT, 'b', root)).links, 2);
  await namespace.rename(ROOT, 'a', ROOT, 'b', none, root);
  test.same(await list(namespace, ROOT), ['.', '..', 'a', 'b'], 'two names of one file both stay');
  await namespace.unlink(ROOT, 'a', root);
  test.equal((await namespace.getattr(ino)).links, 1);
  test.equal((await contentOf(namespace, ino)).toString(), 'one');
});

t.test('exchange and no-replace', async (test) => {
  const { namespace, index } = await openPool(test);
  const dir = await namespace.mkdir(ROOT, 'dir', 0o755, root);
  const below = await namespace.mkdir(dir.ino, 'below', 0o755, root);
  const file = await writeFile(namespace, ROOT, 'file', Buffer.from('x'));
  await namespace.rename(ROOT, 'file', dir.ino, 'below', { noReplace: false, exchange: true }, root);
  test.equal(must(await namespace.lookup(dir.ino, 'below', root), 'the name is there').ino, file);
  test.equal(must(await namespace.lookup(ROOT, 'file', root), 'the name is there').ino, below.ino);
  test.equal(must(await namespace.lookup(below.ino, '..', root), 'the name is there').ino, ROOT);
  await checkRows(index);
  test.equal(await codeOf(() => namespace.rename(ROOT, 'file', ROOT, 'dir', { noReplace: true, exchange: false }, root)), 'EEXIST');
  test.equal(await codeOf(() => namespace.rename(ROOT, 'file', ROOT, 'x', { noReplace: false, exchange: true }, root)), 'ENOENT');
});

t.test('attributes: modes, owners, times', async (test) => {
  const { namespace } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
  await namespace.setattr(ino, { mode: 0o6755 }, root);
  test.equal((await namespace.setattr(ino, { uid: 5, gid: 6 }, root)).mode, 0o100755, 'a new owner has no privileges');
  await namespace.setattr(ino, { mode: 0o4755 }, root);
  const handle = await namespace.open(ino, O_RDWR, someone);
  await namespace.write(ino, handle, 0, Buffer.from('y'), someone);
  test.equal((await namespace.getattr(ino)).mode, 0o100755, 'nor has one who writes');
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.equal((await namespace.getattr(ino)).mode, 0o100755);
  const early = { seconds: -5, nanoseconds: 999_999_999 };
  const stat = await namespace.setattr(ino, { atime: early, mtime: { seconds: 2 ** 33, nanoseconds: 0 } }, root);
  test.same([stat.atime, stat.mtime], [early, { seconds: 2 ** 33, nanoseconds: 0 }]);
  const now = await namespace.setattr(ino, { atime: 'now' }, root);
  test.ok(now.atime.seconds > 1.5e9);
});

t.test('extended attributes', async (test) => {
  const { namespace, index } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
  test.equal(await namespace.getxattr(ino, 'security.capability'), undefined);
  await namespace.setxattr(ino, 'user.a', Buffer.from('1'), 0, root);
  await namespace.setxattr(ino, 'user.empty', Buffer.alloc(0), 1, root);
  test.equal(await codeOf(() => namespace.setxattr(ino, 'user.a', Buffer.from('2'), 1, root)), 'EEXIST');
  test.equal(await codeOf(() => namespace.setxattr(ino, 'user.b', Buffer.from('2'), 2, root)), 'ENODATA');
  await namespace.setxattr(ino, 'user.a', Buffer.alloc(65_536, 3), 2, root);
  test.equal(await codeOf(() => namespace.setxattr(ino, 'user.a', Buffer.alloc(65_537), 0, root)), 'E2BIG');
  test.equal(await codeOf(() => namespace.setxattr(ino, 'system.nfs4_acl', Buffer.alloc(4), 0, root)), 'ENOTSUP');
  const version = Buffer.from([2, 0, 0, 0]);
  test.equal(await codeOf(() => namespace.setxattr(ino, 'system.posix_acl_access', version, 0, root)), 'EINVAL', 'an ACL without entries');
  test.ok((await namespace.getxattr(ino, 'user.a'))?.equals(Buffer.alloc(65_536, 3)));
  test.equal(await namespace.getxattr(ino, 'user.b'), undefined);
  test.equal((await namespace.getxattr(ino, 'user.empty'))?.length, 0);
  test.same(await namespace.listxattr(ino), ['user.a', 'user.empty']);
  await namespace.removexattr(ino, 'user.a', root);
  test.equal(await codeOf(() => namespace.removexattr(ino, 'user.a', root)), 'ENODATA');
  await checkRows(index);
  await namespace.unlink(ROOT, 'f', root);
  test.equal((await rowsByTable(index)).get('x'), undefined, 'they go with the file');
});

t.test('a read-only pool refuses every change', async (test) => {
  const first = await openPool(test);
  const ino = await writeFile(first.namespace, ROOT, 'f', Buffer.from('content'));
  const { namespace, log } = await openPool(test, { storage: first.storage, entries: first.log.entries, readOnly: true, epoch: 2 });
  const { length } = log.entries;
  test.equal((await contentOf(namespace, ino)).toString(), 'content');
  const changes: (() => unknown)[] = [
    () => namespace.mkdir(ROOT, 'd', 0o755, root),
    () => namespace.unlink(ROOT, 'f', root),
    () => namespace.rename(ROOT, 'f', ROOT, 'g', none, root),
    () => namespace.setattr(ino, { mode: 0o600 }, root),
    () => namespace.create(ROOT, 'g', 0o644, O_RDWR, root),
    () => namespace.open(ino, O_RDWR, root),
    () => namespace.setxattr(ino, 'user.a', Buffer.from('1'), 0, root),
  ];
  for (const change of changes) test.equal(await codeOf(change), 'EROFS', change.toString());
  await namespace.close();
  test.equal(log.entries.length, length, 'nothing was written');
});

t.test('with durability=close, names and closes wait until durable', async (test) => {
  const { namespace, log } = await openPool(test, { settings: { durability: 'close' } });
  await namespace.mkdir(ROOT, 'd', 0o755, root);
  test.equal(log.durablePosition, log.head.position);
  await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
  test.equal(log.durablePosition, log.head.position);
  log.flushAtOnce = false;
  let done = false;
  const renaming = Promise.resolve(namespace.rename(ROOT, 'f', ROOT, 'g', none, root)).then(() => (done = true));
  await new Promise((resolve) => setImmediate(resolve));
  test.notOk(done);
  log.flush();
  await renaming;
  log.flushAtOnce = true;
});

t.test('fsync of a file or a directory makes everything before it durable', async (test) => {
  const { namespace, log } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
  test.ok(log.durablePosition < log.head.position);
  await namespace.fsyncdir(ROOT);
  test.equal(log.durablePosition, log.head.position);
  const handle = await namespace.open(ino, O_RDWR, root);
  await namespace.write(ino, handle, 0, Buffer.from('y'), root);
  await namespace.fsync(ino, handle, true);
  test.equal(log.durablePosition, log.head.position);
  await namespace.release(ino, handle);
});

t.test('statfs tells of the coded space and of what is on its way', async (test) => {
  const { namespace, storage } = await openPool(test);
  storage.capacityBytes = 4096 * 1000;
  const status = await namespace.statfs();
  test.match(status, { blockBytes: 4096, blocks: 1000, blocksFree: 1000 });
});
