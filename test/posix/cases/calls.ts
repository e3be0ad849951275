/** Every system call that takes a path, in every role that a path has in it: the table behind the families of path errors and of kinds of files. */
import * as c from '../constants.js';
import type { Answer } from '../process.js';
import { timespecs, type Path, type User } from '../user.js';

export interface PathCall {
  /** As in the manual, with what distinguishes it from its neighbours. */
  readonly name: string;
  readonly call: (user: User, path: Path, dirfd?: number) => Promise<Answer>;
  /** It takes a directory descriptor, too. */
  readonly at: boolean;
  /** A symbolic link at the end of the path is followed. */
  readonly follows: boolean;
  /** What the last component must be: there, not there (yet), or either. */
  readonly last: 'there' | 'new' | 'either';
  /** It changes the file system. */
  readonly changes: boolean;
  /** Its path is too short for long names (sockets). */
  readonly short?: boolean;
}

/** There, mode 755, for calls with a second path: a file `other` in the working directory. */
export const OTHER = 'other';

const reads = { at: true, follows: true, last: 'there', changes: false } as const;
const readsLink = { ...reads, follows: false } as const;
const alters = { ...reads, changes: true } as const;
const altersLink = { ...alters, follows: false } as const;
const makes = { at: true, follows: false, last: 'new', changes: true } as const;
const AGO = timespecs([
  [1000, 1],
  [2000, 2],
]);

function socket(user: User, path: Path): Promise<Answer> {
  // AF_UNIX, SOCK_STREAM; the path stands in the address.
  const name = typeof path === 'string' ? Buffer.from(path, 'latin1') : Buffer.alloc(0);
  const address = Buffer.concat([Buffer.from([1, 0]), name, Buffer.from([0])]);
  return user.call('socket', 'i1', 'i1', 'i0').then(({ value }) => {
    return user.call('bind', `i${value}`, `h${address.toString('hex')}`, `i${address.length}`);
  });
}

function watch(user: User, path: Path): Promise<Answer> {
  const at = path as string;
  return user.call('inotify_init1', 'i0').then(({ value }) => {
    return user.call('inotify_add_watch', `i${value}`, `s${encodeURIComponent(at).replaceAll('%2F', '/')}`, 'i2');
  });
}

