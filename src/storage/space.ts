/**
 * What is free on each disk, as placement and statfs need it: asked of the disks at most once in CAPACITY_AGE_MS and kept up in between as
 * records are placed. Directories that share one file system share its space. Some of each disk is kept in reserve for log, replica
 * and heal.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import {
  BLOB_BYTES_MAX,
  CAPACITY_AGE_MS,
  CAPACITY_PATIENCE_MS,
  DISK_RESERVE_BYTES_MAX,
  DISK_RESERVE_BYTES_MIN,
  RECORD_HEADER_BYTES,
} from '../base/limits.js';
import type { Capacity, Disk } from '../disk/disk.js';
import type { DiskSet, SetMember } from '../disk/disk-set.js';
import { shardBytesThatFit, userBytes, type SizedDisk } from './capacity.js';
import { shardsThatFit, zoneLimit, type Candidate } from './placement.js';
import { shardBytesOf } from './record.js';
import type { PoolCapacity } from './storage.js';

/** Space of a disk of this size that new blobs do not take. */
export function reserveBytes(totalBytes: number): number {
  const small = Math.min(DISK_RESERVE_BYTES_MIN, totalBytes / 8);
  return Math.floor(Math.min(DISK_RESERVE_BYTES_MAX, Math.max(totalBytes / 50, small)));
}

/** A disk is asked so often before its first figures are given up: it may be short of memory. */
const FIRST_TRIES_MAX = 3;

interface Known {
  readonly disk: Disk;
  readonly totalBytes: number;
  freeBytes: number;
}

/** What a disk said last. */
interface Answer {
  readonly disk: Disk;
  readonly capacity: Capacity;
}

export class Space {
  readonly #diskSet: DiskSet;
  readonly #clock: Clock;
  readonly #unfilledBytes: (disk: DiskNumber) => number;
  readonly #known = new Map<DiskNumber, Known>();
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  /** Calls under way. */
  readonly #asked = new Map<Disk, Promise<Answer | undefined>>();
  readonly #answers = new Map<DiskNumber, Answer>();

  /** @param unfilledBytes what is allocated on a disk for records to come: it counts as free. */
  constructor(diskSet: DiskSet, clock: Clock, unfilledBytes: (disk: DiskNumber) => number) {
    this.#diskSet = diskSet;
    this.#clock = clock;
    this.#unfilledBytes = unfilledBytes;
  }

  /** The members that hold shards. */
  dataMembers(): SetMember[] {
    return this.#diskSet.members().filter(({ member }) => member.role === 'data');
  }

