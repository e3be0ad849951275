/**
 * A segment file of this epoch while it takes records: where its end is, which of its records are not synced yet, whether it can be trusted.
 *
 *   open ──(grown past its limit)──▶ retired ──(all synced, no write in flight)──▶ closed
 *     └──(sync failed, disk left)──▶ distrusted: takes nothing, is never synced again; its unsynced records are written elsewhere
 *
 * Keeps I1 (space is taken by moving the end, never twice) and, with sync.ts, the rule that a failed sync is final (I2, I4).
 */
import { assert } from '../base/assert.js';
import { asOperatingError } from '../base/errors.js';
import type { DiskNumber, SegmentId } from '../base/ids.js';
import { MiB, SEGMENT_PREALLOCATE_BYTES, SHARD_ALIGN_BYTES } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentPath, type SegmentHeader } from './segment-format.js';

/** A blob that has unsynced shards; its location follows when these are moved. */
export interface LiveBlob {
  location: Location;
}

/** A record that is written but not known to be synced. */
export interface UnsyncedShard {
  readonly blob: LiveBlob;
  readonly shard: number;
  readonly bytes: number;
}

/** A sum over all segments. */
export interface Tally {
  /** Of records that wait for a sync. */
  unsyncedBytes: number;
}

export interface SegmentOptions {
  readonly tally: Tally;
  /** Grown past this it takes no more records. */
  readonly bytesMax: number;
}

const zeroBlock = Buffer.alloc(SHARD_ALIGN_BYTES);

export class Segment {
  readonly id: SegmentId;
  readonly number: DiskNumber;
  readonly disk: Disk;
  readonly file: DiskFile;
  /** Records that were written or are being written, and not freed; a hint, see freeing.ts. */
  liveRecords = 0;
  /** Of those records. */
  liveBytes = 0;
  retired = false;
  /** By offset of the record. */
  readonly #unsynced = new Map<number, UnsyncedShard>();
  /** Offsets that stores have taken and not finished with. */
  readonly #writing = new Set<number>();
  readonly #tally: Tally;
  readonly #bytesMax: number;
  #distrusted = false;
  #closed = false;
  #end = SEGMENT_HEADER_BYTES;
  #allocatedEnd = SEGMENT_HEADER_BYTES;

  private constructor(header: SegmentHeader, file: DiskFile, disk: Disk, { tally, bytesMax }: SegmentOptions) {
    this.number = header.disk;
    this.id = header.segment;
    this.file = file;
    this.disk = disk;
    this.#tally = tally;
    this.#bytesMax = bytesMax;
  }

  /** Creates the file with its header, unsynced. @throws OperatingError */
  static async create(disk: Disk, header: SegmentHeader, options: SegmentOptions): Promise<Segment> {
    const file = await disk.open(segmentPath(header.segment), { create: true, write: true });
    try {
      await file.write(0, [encodeSegmentHeader(header)]);
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    return new Segment(header, file, disk, options);
  }

  /** False for ever once its unsynced records may be lost. */
  get trusted(): boolean {
    return !this.#distrusted && !this.file.poisoned;
  }

  get end(): number {
    return this.#end;
  }

  /** Stores that have taken space and not finished. */
  get writing(): number {
    return this.#writing.size;
  }

  /** In front of it no record is being written. */
  get writtenEnd(): number {
    let end = this.#end;
    for (const offset of this.#writing) end = Math.min(end, offset);
    return end;
  }

  /** Bytes allocated for records to come. */
  get unfilledBytes(): number {
    return this.retired || !this.trusted ? 0 : this.#allocatedEnd - this.#end;
  }

  get full(): boolean {
    return this.#end >= this.#bytesMax;
  }

  distrust(): void {
    this.#distrusted = true;
  }

  /** Takes space for a record if it is allocated already. */
  take(bytes: number): number | undefined {
    assert(bytes % SHARD_ALIGN_BYTES === 0, `record of ${bytes} bytes`);
    if (this.full || this.retired || this.#end + bytes > this.#allocatedEnd) return undefined;
    const offset = this.#end;
    this.#end += bytes;
    this.liveRecords++;
    this.liveBytes += bytes;
    this.#writing.add(offset);
    return offset;
  }

  /**
   * Allocates space for at least `bytes` more. One call at a time.
   * @param diskBytes size of the disk: a small one is allocated in small steps
   * @throws OperatingError ENOSPC
   */
  async extend(bytes: number, diskBytes: number): Promise<void> {
    // Grows with the segment, so that a pool that stores little takes little.
    const step = Math.min(SEGMENT_PREALLOCATE_BYTES, diskBytes / 64, Math.max(4 * MiB, this.#end), this.#bytesMax - this.#end);
    const blocks = Math.ceil(Math.max(bytes, step) / SHARD_ALIGN_BYTES);
    const from = this.#allocatedEnd;
    let length = blocks * SHARD_ALIGN_BYTES;
    try {
      await this.file.preallocate(from, length);
    } catch (thrown) {
      if (asOperatingError(thrown).code !== 'ENOSPC') throw thrown;
      length = this.#end + bytes - from;
      await this.file.preallocate(from, length);
    }
    // The file's size covers what is allocated: space past the end of a file could not be punched out again.
    await this.file.write(from + length - SHARD_ALIGN_BYTES, [zeroBlock]);
    this.#allocatedEnd = from + length;
  }

  get unsyncedRecords(): number {
    return this.#unsynced.size;
  }

  /** A record landed: it waits for the next sync. */
  landed(offset: number, shard: UnsyncedShard): void {
    assert(this.trusted && offset < this.#end && !this.#unsynced.has(offset), `record at ${offset} of segment ${this.id}`);
    this.#unsynced.set(offset, shard);
    this.#tally.unsyncedBytes += shard.bytes;
    this.#writing.delete(offset);
  }

  /** What a sync that begins now covers: hand it to `synced` when it succeeded. */
  covered(): readonly number[] {
    return [...this.#unsynced.keys()];
  }

  synced(covered: readonly number[]): void {
    for (const offset of covered) this.forget(offset);
  }

  /** The record need not be synced: it is, or nothing points to it any more. */
  forget(offset: number): void {
    const shard = this.#unsynced.get(offset);
    if (!shard) return;
    this.#unsynced.delete(offset);
    this.#tally.unsyncedBytes -= shard.bytes;
  }

  /** Takes out all records that wait for a sync, which will not come. */
  takeSuspects(): UnsyncedShard[] {
    const suspects = [...this.#unsynced.values()];
    this.synced(this.covered());
    return suspects;
  }

  /** A store gave up a record that it had taken space for. */
  gaveUp(offset: number, bytes: number): void {
    this.#writing.delete(offset);
    this.freed(bytes);
  }

  /** What a walk over the file found. */
  counted(records: number, bytes: number): void {
    this.liveRecords = records;
    this.liveBytes = bytes;
  }

  /** A record is no more. */
  freed(bytes: number): void {
    this.liveRecords--;
    this.liveBytes -= bytes;
  }

  /** Takes no more records; gives back what is allocated behind the last one. */
  async retire(): Promise<void> {
    if (this.retired) return;
    const unfilled = this.unfilledBytes;
    this.retired = true;
    if (unfilled > 0) await this.file.punch(this.#end, unfilled).catch(() => undefined);
  }

  /** Closes the handle if nothing needs it any more. */
  async closeIfDone(): Promise<void> {
    if (this.#closed || !this.retired || this.#writing.size > 0 || this.#unsynced.size > 0) return;
    this.#closed = true;
    await this.file.close().catch(() => undefined);
  }
}