export const PATH_CALLS: readonly PathCall[] = [
  { name: 'open O_RDONLY', ...reads, call: (u, p, fd) => u.open(p, c.O_RDONLY | c.O_NONBLOCK, 0, fd) },
  { name: 'open O_WRONLY', ...reads, call: (u, p, fd) => u.open(p, c.O_WRONLY | c.O_NONBLOCK, 0, fd) },
  { name: 'open O_RDWR', ...reads, call: (u, p, fd) => u.open(p, c.O_RDWR | c.O_NONBLOCK, 0, fd) },
  { name: 'open O_TRUNC', ...alters, call: (u, p, fd) => u.open(p, c.O_WRONLY | c.O_TRUNC | c.O_NONBLOCK, 0, fd) },
  { name: 'open O_NOFOLLOW', ...readsLink, call: (u, p, fd) => u.open(p, c.O_RDONLY | c.O_NOFOLLOW | c.O_NONBLOCK, 0, fd) },
  { name: 'open O_DIRECTORY', ...reads, call: (u, p, fd) => u.open(p, c.O_RDONLY | c.O_DIRECTORY, 0, fd) },
  { name: 'open O_PATH', ...reads, call: (u, p, fd) => u.open(p, c.O_PATH, 0, fd) },
  { name: 'open O_PATH O_NOFOLLOW', ...readsLink, call: (u, p, fd) => u.open(p, c.O_PATH | c.O_NOFOLLOW, 0, fd) },
  {
    name: 'open O_CREAT',
    ...makes,
    follows: true,
    last: 'either',
    call: (u, p, fd) => u.open(p, c.O_WRONLY | c.O_CREAT | c.O_NONBLOCK, 0o644, fd),
  },
  { name: 'open O_CREAT O_EXCL', ...makes, call: (u, p, fd) => u.open(p, c.O_WRONLY | c.O_CREAT | c.O_EXCL, 0o644, fd) },
  { name: 'open O_TMPFILE', ...alters, call: (u, p, fd) => u.open(p, c.O_RDWR | c.O_TMPFILE, 0o600, fd) },
  { name: 'stat', ...reads, call: (u, p, fd) => u.statx(p, 0, fd) },
  { name: 'lstat', ...readsLink, call: (u, p, fd) => u.statx(p, c.AT_SYMLINK_NOFOLLOW, fd) },
  { name: 'access F_OK', ...reads, call: (u, p, fd) => u.access(p, c.F_OK, 0, fd) },
  { name: 'access R_OK', ...reads, call: (u, p, fd) => u.access(p, c.R_OK, 0, fd) },
  { name: 'access W_OK', ...reads, call: (u, p, fd) => u.access(p, c.W_OK, 0, fd) },
  { name: 'access X_OK', ...reads, call: (u, p, fd) => u.access(p, c.X_OK, 0, fd) },
  { name: 'access AT_SYMLINK_NOFOLLOW', ...readsLink, call: (u, p, fd) => u.access(p, c.F_OK, c.AT_SYMLINK_NOFOLLOW, fd) },
  { name: 'chmod', ...alters, call: (u, p, fd) => u.chmod(p, 0o600, fd) },
  { name: 'chmod AT_SYMLINK_NOFOLLOW', ...altersLink, call: (u, p, fd) => u.lchmod(p, 0o600, fd) },
  { name: 'chown to the same owner', ...alters, call: (u, p, fd) => u.chown(p, u.process.who.uid, -1, 0, fd) },
  { name: 'chown to another owner', ...alters, call: (u, p, fd) => u.chown(p, 4999, -1, 0, fd) },
  { name: 'lchown to another owner', ...altersLink, call: (u, p, fd) => u.chown(p, 4999, -1, c.AT_SYMLINK_NOFOLLOW, fd) },
  { name: 'utimensat to the present', ...alters, call: (u, p, fd) => u.utimens(p, undefined, 0, fd) },
  {
    name: 'utimensat to the past',
    ...alters,
    call: (u, p, fd) => u.call('utimensat', `i${fd ?? c.AT_FDCWD}`, pathText(p), `h${AGO.toString('hex')}`, 'i0'),
  },
  {
    name: 'utimensat AT_SYMLINK_NOFOLLOW',
    ...altersLink,
    call: (u, p, fd) => u.call('utimensat', `i${fd ?? c.AT_FDCWD}`, pathText(p), `h${AGO.toString('hex')}`, `i${c.AT_SYMLINK_NOFOLLOW}`),
  },
  { name: 'truncate', ...alters, at: false, call: (u, p) => u.truncate(p, 5) },
  { name: 'statfs', ...reads, at: false, call: (u, p) => u.statfs(p) },
  { name: 'chdir', ...reads, at: false, call: (u, p) => u.chdir(p) },
  { name: 'readlink', ...readsLink, call: (u, p, fd) => u.readlink(p, 4096, fd) },
  { name: 'mkdir', ...makes, call: (u, p, fd) => u.mkdir(p, 0o755, fd) },
  { name: 'mknod of a file', ...makes, call: (u, p, fd) => u.mknod(p, c.S_IFREG | 0o644, 0, fd) },
  { name: 'mknod of a fifo', ...makes, call: (u, p, fd) => u.mknod(p, c.S_IFIFO | 0o644, 0, fd) },
  { name: 'mknod of a socket', ...makes, call: (u, p, fd) => u.mknod(p, c.S_IFSOCK | 0o644, 0, fd) },
  { name: 'bind', ...makes, at: false, short: true, call: socket },
  { name: 'symlink', ...makes, call: (u, p, fd) => u.symlink('target', p, fd) },
  { name: 'link from', ...altersLink, call: (u, p, fd) => u.link(p, 'linked', 0, fd) },
  { name: 'link AT_SYMLINK_FOLLOW from', ...alters, call: (u, p, fd) => u.link(p, 'linked', c.AT_SYMLINK_FOLLOW, fd) },
  { name: 'link to', ...makes, call: (u, p, fd) => u.link(OTHER, p, 0, c.AT_FDCWD, fd) },
  { name: 'unlink', ...altersLink, call: (u, p, fd) => u.unlink(p, fd) },
  { name: 'rmdir', ...altersLink, call: (u, p, fd) => u.rmdir(p, fd) },
  { name: 'rename from', ...altersLink, call: (u, p, fd) => u.rename(p, 'renamed', 0, fd) },
  { name: 'rename to', ...makes, last: 'either', call: (u, p, fd) => u.rename(OTHER, p, 0, c.AT_FDCWD, fd) },
  { name: 'renameat2 RENAME_NOREPLACE to', ...makes, call: (u, p, fd) => u.rename(OTHER, p, c.RENAME_NOREPLACE, c.AT_FDCWD, fd) },
  { name: 'renameat2 RENAME_EXCHANGE with', ...altersLink, call: (u, p, fd) => u.rename(OTHER, p, c.RENAME_EXCHANGE, c.AT_FDCWD, fd) },
  { name: 'setxattr', ...alters, at: false, call: (u, p) => u.setxattr(p, 'user.a', 'value') },
  { name: 'lsetxattr', ...altersLink, at: false, call: (u, p) => u.setxattr(p, 'user.a', 'value', 0, 'lsetxattr') },
  { name: 'getxattr', ...reads, at: false, call: (u, p) => u.getxattr(p, 'user.a') },
  { name: 'lgetxattr', ...readsLink, at: false, call: (u, p) => u.getxattr(p, 'user.a', 100, 'lgetxattr') },
  { name: 'listxattr', ...reads, at: false, call: (u, p) => u.listxattr(p) },
  { name: 'llistxattr', ...readsLink, at: false, call: (u, p) => u.listxattr(p, 100, 'llistxattr') },
  { name: 'removexattr', ...alters, at: false, call: (u, p) => u.removexattr(p, 'user.a') },
  { name: 'lremovexattr', ...altersLink, at: false, call: (u, p) => u.removexattr(p, 'user.a', 'lremovexattr') },
  { name: 'execve', ...reads, at: false, call: (u, p) => u.spawn(p as string) },
  { name: 'inotify_add_watch', ...reads, at: false, call: watch },
];

function pathText(path: Path): string {
  if (typeof path === 'string')
    return `s${[...path].map((one) => (/[\w./-]/.test(one) ? one : `%${one.charCodeAt(0).toString(16).padStart(2, '0')}`)).join('')}`;
  return path.description === 'NULL' ? 'n' : 'x';
}
