/**
 * Writes shards of one blob: chooses places, writes them in one stripe call, and sends what did not land elsewhere, until all landed or nothing is left to
 * try. Used by store, by rebuild and by the moves after a failed sync; sync.ts and create-storage.ts are its callers.
 *
 * Keeps I2: a shard is left out only when no disk that is in could take it, and after the disks that are not in were declared out. A full disk that is in
 * is no reason to leave a shard out of a new blob: unless another can take it, the blob is refused with ENOSPC.
 */
import { assert, must } from '../base/assert.js';
import { OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { POOL_DISKS_MAX } from '../base/limits.js';
import type { Location, ShardPlace } from '../base/location.js';
import type { Disk } from '../disk/disk.js';
import type { SetMember } from '../disk/disk-set.js';
import type { ShardFailure, ShardRecord, StoreWatch } from '../disk/stripe.js';
import type { Awaited } from './late-disks.js';
import { MISSING } from './location-codec.js';
import { choosePlaces, rotate, shardsThatFit, type Zoned } from './placement.js';
import { isFull, zonedOf, type Pool } from './pool.js';
import { encodePrefix, recordBytesOf, recordSeed } from './record.js';
import type { LiveBlob } from './segment.js';
import type { Place } from './shelf.js';

/**
 * store: all or ENOSPC, degraded only when disks are out. heal: as many as find room, using a part of the reserve. move: like heal with all of the reserve,
 * since the barrier must go on; fails only when fewer than k shards would be left.
 */
export type Purpose = 'store' | 'heal' | 'move';

/** The part of the reserve that each leaves alone. */
const reserveLeft: Readonly<Record<Purpose, number>> = { store: 1, heal: 0.5, move: 0 };

/**
 * Fills the records that have a place now, as `StripeIo.store` does: resolves with those that did not land. What it throws ends the write. Who has time need
 * not have it watched.
 */
export type Fill = (records: readonly ShardRecord[], watch: StoreWatch) => Promise<readonly ShardFailure[]>;

export interface WriteRequest {
  readonly purpose: Purpose;
  /** The blob; shards that are to be written are missing in it. */
  readonly location: Location;
  readonly shards: readonly number[];
  readonly fill: Fill;
  /** Disks that get none of the shards. */
  readonly avoid?: ReadonlySet<DiskNumber> | undefined;
  /** Where the blob has unsynced shards already: its location is brought up to date. */
  readonly blob?: LiveBlob;
}

export interface WriteResult {
  readonly blob: LiveBlob;
  /** Of the shards asked for, those that did not land. */
  readonly unplaced: readonly number[];
  /** Why. */
  readonly reason: OperatingError | undefined;
}

interface Landed {
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly place: Place;
}

/** One write in progress. */
class Write {
  readonly shards: ShardPlace[];
  readonly landed = new Map<number, Landed>();
  /** Disks that failed in this write, as they were then: not tried again unless they come back anew. */
  readonly failed = new Map<DiskNumber, Disk>();
  /** Disks that were late, as they were then: tried again only where there are no others, and then with patience. */
  readonly late = new Map<DiskNumber, Disk>();
  patient = false;
  /** Disks that had no room after all. */
  readonly full = new Set<DiskNumber>();
  reason: OperatingError | undefined;

  constructor(readonly request: WriteRequest) {
    this.shards = [...request.location.shards];
  }

  get location(): Location {
    return { ...this.request.location, shards: this.shards };
  }

  get pending(): number[] {
    return this.request.shards.filter((shard) => !this.landed.has(shard));
  }
}

export class Writer {
  readonly #pool: Pool;
  readonly #wrote: (bytes: number) => void;

  /** @param wrote told of each record that landed and now waits for a sync. */
  constructor(pool: Pool, wrote: (bytes: number) => void) {
    this.#pool = pool;
    this.#wrote = wrote;
  }

  /**
   * Writes the shards. When it resolves, those that landed are tracked for the next sync.
   * @throws OperatingError ENOSPC (store only), EIO (not heal); what `onDiskOut` threw
   */
  async write(request: WriteRequest): Promise<WriteResult> {
    const write = new Write(request);
    try {
      // A segment may lose its trust while disks are declared out; another look follows, with nothing awaited between it and the end.
      for (let look = 0; ; look++) {
        assert(look < 2 * POOL_DISKS_MAX, 'each look loses a segment or ends');
        await this.#place(write);
        // I2: before a shard is left out.
        if (write.pending.length > 0) await this.#declareOut(write);
        if (!this.#dropDistrusted(write)) break;
      }
      if (request.purpose !== 'heal') this.#checkEnough(write);
      return this.#finish(write);
    } catch (error) {
      for (const landed of [...write.landed.values()]) this.#giveUp(write, landed);
      throw error;
    }
  }

  /** I2: no shard of a new blob is left out because of a disk that is in, nor before the disks that are not in are out in the index. */
  async #declareOut(write: Write): Promise<void> {
    const { diskSet } = this.#pool.options;
    const stillIn = (): boolean => [...write.failed].some(([disk, object]) => diskSet.disk(disk) === object);
    if (stillIn()) await diskSet.probeNow();
    if (write.request.purpose === 'store' && stillIn())
      throw new OperatingError('EIO', 'a disk refused a shard of a new blob, but seems well otherwise', { cause: write.reason });
    await this.#pool.declareAbsent();
  }

  /** Gives up what landed on a file or disk that is not trusted any more. Returns whether there was any. */
  #dropDistrusted(write: Write): boolean {
    const { diskSet } = this.#pool.options;
    let any = false;
    for (const landed of [...write.landed.values()]) {
      const { segment } = landed.place;
      if (segment.trusted && diskSet.disk(landed.disk) === segment.disk) continue;
      any = true;
      this.#giveUp(write, landed);
    }
    return any;
  }

  async #place(write: Write): Promise<void> {
    // Each round either lands everything, or loses a disk (failed or full) or a segment: bounded by the disks, twice to be generous.
    for (let round = 0; round < 2 * POOL_DISKS_MAX && write.pending.length > 0; round++) {
      await this.#pool.space.refresh();
      const disks = this.#choose(write);
      if (disks.length === 0) return;
      const places = await this.#takePlaces(write, disks);
      if (places.length > 0) await this.#writeRecords(write, places);
      this.#dropDistrusted(write);
    }
  }

  /** Disks for the pending shards, in their order; fewer where there are no more. Throws ENOSPC for a new blob. */
  #choose(write: Write): DiskNumber[] {
    if (write.late.size > 0 && !this.#othersTake(write, [])) {
      // Late is better than not at all.
      write.late.clear();
      write.patient = true;
    }
    return this.#choosePlaces(write);
  }

  /** Can disks that are quick, and have none of this blob, take the pending shards, and those that these disks are late with? */
  #othersTake(write: Write, late: readonly DiskNumber[]): boolean {
    const { location, purpose } = write.request;
    const { k, m } = location;
    const taken = write.shards.filter(({ disk }) => disk !== 0 && !late.includes(disk)).map(({ disk }) => this.#pool.zoneOf(disk));
    const limit = this.#pool.zoneLimit(k, m);
    const others = this.#free(write).filter(({ member }) => member.state === 'active' && !write.full.has(member.number));
    const roomy = this.#pool.space.withRoom(others, recordBytesOf(location.bytes, k), reserveLeft[purpose]);
    const quick = roomy.filter(({ disk }) => !late.includes(disk) && !this.#pool.isSlow(disk));
    return shardsThatFit(quick, limit, taken) >= Math.max(late.length, write.pending.length);
  }

  /** Members that are in and may take a shard of the blob. */
  #free(write: Write): SetMember[] {
    const { request, failed, late } = write;
    const used = new Set(write.shards.map(({ disk }) => disk));
    return this.#pool.space
      .dataMembers()
      .filter(({ member: { number }, disk }) => disk && !used.has(number) && failed.get(number) !== disk && late.get(number) !== disk)
      .filter(({ member }) => !request.avoid?.has(member.number));
  }

  #choosePlaces(write: Write): DiskNumber[] {
    const { request, pending } = write;
    const { k, m, blob, bytes } = request.location;
    const { space, options } = this.#pool;
    const used = new Set(write.shards.map(({ disk }) => disk));
    const taken = [...used].filter((disk) => disk !== 0).map((disk) => this.#pool.zoneOf(disk));
    const limit = this.#pool.zoneLimit(k, m);
    const all = this.#free(write);
    const online = this.#taking(all, pending.length, limit, taken);
    const roomy = online.filter(({ member }) => !write.full.has(member.number));
    let candidates = space.withRoom(roomy, recordBytesOf(bytes, k), reserveLeft[request.purpose]);
    // Slow disks only where the others have no room.
    const quick = candidates.filter(({ disk }) => !this.#pool.isSlow(disk));
    if (shardsThatFit(quick, limit, taken) >= pending.length) candidates = quick;
    const zoned = online.map(zonedOf);
    const possible = Math.min(pending.length, shardsThatFit(zoned, limit, taken));
    const fit = Math.min(pending.length, shardsThatFit(candidates, limit, taken));
    if (fit < possible) write.reason = this.#noSpace(fit + taken.length, possible + taken.length);
    if (request.purpose === 'store' && fit < possible) throw must(write.reason, 'set above');
    if (request.purpose === 'store' && possible + taken.length < k) return [];
    const disks = choosePlaces(candidates, pending.length, limit, taken, options.random);
    return rotate(disks, blob % 2 ** 32);
  }

  /** Those that take new shards: active members. Draining ones too where the others are too few, since a shard on one is better than none. */
  #taking(members: readonly SetMember[], count: number, limit: number, taken: readonly Zoned[]): readonly SetMember[] {
    const active = members.filter(({ member }) => member.state === 'active');
    const zoned = active.map(zonedOf);
    if (shardsThatFit(zoned, limit, taken) >= count) return active;
    return members.filter(({ member }) => member.state !== 'failed');
  }

  #noSpace(fit: number, wanted: number): OperatingError {
    return new OperatingError('ENOSPC', `only ${fit} of the ${wanted} disks that a blob needs have room`, {
      hint: 'Delete files, or add disks to the pool.',
    });
  }

  /** Space on each disk for the next pending shard. Disks that fail here are noted. */
  async #takePlaces(write: Write, disks: readonly DiskNumber[]): Promise<Landed[]> {
    const { k, bytes } = write.request.location;
    const { space } = this.#pool;
    const size = recordBytesOf(bytes, k);
    const pending = write.pending;
    const places: Landed[] = [];
    let givenUp = new Set<DiskNumber>();
    const takings = disks.map((disk, index) => {
      const shelf = this.#pool.shelf(disk);
      const object = shelf.disk;
      const take = async (): Promise<void> => {
        try {
          const place = await shelf.take(size, space.totalBytes(disk));
          // Nobody waits for it any more.
          if (givenUp.has(disk)) return this.#giveBack(place, size);
          space.take(disk, size);
          places.push({ shard: must(pending[index], 'no more disks than shards'), disk, place });
        } catch (thrown) {
          if (!givenUp.has(disk)) this.#failed(write, disk, object, thrown);
        }
      };
      return { disk, object, done: take() };
    });
    givenUp = await this.#pool.lateDisks.all(takings, this.#patience(write));
    for (const { disk, object } of takings) if (givenUp.has(disk) && object) write.late.set(disk, object);
    return [...places];
  }

  /** Heal has time: it waits for a slow disk, which is how that gets what it lacks. */
  #patience(write: Write): Pick<Awaited, 'spare' | 'lateAfterMs'> {
    if (write.request.purpose === 'heal') return { lateAfterMs: () => undefined };
    return {
      spare: (late) => !write.patient && this.#othersTake(write, late),
      lateAfterMs: () => this.#pool.lateDisks.patienceMs,
    };
  }

  #failed(write: Write, disk: DiskNumber, object: Disk | undefined, thrown: unknown): void {
    const error = this.#pool.ioFailed(disk, object, 'write', thrown);
    write.reason = error;
    if (isFull(error)) write.full.add(disk);
    else if (object) write.failed.set(disk, object);
  }

  async #writeRecords(write: Write, places: readonly Landed[]): Promise<void> {
    const { poolId } = this.#pool.options;
    const { blob } = write.request.location;
    for (const { shard, disk, place } of places) write.shards[shard] = { disk, segment: place.segment.id, offset: place.offset };
    const location = write.location;
    const records = places.map(({ shard, place }): ShardRecord => {
      const prefix = encodePrefix(poolId, location, shard);
      return { shard, file: place.segment.file, offset: place.offset, prefix, seed: recordSeed(poolId, blob, shard) };
    });
    for (const landed of places) write.landed.set(landed.shard, landed);
    for (const { shard, error } of await write.request.fill(records, this.#watch(write, places))) {
      const landed = must(write.landed.get(shard), `no shard ${shard} was to be written`);
      const { segment } = landed.place;
      if (error.code === 'ETIME') write.late.set(landed.disk, segment.disk);
      // A segment whose sync failed meanwhile refuses writes: that was reported already, and the disk has another one.
      else if (segment.trusted) this.#failed(write, landed.disk, segment.disk, error);
      this.#giveUp(write, landed);
    }
    this.#pool.slowDisks.wrote([...write.landed.values()].map(({ disk }) => disk));
  }

  /** A disk that is late with its record does not hold up the others for long: see late-disks.ts. */
  #watch(write: Write, places: readonly Landed[]): StoreWatch {
    const { lateDisks } = this.#pool;
    return (store) => {
      const late = (): Landed[] => {
        const shards = store.late();
        return shards.length === 0 ? [] : places.filter(({ shard }) => shards.includes(shard));
      };
      return lateDisks.watch({
        pending: () => late().map(({ disk, place }) => ({ disk, object: place.segment.disk })),
        giveUp: (disks) => {
          store.giveUp(places.filter(({ disk }) => disks.includes(disk)).map(({ shard }) => shard));
        },
        ...this.#patience(write),
        usual: write.request.purpose === 'store',
      });
    };
  }

  /** The record is not part of the blob: nothing points to it, and its space goes back as far as possible. */
  #giveUp(write: Write, { shard, place }: Landed): void {
    write.landed.delete(shard);
    write.shards[shard] = MISSING;
    const { k, bytes } = write.request.location;
    this.#giveBack(place, recordBytesOf(bytes, k));
  }

  /** Space that was taken for a record that will not come. Whole or torn, it may be there: where it cannot be punched out, a search finds it. */
  #giveBack({ segment, offset }: Place, bytes: number): void {
    segment.gaveUp(offset, bytes);
    const leave = (): void => {
      this.#pool.leavesRecords = true;
    };
    if (segment.trusted) segment.file.punch(offset, bytes).catch(leave);
    else leave();
  }

  #checkEnough(write: Write): void {
    const { k } = write.request.location;
    const there = write.shards.filter(({ disk }) => disk !== 0).length;
    if (there >= k) return;
    const cause = write.reason;
    throw new OperatingError('EIO', `only ${there} shards of a blob could be written, ${k} are needed`, {
      hint: 'Too many disks of the pool are missing or failing ("ostraka status" names them): bring them back.',
      cause,
    });
  }

  /** Everything that landed is tracked from here on. */
  #finish(write: Write): WriteResult {
    const blob: LiveBlob = write.request.blob ?? { location: write.location };
    blob.location = write.location;
    const bytes = recordBytesOf(blob.location.bytes, blob.location.k);
    for (const { shard, place } of write.landed.values()) {
      place.segment.landed(place.offset, { blob, shard, bytes });
      this.#wrote(bytes);
    }
    return { blob, unplaced: write.pending, reason: write.reason };
  }
}
