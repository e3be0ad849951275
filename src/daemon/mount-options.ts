/** `-o` options of `ostraka mount`, comma-separated as mount(8) has them. */
import { OperatingError } from '../base/errors.js';

export interface MountOptions {
  readonly readOnly: boolean;
  /** Other users may use the mount too; permissions are checked by the kernel in any case. */
  readonly allowOther: boolean;
  /** The mount point may have content, which the mount hides. */
  readonly nonEmpty: boolean;
}

/** What fstab(5) lines carry for others, or what is always so. */
const WITHOUT_EFFECT = /^(defaults|rw|default_permissions|auto|noauto|nofail|_netdev|x-[\w.-]+(=.*)?)$/;

export const mountOptionNames = 'ro, rw, allow_other, nonempty';

/** @throws OperatingError EINVAL on an option that is not known. */
export function parseMountOptions(lists: readonly string[]): MountOptions {
  const names = lists.flatMap((list) => list.split(',')).filter((name) => name !== '');
  for (const name of names)
    if (!['ro', 'allow_other', 'nonempty'].includes(name) && !WITHOUT_EFFECT.test(name))
      throw new OperatingError('EINVAL', `"${name}" is not a mount option of Ostraka`, { hint: `Options are ${mountOptionNames}.` });
  return {
    readOnly: names.lastIndexOf('ro') > names.lastIndexOf('rw'),
    allowOther: names.includes('allow_other'),
    nonEmpty: names.includes('nonempty'),
  };
}
