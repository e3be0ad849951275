/**
 * Finds packs of which little is still referred to: the files around a deleted one keep its space. One pass over all extents, in their order: files
 * that were packed together have neighbouring numbers, so all extents of a pack come close to each other, and a bounded number of blobs is counted at
 * a time. How many refer to a blob stands in its references row: only where all of them were seen is it known how much of it is live.
 *
 * Reads alone; packer.ts writes what is found into new packs. The last reference that goes takes the old blob with it, as ever (I5).
 */
import type { Clock } from '../base/clock.js';
import type { BlobId } from '../base/ids.js';
import { CHANGE_STEP_ROWS, PACK_EXTENTS_MAX, REPACK_BLOBS_MAX, REPACK_LIVE_SHARE, REPACK_PAUSE_MS } from '../base/limits.js';
import type { Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { decodeReferences } from '../index/schema/blob-rows.js';
import { referencesKey, tableRange, TABLES } from '../index/schema/tables.js';
import { extentOfRow } from './content.js';
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

export interface SparsePacksOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** Extents from this on are not packed. */
  readonly smallBytesMax: number;
  readonly stopped: () => boolean;
}

type Counted = { -readonly [K in keyof SparsePack]: SparsePack[K] };

/** All sparse packs, in about the order of their files. */
export async function* sparsePacks(options: SparsePacksOptions): AsyncGenerator<SparsePack, void, undefined> {
  const { ledger, clock, smallBytesMax, stopped } = options;
  const counted = new Map<BlobId, Counted>();
  let range = tableRange(TABLES.extent, CHANGE_STEP_ROWS);
  while (!stopped()) {
    const rows = await ledger.index.scan(range);
    for (const row of rows) {
      const extent = extentOfRow(row);
      if (extent.kind !== 'blob' || extent.bytes >= smallBytesMax) continue;
      const { blob } = extent;
      const seen = counted.get(blob) ?? { blob, liveBytes: 0, extents: 0, firstKey: row.key, lastKey: row.key };
      seen.liveBytes += extent.bytes;
      seen.extents++;
      seen.lastKey = row.key;
      // The least recently seen stands first.
      counted.delete(blob);
      counted.set(blob, seen);
    }
    const last = rows.at(-1);
    const ended = last === undefined || rows.length < CHANGE_STEP_ROWS;
    for (const [blob, seen] of counted) {
      if (!ended && counted.size <= REPACK_BLOBS_MAX) break;
      counted.delete(blob);
      if (await isSparse(ledger, seen)) yield seen;
    }
    if (ended) return;
    range = { ...range, start: keyAfter(last.key) };
    await clock.sleep(REPACK_PAUSE_MS);
  }
}

async function isSparse({ index, locations }: Ledger, { blob, liveBytes, extents }: SparsePack): Promise<boolean> {
  if (extents > PACK_EXTENTS_MAX) return false;
  const location = await locations.find(blob);
  if (location === undefined || liveBytes >= location.bytes * REPACK_LIVE_SHARE) return false;
  const row = await index.get(referencesKey(blob));
  return (row === undefined ? 1 : decodeReferences(row)) === extents;
}

/** The rows of a sparse pack's extents, as they are now. */
export async function extentsOf({ ledger, clock }: SparsePacksOptions, pack: SparsePack): Promise<Row[]> {
  const found: Row[] = [];
  let range = { ...tableRange(TABLES.extent, CHANGE_STEP_ROWS), start: pack.firstKey, end: keyAfter(pack.lastKey) };
  for (;;) {
    const rows = await ledger.index.scan(range);
    for (const row of rows) {
      const extent = extentOfRow(row);
      if (extent.kind === 'blob' && extent.blob === pack.blob && found.length < PACK_EXTENTS_MAX) found.push(row);
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < CHANGE_STEP_ROWS) return found;
    range = { ...range, start: keyAfter(last.key) };
    await clock.yield();
  }
}
