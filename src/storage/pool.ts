/**
 * What the parts of the data plane share: the disks' shelves, what is free on them, which were declared out, and how errors of disks are
 * sorted. Made once by create-storage.ts.
 */
import { AssertionError, must } from '../base/assert.js';
import type { Clock, Random } from '../base/clock.js';
import { asOperatingError, OperatingError, type ErrnoName } from '../base/errors.js';
import { makeSegmentId, type DiskNumber, type Uuid } from '../base/ids.js';
import { BAD_SECTORS_MAX, BAD_SECTORS_MS, LATE_BUDGET_MS, LATE_SPARE_BUDGET_MS, SEGMENT_BYTES_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { DiskSet, SetMember } from '../disk/disk-set.js';
import type { Member } from '../disk/membership.js';
import type { StripeIo } from '../disk/stripe.js';
import { tryWriting } from '../disk/trial.js';
import { shardsThatFit, zoneLimit, type Zoned } from './placement.js';
import type { Tally } from './segment.js';
import { LateDisks } from './late-disks.js';
import { Shelf } from './shelf.js';
import { Pins } from './pins.js';
import { SlowDisks } from './slow-disks.js';
import { Space } from './space.js';
import type { DamageReport, StoredBlob } from './storage.js';

export interface StorageOptions {
  readonly poolId: Uuid;
  /** Of this leadership; blobs and segments that are made carry it. */
  readonly epoch: number;
  /** The code of new blobs. */
  readonly k: number;
  readonly m: number;
  readonly diskSet: DiskSet;
  readonly stripeIo: StripeIo;
  /** Default SEGMENT_BYTES_MAX; tests roll over earlier. */
  readonly segmentBytesMax?: number;
  /** Default BLOB_BYTES_MAX; tests have files of many blobs sooner. */
  readonly blobBytesMax?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;
  /** Awaited before a shard is left out because its disk is out: the disk is declared out in the index first (I2). May come more than once. */
  readonly onDiskOut: (disk: DiskNumber) => Promise<void>;
  /**
   * Shards had to be written elsewhere, or are missing now, since a sync failed. Awaited: the caller swaps the location in the index (`Storage.current`
   * of what stands there), and what `replacedShards` says is freed once that is durable.
   */
  readonly onMoved: (old: Location, now: StoredBlob) => Promise<void>;
  /** A bad or unreachable shard was found by a reader; about once for each. */
  readonly onDamage: (report: DamageReport) => void;
}

/** Answers to a read that mean that this record is bad, not the disk. */
const badRecord: ReadonlySet<ErrnoName> = new Set(['EBADMSG', 'ENODATA']);

/** Is it that the disk has no room? */
export function isFull(error: OperatingError): boolean {
  return error.code === 'ENOSPC' || error.code === 'EDQUOT';
}

export class Pool {
  readonly options: StorageOptions;
  readonly space: Space;
  readonly pins = new Pins();
  readonly slowDisks: SlowDisks;
  readonly lateDisks: LateDisks;
  readonly tally: Tally = { unsyncedBytes: 0 };
  /** Records stay behind that nothing points to and nobody remembers: the next leadership's scan finds them. */
  leavesRecords = false;
  readonly #shelves = new Map<DiskNumber, Shelf>();
  readonly #declared = new Map<DiskNumber, Promise<void>>();
  /** When reads of each disk failed lately. */
  readonly #sectors = new Map<DiskNumber, number[]>();
  #segments = 0;

  constructor(options: StorageOptions) {
    this.options = options;
    this.space = new Space(options.diskSet, options.clock, (disk) => this.#shelves.get(disk)?.unfilledBytes ?? 0);
    this.slowDisks = new SlowDisks({
      clock: options.clock,
      m: options.m,
      report: (disk, ms) => {
        options.diskSet.reportSlow(disk, ms);
      },
    });
    this.lateDisks = new LateDisks({
      clock: options.clock,
      m: options.m,
      isIn: ({ disk, object }) => object !== undefined && options.diskSet.disk(disk) === object,
      budgetMs: (disk) => this.#lateBudgetMs(disk),
      tooLate: (disk, ms) => {
        this.#tooLate(disk, ms);
      },
      wentAround: (disk) => {
        this.slowDisks.lateWrite(disk, this.lateDisks.patienceMs, () => this.#tryWriting(disk));
      },
    });
    options.diskSet.onChange((number, disk) => {
      if (!disk) this.lateDisks.forget(number);
      if (disk) this.#declared.delete(number);
      else this.slowDisks.forget(number);
      this.#shelves.get(number)?.setDisk(disk);
    });
  }

  /** The shelf of a disk, which may be out. */
  shelf(number: DiskNumber): Shelf {
    let shelf = this.#shelves.get(number);
    if (!shelf) {
      const nextSegment = (): number => makeSegmentId(this.options.epoch, this.#segments++);
      const segments = { tally: this.tally, bytesMax: this.options.segmentBytesMax ?? SEGMENT_BYTES_MAX };
      shelf = new Shelf({ pool: this.options.poolId, number, nextSegment, segments });
      this.#shelves.set(number, shelf);
    }
    shelf.setDisk(this.options.diskSet.disk(number));
    return shelf;
  }

  /** Those that were used so far. */
  shelves(): Shelf[] {
    return [...this.#shelves.keys()].map((number) => this.shelf(number));
  }

  /** Is it better to go around the disk? */
  isSlow(number: DiskNumber): boolean {
    return this.slowDisks.isSlow(number) || this.options.diskSet.state(number) === 'suspect';
  }

  /** How long the pool waits for a disk before it does without it: as long as it takes where new data would have no redundancy then, or voters no majority. */
  #lateBudgetMs(number: DiskNumber): number {
    const { diskSet, k, m } = this.options;
    const others = diskSet.members().filter(({ member, disk }) => disk && member.number !== number);
    const shards = others.filter(({ member }) => member.role === 'data' && member.state === 'active').length;
    const voters = diskSet.membership.members.filter((member) => member.voter).length;
    if (shards <= k || others.filter(({ member }) => member.voter).length <= voters / 2) return Infinity;
    return shards >= k + m ? LATE_SPARE_BUDGET_MS : LATE_BUDGET_MS;
  }

  #tooLate(number: DiskNumber, ms: number): void {
    const disk = this.options.diskSet.disk(number);
    if (!disk) return;
    const error = new OperatingError(
      'ETIMEDOUT',
      `disk ${disk.directory} holds up the others: they waited ${Math.round(ms / 1000)} s for it alone`,
      {
        disk: disk.directory,
        hint: 'Check the cable, the power and the kernel log (dmesg) for this disk.',
      },
    );
    this.ioFailed(number, disk, 'write', error);
  }

  async #tryWriting(number: DiskNumber): Promise<void> {
    const disk = this.options.diskSet.disk(number);
    if (disk) await tryWriting(disk);
  }

  /** Does the disk take new shards? Draining and failed ones do not. */
  takesShards(number: DiskNumber): boolean {
    return this.#member(number)?.state === 'active';
  }

  /** Will the disk never come back? */
  failed(number: DiskNumber): boolean {
    const member = this.#member(number);
    return member === undefined || member.state === 'failed';
  }

  #member(number: DiskNumber): Member | undefined {
    return this.options.diskSet.membership.members.find((member) => member.number === number);
  }

  /** The data members as placement sees them: those that will be there. */
  zoned(): Zoned[] {
    return this.space
      .dataMembers()
      .filter(({ member }) => member.state === 'active')
      .map(zonedOf);
  }

  /** Is there a disk for each shard of a new blob? Whether it has room is another question. */
  get storesInFull(): boolean {
    const { k, m } = this.options;
    const online = this.space.dataMembers().filter(({ member, disk }) => disk && member.state !== 'failed');
    return shardsThatFit(online.map(zonedOf), this.zoneLimit(k, m)) >= k + m;
  }

  /** Shards of one blob in one zone at most. */
  zoneLimit(k: number, m: number): number {
    return zoneLimit(this.zoned(), k, m);
  }

  /**
   * Resolves when the index says that the disk is out. Asked once for each time that it goes out.
   * @throws what `onDiskOut` threw: then nothing may be left out because of this disk
   */
  async declareOut(number: DiskNumber): Promise<void> {
    const declared = this.#declared.get(number);
    if (declared) return declared;
    const declaring = this.options.onDiskOut(number);
    // Remembered only while it is out: should it be in again, it has to be declared anew the next time.
    if (!this.options.diskSet.disk(number)) this.#declared.set(number, declaring);
    try {
      await declaring;
    } catch (error) {
      if (this.#declared.get(number) === declaring) this.#declared.delete(number);
      throw error;
    }
  }

  /** Declares all data members out that are not in; of the failed ones the index knows. */
  async declareAbsent(): Promise<void> {
    const absent = this.space.dataMembers().filter(({ member, disk }) => !disk && member.state !== 'failed');
    await Promise.all(absent.map(({ member }) => this.declareOut(member.number)));
  }

  /**
   * An I/O call on a disk failed: counts it, and takes the disk out if a healthy one's would not have.
   * @param disk the object that the call was made on; nothing is said of its successor
   */
  ioFailed(number: DiskNumber, disk: unknown, kind: 'read' | 'write' | 'sync', thrown: unknown): OperatingError {
    if (thrown instanceof AssertionError) throw thrown;
    const error = asOperatingError(thrown, { disk: String(number) });
    const { diskSet, log } = this.options;
    if (disk === undefined || diskSet.disk(number) !== disk) return error;
    log('warn', `${kind} on disk ${number} failed: ${error.message}`, { disk: number, code: error.code });
    if (isFull(error)) {
      // A sync that found no space may have room again: whoever writes its records anew finds out by allocating, maybe on this disk.
      if (kind !== 'sync') this.space.setFull(number);
      diskSet.countError(number, kind);
    } else if (kind === 'read' && badRecord.has(error.code)) diskSet.countError(number, 'checksum');
    else if (kind === 'read' && error.code === 'EIO' && !this.#tooManySectors(number)) return error;
    else diskSet.reportFailure(number, error);
    return error;
  }

  /** A read failed with EIO: that is a bad sector, and what is lost with it is healed. Many of them in a short time are a bad disk. */
  #tooManySectors(number: DiskNumber): boolean {
    const nowMs = this.options.clock.monotonicMs();
    const recent = (this.#sectors.get(number) ?? []).filter((ms) => nowMs - ms < BAD_SECTORS_MS);
    recent.push(nowMs);
    this.#sectors.set(number, recent);
    if (recent.length < BAD_SECTORS_MAX) return false;
    this.#sectors.delete(number);
    return true;
  }

  /** The member's zone, also of one that is out. */
  zoneOf(number: DiskNumber): Zoned {
    return { disk: number, zone: this.#member(number)?.zone };
  }
}

export function zonedOf({ member }: SetMember): Zoned {
  return { disk: member.number, zone: member.zone };
}

/** A blob's shards that are there to be read. */
export function presentShards(location: Location): number[] {
  return location.shards.flatMap(({ disk }, shard) => (disk === 0 ? [] : [shard]));
}

/** The place of a shard. */
export function placeOf(location: Location, shard: number): Location['shards'][number] {
  return must(location.shards[shard], () => `blob ${location.blob} has no shard ${shard}`);
}
