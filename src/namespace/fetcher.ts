/**
 * Ranges of blobs into memory, the shortest way: out of the cache; the whole extent into the cache for a sequential reader; a piece of a pack into the
 * cache when several of its files are wanted; else just the range.
 */
import { LRUCache } from 'lru-cache';
import type { BlobId } from '../base/ids.js';
import { FUSE_IO_BYTES_MAX, KiB, READ_GRANULE_BYTES } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import type { Storage } from '../storage/storage.js';
import { BufferPool } from './buffers.js';
import type { Locations } from './locations.js';
import type { Pins } from './pins.js';
import { ReadCache } from './read-cache.js';

/** No row says where the blob is: the plan that led here is out of date. */
export class BlobGone extends Error {
  override readonly name = 'BlobGone';
}

export interface Fetched {
  readonly pieces: readonly Uint8Array[];
  release(): void;
}

/** What a reader knows of its next wishes. */
export interface FetchHint {
  /** All of this range of the blob will be wanted. */
  readonly whole: { readonly offset: number; readonly bytes: number } | undefined;
  /** Bytes of the extent, which may be one of many in its blob. */
  readonly packed?: number;
}

/** Replies kept for reuse; more than ever are under way at one time would be waste. */
const REPLY_BUFFERS_KEPT = 8;
/** Smaller replies come from the heap. */
const REPLY_POOLED_BYTES_MIN = 64 * KiB;
/** Blobs of which a small extent was read a moment ago. */
const RECENT_PACKS = 64;

export class Fetcher {
  readonly #storage: Storage;
  readonly #locations: Locations;
  readonly #pins: Pins;
  readonly #cache: ReadCache;
  readonly #wholes: BufferPool;
  readonly #granules: BufferPool;
  readonly #replies = new BufferPool(FUSE_IO_BYTES_MAX, { keepMax: REPLY_BUFFERS_KEPT });
  readonly #recentPacks = new LRUCache<BlobId, true>({ max: RECENT_PACKS });

  constructor(storage: Storage, locations: Locations, pins: Pins, cacheBytesMax: () => number) {
    this.#storage = storage;
    this.#locations = locations;
    this.#pins = pins;
    this.#cache = new ReadCache(cacheBytesMax);
    this.#wholes = new BufferPool(storage.blobBytesMax, { keepMax: 1 });
    this.#granules = new BufferPool(Math.min(READ_GRANULE_BYTES, storage.blobBytesMax), { keepMax: 4 });
  }

  /** @throws BlobGone; OperatingError EIO. */
  async fetch(blob: BlobId, offset: number, bytes: number, hint: FetchHint): Promise<Fetched> {
    const { whole } = hint;
    if (whole !== undefined && this.#worthWhole(whole.bytes)) {
      const cached = await this.#cached(blob, whole.offset, whole.bytes, this.#wholes, offset - whole.offset, bytes);
      if (cached !== undefined) return cached;
    }
    if (hint.packed !== undefined && hint.packed < this.#granules.bytes) {
      const again = this.#recentPacks.has(blob);
      this.#recentPacks.set(blob, true);
      const packed = again ? await this.#fromPack(blob, offset, bytes) : undefined;
      if (packed !== undefined) return packed;
    }
    return this.#range(blob, offset, bytes);
  }

  /** Begins to fetch an extent that a sequential reader will want. Does nothing where there is no room. */
  fetchAhead(extent: Extent & { kind: 'blob' }): void {
    if (!this.#worthWhole(extent.bytes) || this.#cache.has(keyOf(extent.blob, extent.blobOffset, extent.bytes))) return;
    const entry = this.#acquire(extent.blob, extent.blobOffset, extent.bytes, this.#wholes);
    if (entry !== undefined) this.#cache.release(entry);
  }

  #worthWhole(bytes: number): boolean {
    return bytes > this.#wholes.bytes / 2;
  }

  #acquire(blob: BlobId, offset: number, bytes: number, pool: BufferPool): ReturnType<ReadCache['acquire']> {
    return this.#cache.acquire(keyOf(blob, offset, bytes), pool, bytes, async (out) => {
      this.#pins.pin(blob);
      try {
        await this.#load(blob, offset, out);
      } finally {
        this.#pins.unpin(blob);
      }
    });
  }

  async #load(blob: BlobId, offset: number, out: Uint8Array): Promise<void> {
    const location = await this.#locations.find(blob);
    if (location === undefined) throw new BlobGone(`blob ${blob}`);
    await this.#storage.read(location, offset, out);
  }

  /** `skip` … `skip + bytes` of a range of a blob that is or comes into the cache. */
  async #cached(
    blob: BlobId,
    offset: number,
    rangeBytes: number,
    pool: BufferPool,
    skip: number,
    bytes: number,
  ): Promise<Fetched | undefined> {
    const entry = this.#acquire(blob, offset, rangeBytes, pool);
    if (entry === undefined) return undefined;
    try {
      await entry.ready;
    } catch (error) {
      this.#cache.release(entry);
      throw error;
    }
    return {
      pieces: [entry.buffer.subarray(skip, skip + bytes)],
      release: () => {
        this.#cache.release(entry);
      },
    };
  }

  /** Out of the one or two pieces of the pack that hold the range. */
  async #fromPack(blob: BlobId, offset: number, bytes: number): Promise<Fetched | undefined> {
    const location = await this.#locations.find(blob);
    if (location === undefined) throw new BlobGone(`blob ${blob}`);
    const granuleBytes = this.#granules.bytes;
    const parts: Fetched[] = [];
    const release = (): void => {
      for (const part of parts) part.release();
    };
    try {
      for (let at = offset; at < offset + bytes;) {
        const start = at - (at % granuleBytes);
        const stop = Math.min(start + granuleBytes, location.bytes);
        const wanted = Math.min(stop, offset + bytes) - at;
        const part = await this.#cached(blob, start, stop - start, this.#granules, at - start, wanted);
        if (part === undefined) {
          release();
          return undefined;
        }
        parts.push(part);
        at += wanted;
      }
    } catch (error) {
      release();
      throw error;
    }
    return { pieces: parts.flatMap((part) => part.pieces), release };
  }

  async #range(blob: BlobId, offset: number, bytes: number): Promise<Fetched> {
    if (bytes < REPLY_POOLED_BYTES_MIN || bytes > this.#replies.bytes) {
      const out = Buffer.allocUnsafe(bytes);
      await this.#load(blob, offset, out);
      return { pieces: [out], release: () => undefined };
    }
    const buffer = this.#replies.take();
    const give = (): void => {
      this.#replies.give(buffer);
    };
    const out = buffer.subarray(0, bytes);
    try {
      await this.#load(blob, offset, out);
    } catch (error) {
      give();
      throw error;
    }
    return { pieces: [out], release: give };
  }
}

function keyOf(blob: BlobId, offset: number, bytes: number): string {
  return `${blob}/${offset}/${bytes}`;
}
