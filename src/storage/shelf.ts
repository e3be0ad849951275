/**
 * The segments of one disk of the pool, over all its comings and goings in this epoch: the one that takes records, those that wait for a sync, handles
 * for reading. When the disk leaves, nothing unsynced on it is trusted any more, also after it returns: it goes on with a new segment.
 */
import { assert } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { DiskNumber, SegmentId, Uuid } from '../base/ids.js';
import type { Disk } from '../disk/disk.js';
import { FileCache, type HeldFile } from './file-cache.js';
import { Segment, type SegmentOptions, type UnsyncedShard } from './segment.js';
import { SEGMENT_DIRECTORY } from './segment-format.js';

/** Space for a record. Either `landed` or `gaveUp` of the segment follows. */
export interface Place {
  readonly segment: Segment;
  readonly offset: number;
}

/** What a failed sync leaves behind: a record that has to be written elsewhere. */
export interface SuspectShard extends UnsyncedShard {
  readonly disk: DiskNumber;
}

export interface SyncOutcome {
  readonly suspects: SuspectShard[];
  /** What the disk said, where it said anything. */
  readonly error: OperatingError | undefined;
}

export interface ShelfOptions {
  readonly pool: Uuid;
  readonly number: DiskNumber;
  readonly nextSegment: () => SegmentId;
  readonly segments: SegmentOptions;
}

/** Tries to find space for one record, each with a segment made or extended. More is a bug. */
const GROWTHS_MAX = 64;

export class Shelf {
  readonly number: DiskNumber;
  /** Segments of this epoch that exist, by id. */
  readonly own = new Map<SegmentId, Segment>();
  readonly #pool: Uuid;
  readonly #nextSegment: () => SegmentId;
  readonly #segments: SegmentOptions;
  #disk: Disk | undefined;
  #files: FileCache | undefined;
  #current: Segment | undefined;
  #growing: Promise<void> | undefined;
  /** Told when the disk leaves: nobody waits for its calls any more. */
  readonly #waiting = new Set<() => void>();
  #directoryMade = false;
  /** Names that no directory sync covers yet. */
  #namesUnsynced = false;

  constructor({ pool, number, nextSegment, segments }: ShelfOptions) {
    this.number = number;
    this.#pool = pool;
    this.#nextSegment = nextSegment;
    this.#segments = segments;
  }

  get disk(): Disk | undefined {
    return this.#disk;
  }

  get unfilledBytes(): number {
    return this.#current?.unfilledBytes ?? 0;
  }

  /** The disk left (undefined) or came back. */
  setDisk(disk: Disk | undefined): void {
    if (disk === this.#disk) return;
    this.#files?.drop();
    this.#files = disk && new FileCache(disk);
    this.#disk = disk;
    for (const left of this.#waiting) left();
    this.#waiting.clear();
    this.#growing = undefined;
    this.#current = undefined;
    this.#directoryMade = false;
    this.#namesUnsynced = false;
    for (const segment of this.own.values()) {
      segment.distrust();
      void segment.retire().then(() => segment.closeIfDone());
    }
  }

  #gone(): OperatingError {
    return new OperatingError('ENODEV', `disk ${this.number} is out`, { disk: String(this.number) });
  }

  /** A handle on a segment, if it is open. */
  opened(segment: SegmentId): HeldFile | undefined {
    return this.#files?.opened(segment);
  }

  /** A handle on a segment, old or of this epoch. */
  acquire(segment: SegmentId): HeldFile | Promise<HeldFile> {
    if (!this.#files) throw this.#gone();
    return this.#files.acquire(segment);
  }

  /**
   * Space for a record at the end of the current segment.
   * @param diskBytes size of the disk
   * @throws OperatingError ENOSPC; ENODEV when the disk is out; what creating and allocating threw
   */
  async take(bytes: number, diskBytes: number): Promise<Place> {
    for (let growths = 0; ; growths++) {
      const segment = this.#current;
      const offset = segment?.trusted ? segment.take(bytes) : undefined;
      if (segment && offset !== undefined) return { segment, offset };
      assert(growths < GROWTHS_MAX, `no space on disk ${this.number} after ${growths} growths`);
      this.#growing ??= this.#startGrowing(bytes, diskBytes);
      await this.#growing;
    }
  }

  #startGrowing(bytes: number, diskBytes: number): Promise<void> {
    const growing = this.#grow(bytes, diskBytes).finally(() => {
      if (this.#growing === growing) this.#growing = undefined;
    });
    return growing;
  }

