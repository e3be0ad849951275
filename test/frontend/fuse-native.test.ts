/**
 * Mounts by the package fuse-native: values and paths without it, then real mounts of the in-memory namespace in a child. What programs see of a pool is in
 * test/e2e/fuse-native.test.ts, all that a file system does in test/posix.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { OpenFiles } from '../../src/frontend/fuse-native/open-files.js';
import { Paths } from '../../src/frontend/fuse-native/paths.js';
import { modifiedMs } from '../../src/frontend/fuse-native/record.js';
import { lengthOf, nameOf, statfsNumbers, statNumbers, textOf, timeOf } from '../../src/frontend/fuse-native/values.js';
import { isStaleMount } from '../../src/frontend/fuse/stale-mount.js';
import type { Namespace } from '../../src/namespace/namespace.js';
import { until } from '../support/pool.js';
import { run } from '../support/run.js';
import { cannotMount, MemoryDaemon } from './daemon.js';
import { MemoryNamespace } from './memory-namespace.js';

const caller = { uid: 0, gid: 0, pid: 1 };
const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (thrown: unknown) => (thrown as NodeJS.ErrnoException).code ?? String(thrown),
  );

t.test('values', async (t) => {
  const time = (seconds: number, nanoseconds = 0): { seconds: number; nanoseconds: number } => ({ seconds, nanoseconds });
  t.same(timeOf(1500n), time(1, 500_000_000));
  t.same(timeOf(-1n), time(-1, 999_000_000), 'before 1970');
  const numbers = statNumbers({
    ino: 2 ** 32 + 5,
    mode: 0o100644,
    links: 2,
    uid: 7,
    gid: 8,
    rdev: 0,
    size: 5 * 2 ** 32 + 9,
    blocks: 3,
    atime: time(-5),
    mtime: time(5_000_000, 1_999_999),
    ctime: time(1),
    btime: undefined,
  });
  t.equal(numbers[7], 5, 'inode numbers have 32 bits');
  t.same([...numbers.subarray(3, 5)], [9, 5], 'the length has 64');
  t.same([...numbers.subarray(12, 16)], [0, 0, 5_000_000_001 % 2 ** 32, 1], 'times');
  const large = statfsNumbers({
    blockBytes: 4096,
    blocks: 2 ** 33,
    blocksFree: 2 ** 31,
    blocksAvailable: 2 ** 30,
    files: 2 ** 40,
    filesFree: 1,
  });
  t.same([...large.subarray(0, 5)], [16384, 16384, 2 ** 31, 2 ** 29, 2 ** 28], '32 TiB in blocks that can be counted');
  t.equal(nameOf('ä'), '\xc3\xa4');
  t.equal(textOf('\xc3\xa4'), 'ä');
  t.throws(() => nameOf('x'.repeat(256)), { code: 'ENAMETOOLONG' });
  t.throws(() => nameOf('\uFFFD'.repeat(100)), { code: 'EILSEQ' });
  t.throws(() => lengthOf(0, 2 ** 31), { code: 'EFBIG' });
});

t.test('the modification time is taken from the record, or nothing is set', async (t) => {
  const record = Buffer.alloc(160);
  record.writeBigInt64LE(1000n, 104);
  record.writeBigInt64LE(-2000n, 112);
  t.equal(modifiedMs(record, 1000n), -2000n);
  t.throws(() => modifiedMs(record, 1001n), { code: 'EIO' }, 'another layout');
});

t.test('open files: numbers, and inodes in use', async (t) => {
  const files = new OpenFiles();
  const [one, two] = [files.add({ ino: 5, handle: 50 }), files.add({ ino: 5, handle: 51 })];
  t.not(one, 0, 'none, to the package');
  t.same(files.get(two), { ino: 5, handle: 51 });
  files.take(one);
  t.ok(files.isOpen(5));
  t.same(files.takeAll(), [{ ino: 5, handle: 51 }]);
  t.notOk(files.isOpen(5));
});

t.test('paths follow renames, removals and links', async (t) => {
  const namespace: Namespace = new MemoryNamespace();
  const paths = new Paths(namespace, caller);
  const make = async (path: string, folder: boolean): Promise<number> => {
    const place = await paths.newPlace(path);
    const { ino } = folder
      ? await namespace.mkdir(place.parent, place.name, 0o755, caller)
      : await namespace.mknod(place.parent, place.name, 0o100644, 0, caller);
    paths.made(place, ino);
    return ino;
  };
  const rename = async (from: string, to: string): Promise<void> => {
    const [source, target] = [await paths.place(from), await paths.newPlace(to)];
    await namespace.rename(source.parent, source.name, target.parent, target.name, { noReplace: false, exchange: false }, caller);
    paths.changed(source, target);
  };
  await make('/a', true);
  await make('/a/b', true);
  const file = await make('/a/b/f', false);
  t.equal(await paths.ino('/a/b/f'), file);
  await rename('/a', '/z');
  t.equal(await paths.ino('/z/b/f'), file, 'what is in a renamed folder goes along');
  t.equal(await code(paths.ino('/a/b/f')), 'ENOENT');
  const other = await make('/g', false);
  await rename('/g', '/z/b/f');
  t.equal(await paths.ino('/z/b/f'), other, 'replaced');
  await make('/a', true);
  t.equal(await code(paths.ino('/a/b/f')), 'ENOENT', 'a new folder of an old name');
  t.equal(await code(paths.ino('/z/b/f/x')), 'ENOTDIR');
  t.equal(await code(paths.newPlace('/\uFFFD')), 'EILSEQ');

  const handle = await namespace.open(other, 0, caller);
  const [from, to] = [await paths.place('/z/b/f'), await paths.place('/z/b/.fuse_hidden0000000500000001')];
  t.ok(paths.hides(from, to));
  t.notOk(paths.hides(from, await paths.place('/.fuse_hidden0000000500000001')), 'libfuse stays in the folder');
  await paths.hide(from, to);
  t.equal(await code(paths.ino('/z/b/f')), 'ENOENT');
  t.equal(await paths.ino('/z/b/.fuse_hidden0000000500000001'), other, 'by its hidden name');
  t.equal((await namespace.getattr(other)).links, 0, 'but it has none');
  paths.closed(other);
  t.equal(await code(paths.ino('/z/b/.fuse_hidden0000000500000001')), 'ENOENT');
  await namespace.release(other, handle);
  t.equal(await code(Promise.resolve().then(() => namespace.getattr(other))), 'ESTALE', 'nothing holds it');
});

const skip = (await cannotMount()) ?? false;
const start = { binding: 'fuse-native' } as const;

t.test('mounted, used, unmounted', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, { ...start, source: 'pool one' });
  t.match((await run('findmnt', ['-no', 'FSTYPE,SOURCE', daemon.mountpoint])).stdout, /fuse\.ostraka +pool.*one/);
  await fs.writeFile(daemon.at('f'), 'content');
  t.equal(await fs.readFile(daemon.at('f'), 'utf8'), 'content');
  t.equal(await code(fs.readFile(daemon.at('g'))), 'ENOENT');
  await fs.writeFile(daemon.at('ä'.repeat(127)), 'x');
  await fs.utimes(daemon.at('f'), new Date(1000), new Date(2000));
  const { atimeMs, mtimeMs } = await fs.stat(daemon.at('f'));
  t.same([atimeMs, mtimeMs], [1000, 2000], 'both times, each its own');
  t.equal((await daemon.ask('unmount 0')).code, 'done');
  t.match(await daemon.event('closed'), { handles: 0, underWay: 0, openFiles: 0 });
  t.equal(await daemon.exited, 0);
  t.same(await fs.readdir(daemon.mountpoint), []);
});

t.test('large writes and reads are not cut to pages', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  const content = Buffer.alloc((5 << 20) + 12345, 'Ostraka ');
  const count = async (): Promise<number> => Number((await daemon.ask('stats')).requests);
  const before = await count();
  await fs.writeFile(daemon.at('big'), content);
  const written = await count();
  t.ok((await fs.readFile(daemon.at('big'))).equals(content));
  t.ok(written - before < 80, `${written - before} requests for 5 MiB written`);
  t.ok((await count()) - written < 80, 'and read');
});

t.test('extended attributes keep to the room that they are given', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  await fs.writeFile(daemon.at('f'), '');
  await run('setfattr', ['-n', 'user.long', '-v', 'x'.repeat(3000), daemon.at('f')]);
  const script = [
    'import os, sys',
    'f = sys.argv[1]',
    'import ctypes; c = ctypes.CDLL(None, use_errno=True)',
    'for room in (1, 2999, 3000): b = ctypes.create_string_buffer(4000); ' +
      'r = c.getxattr(f.encode(), b"user.long", b, room); print(r, ctypes.get_errno() if r < 0 else 0, b.raw.count(b"x"))',
    'b = ctypes.create_string_buffer(4000); r = c.listxattr(f.encode(), b, 5); print(r, ctypes.get_errno())',
    'print(os.listxattr(f))',
  ];
  const { stdout } = await run('/usr/bin/python3', ['-I', '-c', script.join('\n'), daemon.at('f')]);
  t.same(stdout.trim().split('\n'), ['-1 34 0', '-1 34 0', '3000 0 3000', '-1 34', "['user.long']"]);
});

t.test('what is removed or replaced while open', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  await fs.mkdir(daemon.at('d'));
  await fs.writeFile(daemon.at('d', 'f'), 'old');
  const file = await fs.open(daemon.at('d', 'f'), 'r+');
  await fs.writeFile(daemon.at('d', 'g'), 'new');
  await fs.rename(daemon.at('d', 'g'), daemon.at('d', 'f'));
  t.same(await fs.readdir(daemon.at('d')), ['f'], 'nothing hidden is listed');
  t.equal(await fs.readFile(daemon.at('d', 'f'), 'utf8'), 'new');
  await file.write('er and longer', 3);
  t.equal((await file.stat()).nlink, 0);
  t.equal((await file.stat()).size, 16);
  t.equal(await file.readFile('utf8'), 'older and longer');
  await fs.unlink(daemon.at('d', 'f'));
  await fs.rmdir(daemon.at('d'));
  t.same(await fs.readdir(daemon.mountpoint), [], 'its folder can go');
  await file.close();
  await until('the inode is gone', async () => (await daemon.ask('stats')).inodes === 1);
});

t.test('EBUSY while open, then a lazy unmount that lets programs finish', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  const file = await fs.open(daemon.at('f'), 'w+');
  await file.write('before');
  t.equal((await daemon.ask('unmount 0')).code, 'EBUSY');
  const asked = daemon.ask('unmount 1');
  while (await fs.stat(daemon.at('f')).catch(() => undefined));
  await file.write(' after');
  t.equal((await file.read(Buffer.alloc(20), 0, 20, 0)).bytesRead, 12, 'served on');
  await file.close();
  t.equal((await asked).code, 'done');
  t.match(await daemon.event('closed'), { handles: 0 });
  t.equal(await daemon.exited, 0);
});

t.test('unmounted by somebody else, and cut off', { skip }, async (t) => {
  const first = await MemoryDaemon.start(t, start);
  await run('umount', [first.mountpoint]);
  t.match(await first.event('closed'), { handles: 0 });

  const second = await MemoryDaemon.start(t, start);
  const file = await fs.open(second.at('f'), 'w+');
  await second.ask('abort');
  t.match(await second.event('closed'), { handles: 0, openFiles: 0 }, 'what was open is released');
  t.equal(await code(file.write('x')), 'ENOTCONN');
  await file.close().catch(() => undefined);
  second.child.kill('SIGKILL');
  await second.exited;
  t.ok(await isStaleMount(second.mountpoint), 'a dead mount is known as ours');
});

t.test('calls that fail and a bug are answered', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  await fs.writeFile(daemon.at('f'), '');
  const { ino } = await fs.stat(daemon.at('f'));
  await daemon.ask(`failWrites ${ino}`);
  t.equal(await code(fs.writeFile(daemon.at('f'), 'x')), 'EIO');
  await daemon.ask('failWrites 0');
  await fs.writeFile(daemon.at('f'), 'x');
  await daemon.ask('bug 1');
  t.match((await run('stat', ['-f', daemon.mountpoint], { mayFail: true })).stderr, /Input\/output error/);
  t.ok(daemon.logs.some(({ message }) => message === 'write failed'));
  t.equal((await daemon.ask('stats')).underWay, 0);
});

t.test('many at once: more threads than libfuse keeps', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, start);
  const content = (i: number): Buffer => Buffer.alloc(100_000 + i, `${i} `);
  const children = Array.from({ length: 24 }, async (_, i) => {
    const path = daemon.at(`f${i}`);
    await fs.writeFile(join(daemon.mountpoint, `g${i}`), content(i));
    const child = spawn('cp', [join(daemon.mountpoint, `g${i}`), path]);
    await new Promise((resolve) => child.once('exit', resolve));
    return (await fs.readFile(path)).equals(content(i));
  });
  t.same(await Promise.all(children), new Array(24).fill(true));
  t.equal((await fs.readdir(daemon.mountpoint)).length, 48);
});

t.test('others may not enter unless they are let in', { skip }, async (t) => {
  const as = (path: string): Promise<string> =>
    run('setpriv', ['--reuid=4001', '--regid=4001', '--clear-groups', 'ls', path], { mayFail: true }).then(({ stderr }) => stderr);
  const daemon = await MemoryDaemon.start(t, start);
  t.match(await as(daemon.mountpoint), /Permission denied/);
  const open = await MemoryDaemon.start(t, { ...start, allowOther: true });
  await fs.chmod(open.mountpoint, 0o1777);
  t.equal(await as(open.mountpoint), '');
  await run('setpriv', ['--reuid=4001', '--regid=4001', '--clear-groups', 'cp', '-p', '/usr/bin/passwd', open.at('p')], { mayFail: true });
  const { uid, mode } = await fs.stat(open.at('p'));
  t.equal(uid, 0, "the mount's user owns it");
  t.equal(mode & 0o6000, 0, 'and it does not run as that user');
});
