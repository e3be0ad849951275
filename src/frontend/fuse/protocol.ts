/**
 * Numbers of the kernel's FUSE protocol (linux/fuse.h), version 7. All integers are in the machine's byte order; we run on little-endian
 * machines only. Constants and nothing else; decode.ts and encode.ts hold the layouts.
 */

/** Major version spoken. */
export const FUSE_MAJOR = 7;
/** The newest minor version whose layouts we know; the kernel's own is used where it is older. */
export const FUSE_MINOR_MAX = 38;
/** Linux 5.4; Debian 11's 5.10 has 32. */
export const FUSE_MINOR_MIN = 31;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Bits of INIT's `flags`. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
} as const;

/** Bits of SETATTR's `valid`. */
export const SetattrBit = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

/** Flags of an OPEN reply. */
export const OpenReplyFlag = { KEEP_CACHE: 1 << 1 } as const;
/** `open_flags` of OPEN and CREATE: clear set-id bits, the open truncates. */
export const OPEN_KILL_SUIDGID = 1 << 0;

/** Flags of a WRITE. CACHE: written back by the kernel; the handle is any open one's. */
export const WriteFlag = { CACHE: 1 << 0, KILL_SUIDGID: 1 << 2 } as const;
/** `setxattr_flags`: the ACL takes the set-group-id bit away. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0;
export const FSYNC_DATA_ONLY = 1 << 0;
/** renameat2(2). */
export const RenameBit = { NOREPLACE: 1 << 0, EXCHANGE: 1 << 1 } as const;

/** lseek(2). */
export const Whence = { DATA: 3, HOLE: 4 } as const;
/** fallocate(2). */
export const FallocateBit = { KEEP_SIZE: 1 << 0, PUNCH_HOLE: 1 << 1, ZERO_RANGE: 1 << 4 } as const;

/** Notifications to the kernel; they stand where a reply has its error. */
export const Notify = { INVAL_INODE: 2, INVAL_ENTRY: 3 } as const;

export const IN_HEADER_BYTES = 40;
export const WRITE_IN_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
export const ATTR_BYTES = 88;
export const ENTRY_OUT_BYTES = 40 + ATTR_BYTES;
export const ATTR_OUT_BYTES = 16 + ATTR_BYTES;
export const OPEN_OUT_BYTES = 16;
export const WRITE_OUT_BYTES = 8;
export const LSEEK_OUT_BYTES = 8;
export const STATFS_OUT_BYTES = 80;
export const INIT_OUT_BYTES = 64;
export const GETXATTR_OUT_BYTES = 8;
/** fuse_dirent without its name. */
export const DIRENT_BYTES = 24;

/** The kernel takes errnos below this; a larger one would leave the request unanswered. */
export const ERRNO_MAX = 511;

const opcodeNames = new Map<number, string>(Object.entries(Opcode).map(([name, code]) => [code, name]));

/** For logs. */
export function opcodeName(opcode: number): string {
  return opcodeNames.get(opcode) ?? `opcode ${opcode}`;
}
