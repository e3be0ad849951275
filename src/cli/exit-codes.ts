/** Every exit code of `ostraka`, shown by `ostraka --help`, and which error has which. */
import { CommanderError } from 'commander';
import { OperatingError } from '../base/errors.js';

export const exitCodes = {
  ok: { code: 0, meaning: 'done' },
  failed: { code: 1, meaning: 'it did not work; the message says why' },
  usage: { code: 2, meaning: 'the command line makes no sense: unknown option, bad name, code or value' },
  missing: { code: 3, meaning: 'a pool, path or directory that was named is not there, or is something else' },
  refused: { code: 4, meaning: 'refused so that nothing is lost: in use, not empty, mounted, or of another pool' },
  disks: { code: 5, meaning: 'the disks do not allow it: too few, damaged, full or unreadable' },
  permission: { code: 6, meaning: 'not permitted for this user' },
  found: { code: 7, meaning: 'the check found something wrong, and it is still so' },
  repaired: { code: 8, meaning: 'the check found something wrong, and all of it was repaired' },
  internal: { code: 70, meaning: 'an error in Ostraka itself; please report it' },
} as const;

const byErrno: Readonly<Partial<Record<string, keyof typeof exitCodes>>> = {
  EINVAL: 'usage',
  ENAMETOOLONG: 'usage',
  ENOENT: 'missing',
  ENOTDIR: 'missing',
  ENOTCONN: 'missing',
  EEXIST: 'refused',
  EBUSY: 'refused',
  ENOTEMPTY: 'refused',
  EALREADY: 'refused',
  ENOSPC: 'disks',
  EIO: 'disks',
  EROFS: 'disks',
  ENXIO: 'disks',
  ENODEV: 'disks',
  ESTALE: 'disks',
  EBADMSG: 'disks',
  EACCES: 'permission',
  EPERM: 'permission',
};

/** The exit code for whatever a verb threw. */
export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok.code : exitCodes.usage.code;
  if (thrown instanceof OperatingError) return exitCodes[byErrno[thrown.code] ?? 'failed'].code;
  return exitCodes.internal.code;
}

export function exitCodeHelp(): string {
  const lines = Object.values(exitCodes).map(({ code, meaning }) => `  ${String(code).padStart(2)}  ${meaning}`);
  return `\nExit codes:\n${lines.join('\n')}\n`;
}
