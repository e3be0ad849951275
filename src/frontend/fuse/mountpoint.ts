/** Places to mount on, and taking a mount away from one: what both bindings share. */
import { realpath, stat } from 'node:fs/promises';
import { asOperatingError, OperatingError } from '../../base/errors.js';
import { fuseUnmount } from '../../base/native-fuse.js';
import { mountsAt } from './mount-table.js';
import { MOUNT_SUBTYPE, MOUNT_TYPE } from './stale-mount.js';

/** The directory to mount on, resolved. @throws OperatingError ENOENT, ENOTDIR, EBUSY */
export async function usableMountpoint(path: string): Promise<string> {
  const there = (await mountsAt(path)).at(-1);
  if (there !== undefined)
    throw new OperatingError('EBUSY', `${path}: something is mounted here already (${there.type})`, {
      path,
      hint: 'Choose another mount point, or unmount that first.',
    });
  try {
    const resolved = await realpath(path);
    if ((await stat(resolved)).isDirectory()) return resolved;
  } catch (thrown) {
    throw asOperatingError(thrown, { path, hint: `Make the mount point first: mkdir -p ${path}` });
  }
  throw new OperatingError('ENOTDIR', `${path} is not a directory`, { path, hint: 'A mount point is a directory.' });
}

/** What mount(8) shows as the source. @throws OperatingError EINVAL */
export function usableSource(source: string | undefined, mountpoint: string): string {
  if (source === undefined) return MOUNT_SUBTYPE;
  if (/^[^,\\\0]+$/.test(source)) return source;
  throw new OperatingError('EINVAL', `"${source}" cannot be a mount's source`, { path: mountpoint });
}

/** True while the mount of this device (major:minor; undefined: any of ours) is the one to be seen there. */
export async function isVisibleMount(mountpoint: string, device: string | undefined): Promise<boolean> {
  const top = (await mountsAt(mountpoint)).at(-1);
  return top?.type === MOUNT_TYPE && (device === undefined || top.device === device);
}

/** Unmounts what `isMounted` says is there. Resolves also when somebody else was quicker. @throws OperatingError EBUSY, EPERM */
export async function unmountFrom(mountpoint: string, lazy: boolean, byHelper: boolean, isMounted: () => Promise<boolean>): Promise<void> {
  try {
    await fuseUnmount(mountpoint, lazy, byHelper);
  } catch (thrown) {
    const error = asOperatingError(thrown, { path: mountpoint });
    if (error.code === 'EINVAL' && !(await isMounted())) return;
    if (error.code !== 'EBUSY') throw error;
    const hint = `Programs use it (fuser -vm ${mountpoint} lists them); a lazy unmount lets them finish.`;
    throw new OperatingError('EBUSY', `${mountpoint} is in use`, { path: mountpoint, hint, cause: thrown });
  }
}
