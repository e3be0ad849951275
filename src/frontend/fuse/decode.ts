/**
 * Requests of the kernel, decoded. Pure functions over bytes; the input is not trusted: whatever does not have exactly the layout of its
 * operation throws DecodeError, and nothing is read outside the message. Names and data are views or copies as said at each; a view dies
 * with the batch.
 */
import { DecodeError } from '../../base/bytes.js';
import type { Time } from '../../base/clock.js';
import type { AttributeChange, Ino } from '../../namespace/namespace.js';
import { decodeSecurityContexts } from './extensions.js';
import { SETXATTR_ACL_KILL_SGID, SetattrBit, WRITE_IN_BYTES } from './protocol.js';
import type { Request } from './request.js';

/** The name that starts at `offset`: not empty, no slash. */
function name(request: Request, offset: number): string {
  const text = request.text(offset);
  if (text === '' || text.includes('/')) throw new DecodeError('not a name');
  return text;
}

/** A body that is one name and nothing else: LOOKUP, UNLINK, RMDIR, REMOVEXATTR (whose name may have a slash). */
export function decodeName(request: Request): string {
  request.exactly(request.end(0));
  return name(request, 0);
}

export function decodeXattrName(request: Request): string {
  request.exactly(request.end(0));
  return nonEmpty(request.text(0));
}

function nonEmpty(text: string): string {
  if (text === '') throw new DecodeError('empty name');
  return text;
}

export interface InitIn {
  readonly major: number;
  readonly minor: number;
  readonly maxReadaheadBytes: number;
  readonly flags: number;
  readonly flags2: number;
}

/** INIT has 16 bytes, since 7.36 more; only the version is read when the major one is not ours. */
export function decodeInit(request: Request): InitIn {
  const major = request.u32(0);
  const minor = request.u32(4);
  if (major !== 7) return { major, minor, maxReadaheadBytes: 0, flags: 0, flags2: 0 };
  return { major, minor, maxReadaheadBytes: request.u32(8), flags: request.u32(12), flags2: request.bodyBytes >= 20 ? request.u32(16) : 0 };
}

export function decodeForget(request: Request): number {
  request.exactly(8);
  return request.u64(0);
}

/** Calls `each` for every inode forgotten. Nothing is called unless the whole message is well-formed. */
export function decodeBatchForget(request: Request, each: (ino: Ino, count: number) => void): void {
  const count = request.u32(0);
  request.exactly(8 + count * 16);
  const pairs: number[] = [];
  for (let at = 8; at < request.bodyBytes; at += 8) pairs.push(request.u64(at));
  for (let i = 0; i + 1 < pairs.length; i += 2) each(pairs[i] ?? 0, pairs[i + 1] ?? 0);
}

export interface GetattrIn {
  readonly flags: number;
  readonly handle: number;
}

export function decodeGetattr(request: Request): GetattrIn {
  request.exactly(16);
  return { flags: request.u32(0), handle: request.u64(8) };
}

export interface SetattrIn {
  readonly change: AttributeChange;
  /** The open file that it is for, if any. */
  readonly handle: number | undefined;
  /** The kernel asks to clear set-id bits with it. */
  readonly killPrivileges: boolean;
}

function time(request: Request, secondsAt: number, nanosecondsAt: number): Time {
  const nanoseconds = request.u32(nanosecondsAt);
  if (nanoseconds > 999_999_999) throw new DecodeError(`${nanoseconds} nanoseconds`);
  return { seconds: request.i64(secondsAt), nanoseconds };
}

export function decodeSetattr(request: Request): SetattrIn {
  request.exactly(88);
  const valid = request.u32(0);
  const has = (bit: number): boolean => (valid & bit) !== 0;
  const change = {
    ...(has(SetattrBit.MODE) && { mode: request.u32(68) }),
    ...(has(SetattrBit.UID) && { uid: request.u32(76) }),
    ...(has(SetattrBit.GID) && { gid: request.u32(80) }),
    ...(has(SetattrBit.SIZE) && { size: request.place(16) }),
    ...(has(SetattrBit.ATIME) && { atime: time(request, 32, 56) }),
    ...(has(SetattrBit.MTIME) && { mtime: time(request, 40, 60) }),
    ...(has(SetattrBit.CTIME) && { ctime: time(request, 48, 64) }),
    ...(has(SetattrBit.ATIME_NOW) && { atime: 'now' as const }),
    ...(has(SetattrBit.MTIME_NOW) && { mtime: 'now' as const }),
  };
  return { change, handle: has(SetattrBit.FH) ? request.u64(8) : undefined, killPrivileges: has(SetattrBit.KILL_SUIDGID) };
}

