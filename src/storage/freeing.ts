/**
 * Gives space back: punches freed records out, finds the records that earlier leaderships left, unlinks segments in which nothing is left.
 *
 * Keeps I1 (space is given back, never written again), I5 together with its callers (waits for reads in flight) and I10 (what nothing points to is found). How
 * many records are left in a segment is a hint; before it is unlinked it is walked over once more, and by then nothing can be added to it.
 */
import { assert } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { asOperatingError } from '../base/errors.js';
import { segmentEpoch, type DiskNumber, type SegmentId } from '../base/ids.js';
import { RECORD_HEADER_BYTES } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { DiskFile } from '../disk/disk.js';
import { type Pool } from './pool.js';
import { recordBytesOf, type RecordHeader } from './record.js';
import { recordAt, SegmentWalk } from './scanner.js';
import { decodeSegmentHeader, parseSegmentName, SEGMENT_DIRECTORY, SEGMENT_HEADER_BYTES, segmentPath } from './segment-format.js';
import type { Segment } from './segment.js';
import type { Shelf } from './shelf.js';
import type { FoundRecord } from './storage.js';

/** What a scan learned of a segment of an earlier epoch. Bounded by the number of segment files. */
interface Sealed {
  /** Records found and not freed since; may be too high, or too low while the scan goes on. */
  records: number;
  scanned: boolean;
}

export class Freeing {
  readonly #pool: Pool;
  readonly #sealed = new Map<string, Sealed>();
  readonly #checking = new Set<string>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Gives the space of a blob's shards back. */
  async free(location: Location): Promise<void> {
    await this.#pool.pins.idle(location.blob);
    const bytes = recordBytesOf(location.bytes, location.k);
    await Promise.all(
      location.shards.filter(({ disk }) => disk !== 0).map(({ disk, segment, offset }) => this.#give(disk, segment, offset, bytes)),
    );
  }

  async #give(disk: DiskNumber, segment: SegmentId, offset: number, bytes: number): Promise<void> {
    const shelf = this.#pool.shelf(disk);
    const own = shelf.own.get(segment);
    own?.forget(offset);
    // On a disk that is out the record stays until a scan finds it.
    if (!(await this.#punch(shelf, segment, offset, bytes))) return;
    this.#pool.space.take(disk, -bytes);
    const sealed = this.#sealed.get(`${disk}/${segment}`);
    if (own) own.liveRecords--;
    else if (sealed) sealed.records--;
    if (own ? this.#looksEmpty(own) : sealed?.scanned === true && sealed.records <= 0) await this.#unlinkIfEmpty(shelf, segment);
  }

  async #punch(shelf: Shelf, segment: SegmentId, offset: number, bytes: number): Promise<boolean> {
    return this.#withFile(shelf, segment, 'write', (file) => file.punch(offset, bytes));
  }

  /** Runs `work` on the file; false when that failed, after it was accounted for. */
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
      const gone = asOperatingError(thrown).code === 'ENOENT';
      if (!gone) this.#pool.ioFailed(shelf.number, object, kind, thrown);
      return false;
    }
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
      let records = 0;
      const walked = await this.#withFile(shelf, segment, 'read', async (file) => {
        records = await this.#countRecords(shelf, segment, file);
      });
      const own = shelf.own.get(segment);
      if (!walked || records > 0) {
        // The hint was wrong. This is the truth, and it can only become less.
        if (own && walked) own.liveRecords = records;
        if (!own && walked) this.#sealed.set(key, { records, scanned: true });
        return;
      }
      shelf.forget(segment);
      await disk.unlink(segmentPath(segment));
      this.#sealed.delete(key);
    } catch (thrown) {
      this.#pool.ioFailed(shelf.number, disk, 'write', thrown);
    } finally {
      this.#checking.delete(key);
    }
  }

  /** Walks the file, and where there is something in it that is no record, once more: a bad read must not look like an empty segment. */
  async #countRecords(shelf: Shelf, segment: SegmentId, file: DiskFile): Promise<number> {
    for (let again = true; ; again = false) {
      const walk = new SegmentWalk(file, this.#identity(shelf, segment));
      for await (const record of walk.records()) assert(record.segment === segment, 'checked by the walk');
      if (walk.recordCount > 0 || walk.strayBlocks === 0 || !again) return walk.recordCount;
    }
  }

  #identity(shelf: Shelf, segment: SegmentId): { pool: Pool['options']['poolId']; disk: DiskNumber; segment: SegmentId } {
    return { pool: this.#pool.options.poolId, disk: shelf.number, segment };
  }

  /** See `Storage.scan`. */
  async *scan(): AsyncGenerator<FoundRecord, void, undefined> {
    for (const { member } of this.#pool.space.dataMembers()) {
      const shelf = this.#pool.shelf(member.number);
      for (const segment of await this.#olderSegments(shelf)) yield* this.#scanSegment(shelf, segment);
    }
  }

  async #olderSegments(shelf: Shelf): Promise<SegmentId[]> {
    const disk = shelf.disk;
    if (!disk) return [];
    try {
      const ids: SegmentId[] = [];
      for (const name of await disk.list(SEGMENT_DIRECTORY)) {
        const segment = parseSegmentName(name);
        if (segment !== undefined && segmentEpoch(segment) < this.#pool.options.epoch) ids.push(segment);
      }
      return ids.sort((a, b) => a - b);
    } catch (thrown) {
      if (asOperatingError(thrown).code !== 'ENOENT') this.#pool.ioFailed(shelf.number, disk, 'read', thrown);
      return [];
    }
  }

  async *#scanSegment(shelf: Shelf, segment: SegmentId): AsyncGenerator<FoundRecord, void, undefined> {
    const disk = shelf.disk;
    if (!disk) return;
    const sealed: Sealed = { records: 0, scanned: false };
    this.#sealed.set(`${shelf.number}/${segment}`, sealed);
    try {
      const held = await shelf.acquire(segment);
      try {
        if (await this.#isForeign(shelf, segment, held.file)) return;
        const walk = new SegmentWalk(held.file, this.#identity(shelf, segment));
        for await (const header of walk.records()) {
          sealed.records++;
          yield found(header);
        }
        sealed.scanned = true;
        // What was allocated for records that never came.
        if (walk.recordCount > 0 && walk.sizeBytes > walk.contentEnd)
          await held.file.punch(walk.contentEnd, walk.sizeBytes - walk.contentEnd);
      } finally {
        held.release();
      }
    } catch (thrown) {
      this.#pool.ioFailed(shelf.number, disk, 'read', thrown);
    }
    if (sealed.scanned && sealed.records <= 0) await this.#unlinkIfEmpty(shelf, segment);
  }

  /** A header that is whole and names another pool or disk: somebody copied it here. It is left alone. */
  async #isForeign(shelf: Shelf, segment: SegmentId, file: DiskFile): Promise<boolean> {
    try {
      const header = decodeSegmentHeader(await file.read(0, SEGMENT_HEADER_BYTES));
      const foreign = header.pool !== this.#pool.options.poolId || header.disk !== shelf.number || header.segment !== segment;
      if (foreign) this.#pool.options.log('warn', `${segmentPath(segment)} on disk ${shelf.number} belongs elsewhere: left alone`);
      return foreign;
    } catch (error) {
      // A torn or damaged header: the records speak for themselves.
      if (error instanceof DecodeError) return false;
      throw error;
    }
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
