/**
 * Locations as bytes, for the rows of the index. Compact, since each file has at least one: a segment is written as its distance in
 * epochs from the blob's and a counter, an offset in units of SHARD_ALIGN_BYTES; a 4+2 blob takes about 50 bytes. README.md has
 * the layout; golden files hold it still. Also here: what two locations of one blob do not share.
 */
import { assert } from '../base/assert.js';
import { ByteReader, ByteWriter, DecodeError } from '../base/bytes.js';
import { EPOCH_MAX, makeSegmentId, segmentEpoch, type BlobId } from '../base/ids.js';
import { BLOB_SHARDS_MAX, SHARD_ALIGN_BYTES } from '../base/limits.js';
import type { Location, ShardPlace } from '../base/location.js';

const VERSION = 1;
const BLOB_COUNTERS = 2 ** 32;
const SEGMENT_COUNTERS = 2 ** 20;

/** A shard that is nowhere. */
export const MISSING: ShardPlace = { disk: 0, segment: 0, offset: 0 };

/** The epoch that made a blob. */
export function blobEpoch(blob: BlobId): number {
  return Math.floor(blob / BLOB_COUNTERS);
}

/** Signed numbers near zero as small unsigned ones: 0, -1, 1, -2 … become 0, 1, 2, 3 … */
function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function unzigzag(value: number): number {
  return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
}

/** Appends a location to a row that is being written. */
export function writeLocation(writer: ByteWriter, location: Location): void {
  const { blob, codec, k, m, bytes, shards } = location;
  assert(shards.length === k + m, `location of ${k}+${m} with ${shards.length} shards`);
  writer.u8(VERSION).u8(codec).u8(k).u8(m).varint(bytes).varint(blob);
  for (const { disk, segment, offset } of shards) {
    writer.varint(disk);
    if (disk === 0) continue;
    assert(offset % SHARD_ALIGN_BYTES === 0, `record at ${offset}`);
    writer
      .varint(zigzag(segmentEpoch(segment) - blobEpoch(blob)))
      .varint(segment % SEGMENT_COUNTERS)
      .varint(offset / SHARD_ALIGN_BYTES);
  }
}

/**
 * Reads a location out of a row.
 * @throws DecodeError when it is not one.
 */
export function readLocation(reader: ByteReader): Location {
  const version = reader.u8();
  if (version !== VERSION) throw new DecodeError(`location of version ${version}`);
  const codec = reader.u8();
  const k = reader.u8();
  const m = reader.u8();
  if (k === 0 || k + m > BLOB_SHARDS_MAX) throw new DecodeError(`location coded ${k}+${m}`);
  const bytes = reader.varint();
  const blob = reader.varint();
  if (bytes === 0 || blobEpoch(blob) === 0 || blobEpoch(blob) > EPOCH_MAX)
    throw new DecodeError(`location of blob ${blob}, ${bytes} bytes`);
  const shards: ShardPlace[] = [];
  for (let shard = 0; shard < k + m; shard++) {
    const disk = reader.varint();
    if (disk > 0xffff) throw new DecodeError(`location on disk ${disk}`);
    if (disk === 0) {
      shards.push(MISSING);
      continue;
    }
    const epoch = blobEpoch(blob) + unzigzag(reader.varint());
    const counter = reader.varint();
    if (epoch < 1 || epoch > EPOCH_MAX || counter >= SEGMENT_COUNTERS) throw new DecodeError(`location in segment ${epoch}-${counter}`);
    const offset = reader.varint() * SHARD_ALIGN_BYTES;
    if (!Number.isSafeInteger(offset)) throw new DecodeError('location too far into a segment');
    shards.push({ disk, segment: makeSegmentId(epoch, counter), offset });
  }
  return { blob, codec, k, m, bytes, shards };
}

/** A location as bytes of its own. */
export function encodeLocation(location: Location): Buffer {
  const writer = new ByteWriter(96);
  writeLocation(writer, location);
  return writer.copy();
}

/**
 * The location that `encodeLocation` made these bytes from.
 * @throws DecodeError when they are not a location and nothing else.
 */
export function decodeLocation(bytes: Uint8Array): Location {
  const reader = new ByteReader(bytes);
  const location = readLocation(reader);
  reader.end();
  return location;
}

/** Shards of a location that are nowhere. */
export function missingShards(location: Location): number[] {
  return location.shards.flatMap(({ disk }, shard) => (disk === 0 ? [shard] : []));
}

/** Is it the same record? */
export function samePlace(a: ShardPlace, b: ShardPlace): boolean {
  return a.disk === b.disk && a.segment === b.segment && a.offset === b.offset;
}

/**
 * Those shards of `old` that `now` (of the same blob) does not hold, as a location with all others missing: what `Storage.free` takes to give
 * back only them, after the index has gone over from `old` to `now` durably.
 */
export function replacedShards(old: Location, now: Location): Location {
  assert(old.blob === now.blob, `blobs ${old.blob} and ${now.blob} share nothing`);
  return { ...old, shards: old.shards.map((place, shard) => (samePlace(place, now.shards[shard] ?? MISSING) ? MISSING : place)) };
}
