/** open: flags one by one and together; what descriptors may be used for. */
import * as c from '../constants.js';
import { ALICE, BOB, type Answer } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import type { User } from '../user.js';

const creating = family('open O_CREAT', (add) => {
  for (const mode of [0, 0o400, 0o644, 0o755, 0o1644, 0o4755, 0o7777])
    add(`mode ${mode.toString(8)}`, async (s) => {
      await s.expect(s.alice.open('f', c.O_WRONLY | c.O_CREAT, mode), 'ok');
      const { mode: made, size, links, uid } = await s.stat('f');
      s.same([made, size, links, uid], [c.S_IFREG | mode, 0, 1, ALICE.uid], 'what was made');
    });
  add('of what is there: content, mode and owner stay', async (s) => {
    await s.file('f', 'content', s.alice, 0o640);
    await s.expect(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o777), 'ok');
    const { mode, uid } = await s.stat('f');
    s.same([mode & 0o7777, uid, await s.content('f')], [0o640, ALICE.uid, 'content'], 'the file');
  });
  add('O_EXCL of what is there: EEXIST, also for root, nothing is truncated', async (s) => {
    await s.file('f');
    await s.refused(() => s.root.open('f', c.O_RDWR | c.O_CREAT | c.O_EXCL | c.O_TRUNC, 0o644), 'EEXIST');
  });
  for (const [about, flags] of [
    ['O_WRONLY', c.O_WRONLY],
    ['O_RDWR', c.O_RDWR],
    ['O_RDONLY, as Linux has it', c.O_RDONLY],
  ] as const)
    add(`O_TRUNC cuts a file, with ${about}`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', flags | c.O_TRUNC));
      s.same((await s.stat('f')).size, 0, 'the size');
      await s.expect(s.root.close(fd), 0);
      s.same(await s.content('f'), '', 'the content');
      const direct = await s.value(s.root.open('f', c.O_RDONLY | c.O_DIRECT));
      const address = await s.value(s.root.call('mmap', 'i0', 'i4096', 'i3', 'i34', 'i-1', 'i0'));
      await s.expect(s.root.call('read', `i${direct}`, `i${address}`, 'i4096'), 0);
    });
  add('O_TRUNC without the right to write: EACCES, nothing is cut', async (s) => {
    await s.file('f', 'content', s.alice, 0o644);
    await s.refused(() => s.bob.open('f', c.O_RDONLY | c.O_TRUNC), 'EACCES');
    s.same(await s.content('f'), 'content', 'the content');
  });
  add('O_TRUNC under a reader: it sees the end', async (s) => {
    await s.file('f');
    const fd = await s.value(s.alice.open('f', c.O_RDONLY));
    await s.expect(s.root.open('f', c.O_WRONLY | c.O_TRUNC), 'ok');
    s.same(await s.text(s.alice.read(fd, 10)), '', 'what is read');
  });
  add('O_CREAT | O_DIRECTORY: EINVAL', async (s) => {
    await s.refused(() => s.root.open('x', c.O_RDONLY | c.O_CREAT | c.O_DIRECTORY, 0o755), 'EINVAL');
  });
  add('two that make the same name with O_EXCL: one does', async (s) => {
    for (let i = 0; i < 20; i++) {
      const both = await Promise.all([s.alice, s.bob].map((user) => user.open(`f${i}`, c.O_WRONLY | c.O_CREAT | c.O_EXCL, 0o644)));
      s.same(both.map(({ error }) => error ?? 'ok').sort(), ['EEXIST', 'ok'], 'the outcomes');
    }
  });
});

