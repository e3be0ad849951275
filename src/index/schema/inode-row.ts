/** An inode's row. Immutable: a change makes a new object, so that caches can hand the same one to everybody. */
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import type { Time } from '../../base/clock.js';

/** What a row has at its end, by its version: old rows, and those of files below no quota, stay as they were. */
const VERSIONS: ReadonlyMap<number, { readonly birth: boolean; readonly quota: boolean }> = new Map([
  [1, { birth: false, quota: false }],
  [2, { birth: true, quota: false }],
  [3, { birth: true, quota: true }],
  [4, { birth: false, quota: true }],
]);
const writer = new ByteWriter(128);

/** The inode has rows in the table xattr. */
export const INODE_HAS_XATTRS = 1;
/** It had several names at one time: it may count in the quota of one that is gone. */
export const INODE_HAD_NAMES = 2;

export interface InodeRow {
  readonly ino: number;
  /** Type and permission bits of stat(2). */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  /** Bytes of content that have extents. */
  readonly allocatedBytes: number;
  /** Which extents are the content; grows whenever a content is replaced as a whole. */
  readonly generation: number;
  /** INODE_… bits. */
  readonly flags: number;
  /** Directories: the directory that this one is in (the root: itself); otherwise 0. */
  readonly parent: number;
  /** Directories: cookie of the next entry; otherwise 0. */
  readonly nextCookie: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  /** When it was made; undefined: before rows knew. */
  readonly btime: Time | undefined;
  /** The quota that it counts in, by the inode of that quota's directory (a directory with a quota of its own: itself); 0: none. */
  readonly quota: number;
}

/**
 * A row with some of its parts changed. Written out, with all parts in one order, so that all rows are of one shape to V8: rows made by spreading were of many, and each
 * read of one a search.
 */
export function changedInode(row: InodeRow, changes: Partial<Omit<InodeRow, 'ino' | 'btime'>>): InodeRow {
  return {
    ino: row.ino,
    mode: changes.mode ?? row.mode,
    links: changes.links ?? row.links,
    uid: changes.uid ?? row.uid,
    gid: changes.gid ?? row.gid,
    rdev: changes.rdev ?? row.rdev,
    size: changes.size ?? row.size,
    allocatedBytes: changes.allocatedBytes ?? row.allocatedBytes,
    generation: changes.generation ?? row.generation,
    flags: changes.flags ?? row.flags,
    parent: changes.parent ?? row.parent,
    nextCookie: changes.nextCookie ?? row.nextCookie,
    atime: changes.atime ?? row.atime,
    mtime: changes.mtime ?? row.mtime,
    ctime: changes.ctime ?? row.ctime,
    btime: row.btime,
    quota: changes.quota ?? row.quota,
  };
}

function putTime(time: Time): void {
  // Zigzag: times before 1970 exist.
  writer.varint(time.seconds >= 0 ? time.seconds * 2 : -time.seconds * 2 - 1).u32(time.nanoseconds);
}

function getTime(reader: ByteReader): Time {
  const zigzag = reader.varint();
  const nanoseconds = reader.u32();
  if (nanoseconds > 999_999_999) throw new DecodeError(`${nanoseconds} nanoseconds in a time`);
  return { seconds: zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2, nanoseconds };
}

export function encodeInode(row: InodeRow): Buffer {
  const { btime, quota } = row;
  const version = btime === undefined ? (quota === 0 ? 1 : 4) : quota === 0 ? 2 : 3;
  writer.reset().u8(version).varint(row.mode).varint(row.links).varint(row.uid).varint(row.gid).varint(row.rdev);
  writer.varint(row.size).varint(row.allocatedBytes).varint(row.generation).varint(row.flags).varint(row.parent).varint(row.nextCookie);
  putTime(row.atime);
  putTime(row.mtime);
  putTime(row.ctime);
  if (btime !== undefined) putTime(btime);
  if (quota !== 0) writer.varint(quota);
  return writer.copy();
}

/** @throws DecodeError */
export function decodeInode(ino: number, value: Uint8Array): InodeRow {
  const reader = new ByteReader(value);
  const version = reader.u8();
  const parts = VERSIONS.get(version);
  if (parts === undefined) throw new DecodeError(`inode row of unknown version ${version}`);
  const row: InodeRow = {
    ino,
    mode: reader.varint(),
    links: reader.varint(),
    uid: reader.varint(),
    gid: reader.varint(),
    rdev: reader.varint(),
    size: reader.varint(),
    allocatedBytes: reader.varint(),
    generation: reader.varint(),
    flags: reader.varint(),
    parent: reader.varint(),
    nextCookie: reader.varint(),
    atime: getTime(reader),
    mtime: getTime(reader),
    ctime: getTime(reader),
    btime: parts.birth ? getTime(reader) : undefined,
    quota: parts.quota ? reader.varint() : 0,
  };
  reader.end();
  return row;
}

/** Reads a row's version byte. @throws DecodeError when it is another one. */
export function checkVersion(reader: ByteReader, version: number, what: string): void {
  const found = reader.u8();
  if (found !== version) throw new DecodeError(`${what} row of unknown version ${found}`);
}