export interface SymlinkIn {
  readonly name: string;
  /** A copy. */
  readonly target: Buffer;
}

export function decodeSymlink(request: Request): SymlinkIn {
  const targetAt = request.end(0);
  const end = request.end(targetAt);
  request.exactly(end);
  if (end - 1 === targetAt) throw new DecodeError('empty link target');
  request.contexts = decodeSecurityContexts(request);
  return { name: name(request, 0), target: Buffer.from(request.view(targetAt, end - 1 - targetAt)) };
}

export interface MknodIn {
  readonly mode: number;
  readonly rdev: number;
  readonly name: string;
}

export function decodeMknod(request: Request): MknodIn {
  request.exactly(request.end(16));
  request.umask = request.u32(8);
  request.contexts = decodeSecurityContexts(request);
  return { mode: request.u32(0), rdev: request.u32(4), name: name(request, 16) };
}

export interface MkdirIn {
  readonly mode: number;
  readonly name: string;
}

export function decodeMkdir(request: Request): MkdirIn {
  request.exactly(request.end(8));
  request.umask = request.u32(4);
  request.contexts = decodeSecurityContexts(request);
  return { mode: request.u32(0), name: name(request, 8) };
}

export interface RenameIn {
  readonly newParent: Ino;
  readonly flags: number;
  readonly name: string;
  readonly newName: string;
}

function twoNames(request: Request, headBytes: number, flags: number): RenameIn {
  const secondAt = request.end(headBytes);
  request.exactly(request.end(secondAt));
  return { newParent: request.u64(0), flags, name: name(request, headBytes), newName: name(request, secondAt) };
}

export function decodeRename(request: Request): RenameIn {
  return twoNames(request, 8, 0);
}

export function decodeRename2(request: Request): RenameIn {
  return twoNames(request, 16, request.u32(8));
}

export interface LinkIn {
  /** The inode that gets another name. */
  readonly ino: Ino;
  readonly newName: string;
}

export function decodeLink(request: Request): LinkIn {
  request.exactly(request.end(8));
  return { ino: request.u64(0), newName: name(request, 8) };
}

export interface OpenIn {
  readonly flags: number;
  readonly openFlags: number;
}

/** OPEN and OPENDIR. */
export function decodeOpen(request: Request): OpenIn {
  request.exactly(8);
  return { flags: request.u32(0), openFlags: request.u32(4) };
}

export interface CreateIn {
  readonly flags: number;
  readonly mode: number;
  readonly openFlags: number;
  readonly name: string;
}

export function decodeCreate(request: Request): CreateIn {
  request.exactly(request.end(16));
  request.umask = request.u32(8);
  request.contexts = decodeSecurityContexts(request);
  return {
    flags: request.u32(0),
    mode: request.u32(4),
    openFlags: request.u32(12),
    name: name(request, 16),
  };
}

/** TMPFILE has CREATE's layout; what stands in the place of the name says nothing. */
export function decodeTmpfile(request: Request): Pick<CreateIn, 'flags' | 'mode'> {
  request.exactly(request.end(16));
  request.umask = request.u32(8);
  request.contexts = decodeSecurityContexts(request);
  return { flags: request.u32(0), mode: request.u32(4) };
}

export interface ReadIn {
  readonly handle: number;
  readonly offset: number;
  readonly bytes: number;
}

/** READ, READDIR, READDIRPLUS. Directory offsets are ours and come back as they were given. */
export function decodeRead(request: Request): ReadIn {
  request.exactly(40);
  return { handle: request.u64(0), offset: request.place(8), bytes: request.u32(16) };
}

export interface WriteIn {
  readonly handle: number;
  readonly offset: number;
  readonly flags: number;
  /** A view. */
  readonly data: Buffer;
}

