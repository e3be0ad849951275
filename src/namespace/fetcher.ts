/**
 * Ranges of blobs into memory, the shortest way: out of the cache; in units of the cache for a sequential reader, with some of them ahead of it; a piece of a
 * pack into the cache when several of its files are wanted; else just the range.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.js';
import type { BlobId } from '../base/ids.js';
import { FUSE_IO_BYTES_MAX, KiB, READ_GRANULE_BYTES, READ_UNITS_A_BLOB } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import type { Storage } from '../storage/storage.js';
import { BufferPool } from '../base/buffers.js';
import type { Locations } from './locations.js';
import type { Pins } from './pins.js';
import { ReadCache, type CachedRange } from './read-cache.js';

/** No row says where the blob is: the plan that led here is out of date. */
export class BlobGone extends Error {
  override readonly name = 'BlobGone';
}

export interface Fetched {
  readonly pieces: readonly Uint8Array[];
  release(): void;
}

/** A range of a blob. */
interface BlobRange {
  readonly offset: number;
  readonly bytes: number;
}

/** What a reader knows of its next wishes. */
export interface FetchHint {
  /** All of this range of the blob will be wanted. */
  readonly whole: BlobRange | undefined;
  /** Bytes of the extent, which may be one of many in its blob. */
  readonly packed?: number;
}

/** Replies kept for reuse; more than ever are under way at one time would be waste. */
const REPLY_BUFFERS_KEPT = 8;
/** Small replies have memory of this size, of which the kernel gives pages only as far as they reach. */
const SMALL_REPLY_BYTES = 64 * KiB;
const SMALL_REPLY_BUFFERS_KEPT = 32;
/** Blobs of which a small extent was read a moment ago. */
const RECENT_PACKS = 64;

export class Fetcher {
  readonly #storage: Storage;
  readonly #locations: Locations;
  readonly #pins: Pins;
  readonly #cache: ReadCache;
  readonly #units: BufferPool;
  readonly #granules: BufferPool;
  readonly #replies: BufferPool;
  readonly #smallReplies: BufferPool;
  readonly #recentPacks = new LRUCache<BlobId, true>({ max: RECENT_PACKS });

  constructor(storage: Storage, locations: Locations, pins: Pins, cacheBytesMax: () => number, clock: Clock) {
    this.#storage = storage;
    this.#locations = locations;
    this.#pins = pins;
    this.#cache = new ReadCache(cacheBytesMax, clock);
    const resting = { keepMax: 0, clock };
    this.#replies = new BufferPool(FUSE_IO_BYTES_MAX, { keepMax: REPLY_BUFFERS_KEPT, resting });
    this.#smallReplies = new BufferPool(SMALL_REPLY_BYTES, { keepMax: SMALL_REPLY_BUFFERS_KEPT, resting });
    this.#units = new BufferPool(Math.ceil(storage.blobBytesMax / READ_UNITS_A_BLOB), { keepMax: 2, resting });
    this.#granules = new BufferPool(Math.min(READ_GRANULE_BYTES, storage.blobBytesMax), { keepMax: 4, resting });
  }

