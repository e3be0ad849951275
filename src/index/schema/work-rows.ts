/**
 * Rows of work in progress, which a crash leaves behind for the next owner: uploads and their parts, unlinked open files, content that waits for
 * being dropped, files with content to pack. And the counters of the pool.
 */
import { ByteReader, ByteWriter } from '../../base/bytes.js';
import { checkVersion } from './inode-row.js';

const VERSION = 1;
const writer = new ByteWriter(64);

/** `session`: the epoch of the daemon that owns the upload; it dies with it. */
export interface UploadRow {
  readonly session: number;
  /** 0: none (a pack). */
  readonly ino: number;
}

export function encodeUpload(row: UploadRow): Buffer {
  return writer.reset().u8(VERSION).varint(row.session).varint(row.ino).copy();
}

/** @throws DecodeError */
export function decodeUpload(value: Uint8Array): UploadRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'upload');
  const row = { session: reader.varint(), ino: reader.varint() };
  reader.end();
  return row;
}

/** A row that says no more than its key (parts, packable files), or one number: an orphan's session, garbage's first offset. */
export function encodeNumber(value: number): Buffer {
  return writer.reset().u8(VERSION).varint(value).copy();
}

/** @throws DecodeError */
export function decodeNumber(value: Uint8Array): number {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'number');
  const number = reader.varint();
  reader.end();
  return number;
}

/** Exact in every committed state. */
export interface Counters {
  /** Inodes that have a row, the root and unlinked open ones included. */
  readonly inodes: number;
  /** Sum of `allocatedBytes` of all inodes. */
  readonly usedBytes: number;
  /** The next inode number. */
  readonly nextIno: number;
}

export function encodeCounters(counters: Counters): Buffer {
  return writer.reset().u8(VERSION).varint(counters.inodes).varint(counters.usedBytes).varint(counters.nextIno).copy();
}

/** @throws DecodeError */
export function decodeCounters(value: Uint8Array): Counters {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'counters');
  const counters = { inodes: reader.varint(), usedBytes: reader.varint(), nextIno: reader.varint() };
  reader.end();
  return counters;
}
