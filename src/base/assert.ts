/**
 * Assertions for what must hold whatever the world does. A failed one is a bug of ours: it is never caught and handled, the
 * process ends (crash recovery is safe, going on is not).
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/**
 * Ends the process (by an uncaught exception) unless `condition` holds.
 * @param message as a function where it is put together of numbers, on paths where that would take longer than the rest of it
 */
export function assert(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionError(typeof message === 'string' ? message : message());
}

/** Asserts that `value` is there and returns it. */
export function must<T>(value: T | undefined | null, message: string | (() => string)): T {
  assert(value !== undefined && value !== null, message);
  return value;
}
