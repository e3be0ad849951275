/**
 * Where file systems differ from what the suite states, on purpose: which cases, what they say then, and why. Ostraka's list is also the table of differences in
 * src/frontend/fuse/README.md; a test keeps both the same.
 */
import type { Exception } from './suite.js';

/** The suite states what ext4 does. */
export const ext4Exceptions: readonly Exception[] = [];

export const ostrakaExceptions: readonly Exception[] = [
  {
    cases: /^(kinds of files: open (?!O_PATH).* on a (character|block) device by .*: (ok|ENXIO)$|mknod: a device may be used)/,
    says: /got EACCES, want (ok|ENXIO)/,
    operation: 'open of a device node',
    does: 'EACCES; making, moving and showing them works',
    reason: 'mounts are `nodev`: a pool from elsewhere brings no device',
  },
  {
    cases: /^rename: RENAME_WHITEOUT/,
    says: /got EINVAL, want 0/,
    operation: 'renameat2 RENAME_WHITEOUT',
    does: 'EINVAL',
    reason:
      'only overlayfs asks for it, of its upper layer, and must not take a FUSE mount: after `cp -a` the kernel shows it a mode of before, and says ESTALE of a file that lost another name. So it refuses a pool, and Podman takes fuse-overlayfs, which works',
  },
  {
    cases: /^access times \(relatime\): (read moves|mmap moves|execve moves|reading a directory|readlink moves|atime that is newer)/,
    says: /: atime moved$|^atime moved$/,
    operation: 'reading: atime',
    does: 'stays until it is set: the mount is `noatime`, and says so in /proc/mounts',
    reason:
      'what the kernel has cached, such as mail that was just delivered, is read without our knowing: times that move only sometimes would mislead who relies on them (mutt with mbox, tmpreaper) more than none',
  },
  {
    cases: /^times that a call moves: truncate to the same/,
    says: /times of the file that moved: got "-", want "mc"/,
    operation: 'truncate to the length that a file has: mtime, ctime',
    does: 'stay',
    reason: 'with the write-back cache the kernel owns these times, and does not move them then',
  },
  {
    cases: /^fallocate: (COLLAPSE|INSERT)_RANGE/,
    says: /got EOPNOTSUPP, want 0/,
    operation: 'fallocate COLLAPSE_RANGE, INSERT_RANGE',
    does: 'EOPNOTSUPP',
    reason: 'the kernel does not hand them to a FUSE server',
  },
  {
    cases: /^fallocate: a punched hole gives its space back/,
    says: /\d+ blocks became/,
    operation: 'st_blocks of a file that is open for writing',
    does: 'never 0, and right once it is closed',
    reason: 'the kernel keeps the number that it was told last; it asks again after a close',
  },
  {
    cases: /^long files: pwrite at 1 EiB/,
    says: /got \["ok","EFBIG"\]/,
    operation: 'write beyond the longest file (4 PiB)',
    does: 'EFBIG from `fsync` or `close`; from `truncate`, `fallocate` and O_DIRECT at once',
    reason:
      'lengths are numbers that are exact up to 8 PiB, with room for sums (ext4 ends at 16 TiB); the kernel takes cached writes without asking, and cannot be told of a limit',
  },
];
