/**
 * Every call with a path on every kind of file: for the owner, for root, and for a user whom the modes give reading only. The directory is alice's, mode 755;
 * what lies in it is alice's, mode 644 (directories 755).
 */
import { readFileSync } from 'node:fs';
import { ALICE, BOB, ROOT, type Who } from '../process.js';
import { KINDS, type Kind } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import { OTHER, PATH_CALLS, type PathCall } from './calls.js';

/** Outcomes for the owner; root's and bob's where they are others. */
interface Row {
  readonly owner: string;
  readonly root?: string;
  readonly other?: string;
}
type Rows = Partial<Record<Kind, Row>>;

const at = (owner: string, root = owner, other = owner): Row => ({ owner, root, other });
const OK = at('ok');
/** For links that lead to nothing: what a call says that follows them. */
const BROKEN: Rows = { 'dangling link': at('ENOENT'), 'link to itself': at('ELOOP') };
const everyKind = (row: Row): Rows => Object.fromEntries(KINDS.map((kind) => [kind, row]));
const linksLike = (file: Row, directory: Row, special: Rows = {}): Rows => ({
  file,
  directory,
  'link to a file': file,
  'link to a directory': directory,
  ...BROKEN,
  ...special,
});
const special = (row: Row): Rows => ({ fifo: row, socket: row, 'character device': row, 'block device': row });
const followed = (row: Row): Rows => ({ ...everyKind(row), ...BROKEN });
const modify = at('ok', 'ok', 'EACCES');
const own = at('ok', 'ok', 'EPERM');
/** In alice's directory: root may, bob may not. */
const inDirectory = (outcome: string): Row => at(outcome, outcome, 'EACCES');
const links = (row: Row): Rows => ({ 'link to a file': row, 'link to a directory': row, 'dangling link': row, 'link to itself': row });

/** What linking to somebody else's file comes to: fs.protected_hardlinks (proc_sys_fs(5)) refuses it before the directory does. */
const NOT_OWNED = readFileSync('/proc/sys/fs/protected_hardlinks', 'utf8').trim() === '1' ? 'EPERM' : 'EACCES';

