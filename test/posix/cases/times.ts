/** utimensat, and which times each call moves: those of the file, and those of its directory. */
import * as c from '../constants.js';
import { ALICE, BOB, ROOT, type Answer } from '../process.js';
import { decodeStat, type Moment, type Stat, type User } from '../user.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';

const NS = 1_000_000_000n;
const OLD: readonly [Moment, Moment] = [
  [1_000_000, 111],
  [2_000_000, 222],
];
const OLD_ATIME = 1_000_000n * NS + 111n;
const OLD_MTIME = 2_000_000n * NS + 222n;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Longer than a tick of the kernel's coarse clock. */
const TICK_MS = 12;

/** One call, and what it moves: `c` ctime, `m` mtime, `a` atime; `-` nothing. */
interface Effect {
  readonly name: string;
  /** Of the file `d/f`; undefined: it is gone. */
  readonly file?: string;
  /** Of the directory `d`. */
  readonly directory: string;
  readonly before?: (s: Sandbox) => Promise<void>;
  readonly call: (s: Sandbox, fd: number) => Promise<Answer>;
  /** The file afterwards, if not d/f. */
  readonly path?: string;
}

const EFFECTS: readonly Effect[] = [
  { name: 'write', file: 'mc', directory: '-', call: (s, fd) => s.root.write(fd, 'x') },
  { name: 'pwrite', file: 'mc', directory: '-', call: (s, fd) => s.root.pwrite(fd, 'x', 100) },
  { name: 'write of nothing', file: '-', directory: '-', call: (s, fd) => s.root.write(fd, '') },
  { name: 'truncate to less', file: 'mc', directory: '-', call: (s) => s.root.truncate('d/f', 2) },
  { name: 'truncate to more', file: 'mc', directory: '-', call: (s) => s.root.truncate('d/f', 200) },
  { name: 'truncate to the same', file: 'mc', directory: '-', call: (s) => s.root.truncate('d/f', 7) },
  { name: 'ftruncate', file: 'mc', directory: '-', call: (s, fd) => s.root.ftruncate(fd, 3) },
  { name: 'open O_TRUNC', file: 'mc', directory: '-', call: (s) => s.root.open('d/f', c.O_WRONLY | c.O_TRUNC) },
  { name: 'open for writing', file: '-', directory: '-', call: (s) => s.root.open('d/f', c.O_WRONLY) },
  { name: 'open O_CREAT of what is there', file: '-', directory: '-', call: (s) => s.root.open('d/f', c.O_WRONLY | c.O_CREAT, 0o644) },
  { name: 'fallocate', file: 'mc', directory: '-', call: (s, fd) => s.root.fallocate(fd, 0, 0, 5000) },
  { name: 'fallocate PUNCH_HOLE', file: 'mc', directory: '-', call: (s, fd) => s.root.fallocate(fd, 3, 0, 4096) },
  { name: 'chmod', file: 'c', directory: '-', call: (s) => s.root.chmod('d/f', 0o600) },
  { name: 'fchmod', file: 'c', directory: '-', call: (s, fd) => s.root.fchmod(fd, 0o600) },
  { name: 'chown', file: 'c', directory: '-', call: (s) => s.root.chown('d/f', 1, 1) },
  { name: 'chown to nobody new', file: 'c', directory: '-', call: (s) => s.root.chown('d/f', -1, -1) },
  { name: 'setxattr', file: 'c', directory: '-', call: (s) => s.root.setxattr('d/f', 'user.a', 'value') },
  {
    name: 'removexattr',
    file: 'c',
    directory: '-',
    before: async (s) => {
      await s.expect(s.root.setxattr('d/f', 'user.a', 'value'), 0);
    },
    call: (s) => s.root.removexattr('d/f', 'user.a'),
  },
  { name: 'getxattr', file: '-', directory: '-', call: (s) => s.root.listxattr('d/f') },
  { name: 'stat', file: '-', directory: '-', call: (s) => s.root.statx('d/f') },
  { name: 'access', file: '-', directory: '-', call: (s) => s.root.access('d/f', c.R_OK) },
  { name: 'fsync', file: '-', directory: '-', call: (s, fd) => s.root.fsync(fd) },
  { name: 'link', file: 'c', directory: 'mc', call: (s) => s.root.link('d/f', 'd/g') },
  { name: 'link from another directory', file: 'c', directory: '-', call: (s) => s.root.link('d/f', 'g') },
  { name: 'unlink of the only name', directory: 'mc', call: (s) => s.root.unlink('d/f') },
  {
    name: 'unlink of one name of two',
    file: 'c',
    directory: 'mc',
    before: async (s) => {
      await s.expect(s.root.link('d/f', 'd/g'), 0);
    },
    call: (s) => s.root.unlink('d/g'),
  },
  { name: 'rename', file: 'c', directory: 'mc', path: 'd/g', call: (s) => s.root.rename('d/f', 'd/g') },
  { name: 'rename to another directory', file: 'c', directory: 'mc', path: 'g', call: (s) => s.root.rename('d/f', 'g') },
  {
    name: 'rename from another directory over it',
    directory: 'mc',
    path: 'd/other',
    before: async (s) => {
      await s.file('g');
    },
    call: (s) => s.root.rename('g', 'd/f'),
  },
  { name: 'open O_CREAT', file: '-', directory: 'mc', call: (s) => s.root.open('d/new', c.O_WRONLY | c.O_CREAT, 0o644) },
  { name: 'open O_TMPFILE', file: '-', directory: '-', call: (s) => s.root.open('d', c.O_RDWR | c.O_TMPFILE, 0o644) },
  { name: 'mkdir', file: '-', directory: 'mc', call: (s) => s.root.mkdir('d/new') },
  { name: 'mknod', file: '-', directory: 'mc', call: (s) => s.root.mknod('d/new', c.S_IFIFO | 0o644) },
  { name: 'symlink', file: '-', directory: 'mc', call: (s) => s.root.symlink('t', 'd/new') },
  {
    name: 'rmdir',
    file: '-',
    directory: 'mc',
    before: (s) => s.dir('d/e'),
    call: (s) => s.root.rmdir('d/e'),
  },
  { name: 'a failing mkdir', file: '-', directory: '-', call: async (s) => ({ ...(await s.root.mkdir('d/f')), error: undefined }) },
  { name: 'chmod of the directory', file: '-', directory: 'c', call: (s) => s.root.chmod('d', 0o700) },
];

