/**
 * Shard records: the first RECORD_PREFIX_BYTES of a record's header, which bind its bytes to their place and meaning (I6), and the seed of
 * its frames' checksums. Both are pure functions of the pool, the blob's location and the shard, so a reader knows them beforehand and compares;
 * a scan without an index decodes them. The rest of a record is made by `StripeIo`. README.md has the layout, byte by byte.
 */
import crc32 from 'hash-wasm/dist/crc32.umd.min.js';
import { assert } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { EPOCH_MAX, segmentEpoch, uuidBytes, type BlobId, type DiskNumber, type SegmentId, type Uuid } from '../base/ids.js';
import {
  BLOB_SHARDS_MAX,
  FRAME_BYTES,
  RECORD_FRAMES_MAX,
  RECORD_HEADER_BYTES,
  RECORD_PREFIX_BYTES,
  SHARD_ALIGN_BYTES,
} from '../base/limits.js';
import type { Location } from '../base/location.js';
import { SCAN_FIELDS, type StripeGeometry } from '../disk/stripe.js';

export const RECORD_MAGIC = Buffer.from('OSTKSHRD', 'latin1');
const VERSION = 1;
/** Where the header's own CRC is. */
const HEADER_CRC_OFFSET = RECORD_HEADER_BYTES - 4;
/** The prefix's fields end here; zeros follow. */
const FIELDS_END = 80;

/** What a record says of itself. */
export interface RecordHeader {
  readonly codec: number;
  readonly k: number;
  readonly m: number;
  readonly shard: number;
  readonly pool: Uuid;
  readonly disk: DiskNumber;
  readonly epoch: number;
  readonly segment: SegmentId;
  readonly offset: number;
  readonly blob: BlobId;
  readonly blobBytes: number;
  readonly shardBytes: number;
}

const crc = await crc32.createCRC32(0x82f63b78);

function invertedCrc(block: Uint8Array): number {
  crc.init();
  crc.update(block.subarray(0, HEADER_CRC_OFFSET));
  return Buffer.from(crc.digest('binary')).readUInt32BE(0);
}

const crcOfZeros = invertedCrc(new Uint8Array(RECORD_HEADER_BYTES));

/**
 * CRC32C of a header block but its last four bytes, as stripe I/O computes it: register starting at 0, nothing inverted. CRCs being linear,
 * that is the usual one (start and end inverted) xor the usual one of as many zeros.
 */
export function headerCrc(block: Uint8Array): number {
  assert(block.length === RECORD_HEADER_BYTES, `header of ${block.length} bytes`);
  return (invertedCrc(block) ^ crcOfZeros) >>> 0;
}

/** Bytes of each shard of a blob. */
export function shardBytesOf(blobBytes: number, k: number): number {
  return Math.ceil(blobBytes / k / SHARD_ALIGN_BYTES) * SHARD_ALIGN_BYTES;
}

/** Bytes that each shard's record takes on its disk. */
export function recordBytesOf(blobBytes: number, k: number): number {
  return RECORD_HEADER_BYTES + shardBytesOf(blobBytes, k);
}

export function geometryOf({ k, m, bytes }: Pick<Location, 'k' | 'm' | 'bytes'>): StripeGeometry {
  return { k, m, shardBytes: shardBytesOf(bytes, k) };
}

/** A single shard seen as a blob of its own: what is read or written with this is the shard's content, data or parity. */
export function aloneGeometry({ k, bytes }: Pick<Location, 'k' | 'bytes'>): StripeGeometry {
  return { k: 1, m: 0, shardBytes: shardBytesOf(bytes, k) };
}

function mix(hash: number, word: number): number {
  let x = (hash ^ word) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
}

/** A process works on one pool: its id as bytes and as the start of all seeds. */
let poolOfBytes: { readonly pool: Uuid; readonly bytes: Buffer; readonly seed: number } | undefined;

function poolBytes(pool: Uuid): { readonly bytes: Buffer; readonly seed: number } {
  if (poolOfBytes?.pool === pool) return poolOfBytes;
  const bytes = Buffer.from(uuidBytes(pool));
  let seed = 0;
  for (let at = 0; at < 16; at += 4) seed = mix(seed, bytes.readUInt32LE(at));
  poolOfBytes = { pool, bytes, seed };
  return poolOfBytes;
}

/** Seed of the frames' CRCs: 32 bits of (pool, blob, shard). */
export function recordSeed(pool: Uuid, blob: BlobId, shard: number): number {
  const low = mix(poolBytes(pool).seed, blob >>> 0);
  return mix(mix(low, Math.floor(blob / 2 ** 32)), shard);
}

