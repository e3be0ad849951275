/**
 * What the index remembers of jobs: the run under way of each kind, and its last runs. Transactions touch rows of the table alone, so they need no turn of the
 * namespace. On a pool that is read-only runs are remembered as long as the process lives.
 */
import { asOperatingError } from '../base/errors.js';
import { JOB_KINDS_MAX, JOB_RUNS_KEPT } from '../base/limits.js';
import type { JobRun } from '../durability/progress.js';
import type { IndexStore } from '../index/index-store.js';
import {
  decodeJob,
  decodeJobRun,
  encodeJob,
  encodeJobRun,
  jobKey,
  jobRange,
  parseJobKey,
  type JobRow,
  type JobRunRow,
} from '../index/schema/job-rows.js';
import type { Log } from './logger.js';

/** A run under way as it was saved. */
export interface SavedJob extends Omit<JobRow, 'options' | 'cursor'> {
  readonly options: Readonly<Record<string, unknown>>;
  readonly cursor: unknown;
}

interface Kept {
  readonly number: number;
  readonly run: JobRun;
}

export class JobStore {
  readonly #saved = new Map<string, SavedJob>();
  /** Oldest first. */
  readonly #runs = new Map<string, Kept[]>();
  readonly #index: IndexStore;
  readonly #log: Log;

  constructor(index: IndexStore, log: Log) {
    this.#index = index;
    this.#log = log;
  }

  /** Reads what is there. A row that cannot be read costs what it says, nothing else. */
  async load(): Promise<void> {
    for (const { key, value } of await this.#index.scan(jobRange(JOB_KINDS_MAX * (JOB_RUNS_KEPT + 1)))) {
      try {
        const { kind, run } = parseJobKey(key);
        if (run === 0) {
          const row = decodeJob(value);
          this.#saved.set(kind, { ...row, options: objectOf(parse(row.options)), cursor: parse(row.cursor) });
        } else this.#keep(kind, { number: run, run: fromRow(decodeJobRun(value)) });
      } catch (error) {
        this.#log('warn', `a row about a job cannot be read: ${asOperatingError(error).message}`);
      }
    }
  }

  #keep(kind: string, kept: Kept): Kept | undefined {
    const runs = this.#runs.get(kind) ?? [];
    this.#runs.set(kind, runs);
    runs.push(kept);
    return runs.length > JOB_RUNS_KEPT ? runs.shift() : undefined;
  }

  /** Runs that were under way when the last process ended. */
  saved(): ReadonlyMap<string, SavedJob> {
    return this.#saved;
  }

  /** Newest first. */
  runs(kind: string): JobRun[] {
    return [...(this.#runs.get(kind) ?? [])].reverse().map(({ run }) => run);
  }

  /** Writes down where a run stands. @throws OperatingError EROFS */
  async save(kind: string, job: SavedJob): Promise<void> {
    const row = encodeJob({
      ...job,
      options: JSON.stringify(job.options),
      cursor: job.cursor === undefined ? '' : JSON.stringify(job.cursor),
    });
    await this.#index.transact(async (tx) => {
      tx.put(jobKey(kind), row);
    });
  }

  /** A run has ended: its row becomes one of the last runs, the oldest of which goes. @param persistently false: in memory alone */
  async end(kind: string, run: JobRun, persistently: boolean): Promise<void> {
    const number = (this.#runs.get(kind)?.at(-1)?.number ?? 0) + 1;
    const oldest = this.#keep(kind, { number, run });
    if (!persistently) return;
    const row = encodeJobRun(toRow(run));
    await this.#index.transact(async (tx) => {
      tx.delete(jobKey(kind));
      tx.put(jobKey(kind, number), row);
      if (oldest !== undefined) tx.delete(jobKey(kind, oldest.number));
    });
  }
}

function parse(json: string): unknown {
  return json === '' ? undefined : JSON.parse(json);
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function fromRow(row: JobRunRow): JobRun {
  return { ...row, message: row.message === '' ? null : row.message, result: parse(row.result) ?? null };
}

function toRow(run: JobRun): JobRunRow {
  return { ...run, message: run.message ?? '', result: run.result === null || run.result === undefined ? '' : JSON.stringify(run.result) };
}