function moved(before: Stat, after: Stat): string {
  return (
    `${after.atime === before.atime ? '' : 'a'}${after.mtime === before.mtime ? '' : 'm'}${after.ctime === before.ctime ? '' : 'c'}` || '-'
  );
}

const effects = family('times that a call moves', (add) => {
  for (const { name, file, directory, before, call, path = 'd/f' } of EFFECTS)
    add(`${name}: ${file ?? 'gone'} of the file, ${directory} of its directory`, async (s) => {
      await s.dir('d');
      await s.file('d/f');
      await before?.(s);
      const fd = await s.value(s.root.open('d/f', c.O_RDWR));
      for (const old of ['d/f', 'd']) await s.expect(s.root.utimens(old, OLD), 0);
      const [f, d] = [await s.stat('d/f'), await s.stat('d')];
      await pause(TICK_MS);
      await s.expect(call(s, fd), 'ok');
      const now = await s.stat('d');
      s.same(moved(d, now), directory, 'times of the directory that moved');
      if (directory.includes('m')) s.true(now.mtime >= d.ctime && now.ctime >= d.ctime, 'the times of the directory moved on');
      if (file === undefined) return;
      const after = await s.stat(path);
      s.same(moved(f, after), file, 'times of the file that moved');
      if (file !== '-') s.true(after.ctime > f.ctime, 'ctime moved on');
      if (file.includes('m')) s.true(after.mtime > f.ctime, 'mtime is of now');
      await s.expect(s.root.close(fd), 0);
      s.same((await s.stat(path)).mtime, after.mtime, 'mtime after close');
    });
  add('what is made has three equal times, of now', async (s) => {
    const before = BigInt(Date.now()) * 1_000_000n - NS;
    await s.dir('d');
    await s.file('f', '');
    await s.expect(s.root.symlink('t', 'l'), 0);
    await s.expect(s.root.mknod('p', c.S_IFIFO | 0o644), 0);
    for (const path of ['d', 'f', 'l', 'p']) {
      const { atime, mtime, ctime } = await s.stat(path);
      s.true(atime === mtime && mtime === ctime, `${path}: the three times are equal`);
      s.true(ctime >= before && ctime < before + 60n * NS, `${path}: they are of now`);
    }
  });
  add('times have nanoseconds and grow with each change', async (s) => {
    let last = 0n;
    for (let i = 0; i < 5; i++) {
      await s.expect(s.root.mkdir(`d${i}`), 0);
      const { mtime } = await s.stat('.');
      s.true(mtime >= last, 'mtime never goes back');
      last = mtime;
      await pause(TICK_MS);
    }
  });
});