const unnamed = family('open O_TMPFILE', (add) => {
  add('has no name and no link, takes content, and leaves nothing', async (s) => {
    const fd = await s.value(s.alice.open('.', c.O_RDWR | c.O_TMPFILE, 0o640));
    await s.expect(s.alice.write(fd, 'content'), 7);
    const { mode, links, size, uid } = await s.fstat(fd, s.alice);
    s.same([mode, links, size, uid], [c.S_IFREG | 0o640, 0, 7, ALICE.uid], 'what stat says');
    s.same(await s.list('.'), [], 'the directory');
    await s.expect(s.alice.close(fd), 0);
    s.same(await s.list('.'), [], 'the directory');
  });
  add('linkat gives it a name, by /proc/self/fd', async (s) => {
    const fd = await s.value(s.alice.open('.', c.O_RDWR | c.O_TMPFILE, 0o644));
    await s.expect(s.alice.write(fd, 'content'), 7);
    await s.expect(s.alice.link(`/proc/self/fd/${fd}`, 'f', c.AT_SYMLINK_FOLLOW), 0);
    await s.expect(s.alice.write(fd, ' more'), 5);
    await s.expect(s.alice.close(fd), 0);
    s.same([await s.content('f'), (await s.stat('f')).links], ['content more', 1], 'the file');
  });
  add('linkat gives it a name, by AT_EMPTY_PATH, to root', async (s) => {
    const fd = await s.value(s.root.open('.', c.O_WRONLY | c.O_TMPFILE, 0o644));
    await s.expect(s.root.write(fd, 'content'), 7);
    await s.expect(s.root.link('', 'f', c.AT_EMPTY_PATH, fd), 0);
    s.same(await s.content('f'), 'content', 'the content');
  });
  add('linkat over a name that is there: EEXIST', async (s) => {
    await s.file('f', 'old');
    const fd = await s.value(s.root.open('.', c.O_RDWR | c.O_TMPFILE, 0o644));
    await s.refused(() => s.root.link(`/proc/self/fd/${fd}`, 'f', c.AT_SYMLINK_FOLLOW), 'EEXIST');
  });
  add('with O_EXCL it never gets a name: ENOENT', async (s) => {
    const fd = await s.value(s.root.open('.', c.O_RDWR | c.O_TMPFILE | c.O_EXCL, 0o644));
    await s.refused(() => s.root.link(`/proc/self/fd/${fd}`, 'f', c.AT_SYMLINK_FOLLOW), 'ENOENT');
  });
  add('O_RDONLY: EINVAL', async (s) => {
    await s.refused(() => s.root.open('.', c.O_RDONLY | c.O_TMPFILE, 0o644), 'EINVAL');
  });
  add('two names, and two links', async (s) => {
    const fd = await s.value(s.root.open('.', c.O_RDWR | c.O_TMPFILE, 0o644));
    await s.expect(s.root.link(`/proc/self/fd/${fd}`, 'f', c.AT_SYMLINK_FOLLOW), 0);
    await s.expect(s.root.link('f', 'g'), 0);
    s.same((await s.fstat(fd, s.root)).links, 2, 'links');
  });
});

