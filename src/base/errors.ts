/**
 * Operating errors: what a disk, a kernel or a user can do to us. They are values with a code, the disk and path
 * concerned and a hint for the operator. Programmer errors are assertions (`assert.ts`) and end the process.
 */
import { constants } from 'node:os';

/** Symbolic errno names as in errno(3). */
export type ErrnoName = keyof typeof constants.errno | 'ENOTSUP' | 'EDQUOT' | 'ENODATA' | 'ESTALE';

/** What an operating error may carry beside its code. */
export interface ErrorDetail {
  /** The disk's directory as given to `init`, or its id where no directory is known. */
  disk?: string | undefined;
  /** File or directory concerned. */
  path?: string | undefined;
  /** What the operator can do about it, one sentence. */
  hint?: string | undefined;
  cause?: unknown;
}

/** An error of operation: expected, handled, shown. */
export class OperatingError extends Error {
  readonly code: ErrnoName;
  readonly disk: string | undefined;
  readonly path: string | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrnoName, message: string, detail: ErrorDetail = {}) {
    // "No such name" is the answer to every other lookup: where it was made tells nobody anything, and the stack is most of its cost.
    const limit = Error.stackTraceLimit;
    if (code === 'ENOENT' || code === 'ENODATA') Error.stackTraceLimit = 0;
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    Error.stackTraceLimit = limit;
    this.name = 'OperatingError';
    this.code = code;
    this.disk = detail.disk;
    this.path = detail.path;
    this.hint = detail.hint;
  }

  /** errno(3) number, positive. */
  get errno(): number {
    return errnoNumber(this.code);
  }
}

/** True for the operating error of this code. */
export function isErrno(thrown: unknown, code: ErrnoName): boolean {
  return thrown instanceof OperatingError && thrown.code === code;
}

const numbers = constants.errno as Readonly<Record<string, number>>;
const names = new Map<number, ErrnoName>();
for (const [name, number] of Object.entries(numbers)) if (!names.has(number)) names.set(number, name as ErrnoName);

/** The positive number of an errno name on this system. Unknown names are EIO. */
export function errnoNumber(name: ErrnoName): number {
  return numbers[name] ?? numbers.EIO ?? 5;
}

/** The errno name of a positive number. Unknown numbers are EIO. */
export function errnoName(number: number): ErrnoName {
  return names.get(number) ?? 'EIO';
}

/** Wraps whatever was thrown by a system call (Node's or native errors carry `code`) as an operating error. */
export function asOperatingError(thrown: unknown, detail: ErrorDetail = {}): OperatingError {
  if (thrown instanceof OperatingError) return thrown;
  const code = (thrown as { code?: unknown } | null)?.code;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const name = typeof code === 'string' && code in numbers ? (code as ErrnoName) : 'EIO';
  return new OperatingError(name, message, { ...detail, cause: thrown });
}
