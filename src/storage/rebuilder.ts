/**
 * Writes shards of a blob anew: what is missing or bad from the other shards, what is good but should be elsewhere by copying it. Heal, drain, rebalance and
 * compaction are its callers; the old places stay valid until the caller frees them (I1, I5).
 *
 *   shard ──no place, or its disk is out──▶ made of k others ──▶ written elsewhere
 *     ├────bad where it is──▶ set aside ──▶ made of k others ──▶ written elsewhere
 *     └────good where it is──▶ copied elsewhere
 */
import { must } from '../base/assert.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import type { Location, ShardPlace } from '../base/location.js';
import type { ShardFailure, ShardRecord } from '../disk/stripe.js';
import type { Damaged } from './damaged.js';
import type { Freeing } from './freeing.js';
import { MISSING, missingShards, replacedShards } from './location-codec.js';
import { placeOf, type Pool } from './pool.js';
import type { Reader } from './reader.js';
import { recordBytesOf } from './record.js';
import type { RebuildOptions, StoredBlob } from './storage.js';
import type { WriteResult, Writer } from './writer.js';

export interface RebuilderParts {
  readonly pool: Pool;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly damaged: Damaged;
  readonly freeing: Freeing;
}

interface Progress {
  readonly before: Location;
  /** With what has landed since. */
  now: Location;
  readonly unplaced: number[];
  placed: number;
  reason: OperatingError | undefined;
}

export class Rebuilder {
  readonly #parts: RebuilderParts;

  constructor(parts: RebuilderParts) {
    this.#parts = parts;
  }

  /** See `Storage.rebuild`. */
  async rebuild(location: Location, shards: readonly number[], options: RebuildOptions = {}): Promise<StoredBlob> {
    const { diskSet } = this.#parts.pool.options;
    const there = (shard: number): boolean => diskSet.disk(placeOf(location, shard).disk) !== undefined;
    const lost = shards.filter((shard) => !there(shard));
    const progress: Progress = { before: location, now: location, unplaced: [], placed: 0, reason: undefined };
    try {
      // What is lost comes first: a place that it takes is no loss to what is only moving.
      if (lost.length > 0) await this.#remake(progress, lost, options);
      const bad: number[] = [];
      for (const shard of shards)
        if (there(shard) && !lost.includes(shard) && !(await this.#copy(progress, shard, options))) bad.push(shard);
      if (bad.length > 0) await this.#remake(progress, bad, options);
    } catch (error) {
      await this.#parts.freeing.discard(replacedShards(progress.now, location));
      throw error;
    }
    const { now, unplaced, placed, reason } = progress;
    if (placed === 0 && shards.length > 0)
      throw reason ?? new OperatingError('EIO', `no disk that is in can take a shard of blob ${location.blob}`);
    const missing = new Set([...unplaced, ...missingShards(now)]);
    return { location: now, missing: [...missing].sort((a, b) => a - b) };
  }

  /** Makes shards of the others. */
  async #remake(progress: Progress, shards: readonly number[], { avoid }: RebuildOptions): Promise<void> {
    const { reader, writer } = this.#parts;
    const from = progress.now;
    const fill = (records: readonly ShardRecord[]): Promise<readonly ShardFailure[]> => reader.remake(from, shards, records);
    const result = await writer.write({ purpose: 'heal', location: without(from, shards), shards, fill, avoid });
    progress.now = this.#keepPlaces(withPlaces(from, result, shards), progress.before, result.unplaced);
    progress.unplaced.push(...result.unplaced);
    progress.placed += shards.length - result.unplaced.length;
    progress.reason ??= result.reason;
  }

  /** Copies one shard from its place. False: it is not good there. Where no other disk takes it, it stays. */
  async #copy(progress: Progress, shard: number, { avoid }: RebuildOptions): Promise<boolean> {
    const { reader, writer, damaged } = this.#parts;
    const from = progress.now;
    let bad: ErrnoName | undefined;
    const fill = async (records: readonly ShardRecord[]): Promise<readonly ShardFailure[]> => {
      const copied = await reader.copy(from, shard, must(records[0], 'one place for one shard'));
      bad = copied.bad;
      if (bad !== undefined) throw new OperatingError(bad, `shard ${shard} of blob ${from.blob} is not good where it is`);
      return copied.failures;
    };
    try {
      const result = await writer.write({ purpose: 'heal', location: without(from, [shard]), shards: [shard], fill, avoid });
      progress.reason ??= result.reason;
      if (result.unplaced.length > 0) return true;
      progress.now = withPlaces(from, result, [shard]);
      progress.placed++;
      return true;
    } catch (error) {
      if (bad === undefined) throw error;
      if (bad !== 'ENODATA') await damaged.setAside(recordOf(from, shard));
      return false;
    }
  }

  /** What found no place keeps the one that it had, for its disk may come back with it; unless another shard is on that disk now. */
  #keepPlaces(now: Location, before: Location, unplaced: readonly number[]): Location {
    const used = new Set(now.shards.map(({ disk }) => disk));
    const keeps = (disk: DiskNumber): boolean => !used.has(disk) && !this.#parts.pool.failed(disk);
    const shards = now.shards.map((place, shard) => {
      const old = before.shards[shard] ?? MISSING;
      return unplaced.includes(shard) && keeps(old.disk) ? old : place;
    });
    return { ...now, shards };
  }
}

function without(location: Location, shards: readonly number[]): Location {
  return { ...location, shards: location.shards.map((place, shard) => (shards.includes(shard) ? MISSING : place)) };
}

/** The location with the places that a write found for these shards. */
function withPlaces(location: Location, { blob }: WriteResult, shards: readonly number[]): Location {
  const place = (old: ShardPlace, shard: number): ShardPlace => (shards.includes(shard) ? (blob.location.shards[shard] ?? MISSING) : old);
  return { ...location, shards: location.shards.map(place) };
}

function recordOf(location: Location, shard: number): { disk: DiskNumber; segment: number; offset: number; bytes: number } {
  return { ...placeOf(location, shard), bytes: recordBytesOf(location.bytes, location.k) };
}
