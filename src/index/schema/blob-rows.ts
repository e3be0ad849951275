/**
 * Rows about blobs. A location is opaque here: the data plane encodes it. A blob that something refers to has a row in the table blob; how many refer to
 * it stands in the table references where it is more than one. When the last reference goes, the location moves to the table free.
 */
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import { checkVersion } from './inode-row.js';
import { TABLES } from './tables.js';

const VERSION = 1;
const writer = new ByteWriter(256);

/** A location in the tables blob and free. */
export function encodeLocationRow(location: Uint8Array): Buffer {
  return writer.reset().u8(VERSION).bytes(location).copy();
}

/** A view. @throws DecodeError */
export function decodeLocationRow(value: Uint8Array): Buffer {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'location');
  return reader.bytes(reader.remaining);
}

export function encodeReferences(count: number): Buffer {
  return writer.reset().u8(VERSION).varint(count).copy();
}

/** @throws DecodeError */
export function decodeReferences(value: Uint8Array): number {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'references');
  const count = reader.varint();
  reader.end();
  if (count < 2) throw new DecodeError(`reference count ${count} has a row`);
  return count;
}

/** How many extents refer to a blob, by its references row; without one it is a single one. @throws DecodeError */
export function referencesOf(row: Buffer | undefined): number {
  return row === undefined ? 1 : decodeReferences(row);
}

/** Shard numbers that are missing, ascending. */
export function encodeEndangered(missing: readonly number[]): Buffer {
  writer.reset().u8(VERSION).varint(missing.length);
  for (const shard of missing) writer.u8(shard);
  return writer.copy();
}

/** @throws DecodeError */
export function decodeEndangered(value: Uint8Array): number[] {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'endangered');
  const missing = [...reader.bytes(reader.varint())];
  reader.end();
  return missing;
}

/**
 * The encoded location that a row points to, if it is one that keeps data: recovery verifies these in the entries behind the last barrier (I4), and
 * the search for stranded records looks them up (I10). Rows of the table free keep nothing.
 * @throws DecodeError
 */
export function pointedLocation(key: Uint8Array, value: Uint8Array): Buffer | undefined {
  return key[0] === TABLES.blob ? decodeLocationRow(value) : undefined;
}
