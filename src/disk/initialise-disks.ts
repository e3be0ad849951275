/**
 * Makes directories the disks of a pool: of a new one all of them or none, of one that is open one more. The only place that ever makes a
 * superblock; for `init` and the disk set's `changeMembership` alone.
 */
import { isAbsolute } from 'node:path';
import { OperatingError } from '../base/errors.js';
import type { DiskOpener, OpenDirectory } from './disk-opener.js';
import type { Membership } from './membership.js';
import { UNFINISHED_FILE, UNFINISHED_MARK, checkUnused, createSuperblock, holdsOnlySuperblock, readSuperblock } from './superblock-file.js';
import { markUnfinished } from './unfinished.js';
import { SUPERBLOCK_FILE, type PoolSettings, type Superblock } from './superblock.js';

export interface InitialiseOptions {
  readonly opener: DiskOpener;
  /** Its members' directories, which must be absolute, become the disks; they exist, and are empty apart from `lost+found`. */
  readonly membership: Membership;
  readonly settings: PoolSettings;
  /** ISO 8601, UTC. */
  readonly created: string;
}

/**
 * Checks all directories, locks all, then writes all superblocks, durably. When one fails those written before are removed again. Until `clearMarks` they are
 * marked as unfinished.
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
      await markUnfinished(directory);
      await createSuperblock(directory, { diskId: id, diskNumber: number, created, settings, membership });
    }
  } catch (error) {
    for (const directory of written) await removeSuperblock(directory);
    throw error;
  } finally {
    for (const directory of opened) await directory.close();
  }
}

/**
 * Makes one more directory a disk of an open pool. What a cut-off attempt to add it left (a superblock of this pool, and nothing else) is made anew.
 * Resolves with the directory, locked.
 * @throws OperatingError as `initialiseDisks`.
 */
export async function makeDisk(opener: DiskOpener, path: string, superblock: Superblock): Promise<OpenDirectory> {
  if (!isAbsolute(path)) throw new OperatingError('EINVAL', `not an absolute path: ${path}`, { path });
  const directory = await opener.openDirectory(path);
  try {
    const check = async (): Promise<boolean> => {
      const unfinished = await isUnfinished(directory, superblock);
      if (!unfinished) await checkUnused(directory);
      return unfinished;
    };
    await check();
    await directory.lock();
    if (await check()) await directory.unlink(SUPERBLOCK_FILE);
    await createSuperblock(directory, superblock);
    return directory;
  } catch (error) {
    await directory.close();
    throw error;
  }
}

/** Does it hold nothing but a superblock of this pool, for a disk that is no member? */
async function isUnfinished(directory: OpenDirectory, { membership }: Superblock): Promise<boolean> {
  if (!(await holdsOnlySuperblock(directory))) return false;
  const found = await readSuperblock(directory);
  const { members, poolId } = membership;
  return found.membership.poolId === poolId && !members.some(({ id }) => id === found.diskId);
}

/** Takes back what this very call made; as far as the disk lets us. */
async function removeSuperblock(directory: OpenDirectory): Promise<void> {
  for (const name of [SUPERBLOCK_FILE, UNFINISHED_FILE, UNFINISHED_MARK])
    try {
      await directory.unlink(name);
      await directory.syncDirectory('');
    } catch {
      // It was not made, or the disk fails: what failed first is reported.
    }
}
