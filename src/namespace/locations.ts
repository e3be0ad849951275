/**
 * Where blobs are, for readers: decoded location rows, cached. And the one way in which a location changes: a rebuild or a failed sync moved shards.
 *
 * `swap` commits past the ledger's turn, straight at the index: a flush may ask for it while the ledger's transaction waits for that flush. It touches
 * rows of blobs alone, which no cache of the ledger holds.
 */
import { LRUCache } from 'lru-cache';
import type { BlobId } from '../base/ids.js';
import { LOCATION_CACHE_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { IndexStore } from '../index/index-store.js';
import { decodeEndangered, decodeLocationRow, encodeEndangered, encodeLocationRow } from '../index/schema/blob-rows.js';
import { blobKey, endangeredKey, freeKey, freeRangeOfBlob, parseFreeKey } from '../index/schema/tables.js';
import { decodeLocation, encodeLocation, MISSING, replacedShards, samePlace } from '../storage/location-codec.js';
import type { StoredBlob } from '../storage/storage.js';

export class Locations {
  readonly #index: IndexStore;
  readonly #cache = new LRUCache<BlobId, Location>({ max: LOCATION_CACHE_MAX });
  /** Stored, and no row says so yet. A move must find them too. */
  readonly #unborn = new Map<BlobId, StoredBlob>();

  /** Where a location's shards are now, as the data plane knows. */
  readonly #current: (location: Location) => Location;

  constructor(index: IndexStore, current: (location: Location) => Location) {
    this.#index = index;
    this.#current = current;
  }

  /** The blob's location, where it is known without asking the index. */
  known(blob: BlobId): Location | undefined {
    return this.#cache.get(blob) ?? this.#unborn.get(blob)?.location;
  }

  /** The blob's location; undefined: nothing refers to it (any more). */
  async find(blob: BlobId): Promise<Location | undefined> {
    const known = this.known(blob);
    if (known !== undefined) return known;
    const row = await this.#index.get(blobKey(blob));
    if (row === undefined) return undefined;
    const location = decodeLocation(decodeLocationRow(row));
    this.#cache.set(blob, location);
    return location;
  }

  /** A blob was stored; its row comes with a later commit. */
  expect(stored: StoredBlob): void {
    this.#unborn.set(stored.location.blob, stored);
  }

  /** What to write into the blob's row now. Call it in the body of the transaction. */
  expected(blob: BlobId): StoredBlob | undefined {
    const stored = this.#unborn.get(blob);
    if (stored === undefined) return undefined;
    const location = this.#current(stored.location);
    if (location === stored.location) return stored;
    const moved = { location, missing: missingShards(location) };
    this.#unborn.set(blob, moved);
    return moved;
  }

  /** The row was committed with what `expected` had said. Returns what it says now, if that is another location. */
  born(stored: StoredBlob): StoredBlob | undefined {
    const now = this.expected(stored.location.blob);
    this.#unborn.delete(stored.location.blob);
    return now === undefined || now.location === stored.location ? undefined : now;
  }

  /** The blob's row went. Readers that know its location may still use it until the collector frees it. */
  forget(blob: BlobId): void {
    this.#cache.delete(blob);
    this.#unborn.delete(blob);
  }

  /**
   * Shards of a blob are elsewhere now: one transaction changes those of them in its row, queues the places that nobody uses any more, and records what
   * is missing. A shard that something else moved since `old` stays where that put it.
   * @param old what `now` was made from.
   * @returns false: nothing refers to the blob, the new shards may go.
   */
  async swap(old: Location, now: Location): Promise<boolean> {
    const { blob } = old;
    const merge = (row: Location): Location => {
      const shards = row.shards.map((place, shard) =>
        samePlace(place, old.shards[shard] ?? MISSING) ? (now.shards[shard] ?? MISSING) : place,
      );
      return this.#current({ ...row, shards });
    };
    const unborn = this.#unborn.get(blob);
    if (unborn !== undefined) {
      const location = merge(unborn.location);
      this.#unborn.set(blob, { location, missing: missingShards(location) });
    }
    const { value } = await this.#index.transact(async (tx) => {
      const row = await tx.get(blobKey(blob));
      if (row === undefined) return undefined;
      const before = decodeLocation(decodeLocationRow(row));
      const after = merge(before);
      const replaced = replacedShards(before, after);
      // What was recorded as bad stays so until it is somewhere else, whoever moved what meanwhile.
      const endangered = await tx.get(endangeredKey(blob));
      const recorded = endangered === undefined ? [] : decodeEndangered(endangered);
      const still = recorded.filter((shard) => samePlace(before.shards[shard] ?? MISSING, after.shards[shard] ?? MISSING));
      const missing = [...new Set([...missingShards(after), ...still])].sort((a, b) => a - b);
      tx.put(blobKey(blob), encodeLocationRow(encodeLocation(after)));
      if (missing.length > 0) tx.put(endangeredKey(blob), encodeEndangered(missing));
      else tx.delete(endangeredKey(blob));
      if (replaced.shards.some((place) => place.disk !== 0)) {
        const last = (await tx.scan(freeRangeOfBlob(blob, 1, true)))[0];
        const serial = last === undefined ? 1 : parseFreeKey(last.key).serial + 1;
        tx.put(freeKey(blob, serial), encodeLocationRow(encodeLocation(replaced)));
      }
      return after;
    });
    if (value !== undefined) this.#cache.set(blob, value);
    return value !== undefined || unborn !== undefined;
  }
}

/** Numbers of the shards that are nowhere. */
function missingShards(location: Location): number[] {
  return location.shards.flatMap(({ disk }, shard) => (disk === 0 ? [shard] : []));
}
