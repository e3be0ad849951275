/**
 * Finds blobs again after an index from another time took the place of the pool's own. Records describe themselves, so where an old row and a record disagree the
 * record is right: shards that were moved or healed since have new places. Goes once along all disks, then once along all blobs. Nothing is freed.
 */
import type { Clock } from '../../base/clock.js';
import type { BlobId } from '../../base/ids.js';
import { LOST_BLOBS_MAX } from '../../base/limits.js';
import type { Location, ShardPlace } from '../../base/location.js';
import type { DiskSet } from '../../disk/disk-set.js';
import type { IndexStore } from '../../index/index-store.js';
import { decodeLocationRow, encodeEndangered, encodeLocationRow } from '../../index/schema/blob-rows.js';
import { blobKey, endangeredKey, freeRangeOfBlob } from '../../index/schema/tables.js';
import { decodeLocation, encodeLocation, MISSING, samePlace } from '../../storage/location-codec.js';
import type { ScannedShard, Storage } from '../../storage/storage.js';
import { blobs } from '../check/rows.js';

export interface RelocateOptions {
  readonly index: IndexStore;
  readonly storage: Pick<Storage, 'scanRecords' | 'inspect'>;
  readonly diskSet: DiskSet;
  readonly clock: Pick<Clock, 'yield'>;
  /** Told which disk is read, or that blobs are checked, and how much was done. */
  readonly progress: (what: string, done: number) => void;
}

export interface RelocateReport {
  /** Records on the disks. */
  readonly records: number;
  /** Shards that were found somewhere else than the rows said. */
  readonly movedShards: number;
  readonly blobs: number;
  /** Blobs that lack shards: heal makes them anew. */
  readonly endangeredBlobs: number;
  /** Blobs of which fewer than k shards are left; the first of them. */
  readonly lostBlobs: readonly BlobId[];
  readonly lostBlobCount: number;
  /** Blobs that cannot be read until a disk that is out comes back. */
  readonly waitingBlobs: number;
  /** Blobs that no row knows, about: they were written after the index that was restored, or were not given back yet. */
  readonly unknownBlobs: number;
  readonly unknownBytes: number;
}

/** @throws OperatingError: a disk cannot be read; recovery begins again without it, or with it mended */
export async function relocate(options: RelocateOptions): Promise<RelocateReport> {
  const along = new AlongDisks(options);
  for (const { member, disk } of options.diskSet.members())
    if (member.role === 'data' && disk !== undefined) await along.disk(member.number);
  const found = await alongBlobs(options);
  await options.index.durable();
  return { records: along.records, movedShards: along.moved, ...found, ...along.unknown() };
}

class AlongDisks {
  records = 0;
  moved = 0;
  readonly #options: RelocateOptions;
  /** By shard number: each blob has each at most once, or a few times where one was moved. */
  readonly #unknownCounts = new Map<number, { blobs: number; bytes: number }>();

  constructor(options: RelocateOptions) {
    this.#options = options;
  }

  async disk(number: number): Promise<void> {
    const { storage, clock, progress } = this.#options;
    for await (const record of storage.scanRecords(number, undefined, { frames: false })) {
      if (record.kind !== 'record') continue;
      await this.#record(record);
      if (++this.records % 64 === 0) {
        progress(`disk ${number}`, this.records);
        await clock.yield();
      }
    }
  }

  async #record(record: ScannedShard): Promise<void> {
    const { index, storage, diskSet } = this.#options;
    const { blob, shard, disk, segment, offset } = record;
    const row = await index.get(blobKey(blob));
    if (row === undefined) {
      const free = await index.scan(freeRangeOfBlob(blob, 1));
      if (free.length === 0) this.#unknown(record);
      return;
    }
    const location = decodeLocation(decodeLocationRow(row));
    if (location.codec !== record.codec || location.k !== record.k || location.m !== record.m || location.bytes !== record.blobBytes)
      return;
    const place = location.shards[shard] ?? MISSING;
    const here: ShardPlace = { disk, segment, offset };
    if (samePlace(place, here)) return;
    // The row's place holds it too: both are the same bytes, and nothing has to change.
    const there =
      place.disk !== 0 && diskSet.disk(place.disk) !== undefined && (await storage.inspect(location, 'headers', [shard])).length === 0;
    if (there) return;
    this.moved++;
    const shards = location.shards.map((each, at) => (at === shard ? here : each));
    await put(index, { ...location, shards });
  }

  #unknown({ shard, blobBytes }: ScannedShard): void {
    const count = this.#unknownCounts.get(shard) ?? { blobs: 0, bytes: 0 };
    count.blobs++;
    count.bytes += blobBytes;
    this.#unknownCounts.set(shard, count);
  }

  unknown(): { unknownBlobs: number; unknownBytes: number } {
    let most = { blobs: 0, bytes: 0 };
    for (const count of this.#unknownCounts.values()) if (count.blobs > most.blobs) most = count;
    return { unknownBlobs: most.blobs, unknownBytes: most.bytes };
  }
}

/** Writes the location, and what it lacks. */
async function put(index: IndexStore, location: Location, unreadable: readonly number[] = []): Promise<void> {
  const { blob, shards } = location;
  const missing = shards.flatMap(({ disk }, shard) => (disk === 0 || unreadable.includes(shard) ? [shard] : []));
  await index.transact(async (tx) => {
    tx.put(blobKey(blob), encodeLocationRow(encodeLocation(location)));
    if (missing.length > 0) tx.put(endangeredKey(blob), encodeEndangered(missing));
    else tx.delete(endangeredKey(blob));
  });
}

type Found = Pick<RelocateReport, 'blobs' | 'endangeredBlobs' | 'lostBlobs' | 'lostBlobCount' | 'waitingBlobs'>;

/** Is every shard where its row says? Those on disks that are out may be: their rows stay. */
async function alongBlobs({ index, storage, diskSet, clock, progress }: RelocateOptions): Promise<Found> {
  const lostBlobs: BlobId[] = [];
  const members = new Set(diskSet.membership.members.map(({ number }) => number));
  const found = { blobs: 0, endangeredBlobs: 0, lostBlobCount: 0, waitingBlobs: 0 };
  const pause = async (): Promise<void> => {
    progress('blobs', found.blobs);
    await clock.yield();
  };
  for await (const { location } of blobs({ view: index, pause })) {
    found.blobs++;
    if (location === undefined) continue;
    const damage = await storage.inspect(location, 'headers');
    // What is there and cannot be read stays named, so that nobody takes its place for free.
    const gone = new Set(damage.flatMap(({ shard, code }) => (code === 'ENODATA' ? [shard] : [])));
    const unreadable = damage.flatMap(({ shard, code }) => (code === 'ENODATA' ? [] : [shard]));
    const shards = location.shards.map((place, shard) => (gone.has(shard) || !members.has(place.disk) ? MISSING : place));
    const now = { ...location, shards };
    if (damage.length > 0 || shards.some((place, shard) => place !== location.shards[shard])) await put(index, now, unreadable);
    const left = shards.filter(({ disk }, shard) => disk !== 0 && !unreadable.includes(shard));
    if (left.length < shards.length) found.endangeredBlobs++;
    if (left.length < location.k) {
      found.lostBlobCount++;
      if (lostBlobs.length < LOST_BLOBS_MAX) lostBlobs.push(location.blob);
    } else if (left.filter(({ disk }) => diskSet.disk(disk) !== undefined).length < location.k) found.waitingBlobs++;
  }
  return { ...found, lostBlobs };
}
