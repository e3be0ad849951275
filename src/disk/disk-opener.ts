/**
 * How directories and disks are opened: natively (open-disk-set.ts) or in simulation (simulated-opener.ts). The logic above it (init, import,
 * the watch over a pool's disks) is the same for both.
 */
import type { Uuid } from '../base/ids.js';
import { DISK_INSPECTIONS_MAX } from '../base/limits.js';
import type { Disk } from './disk.js';
import type { SuperblockDirectory } from './superblock-file.js';

/** A directory that was opened; it need not be a disk. */
export interface OpenDirectory extends SuperblockDirectory {
  /** Takes the exclusive lock (I9). Rejects with EBUSY, naming the owner's pid. */
  lock(): Promise<void>;
  close(): Promise<void>;
}

/** Reads who a disk is; rejects when it is not the one that is wanted. */
export type Identify = (directory: SuperblockDirectory) => Promise<Uuid>;

export interface DiskOpener {
  /** Opens a directory; writes nothing, locks nothing. Rejects with ENOENT, ENOTDIR, EACCES… */
  openDirectory(path: string): Promise<OpenDirectory>;
  /** Opens, identifies, then locks. Rejects with what `identify` did, or EBUSY. `identify` is asked again by each probe. */
  openDisk(path: string, identify: Identify): Promise<Disk>;
}

/** Opens a directory for the time that `use` takes. */
export async function withDirectory<T>(opener: DiskOpener, path: string, use: (directory: OpenDirectory) => Promise<T>): Promise<T> {
  const directory = await opener.openDirectory(path);
  try {
    return await use(directory);
  } finally {
    await directory.close();
  }
}

/** Runs `action` for each of the items, a bounded number at a time; the results are in order. */
export async function forEachBounded<T, R>(items: readonly T[], action: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let from = 0; from < items.length; from += DISK_INSPECTIONS_MAX)
    results.push(...(await Promise.all(items.slice(from, from + DISK_INSPECTIONS_MAX).map(action))));
  return results;
}