/** Calls with a descriptor, by what it must be open for. */
const FD_CALLS: readonly (readonly [name: string, needs: 'read' | 'write' | 'either', call: (u: User, fd: number) => Promise<Answer>])[] = [
  ['read', 'read', (u, fd) => u.read(fd, 5)],
  ['pread', 'read', (u, fd) => u.pread(fd, 5, 0)],
  ['readv', 'read', (u, fd) => u.call('readv', `i${fd}`, 'V3,4', 'i2')],
  ['write', 'write', (u, fd) => u.write(fd, 'x')],
  ['pwrite', 'write', (u, fd) => u.pwrite(fd, 'x', 0)],
  ['writev', 'write', (u, fd) => u.call('writev', `i${fd}`, 'v61,62', 'i2')],
  ['ftruncate', 'write', (u, fd) => u.ftruncate(fd, 3)],
  ['fallocate', 'write', (u, fd) => u.fallocate(fd, 0, 0, 100)],
  ['lseek', 'either', (u, fd) => u.lseek(fd, 0, c.SEEK_SET)],
  ['fsync', 'either', (u, fd) => u.fsync(fd)],
  ['fdatasync', 'either', (u, fd) => u.fdatasync(fd)],
  ['fchmod', 'either', (u, fd) => u.fchmod(fd, 0o600)],
  ['fchown', 'either', (u, fd) => u.fchown(fd, -1, -1)],
  ['flock', 'either', (u, fd) => u.flock(fd, c.LOCK_EX | c.LOCK_NB)],
  ['fcntl F_SETLK F_RDLCK', 'read', (u, fd) => u.lock(fd, c.F_SETLK, { type: c.F_RDLCK })],
  ['fcntl F_SETLK F_WRLCK', 'write', (u, fd) => u.lock(fd, c.F_SETLK, { type: c.F_WRLCK })],
  ['fsetxattr', 'either', (u, fd) => u.call('fsetxattr', `i${fd}`, 'suser.a', 'h61', 'i1', 'i0')],
  ['flistxattr', 'either', (u, fd) => u.call('flistxattr', `i${fd}`, 'r100', 'i100')],
  ['fadvise', 'either', (u, fd) => u.call('fadvise64', `i${fd}`, 'i0', 'i0', 'i3')],
];
/** On a directory: what the errno is instead. */
const ON_DIRECTORY: Readonly<Record<string, string>> = { read: 'EISDIR', pread: 'EISDIR', readv: 'EISDIR' };
const DIRECTORY_CALLS: ReadonlySet<string> = new Set([
  'fsync',
  'fdatasync',
  'fchmod',
  'fchown',
  'flock',
  'fsetxattr',
  'flistxattr',
  'lseek',
]);

const descriptors = family('what a descriptor is good for', (add) => {
  for (const [name, needs, call] of FD_CALLS) {
    for (const [how, flags] of [
      ['O_RDONLY', c.O_RDONLY],
      ['O_WRONLY', c.O_WRONLY],
      ['O_RDWR', c.O_RDWR],
    ] as const) {
      const may = needs === 'either' || flags === c.O_RDWR || (needs === 'read') === (flags === c.O_RDONLY);
      const want = may ? 'ok' : name === 'ftruncate' ? 'EINVAL' : 'EBADF';
      add(`${name} by ${how}: ${want}`, async (s) => {
        await s.file('f');
        const fd = await s.value(s.root.open('f', flags));
        if (may) await s.expect(call(s.root, fd), 'ok');
        else await s.refused(() => call(s.root, fd), want);
      });
    }
    add(`${name} by O_PATH: EBADF`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', c.O_PATH));
      await s.refused(() => call(s.root, fd), 'EBADF');
    });
    add(`${name} by a descriptor that is not open: EBADF`, async (s) => {
      await s.refused(() => call(s.root, 99), 'EBADF');
    });
    const onDirectory = DIRECTORY_CALLS.has(name) ? 'ok' : ON_DIRECTORY[name];
    if (onDirectory !== undefined)
      add(`${name} of a directory: ${onDirectory}`, async (s) => {
        await s.dir('d');
        const fd = await s.value(s.root.open('d', c.O_RDONLY));
        await s.expect(call(s.root, fd), onDirectory);
      });
  }
  add('O_PATH: stat, use as a directory, and as /proc/self/fd', async (s) => {
    await s.dir('d');
    await s.file('d/f');
    const fd = await s.value(s.root.open('d', c.O_PATH));
    s.same((await s.fstat(fd, s.root)).ino, (await s.stat('d')).ino, 'the inode');
    const file = await s.value(s.root.open('f', c.O_PATH, 0, fd));
    const opened = await s.value(s.root.open(`/proc/self/fd/${file}`, c.O_RDONLY));
    s.same(await s.text(s.root.read(opened, 10)), 'content', 'the content');
  });
  add('dup shares the offset, another open does not', async (s) => {
    await s.file('f', '0123456789');
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    const twin = await s.value(s.root.dup(fd));
    const other = await s.value(s.root.open('f', c.O_RDONLY));
    s.same(await s.text(s.root.read(fd, 3)), '012', 'first');
    s.same(await s.text(s.root.read(twin, 3)), '345', 'by the duplicate');
    s.same(await s.text(s.root.read(other, 3)), '012', 'by another one');
  });
  add('close of what is closed: EBADF', async (s) => {
    await s.file('f');
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    await s.expect(s.root.close(fd), 0);
    await s.expect(s.root.close(fd), 'EBADF');
  });
  add('fcntl F_GETFL tells the flags, F_SETFL changes O_APPEND', async (s) => {
    await s.file('f', 'one');
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_SYNC));
    s.same((await s.value(s.root.fcntl(fd, c.F_GETFL))) & (c.O_RDWR | c.O_SYNC | c.O_APPEND), c.O_RDWR | c.O_SYNC, 'the flags');
    await s.expect(s.root.fcntl(fd, c.F_SETFL, c.O_APPEND), 0);
    await s.expect(s.root.write(fd, '!'), 1);
    s.same(await s.content('f'), 'one!', 'the content');
  });
});

