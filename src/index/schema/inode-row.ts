/** An inode's row. Immutable: a change makes a new object, so that caches can hand the same one to everybody. */
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import type { Time } from '../../base/clock.js';

/** 1: without the time of birth. */
const VERSION = 2;
const VERSION_WITHOUT_BIRTH = 1;
const writer = new ByteWriter(128);

/** The inode has rows in the table xattr. */
export const INODE_HAS_XATTRS = 1;

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
  writer
    .reset()
    .u8(row.btime === undefined ? VERSION_WITHOUT_BIRTH : VERSION)
    .varint(row.mode)
    .varint(row.links)
    .varint(row.uid)
    .varint(row.gid)
    .varint(row.rdev);
  writer.varint(row.size).varint(row.allocatedBytes).varint(row.generation).varint(row.flags).varint(row.parent).varint(row.nextCookie);
  putTime(row.atime);
  putTime(row.mtime);
  putTime(row.ctime);
  if (row.btime !== undefined) putTime(row.btime);
  return writer.copy();
}

/** @throws DecodeError */
export function decodeInode(ino: number, value: Uint8Array): InodeRow {
  const reader = new ByteReader(value);
  const version = reader.u8();
  if (version !== VERSION && version !== VERSION_WITHOUT_BIRTH) throw new DecodeError(`inode row of unknown version ${version}`);
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
    btime: version === VERSION ? getTime(reader) : undefined,
  };
  reader.end();
  return row;
}

/** Reads a row's version byte. @throws DecodeError when it is another one. */
export function checkVersion(reader: ByteReader, version: number, what: string): void {
  const found = reader.u8();
  if (found !== version) throw new DecodeError(`${what} row of unknown version ${found}`);
}
