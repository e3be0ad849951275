/** Errors that the manual names for every call with a path: what is wrong lies in the path, whatever the call, for every user. */
import { O_RDONLY, O_WRONLY, PATH_MAX } from '../constants.js';
import { ALICE, BOB, ROOT } from '../process.js';
import { KINDS, type Kind, type Sandbox } from '../sandbox.js';
import { family, type Add, type Family } from '../suite.js';
import { FAULT, type User } from '../user.js';
import { OTHER, PATH_CALLS, type PathCall } from './calls.js';

const USERS = [ROOT, ALICE, BOB] as const;

/** For calls with two paths: the one that is not looked at. */
async function withOther(s: Sandbox): Promise<void> {
  await s.file(OTHER);
  await s.expect(s.root.chown(OTHER, ALICE.uid, ALICE.gid), 0);
}

/** A path prefix that cannot be walked, and what that is called. */
interface BadPrefix {
  readonly about: string;
  readonly errno: string;
  readonly prefix: string;
  readonly prepare: (s: Sandbox) => Promise<void>;
}

const notADirectory: Partial<Record<Kind, string>> = {
  file: 'ENOTDIR',
  'link to a file': 'ENOTDIR',
  'dangling link': 'ENOENT',
  'link to itself': 'ELOOP',
  fifo: 'ENOTDIR',
  socket: 'ENOTDIR',
  'character device': 'ENOTDIR',
};

const BAD_PREFIXES: readonly BadPrefix[] = [
  { about: 'a component of the prefix is not there', errno: 'ENOENT', prefix: 'nothing', prepare: async () => undefined },
  ...KINDS.flatMap((kind): BadPrefix[] => {
    const errno = notADirectory[kind];
    return errno === undefined
      ? []
      : [{ about: `a component of the prefix is a ${kind}`, errno, prefix: 'p', prepare: (s) => s.kind(kind, 'p') }];
  }),
  { about: 'a component of the prefix has 256 bytes', errno: 'ENAMETOOLONG', prefix: 'n'.repeat(256), prepare: async () => undefined },
];

async function chain(s: Sandbox, links: number): Promise<void> {
  await s.dir('l0');
  await s.file('l0/f', 'x', s.root, 0o777);
  const calls = Array.from({ length: links }, (_, i) => s.root.symlink(`l${i}`, `l${i + 1}`));
  for (const call of calls) await s.expect(call, 0);
}

function prefixes(call: PathCall, add: Add): void {
  for (const { about, errno, prefix, prepare } of BAD_PREFIXES) {
    if (call.short === true && prefix.length > 90) continue;
    for (const who of USERS)
      add(`${call.name}, ${who.name}: ${errno} when ${about}`, async (s) => {
        await withOther(s);
        await prepare(s);
        await s.refused(() => call.call(s.user(who), `${prefix}/x`), errno);
      });
  }
  for (const who of [ALICE, BOB])
    add(`${call.name}, ${who.name}: EACCES when search of the prefix is denied`, async (s) => {
      await withOther(s);
      await s.dir('p', 0o700);
      await s.file('p/x');
      await s.refused(() => call.call(s.user(who), call.last === 'there' ? 'p/x' : 'p/y'), 'EACCES');
    });
}

function shapes(call: PathCall, add: Add): void {
  for (const who of USERS) {
    if (call.short !== true) {
      add(`${call.name}, ${who.name}: ENOENT for an empty path`, async (s) => {
        await withOther(s);
        await s.refused(() => call.call(s.user(who), ''), 'ENOENT');
      });
      add(`${call.name}, ${who.name}: ENAMETOOLONG for a name of 256 bytes`, async (s) => {
        await withOther(s);
        await s.refused(() => call.call(s.user(who), 'n'.repeat(256)), 'ENAMETOOLONG');
      });
      add(`${call.name}, ${who.name}: ENAMETOOLONG for a path of PATH_MAX bytes`, async (s) => {
        await withOther(s);
        await s.refused(() => call.call(s.user(who), './'.repeat(PATH_MAX / 2)), 'ENAMETOOLONG');
      });
    }
    if (call.last === 'there')
      add(`${call.name}, ${who.name}: ENOENT when nothing has that name`, async (s) => {
        await withOther(s);
        await s.refused(() => call.call(s.user(who), 'nothing'), 'ENOENT');
      });
  }
  if (call.short !== true && call.name !== 'execve' && call.name !== 'inotify_add_watch')
    add(`${call.name}: EFAULT for an address outside of memory`, async (s) => {
      await withOther(s);
      await s.refused(() => call.call(s.root, FAULT), 'EFAULT');
    });
  add(`${call.name}: ELOOP behind more than 40 symbolic links`, async (s) => {
    await withOther(s);
    await chain(s, 41);
    await s.refused(() => call.call(s.root, 'l41/x'), 'ELOOP');
  });
}

