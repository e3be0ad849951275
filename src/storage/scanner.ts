/**
 * Walks over a segment file and finds its records, with nothing but the file at hand. Freed records are zeros, which are crossed in large reads; blocks that
 * are neither zeros nor a record in its place (a torn tail, damage) are skipped one by one. Used by freeing.ts.
 */
import { AssertionError } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { KiB, RECORD_HEADER_BYTES, SCAN_READ_BYTES_MAX, SHARD_ALIGN_BYTES } from '../base/limits.js';
import type { DiskFile } from '../disk/disk.js';
import { decodeHeader, looksLikeRecord, type RecordHeader } from './record.js';
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment-format.js';

/** First read where records are expected to be small, or nothing is known. */
const READ_BYTES = 64 * KiB;
const zeros = Buffer.alloc(SHARD_ALIGN_BYTES);

/** The record that this block begins, if it belongs here. */
export function recordAt(block: Buffer, offset: number, { pool, disk, segment }: SegmentHeader): RecordHeader | undefined {
  if (!looksLikeRecord(block)) return undefined;
  try {
    const header = decodeHeader(block);
    const here = header.pool === pool && header.disk === disk && header.segment === segment && header.offset === offset;
    return here ? header : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error instanceof Error ? error : new AssertionError('not an error');
  }
}

export class SegmentWalk {
  /** Behind the last block that is not zeros; known at the end. */
  contentEnd = SEGMENT_HEADER_BYTES;
  /** Blocks that are neither zeros nor part of a record. */
  strayBlocks = 0;
  recordCount = 0;
  /** The file's size; known after the start. */
  sizeBytes = 0;
  readonly #file: DiskFile;
  readonly #expected: SegmentHeader;
  #window: Buffer = Buffer.alloc(0);
  #windowOffset = 0;
  #readBytes = READ_BYTES;

  constructor(file: DiskFile, expected: SegmentHeader) {
    this.#file = file;
    this.#expected = expected;
  }

  /** All records in their order. @throws OperatingError when the file cannot be read: nothing is known then of what follows. */
  async *records(): AsyncGenerator<RecordHeader, void, undefined> {
    this.sizeBytes = await this.#file.size();
    for (let at = SEGMENT_HEADER_BYTES; at + SHARD_ALIGN_BYTES <= this.sizeBytes;) {
      const block = await this.#block(at);
      if (block.length < SHARD_ALIGN_BYTES) return;
      if (block.equals(zeros)) {
        at += SHARD_ALIGN_BYTES;
        continue;
      }
      const header = recordAt(block, at, this.#expected);
      at += header ? RECORD_HEADER_BYTES + header.shardBytes : SHARD_ALIGN_BYTES;
      this.contentEnd = at;
      // What follows a large record is another one, of which the header is all that is wanted.
      if (header) this.#readBytes = header.shardBytes > READ_BYTES ? RECORD_HEADER_BYTES : READ_BYTES;
      if (header) this.recordCount++;
      else this.strayBlocks++;
      if (header) yield header;
    }
  }

  async #block(at: number): Promise<Buffer> {
    const within = at - this.#windowOffset;
    if (within < 0 || within + SHARD_ALIGN_BYTES > this.#window.length) {
      // Each window without a record makes the next one larger.
      this.#window = await this.#file.read(at, this.#readBytes);
      this.#windowOffset = at;
      this.#readBytes = Math.min(SCAN_READ_BYTES_MAX, this.#readBytes * 4);
      return this.#window.subarray(0, SHARD_ALIGN_BYTES);
    }
    return this.#window.subarray(within, within + SHARD_ALIGN_BYTES);
  }
}
