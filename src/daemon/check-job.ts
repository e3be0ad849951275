/**
 * The check of an open pool as a job, and what it found: findings stay in memory, with the paths of the files that they are about, until the next check; the
 * command asks for them a page at a time. Repairs are made only where nobody uses the pool and no service runs: opened read-only, without a mount.
 */
import type { Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { check, repair, type CheckOptions, type CheckPhase, type CheckReport } from '../durability/check/check.js';
import type { Finding, FindingCode } from '../durability/check/finding.js';
import { filesOfBlobs } from '../durability/check/files.js';
import type { JobContext, JobKind, JobOptions } from '../durability/job.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { IndexStore } from '../index/index-store.js';
import type { Ledger } from '../namespace/ledger.js';
import type { Storage } from '../storage/storage.js';
import { pathsByInode } from './inode-paths.js';
import type { Log } from './logger.js';

/** What of the records is read: nothing, their headers, or everything. */
export type CheckDepth = 'none' | 'headers' | 'frames';

/** A finding as the command shows it. */
export interface FindingReport extends Finding {
  /** Below the mount point, one character a byte; several where a blob is in several files. */
  readonly paths: readonly string[];
}

/** The result of a check: an object of the job's own. */
export interface CheckResult {
  readonly position: number;
  readonly rows: number;
  readonly records: CheckReport['records'] | null;
  /** How much was found at first, by its code. */
  readonly counts: Readonly<Partial<Record<FindingCode, number>>>;
  readonly total: number;
  readonly repaired: number;
  /** What is left after a repair; without one, `total`. */
  readonly left: number;
}

/** found: by the check; steps: repairs that are about to be made, or were; repaired: done, in order; left: what the repair could not do. */
export type FindingList = 'found' | 'steps' | 'repaired' | 'left';

/** Findings in one answer: each has a few hundred bytes, and a line of the control socket 1 MiB. */
const PAGE_FINDINGS = 100;
/** Files that are named for one finding. */
const PATHS_MAX = 8;
/** So long a repair waits for a command that wants to say its steps before they are made; one that is gone does not hold it up. */
const SAID_LIMIT_MS = 10_000;
const SAID_LOOK_MS = 20;

const PHASES: Readonly<Record<CheckPhase, string>> = {
  rows: 'reading every row of the index',
  names: 'names, directories and links',
  contents: "files' contents",
  blobs: 'blobs and their references',
  quotas: 'quotas',
  records: 'records on the disks',
};

export interface CheckJobOptions {
  readonly index: IndexStore;
  readonly storage: Storage;
  readonly ledger: Ledger;
  readonly diskSet: DiskSet;
  readonly clock: Clock;
  readonly log: Log;
  /** Puts a snapshot of the index on the disks: before repairs. */
  readonly snapshot: () => Promise<unknown>;
  /** No service runs and nobody can write: repairs may be made. */
  readonly quiet: boolean;
}

export class CheckJob {
  readonly #options: CheckJobOptions;
  readonly #lists: Record<FindingList, readonly FindingReport[]> = { found: [], steps: [], repaired: [], left: [] };
  /** Steps that somebody has asked for. */
  #saidSteps = 0;

  constructor(options: CheckJobOptions) {
    this.#options = options;
  }

  /** For the runner of jobs. */
  get kind(): JobKind {
    return {
      kind: 'check',
      turn: undefined,
      readsOnly: true,
      check: (options) => {
        this.#checkOptions(options);
      },
      run: (context) => this.#run(context),
    };
  }

  /** Findings of the last check, in pages. */
  findings(list: FindingList, from: number): { findings: readonly FindingReport[]; total: number } {
    const all = this.#lists[list];
    const findings = all.slice(from, from + PAGE_FINDINGS);
    if (list === 'steps') this.#saidSteps = Math.max(this.#saidSteps, from + findings.length);
    return { findings, total: all.length };
  }

  #checkOptions(options: JobOptions): { depth: CheckDepth; repair: boolean; says: boolean } {
    const { depth = 'headers', repair: mends = false, says = false } = options;
    if ((depth !== 'none' && depth !== 'headers' && depth !== 'frames') || typeof mends !== 'boolean')
      throw new OperatingError('EINVAL', 'a check has a depth (none, headers, frames) and may repair');
    const { quiet, index } = this.#options;
    if (mends && !quiet)
      throw new OperatingError('EBUSY', 'a pool in use is not repaired', {
        hint: 'Unmount it first; "check" without --repair works at any time.',
      });
    if (mends && !index.writable)
      throw new OperatingError('EROFS', 'the pool is read-only: without a majority of its voters nothing can be repaired', {
        hint: 'Bring back its disks, or see "ostraka recover --help".',
      });
    return { depth, repair: mends, says: says === true };
  }

  async #run(context: JobContext): Promise<CheckResult> {
    const { depth, repair: mends, says } = this.#checkOptions(context.options);
    const { index, storage, ledger, diskSet, clock } = this.#options;
    const { progress } = context;
    const options: CheckOptions = {
      index,
      clock,
      disks: new Set(diskSet.membership.members.filter(({ role }) => role === 'data').map(({ number }) => number)),
      ...(depth !== 'none' && { records: { storage, depth } }),
      progress: (phase, done, total) => {
        progress.message = PHASES[phase];
        progress.doneItems = done;
        progress.totalItems = total;
      },
      checkpoint: () => context.checkpoint(),
    };
    this.#lists.found = this.#lists.steps = this.#lists.repaired = this.#lists.left = [];
    this.#saidSteps = 0;
    if (!mends) {
      const report = await check(options);
      this.#lists.found = await this.#withPaths(report.findings);
      return result(report, 0, report.total);
    }
    const told = async (steps: readonly Finding[]): Promise<void> => {
      for (const { code, message, repair: what } of steps) this.#options.log('warn', `repair: ${message}: ${what ?? ''}`, { code });
      this.#lists.steps = [...this.#lists.steps, ...(await this.#withPaths(steps))];
      if (says) await this.#said();
    };
    // What a repair does can be taken back by a recovery from it.
    progress.message = 'taking a snapshot of the index';
    await this.#options.snapshot();
    const { before, repaired, after } = await repair({ ...options, ledger, told });
    this.#lists.found = await this.#withPaths(before.findings);
    this.#lists.repaired = await this.#withPaths(repaired);
    this.#lists.left = await this.#withPaths(after.findings);
    return result(before, repaired.length, after.total);
  }

  /** Resolves when the command has all steps, or does not come for them. */
  async #said(): Promise<void> {
    const { clock } = this.#options;
    const end = clock.monotonicMs() + SAID_LIMIT_MS;
    while (this.#saidSteps < this.#lists.steps.length && clock.monotonicMs() < end) await clock.sleep(SAID_LOOK_MS);
  }

  /** Names for the files that findings are about. What has none now is told without. */
  async #withPaths(findings: readonly Finding[]): Promise<FindingReport[]> {
    const { index, clock } = this.#options;
    const blobs = new Set(findings.flatMap(({ blob, ino }) => (blob !== undefined && ino === undefined ? [blob] : [])));
    const files = await filesOfBlobs({ view: index, pause: () => clock.yield() }, blobs);
    const inos = new Set<number>();
    for (const { ino, parent } of findings) for (const each of [ino, parent]) if (each !== undefined) inos.add(each);
    for (const each of files.values()) for (const ino of each) inos.add(ino);
    const paths = await pathsByInode(index, clock, [...inos]);
    return findings.map((finding) => {
      const { ino, parent, name, blob } = finding;
      const folder = parent === undefined ? undefined : paths.get(parent);
      if (folder !== undefined && name !== undefined) return { ...finding, paths: [folder === '' ? name : `${folder}/${name}`] };
      const of = ino !== undefined ? [ino] : blob !== undefined ? (files.get(blob) ?? []) : [];
      return { ...finding, paths: of.slice(0, PATHS_MAX).flatMap((each) => paths.get(each) ?? []) };
    });
  }
}

function result({ position, rows, records, counts, total }: CheckReport, repaired: number, left: number): CheckResult {
  return { position, rows, records: records ?? null, counts, total, repaired, left };
}
