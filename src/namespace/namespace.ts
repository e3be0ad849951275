/**
 * The control plane's public face: a POSIX namespace by inode. A front end is a thin adapter over it. Methods answer at once where they can, and throw or reject with
 * OperatingError, whose code is the errno that POSIX gives for the operation. Names are byte strings: one character a byte (latin1), 1 … NAME_BYTES_MAX, without / and NUL.
 */
import type { Awaitable } from '../base/awaitable.js';
import type { Time } from '../base/clock.js';

/** Inode number; 1 is the root; never given twice in a pool's life. */
export type Ino = number;

/** A number that stands for one open file or directory. */
export type Handle = number;

/** Who asks. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Of the process, for what it makes; 0 where it was applied already. */
  readonly umask?: number;
  /** Is this one of its other groups? Asked where it decides whether a set-group-id bit stays. */
  inGroup?(gid: number): boolean;
  /**
   * The caller dates changes of content itself and tells the times by setattr, before it flushes, as the kernel does with its write-back cache: writes, `allocate` and
   * `copyRange` leave them as they are.
   */
  readonly datesContent?: boolean;
  /** Labels of security modules for what is made; they come with it, in one step. */
  readonly contexts?: readonly SecurityContext[];
}

/** An extended attribute `security.…`. */
export interface SecurityContext {
  readonly name: string;
  readonly value: Uint8Array;
}

/** As stat(2) has it. */
export interface Attributes {
  readonly ino: Ino;
  /** Type and permission bits. */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  /** When the inode was made; undefined where nobody wrote it down. */
  readonly btime: Time | undefined;
}

/** What setattr may change. 'now': the time of the call. */
export interface AttributeChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: Time | 'now';
  readonly mtime?: Time | 'now';
  readonly ctime?: Time;
}

export interface DirectoryEntry {
  readonly ino: Ino;
  readonly name: string;
  /** File type bits of the mode (S_IFMT). */
  readonly type: number;
  /** Pass it as `offset` to go on behind this entry; stays valid while the directory changes. */
  readonly nextOffset: number;
  /** Only with `plus`. */
  readonly attributes: Attributes | undefined;
}

export interface FileSystemStatus {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  /** Of those that are free, for whom asks: no more than the pool has, whatever a quota would allow. */
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
}

/** renameat2(2). */
export interface RenameFlags {
  readonly noReplace: boolean;
  readonly exchange: boolean;
}

/** fallocate(2). Neither `punch` nor `zero`: reserve. */
export interface AllocateMode {
  /** The file's length stays. */
  readonly keepSize: boolean;
  /** The range becomes a hole. */
  readonly punch: boolean;
  /** The range reads as zeros from then on. */
  readonly zero: boolean;
}

/** A place in an open file. */
export interface OpenPlace {
  readonly ino: Ino;
  readonly handle: Handle;
  readonly offset: number;
}

export interface Namespace {
  /** Undefined: there is no such name. A value, since half of all lookups find nothing, and to throw takes longer than to look. */
  lookup(parent: Ino, name: string, caller: Caller): Awaitable<Attributes | undefined>;
  /**
   * @param handle the kernel asks for who is about to write by it: an upload that a quota refused is told now already
   * @throws OperatingError ESTALE, EDQUOT
   */
  getattr(ino: Ino, handle?: Handle): Awaitable<Attributes>;
  setattr(ino: Ino, change: AttributeChange, caller: Caller, handle?: Handle): Awaitable<Attributes>;
  /**
   * The kernel dropped `count` lookups of this inode; an unlinked one nobody knows is collected. Counted as one lookup each: every result of lookup, symlink,
   * mknod, mkdir, link and create, and every entry with attributes (but . and ..) that readdir's `room` accepted.
   */
  forget(ino: Ino, count: number): void;
  /**
   * Keeps an inode, which is no directory, as if it were open, until what this resolves to is called.
   * @throws OperatingError ESTALE
   */
  hold(ino: Ino): Promise<() => Promise<void>>;
  readlink(ino: Ino): Awaitable<Buffer>;
  symlink(parent: Ino, name: string, target: Uint8Array, caller: Caller): Awaitable<Attributes>;
  /** Regular files, fifos, sockets and devices. `mode` has type and permissions; the caller's umask counts unless the directory has a default ACL. */
  mknod(parent: Ino, name: string, mode: number, rdev: number, caller: Caller): Awaitable<Attributes>;
  mkdir(parent: Ino, name: string, mode: number, caller: Caller): Awaitable<Attributes>;
  unlink(parent: Ino, name: string, caller: Caller): Awaitable<void>;
  rmdir(parent: Ino, name: string, caller: Caller): Awaitable<void>;
  /** Resolves with the directories, two of them at most, that are in another directory now: their `..` is another one. */
  rename(parent: Ino, name: string, newParent: Ino, newName: string, flags: RenameFlags, caller: Caller): Awaitable<readonly Ino[]>;
  link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Awaitable<Attributes>;

