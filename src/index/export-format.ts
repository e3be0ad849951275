/**
 * The bytes of an index export: header, chunks of rows in the order of their keys, trailer. Everything carries a checksum, and the trailer's covers the
 * order and number of the chunks, so a stream that was cut off, damaged or put together of two is never taken for whole. Pure; README.md lays out each byte.
 */
import { deflateSync, inflateSync } from 'node:zlib';
import { assert } from '../base/assert.js';
import { ByteReader, ByteWriter, DecodeError } from '../base/bytes.js';
import { checksum, CHECKSUM_BYTES, sameBytes } from '../base/checksums.js';
import { EXPORT_CHUNK_BYTES_MAX, INDEX_KEY_BYTES_MAX, KiB } from '../base/limits.js';
import type { Row } from './index-store.js';
import { compareKeys } from './keys.js';

const MAGIC = Buffer.from('OSTRAIDX', 'latin1');
const VERSION = 1;
/** Before the header's body, and before each chunk. */
export const PREAMBLE_BYTES = 16;
const HEADER_BODY_BYTES_MAX = 64 * KiB;
const CHUNK = 1;
const TRAILER = 2;
const PLAIN = 0;
const ZLIB = 1;
/** Fast: the event loop waits for it. */
const COMPRESSION_LEVEL = 2;

/** What an export says of itself. */
export interface ExportAbout {
  readonly poolId: string;
  readonly poolName: string;
  /** K+M of new blobs. */
  readonly code: string;
  /** The log's position and epoch at which the index stood. */
  readonly position: number;
  readonly epoch: number;
  /** ISO 8601, UTC. */
  readonly created: string;
}

export function encodeHeader(about: ExportAbout): Buffer {
  const { poolId, poolName, code, position, epoch, created } = about;
  const body = Buffer.from(JSON.stringify({ poolId, poolName, code, position, epoch, created }));
  const writer = new ByteWriter().bytes(MAGIC).u32(VERSION).u32(body.length).bytes(body);
  return Buffer.concat([writer.view(), checksum(writer.view())]);
}

/** Bytes of the header behind its preamble. @throws DecodeError */
export function headerRestBytes(preamble: Buffer): number {
  const reader = new ByteReader(preamble);
  if (!sameBytes(reader.bytes(8), MAGIC)) throw new DecodeError('this is no export of an index');
  const version = reader.u32();
  if (version !== VERSION) throw new DecodeError(`an export of version ${version}; this program knows version ${VERSION}`);
  const bytes = reader.u32();
  if (bytes > HEADER_BODY_BYTES_MAX) throw new DecodeError(`a header of ${bytes} bytes`);
  return bytes + CHECKSUM_BYTES;
}

/** @throws DecodeError */
export function decodeHeader(preamble: Buffer, rest: Buffer): ExportAbout {
  const body = rest.subarray(0, rest.length - CHECKSUM_BYTES);
  if (!sameBytes(checksum(preamble, body), rest.subarray(body.length))) throw new DecodeError('the header does not match its checksum');
  const about = JSON.parse(body.toString()) as ExportAbout;
  const { poolId, poolName, code, position, epoch, created } = about;
  for (const text of [poolId, poolName, code, created]) if (typeof text !== 'string') throw new DecodeError('the header lacks something');
  for (const number of [position, epoch]) if (!Number.isSafeInteger(number)) throw new DecodeError('the header lacks something');
  return about;
}

/** Ties chunks together: over what came before and the chunk's own checksum. */
export function chain(before: Uint8Array, chunk: Uint8Array): Buffer {
  return checksum(before, chunk);
}

export interface EncodedChunk {
  readonly bytes: Buffer;
  readonly checksum: Buffer;
}

/** @param rows of ascending keys; together a chunk's worth: compressing them takes a millisecond */
export function encodeChunk(rows: readonly Row[], compressed = true): EncodedChunk {
  const writer = new ByteWriter(64 * KiB);
  for (const { key, value } of rows) writer.sized(key).sized(value);
  const raw = writer.view();
  assert(raw.length <= EXPORT_CHUNK_BYTES_MAX, `a chunk of ${raw.length} bytes`);
  const packed = compressed ? deflateSync(raw, { level: COMPRESSION_LEVEL }) : raw;
  const smaller = packed.length < raw.length;
  const stored = smaller ? packed : raw;
  const preamble = new ByteWriter(PREAMBLE_BYTES);
  preamble
    .u8(CHUNK)
    .u8(smaller ? ZLIB : PLAIN)
    .u16(0)
    .u32(rows.length)
    .u32(raw.length)
    .u32(stored.length);
  const sum = checksum(preamble.view(), stored);
  return { bytes: Buffer.concat([preamble.view(), sum, stored]), checksum: sum };
}

export function encodeTrailer(chunks: number, rows: number, chained: Uint8Array): Buffer {
  const preamble = new ByteWriter(PREAMBLE_BYTES).u8(TRAILER).u8(0).u16(0).u32(chunks).u64(rows);
  return Buffer.concat([preamble.view(), checksum(preamble.view(), chained)]);
}

export type Preamble =
  | { readonly kind: 'chunk'; readonly compressed: boolean; readonly rows: number; readonly rawBytes: number; readonly storedBytes: number }
  | { readonly kind: 'trailer'; readonly chunks: number; readonly rows: number };

/** @throws DecodeError */
export function decodePreamble(bytes: Buffer): Preamble {
  const reader = new ByteReader(bytes);
  const [kind, compression, reserved] = [reader.u8(), reader.u8(), reader.u16()];
  if (reserved !== 0) throw new DecodeError('reserved bytes are not zero');
  if (kind === TRAILER) return { kind: 'trailer', chunks: reader.u32(), rows: reader.u64() };
  if (kind !== CHUNK || compression > ZLIB) throw new DecodeError(`a chunk of unknown kind ${kind}/${compression}`);
  const chunk = {
    kind: 'chunk' as const,
    compressed: compression === ZLIB,
    rows: reader.u32(),
    rawBytes: reader.u32(),
    storedBytes: reader.u32(),
  };
  if (chunk.rawBytes > EXPORT_CHUNK_BYTES_MAX || chunk.storedBytes > chunk.rawBytes)
    throw new DecodeError(`a chunk of ${chunk.rawBytes} bytes`);
  return chunk;
}

/**
 * The rows of a chunk whose checksum matched.
 * @param last the key before the first one
 * @throws DecodeError
 */
export function decodeChunk(chunk: Extract<Preamble, { kind: 'chunk' }>, stored: Buffer, last: Buffer | undefined): Row[] {
  const raw = chunk.compressed ? unpack(stored, chunk.rawBytes) : stored;
  if (raw.length !== chunk.rawBytes) throw new DecodeError(`a chunk of ${raw.length} bytes instead of ${chunk.rawBytes}`);
  const reader = new ByteReader(raw);
  const rows: Row[] = [];
  let before = last;
  for (let i = 0; i < chunk.rows; i++) {
    const [key, value] = [reader.sized(), reader.sized()];
    if (key.length === 0 || key.length > INDEX_KEY_BYTES_MAX) throw new DecodeError(`a key of ${key.length} bytes`);
    if (before !== undefined && compareKeys(before, key) >= 0) throw new DecodeError('keys do not ascend');
    before = key;
    rows.push({ key, value });
  }
  reader.end();
  return rows;
}

function unpack(stored: Buffer, rawBytes: number): Buffer {
  try {
    return inflateSync(stored, { maxOutputLength: rawBytes });
  } catch (cause) {
    throw new DecodeError(`a chunk cannot be unpacked: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}
