/**
 * Where shards went after failed syncs, for those who hold a location from before: a blob may be on its way into the index while it is moved. Bounded;
 * the oldest blob is forgotten first.
 */
import type { BlobId } from '../base/ids.js';
import { MOVED_BLOBS_MAX } from '../base/limits.js';
import type { Location, ShardPlace } from '../base/location.js';
import { MISSING, samePlace } from './location-codec.js';

interface Move {
  readonly shard: number;
  readonly from: ShardPlace;
  readonly to: ShardPlace;
}

export class Moves {
  readonly #moves = new Map<BlobId, Move[]>();

  record(old: Location, now: Location): void {
    const moves = this.#moves.get(old.blob) ?? [];
    old.shards.forEach((from, shard) => {
      const to = now.shards[shard] ?? MISSING;
      if (!samePlace(from, to)) moves.push({ shard, from, to });
    });
    this.#moves.delete(old.blob);
    this.#moves.set(old.blob, moves);
    for (const oldest of this.#moves.keys()) {
      if (this.#moves.size <= MOVED_BLOBS_MAX) break;
      this.#moves.delete(oldest);
    }
  }

  /** The location with all moves since it was made; the same object if there were none. */
  current(location: Location): Location {
    const moves = this.#moves.get(location.blob);
    if (!moves) return location;
    const shards = [...location.shards];
    for (const { shard, from, to } of moves) if (samePlace(shards[shard] ?? MISSING, from)) shards[shard] = to;
    return { ...location, shards };
  }

  /** Where shards were in between, if they moved more than once: each place as a location with all others missing. */
  passed(location: Location): Location[] {
    const shards = [...location.shards];
    const found: Location[] = [];
    for (const { shard, from, to } of this.#moves.get(location.blob) ?? []) {
      const place = shards[shard] ?? MISSING;
      if (!samePlace(place, from)) continue;
      if (!samePlace(place, location.shards[shard] ?? MISSING))
        found.push({ ...location, shards: shards.map((_, other) => (other === shard ? place : MISSING)) });
      shards[shard] = to;
    }
    return found;
  }

  /** The blob is gone. */
  forget(blob: BlobId): void {
    this.#moves.delete(blob);
  }
}
