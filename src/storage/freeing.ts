/**
 * Gives space back: punches freed records out, finds the records that earlier leaderships left, unlinks segments in which nothing is left.
 *
 * Keeps I1 (space is given back, never written again), I5 together with its callers (waits for reads in flight) and I10 (what nothing points to is found). How
 * many records are left in a segment is a hint; before it is unlinked it is walked over once more, and by then nothing can be added to it.
 */
import { assert, AssertionError } from '../base/assert.js';
import { asOperatingError } from '../base/errors.js';
import { segmentEpoch, type DiskNumber, type SegmentId } from '../base/ids.js';
import { DISCARDED_BLOBS_MAX, RECORD_HEADER_BYTES, SMALL_SEGMENT_BYTES } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { DiskFile } from '../disk/disk.js';
import { type Pool } from './pool.js';
import { recordBytesOf, type RecordHeader } from './record.js';
import { recordAt, SegmentWalk } from './scanner.js';
import { SEGMENT_HEADER_BYTES, segmentPath } from './segment-format.js';
import { listSegments, readSegmentHeader } from './segment-list.js';
import type { Segment } from './segment.js';
import type { Shelf } from './shelf.js';
import type { FoundRecord, SegmentUse } from './storage.js';

/** What a scan learned of a segment of an earlier epoch. Bounded by the number of segment files. */
interface Sealed {
  /** Records found and not freed since, and their bytes; may be too high, or too low while the scan goes on. */
  records: number;
  bytes: number;
  /** Behind the last record. */
  end: number;
  scanned: boolean;
}

