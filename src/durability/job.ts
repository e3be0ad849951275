/**
 * What a service that runs for minutes or days is to the daemon's job runner, and what the runner is to it. Between two of its steps a job passes a
 * checkpoint: there it waits while it is paused or another one has the turn, and learns that it shall end.
 */
import type { Progress } from './progress.js';

/** What a job says when it is asked to end; nothing went wrong. Thrown by `checkpoint`, passed on by the job. */
export class JobEnded extends Error {
  override readonly name = 'JobEnded';

  constructor() {
    super('the job ends before its time');
  }
}

/** A run that came to its end and did not reach what it is for: it counts as failed, with this message, and what it found is its result. */
export class JobUnfinished extends Error {
  override readonly name = 'JobUnfinished';

  constructor(
    message: string,
    readonly result: unknown,
  ) {
    super(message);
  }
}

/** Options of a start as they came from the operator: checked by the kind that they are for. */
export type JobOptions = Readonly<Record<string, unknown>>;

export interface JobContext {
  readonly progress: Progress;
  /** As of now: a start of a job that runs already changes them. */
  readonly options: JobOptions;
  /** What the run that is carried on had saved last; undefined in a run that begins. */
  readonly cursor: unknown;
  /** Call it between two steps, often. @throws JobEnded when it was cancelled or the daemon stops: pass it on, leaving nothing half done. */
  checkpoint(): Promise<void>;
  /** The same question without waiting. */
  ending(): boolean;
  /** Remembers where to carry on after a restart: a small value that is JSON. Written every few seconds. */
  save(cursor: unknown): Promise<void>;
}

export interface JobKind {
  /** Letters; the operator's word for it. */
  readonly kind: string;
  /**
   * Of jobs that move data only one runs at a time; the others wait at their checkpoints. One with a higher number goes first, also before one that runs
   * already. Undefined: runs beside all others.
   */
  readonly turn: number | undefined;
  /** It only reads: may run on a pool that is read-only, and leaves no rows there. */
  readonly readsOnly?: boolean;
  /** Refuses options that make no sense. @throws OperatingError EINVAL */
  check?(options: JobOptions): void;
  /** One run, from its cursor on. What it resolves with is the result: a value that is JSON, of bounded size. */
  run(context: JobContext): Promise<unknown>;
}

/** The order of those that move data: repair first, then what the operator waits for, then what looks for damage. */
export const JOB_TURNS = { heal: 4, drain: 3, rebalance: 2, scrub: 1 } as const;
