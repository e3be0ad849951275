/**
 * The file that holds a disk's superblock: two slots with the same content, so that a bad sector leaves the other. May be called on a directory
 * that is not (yet) known to be a disk: reading never changes anything, and only `createSuperblock` ever makes the file.
 *
 * Missing is not new: a directory without the file is an absent disk (ENOENT here), never one to initialise.
 */
import { assert } from '../base/assert.js';
import { OperatingError } from '../base/errors.js';
import type { Disk, DiskFile } from './disk.js';
import { isNewer, type Membership } from './membership.js';
import { SLOT_BYTES, SLOT_HEADER_BYTES, SUPERBLOCK_FILE, SUPERBLOCK_VERSION, decodeSlot, encodeSlot, slotLength } from './superblock.js';
import type { Slot, Superblock } from './superblock.js';

/** What of a directory the superblock needs. A `Disk` has it all. */
export type SuperblockDirectory = Pick<Disk, 'directory' | 'open' | 'list' | 'unlink' | 'rename' | 'syncDirectory'>;

/** Where a superblock is written before it gets its name; left by an `init` that was cut off. */
export const UNFINISHED_FILE = `${SUPERBLOCK_FILE}.new`;
/** The lock's file, as in native-disk.ts; made by whoever opened the directory before. */
const LOCK_FILE = 'ostraka.lock';
/** Lies in a directory while its pool is being made (unfinished.ts). */
export const UNFINISHED_MARK = 'ostraka.unfinished';
/** What may lie in a directory that becomes a disk. */
const IGNORED_NAMES: ReadonlySet<string> = new Set(['lost+found', LOCK_FILE, UNFINISHED_FILE, UNFINISHED_MARK]);
/** Most superblocks are shorter than this, so one read gets them. */
const FIRST_READ_BYTES = 4096;
const SLOT_OFFSETS = [0, SLOT_BYTES] as const;

interface Found {
  readonly superblock: Superblock;
  readonly sequence: number;
}

async function readSlot(file: DiskFile, offset: number): Promise<Slot> {
  const first = await file.read(offset, FIRST_READ_BYTES);
  const wanted = slotLength(first.subarray(0, SLOT_HEADER_BYTES));
  return decodeSlot(wanted <= first.length ? first : await file.read(offset, wanted));
}

async function readCurrent(file: DiskFile, directory: string): Promise<Found> {
  let best: Found | undefined;
  const reasons: string[] = [];
  for (const offset of SLOT_OFFSETS) {
    const slot = await readSlot(file, offset);
    if (slot.state === 'newer')
      throw new OperatingError(
        'ENOTSUP',
        `the superblock has format version ${slot.version}, this program knows versions up to ${SUPERBLOCK_VERSION}`,
        { disk: directory, path: SUPERBLOCK_FILE, hint: 'Use a newer release of ostraka. Nothing was changed.' },
      );
    if (slot.state !== 'good') reasons.push(slot.state === 'empty' ? 'it is empty' : slot.why);
    else if (!best || slot.sequence > best.sequence) best = slot;
  }
  if (best) return best;
  throw new OperatingError('EBADMSG', `both copies in ${directory}/${SUPERBLOCK_FILE} are damaged (${reasons.join('; ')})`, {
    disk: directory,
    path: SUPERBLOCK_FILE,
    hint: 'Nothing was changed. The pool works without this disk as long as enough others are there; check the disk and keep its files.',
  });
}

/**
 * Reads the superblock.
 * @throws OperatingError ENOENT: there is none; EBADMSG: both copies are damaged; ENOTSUP: made by a newer version; or what reading gave.
 */
export async function readSuperblock(directory: SuperblockDirectory): Promise<Superblock> {
  return (await readFound(directory)).superblock;
}

async function readFound(directory: SuperblockDirectory): Promise<Found> {
  const file = await openSuperblock(directory);
  try {
    return await readCurrent(file, directory.directory);
  } finally {
    await file.close();
  }
}

async function openSuperblock(directory: SuperblockDirectory): Promise<DiskFile> {
  try {
    return await directory.open(SUPERBLOCK_FILE);
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== 'ENOENT') throw error;
    throw new OperatingError('ENOENT', `no disk of a pool is at ${directory.directory}: it has no superblock`, {
      disk: directory.directory,
      path: SUPERBLOCK_FILE,
      hint: 'If a file system belongs there, mount it.',
      cause: error,
    });
  }
}

/**
 * Can this directory become a disk? Changes nothing.
 * @throws OperatingError EEXIST: it is a disk of a pool (which is named) or was one; ENOTEMPTY: something else lies in it; or what reading gave.
 */
export async function checkUnused(directory: SuperblockDirectory): Promise<void> {
  const names = await directory.list('');
  const where = { disk: directory.directory };
  if (names.includes(SUPERBLOCK_FILE)) {
    // A superblock that cannot be read says so itself.
    const { membership, diskNumber } = await readSuperblock(directory);
    throw new OperatingError('EEXIST', `${directory.directory} is disk ${diskNumber} of pool "${membership.poolName}" already`, {
      ...where,
      hint: 'Name another directory, or take the pool over with "ostraka import".',
    });
  }
  const others = names.filter((name) => !IGNORED_NAMES.has(name));
  if (others.length > 0) {
    const shown = others.sort().slice(0, 3).join(', ');
    throw new OperatingError('ENOTEMPTY', `${directory.directory} is not empty: it holds ${shown}${others.length > 3 ? ', …' : ''}`, {
      ...where,
      hint: 'Name an empty directory; nothing was changed.',
    });
  }
}

/** Is there a superblock, and nothing else that anyone may need? */
export async function holdsOnlySuperblock(directory: SuperblockDirectory): Promise<boolean> {
  const names = await directory.list('');
  return names.includes(SUPERBLOCK_FILE) && names.every((name) => name === SUPERBLOCK_FILE || IGNORED_NAMES.has(name));
}

/** Writes a whole new file and gives it the name, durably: after a crash at any point the old one or the new one is there. */
async function replaceFile(directory: SuperblockDirectory, superblock: Superblock, sequence: number): Promise<void> {
  const content = encodeSlot(superblock, sequence);
  if ((await directory.list('')).includes(UNFINISHED_FILE)) await directory.unlink(UNFINISHED_FILE);
  const file = await directory.open(UNFINISHED_FILE, { create: true, write: true });
  try {
    for (const offset of SLOT_OFFSETS) await file.write(offset, [content]);
    await file.sync();
  } finally {
    await file.close();
  }
  await directory.rename(UNFINISHED_FILE, SUPERBLOCK_FILE);
  await directory.syncDirectory('');
}

/**
 * Makes an unused directory a disk, durably: it is one wholly or not at all. The caller holds its lock.
 * @throws OperatingError as `checkUnused`, E2BIG, or what writing gave.
 */
export async function createSuperblock(directory: SuperblockDirectory, superblock: Superblock): Promise<void> {
  await checkUnused(directory);
  await replaceFile(directory, superblock, 1);
}

/**
 * Replaces the membership, durably. The caller holds the disk's lock. Does nothing when the disk has this version or a newer one.
 * The file is made anew each time: a slot whose sync failed once may look good in the cache and not be there, and would be built upon.
 */
export async function updateSuperblock(directory: SuperblockDirectory, membership: Membership): Promise<void> {
  const { superblock, sequence } = await readFound(directory);
  assert(superblock.membership.poolId === membership.poolId, 'a disk stays in its pool');
  if (isNewer(membership, superblock.membership)) await replaceFile(directory, { ...superblock, membership }, sequence + 1);
}
