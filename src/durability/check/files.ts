/** Which files are in these blobs? One pass over all extents; asked by check, which names files, and by recovery. */
import type { BlobId } from '../../base/ids.js';
import { extents, type Reading } from './rows.js';

/** Inodes that refer to each of the blobs, each once. */
export async function filesOfBlobs(reading: Reading, blobs: ReadonlySet<BlobId>): Promise<Map<BlobId, number[]>> {
  const files = new Map<BlobId, number[]>();
  if (blobs.size === 0) return files;
  for await (const { ino, extent } of extents(reading)) {
    if (extent.kind !== 'blob' || !blobs.has(extent.blob)) continue;
    const known = files.get(extent.blob);
    if (known === undefined) files.set(extent.blob, [ino]);
    // Extents come in the order of inodes.
    else if (known.at(-1) !== ino) known.push(ino);
  }
  return files;
}
