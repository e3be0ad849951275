/** link, unlink, symlink, readlink, mkdir, rmdir, mknod: what each does to names, links and kinds. */
import * as c from '../constants.js';
import { NULL_DEVICE, type Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import { decodeEntries } from '../user.js';

const makedev = (major: number, minor: number): number => ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;

/** Names that are awkward for programs, not for file systems: bytes as latin1. */
export const NAMES: readonly (readonly [about: string, name: string])[] = [
  ['of one byte', 'a'],
  ['of 255 bytes', 'n'.repeat(255)],
  ['of 255 bytes that are no UTF-8', '\xff'.repeat(255)],
  ['that is UTF-8', Buffer.from('Ärger größer 好').toString('latin1')],
  ['of bytes that are no UTF-8', '\xc3\x28\xff\xfe'],
  ['with an overlong encoding', '\xc0\xaf'],
  ['of blanks', '   '],
  ['with a newline', 'a\nb\n'],
  ['with a backslash and quotes', '\\\'"`$'],
  ['of control characters', '\x01\x02\x1b[0m\x7f'],
  ['that begins with a dash', '--help'],
  ['that begins with a dot', '.hidden'],
  ['of three dots', '...'],
  ['with a star', '*?[]'],
  ['that differs by case', 'Case'],
  ['of every byte but / and NUL', Array.from({ length: 254 }, (_, i) => String.fromCharCode(i < 46 ? i + 1 : i + 2)).join('')],
];

async function nlink(s: Sandbox, path: string): Promise<number> {
  return (await s.stat(path)).links;
}

const link = family('link', (add) => {
  for (const kind of ['file', 'fifo', 'socket', 'character device', 'block device', 'link to a file', 'dangling link'] as const)
    add(`a ${kind} with two names is one inode with two links`, async (s) => {
      await s.kind(kind, 'x');
      const before = await s.stat('x');
      await s.expect(s.root.link('x', 'y'), 0);
      const [x, y] = [await s.stat('x'), await s.stat('y')];
      s.same([x.ino, x.links, x.mode], [before.ino, 2, before.mode], 'the first name');
      s.same(x, y, 'both names');
      await s.expect(s.root.unlink('x'), 0);
      s.same([(await s.stat('y')).ino, await nlink(s, 'y')], [before.ino, 1], 'what is left');
    });
  add('what is written by one name is read by the other', async (s) => {
    await s.file('x', 'one');
    await s.expect(s.root.link('x', 'y'), 0);
    const fd = await s.value(s.root.open('y', c.O_WRONLY | c.O_APPEND));
    await s.expect(s.root.write(fd, ' two'), 4);
    s.same(await s.content('x'), 'one two', 'the content');
  });
  add('AT_SYMLINK_FOLLOW links what the symbolic link leads to', async (s) => {
    await s.file('x');
    await s.expect(s.root.symlink('x', 'l'), 0);
    await s.expect(s.root.link('l', 'y', c.AT_SYMLINK_FOLLOW), 0);
    s.same((await s.stat('y')).ino, (await s.stat('x')).ino, 'the inode');
  });
  add('EINVAL for unknown flags', async (s) => {
    await s.file('x');
    await s.refused(() => s.root.link('x', 'y', 0x8000), 'EINVAL');
  });
  add('EXDEV from another file system', async (s) => {
    await s.refused(() => s.root.link('/proc/version', 'y'), 'EXDEV');
  });
  add('an unlinked file that is open gets no new name: ENOENT', async (s) => {
    await s.file('x');
    const fd = await s.value(s.root.open('x', c.O_RDWR));
    await s.expect(s.root.unlink('x'), 0);
    await s.refused(() => s.root.link(`/proc/self/fd/${fd}`, 'y', c.AT_SYMLINK_FOLLOW), 'ENOENT');
  });
  add('an open file gets another name through /proc/self/fd', async (s) => {
    await s.file('x');
    const fd = await s.value(s.root.open('x', c.O_RDONLY));
    await s.expect(s.root.link(`/proc/self/fd/${fd}`, 'y', c.AT_SYMLINK_FOLLOW), 0);
    s.same(await nlink(s, 'x'), 2, 'links');
  });
  add('AT_EMPTY_PATH links an open file', async (s) => {
    await s.file('x');
    const fd = await s.value(s.root.open('x', c.O_PATH));
    await s.expect(s.root.link('', 'y', c.AT_EMPTY_PATH, fd), 0);
    s.same(await nlink(s, 'y'), 2, 'links');
  });
  add('many links count, and go again', async (s) => {
    await s.file('x');
    await s.dir('d');
    for (let i = 0; i < 300; i++) await s.expect(s.root.link('x', `d/${i}`), 0);
    s.same(await nlink(s, 'x'), 301, 'links');
    for (let i = 0; i < 300; i++) await s.expect(s.root.unlink(`d/${i}`), 0);
    s.same(await nlink(s, 'x'), 1, 'links');
  });
  const full = async (s: Sandbox): Promise<void> => {
    await s.file('x');
    await s.dir('d');
    for (let from = 0; from < 64_999; from += 1000) {
      const calls = Array.from({ length: Math.min(1000, 64_999 - from) }, (_, i) => s.root.link('x', `d/${from + i}`));
      for (const call of calls) await s.expect(call, 0);
    }
    s.same(await nlink(s, 'x'), 65_000, 'links');
    await s.expect(s.root.link('x', 'y'), 'EMLINK');
    await s.gone('y');
  };
  add('EMLINK behind 65,000 links', full, { slow: true });
});

const unlink = family('unlink', (add) => {
  add('a file that is open lives on without a name', async (s) => {
    await s.file('x', 'content');
    const fd = await s.value(s.root.open('x', c.O_RDWR));
    await s.expect(s.root.unlink('x'), 0);
    await s.gone('x');
    s.same((await s.fstat(fd, s.root)).links, 0, 'links');
    s.same(await s.text(s.root.pread(fd, 20, 0)), 'content', 'the content');
    await s.expect(s.root.pwrite(fd, 'more', 7), 4);
    await s.expect(s.root.ftruncate(fd, 9), 0);
    await s.expect(s.root.fsync(fd), 0);
    s.same(await s.text(s.root.pread(fd, 20, 0)), 'contentmo', 'the content');
    await s.expect(s.root.fchmod(fd, 0o600), 0);
    await s.expect(s.root.fchown(fd, 1, 2), 0);
    const { mode, uid, gid, size } = await s.fstat(fd, s.root);
    s.same([mode & 0o7777, uid, gid, size], [0o600, 1, 2, 9], 'what stat says');
    s.same(await s.list('.'), [], 'the directory');
  });
  add('its name can be taken by a new file at once', async (s) => {
    await s.file('x', 'old');
    const fd = await s.value(s.root.open('x', c.O_RDONLY));
    await s.expect(s.root.unlink('x'), 0);
    await s.file('x', 'new');
    s.same([await s.text(s.root.pread(fd, 9, 0)), await s.content('x')], ['old', 'new'], 'both contents');
    s.true((await s.fstat(fd, s.root)).ino !== (await s.stat('x')).ino, 'they are two inodes');
  });
  add('an unlinked file is opened again through /proc/self/fd while it is open', async (s) => {
    await s.file('x', 'content');
    const fd = await s.value(s.root.open('x', c.O_RDWR));
    await s.expect(s.root.unlink('x'), 0);
    const again = await s.value(s.root.open(`/proc/self/fd/${fd}`, c.O_RDWR));
    await s.expect(s.root.close(fd), 0);
    await s.expect(s.root.pwrite(again, 'C', 0), 1);
    s.same(await s.text(s.root.pread(again, 20, 0)), 'Content', 'the content');
  });
  add('an open directory that was removed is empty, and takes nothing', async (s) => {
    await s.dir('d');
    const fd = await s.value(s.root.open('d', c.O_RDONLY | c.O_DIRECTORY));
    await s.expect(s.root.rmdir('d'), 0);
    s.same((await s.fstat(fd, s.root)).links, 0, 'links');
    await s.expect(s.root.mkdir('x', 0o755, fd), 'ENOENT');
    await s.expect(s.root.open('x', c.O_CREAT | c.O_WRONLY, 0o644, fd), 'ENOENT');
    await s.expect(s.root.symlink('t', 'x', fd), 'ENOENT');
  });
  add('EINVAL for unknown flags', async (s) => {
    await s.file('x');
    await s.refused(() => s.root.call('unlinkat', 'i-100', 'sx', 'i1'), 'EINVAL');
  });
  for (const [path, want] of [
    ['.', 'EISDIR'],
    ['..', 'EISDIR'],
    ['d/.', 'EISDIR'],
  ] as const)
    add(`of ${path}: ${want}`, async (s) => {
      await s.dir('d');
      await s.refused(() => s.root.unlink(path), want);
    });
});

const directories = family('mkdir and rmdir', (add) => {
  add('a directory has two links, and one more for each directory in it', async (s) => {
    await s.dir('d');
    s.same(await nlink(s, 'd'), 2, 'links at first');
    for (let i = 1; i <= 3; i++) {
      await s.dir(`d/${i}`);
      s.same(await nlink(s, 'd'), 2 + i, `links with ${i}`);
    }
    await s.file('d/f');
    s.same(await nlink(s, 'd'), 5, 'a file adds none');
    await s.expect(s.root.rmdir('d/2'), 0);
    s.same(await nlink(s, 'd'), 4, 'links after rmdir');
  });
  for (const [about, make] of [
    ['a file', (s: Sandbox) => s.file('d/x')],
    ['a directory', (s: Sandbox) => s.dir('d/x')],
    ['a dangling link', (s: Sandbox) => s.kind('dangling link', 'd/x')],
    ['a fifo', (s: Sandbox) => s.kind('fifo', 'd/x')],
  ] as const) {
    add(`rmdir of a directory with ${about}: ENOTEMPTY`, async (s) => {
      await s.dir('d');
      await make(s);
      await s.refused(() => s.root.rmdir('d'), 'ENOTEMPTY');
    });
    add(`rename over a directory with ${about}: ENOTEMPTY`, async (s) => {
      await s.dir('d');
      await s.dir('e');
      await make(s);
      await s.refused(() => s.root.rename('e', 'd'), 'ENOTEMPTY');
    });
  }
  for (const [path, want] of [
    ['d/.', 'EINVAL'],
    ['d/e/..', 'ENOTEMPTY'],
    ['.', 'EINVAL'],
    ['..', 'ENOTEMPTY'],
    ['/', 'EBUSY'],
  ] as const)
    add(`rmdir of ${path}: ${want}`, async (s) => {
      await s.dir('d');
      await s.dir('d/e');
      await s.refused(() => s.root.rmdir(path), want);
    });
  for (const path of ['d/.', 'd/..', '.', '..', '/'])
    add(`mkdir of ${path}: EEXIST`, async (s) => {
      await s.dir('d');
      await s.refused(() => s.root.mkdir(path), 'EEXIST');
    });
  add('mkdir with a slash behind the name', async (s) => {
    await s.expect(s.root.mkdir('d/'), 0);
    s.same(await s.list('.'), ['d'], 'the directory');
  });
  add('mkdir through a dangling link: EEXIST', async (s) => {
    await s.kind('dangling link', 'x');
    await s.refused(() => s.root.mkdir('x'), 'EEXIST');
  });
  add('rmdir of a working directory: nothing is made there', async (s) => {
    await s.dir('d');
    await s.expect(s.alice.chdir('d'), 0);
    await s.expect(s.root.rmdir('d'), 0);
    await s.expect(s.alice.mkdir('x'), 'ENOENT');
  });
  add('a directory that was emptied is removed', async (s) => {
    await s.dir('d');
    for (const name of ['a', 'b', 'c']) await s.file(`d/${name}`);
    for (const name of ['a', 'b', 'c']) await s.expect(s.root.unlink(`d/${name}`), 0);
    await s.expect(s.root.rmdir('d'), 0);
    await s.gone('d');
  });
});

const symlinks = family('symlink and readlink', (add) => {
  for (const length of [1, 59, 60, 61, 255, 256, 1000, 4094, 4095])
    add(`a target of ${length} bytes`, async (s) => {
      await s.expect(s.root.symlink('t'.repeat(length), 'l'), 0);
      s.same(await s.text(s.root.readlink('l', 5000)), 't'.repeat(length), 'the target');
      s.same((await s.stat('l')).size, length, 'the size');
    });
  add('a target of 4096 bytes: ENAMETOOLONG', async (s) => {
    await s.refused(() => s.root.symlink('t'.repeat(4096), 'l'), 'ENAMETOOLONG');
  });
  add('an empty target: ENOENT', async (s) => {
    await s.refused(() => s.root.symlink('', 'l'), 'ENOENT');
  });
  for (const [about, name] of NAMES)
    add(`a target that is a name ${about}`, async (s) => {
      await s.expect(s.root.symlink(name, 'l'), 0);
      s.same(await s.text(s.root.readlink('l')), name, 'the target');
    });
  for (const room of [1, 3, 6, 7])
    add(`readlink into ${room} bytes gives as many`, async (s) => {
      await s.expect(s.root.symlink('target!', 'l'), 0);
      s.same(await s.text(s.root.readlink('l', room)), 'target!'.slice(0, room), 'the target');
    });
  add('readlink into 0 bytes: EINVAL', async (s) => {
    await s.expect(s.root.symlink('target', 'l'), 0);
    await s.refused(() => s.root.call('readlinkat', 'i-100', 'sl', 'r10', 'i0'), 'EINVAL');
  });
  add('readlink of a descriptor of the link itself', async (s) => {
    await s.expect(s.root.symlink('target', 'l'), 0);
    const fd = await s.value(s.root.open('l', c.O_PATH | c.O_NOFOLLOW));
    s.same(await s.text(s.root.readlink('', 100, fd)), 'target', 'the target');
  });
  add('a link is followed to a file, then to another that replaces it', async (s) => {
    await s.file('a', 'A');
    await s.file('b', 'B');
    await s.expect(s.root.symlink('a', 'l'), 0);
    s.same(await s.content('l'), 'A', 'through the link');
    await s.expect(s.root.symlink('b', 'm'), 0);
    await s.expect(s.root.rename('m', 'l'), 0);
    s.same([await s.content('l'), await s.text(s.root.readlink('l'))], ['B', 'b'], 'through the new link');
  });
  add('O_CREAT through a dangling link makes what it leads to', async (s) => {
    await s.expect(s.root.symlink('made', 'l'), 0);
    await s.expect(s.root.open('l', c.O_CREAT | c.O_WRONLY, 0o644), 'ok');
    s.same((await s.stat('made')).mode, c.S_IFREG | 0o644, 'what was made');
  });
  add('relative targets start at the link, absolute ones at the root', async (s) => {
    await s.dir('d');
    await s.file('f', 'here');
    await s.expect(s.root.symlink('../f', 'd/relative'), 0);
    await s.expect(s.root.symlink(`${s.path}/f`, 'd/absolute'), 0);
    s.same([await s.content('d/relative'), await s.content('d/absolute')], ['here', 'here'], 'through both');
  });
});

const nodes = family('mknod', (add) => {
  for (const [major, minor] of [
    [1, 3],
    [7, 0],
    [250, 255],
    [4095, 0],
    [259, 65_536],
    [511, 1_048_575],
  ] as const)
    for (const [name, type] of [
      ['character', c.S_IFCHR],
      ['block', c.S_IFBLK],
    ] as const)
      add(`a ${name} device ${major}:${minor}`, async (s) => {
        await s.expect(s.root.mknod('x', type | 0o640, makedev(major, minor)), 0);
        const { mode, rdev, size, links } = await s.stat('x');
        s.same([mode, rdev, size, links], [type | 0o640, [major, minor], 0, 1], 'what stat says');
      });
  for (const [name, type, want] of [
    ['a file', c.S_IFREG, 'ok'],
    ['a file, type 0', 0, 'ok'],
    ['a fifo', c.S_IFIFO, 'ok'],
    ['a socket', c.S_IFSOCK, 'ok'],
    ['a character device', c.S_IFCHR, 'EPERM'],
    ['a block device', c.S_IFBLK, 'EPERM'],
    ['a directory', c.S_IFDIR, 'EPERM'],
    ['a symbolic link', c.S_IFLNK, 'EINVAL'],
  ] as const)
    add(`${name} by a user: ${want}`, async (s) => {
      if (want !== 'ok') {
        await s.refused(() => s.alice.mknod('x', type | 0o644, NULL_DEVICE), want);
        return;
      }
      await s.expect(s.alice.mknod('x', type | 0o644), 0);
      const { mode, uid, rdev, size } = await s.stat('x');
      s.same([mode, uid, rdev, size], [(type === 0 ? c.S_IFREG : type) | 0o644, s.alice.process.who.uid, [0, 0], 0], 'what stat says');
    });
  add('what goes in at one end of a fifo comes out at the other', async (s) => {
    await s.expect(s.alice.mknod('x', c.S_IFIFO | 0o666), 0);
    const reader = await s.value(s.alice.open('x', c.O_RDONLY | c.O_NONBLOCK));
    const writer = await s.value(s.bob.open('x', c.O_WRONLY));
    await s.expect(s.bob.write(writer, 'through'), 7);
    s.same(await s.text(s.alice.read(reader, 20)), 'through', 'what is read');
    s.same((await s.stat('x')).size, 0, 'the size');
  });
  add('a fifo without a reader: ENXIO for O_NONBLOCK', async (s) => {
    await s.expect(s.root.mknod('x', c.S_IFIFO | 0o666), 0);
    await s.expect(s.root.open('x', c.O_WRONLY | c.O_NONBLOCK), 'ENXIO');
  });
  add('a socket takes connections', async (s) => {
    const address = Buffer.from('\x01\x00sock\x00', 'latin1').toString('hex');
    const server = await s.value(s.root.call('socket', 'i1', 'i1', 'i0'));
    await s.expect(s.root.call('bind', `i${server}`, `h${address}`, 'i7'), 0);
    await s.expect(s.root.call('listen', `i${server}`, 'i5'), 0);
    const client = await s.value(s.root.call('socket', 'i1', 'i1', 'i0'));
    await s.expect(s.root.call('connect', `i${client}`, `h${address}`, 'i7'), 0);
    s.same((await s.stat('sock')).mode & c.S_IFMT, c.S_IFSOCK, 'the type');
  });
  add('a device may be used', async (s) => {
    await s.expect(s.root.mknod('null', c.S_IFCHR | 0o666, NULL_DEVICE), 0);
    const fd = await s.value(s.root.open('null', c.O_RDWR));
    await s.expect(s.root.write(fd, 'gone'), 4);
  });
});

const naming = family('names', (add) => {
  for (const [about, name] of NAMES) {
    add(`a file with a name ${about} is made, listed, renamed and removed`, async (s) => {
      await s.file(name, 'content');
      s.same(await s.list('.'), [name], 'the listing');
      s.same(await s.content(name), 'content', 'the content');
      await s.expect(s.root.rename(name, 'plain'), 0);
      await s.expect(s.root.rename('plain', name), 0);
      await s.expect(s.root.link(name, 'second'), 0);
      await s.expect(s.root.unlink(name), 0);
      s.same(await s.list('.'), ['second'], 'the listing');
    });
    add(`a directory with a name ${about}`, async (s) => {
      await s.dir(name);
      await s.file(`${name}/f`, 'x');
      s.same([await s.list('.'), await s.list(name)], [[name], ['f']], 'the listings');
      await s.expect(s.root.unlink(`${name}/f`), 0);
      await s.expect(s.root.rmdir(name), 0);
      s.same(await s.list('.'), [], 'the listing');
    });
  }
  add('names differ by case', async (s) => {
    await s.file('a', '1');
    await s.file('A', '2');
    s.same([await s.content('a'), await s.content('A')], ['1', '2'], 'both contents');
  });
  add('names that look the same are not: composed and decomposed', async (s) => {
    const names = ['ä', 'a\u0308'].map((text) => Buffer.from(text).toString('latin1')).sort();
    for (const name of names) await s.file(name);
    s.same(await s.list('.'), names, 'the listing');
  });
});

const listing = family('getdents', (add) => {
  add('types of entries are those of the files', async (s) => {
    const types = { file: 8, directory: 4, fifo: 1, socket: 12, 'character device': 2, 'block device': 6 } as const;
    await s.dir('d');
    for (const kind of Object.keys(types) as (keyof typeof types)[]) await s.kind(kind, `d/${kind.replace(' ', '')}`);
    await s.expect(s.root.symlink('t', 'd/link'), 0);
    const fd = await s.value(s.root.open('d', c.O_RDONLY | c.O_DIRECTORY));
    const { out } = await s.expect(s.root.getdents(fd), 'ok');
    const found = Object.fromEntries(decodeEntries(out[0] ?? Buffer.alloc(0)).map(({ name, type }) => [name, type]));
    for (const [kind, type] of Object.entries(types)) s.same(found[kind.replace(' ', '')], type, `type of the ${kind}`);
    s.same([found.link, found['.'], found['..']], [10, 4, 4], 'types of the link and the dots');
  });
  add('inode numbers are those that stat says, of the dots too', async (s) => {
    await s.dir('d');
    await s.file('d/f');
    await s.dir('d/e');
    const fd = await s.value(s.root.open('d', c.O_RDONLY | c.O_DIRECTORY));
    const { out } = await s.expect(s.root.getdents(fd), 'ok');
    for (const { name, ino } of decodeEntries(out[0] ?? Buffer.alloc(0))) s.same(ino, (await s.stat(`d/${name}`)).ino, `inode of ${name}`);
  });
  add('EINVAL for a buffer that holds no entry', async (s) => {
    await s.file('a'.repeat(200));
    const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
    await s.expect(s.root.getdents(fd, 10), 'EINVAL');
  });
  add('ENOTDIR for a file', async (s) => {
    await s.file('f');
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    await s.expect(s.root.getdents(fd), 'ENOTDIR');
  });
  for (const room of [300, 1000, 32_768])
    add(`1000 entries by ${room} bytes, each once`, async (s) => {
      const names = Array.from({ length: 1000 }, (_, i) => `entry-${i}`).sort();
      for (const made of names.map((name) => s.root.mknod(name, c.S_IFREG | 0o644))) await s.expect(made, 0);
      const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
      const found: string[] = [];
      for (;;) {
        const { out, value } = await s.expect(s.root.getdents(fd, room), 'ok');
        if (value === 0) break;
        found.push(...decodeEntries(out[0] ?? Buffer.alloc(0)).map(({ name }) => name));
      }
      s.same(found.sort(), ['.', '..', ...names].sort(), 'the names');
    });
  add('lseek to an entry’s offset goes on behind it; to 0 starts anew', async (s) => {
    for (let i = 0; i < 50; i++) await s.expect(s.root.mknod(`e${i}`, c.S_IFREG | 0o644), 0);
    const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
    const all = decodeEntries((await s.expect(s.root.getdents(fd), 'ok')).out[0] ?? Buffer.alloc(0));
    s.same(all.length, 52, 'entries');
    for (const at of [0, 10, 30, 50]) {
      await s.expect(s.root.lseek(fd, all[at]?.offset ?? 0n, c.SEEK_SET), 'ok');
      const rest = decodeEntries((await s.expect(s.root.getdents(fd), 'ok')).out[0] ?? Buffer.alloc(0));
      s.same(
        rest.map(({ name }) => name),
        all.slice(at + 1).map(({ name }) => name),
        `entries behind number ${at}`,
      );
    }
    await s.expect(s.root.lseek(fd, 0, c.SEEK_SET), 0);
    const again = decodeEntries((await s.expect(s.root.getdents(fd), 'ok')).out[0] ?? Buffer.alloc(0));
    s.same(again.length, 52, 'entries from the start');
  });
  add('while it changes: what was there all the time comes once, what is removed or added at most once', async (s) => {
    const stays = Array.from({ length: 300 }, (_, i) => `stays-${i}`);
    const goes = Array.from({ length: 300 }, (_, i) => `goes-${i}`);
    for (let i = 0; i < 300; i++)
      for (const name of [stays[i] ?? '', goes[i] ?? '']) await s.expect(s.root.mknod(name, c.S_IFREG | 0o644), 0);
    const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
    const found: string[] = [];
    for (let round = 0; ; round++) {
      const { out, value } = await s.expect(s.root.getdents(fd, 1000), 'ok');
      if (value === 0) break;
      found.push(...decodeEntries(out[0] ?? Buffer.alloc(0)).map(({ name }) => name));
      for (let i = round * 10; i < Math.min(300, round * 10 + 10); i++) {
        await s.expect(s.root.unlink(goes[i] ?? ''), 0);
        await s.expect(s.root.mknod(`new-${i}`, c.S_IFREG | 0o644), 0);
      }
    }
    s.same(new Set(found).size, found.length, 'no name comes twice');
    s.same(
      stays.filter((name) => !found.includes(name)),
      [],
      'names that stayed and did not come',
    );
  });
  add('a directory is emptied while it is listed', async (s) => {
    for (let i = 0; i < 500; i++) await s.expect(s.root.mknod(`e${i}`, c.S_IFREG | 0o644), 0);
    const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
    for (;;) {
      const { out, value } = await s.expect(s.root.getdents(fd, 2000), 'ok');
      if (value === 0) break;
      for (const { name } of decodeEntries(out[0] ?? Buffer.alloc(0))) if (name.startsWith('e')) await s.expect(s.root.unlink(name), 0);
    }
    s.same(await s.list('.'), [], 'what is left');
  });
  add('new entries are seen after lseek to 0', async (s) => {
    const fd = await s.value(s.root.open('.', c.O_RDONLY | c.O_DIRECTORY));
    await s.expect(s.root.getdents(fd), 'ok');
    await s.file('new');
    await s.expect(s.root.lseek(fd, 0, c.SEEK_SET), 0);
    const entries = decodeEntries((await s.expect(s.root.getdents(fd), 'ok')).out[0] ?? Buffer.alloc(0));
    s.true(
      entries.some(({ name }) => name === 'new'),
      'the new entry is listed',
    );
  });
});

export const names: readonly Family[] = [link, unlink, directories, symlinks, nodes, naming, listing];
