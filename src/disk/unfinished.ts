/**
 * The mark of a disk whose pool is being made, and what may be done where making was cut off. `initialisePool` makes and clears it, `init` asks
 * about it, the daemon clears what it still finds.
 *
 *   unused ──mark──▶ marked ──superblock──▶ marked disk ──voters of the pool are made──▶ mark cleared: a disk
 *
 * A pool is usable from the moment on in which the first mark was cleared, durably, and no earlier: only then its definition is written, and only with a
 * disk that is not marked `import` takes it. So a pool all of whose disks are marked, or are none yet, was never used by anyone, and nothing is in it.
 */
import { OperatingError } from '../base/errors.js';
import { forEachBounded, withDirectory, type DiskOpener, type OpenDirectory } from './disk-opener.js';
import type { Disk } from './disk.js';
import type { Membership } from './membership.js';
import { UNFINISHED_MARK, checkUnused, readSuperblock, type SuperblockDirectory } from './superblock-file.js';
import { SUPERBLOCK_FILE } from './superblock.js';

/** Marks a directory, durably, before it gets its superblock. */
export async function markUnfinished(directory: SuperblockDirectory): Promise<void> {
  const file = await directory.open(UNFINISHED_MARK, { create: true, write: true });
  await file.close();
  await directory.syncDirectory('');
}

/** Clears the mark, durably; does nothing where there is none. */
export async function clearMark(directory: SuperblockDirectory | Disk): Promise<void> {
  if (!(await directory.list('')).includes(UNFINISHED_MARK)) return;
  await directory.unlink(UNFINISHED_MARK);
  await directory.syncDirectory('');
}

/** The pool is made: clears the marks of all its disks. */
export async function clearMarks(opener: DiskOpener, { members }: Membership): Promise<void> {
  await forEachBounded(members, ({ directory }) => withDirectory(opener, directory, clearMark));
}

/** Is it a disk, and marked? @throws OperatingError what reading gave */
export async function isMarked(directory: SuperblockDirectory): Promise<boolean> {
  const names = await directory.list('');
  return names.includes(UNFINISHED_MARK) && names.includes(SUPERBLOCK_FILE);
}

/**
 * If the disk in this directory is of a pool whose making was cut off, runs `remove` with the directories of all its disks, all of them locked. Proof is
 * that every member is there, and is marked or unused; if one is not (it may be finished, and its disk in use) this does nothing.
 * @throws OperatingError EBUSY: it is being made right now; what reading gave; what `remove` throws
 */
export async function withUnfinished(
  opener: DiskOpener,
  path: string,
  remove: (directories: readonly string[]) => Promise<void>,
): Promise<void> {
  const membership = await withDirectory(opener, path, async (directory) =>
    (await isMarked(directory)) ? (await readSuperblock(directory)).membership : undefined,
  );
  if (membership === undefined) return;
  const opened: OpenDirectory[] = [];
  try {
    for (const { directory } of membership.members) {
      const found = await openIfThere(opener, directory);
      if (found === undefined) return;
      opened.push(found);
    }
    if (!(await allUnfinished(opened, membership))) return;
    for (const directory of opened) await directory.lock();
    // Again under the locks: who held them may have gone on.
    if (await allUnfinished(opened, membership)) await remove(opened.map(({ directory }) => directory));
  } finally {
    for (const directory of opened) await directory.close();
  }
}

async function openIfThere(opener: DiskOpener, path: string): Promise<OpenDirectory | undefined> {
  try {
    return await opener.openDirectory(path);
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function allUnfinished(directories: readonly OpenDirectory[], { poolId }: Membership): Promise<boolean> {
  for (const directory of directories)
    if (await isMarked(directory)) {
      if ((await readSuperblock(directory)).membership.poolId !== poolId) return false;
    } else
      try {
        await checkUnused(directory);
      } catch (error) {
        if (error instanceof OperatingError && (error.code === 'EEXIST' || error.code === 'ENOTEMPTY')) return false;
        throw error;
      }
  return true;
}