export function decodeWrite(request: Request): WriteIn {
  const bytes = request.u32(16);
  request.exactly(WRITE_IN_BYTES + bytes);
  return { handle: request.u64(0), offset: request.place(8), flags: request.u32(20), data: request.view(WRITE_IN_BYTES, bytes) };
}

/** RELEASE, RELEASEDIR, FLUSH: 24 bytes that begin with the handle. */
export function decodeClose(request: Request): number {
  request.exactly(24);
  return request.u64(0);
}

export interface FsyncIn {
  readonly handle: number;
  readonly flags: number;
}

/** FSYNC, FSYNCDIR. */
export function decodeFsync(request: Request): FsyncIn {
  request.exactly(16);
  return { handle: request.u64(0), flags: request.u32(8) };
}

export interface LseekIn {
  readonly handle: number;
  readonly offset: number;
  readonly whence: number;
}

export function decodeLseek(request: Request): LseekIn {
  request.exactly(24);
  return { handle: request.u64(0), offset: request.place(8), whence: request.u32(16) };
}

export interface FallocateIn {
  readonly handle: number;
  readonly offset: number;
  readonly bytes: number;
  readonly mode: number;
}

export function decodeFallocate(request: Request): FallocateIn {
  request.exactly(32);
  return { handle: request.u64(0), offset: request.place(8), bytes: request.place(16), mode: request.u32(24) };
}

export interface CopyRangeIn {
  readonly handle: number;
  readonly offset: number;
  readonly targetIno: Ino;
  readonly targetHandle: number;
  readonly targetOffset: number;
  readonly bytes: number;
}

/** COPY_FILE_RANGE and COPY_FILE_RANGE_64. */
export function decodeCopyRange(request: Request): CopyRangeIn {
  request.exactly(56);
  return {
    handle: request.u64(0),
    offset: request.place(8),
    targetIno: request.u64(16),
    targetHandle: request.u64(24),
    targetOffset: request.place(32),
    bytes: request.place(40),
  };
}

export interface SetxattrIn {
  readonly flags: number;
  /** An ACL that takes the set-group-id bit away. */
  readonly killSetGroup: boolean;
  readonly name: string;
  /** A view. */
  readonly value: Buffer;
}

/** `extended`: SETXATTR_EXT was negotiated. */
export function decodeSetxattr(request: Request, extended: boolean): SetxattrIn {
  const headBytes = extended ? 16 : 8;
  const bytes = request.u32(0);
  const valueAt = request.end(headBytes);
  request.exactly(valueAt + bytes);
  const killSetGroup = extended && (request.u32(8) & SETXATTR_ACL_KILL_SGID) !== 0;
  return { flags: request.u32(4), killSetGroup, name: nonEmpty(request.text(headBytes)), value: request.view(valueAt, bytes) };
}

export interface GetxattrIn {
  /** Room that the caller has; 0: it asks for the length. */
  readonly bytes: number;
  readonly name: string;
}

export function decodeGetxattr(request: Request): GetxattrIn {
  request.exactly(request.end(8));
  return { bytes: request.u32(0), name: nonEmpty(request.text(8)) };
}

export function decodeListxattr(request: Request): number {
  request.exactly(8);
  return request.u32(0);
}

export interface InterruptIn {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

export function decodeInterrupt(request: Request): InterruptIn {
  request.exactly(8);
  return { uniqueLow: request.u32(0), uniqueHigh: request.u32(4) };
}

export interface StatxIn {
  readonly mask: number;
}

/** FUSE's other fields (a handle, flags of statx(2)) change nothing here. */
export function decodeStatx(request: Request): StatxIn {
  request.exactly(24);
  return { mask: request.u32(20) };
}

export interface IoctlIn {
  readonly handle: number;
  readonly command: number;
  /** A view of what the caller gave. */
  readonly data: Buffer;
  /** Room for the answer. */
  readonly answerBytes: number;
}

export function decodeIoctl(request: Request): IoctlIn {
  const bytes = request.u32(24);
  request.exactly(32 + bytes);
  return { handle: request.u64(0), command: request.u32(12), data: request.view(32, bytes), answerBytes: request.u32(28) };
}
