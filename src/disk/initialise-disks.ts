/**
 * Makes directories the disks of a new pool: all of them or none. The one place that ever makes a superblock; for `init` alone.
 */
import { isAbsolute } from 'node:path';
import { OperatingError } from '../base/errors.js';
import type { DiskOpener, OpenDirectory } from './disk-opener.js';
import type { Membership } from './membership.js';
import { UNFINISHED_FILE, checkUnused, createSuperblock } from './superblock-file.js';
import { SUPERBLOCK_FILE, type PoolSettings } from './superblock.js';

export interface InitialiseOptions {
  readonly opener: DiskOpener;
  /** Its members' directories, which must be absolute, become the disks; they exist, and are empty apart from `lost+found`. */
  readonly membership: Membership;
  readonly settings: PoolSettings;
  /** ISO 8601, UTC. */
  readonly created: string;
}

/**
 * Checks all directories, locks all, then writes all superblocks, durably. When one fails those written before are removed again.
 * @throws OperatingError ENOENT, ENOTDIR, EACCES: a directory cannot be opened; EEXIST: it is a disk already; ENOTEMPTY; EBUSY: it is locked, or
 * given twice; EINVAL: a path is not absolute; ENOSPC, EROFS, EIO…
 */
export async function initialiseDisks({ opener, membership, settings, created }: InitialiseOptions): Promise<void> {
  const opened: OpenDirectory[] = [];
  const written: OpenDirectory[] = [];
  try {
    for (const { directory } of membership.members) {
      if (!isAbsolute(directory)) throw new OperatingError('EINVAL', `not an absolute path: ${directory}`, { path: directory });
      opened.push(await opener.openDirectory(directory));
    }
    for (const directory of opened) await checkUnused(directory);
    for (const directory of opened) await directory.lock();
    // Again under the locks: another `init` may have come in between, and what is undone below must be ours.
    for (const directory of opened) await checkUnused(directory);
    for (const [index, { id, number }] of membership.members.entries()) {
      const directory = opened[index];
      if (!directory) continue;
      written.push(directory);
      await createSuperblock(directory, { diskId: id, diskNumber: number, created, settings, membership });
    }
  } catch (error) {
    for (const directory of written) await removeSuperblock(directory);
    throw error;
  } finally {
    for (const directory of opened) await directory.close();
  }
}

/** Takes back what this very call made; as far as the disk lets us. */
async function removeSuperblock(directory: OpenDirectory): Promise<void> {
  for (const name of [SUPERBLOCK_FILE, UNFINISHED_FILE])
    try {
      await directory.unlink(name);
      await directory.syncDirectory('');
    } catch {
      // It was not made, or the disk fails: what failed first is reported.
    }
}