async function readAnd(s: Sandbox, flags: number, use: (fd: number) => Promise<Answer>): Promise<bigint> {
  await s.file('f');
  await s.expect(s.root.utimens('f', OLD), 0);
  const fd = await s.value(s.root.open('f', flags));
  await s.expect(use(fd), 'ok');
  return (await s.stat('f')).atime;
}

const accessTimes = family('access times (relatime)', (add) => {
  add('read moves atime when it is older than mtime', async (s) => {
    s.true((await readAnd(s, c.O_RDONLY, (fd) => s.root.read(fd, 5))) > OLD_ATIME, 'atime moved');
  });
  add('mmap moves atime', async (s) => {
    const atime = await readAnd(s, c.O_RDONLY, (fd) => s.root.mmap(fd, 4096, c.PROT_READ, c.MAP_SHARED));
    s.true(atime > OLD_ATIME, 'atime moved');
  });
  add('execve moves atime', async (s) => {
    await s.file('f', 'not a program', s.root, 0o755);
    await s.expect(s.root.utimens('f', OLD), 0);
    await s.expect(s.root.spawn('./f'), 'ENOEXEC');
    s.true((await s.stat('f')).atime > OLD_ATIME, 'atime moved');
  });
  add('reading a directory moves its atime', async (s) => {
    await s.dir('d');
    await s.expect(s.root.utimens('d', OLD), 0);
    await s.list('d');
    s.true((await s.stat('d')).atime > OLD_ATIME, 'atime moved');
  });
  add('readlink moves atime of the link', async (s) => {
    await s.expect(s.root.symlink('t', 'l'), 0);
    await s.expect(s.root.utimens('l', OLD, c.AT_SYMLINK_NOFOLLOW), 0);
    await s.expect(s.root.readlink('l'), 'ok');
    s.true((await s.stat('l')).atime > OLD_ATIME, 'atime moved');
  });
  add('O_NOATIME leaves atime alone', async (s) => {
    s.same(await readAnd(s, c.O_RDONLY | c.O_NOATIME, (fd) => s.root.read(fd, 5)), OLD_ATIME, 'atime');
  });
  add('a read of nothing leaves atime alone', async (s) => {
    s.same(await readAnd(s, c.O_RDONLY, (fd) => s.root.call('read', `i${fd}`, 'r10', 'i0')), OLD_ATIME, 'atime');
  });
  add('atime that is newer than mtime stays (within a day)', async (s) => {
    await s.file('f');
    const now = Math.floor(Date.now() / 1000);
    await s.expect(
      s.root.utimens('f', [
        [now - 10, 5],
        [now - 100, 6],
      ]),
      0,
    );
    const { ctime, atime } = await s.stat('f');
    s.true(ctime > atime, 'ctime is newer, which counts as well');
    await s.expect(s.root.read(await s.value(s.root.open('f', c.O_RDONLY)), 5), 'ok');
    s.true((await s.stat('f')).atime > atime, 'atime moved');
    const second = (await s.stat('f')).atime;
    await pause(TICK_MS);
    await s.expect(s.root.read(await s.value(s.root.open('f', c.O_RDONLY)), 5), 'ok');
    s.same((await s.stat('f')).atime, second, 'atime the second time');
  });
  add('writing does not move atime', async (s) => {
    s.same(await readAnd(s, c.O_RDWR, (fd) => s.root.write(fd, 'text')), OLD_ATIME, 'atime');
  });
});

