/**
 * Contents of blobs that readers will want next: units of sequential readers, pieces of packs. Blobs never change, so nothing here is ever
 * wrong; it only has a bound. An entry that somebody reads from, or that is being filled, is pinned; the others go, least recently used first, but those that
 * a sequential reader has not come to the end of: several readers would throw out what was fetched for each other, and disks read everything many times. Where
 * there is no room for that reason, a reader does without. What its reader has given up goes when many others were served meanwhile, or by the clock.
 */
import { assert } from '../base/assert.js';
import type { Cancel, Clock } from '../base/clock.js';
import { READ_CACHE_REST_MS } from '../base/limits.js';
import type { BufferPool } from '../base/buffers.js';

export interface CachedRange {
  readonly key: string;
  readonly pool: BufferPool;
  readonly buffer: Buffer;
  /** Bytes of the buffer that are filled. */
  readonly bytes: number;
  pins: number;
  /** A reader will come to what is in it, or is in the middle of it. */
  wanted: boolean;
  /** When it was last asked for, in requests to the cache. */
  usedAt: number;
  /** Resolves when filled; rejects when that failed. */
  ready: Promise<void>;
  dropped: boolean;
}

/** How an entry comes to be that is not there. */
export interface CacheRequest {
  /** Where its memory comes from. */
  readonly pool: BufferPool;
  /** At most the size of the pool's buffers. */
  readonly bytes: number;
  /** Fills it, if it is new. */
  readonly load: (out: Buffer) => Promise<void>;
  /** A reader will come to its end. */
  readonly wanted: boolean;
}

/** What is wanted and was not asked for during so many requests has been given up: two readers ask for each of their units twenty times, or less. */
const GIVEN_UP_REQUESTS = 128;

export class ReadCache {
  readonly #bytesMax: () => number;
  readonly #clock: Clock;
  readonly #entries = new Map<string, CachedRange>();
  #usedBytes = 0;
  #requests = 0;
  #cancel: Cancel | undefined;

  /** @param bytesMax asked each time; when it falls, what is too much goes as more comes */
  constructor(bytesMax: () => number, clock: Clock) {
    this.#bytesMax = bytesMax;
    this.#clock = clock;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** The entry of this key, pinned until `release`. undefined: there is no room. */
  acquire(key: string, { pool, bytes, load, wanted }: CacheRequest): CachedRange | undefined {
    this.#requests++;
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.usedAt = this.#requests;
      this.#entries.delete(key);
      this.#entries.set(key, known);
      known.pins++;
      return known;
    }
    if (!this.#makeRoom(pool.bytes)) return undefined;
    assert(bytes <= pool.bytes, 'range too long for its buffers');
    const buffer = pool.take();
    // One pin for the caller, one until it is filled.
    const entry: CachedRange = {
      key,
      pool,
      buffer,
      bytes,
      pins: 2,
      wanted,
      usedAt: this.#requests,
      ready: Promise.resolve(),
      dropped: false,
    };
    this.#usedBytes += pool.bytes;
    this.#entries.set(key, entry);
    this.#look();
    entry.ready = load(buffer.subarray(0, bytes)).then(
      () => {
        this.release(entry);
      },
      (error: unknown) => {
        this.#drop(entry);
        this.release(entry);
        throw error;
      },
    );
    // Whoever awaits it gets the error; a read-ahead that nobody awaits has nobody to tell.
    entry.ready.catch(() => undefined);
    return entry;
  }

  release(entry: CachedRange): void {
    assert(entry.pins > 0, 'released too often');
    entry.pins--;
    if (entry.dropped && entry.pins === 0) this.#giveBack(entry);
  }

  #makeRoom(bytes: number): boolean {
    const bytesMax = this.#bytesMax();
    if (bytes > bytesMax) return false;
    for (const entry of this.#entries.values()) {
      if (this.#usedBytes + bytes <= bytesMax) return true;
      if (entry.pins > 0 || (entry.wanted && this.#requests - entry.usedAt <= GIVEN_UP_REQUESTS)) continue;
      this.#drop(entry);
      this.#giveBack(entry);
    }
    return this.#usedBytes + bytes <= bytesMax;
  }

  /** What nobody asked for since the last look goes at the next one. */
  #look(): void {
    if (this.#cancel !== undefined || this.#entries.size === 0) return;
    const before = this.#requests;
    this.#cancel = this.#clock.after(READ_CACHE_REST_MS, () => {
      this.#cancel = undefined;
      for (const entry of this.#entries.values()) {
        if (entry.pins > 0 || entry.usedAt > before) continue;
        this.#drop(entry);
        this.#giveBack(entry);
      }
      this.#look();
    });
  }

  /** Looks no more. What is there stays. */
  close(): void {
    this.#cancel?.();
  }

  #drop(entry: CachedRange): void {
    entry.dropped = true;
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
  }

  #giveBack(entry: CachedRange): void {
    this.#usedBytes -= entry.pool.bytes;
    entry.pool.give(entry.buffer);
  }
}
