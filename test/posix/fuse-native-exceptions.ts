/**
 * Where a mount by the package fuse-native differs from what the suite states: what that binding cannot do. The list is also the table in
 * src/frontend/fuse-native/README.md; a test keeps both the same. The suite's users are let in by `allow_other`.
 */
import { ostrakaExceptions } from './exceptions.js';
import type { Exception } from './suite.js';

/** As with our own channel. */
const shared = new Set(['open of a device node', 'reading: atime']);

export const fuseNativeExceptions: readonly Exception[] = [
  ...ostrakaExceptions.filter(({ operation }) => shared.has(operation)),
  {
    cases: new RegExp(
      [
        /^sticky directories: another user makes/,
        /^rights at the time of open: (a descriptor keeps its rights when the mode goes|O_NOATIME is for)/,
        /^chmod: fchmod (\d+ on a descriptor|by alice of alice's file: ok)/,
        /^owner and group of what is made: .* by (alice|bob) in/,
        /^mknod: .* by a user: ok$/,
        /^utimensat: who may: (?!OMIT and OMIT).* by alice, alice's file with mode 400: ok$/,
        /^open O_CREAT: (mode \d|of what is there: content)/,
        /^setxattr: kinds, namespaces, users: (user\.\* needs reading and writing as the content does: alice, mode [246]|trusted\.\* is read)/,
        /^ACLs: who may: the owner changes it/,
      ]
        .map(({ source }) => source)
        .join('|'),
    ),
    says: /: got (EPERM, want (0|ok)|EACCES, want (0|3|ok)|\[\d+,0,|\[0,)/,
    operation: 'making a file: its owner',
    does: "the mount's user owns whatever is made, its group too unless the directory is set-gid; nobody else's program can then change it",
    reason: 'the package does not tell who calls. So others enter only with `-o allow_other`',
  },
  {
    cases: /^umask: open with set-id with umask/,
    says: /^the mode: got "\d+", want "6\d+"/,
    operation: 'making a file with set-id bits, with `-o allow_other`',
    does: 'it has none; `chmod` sets them',
    reason: "anybody's program would run as the mount's user",
  },
  {
    cases:
      /^utimensat: (of a |times at (a nanosecond|the latest of 32|after 2038)|through a descriptor|times that were set survive|a write after)|^access times \(relatime\): (O_NOATIME leaves|a read of nothing|writing does not)/,
    says: /: got .*000000"|^mtime alone moved/,
    operation: 'times',
    does: 'to the millisecond; what is finer is cut off',
    reason: 'the package has milliseconds',
  },
  {
    cases: /^utimensat: times at (before 1970|the earliest of 32 bits)/,
    says: /got \["0","0"\]/,
    operation: 'times before 1970',
    does: 'are kept, and shown as 1970',
    reason: 'the package shows times without a sign',
  },
  {
    cases: /^utimensat: UTIME_(OMIT leaves|NOW is now)/,
    says: /^the times: got|^atime and ctime are of now/,
    operation: 'utimensat with one UTIME_OMIT, `touch -m`, `touch -a`',
    does: 'says yes, and does nothing',
    reason: 'the package does not tell libfuse that it could; libfuse then does not call',
  },
  {
    cases: /^times that a call moves: chown to nobody new/,
    says: /got "-", want "c"/,
    operation: 'chown to neither a user nor a group: ctime',
    does: 'stays',
    reason: 'libfuse does not call',
  },
  {
    cases: new RegExp(
      [
        /^kinds of files: open O_TMPFILE on .*: ok$/,
        /^permission bits of a directory: make a file without a name in it .*: ok$/,
        /^(umask|owner and group of what is made): O_TMPFILE/,
        /^times that a call moves: open O_TMPFILE/,
        /^open O_TMPFILE: (?!O_RDONLY: EINVAL)/,
      ]
        .map(({ source }) => source)
        .join('|'),
    ),
    says: /openat\(.*\): got EOPNOTSUPP, want ok/,
    operation: 'open O_TMPFILE',
    does: 'EOPNOTSUPP',
    reason: 'libfuse 2 does not know of it; programs make a file with a name then',
  },
  {
    cases:
      /^kinds of files: renameat2 RENAME_EXCHANGE .*: ok$|^sticky directories: exchange .*: ok$|^rename of kinds: RENAME_EXCHANGE|^rename: (RENAME_NOREPLACE to a new name|RENAME_WHITEOUT|a directory exchanged)/,
    says: /renameat2\(.*\): got EINVAL, want (ok|0)/,
    operation: 'renameat2 with flags',
    does: 'EINVAL',
    reason: 'libfuse 2 does not know of them; `mv -n` does without',
  },
  {
    cases:
      /^fallocate: (?!.*: E[A-Z]+$)|^set-id bits: fallocate|^times that a call moves: fallocate|^what a descriptor is good for: fallocate by O_(WRONLY|RDWR): ok|^mmap: a punched hole|^long files: fallocate to 8 EiB/,
    says: /fallocate\(.*\): got EOPNOTSUPP, want /,
    operation: 'fallocate',
    does: 'EOPNOTSUPP; posix_fallocate(3) then writes',
    reason: 'the package does not pass it on',
  },
  {
    cases: /^holes: SEEK_DATA and SEEK_HOLE of a closed file/,
    says: /^a hole begins at/,
    operation: 'lseek SEEK_DATA, SEEK_HOLE',
    does: 'the whole file is data',
    reason: 'libfuse 2 does not know of them',
  },
  {
    cases:
      /^ACLs: who may: (?!the owner changes)|^ACLs: modes, defaults, mistakes: (chmod \d|an ACL (that says|of one)|a default ACL of one|a default ACL gives|a symbolic link inherits|O_TMPFILE inherits|removing the default)/,
    says: /setxattr\(.*\): got EOPNOTSUPP, want 0/,
    operation: 'POSIX ACLs',
    does: 'EOPNOTSUPP; those that are there count for nothing, mode bits alone do',
    reason: 'the kernel does not enforce them for libfuse 2: as on a file system mounted with `noacl`',
  },
  {
    cases:
      /^(symlink and readlink: a target that is|names: a (file|directory) with) a name (of 255 bytes that are no UTF-8|of bytes that are no UTF-8|with an overlong encoding|of every byte)|^extended attributes: values and limits: a name of bytes/,
    says: /: got EILSEQ, want (ok|0)/,
    operation: 'names and link targets that are not UTF-8',
    does: 'EILSEQ; those that are there are listed with U+FFFD, and cannot be opened, renamed or removed',
    reason: 'the package has strings, no bytes',
  },
  {
    cases: /^unlink: an open directory that was removed/,
    says: /statx\(.*\): got ENOENT, want ok/,
    operation: 'a directory that was removed while open, and open files that were removed in it',
    does: 'ENOENT from whatever is done with their descriptors but close',
    reason: 'libfuse has no path to call it by',
  },
];
