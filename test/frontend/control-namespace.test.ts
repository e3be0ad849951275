/** `/.ostraka` over a namespace that has something of that name already, as pools from before may: it comes first, and can be moved out of the way. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { ControlDirectory, CONTROL_INO } from '../../src/frontend/fuse/control-directory.js';
import { ControlNamespace, CONTROL_NAME } from '../../src/frontend/fuse/control-namespace.js';
import { codeOf, O_WRONLY, openPool, ROOT, root, writeFile } from '../namespace/fixture.js';

const plain = { noReplace: false, exchange: false };

t.test('what a pool has by that name comes first', async (test) => {
  const { namespace } = await openPool(test);
  const file = { name: 'health', content: async () => 'good\n' };
  const shown = new ControlNamespace(namespace, new ControlDirectory([file], { seconds: 1, nanoseconds: 0 }));
  const own = await writeFile(namespace, ROOT, CONTROL_NAME, Buffer.from('mine'));
  test.equal(must(await shown.lookup(ROOT, CONTROL_NAME, root), 'the name is there').ino, own);
  test.equal(await codeOf(() => shown.create(ROOT, CONTROL_NAME, 0o644, O_WRONLY, root)), 'EEXIST');
  test.equal(await codeOf(() => shown.link(own, ROOT, CONTROL_NAME, root)), 'EEXIST');
  const other = await writeFile(namespace, ROOT, 'other', Buffer.from('other'));
  await shown.rename(ROOT, 'other', ROOT, CONTROL_NAME, plain, root);
  test.equal(must(await shown.lookup(ROOT, CONTROL_NAME, root), 'the name is there').ino, other, 'it may be replaced');

  await shown.rename(ROOT, CONTROL_NAME, ROOT, 'away', plain, root);
  const control = must(await shown.lookup(ROOT, CONTROL_NAME, root), 'the name is there');
  test.equal(control.ino, CONTROL_INO);
  const tries: Record<string, () => unknown> = {
    create: () => shown.create(ROOT, CONTROL_NAME, 0o644, O_WRONLY, root),
    mkdir: () => shown.mkdir(ROOT, CONTROL_NAME, 0o755, root),
    mknod: () => shown.mknod(ROOT, CONTROL_NAME, 0o100644, 0, root),
    symlink: () => shown.symlink(ROOT, CONTROL_NAME, Buffer.from('x'), root),
    link: () => shown.link(other, ROOT, CONTROL_NAME, root),
    'rename to': () => shown.rename(ROOT, 'away', ROOT, CONTROL_NAME, plain, root),
    'rename from': () => shown.rename(ROOT, CONTROL_NAME, ROOT, 'x', plain, root),
    exchange: () => shown.rename(ROOT, 'away', ROOT, CONTROL_NAME, { noReplace: false, exchange: true }, root),
    unlink: () => shown.unlink(ROOT, CONTROL_NAME, root),
    rmdir: () => shown.rmdir(ROOT, CONTROL_NAME, root),
    'create inside': () => shown.create(CONTROL_INO, 'x', 0o644, O_WRONLY, root),
    'O_TMPFILE inside': () => shown.createUnnamed(CONTROL_INO, 0o600, O_WRONLY, root),
    setattr: () => shown.setattr(CONTROL_INO + 1, { mode: 0o777 }, root),
    setxattr: () => shown.setxattr(CONTROL_INO, 'user.a', Buffer.from('b'), 0, root),
  };
  for (const [name, action] of Object.entries(tries)) test.equal(await codeOf(action), 'EPERM', name);
  test.equal(must(await shown.lookup(ROOT, 'away', root), 'the name is there').ino, other, 'and nothing has moved');
  const sub = await shown.mkdir(ROOT, 'sub', 0o755, root);
  test.equal((await shown.mkdir(sub.ino, CONTROL_NAME, 0o755, root)).links, 2, 'elsewhere it is a name like any other');
});

t.test('a content is made once for each handle', async (test) => {
  const { namespace } = await openPool(test);
  let made = 0;
  const file = { name: 'count', content: async () => `${++made}\n` };
  const shown = new ControlNamespace(namespace, new ControlDirectory([file], { seconds: 1, nanoseconds: 0 }));
  const { ino } = must(await shown.lookup(CONTROL_INO, 'count', root), 'the name is there');
  const read = async (handle: number, offset: number): Promise<string> =>
    Buffer.concat((await shown.read(ino, handle, offset, 10)).pieces).toString();
  const [first, second] = [await shown.open(ino, 0, root), await shown.open(ino, 0, root)];
  test.same([await read(first, 0), await read(second, 0), await read(first, 0), await read(first, 2)], ['1\n', '2\n', '1\n', '']);
  await shown.flush(ino, first);
  await shown.release(ino, first);
  test.equal(await codeOf(() => read(first, 0)), 'EBADF');
  await shown.release(ino, second);
  test.equal(await codeOf(() => shown.open(ino, O_WRONLY, root)), 'EACCES');
});