const LATEST = 15_032_385_535;

const setting = family('utimensat', (add) => {
  for (const kind of ['file', 'directory', 'fifo', 'socket', 'character device', 'link to a file', 'dangling link'] as const)
    add(`of a ${kind}: both times to the nanosecond, ctime is now, all else stays`, async (s) => {
      await s.kind(kind, 'x');
      const before = await s.stat('x');
      await pause(TICK_MS);
      await s.expect(s.root.utimens('x', OLD, c.AT_SYMLINK_NOFOLLOW), 0);
      const after = await s.stat('x');
      s.same([after.atime, after.mtime], [OLD_ATIME, OLD_MTIME], 'the times');
      s.true(after.ctime > before.ctime, 'ctime moved on');
      s.same([after.ino, after.mode, after.size, after.links], [before.ino, before.mode, before.size, before.links], 'all else');
    });
  for (const [about, seconds, nanoseconds] of [
    ['the epoch', 0, 0],
    ['a nanosecond before the next second', 1, 999_999_999],
    ['before 1970', -1_000_000, 5],
    ['the earliest of 32 bits', -2_147_483_648, 0],
    ['the latest of 32 bits', 2_147_483_647, 999_999_999],
    ['after 2038', 4_000_000_000, 1],
    ['the latest of ext4', LATEST, 0],
  ] as const)
    add(`times at ${about}`, async (s) => {
      await s.file('f');
      const time: Moment = [seconds, nanoseconds];
      await s.expect(s.root.utimens('f', [time, time]), 0);
      const want = BigInt(seconds) * NS + BigInt(nanoseconds);
      const { atime, mtime } = await s.stat('f');
      s.same([atime, mtime], [want, want], 'the times');
    });
  for (const nanoseconds of [1_000_000_000, 1_073_741_821, -1])
    add(`EINVAL for ${nanoseconds} nanoseconds`, async (s) => {
      await s.file('f');
      await s.refused(
        () =>
          s.root.utimens('f', [
            [0, nanoseconds],
            [0, 0],
          ]),
        'EINVAL',
      );
    });
  add('UTIME_OMIT leaves that time alone', async (s) => {
    await s.file('f');
    await s.expect(s.root.utimens('f', OLD), 0);
    await s.expect(
      s.root.utimens('f', [
        [0, c.UTIME_OMIT],
        [5, 6],
      ]),
      0,
    );
    s.same([(await s.stat('f')).atime, (await s.stat('f')).mtime], [OLD_ATIME, 5n * NS + 6n], 'the times');
    await s.expect(
      s.root.utimens('f', [
        [7, 8],
        [0, c.UTIME_OMIT],
      ]),
      0,
    );
    s.same([(await s.stat('f')).atime, (await s.stat('f')).mtime], [7n * NS + 8n, 5n * NS + 6n], 'the times');
  });
  add('UTIME_OMIT for both changes nothing, not even ctime, and asks for no right', async (s) => {
    await s.file('f', 'x', s.alice, 0o600);
    const before = await s.describe();
    const omit: Moment = [0, c.UTIME_OMIT];
    await s.expect(s.bob.utimens('f', [omit, omit]), 0);
    s.unchanged(await s.describe(), before, 'everything');
  });
  add('UTIME_NOW is now', async (s) => {
    await s.file('f');
    await s.expect(s.root.utimens('f', OLD), 0);
    const before = (await s.stat('f')).ctime;
    await pause(TICK_MS);
    await s.expect(
      s.root.utimens('f', [
        [0, c.UTIME_NOW],
        [0, c.UTIME_OMIT],
      ]),
      0,
    );
    const { atime, mtime, ctime } = await s.stat('f');
    s.true(atime > before && ctime > before, 'atime and ctime are of now');
    s.same(mtime, OLD_MTIME, 'mtime');
  });
  add('through a descriptor', async (s) => {
    await s.file('f');
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    await s.expect(s.root.call('utimensat', `i${fd}`, 'n', 'n', 'i0'), 0);
    const empty = await s.root.utimens('', OLD, c.AT_EMPTY_PATH, fd);
    s.same([empty.error, (await s.stat('f')).mtime], [undefined, OLD_MTIME], 'by AT_EMPTY_PATH');
  });
  add('times that were set survive writes that came before and a close', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(fd, 100_000, 1), 100_000);
    await s.expect(s.root.utimens('', OLD, c.AT_EMPTY_PATH, fd), 0);
    await s.expect(s.root.close(fd), 0);
    const { atime, mtime } = await s.stat('f');
    s.same([atime, mtime], [OLD_ATIME, OLD_MTIME], 'the times');
  });
  add('a write after they were set moves mtime on', async (s) => {
    await s.file('f');
    const fd = await s.value(s.root.open('f', c.O_RDWR));
    await s.expect(s.root.utimens('f', OLD), 0);
    await s.expect(s.root.write(fd, 'x'), 1);
    await s.expect(s.root.close(fd), 0);
    const { atime, mtime } = await s.stat('f');
    s.true(atime === OLD_ATIME && mtime > OLD_MTIME, 'mtime alone moved');
  });
});