  /** Asks the disks anew if it was too long ago; waits only for disks that have never answered, since one may be stalling. */
  async refresh(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#askedMs >= CAPACITY_AGE_MS) void this.#ask();
    for (let tries = 0; tries < FIRST_TRIES_MAX; tries++) {
      const unknown = this.dataMembers().flatMap(({ member, disk }) => (this.#known.get(member.number)?.disk === disk ? [] : (disk ?? [])));
      if (unknown.length === 0) return;
      await this.#ask();
      for (const disk of unknown) await this.#asked.get(disk);
    }
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  /** Asks all disks; what one answers that is late counts in the next round. */
  async #askAll(): Promise<void> {
    this.#askedMs = this.#clock.monotonicMs();
    const answers = new Map<DiskNumber, Answer>();
    const asked = this.dataMembers().map(async ({ member: { number }, disk }) => {
      const answer = disk && (await this.#askOne(number, disk));
      if (answer) answers.set(number, answer);
    });
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(CAPACITY_PATIENCE_MS, resolve);
      void Promise.all(asked).then(() => {
        cancel();
        resolve();
      });
    });
    for (const [number, answer] of answers) this.#answers.set(number, answer);
    for (const [number, { disk, capacity }] of answers) {
      const { fileSystem } = capacity;
      const shares = ([other, answer]: [DiskNumber, Answer]): boolean =>
        other === number || (this.#diskSet.disk(other) === answer.disk && answer.capacity.fileSystem === fileSystem);
      const sharers = fileSystem === undefined ? 1 : [...this.#answers].filter(shares).length;
      const reservedBytes = this.#diskSet.members().find(({ member }) => member.number === number)?.reservedBytes ?? 0;
      this.#known.set(number, {
        disk,
        totalBytes: Math.floor(capacity.totalBytes / sharers),
        freeBytes: Math.floor(capacity.freeBytes / sharers) + this.#unfilledBytes(number) + reservedBytes,
      });
    }
  }

  /** One call at a time for each disk. Never rejects. */
  #askOne(number: DiskNumber, disk: Disk): Promise<Answer | undefined> {
    const asked = this.#asked.get(disk);
    if (asked) return asked;
    const asking = disk
      .capacity()
      .then(
        (capacity) => ({ disk, capacity }),
        (error: unknown) => {
          // Without figures it would look full, and refuse all blobs instead of being left out.
          if (this.#diskSet.disk(number) === disk) this.#diskSet.reportFailure(number, asOperatingError(error));
          return undefined;
        },
      )
      .finally(() => this.#asked.delete(disk));
    this.#asked.set(disk, asking);
    return asking;
  }

  /** Size of a disk as last seen. */
  totalBytes(disk: DiskNumber): number {
    return this.#known.get(disk)?.totalBytes ?? 0;
  }

  /** A record was placed (positive) or given back (negative). */
  take(disk: DiskNumber, bytes: number): void {
    const known = this.#known.get(disk);
    if (known) known.freeBytes -= bytes;
  }

  /** The disk said ENOSPC: it is full whatever statvfs said, until it is asked again. */
  setFull(disk: DiskNumber): void {
    const known = this.#known.get(disk);
    if (known) known.freeBytes = 0;
  }

  /**
   * Of these members, those that are in and have room for `bytes` more.
   * @param reserve the part of the reserve to leave alone: 1 for new blobs, less for heal, which may use some of it
   */
  withRoom(members: readonly SetMember[], bytes: number, reserve: number): Candidate[] {
    const candidates: Candidate[] = [];
    for (const { member, disk } of members) {
      const known = this.#known.get(member.number);
      if (!disk || !known) continue;
      const freeBytes = known.freeBytes - reserve * reserveBytes(known.totalBytes);
      if (freeBytes >= bytes) candidates.push({ disk: member.number, zone: member.zone, freeBytes });
    }
    return candidates;
  }

  /**
   * The space of the disks that take shards; of those that are out the size that they had when last seen.
   * @param anew asks the disks in any case, after all that was given back before the call
   */
  async capacity(k: number, m: number, anew = false): Promise<PoolCapacity> {
    // An answer that is on its way may be older.
    if (anew) await this.#asking;
    if (anew || this.#clock.monotonicMs() - this.#askedMs >= CAPACITY_AGE_MS) await this.#ask();
    // What will be there: a draining disk's data will need room on the others.
    const members = this.dataMembers().filter(({ member }) => member.state === 'active');
    const zoned = members.map(({ member }) => ({ disk: member.number, zone: member.zone }));
    const limit = zoneLimit(zoned, k, m);
    const shardBytes = shardBytesOf(BLOB_BYTES_MAX, k);
    const usable = (disks: readonly SizedDisk[]): number => {
      const shards = Math.min(k + m, shardsThatFit(disks, limit));
      return shards < k ? 0 : userBytes(shardBytesThatFit(disks, shards, limit), k, shardBytes, RECORD_HEADER_BYTES);
    };
    const all: SizedDisk[] = [];
    const free: SizedDisk[] = [];
    let rawTotalBytes = 0;
    let rawFreeBytes = 0;
    for (const { member, disk } of members) {
      const known = this.#known.get(member.number);
      if (!known) continue;
      const place = { disk: member.number, zone: member.zone };
      const reserve = reserveBytes(known.totalBytes);
      all.push({ ...place, bytes: Math.max(0, known.totalBytes - reserve) });
      if (!disk) continue;
      rawTotalBytes += known.totalBytes;
      rawFreeBytes += Math.max(0, known.freeBytes);
      free.push({ ...place, bytes: Math.max(0, known.freeBytes - reserve) });
    }
    return { rawFreeBytes, rawTotalBytes, usableBytes: usable(all), usableFreeBytes: usable(free) };
  }
}
