/** An extent's row: a stretch of a content, as bytes in the row itself or as a range of a blob. */
import { Arena } from '../../base/arena.js';
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import type { BlobId } from '../../base/ids.js';
import { checkVersion } from './inode-row.js';

const VERSION = 1;
const KIND_INLINE = 0;
const KIND_BLOB = 1;
/** Before the bytes of an inline extent: version, kind. */
const INLINE_HEADER_BYTES = 2;

export type Extent =
  | { readonly kind: 'inline'; readonly offset: number; readonly bytes: number; readonly data: Buffer }
  | { readonly kind: 'blob'; readonly offset: number; readonly bytes: number; readonly blob: BlobId; readonly blobOffset: number };

const writer = new ByteWriter(64);
const arena = new Arena();

export function encodeExtent(extent: Extent): Buffer {
  if (extent.kind === 'inline') {
    const value = arena.take(INLINE_HEADER_BYTES + extent.data.length);
    value[0] = VERSION;
    value[1] = KIND_INLINE;
    value.set(extent.data, INLINE_HEADER_BYTES);
    return value;
  }
  return writer.reset().u8(VERSION).u8(KIND_BLOB).varint(extent.bytes).varint(extent.blob).varint(extent.blobOffset).copy();
}

/** The bytes in the row of an inline extent; a view of it. */
export function inlineData(value: Buffer): Buffer {
  return value.subarray(INLINE_HEADER_BYTES);
}

/** `offset`: from the key. Inline data is a view of `value`. @throws DecodeError */
export function decodeExtent(offset: number, value: Buffer): Extent {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'extent');
  const kind = reader.u8();
  if (kind === KIND_INLINE) {
    const data = reader.bytes(reader.remaining);
    if (data.length === 0) throw new DecodeError('empty extent');
    return { kind: 'inline', offset, bytes: data.length, data };
  }
  if (kind !== KIND_BLOB) throw new DecodeError(`extent of unknown kind ${kind}`);
  const extent = { kind: 'blob' as const, offset, bytes: reader.varint(), blob: reader.varint(), blobOffset: reader.varint() };
  if (extent.bytes === 0) throw new DecodeError('empty extent');
  reader.end();
  return extent;
}

/** The part of an extent from file offset `start` to `end`, which lie within it. */
export function sliceExtent(extent: Extent, start: number, end: number): Extent {
  const skip = start - extent.offset;
  const bytes = end - start;
  return extent.kind === 'inline'
    ? { kind: 'inline', offset: start, bytes, data: extent.data.subarray(skip, skip + bytes) }
    : { kind: 'blob', offset: start, bytes, blob: extent.blob, blobOffset: extent.blobOffset + skip };
}
