/** Blobs that a read in flight has planned to fetch. The collector frees none of them (I5). */
import type { BlobId } from '../base/ids.js';

export class Pins {
  readonly #counts = new Map<BlobId, number>();

  get size(): number {
    return this.#counts.size;
  }

  pin(blob: BlobId): void {
    this.#counts.set(blob, (this.#counts.get(blob) ?? 0) + 1);
  }

  unpin(blob: BlobId): void {
    const count = this.#counts.get(blob) ?? 0;
    if (count <= 1) this.#counts.delete(blob);
    else this.#counts.set(blob, count - 1);
  }

  has(blob: BlobId): boolean {
    return this.#counts.has(blob);
  }
}