const executing = family('ETXTBSY', (add) => {
  const program = async (s: Sandbox): Promise<void> => {
    await s.expect(s.root.open('p', c.O_WRONLY | c.O_CREAT, 0o755), 'ok');
    await s.leave();
    const source = await s.value(s.root.open(s.program, c.O_RDONLY));
    await s.expect(s.root.chdir(s.path), 0);
    const target = await s.value(s.root.open('p', c.O_WRONLY));
    const { size } = await s.fstat(source, s.root);
    for (let left = size; left > 0;) left -= await s.value(s.root.call('sendfile', `i${target}`, `i${source}`, 'n', `i${left}`));
    for (const fd of [source, target]) await s.expect(s.root.close(fd), 0);
  };
  add('a program that runs is not opened for writing, nor cut', async (s) => {
    await program(s);
    const pid = await s.value(s.root.spawn('./p', 'pause'));
    try {
      await s.refused(() => s.root.open('p', c.O_WRONLY), 'ETXTBSY');
      await s.refused(() => s.root.truncate('p', 0), 'ETXTBSY');
      await s.expect(s.root.open('p', c.O_RDONLY), 'ok');
      await s.expect(s.root.rename('p', 'q'), 0);
      await s.expect(s.root.unlink('q'), 0);
    } finally {
      await s.root.call('kill', `i${pid}`, 'i9');
      await s.root.call('wait4', `i${pid}`, 'n', 'i0', 'n');
    }
  });
  add('nor cut by O_RDONLY | O_TRUNC', async (s) => {
    await program(s);
    const pid = await s.value(s.root.spawn('./p', 'pause'));
    try {
      await s.refused(() => s.root.open('p', c.O_RDONLY | c.O_TRUNC), 'ETXTBSY');
    } finally {
      await s.root.call('kill', `i${pid}`, 'i9');
      await s.root.call('wait4', `i${pid}`, 'n', 'i0', 'n');
    }
  });
  add('a file that is open for writing is not executed', async (s) => {
    await program(s);
    const fd = await s.value(s.root.open('p', c.O_WRONLY));
    await s.expect(s.root.spawn('./p', 'pause'), 'ETXTBSY');
    await s.expect(s.root.close(fd), 0);
    const pid = await s.value(s.root.spawn('./p', 'pause'));
    await s.root.call('kill', `i${pid}`, 'i9');
    await s.root.call('wait4', `i${pid}`, 'n', 'i0', 'n');
  });
  add('a program of mode 711 runs for others, and cannot be read', async (s) => {
    await program(s);
    await s.expect(s.root.chmod('p', 0o711), 0);
    await s.expect(s.bob.open('p', c.O_RDONLY), 'EACCES');
    const pid = await s.value(s.bob.spawn('./p', 'pause'));
    await s.root.call('kill', `i${pid}`, 'i9');
    await s.bob.call('wait4', `i${pid}`, 'n', 'i0', 'n');
    s.same(BOB.uid, s.bob.process.who.uid, 'who ran it');
  });
});

export const opening: readonly Family[] = [creating, unnamed, descriptors, executing];