function directories(call: PathCall, add: Add): void {
  if (!call.at) return;
  add(`${call.name}: EBADF when the directory's descriptor is not open`, async (s) => {
    await withOther(s);
    await s.refused(() => call.call(s.root, 'x', 77), 'EBADF');
  });
  add(`${call.name}: ENOTDIR when the directory's descriptor is a file's`, async (s) => {
    await withOther(s);
    await s.file('file');
    const fd = await s.value(s.root.open('file', O_RDONLY));
    await s.refused(() => call.call(s.root, 'x', fd), 'ENOTDIR');
  });
  add(`${call.name}: ENOENT when the descriptor's directory has been removed`, async (s) => {
    await withOther(s);
    await s.dir('d');
    const fd = await s.value(s.root.open('d', O_RDONLY));
    await s.expect(s.root.rmdir('d'), 0);
    await s.refused(() => call.call(s.root, 'x', fd), 'ENOENT');
  });
  add(`${call.name}: an absolute path is not below the descriptor's directory`, async (s) => {
    await s.dir('a');
    await s.refused(() => call.call(s.root, `${s.path}/nothing/x`, 77), 'ENOENT');
  });
}

async function opensThrough(s: Sandbox, user: User, path: string): Promise<void> {
  const fd = await s.value(user.open(path, O_WRONLY));
  await s.expect(user.close(fd), 0);
}

export const paths: readonly Family[] = [
  family('path resolution: the prefix', (add) => {
    for (const call of PATH_CALLS) prefixes(call, add);
  }),
  family('path resolution: shapes', (add) => {
    for (const call of PATH_CALLS) shapes(call, add);
  }),
  family('path resolution: directory descriptors', (add) => {
    for (const call of PATH_CALLS) directories(call, add);
  }),
  family('path resolution: what works', (add) => {
    for (const who of USERS) {
      add(`40 symbolic links are followed, ${who.name}`, async (s) => {
        await chain(s, 40);
        await s.expect(s.root.chmod('l0/f', 0o666), 0);
        await opensThrough(s, s.user(who), 'l40/f');
      });
      add(`a path of PATH_MAX - 1 bytes, ${who.name}`, async (s) => {
        await s.file('f', 'x', s.root, 0o666);
        await s.expect(s.root.chmod('f', 0o666), 0);
        await opensThrough(s, s.user(who), `${'./'.repeat((PATH_MAX - 2) / 2)}f`);
      });
      add(`. and .., and slashes that repeat, ${who.name}`, async (s) => {
        await s.dir('d');
        await s.dir('d/e');
        await s.file('f', 'x', s.root, 0o666);
        await s.expect(s.root.chmod('f', 0o666), 0);
        await opensThrough(s, s.user(who), './/d/./e/..//../f');
      });
      add(`a directory that may be searched but not read, ${who.name}`, async (s) => {
        await s.dir('d', 0o711);
        await s.file('d/f', 'x', s.root);
        await s.expect(s.root.chmod('d/f', 0o666), 0);
        await opensThrough(s, s.user(who), 'd/f');
        await s.expect(s.user(who).open('d', O_RDONLY), who === ROOT ? 'ok' : 'EACCES');
      });
    }
    add('a deep tree is made and removed by relative steps', async (s) => {
      const name = 'd'.repeat(200);
      for (let depth = 0; depth < 40; depth++) {
        await s.expect(s.root.mkdir(name), 0);
        await s.expect(s.root.chdir(name), 0);
      }
      await s.file('f', 'deep');
      await s.expect(s.root.unlink('f'), 0);
      for (let depth = 0; depth < 40; depth++) {
        await s.expect(s.root.chdir('..'), 0);
        await s.expect(s.root.rmdir(name), 0);
      }
      s.same(await s.list('.'), [], 'the directory');
    });
  }),
];
