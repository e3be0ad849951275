/** Mounting by either binding; the one of a package is loaded only when it is asked for. */
import { mountFuse, type MountOptions } from './fuse/mount.js';
import type { Binding, Mount } from './mount.js';

/**
 * Mounts `options.namespace` and resolves when the mount is usable.
 * @throws OperatingError: ENOENT, ENOTDIR, EBUSY about the mount point; EINVAL; others about mounting itself; ENOSYS, where the binding is not installed.
 */
export async function mountBy(binding: Binding, options: MountOptions): Promise<Mount> {
  if (binding === 'channel') return mountFuse(options);
  return (await import('./fuse-native/mount.js')).mountFuseNative(options);
}