const NOW: Moment = [0, c.UTIME_NOW];
const OMIT: Moment = [0, c.UTIME_OMIT];
const PAST: Moment = [5, 5];

const rights = family('utimensat: who may', (add) => {
  for (const [about, times, writers, others] of [
    ['no times', undefined, 'ok', 'EACCES'],
    ['NOW and NOW', [NOW, NOW], 'ok', 'EACCES'],
    ['NOW and OMIT', [NOW, OMIT], 'EPERM', 'EPERM'],
    ['OMIT and NOW', [OMIT, NOW], 'EPERM', 'EPERM'],
    ['the past', [PAST, PAST], 'EPERM', 'EPERM'],
    ['the past and OMIT', [PAST, OMIT], 'EPERM', 'EPERM'],
    ['NOW and the past', [NOW, PAST], 'EPERM', 'EPERM'],
    ['OMIT and OMIT', [OMIT, OMIT], 'ok', 'ok'],
  ] as const)
    for (const [who, mode] of [
      [ALICE, 0o400],
      [ROOT, 0o400],
      [BOB, 0o646],
      [BOB, 0o644],
      [BOB, 0o600],
    ] as const) {
      const want = who !== BOB ? 'ok' : mode === 0o646 ? writers : others;
      add(`${about} by ${who.name}, alice's file with mode ${mode.toString(8)}: ${want}`, async (s) => {
        await s.file('f', 'x', s.alice, 0o600);
        await s.expect(s.root.chmod('f', mode), 0);
        const call = (user: User): Promise<Answer> => user.utimens('f', times);
        if (want === 'ok') await s.expect(call(s.user(who)), 'ok');
        else await s.refused(() => call(s.user(who)), want);
      });
    }
  add('a descriptor that was opened for writing does not make an owner', async (s) => {
    await s.file('f', 'x', s.alice, 0o666);
    await s.expect(s.root.chmod('f', 0o666), 0);
    const fd = await s.value(s.bob.open('f', c.O_RDWR));
    await s.expect(s.bob.utimens('', [PAST, PAST], c.AT_EMPTY_PATH, fd), 'EPERM');
    await s.expect(s.bob.utimens('', undefined, c.AT_EMPTY_PATH, fd), 'ok');
    const { out } = await s.expect(s.bob.statx('', c.AT_EMPTY_PATH, fd), 'ok');
    s.true(decodeStat(out[0] ?? Buffer.alloc(0)).mtime > 10n * NS, 'mtime is of now');
  });
});

export const times: readonly Family[] = [effects, accessTimes, setting, rights];
