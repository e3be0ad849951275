/** SQLite's errors as operating errors. The one place that knows SQLite's codes. */
import { OperatingError, type ErrnoName, type ErrorDetail } from '../base/errors.js';

/** The bytes are not what was written: no call will bring them back. */
export class DamagedFileError extends Error {
  override readonly name = 'DamagedFileError';
}

/** The same of the file that was to be copied. */
export class DamagedSourceError extends Error {
  override readonly name = 'DamagedSourceError';
}

function codeOf(thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

/**
 * Must the file not be trusted after this error? Damage, and a failed write or sync: after that nobody knows what is on the disk. A full disk is
 * none: SQLite rolls back and the file stands where it stood.
 */
export function isDamage(thrown: unknown): boolean {
  const code = codeOf(thrown);
  return thrown instanceof DamagedFileError || /^SQLITE_(CORRUPT|NOTADB|IOERR|SCHEMA|MISMATCH|CONSTRAINT)/.test(code);
}

/** errno of whatever SQLite or a file call threw. */
export function errnoOf(thrown: unknown): ErrnoName {
  if (thrown instanceof OperatingError) return thrown.code;
  const code = codeOf(thrown);
  if (code === 'SQLITE_FULL' || code === 'ENOSPC') return 'ENOSPC';
  if (code.startsWith('SQLITE_READONLY') || code === 'EROFS') return 'EROFS';
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'EBUSY';
  if (code === 'SQLITE_PERM' || code === 'EACCES' || code === 'EPERM') return 'EACCES';
  if (code === 'ENOENT') return 'ENOENT';
  return 'EIO';
}

/** Wraps it. Assertions and other bugs must not get here. */
export function asIndexError(thrown: unknown, detail: ErrorDetail): OperatingError {
  if (thrown instanceof OperatingError) return thrown;
  return new OperatingError(errnoOf(thrown), thrown instanceof Error ? thrown.message : String(thrown), { ...detail, cause: thrown });
}
