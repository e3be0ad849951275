/**
 * Numbers of the kernel's FUSE protocol (linux/fuse.h), version 7. All integers are in the machine's byte order; we run on little-endian
 * machines only. Constants and nothing else; decode.ts and encode.ts hold the layouts.
 */

/** Major version spoken. */
export const FUSE_MAJOR = 7;
/** The newest minor version whose layouts we know (Linux 6.18); the kernel's own is used where it is older. */
export const FUSE_MINOR_MAX = 45;
/** Linux 5.4; Debian 11's 5.10 has 32. */
export const FUSE_MINOR_MIN = 31;
/** Since this one a header says how much of the request are extensions; before, a security context follows unannounced. */
export const FUSE_MINOR_EXTENSIONS = 38;

/** Every operation of the protocol; what becomes of each stands in README.md. */
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
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Numbers of INIT's flags: bits 0 … 31 of `flags`, 32 … of `flags2`. What is taken, and why, stands in README.md. */
export const InitFlag = {
  ASYNC_READ: 0,
  POSIX_LOCKS: 1,
  FILE_OPS: 2,
  ATOMIC_O_TRUNC: 3,
  EXPORT_SUPPORT: 4,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  SPLICE_WRITE: 7,
  SPLICE_MOVE: 8,
  SPLICE_READ: 9,
  FLOCK_LOCKS: 10,
  HAS_IOCTL_DIR: 11,
  AUTO_INVAL_DATA: 12,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  NO_OPEN_SUPPORT: 17,
  PARALLEL_DIROPS: 18,
  HANDLE_KILLPRIV: 19,
  POSIX_ACL: 20,
  ABORT_ERROR: 21,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  NO_OPENDIR_SUPPORT: 24,
  EXPLICIT_INVAL_DATA: 25,
  MAP_ALIGNMENT: 26,
  SUBMOUNTS: 27,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  SECURITY_CTX: 32,
  HAS_INODE_DAX: 33,
  CREATE_SUPP_GROUP: 34,
  HAS_EXPIRE_ONLY: 35,
  DIRECT_IO_ALLOW_MMAP: 36,
  PASSTHROUGH: 37,
  NO_EXPORT_SUPPORT: 38,
  HAS_RESEND: 39,
  ALLOW_IDMAP: 40,
  OVER_IO_URING: 41,
  REQUEST_TIMEOUT: 42,
} as const;
export type InitFlagName = keyof typeof InitFlag;

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
export const OpenReplyFlag = { DIRECT_IO: 1 << 0, KEEP_CACHE: 1 << 1 } as const;
/** `open_flags` of OPEN and CREATE: clear set-id bits, the open truncates. */
export const OPEN_KILL_SUIDGID = 1 << 0;

/** Flags of a GETATTR. HANDLE: for this open file; of a regular file, since its program is about to write. */
export const GetattrFlag = { HANDLE: 1 << 0 } as const;
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

/** Bits of statx(2)'s mask: what stat(2) has, and the time of birth. */
export const StatxBit = { BASIC_STATS: 0x7ff, BTIME: 0x800 } as const;

/** ioctl(2) commands that tools of local file systems send. */
export const Ioctl = {
  /** lsattr(1), chattr(1). */
  GETFLAGS: 0x80086601,
  SETFLAGS: 0x40086602,
  /** lsattr -v. */
  GETVERSION: 0x80087601,
  /** xfs_io(8), chattr -p: flags, extent size, project. */
  FSGETXATTR: 0x801c581f,
  FSSETXATTR: 0x401c5820,
  /** fstrim(8). */
  FITRIM: 0xc0185879,
} as const;
export const FSXATTR_BYTES = 28;

/** Extensions of a request that makes something: up to this type a number of security contexts. */
export const SECURITY_CONTEXTS_MAX = 31;

/** Notifications to the kernel; they stand where a reply has its error. */
export const Notify = { INVAL_INODE: 2, INVAL_ENTRY: 3, PRUNE: 9 } as const;
/** From this minor version on the kernel knows PRUNE. */
export const FUSE_MINOR_PRUNE = 45;

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
export const STATX_OUT_BYTES = 32 + 256;
export const IOCTL_OUT_BYTES = 16;
/** fuse_dirent without its name. */
export const DIRENT_BYTES = 24;

/** The kernel takes errnos below this; a larger one would leave the request unanswered. */
export const ERRNO_MAX = 511;

const opcodeNames = new Map<number, string>(Object.entries(Opcode).map(([name, code]) => [code, name]));

/** For logs. */
export function opcodeName(opcode: number): string {
  return opcodeNames.get(opcode) ?? `opcode ${opcode}`;
}