  /** `flags` as open(2). */
  open(ino: Ino, flags: number, caller: Caller): Awaitable<Handle>;
  create(parent: Ino, name: string, mode: number, flags: number, caller: Caller): Awaitable<{ attributes: Attributes; handle: Handle }>;
  /** O_TMPFILE: a file without a name, which `link` can give it; it goes with its last handle otherwise. */
  createUnnamed(parent: Ino, mode: number, flags: number, caller: Caller): Awaitable<{ attributes: Attributes; handle: Handle }>;
  /**
   * Pieces of the content, in order, verified; shorter in sum than `bytes` only at the end of the file. They are the namespace's memory: valid until `release` is
   * called, and not to be written to.
   */
  read(ino: Ino, handle: Handle, offset: number, bytes: number): Awaitable<{ pieces: readonly Uint8Array[]; release(): void }>;
  /** Takes a copy of `data` before it returns. A promise waits for memory or disks. */
  write(ino: Ino, handle: Handle, offset: number, data: Uint8Array, caller: Caller): Awaitable<number>;
  /** A descriptor was closed: commits; reports a poisoned upload once for each handle. */
  flush(ino: Ino, handle: Handle): Awaitable<void>;
  /** Commits and waits until durable. */
  fsync(ino: Ino, handle: Handle, dataOnly: boolean): Awaitable<void>;
  release(ino: Ino, handle: Handle): Awaitable<void>;

  /** Somebody has it open for writing: there may be content that has not come here yet. */
  openForWriting(ino: Ino): boolean;
  /** lseek(2) with SEEK_DATA or SEEK_HOLE. */
  seek(ino: Ino, handle: Handle, offset: number, whence: 'data' | 'hole'): Awaitable<number>;
  /** fallocate(2): makes room, holes or zeros. */
  allocate(ino: Ino, handle: Handle, offset: number, bytes: number, mode: AllocateMode, caller: Caller): Awaitable<void>;
  /** copy_file_range(2) as a matter of metadata. Resolves with the bytes copied, which may be fewer. */
  copyRange(source: OpenPlace, target: OpenPlace, bytes: number, caller: Caller): Awaitable<number>;

  /**
   * Entries behind `offset` (0: from the start, with . and ..), as long as `room(entry)` says that there is room. Nothing is opened for it: an offset is
   * enough to go on from.
   */
  readdir(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Awaitable<void>;
  fsyncdir(ino: Ino): Awaitable<void>;

  /** `flags`: XATTR_CREATE (1), XATTR_REPLACE (2). */
  setxattr(ino: Ino, name: string, value: Uint8Array, flags: number, caller: Caller): Awaitable<void>;
  /** Undefined: there is no such attribute. The kernel asks before each first write. */
  getxattr(ino: Ino, name: string): Awaitable<Buffer | undefined>;
  listxattr(ino: Ino): Awaitable<string[]>;
  removexattr(ino: Ino, name: string, caller: Caller): Awaitable<void>;

  /** Of the quota that an inode is below, if there is one; else of the pool. */
  statfs(ino?: Ino): Awaitable<FileSystemStatus>;
  /** Commits every upload and waits until all is durable. */
  syncAll(): Promise<void>;
  /** Commits every upload, stops the background work. */
  close(): Promise<void>;
}
