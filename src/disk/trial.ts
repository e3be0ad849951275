/**
 * A trial of a disk that was late: it writes a little and syncs it. A file system that is frozen, and many a dying disk, read well and write never.
 */
import { asOperatingError } from '../base/errors.js';
import { TRIAL_BYTES } from '../base/limits.js';
import type { DiskFile, OpenMode } from './disk.js';

/** In the disk's directory. Holds nothing; may be deleted at any time. */
const TRIAL_FILE = 'ostraka.trial';

/** Resolves when the disk has written it; a full disk has nothing to prove. */
export async function tryWriting(disk: {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  unlink(path: string): Promise<void>;
}): Promise<void> {
  try {
    await remove(disk);
    const file = await disk.open(TRIAL_FILE, { create: true, write: true });
    try {
      await file.write(0, [Buffer.alloc(TRIAL_BYTES)]);
      await file.sync();
    } finally {
      await file.close();
    }
    await remove(disk);
  } catch (thrown) {
    const error = asOperatingError(thrown);
    if (error.code !== 'ENOSPC' && error.code !== 'EDQUOT') throw error;
    await remove(disk);
  }
}

async function remove(disk: { unlink(path: string): Promise<void> }): Promise<void> {
  try {
    await disk.unlink(TRIAL_FILE);
  } catch (thrown) {
    if (asOperatingError(thrown).code !== 'ENOENT') throw thrown;
  }
}