  async #grow(bytes: number, diskBytes: number): Promise<void> {
    const disk = this.#disk;
    if (!disk) throw this.#gone();
    let segment = this.#current;
    if (segment && (segment.full || !segment.trusted)) {
      await segment.retire();
      await segment.closeIfDone();
      segment = undefined;
    }
    if (!segment) {
      segment = await this.#createSegment(disk);
      this.own.set(segment.id, segment);
      // The disk may have left, or come back as another, in the meantime.
      if (disk !== this.#disk) {
        segment.distrust();
        await segment.retire();
        await segment.closeIfDone();
        throw this.#gone();
      }
      this.#namesUnsynced = true;
      this.#current = segment;
    }
    await segment.extend(bytes, diskBytes);
  }

  async #createSegment(disk: Disk): Promise<Segment> {
    const create = (): Promise<Segment> =>
      Segment.create(disk, { pool: this.#pool, disk: this.number, segment: this.#nextSegment() }, this.#segments);
    if (this.#directoryMade) {
      try {
        return await create();
      } catch (thrown) {
        // Somebody removed the directory with all that was in it. What is new needs it again.
        if (asOperatingError(thrown).code !== 'ENOENT') throw thrown;
      }
    }
    await disk.makeDirectory(SEGMENT_DIRECTORY);
    const segment = await create();
    if (disk === this.#disk) this.#directoryMade = true;
    return segment;
  }

  /**
   * Makes every record that landed before the call durable. Records that this cannot be said of, now or because the disk left, are taken out and
   * returned: the caller writes them elsewhere.
   */
  async sync(): Promise<SyncOutcome> {
    let error: OperatingError | undefined;
    const waiting = [...this.own.values()].filter((segment) => segment.unsyncedRecords > 0);
    const good = waiting.filter((segment) => segment.trusted);
    const covered = good.map((segment) => segment.covered());
    const syncs = Promise.allSettled([...good.map((segment) => segment.file.sync()), this.#syncNames(good.length > 0)]);
    // When the disk leaves, all its segments lose their trust, whatever their syncs will say.
    const results = (await this.#whileIn(syncs)) ?? [];
    for (const result of results)
      if (result.status === 'rejected') error ??= asOperatingError(result.reason, { disk: String(this.number) });
    const namesFailed = results.at(-1)?.status === 'rejected';
    good.forEach((segment, index) => {
      if (results[index]?.status === 'rejected' || namesFailed) segment.distrust();
      if (segment.trusted) segment.synced(covered[index] ?? []);
    });
    const suspects: SuspectShard[] = [];
    for (const segment of this.own.values()) {
      if (!segment.trusted) {
        for (const shard of segment.takeSuspects()) suspects.push({ ...shard, disk: this.number });
        if (this.#current === segment) this.#current = undefined;
        await segment.retire();
      }
      await segment.closeIfDone();
    }
    return { suspects, error };
  }

  /** What `work`, which never rejects, resolves with; undefined when the disk leaves before. */
  #whileIn<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve) => {
      const left = (): void => {
        resolve(undefined);
      };
      this.#waiting.add(left);
      void work.then((result) => {
        this.#waiting.delete(left);
        resolve(result);
      });
    });
  }

  /** Names of new segments. Covers those that were made before the call. */
  async #syncNames(needed: boolean): Promise<void> {
    const disk = this.#disk;
    if (!needed || !disk || !this.#namesUnsynced) return;
    this.#namesUnsynced = false;
    try {
      await Promise.all([disk.syncDirectory(SEGMENT_DIRECTORY), disk.syncDirectory('')]);
    } catch (error) {
      this.#namesUnsynced = true;
      throw error;
    }
  }

  /** The segment is gone: nothing live was in it. */
  forget(segment: SegmentId): void {
    this.#files?.forget(segment);
    this.own.delete(segment);
  }

  /** No more records; handles that write are closed. What was not synced by now is not. */
  async retireAll(): Promise<void> {
    this.#current = undefined;
    for (const segment of this.own.values()) {
      await segment.retire();
      segment.takeSuspects();
      await segment.closeIfDone();
    }
  }

  /** Closes the handles that read. */
  close(): void {
    this.#files?.drop();
  }
}
