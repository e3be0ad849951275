/**
 * Extended attributes that nobody wrote: `user.ostraka.NAME` tells where a file is (`getfattr -n user.ostraka.disks FILE`). They are not listed, so that
 * programs which copy all attributes (cp -a, rsync -X, tar --xattrs) neither read nor copy them, and cannot be set. The kernel lets those ask who
 * may read the file.
 */
import { OperatingError } from '../../base/errors.js';
import type { Ino } from '../../namespace/namespace.js';

const PREFIX = 'user.ostraka.';

/** The value of one of them; undefined: there is no such attribute of this inode. */
export type Describe = (ino: Ino, name: string) => Promise<string | undefined>;

export function isVirtual(name: string): boolean {
  return name.startsWith(PREFIX);
}

export async function virtualValue(describe: Describe | undefined, ino: Ino, name: string): Promise<Buffer | undefined> {
  const text = await describe?.(ino, name.slice(PREFIX.length));
  return text === undefined ? undefined : Buffer.from(text);
}

/** @throws OperatingError ENOTSUP */
export function refuseVirtual(name: string): void {
  if (isVirtual(name)) throw new OperatingError('ENOTSUP', `attributes ${PREFIX}… are made by the file system`);
}
