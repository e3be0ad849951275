/**
 * Walks over a segment file and finds its records, with nothing but the file at hand. Freed records are holes, which are stepped over, or zeros, which are crossed
 * in large reads; blocks that are neither zeros nor a record in its place (a torn tail, damage) are skipped one by one. Used by freeing.ts, which must know all of a file
 * (`records`), and by inspector.ts, which steps over what cannot be read (`items`).
 */
import { AssertionError } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { asOperatingError, type ErrnoName, type OperatingError } from '../base/errors.js';
import { KiB, RECORD_HEADER_BYTES, SCAN_READ_BYTES_MAX, SHARD_ALIGN_BYTES } from '../base/limits.js';
import type { DiskFile } from '../disk/disk.js';
import { decodeHeader, looksLikeRecord, type RecordHeader } from './record.js';
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment-format.js';

/** First read where records are expected to be small, or nothing is known. */
const READ_BYTES = 64 * KiB;
/** Zeros between stray blocks that belong to one stretch of them: damaged records may well contain some. */
const STRAY_GAP_BYTES = 64 * KiB;
/** So many unreadable blocks in a row are tried one by one; each of them may cost the disk seconds. Then the steps double, up to SCAN_READ_BYTES_MAX. */
const UNREADABLE_BLOCKS = 16;
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

/** A stretch of blocks that are no records. */
export interface StrayBytes {
  readonly offset: number;
  readonly bytes: number;
  /** EBADMSG: read, and neither zeros nor a record. Otherwise what the read failed with. */
  readonly code: ErrnoName;
}

export interface WalkBounds {
  /** Where to begin: a place at which a record could begin. */
  readonly from?: number;
  /** Where to end, if the file does not end earlier. */
  readonly to?: number;
}

export class SegmentWalk {
  /** Behind the last block that is not zeros; known at the end. */
  contentEnd = SEGMENT_HEADER_BYTES;
  /** Blocks that are neither zeros nor part of a record. */
  strayBlocks = 0;
  recordCount = 0;
  recordBytes = 0;
  /** The file's size; known after the start. */
  sizeBytes = 0;
  readonly #file: DiskFile;
  readonly #expected: SegmentHeader;
  readonly #bounds: WalkBounds;
  #window: Buffer = Buffer.alloc(0);
  #windowOffset = 0;
  #readBytes = READ_BYTES;

  constructor(file: DiskFile, expected: SegmentHeader, bounds: WalkBounds = {}) {
    this.#file = file;
    this.#expected = expected;
    this.#bounds = bounds;
  }

  /** All records in their order. @throws OperatingError when the file cannot be read: nothing is known then of what follows. */
  async *records(): AsyncGenerator<RecordHeader, void, undefined> {
    const fail = (error: OperatingError): never => {
      throw error;
    };
    for await (const item of this.items(fail)) if ('shardBytes' in item) yield item;
  }

  /**
   * All records in their order, and what lies between them and is not zeros.
   * @param unreadable asked when a block cannot be read: throws to end the walk, returns to step over it
   */
  async *items(unreadable: (error: OperatingError) => void): AsyncGenerator<RecordHeader | StrayBytes, void, undefined> {
    this.sizeBytes = await this.#file.size();
    const end = Math.min(this.sizeBytes, this.#bounds.to ?? this.sizeBytes);
    let stray: StrayBytes | undefined;
    let unreadableBlocks = 0;
    let behindZeros = true;
    for (let at = Math.max(SEGMENT_HEADER_BYTES, this.#bounds.from ?? 0); at + SHARD_ALIGN_BYTES <= end;) {
      if (behindZeros && !this.#inWindow(at)) at = await this.#dataFrom(at, unreadable);
      if (at + SHARD_ALIGN_BYTES > end) break;
      const block = await this.#block(at, unreadable);
      if (typeof block === 'object' && block.length < SHARD_ALIGN_BYTES) break;
      behindZeros = typeof block === 'object' && block.equals(zeros);
      if (behindZeros) {
        at += SHARD_ALIGN_BYTES;
        if (stray && at - stray.offset - stray.bytes >= STRAY_GAP_BYTES) {
          yield stray;
          stray = undefined;
        }
        continue;
      }
      const header = typeof block === 'object' ? recordAt(block, at, this.#expected) : undefined;
      if (header) {
        if (stray) yield stray;
        stray = undefined;
        const bytes = RECORD_HEADER_BYTES + header.shardBytes;
        at += bytes;
        this.contentEnd = at;
        this.recordCount++;
        this.recordBytes += bytes;
        // What follows a large record is another one, of which the header is all that is wanted.
        this.#readBytes = header.shardBytes > READ_BYTES ? RECORD_HEADER_BYTES : READ_BYTES;
        yield header;
        continue;
      }
      const code = typeof block === 'string' ? block : 'EBADMSG';
      if (stray && stray.code !== code) {
        yield stray;
        stray = undefined;
      }
      const from: number = stray?.offset ?? at;
      unreadableBlocks = code === 'EBADMSG' ? 0 : unreadableBlocks + 1;
      const step = Math.min(SCAN_READ_BYTES_MAX, SHARD_ALIGN_BYTES * 2 ** Math.max(0, unreadableBlocks - UNREADABLE_BLOCKS));
      at = Math.min(end, at + step);
      this.contentEnd = at;
      this.strayBlocks++;
      stray = { offset: from, bytes: at - from, code };
    }
    if (stray) yield stray;
  }

  #inWindow(at: number): boolean {
    return at >= this.#windowOffset && at + SHARD_ALIGN_BYTES <= this.#windowOffset + this.#window.length;
  }

  /** The next block that does not lie in a hole. */
  async #dataFrom(at: number, unreadable: (error: OperatingError) => void): Promise<number> {
    try {
      const next = await this.#file.nextData(at);
      return next - (next % SHARD_ALIGN_BYTES);
    } catch (thrown) {
      unreadable(asOperatingError(thrown));
      return at;
    }
  }

  /** One block; shorter at the end of the file. The error's code where it cannot be read. */
  async #block(at: number, unreadable: (error: OperatingError) => void): Promise<Buffer | ErrnoName> {
    const within = at - this.#windowOffset;
    if (this.#inWindow(at)) return this.#window.subarray(within, within + SHARD_ALIGN_BYTES);
    try {
      // Each window without a record makes the next one larger.
      this.#window = await this.#file.read(at, this.#readBytes);
      this.#windowOffset = at;
      this.#readBytes = Math.min(SCAN_READ_BYTES_MAX, this.#readBytes * 4);
      return this.#window.subarray(0, SHARD_ALIGN_BYTES);
    } catch (thrown) {
      const error = asOperatingError(thrown);
      if (this.#readBytes === SHARD_ALIGN_BYTES) {
        unreadable(error);
        return error.code;
      }
      // One bad sector fails a whole window: block by block from here, until reads are good again.
      this.#readBytes = SHARD_ALIGN_BYTES;
      return this.#block(at, unreadable);
    }
  }
}
