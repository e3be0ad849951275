/**
 * Replies to the kernel, encoded. Pure functions that write at an offset of a buffer with room enough (the caller's duty) and return the
 * offset behind. Every byte of a layout is written, so that nothing old leaks out of a buffer that is used again.
 */
import type { Time } from '../../base/clock.js';
import type { Attributes, DirectoryEntry, FileSystemStatus, Handle, Ino } from '../../namespace/namespace.js';
import { NAME_BYTES_MAX } from '../../base/limits.js';
import {
  ATTR_OUT_BYTES,
  DIRENT_BYTES,
  ENTRY_OUT_BYTES,
  INIT_OUT_BYTES,
  IOCTL_OUT_BYTES,
  LSEEK_OUT_BYTES,
  OPEN_OUT_BYTES,
  Notify,
  OUT_HEADER_BYTES,
  STATFS_OUT_BYTES,
  STATX_OUT_BYTES,
  StatxBit,
  WRITE_OUT_BYTES,
} from './protocol.js';

const TWO_32 = 2 ** 32;
/** The unit in which we like to be written to: the page, as every file system here. */
const BLOCK_BYTES = 4096;
/** S_IFMT bits of a mode are a dirent's type shifted by this. */
const TYPE_SHIFT = 12;

/** Signed or unsigned whole number in eight bytes. */
function put64(out: Buffer, at: number, value: number): void {
  out.writeUInt32LE(value >>> 0, at);
  out.writeUInt32LE(Math.floor(value / TWO_32) >>> 0, at + 4);
}

function put32(out: Buffer, at: number, value: number): void {
  out.writeUInt32LE(value >>> 0, at);
}

/** How long the kernel may use what it was told, seconds. */
export interface Validity {
  readonly entrySeconds: number;
  readonly attributeSeconds: number;
}

/** `errno`: positive, or 0. */
export function encodeHeader(out: Buffer, at: number, bytes: number, errno: number, uniqueLow: number, uniqueHigh: number): number {
  put32(out, at, bytes);
  out.writeInt32LE(-errno, at + 4);
  put32(out, at + 8, uniqueLow);
  put32(out, at + 12, uniqueHigh);
  return at + OUT_HEADER_BYTES;
}

function encodeAttributes(out: Buffer, at: number, a: Attributes): void {
  put64(out, at, a.ino);
  put64(out, at + 8, a.size);
  put64(out, at + 16, a.blocks);
  putTimes(out, at, a.atime, a.mtime, a.ctime);
  put32(out, at + 60, a.mode);
  put32(out, at + 64, a.links);
  put32(out, at + 68, a.uid);
  put32(out, at + 72, a.gid);
  put32(out, at + 76, a.rdev);
  put32(out, at + 80, BLOCK_BYTES);
  put32(out, at + 84, 0);
}

function putTimes(out: Buffer, at: number, atime: Time, mtime: Time, ctime: Time): void {
  put64(out, at + 24, atime.seconds);
  put64(out, at + 32, mtime.seconds);
  put64(out, at + 40, ctime.seconds);
  put32(out, at + 48, atime.nanoseconds);
  put32(out, at + 52, mtime.nanoseconds);
  put32(out, at + 56, ctime.nanoseconds);
}

/** fuse_entry_out of an inode. Inode numbers are never given twice, so the generation is always 0. */
export function encodeEntry(out: Buffer, at: number, a: Attributes, validity: Validity): number {
  put64(out, at, a.ino);
  put64(out, at + 8, 0);
  put64(out, at + 16, validity.entrySeconds);
  put64(out, at + 24, validity.attributeSeconds);
  put64(out, at + 32, 0);
  encodeAttributes(out, at + 40, a);
  return at + ENTRY_OUT_BYTES;
}

/** fuse_entry_out that says: there is no such name, and it may be remembered. */
export function encodeNoEntry(out: Buffer, at: number, validity: Validity): number {
  out.fill(0, at, at + ENTRY_OUT_BYTES);
  put64(out, at + 16, validity.entrySeconds);
  return at + ENTRY_OUT_BYTES;
}

export function encodeAttrOut(out: Buffer, at: number, a: Attributes, validity: Validity): number {
  put64(out, at, validity.attributeSeconds);
  put64(out, at + 8, 0);
  encodeAttributes(out, at + 16, a);
  return at + ATTR_OUT_BYTES;
}

/** fuse_statx_out: what stat(2) has and, where it is known, the time of birth. */
export function encodeStatx(out: Buffer, at: number, a: Attributes, validity: Validity): number {
  out.fill(0, at, at + STATX_OUT_BYTES);
  put64(out, at, validity.attributeSeconds);
  const x = at + 32;
  put32(out, x, StatxBit.BASIC_STATS | (a.btime === undefined ? 0 : StatxBit.BTIME));
  put32(out, x + 4, BLOCK_BYTES);
  put32(out, x + 16, a.links);
  put32(out, x + 20, a.uid);
  put32(out, x + 24, a.gid);
  out.writeUInt16LE(a.mode, x + 28);
  put64(out, x + 32, a.ino);
  put64(out, x + 40, a.size);
  put64(out, x + 48, a.blocks);
  for (const [i, time] of [a.atime, a.btime, a.ctime, a.mtime].entries()) {
    if (time === undefined) continue;
    put64(out, x + 64 + 16 * i, time.seconds);
    put32(out, x + 72 + 16 * i, time.nanoseconds);
  }
  // The kernel's new encoding of device numbers, taken apart.
  put32(out, x + 128, (a.rdev >>> 8) & 0xfff);
  put32(out, x + 132, (a.rdev & 0xff) | ((a.rdev >>> 12) & 0xfff00));
  return at + STATX_OUT_BYTES;
}

