/**
 * The blobs whose shard scrub saw in its place on one disk: a set of numbers that are dense (blobs are numbered one after the other in each epoch), as bitmaps.
 * Exact in what it says: a blob that it has was added. Bounded: past its size it takes no more, and who asks looks at the record itself.
 */
import type { BlobId } from '../base/ids.js';
import { SCRUB_PAGE_BYTES, SCRUB_PAGES_MAX } from '../base/limits.js';

const BLOBS_IN_PAGE = SCRUB_PAGE_BYTES * 8;

export class SeenBlobs {
  readonly #pages = new Map<number, Uint8Array>();
  readonly #pagesMax: number;

  constructor(pagesMax = SCRUB_PAGES_MAX) {
    this.#pagesMax = pagesMax;
  }

  add(blob: BlobId): void {
    const number = Math.floor(blob / BLOBS_IN_PAGE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      if (this.#pages.size >= this.#pagesMax) return;
      page = new Uint8Array(SCRUB_PAGE_BYTES);
      this.#pages.set(number, page);
    }
    const bit = blob % BLOBS_IN_PAGE;
    page[bit >> 3] = (page[bit >> 3] ?? 0) | (1 << (bit & 7));
  }

  has(blob: BlobId): boolean {
    const page = this.#pages.get(Math.floor(blob / BLOBS_IN_PAGE));
    const bit = blob % BLOBS_IN_PAGE;
    return page !== undefined && ((page[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }
}
