/** Looks at directories that are or may be disks, without locking or changing anything. Called while the pool need not be open. */
import { asOperatingError, type OperatingError } from '../base/errors.js';
import type { Capacity } from '../disk/disk.js';
import { isNewer, type Membership } from '../disk/membership.js';
import { openNativeDirectory } from '../disk/native-disk.js';
import { readSuperblock } from '../disk/superblock-file.js';
import type { Superblock } from '../disk/superblock.js';

export interface Inspected {
  readonly directory: string;
  readonly superblock: Superblock;
  readonly capacity: Capacity;
}

/** @throws OperatingError ENOENT: no disk there; EBADMSG: damaged superblock; or what opening and reading gave. */
export async function inspectDisk(directory: string): Promise<Inspected> {
  const opened = await openNativeDirectory(directory);
  try {
    return { directory, superblock: await readSuperblock(opened), capacity: await opened.capacity() };
  } finally {
    await opened.close();
  }
}

/** The same for several at a time; what could not be read stands as its error. */
export async function inspectDisks(directories: readonly string[]): Promise<(Inspected | OperatingError)[]> {
  return Promise.all(
    directories.map((directory) => inspectDisk(directory).catch((error: unknown) => asOperatingError(error, { disk: directory }))),
  );
}

/** Of several copies the newest is right; undefined where there is none. */
export function newestMembership(found: readonly Inspected[]): Membership | undefined {
  let newest: Membership | undefined;
  for (const { superblock } of found) if (isNewer(superblock.membership, newest)) newest = superblock.membership;
  return newest;
}
