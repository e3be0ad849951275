/** The disks of a pool on real directories: what the daemon and the command line open. */
import type { Clock } from '../base/clock.js';
import type { DiskOpener } from './disk-opener.js';
import type { DiskSet } from './disk-set.js';
import { openNativeDirectory, openNativeDisk } from './native-disk.js';
import { openWatchedDiskSet, type WatchedDiskSetOptions } from './watched-disk-set.js';

/** Opens real directories; `clock` drives their watches for stalls. */
export function nativeOpener(clock: Clock): DiskOpener {
  return {
    openDirectory: (path) => openNativeDirectory(path, { clock }),
    openDisk: (path, identify) => openNativeDisk(path, identify, { clock }),
  };
}

/**
 * Finds, identifies and locks the disks of a pool and watches over them until it is closed.
 * @throws OperatingError EBUSY: another process owns one of them (its pid is in the message).
 */
export function openDiskSet(options: Omit<WatchedDiskSetOptions, 'opener'>): Promise<DiskSet> {
  return openWatchedDiskSet({ ...options, opener: nativeOpener(options.clock) });
}
