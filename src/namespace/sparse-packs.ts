/**
 * Finds blobs of which little is still referred to: what is left of them keeps all of their space, the files around a deleted one in a pack as well as the
 * pages around those that were written anew. Counted in a pass over all extents, in their order (`repacker.ts`): files that were packed together have
 * neighbouring numbers, so all extents of a blob come close to each other, and a bounded number of blobs is counted at a time. How many refer to a
 * blob stands in its references row: only where all of them were seen is it known how much of it is live.
 */
import type { Clock } from '../base/clock.js';
import type { BlobId } from '../base/ids.js';
import { CHANGE_STEP_ROWS, PACK_EXTENTS_MAX, REPACK_BLOBS_MAX, REPACK_LIVE_SHARE } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { referencesOf } from '../index/schema/blob-rows.js';
import { referencesKey } from '../index/schema/tables.js';
import type { Ledger } from './ledger.js';

/** A blob with little in it. */
export interface SparsePack {
  readonly blob: BlobId;
  /** Bytes of it that extents refer to. */
  readonly liveBytes: number;
  readonly extents: number;
  /** Keys of the first and the last of these. */
  readonly firstKey: Buffer;
  readonly lastKey: Buffer;
}

type Counted = { -readonly [K in keyof SparsePack]: SparsePack[K] };

export class SparsePacks {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  /** The least recently seen stands first. */
  readonly #counted = new Map<BlobId, Counted>();

  constructor(ledger: Ledger, clock: Clock) {
    this.#ledger = ledger;
    this.#clock = clock;
  }

  /** The next extent of the pass. */
  add(key: Buffer, extent: Extent): void {
    if (extent.kind !== 'blob') return;
    const { blob, bytes } = extent;
    const seen = this.#counted.get(blob) ?? { blob, liveBytes: 0, extents: 0, firstKey: key, lastKey: key };
    seen.liveBytes += bytes;
    seen.extents++;
    seen.lastKey = key;
    this.#counted.delete(blob);
    this.#counted.set(blob, seen);
  }

  /** Those that are sparse among the ones that nothing more is expected of: at the end of the pass, all. In about the order of their files. */
  async *found(ended: boolean): AsyncGenerator<SparsePack, void, undefined> {
    for (const [blob, seen] of this.#counted) {
      if (!ended && this.#counted.size <= REPACK_BLOBS_MAX) return;
      // At the end there are thousands.
      if (this.#counted.size % CHANGE_STEP_ROWS === 0) await this.#clock.yield();
      this.#counted.delete(blob);
      if (await this.#isSparse(seen)) yield seen;
    }
  }

  async #isSparse({ blob, liveBytes, extents }: SparsePack): Promise<boolean> {
    if (extents > PACK_EXTENTS_MAX) return false;
    const { index, locations } = this.#ledger;
    const location = await locations.find(blob);
    if (location === undefined || liveBytes >= location.bytes * REPACK_LIVE_SHARE) return false;
    return referencesOf(await index.get(referencesKey(blob))) === extents;
  }
}