  /** Keeps nothing for later any more. */
  close(): void {
    this.#cache.close();
    for (const pool of [this.#replies, this.#smallReplies, this.#units, this.#granules]) pool.close();
  }

  /** @throws BlobGone; OperatingError EIO. */
  fetch(blob: BlobId, offset: number, bytes: number, hint: FetchHint): Promise<Fetched> {
    const { whole } = hint;
    if (whole !== undefined && this.#worthUnits(whole.bytes)) return this.#fromUnits(blob, offset, bytes, whole, hint);
    return this.#fetchSmall(blob, offset, bytes, hint);
  }

  async #fromUnits(blob: BlobId, offset: number, bytes: number, whole: BlobRange, hint: FetchHint): Promise<Fetched> {
    const cached = await this.#cached(blob, { offset, bytes }, whole, this.#units);
    return cached ?? (await this.#fetchSmall(blob, offset, bytes, hint));
  }

  #fetchSmall(blob: BlobId, offset: number, bytes: number, hint: FetchHint): Promise<Fetched> {
    if (hint.packed !== undefined && hint.packed < this.#granules.bytes) {
      const again = this.#recentPacks.has(blob);
      this.#recentPacks.set(blob, true);
      if (again) return this.#fromPackOrAlone(blob, offset, bytes);
    }
    return this.#range(blob, offset, bytes);
  }

  async #fromPackOrAlone(blob: BlobId, offset: number, bytes: number): Promise<Fetched> {
    return (await this.#fromPack(blob, offset, bytes)) ?? (await this.#range(blob, offset, bytes));
  }

  /**
   * Begins to fetch what a sequential reader will want of an extent, from `skip` bytes on: so many units of it at most. What there is no room for is left out.
   * @returns how many units it is, those that are there included
   */
  fetchAhead(extent: Extent & { kind: 'blob' }, skip: number, unitsMax: number): number {
    if (!this.#worthUnits(extent.bytes)) return 1;
    const whole = { offset: extent.blobOffset, bytes: extent.bytes };
    let units = 0;
    for (let at = whole.offset + skip; at < whole.offset + whole.bytes && units < unitsMax; units++) {
      const unit = pieceAt(at, whole, this.#units.bytes);
      if (at === unit.offset && !this.#cache.has(keyOf(extent.blob, unit))) {
        const entry = this.#acquire(extent.blob, unit, this.#units);
        if (entry === undefined) return unitsMax;
        this.#cache.release(entry);
      }
      at = unit.offset + unit.bytes;
    }
    return units;
  }

  #worthUnits(bytes: number): boolean {
    return bytes > this.#units.bytes / 2;
  }

  #acquire(blob: BlobId, range: BlobRange, pool: BufferPool): ReturnType<ReadCache['acquire']> {
    const load = async (out: Buffer): Promise<void> => {
      this.#pins.pin(blob);
      try {
        await this.#load(blob, range.offset, out);
      } finally {
        this.#pins.unpin(blob);
      }
    };
    return this.#cache.acquire(keyOf(blob, range), { pool, bytes: range.bytes, load, wanted: pool === this.#units });
  }

  #load(blob: BlobId, offset: number, out: Uint8Array): Promise<void> {
    const location = this.#locations.known(blob);
    return location === undefined ? this.#findAndLoad(blob, offset, out) : this.#storage.read(location, offset, out);
  }

  async #findAndLoad(blob: BlobId, offset: number, out: Uint8Array): Promise<void> {
    const location = await this.#locations.find(blob);
    if (location === undefined) throw new BlobGone(`blob ${blob}`);
    await this.#storage.read(location, offset, out);
  }

  /** Out of the one or two granules of the pack that hold the range. */
  async #fromPack(blob: BlobId, offset: number, bytes: number): Promise<Fetched | undefined> {
    const location = await this.#locations.find(blob);
    if (location === undefined) throw new BlobGone(`blob ${blob}`);
    return this.#cached(blob, { offset, bytes }, { offset: 0, bytes: location.bytes }, this.#granules);
  }

  /**
   * A range out of pieces that are or come into the cache.
   * @param within what may be read along with it
   * @returns undefined: there is no room, or it is not worth it
   */
  async #cached(blob: BlobId, range: BlobRange, within: BlobRange, pool: BufferPool): Promise<Fetched | undefined> {
    const entries: CachedRange[] = [];
    const pieces: Uint8Array[] = [];
    const release = (): void => {
      for (const entry of entries) this.#cache.release(entry);
    };
    for (let at = range.offset; at < range.offset + range.bytes;) {
      const piece = pieceAt(at, within, pool.bytes);
      const wanted = Math.min(piece.offset + piece.bytes, range.offset + range.bytes) - at;
      const skip = at - piece.offset;
      // The beginning of a unit that is not there has been read without it.
      const past = pool === this.#units && skip > 0 && !this.#cache.has(keyOf(blob, piece));
      const entry = past ? undefined : this.#acquire(blob, piece, pool);
      if (entry === undefined) {
        release();
        return undefined;
      }
      entries.push(entry);
      if (skip + wanted === piece.bytes) entry.wanted = false;
      pieces.push(entry.buffer.subarray(skip, skip + wanted));
      at += wanted;
    }
    try {
      await Promise.all(entries.map(({ ready }) => ready));
    } catch (error) {
      release();
      throw error;
    }
    return { pieces, release };
  }

  #range(blob: BlobId, offset: number, bytes: number): Promise<Fetched> {
    const pool = bytes <= this.#smallReplies.bytes ? this.#smallReplies : this.#replies;
    const buffer = bytes <= pool.bytes ? pool.take() : undefined;
    const out = buffer?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes);
    const release = (): void => {
      if (buffer !== undefined) pool.give(buffer);
    };
    return this.#load(blob, offset, out).then(
      () => ({ pieces: [out], release }),
      (error: unknown) => {
        release();
        throw error;
      },
    );
  }
}

function keyOf(blob: BlobId, { offset, bytes }: BlobRange): string {
  return `${blob}/${offset}/${bytes}`;
}

/** The piece of `within` that holds the byte at `at`: pieces begin where multiples of their size are in the blob, so that shards are not cut more than needed. */
function pieceAt(at: number, within: BlobRange, pieceBytes: number): BlobRange {
  const from = at - (at % pieceBytes);
  const offset = Math.max(from, within.offset);
  return { offset, bytes: Math.min(from + pieceBytes, within.offset + within.bytes) - offset };
}