export class Freeing {
  readonly #pool: Pool;
  readonly #sealed = new Map<string, Sealed>();
  readonly #checking = new Set<string>();
  /** What `discard` could not give back yet. */
  readonly #discarded = new Set<Location>();
  /** Segments that no scan has seen and in which something was freed, and such that are known to be large. Bounded by the number of files. */
  readonly #touched = new Set<string>();
  readonly #large = new Set<string>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * Gives the space of a blob's shards back. May be asked again for one that rejected: what was given back already costs a call more.
   * @throws OperatingError a disk that is still in did not give the space back
   */
  async free(location: Location): Promise<void> {
    await this.#pool.pins.idle(location.blob);
    const bytes = recordBytesOf(location.bytes, location.k);
    const places = location.shards.filter(({ disk }) => disk !== 0);
    const outcomes = await Promise.allSettled(places.map(({ disk, segment, offset }) => this.#give(disk, segment, offset, bytes)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** The same for what no row speaks of: nobody would ask again, so what rejects is kept here, and tried again by `retry`. */
  async discard(location: Location): Promise<void> {
    try {
      await this.free(location);
    } catch (thrown) {
      if (this.#discarded.size < DISCARDED_BLOBS_MAX) this.#discarded.add(location);
      else this.#pool.leavesRecords = true;
      const { code, message } = asOperatingError(thrown);
      this.#pool.options.log('warn', `space of blob ${location.blob} is not given back yet: ${message}`, { code });
    }
  }

  /** Called after syncs, and at the end. */
  async retry(): Promise<void> {
    // Each stays until it is given back: `leavesRecords` may be asked meanwhile.
    for (const location of [...this.#discarded])
      try {
        await this.free(location);
        this.#discarded.delete(location);
      } catch (thrown) {
        asOperatingError(thrown);
      }
  }

  /** Is there something left that only the next leadership finds? */
  get leavesRecords(): boolean {
    return this.#pool.leavesRecords || this.#discarded.size > 0;
  }

  async #give(disk: DiskNumber, segment: SegmentId, offset: number, bytes: number): Promise<void> {
    const shelf = this.#pool.shelf(disk);
    const own = shelf.own.get(segment);
    own?.forget(offset);
    // On a disk that is out the record stays until a scan finds it.
    if (!(await this.#withFile(shelf, segment, 'write', (file) => file.punch(offset, bytes)))) return;
    this.#pool.space.take(disk, -bytes);
    const sealed = this.#sealed.get(`${disk}/${segment}`);
    if (own) own.freed(bytes);
    else if (sealed) {
      sealed.records--;
      sealed.bytes -= bytes;
    } else this.#touched.add(`${disk}/${segment}`);
    if (own ? this.#looksEmpty(own) : sealed?.scanned === true && sealed.records <= 0) await this.#unlinkIfEmpty(shelf, segment);
  }

  /**
   * Runs `work` on the file; false when there is nothing to work on: the disk is out, or leaves because of this, or the segment is gone.
   * @throws OperatingError it failed, was accounted for, and the disk is still in: nothing is known of the file
   */
  async #withFile(shelf: Shelf, segment: SegmentId, kind: 'read' | 'write', work: (file: DiskFile) => Promise<void>): Promise<boolean> {
    const object = shelf.disk;
    if (!object) return false;
    try {
      const held = await shelf.acquire(segment);
      try {
        await work(held.file);
      } finally {
        held.release();
      }
      return true;
    } catch (thrown) {
      // A segment that is gone holds nothing.
      if (asOperatingError(thrown).code === 'ENOENT') return false;
      const error = this.#pool.ioFailed(shelf.number, object, kind, thrown);
      if (this.#isIn(shelf.number, object)) throw error;
      return false;
    }
  }

  #isIn(number: DiskNumber, object: unknown): boolean {
    return this.#pool.options.diskSet.disk(number) === object;
  }

  /** Segments of this epoch that take no more records and hold none go. Called after syncs, and at the end. */
  async sweep(): Promise<void> {
    for (const shelf of this.#pool.shelves())
      for (const segment of [...shelf.own.values()]) if (this.#looksEmpty(segment)) await this.#unlinkIfEmpty(shelf, segment.id);
  }

  #looksEmpty(segment: Segment): boolean {
    return segment.retired && segment.writing === 0 && segment.unsyncedRecords === 0 && segment.liveRecords <= 0;
  }

  async #unlinkIfEmpty(shelf: Shelf, segment: SegmentId): Promise<void> {
    const key = `${shelf.number}/${segment}`;
    const disk = shelf.disk;
    if (!disk || this.#checking.has(key)) return;
    this.#checking.add(key);
    try {
      if (!(await this.#isEmpty(shelf, segment))) return;
      shelf.forget(segment);
      try {
        await disk.unlink(segmentPath(segment));
      } catch (thrown) {
        this.#pool.ioFailed(shelf.number, disk, 'write', thrown);
        return;
      }
      this.#sealed.delete(key);
      this.#large.delete(key);
    } catch (thrown) {
      // It was accounted for. What cannot be read to its end is left alone.
      if (thrown instanceof AssertionError) throw thrown;
    } finally {
      this.#checking.delete(key);
    }
  }

  /** Is there surely no record in it? @throws OperatingError it cannot be read */
  async #isEmpty(shelf: Shelf, segment: SegmentId): Promise<boolean> {
    let walk: SegmentWalk | undefined;
    await this.#withFile(shelf, segment, 'read', async (file) => {
      walk = await this.#countRecords(shelf, segment, file);
    });
    if (walk === undefined) return false;
    const { recordCount: records, recordBytes: bytes, contentEnd: end } = walk;
    if (records === 0) return true;
    // The hint was wrong. This is the truth, and it can only become less.
    const own = shelf.own.get(segment);
    if (own) own.counted(records, bytes);
    else this.#sealed.set(`${shelf.number}/${segment}`, { records, bytes, end, scanned: true });
    return false;
  }

  /** Walks the file, and where there is something in it that is no record, once more: a bad read must not look like an empty segment. */
  async #countRecords(shelf: Shelf, segment: SegmentId, file: DiskFile): Promise<SegmentWalk> {
    for (let again = true; ; again = false) {
      const walk = new SegmentWalk(file, this.#identity(shelf, segment));
      for await (const record of walk.records()) assert(record.segment === segment, 'checked by the walk');
      if (walk.recordCount > 0 || walk.strayBlocks === 0 || !again) return walk;
    }
  }

  #identity(shelf: Shelf, segment: SegmentId): { pool: Pool['options']['poolId']; disk: DiskNumber; segment: SegmentId } {
    return { pool: this.#pool.options.poolId, disk: shelf.number, segment };
  }

  /** See `Storage.scan`. */
  async *scan(): AsyncGenerator<FoundRecord, void, undefined> {
    let failed: unknown;
    for (const { member } of this.#pool.space.dataMembers()) {
      const shelf = this.#pool.shelf(member.number);
      try {
        for (const segment of await this.#olderSegments(shelf)) yield* this.#scanSegment(shelf, segment);
      } catch (thrown) {
        if (thrown instanceof AssertionError) throw thrown;
        failed ??= thrown;
      }
    }
    if (failed !== undefined) throw asOperatingError(failed);
  }

  /** @throws OperatingError they cannot be listed, and the disk is still in */
  async #olderSegments(shelf: Shelf): Promise<SegmentId[]> {
    const disk = shelf.disk;
    if (!disk) return [];
    try {
      return (await listSegments(disk)).filter((segment) => segmentEpoch(segment) < this.#pool.options.epoch);
    } catch (thrown) {
      const error = this.#pool.ioFailed(shelf.number, disk, 'read', thrown);
      if (this.#isIn(shelf.number, disk)) throw error;
      return [];
    }
  }

  /** @throws OperatingError it cannot be read to its end, and the disk is still in; it is as if it had not been looked at then */
  async *#scanSegment(shelf: Shelf, segment: SegmentId): AsyncGenerator<FoundRecord, void, undefined> {
    const disk = shelf.disk;
    if (!disk) return;
    const key = `${shelf.number}/${segment}`;
    const sealed: Sealed = { records: 0, bytes: 0, end: SEGMENT_HEADER_BYTES, scanned: false };
    this.#sealed.set(key, sealed);
    try {
      const held = await shelf.acquire(segment);
      try {
        if ((await readSegmentHeader(this.#pool, shelf.number, segment, held.file)) === 'foreign') return;
        const walk = new SegmentWalk(held.file, this.#identity(shelf, segment));
        for await (const header of walk.records()) {
          sealed.records++;
          sealed.bytes += RECORD_HEADER_BYTES + header.shardBytes;
          yield found(header);
        }
        sealed.end = walk.contentEnd;
        sealed.scanned = true;
        // What was allocated for records that never came.
        if (walk.recordCount > 0 && walk.sizeBytes > walk.contentEnd)
          await held.file.punch(walk.contentEnd, walk.sizeBytes - walk.contentEnd);
      } finally {
        held.release();
      }
    } catch (thrown) {
      this.#sealed.delete(key);
      if (asOperatingError(thrown).code === 'ENOENT') return;
      const error = this.#pool.ioFailed(shelf.number, disk, 'read', thrown);
      if (this.#isIn(shelf.number, disk)) throw error;
    }
    if (sealed.scanned && sealed.records <= 0) await this.#unlinkIfEmpty(shelf, segment);
  }

  /** See `Storage.survey`. */
  async survey(disk: DiskNumber, count: number): Promise<void> {
    const shelf = this.#pool.shelf(disk);
    let looks = 0;
    for (const segment of await this.#olderSegments(shelf)) {
      const key = `${disk}/${segment}`;
      const touched = this.#touched.has(key);
      if (this.#sealed.has(key) || (this.#large.has(key) && !touched)) continue;
      if (looks++ === count) return;
      if (!touched && (await this.#sizeOf(shelf, segment)) >= SMALL_SEGMENT_BYTES) {
        this.#large.add(key);
        continue;
      }
      this.#touched.delete(key);
      for await (const record of this.#scanSegment(shelf, segment)) assert(record.segment === segment, 'of this segment');
    }
  }

  async #sizeOf(shelf: Shelf, segment: SegmentId): Promise<number> {
    let bytes = Number.POSITIVE_INFINITY;
    await this.#withFile(shelf, segment, 'read', async (file) => {
      bytes = await file.size();
    });
    return bytes;
  }

  /** See `Storage.segments`. */
  segments(disk: DiskNumber): SegmentUse[] {
    const uses: SegmentUse[] = [];
    for (const [key, { records, bytes, end, scanned }] of this.#sealed) {
      const [number, segment] = key.split('/').map(Number);
      if (number === disk && segment !== undefined && scanned)
        uses.push({ disk, segment, bytes: end, liveBytes: bytes, liveRecords: records });
    }
    for (const { id, retired, writing, end, liveBytes, liveRecords } of this.#pool.shelf(disk).own.values())
      if (retired && writing === 0) uses.push({ disk, segment: id, bytes: end, liveBytes, liveRecords });
    return uses.sort((a, b) => a.segment - b.segment);
  }

  /** See `Storage.freeRecord`. */
  async freeRecord({ blob, shard, disk, segment, offset }: FoundRecord): Promise<void> {
    assert(segmentEpoch(segment) < this.#pool.options.epoch, `segment ${segment} is of this epoch: its records are not found but known`);
    await this.#pool.pins.idle(blob);
    const shelf = this.#pool.shelf(disk);
    let header: RecordHeader | undefined;
    await this.#withFile(shelf, segment, 'read', async (file) => {
      header = recordAt(await file.read(offset, RECORD_HEADER_BYTES), offset, this.#identity(shelf, segment));
    });
    if (header?.blob !== blob || header.shard !== shard) return;
    await this.#give(disk, segment, offset, RECORD_HEADER_BYTES + header.shardBytes);
  }
}

function found({ blob, shard, disk, segment, offset, shardBytes }: RecordHeader): FoundRecord {
  return { blob, shard, disk, segment, offset, bytes: RECORD_HEADER_BYTES + shardBytes };
}
