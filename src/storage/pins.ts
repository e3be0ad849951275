/** Blobs that are being read, and waiting until one is not (I5). */
import { assert } from '../base/assert.js';
import { lastly } from '../base/awaitable.js';
import type { BlobId } from '../base/ids.js';

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
    assert(pinned, () => `blob ${blob} is not pinned`);
    if (--pinned.count > 0) return;
    this.#pinned.delete(blob);
    for (const wake of pinned.waiting) wake();
  }

  with<T>(blob: BlobId, work: () => Promise<T>): Promise<T> {
    this.pin(blob);
    return lastly(work, () => {
      this.unpin(blob);
    });
  }

  /** Resolves once nobody reads the blob. */
  async idle(blob: BlobId): Promise<void> {
    for (let pinned = this.#pinned.get(blob); pinned; pinned = this.#pinned.get(blob)) {
      const { waiting } = pinned;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  }
}
