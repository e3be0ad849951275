/** Turns a native call's errno into an operating error that names the disk and says what to do. */
import { getSystemErrorMap } from 'node:util';
import { errnoName, OperatingError, type ErrnoName } from '../base/errors.js';
import type { Status } from '../base/native-io.js';

const hints: Partial<Record<ErrnoName, string>> = {
  EIO: 'The disk reports an error: check the kernel log (dmesg) and the disk (smartctl).',
  ENOSPC: 'The disk is full: free space on it or add a disk.',
  EROFS: 'The file system is mounted read-only, often after an error: check the kernel log (dmesg).',
  EACCES: 'Check the owner and the mode of the directory.',
  ENODEV: 'The disk is gone: check its cable and its mount.',
  ESTALE: 'Something else is mounted there now: mount the right disk.',
  ETIMEDOUT: 'Check the cable, the power and the kernel log (dmesg) for this disk.',
};

const texts: Partial<Record<ErrnoName, string>> = {
  EBADMSG: 'a checksum or the record does not match',
  ENODATA: 'the file ends before the record does',
  ESTALE: 'it leads to something else than what was opened',
  EAGAIN: 'the queue of the disk is full',
};

/**
 * @param status negative errno
 * @param action what was tried, as a verb
 * @param directory the disk
 * @param path the file on it
 */
export function nativeError(status: Status, action: string, directory: string, path: string | undefined): OperatingError {
  const code = errnoName(-status);
  const text = texts[code] ?? getSystemErrorMap().get(status)?.[1] ?? code;
  const what = path === undefined || path === '' ? '' : ` ${path}`;
  return new OperatingError(code, `cannot ${action}${what} on disk ${directory}: ${text}`, { disk: directory, path, hint: hints[code] });
}
