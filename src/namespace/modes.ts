/** Numbers of the POSIX interface on Linux, and what they say. */
import type { Caller } from './namespace.js';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o0010;
/** Permission bits, set-id and sticky bits. */
export const PERMISSION_BITS = 0o7777;

const O_ACCMODE = 0o3;
const O_RDONLY = 0;
const O_TRUNC = 0o1000;
const O_EXCL = 0o200;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

export const fileType = (mode: number): number => mode & S_IFMT;
export const isDirectory = (mode: number): boolean => fileType(mode) === S_IFDIR;
export const isRegular = (mode: number): boolean => fileType(mode) === S_IFREG;

/** May a file opened with these flags be written? */
export const opensForWrite = (flags: number): boolean => (flags & O_ACCMODE) !== O_RDONLY;
/** With O_TMPFILE: it never gets a name. */
export const staysUnnamed = (flags: number): boolean => (flags & O_EXCL) !== 0;

export const truncatesOnOpen = (flags: number): boolean => (flags & O_TRUNC) !== 0;

/**
 * The bits of a mode that go when somebody without privileges writes to the file, or its owner changes (setattr_should_drop_suidgid in the kernel's fs/attr.c).
 * Directories keep theirs.
 */
export function privilegesLost(
  { mode, gid }: { readonly mode: number; readonly gid: number },
  caller: Pick<Caller, 'uid' | 'gid' | 'inGroup'>,
): number {
  if (isDirectory(mode) || (mode & (S_ISUID | S_ISGID)) === 0) return 0;
  // A set-group-id bit without group execution means mandatory locking, not a privilege; one who is not of the group takes it away all the same.
  const belongs = (): boolean => caller.uid === 0 || caller.gid === gid || caller.inGroup?.(gid) === true;
  const keepsGroup = (mode & S_ISGID) === 0 || ((mode & S_IXGRP) === 0 && belongs());
  return mode & (keepsGroup ? S_ISUID : S_ISUID | S_ISGID);
}