function putU64(block: Buffer, value: number, at: number): void {
  block.writeUInt32LE(value >>> 0, at);
  block.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function getU64(block: Buffer, at: number): number {
  const value = block.readUInt32LE(at) + block.readUInt32LE(at + 4) * 2 ** 32;
  if (!Number.isSafeInteger(value)) throw new DecodeError(`number too large at ${at}`);
  return value;
}

/** The prefix of the record of `shard` at the place that `location` has for it. */
export function encodePrefix(pool: Uuid, location: Location, shard: number): Buffer {
  const place = location.shards[shard];
  assert(place, () => `blob ${location.blob} has no shard ${shard}`);
  assert(place.disk > 0 && place.offset % SHARD_ALIGN_BYTES === 0, () => `no record at ${place.disk}/${place.offset}`);
  const prefix = Buffer.alloc(RECORD_PREFIX_BYTES);
  RECORD_MAGIC.copy(prefix, 0);
  prefix.writeUInt16LE(VERSION, 8);
  prefix.writeUInt8(location.codec, 10);
  prefix.writeUInt8(location.k, 11);
  prefix.writeUInt8(location.m, 12);
  prefix.writeUInt8(shard, 13);
  prefix.set(poolBytes(pool).bytes, 16);
  prefix.writeUInt32LE(place.disk, 32);
  prefix.writeUInt32LE(segmentEpoch(place.segment), 36);
  putU64(prefix, place.segment, 40);
  putU64(prefix, place.offset, 48);
  putU64(prefix, location.blob, 56);
  putU64(prefix, location.bytes, 64);
  prefix.writeUInt32LE(shardBytesOf(location.bytes, location.k), 72);
  prefix.writeUInt32LE(recordSeed(pool, location.blob, shard), 76);
  return prefix;
}

/** The same for a record of which only the header is known. */
export function prefixOf(pool: Uuid, header: RecordHeader): Buffer {
  const { blob, codec, k, m, blobBytes, shard, disk, segment, offset } = header;
  const nowhere = { disk: 0, segment: 0, offset: 0 };
  const shards = Array.from({ length: k + m }, (_, each) => (each === shard ? { disk, segment, offset } : nowhere));
  return encodePrefix(pool, { blob, codec, k, m, bytes: blobBytes, shards }, shard);
}

/** Why this block is not the header that begins with `prefix`. */
export function headerDamage(block: Buffer, prefix: Uint8Array): 'ENODATA' | 'EBADMSG' | undefined {
  if (block.length < RECORD_HEADER_BYTES) return 'ENODATA';
  const good = headerCrc(block) === block.readUInt32LE(HEADER_CRC_OFFSET) && block.subarray(0, RECORD_PREFIX_BYTES).equals(prefix);
  return good ? undefined : 'EBADMSG';
}

/** Could a record begin here? Cheap; `decodeHeader` decides. */
export function looksLikeRecord(block: Buffer): boolean {
  return block.length >= RECORD_HEADER_BYTES && block.compare(RECORD_MAGIC, 0, RECORD_MAGIC.length, 0, RECORD_MAGIC.length) === 0;
}

/**
 * Decodes a header block (RECORD_HEADER_BYTES). Where the record lies is for the caller to compare.
 * @throws DecodeError unless every field is possible and the checksum matches.
 */
export function decodeHeader(block: Buffer): RecordHeader {
  if (block.length !== RECORD_HEADER_BYTES || !looksLikeRecord(block)) throw new DecodeError('not a shard record');
  if (headerCrc(block) !== block.readUInt32LE(HEADER_CRC_OFFSET)) throw new DecodeError('checksum of a header');
  return decodePrefix(block);
}

/** The 32 bytes that the prefixes of all records of a segment have in common: pool, disk, epoch, segment. */
export function segmentIdentity(pool: Uuid, disk: DiskNumber, segment: SegmentId): Buffer {
  const { identity, identityBytes } = SCAN_FIELDS;
  const block = Buffer.alloc(identity + identityBytes);
  block.set(poolBytes(pool).bytes, 16);
  block.writeUInt32LE(disk, 32);
  block.writeUInt32LE(segmentEpoch(segment), 36);
  putU64(block, segment, 40);
  return block.subarray(identity);
}

/**
 * Decodes the prefix of a header whose checksum is known to match.
 * @throws DecodeError unless every field is possible
 */
export function decodePrefix(block: Buffer): RecordHeader {
  const version = block.readUInt16LE(8);
  if (version !== VERSION) throw new DecodeError(`shard record of version ${version}`);
  const header: RecordHeader = {
    codec: block.readUInt8(10),
    k: block.readUInt8(11),
    m: block.readUInt8(12),
    shard: block.readUInt8(13),
    pool: block.toString('hex', 16, 32) as Uuid,
    disk: block.readUInt32LE(32),
    epoch: block.readUInt32LE(36),
    segment: getU64(block, 40),
    offset: getU64(block, 48),
    blob: getU64(block, 56),
    blobBytes: getU64(block, 64),
    shardBytes: block.readUInt32LE(72),
  };
  checkHeader(header);
  if (block.readUInt32LE(76) !== recordSeed(header.pool, header.blob, header.shard)) throw new DecodeError('seed of a record');
  if (block.readUInt16LE(14) !== 0) throw new DecodeError('reserved bytes are not zero');
  if (!block.subarray(FIELDS_END, RECORD_PREFIX_BYTES).every((byte) => byte === 0)) throw new DecodeError('reserved bytes are not zero');
  return header;
}

function checkHeader(header: RecordHeader): void {
  const { k, m, shard, disk, epoch, segment, offset, blob, blobBytes, shardBytes } = header;
  if (k === 0 || k + m > BLOB_SHARDS_MAX || shard >= k + m) throw new DecodeError(`shard ${shard} of ${k}+${m}`);
  if (disk === 0 || disk > 0xffff) throw new DecodeError(`record on disk ${disk}`);
  if (epoch === 0 || epoch > EPOCH_MAX || segmentEpoch(segment) !== epoch) throw new DecodeError(`segment ${segment} of epoch ${epoch}`);
  if (offset === 0 || offset % SHARD_ALIGN_BYTES !== 0) throw new DecodeError(`record at ${offset}`);
  if (blob < 2 ** 32 || blob >= 2 ** 52) throw new DecodeError(`record of blob ${blob}`);
  if (blobBytes === 0 || shardBytes !== shardBytesOf(blobBytes, k)) throw new DecodeError(`shard of ${shardBytes} bytes`);
  if (shardBytes > RECORD_FRAMES_MAX * FRAME_BYTES) throw new DecodeError(`shard of ${shardBytes} bytes`);
}
