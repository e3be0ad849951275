/**
 * What a check finds: every rule that can be broken has a code here, with how bad that is and in which order it is repaired. README.md of this folder
 * shows the same as a table.
 */
import type { BlobId } from '../../base/ids.js';
import type { Change } from '../../namespace/change.js';

/** error: something cannot be reached or read, or might be lost; warning: bookkeeping is wrong, all data is there. */
export type Severity = 'error' | 'warning';

/**
 * Repairs go by stages, and what a later stage repairs is looked at again after an earlier one changed anything: numbers that must never be given twice,
 * then names and contents, then what is counted from those, then the pool's counters.
 */
type Stage = 0 | 1 | 2 | 3;

interface Rule {
  readonly severity: Severity;
  readonly stage: Stage;
}

const rule = (severity: Severity, stage: Stage): Rule => ({ severity, stage });

export const RULES = {
  'row-damaged': rule('error', 1),
  'row-unknown': rule('warning', 1),
  'root-missing': rule('error', 1),
  'next-inode': rule('error', 0),
  'next-cookie': rule('error', 0),
  'order-missing': rule('error', 1),
  'order-stray': rule('error', 1),
  'dirent-parent': rule('error', 1),
  'dirent-dangling': rule('error', 1),
  'dirent-type': rule('error', 1),
  'directory-names': rule('error', 1),
  'directory-parent': rule('error', 1),
  'directory-loop': rule('error', 1),
  'directory-size': rule('warning', 2),
  'no-name': rule('error', 1),
  links: rule('error', 2),
  'orphan-stray': rule('error', 1),
  'xattr-flag': rule('error', 1),
  'xattr-stray': rule('warning', 1),
  'symlink-missing': rule('error', 1),
  'symlink-stray': rule('warning', 1),
  'extent-overlap': rule('error', 1),
  'extent-beyond': rule('error', 1),
  'extent-outside': rule('error', 1),
  'content-lost': rule('error', 1),
  'content-stray': rule('warning', 1),
  allocated: rule('warning', 2),
  'blob-missing': rule('error', 1),
  'blob-unreferenced': rule('warning', 2),
  'blob-disk': rule('error', 2),
  location: rule('error', 1),
  references: rule('error', 2),
  'part-stray': rule('warning', 1),
  'endangered-missing': rule('error', 2),
  'endangered-stray': rule('warning', 2),
  'free-in-use': rule('error', 0),
  counters: rule('warning', 3),
  'quota-stray': rule('warning', 1),
  'quota-mark': rule('warning', 2),
  'quota-parent': rule('warning', 2),
  'quota-count': rule('warning', 3),
  record: rule('error', 2),
  'blob-lost': rule('error', 2),
} as const satisfies Record<string, Rule>;

export type FindingCode = keyof typeof RULES;

/** Where something is wrong. */
export interface FindingPlace {
  readonly ino?: number;
  readonly blob?: BlobId;
  /** A name in a directory. */
  readonly parent?: number;
  readonly name?: string;
}

export interface Finding extends FindingPlace {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** What is wrong, one sentence without the path. */
  readonly message: string;
  /** What a repair does about it; undefined: nothing can be done by itself. */
  readonly repair: string | undefined;
}

/** What a repair does in its transaction; it looks again first. Resolves false when there was nothing to do any more. */
export type Mend = (change: Change) => Promise<boolean>;

export interface Mendable extends Finding {
  readonly mend: Mend | undefined;
}

/** Collects findings: the first ones as they are, all by their number. */
export class Findings {
  readonly all: Mendable[] = [];
  readonly counts = new Map<FindingCode, number>();
  readonly #max: number;

  /** @param max findings that are kept */
  constructor(max: number) {
    this.#max = max;
  }

  get total(): number {
    let total = 0;
    for (const count of this.counts.values()) total += count;
    return total;
  }

  add(code: FindingCode, place: FindingPlace, message: string, repair?: string, mend?: Mend): void {
    this.counts.set(code, (this.counts.get(code) ?? 0) + 1);
    if (this.all.length >= this.#max) return;
    const { severity } = RULES[code];
    this.all.push({ code, severity, ...place, message, repair, mend: repair === undefined ? undefined : mend });
  }
}
