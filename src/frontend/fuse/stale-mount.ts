/**
 * Mounts whose server died: the kernel keeps them and answers ENOTCONN ("Transport endpoint is not connected") to everybody. They are
 * recognised and taken away here, off the main thread, and nothing else is ever taken away.
 */
import type { Clock } from '../../base/clock.js';
import { systemClock } from '../../base/clock.js';
import { errnoNumber } from '../../base/errors.js';
import { fuseUnmount, probePath } from '../../base/native-fuse.js';
import { mountsAt, tablePath } from './mount-table.js';

/** File system type of our mounts. */
export const MOUNT_TYPE = 'fuse.ostraka';
/** fuse.SUBTYPE. */
export const MOUNT_SUBTYPE = 'ostraka';

/** A mount that does not answer within this has a server that hangs, not a dead one. */
const PROBE_LIMIT_MS = 2000;
/** Dead mounts on top of each other. */
const STACKED_MAX = 16;

/** True when root's mount(2) and umount(2) are ours to call; others go through fusermount3. */
export function mayMount(): boolean {
  return process.geteuid?.() === 0;
}

/** True when the visible mount at `path` is one of ours and its server is gone. */
export async function isStaleMount(path: string, clock: Clock = systemClock): Promise<boolean> {
  if ((await mountsAt(path)).at(-1)?.type !== MOUNT_TYPE) return false;
  const slow = clock.sleep(PROBE_LIMIT_MS).then(() => 0);
  return (await Promise.race([probePath(await tablePath(path)), slow])) === errnoNumber('ENOTCONN');
}

/**
 * Unmounts dead mounts of ours at `path`, lazily: programs may still have files of them open.
 * @returns how many there were; 0 where there was nothing to do.
 * @throws OperatingError EPERM when the mount is another user's.
 */
export async function cleanStaleMount(path: string, clock: Clock = systemClock): Promise<number> {
  let cleaned = 0;
  while (cleaned < STACKED_MAX && (await isStaleMount(path, clock))) {
    await fuseUnmount(await tablePath(path), true, !mayMount());
    cleaned++;
  }
  return cleaned;
}
