/**
 * Names and headers of segment files. README.md has the layout. Used by the writer (segment.ts) and the scanner (scanner.ts).
 */
import { DecodeError } from '../base/bytes.js';
import { EPOCH_MAX, makeSegmentId, segmentEpoch, uuidBytes, type DiskNumber, type SegmentId, type Uuid } from '../base/ids.js';
import { SHARD_ALIGN_BYTES } from '../base/limits.js';
import { headerCrc } from './record.js';

export const SEGMENT_DIRECTORY = 'segments';
/** A segment's header takes one block, so that records stay aligned. */
export const SEGMENT_HEADER_BYTES = SHARD_ALIGN_BYTES;
const MAGIC = Buffer.from('OSTKSEGM', 'latin1');
const VERSION = 1;
const CRC_OFFSET = SEGMENT_HEADER_BYTES - 4;
/** Counters of one epoch's segments lie below this. */
export const SEGMENT_COUNTERS = 2 ** 20;

/** What a segment says of itself. */
export interface SegmentHeader {
  readonly pool: Uuid;
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
}

/** Path of a segment below its disk's directory. */
export function segmentPath(segment: SegmentId): string {
  return `${SEGMENT_DIRECTORY}/${segmentEpoch(segment)}-${segment % SEGMENT_COUNTERS}.seg`;
}

/** The segment that a name in the segments' directory stands for; undefined: not ours. */
export function parseSegmentName(name: string): SegmentId | undefined {
  const match = /^([1-9][0-9]{0,6})-(0|[1-9][0-9]{0,6})\.seg$/.exec(name);
  const epoch = Number(match?.[1]);
  const counter = Number(match?.[2]);
  return match && epoch <= EPOCH_MAX && counter < SEGMENT_COUNTERS ? makeSegmentId(epoch, counter) : undefined;
}

export function encodeSegmentHeader({ pool, disk, segment }: SegmentHeader): Buffer {
  const block = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(block, 0);
  block.writeUInt16LE(VERSION, 8);
  block.writeUInt32LE(disk, 12);
  block.set(uuidBytes(pool), 16);
  block.writeUInt32LE(segmentEpoch(segment), 32);
  block.writeUInt32LE(segment % SEGMENT_COUNTERS, 36);
  block.writeUInt32LE(headerCrc(block), CRC_OFFSET);
  return block;
}

/** @throws DecodeError unless it is a whole header. */
export function decodeSegmentHeader(block: Buffer): SegmentHeader {
  if (block.length !== SEGMENT_HEADER_BYTES || block.compare(MAGIC, 0, 8, 0, 8) !== 0) throw new DecodeError('not a segment');
  if (headerCrc(block) !== block.readUInt32LE(CRC_OFFSET)) throw new DecodeError('checksum of a segment header');
  const version = block.readUInt16LE(8);
  if (version !== VERSION) throw new DecodeError(`segment of version ${version}`);
  const disk = block.readUInt32LE(12);
  const epoch = block.readUInt32LE(32);
  const counter = block.readUInt32LE(36);
  if (disk === 0 || disk > 0xffff || epoch === 0 || epoch > EPOCH_MAX || counter >= SEGMENT_COUNTERS)
    throw new DecodeError(`segment ${epoch}-${counter} on disk ${disk}`);
  return { pool: block.toString('hex', 16, 32) as Uuid, disk, segment: makeSegmentId(epoch, counter) };
}
