/** What a simulation throws when a promise was broken: which one, and how. Anything else that it throws is a bug as well. */

/** The invariants of a pool, as src/README.md numbers them, and what else is checked. */
export type Rule =
  | 'I1 written once'
  | 'I2 data before pointer'
  | 'I3 one swap'
  | 'I4 prefix'
  | 'I4 durable'
  | 'I4 committed'
  | 'I5 free late'
  | 'I6 verify on read'
  | 'I7 m losses'
  | 'I8 loud'
  | 'I9 one owner'
  | 'I10 stranded space'
  | 'rows'
  | 'names'
  | 'bytes'
  | 'heal'
  | 'jobs'
  | 'members'
  | 'snapshots'
  | 'progress';

export class Violation extends Error {
  constructor(
    readonly rule: Rule,
    message: string,
  ) {
    super(`${rule}: ${message}`);
    this.name = 'Violation';
  }
}

/** Throws a violation of `rule` unless `condition` holds. */
export function expect(condition: boolean, rule: Rule, message: string | (() => string)): asserts condition {
  if (!condition) throw new Violation(rule, typeof message === 'string' ? message : message());
}