/** fuse_ioctl_out: it went well, and what goes to the caller's memory follows. */
export function encodeIoctl(out: Buffer, at: number, data: Uint8Array): number {
  out.fill(0, at, at + IOCTL_OUT_BYTES);
  out.set(data, at + IOCTL_OUT_BYTES);
  return at + IOCTL_OUT_BYTES + data.length;
}

export function encodeOpen(out: Buffer, at: number, handle: Handle, flags: number): number {
  put64(out, at, handle);
  put32(out, at + 8, flags);
  put32(out, at + 12, 0);
  return at + OPEN_OUT_BYTES;
}

/** WRITE's and, where only a length is asked for, GETXATTR's and LISTXATTR's. */
export function encodeSize(out: Buffer, at: number, bytes: number): number {
  put32(out, at, bytes);
  put32(out, at + 4, 0);
  return at + WRITE_OUT_BYTES;
}

/** LSEEK's offset and COPY_FILE_RANGE_64's length. */
export function encodeLong(out: Buffer, at: number, value: number): number {
  put64(out, at, value);
  return at + LSEEK_OUT_BYTES;
}

export function encodeStatfs(out: Buffer, at: number, status: FileSystemStatus): number {
  out.fill(0, at, at + STATFS_OUT_BYTES);
  put64(out, at, status.blocks);
  put64(out, at + 8, status.blocksFree);
  put64(out, at + 16, status.blocksAvailable);
  put64(out, at + 24, status.files);
  put64(out, at + 32, status.filesFree);
  put32(out, at + 40, status.blockBytes);
  put32(out, at + 44, NAME_BYTES_MAX);
  put32(out, at + 48, status.blockBytes);
  return at + STATFS_OUT_BYTES;
}

export interface InitOut {
  readonly major: number;
  readonly minor: number;
  readonly maxReadaheadBytes: number;
  readonly flags: number;
  /** Since 7.36. */
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWriteBytes: number;
  readonly maxPages: number;
}

export function encodeInit(out: Buffer, at: number, init: InitOut): number {
  out.fill(0, at, at + INIT_OUT_BYTES);
  put32(out, at, init.major);
  put32(out, at + 4, init.minor);
  put32(out, at + 8, init.maxReadaheadBytes);
  put32(out, at + 12, init.flags);
  out.writeUInt16LE(init.maxBackground, at + 16);
  out.writeUInt16LE(init.congestionThreshold, at + 18);
  put32(out, at + 20, init.maxWriteBytes);
  put32(out, at + 24, 1); // time granularity: nanoseconds
  out.writeUInt16LE(init.maxPages, at + 28);
  put32(out, at + 32, init.flags2);
  return at + INIT_OUT_BYTES;
}

/** Bytes of one directory entry with a name this long. */
export function direntBytes(nameBytes: number, plus: boolean): number {
  return (plus ? ENTRY_OUT_BYTES : 0) + ((DIRENT_BYTES + nameBytes + 7) & ~7);
}

/**
 * Writes an entry of READDIR, or of READDIRPLUS with `plus`. With `plus`, an entry without attributes, `.` and `..` tell the kernel nothing
 * about the inode and count as no lookup of it.
 */
export function encodeDirent(out: Buffer, at: number, entry: DirectoryEntry, plus: boolean, validity: Validity): number {
  const end = at + direntBytes(entry.name.length, plus);
  let dirent = at;
  if (plus) {
    dirent += ENTRY_OUT_BYTES;
    if (countsAsLookup(entry)) encodeEntry(out, at, entry.attributes, validity);
    else out.fill(0, at, dirent);
  }
  put64(out, dirent, entry.ino);
  put64(out, dirent + 8, entry.nextOffset);
  put32(out, dirent + 16, entry.name.length);
  put32(out, dirent + 20, entry.type >>> TYPE_SHIFT);
  out.write(entry.name, dirent + DIRENT_BYTES, 'latin1');
  out.fill(0, dirent + DIRENT_BYTES + entry.name.length, end);
  return end;
}

/** True when a READDIRPLUS reply with this entry adds one to the kernel's count of lookups of its inode. */
export function countsAsLookup(entry: DirectoryEntry): entry is DirectoryEntry & { readonly attributes: Attributes } {
  return entry.attributes !== undefined && entry.name !== '.' && entry.name !== '..';
}

/** Notification: forget cached attributes and, unless `offset` is negative, the pages of a range (`bytes` 0: to the end). */
export function encodeInvalidateInode(ino: Ino, offset: number, bytes: number): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + 24);
  put32(out, 0, out.length);
  put32(out, 4, Notify.INVAL_INODE);
  put64(out, 16, ino);
  put64(out, 24, offset);
  put64(out, 32, bytes);
  return out;
}

/** Notification: forget an inode that nobody uses, and all its names. */
export function encodePrune(ino: Ino): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + 16 + 8);
  put32(out, 0, out.length);
  put32(out, 4, Notify.PRUNE);
  put32(out, 16, 1);
  put64(out, 32, ino);
  return out;
}

/** Notification: forget what is known of a name. */
export function encodeInvalidateEntry(parent: Ino, name: string): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + 16 + name.length + 1);
  put32(out, 0, out.length);
  put32(out, 4, Notify.INVAL_ENTRY);
  put64(out, 16, parent);
  put32(out, 24, name.length);
  out.write(name, 32, 'latin1');
  return out;
}
