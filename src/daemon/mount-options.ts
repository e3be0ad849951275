/** `-o` options of `ostraka mount`, comma-separated as mount(8) has them. */
import { OperatingError } from '../base/errors.js';
import { BINDINGS, type Binding } from '../frontend/mount.js';

export interface MountOptions {
  readonly readOnly: boolean;
  /** Other users may use the mount too; permissions are checked by the kernel in any case. undefined: yes where root mounts. */
  readonly allowOther: boolean | undefined;
  /** The mount point may have content, which the mount hides. */
  readonly nonEmpty: boolean;
  readonly noExec: boolean;
  readonly noAtime: boolean;
  /** What carries requests between the kernel and the daemon. */
  readonly binding: Binding;
}

const BINDING = 'binding=';

const KNOWN: ReadonlySet<string> = new Set([
  ...BINDINGS.map((binding) => `${BINDING}${binding}`),
  'ro',
  'rw',
  'allow_other',
  'noallow_other',
  'nonempty',
  'noexec',
  'exec',
  'noatime',
  'atime',
]);

/** What fstab(5) lines carry for others, or what is always so: no device files, no set-user-id programs, times of access as the pool keeps them. */
const WITHOUT_EFFECT =
  /^(defaults|default_permissions|(no)?suid|(no)?dev|async|(no)?relatime|strictatime|(no)?diratime|(no)?lazytime|(no)?auto|nofail|_netdev|x-[\w.-]+(=.*)?)$/;

export const mountOptionNames = 'ro, rw, allow_other, noallow_other, nonempty, noexec, noatime, binding=NAME';

/** Whether this is one of the options, or one without effect here. */
export function isKnownMountOption(name: string): boolean {
  return KNOWN.has(name) || WITHOUT_EFFECT.test(name);
}

/** @throws OperatingError EINVAL on an option that is not known. */
export function parseMountOptions(lists: readonly string[]): MountOptions {
  const names = lists.flatMap((list) => list.split(',')).filter((name) => name !== '');
  for (const name of names)
    if (!isKnownMountOption(name) && name.startsWith(BINDING))
      throw new OperatingError('EINVAL', `"${name.slice(BINDING.length)}" is not a binding`, {
        hint: `Bindings are ${BINDINGS.join(', ')}.`,
      });
    else if (!isKnownMountOption(name))
      throw new OperatingError('EINVAL', `"${name}" is not a mount option of Ostraka`, { hint: `Options are ${mountOptionNames}.` });
  /** The later one of the two counts. */
  const either = (yes: string, no: string): boolean | undefined =>
    names.includes(yes) || names.includes(no) ? names.lastIndexOf(yes) > names.lastIndexOf(no) : undefined;
  return {
    readOnly: either('ro', 'rw') ?? false,
    allowOther: either('allow_other', 'noallow_other'),
    nonEmpty: names.includes('nonempty'),
    noExec: either('noexec', 'exec') ?? false,
    // Reading moves no access time: the mount says what is so.
    noAtime: either('noatime', 'atime') ?? true,
    binding: BINDINGS.find((binding) => `${BINDING}${binding}` === names.findLast((name) => name.startsWith(BINDING))) ?? 'channel',
  };
}
