/**
 * Two small gates. `Slots`: at most so many at a time, first come first served. `Pins`: blobs that are being read, and waiting until one is not (I5).
 */
import { assert } from '../base/assert.js';
import type { BlobId } from '../base/ids.js';

/** A fair semaphore. The number of waiters is bounded by the callers' memory for data (UPLOAD_BYTES_MAX). */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Runs `work` once a slot is free. */
  async with<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The slot goes straight to the next in line, so that nobody can overtake.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

interface Pinned {
  count: number;
  readonly waiting: (() => void)[];
}

/** Counts of reads in flight for each blob. */
export class Pins {
  readonly #pinned = new Map<BlobId, Pinned>();

  /** Must be paired with `unpin`. */
  pin(blob: BlobId): void {
    const pinned = this.#pinned.get(blob);
    if (pinned) pinned.count++;
    else this.#pinned.set(blob, { count: 1, waiting: [] });
  }

  unpin(blob: BlobId): void {
    const pinned = this.#pinned.get(blob);
    assert(pinned, `blob ${blob} is not pinned`);
    if (--pinned.count > 0) return;
    this.#pinned.delete(blob);
    for (const wake of pinned.waiting) wake();
  }

  async with<T>(blob: BlobId, work: () => Promise<T>): Promise<T> {
    this.pin(blob);
    try {
      return await work();
    } finally {
      this.unpin(blob);
    }
  }

  /** Resolves once nobody reads the blob. */
  async idle(blob: BlobId): Promise<void> {
    for (let pinned = this.#pinned.get(blob); pinned; pinned = this.#pinned.get(blob)) {
      const { waiting } = pinned;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  }
}