/** Expected outcomes of a call for each kind. */
const TABLE: Readonly<Record<string, Rows>> = {
  'open O_RDONLY': linksLike(OK, OK, { fifo: OK, socket: at('ENXIO'), 'character device': OK, 'block device': at('ENXIO') }),
  'open O_WRONLY': linksLike(modify, at('EISDIR'), {
    fifo: at('ENXIO', 'ENXIO', 'EACCES'),
    socket: at('ENXIO', 'ENXIO', 'EACCES'),
    'character device': modify,
    'block device': at('ENXIO', 'ENXIO', 'EACCES'),
  }),
  'open O_RDWR': linksLike(modify, at('EISDIR'), {
    fifo: modify,
    socket: at('ENXIO', 'ENXIO', 'EACCES'),
    'character device': modify,
    'block device': at('ENXIO', 'ENXIO', 'EACCES'),
  }),
  'open O_TRUNC': linksLike(modify, at('EISDIR'), {
    fifo: at('ENXIO', 'ENXIO', 'EACCES'),
    socket: at('ENXIO', 'ENXIO', 'EACCES'),
    'character device': modify,
    'block device': at('ENXIO', 'ENXIO', 'EACCES'),
  }),
  'open O_NOFOLLOW': { ...everyKind(OK), ...links(at('ELOOP')), socket: at('ENXIO'), 'block device': at('ENXIO') },
  'open O_DIRECTORY': { ...everyKind(at('ENOTDIR')), ...BROKEN, directory: OK, 'link to a directory': OK },
  'open O_PATH': followed(OK),
  'open O_PATH O_NOFOLLOW': everyKind(OK),
  'open O_CREAT': linksLike(modify, at('EISDIR'), {
    'dangling link': modify,
    fifo: at('ENXIO', 'ENXIO', 'EACCES'),
    socket: at('ENXIO', 'ENXIO', 'EACCES'),
    'character device': modify,
    'block device': at('ENXIO', 'ENXIO', 'EACCES'),
  }),
  'open O_CREAT O_EXCL': everyKind(at('EEXIST')),
  'open O_TMPFILE': { ...everyKind(at('ENOTDIR')), ...BROKEN, directory: inDirectory('ok'), 'link to a directory': inDirectory('ok') },
  stat: followed(OK),
  lstat: everyKind(OK),
  'access F_OK': followed(OK),
  'access R_OK': followed(OK),
  'access W_OK': followed(modify),
  'access X_OK': { ...followed(at('EACCES')), directory: OK, 'link to a directory': OK },
  'access AT_SYMLINK_NOFOLLOW': everyKind(OK),
  chmod: followed(own),
  'chmod AT_SYMLINK_NOFOLLOW': { ...everyKind(own), ...links(at('EOPNOTSUPP')) },
  'chown to the same owner': followed(at('ok', 'ok', 'EPERM')),
  'chown to another owner': followed(at('EPERM', 'ok', 'EPERM')),
  'lchown to another owner': everyKind(at('EPERM', 'ok', 'EPERM')),
  'utimensat to the present': followed(modify),
  'utimensat to the past': followed(own),
  'utimensat AT_SYMLINK_NOFOLLOW': everyKind(own),
  truncate: linksLike(modify, at('EISDIR'), special(at('EINVAL'))),
  statfs: followed(OK),
  chdir: { ...everyKind(at('ENOTDIR')), ...BROKEN, directory: OK, 'link to a directory': OK },
  readlink: { ...everyKind(at('EINVAL')), ...links(OK) },
  mkdir: everyKind(at('EEXIST')),
  'mknod of a file': everyKind(at('EEXIST')),
  'mknod of a fifo': everyKind(at('EEXIST')),
  'mknod of a socket': everyKind(at('EEXIST')),
  bind: everyKind(at('EADDRINUSE')),
  symlink: everyKind(at('EEXIST')),
  'link from': { ...everyKind(at('ok', 'ok', NOT_OWNED)), directory: at('EPERM', 'EPERM', NOT_OWNED) },
  'link AT_SYMLINK_FOLLOW from': {
    ...followed(at('ok', 'ok', NOT_OWNED)),
    directory: at('EPERM', 'EPERM', NOT_OWNED),
    'link to a directory': at('EPERM', 'EPERM', NOT_OWNED),
  },
  'link to': everyKind(at('EEXIST')),
  unlink: { ...everyKind(inDirectory('ok')), directory: at('EISDIR', 'EISDIR', 'EACCES') },
  rmdir: { ...everyKind(inDirectory('ENOTDIR')), directory: inDirectory('ok') },
  'rename from': everyKind(inDirectory('ok')),
  'rename to': { ...everyKind(inDirectory('ok')), directory: at('EISDIR', 'EISDIR', 'EACCES') },
  'renameat2 RENAME_NOREPLACE to': everyKind(at('EEXIST')),
  'renameat2 RENAME_EXCHANGE with': everyKind(inDirectory('ok')),
  setxattr: linksLike(modify, modify, special(at('EPERM'))),
  lsetxattr: { file: modify, directory: modify, ...links(at('EPERM')), ...special(at('EPERM')) },
  getxattr: linksLike(at('ENODATA'), at('ENODATA'), special(at('ENODATA'))),
  lgetxattr: { file: at('ENODATA'), directory: at('ENODATA'), ...links(at('ENODATA')), ...special(at('ENODATA')) },
  listxattr: followed(OK),
  llistxattr: everyKind(OK),
  removexattr: linksLike(at('ENODATA', 'ENODATA', 'EACCES'), at('ENODATA', 'ENODATA', 'EACCES'), special(at('EPERM'))),
  lremovexattr: {
    file: at('ENODATA', 'ENODATA', 'EACCES'),
    directory: at('ENODATA', 'ENODATA', 'EACCES'),
    ...links(at('EPERM')),
    ...special(at('EPERM')),
  },
  execve: { ...followed(at('EACCES')) },
  inotify_add_watch: followed(OK),
};

function wanted(call: PathCall, kind: Kind, who: Who): string {
  const row = TABLE[call.name]?.[kind];
  if (row === undefined) throw new Error(`no expectation of ${call.name} on a ${kind}`);
  const { owner, root = owner, other = owner } = row;
  return who === ALICE ? owner : who === ROOT ? root : other;
}

export const kinds: readonly Family[] = [
  family('kinds of files', (add) => {
    for (const call of PATH_CALLS)
      for (const kind of KINDS)
        for (const who of [ALICE, ROOT, BOB]) {
          const want = wanted(call, kind, who);
          const role = who === ALICE ? 'the owner' : who === BOB ? 'another user' : 'root';
          add(`${call.name} on a ${kind} by ${role}: ${want}`, async (s) => {
            await s.kind(kind, 'x', ALICE);
            await s.kind('file', OTHER, ALICE);
            await s.expect(s.root.chown('.', ALICE.uid, ALICE.gid), 0);
            await s.expect(s.root.chmod('.', 0o755), 0);
            if (want === 'ok') await s.expect(call.call(s.user(who), 'x'), 'ok');
            else await s.refused(() => call.call(s.user(who), 'x'), want);
          });
        }
  }),
  family('a slash behind the name', (add) => {
    for (const call of PATH_CALLS)
      for (const kind of ['file', 'fifo', 'link to a file'] as const) {
        if (call.last !== 'there' || call.short === true) continue;
        add(`${call.name} on a ${kind}: ENOTDIR`, async (s) => {
          await s.kind(kind, 'x');
          await s.kind('file', OTHER);
          await s.refused(() => call.call(s.root, 'x/'), 'ENOTDIR');
        });
      }
  }),
];
