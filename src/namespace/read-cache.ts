/**
 * Contents of blobs that readers will want next: whole blobs of sequential readers, pieces of packs. Blobs never change, so nothing here is ever
 * wrong; it only has a bound. An entry that somebody reads from, or that is being filled, is pinned; the others go, least recently used first.
 */
import { assert } from '../base/assert.js';
import type { BufferPool } from './buffers.js';

export interface CachedRange {
  readonly key: string;
  readonly pool: BufferPool;
  readonly buffer: Buffer;
  /** Bytes of the buffer that are filled. */
  readonly bytes: number;
  pins: number;
  /** Resolves when filled; rejects when that failed. */
  ready: Promise<void>;
  dropped: boolean;
}

export class ReadCache {
  readonly #bytesMax: () => number;
  readonly #entries = new Map<string, CachedRange>();
  #usedBytes = 0;

  /** @param bytesMax asked each time; when it falls, what is too much goes as more comes */
  constructor(bytesMax: () => number) {
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /**
   * The entry of this key, pinned until `release`; it is filled by `load` if it is new. undefined: there is no room.
   * @param pool where its memory comes from; `bytes` at most its size.
   */
  acquire(key: string, pool: BufferPool, bytes: number, load: (out: Buffer) => Promise<void>): CachedRange | undefined {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, known);
      known.pins++;
      return known;
    }
    if (!this.#makeRoom(pool.bytes)) return undefined;
    assert(bytes <= pool.bytes, 'range too long for its buffers');
    const buffer = pool.take();
    // One pin for the caller, one until it is filled.
    const entry: CachedRange = { key, pool, buffer, bytes, pins: 2, ready: Promise.resolve(), dropped: false };
    this.#usedBytes += pool.bytes;
    this.#entries.set(key, entry);
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
      if (entry.pins > 0) continue;
      this.#drop(entry);
      this.#giveBack(entry);
    }
    return this.#usedBytes + bytes <= bytesMax;
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
