/** Where an inode's committed content is, for people who ask: extents, the blobs behind them, and where those are. A page at a time. */
import { EXTENT_STRETCH_ROWS } from '../base/limits.js';
import type { Location } from '../base/location.js';
import { extentRange } from '../index/schema/tables.js';
import { extentOfRow } from './content.js';
import type { Ledger } from './ledger.js';
import type { Ino } from './namespace.js';
import type { Nodes } from './nodes.js';

export interface BlobUse {
  readonly location: Location;
  /** Bytes of the file that are in it, as far as this page goes. */
  readonly bytes: number;
}

export interface Placement {
  /** Length of the file, with what is not committed yet. */
  readonly size: number;
  /** Written, and not committed yet: nowhere on the disks that a reader would look at. */
  readonly pendingBytes: number;
  readonly extents: number;
  /** Content that is in the index itself. */
  readonly inlineBytes: number;
  /** In the order of the file, each once. */
  readonly blobs: readonly BlobUse[];
  /** Where the next page begins; undefined: this was the last one. */
  readonly next: number | undefined;
}

/** A page from the offset `from` on. @throws OperatingError ESTALE */
export async function placementOf(ledger: Ledger, nodes: Nodes, ino: Ino, from: number): Promise<Placement> {
  const row = await nodes.row(ino);
  const rows = await ledger.index.scan(extentRange(ino, row.generation, from, undefined, EXTENT_STRETCH_ROWS));
  const extents = rows.map(extentOfRow);
  let inlineBytes = 0;
  const used = new Map<number, number>();
  for (const extent of extents)
    if (extent.kind === 'inline') inlineBytes += extent.bytes;
    else used.set(extent.blob, (used.get(extent.blob) ?? 0) + extent.bytes);
  const blobs: BlobUse[] = [];
  for (const [blob, bytes] of used) {
    // One that went meanwhile is no part of the file any more.
    const location = await ledger.locations.find(blob);
    if (location !== undefined) blobs.push({ location, bytes });
  }
  const node = nodes.get(ino);
  const last = extents.at(-1);
  return {
    size: node?.size ?? row.size,
    pendingBytes: (node?.current?.liveBytes() ?? 0) + (node?.committing?.liveBytes() ?? 0),
    extents: extents.length,
    inlineBytes,
    blobs,
    next: rows.length < EXTENT_STRETCH_ROWS || last === undefined ? undefined : last.offset + last.bytes,
  };
}
