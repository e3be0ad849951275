/** The one place that turns what a handler threw into an errno for the kernel. */
import { AssertionError } from '../../base/assert.js';
import { DecodeError } from '../../base/bytes.js';
import { errnoNumber, OperatingError } from '../../base/errors.js';
import { ERRNO_MAX } from './protocol.js';

/** An errno, and whether it was expected; what was not is logged. */
export interface Failure {
  /** Positive, 1 … ERRNO_MAX. */
  readonly errno: number;
  readonly expected: boolean;
  /** A programmer error: after the reply the process must end. */
  readonly fatal: boolean;
}

const EIO = errnoNumber('EIO');
const EINVAL = errnoNumber('EINVAL');

/** What the kernel is told about `thrown`. */
export function failureOf(thrown: unknown): Failure {
  if (thrown instanceof OperatingError) {
    const errno = thrown.errno;
    return { errno: errno > 0 && errno <= ERRNO_MAX ? errno : EIO, expected: thrown.code !== 'EIO', fatal: false };
  }
  if (thrown instanceof DecodeError) return { errno: EINVAL, expected: false, fatal: false };
  return { errno: EIO, expected: false, fatal: thrown instanceof AssertionError };
}
