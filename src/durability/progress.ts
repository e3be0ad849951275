/**
 * How far a long-running job is: what the daemon answers and the command draws. `Job` is the status of one kind of job as it travels; `Progress` is
 * what the job itself counts on, with its rate smoothed (an exponentially weighted average), so that the time left does not jump.
 */
import type { Clock } from '../base/clock.js';

/**
 * idle: never run; waiting: its turn comes after another job that moves data, or after it is resumed by a start; paused: by the operator; the last three tell
 * how it ended.
 */
export type JobState = 'idle' | 'waiting' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled';

/** One kind of job: what it does now, or how its last run ended. Times are seconds since 1970. */
export interface Job {
  readonly kind: string;
  readonly state: JobState;
  readonly doneBytes: number;
  /** 0: not known, or nothing that is counted in bytes. */
  readonly totalBytes: number;
  readonly doneItems: number;
  readonly totalItems: number;
  /** Bytes a second lately; items where the job counts no bytes. */
  readonly ratePerSecond: number;
  /** Null when nobody can tell. */
  readonly secondsLeft: number | null;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  /** What it is doing, or why it failed. */
  readonly message: string | null;
  /** What the last run that ended found: an object of the kind's own. */
  readonly result: unknown;
}

/** A run that ended. */
export interface JobRun {
  readonly outcome: 'done' | 'failed' | 'cancelled';
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly doneBytes: number;
  readonly doneItems: number;
  readonly message: string | null;
  readonly result: unknown;
}

export function isActive({ state }: Pick<Job, 'state'>): boolean {
  return state === 'waiting' || state === 'running' || state === 'paused';
}

/** A rate is taken over this long at least: single steps come in bursts. */
const SAMPLE_MS = 1000;
/** What was so long ago counts for a third. */
const MEMORY_MS = 15_000;

/** Counts of one run. Bytes where the job has any, items otherwise. */
export class Progress {
  doneBytes = 0;
  doneItems = 0;
  totalBytes = 0;
  totalItems = 0;
  /** What is being done; shown beside the bar. */
  message: string | null = null;
  readonly #clock: Clock;
  #rate: number | undefined;
  #sampleMs: number;
  #sampleAmount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sampleMs = clock.monotonicMs();
  }

  /** Begins (again) at these counts: what was done before says nothing of the rate. */
  restart(doneBytes: number, doneItems: number): void {
    this.doneBytes = doneBytes;
    this.doneItems = doneItems;
    this.#rate = undefined;
    this.#sampleMs = this.#clock.monotonicMs();
    this.#sampleAmount = this.#amount;
  }

  advance(bytes: number, items = 0): void {
    this.doneBytes += bytes;
    this.doneItems += items;
    this.#sample();
  }

  get #amount(): number {
    return this.totalBytes > 0 || this.doneBytes > 0 ? this.doneBytes : this.doneItems;
  }

  #sample(): void {
    const now = this.#clock.monotonicMs();
    const elapsedMs = now - this.#sampleMs;
    if (elapsedMs < SAMPLE_MS) return;
    const rate = Math.max(0, ((this.#amount - this.#sampleAmount) * 1000) / elapsedMs);
    const weight = 1 - Math.exp(-elapsedMs / MEMORY_MS);
    this.#rate = this.#rate === undefined ? rate : this.#rate + weight * (rate - this.#rate);
    this.#sampleMs = now;
    this.#sampleAmount = this.#amount;
  }

  /** A second lately. */
  get ratePerSecond(): number {
    this.#sample();
    return this.#rate ?? 0;
  }

  get secondsLeft(): number | null {
    const rate = this.ratePerSecond;
    const total = this.totalBytes > 0 ? this.totalBytes : this.doneBytes > 0 ? 0 : this.totalItems;
    if (total === 0 || rate <= 0) return null;
    return Math.max(0, Math.round((total - this.#amount) / rate));
  }
}
