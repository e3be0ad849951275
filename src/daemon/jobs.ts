/**
 * The runner of long jobs: scrub, heal, drain and the like. One run of each kind at a time; of those that move data one at all, the others wait at their
 * checkpoints. A run survives the process: its row says what was asked for and where it stood, and `begin` carries it on.
 *
 *            start                    checkpoint: somebody more important waits
 *   idle ───────────▶ waiting ─turn─▶ running ────────────────────────────────▶ waiting
 *                        │               │ pause (at a checkpoint)
 *                        │               ▼
 *                        │            paused ──resume, start──▶ waiting
 *                        ▼               ▼
 *                     cancelled, done, failed (with its message) ──start──▶ waiting …
 *
 * The daemon makes one for each open pool and stops it before the services' ground is taken away.
 */
import { AssertionError } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { JOB_SAVE_INTERVAL_MS } from '../base/limits.js';
import { JobEnded, JobUnfinished, type JobContext, type JobKind, type JobOptions } from '../durability/job.js';
import { Progress, type Job, type JobRun } from '../durability/progress.js';
import type { IndexStore } from '../index/index-store.js';
import { JobStore } from './job-store.js';
import { JobTurns } from './job-turns.js';
import type { Log } from './logger.js';

export type JobAction = 'start' | 'pause' | 'resume' | 'cancel' | 'status';

/** What a control request about a job is answered with. */
export interface JobAnswer {
  readonly job: Job;
  /** Newest first. */
  readonly history: readonly JobRun[];
}

/** A run under way. */
interface Run {
  readonly kind: JobKind;
  readonly progress: Progress;
  readonly startedAt: number;
  options: JobOptions;
  cursor: unknown;
  state: 'waiting' | 'running' | 'paused';
  pausing: boolean;
  /** Why it shall end. stop: the process ends, the run goes on with the next one. */
  ending: 'cancel' | 'stop' | undefined;
  savedMs: number;
  /** How it ended is being written down. */
  finished: boolean;
  /** Ends what it waits for at a checkpoint. */
  wake: () => void;
  ended: Promise<void>;
  /** Several parts of a job may come to a checkpoint at one time: they pass it together. */
  passing: Promise<void> | undefined;
}

export interface JobRunnerOptions {
  readonly index: IndexStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Mounted read-only because the operator wanted it so: nothing is started that writes. */
  readonly readOnly: boolean;
}

export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #kinds = new Map<string, JobKind>();
  readonly #runs = new Map<string, Run>();
  readonly #turns = new JobTurns();
  readonly #store: JobStore;
  #stopping = false;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
    this.#store = new JobStore(options.index, options.log);
  }

  /** Before `begin`. */
  register(kind: JobKind): void {
    this.#kinds.set(kind.kind, kind);
  }

  /** Reads what is remembered, and carries on what was under way. */
  async begin(): Promise<void> {
    await this.#store.load();
    for (const [name, saved] of this.#store.saved()) {
      const kind = this.#kinds.get(name);
      if (kind === undefined || !this.#mayWrite) continue;
      const run = this.#newRun(kind, saved.options, saved.startedAt);
      run.cursor = saved.cursor;
      run.pausing = saved.paused;
      run.progress.restart(saved.doneBytes, saved.doneItems);
      this.#go(run);
    }
  }

  get #mayWrite(): boolean {
    return !this.#options.readOnly && this.#options.index.writable;
  }

  /** Does what a control request asks. @throws OperatingError EINVAL no such kind, or options that make no sense; EROFS; EALREADY; ENOENT nothing is under way */
  async request(kind: string, action: JobAction, options: JobOptions = {}): Promise<JobAnswer> {
    if (action === 'start') await this.start(kind, options);
    else if (action === 'pause') await this.#pause(kind);
    else if (action === 'resume') await this.#resume(kind);
    else if (action === 'cancel') await this.cancel(kind);
    return { job: this.status(kind), history: this.#store.runs(kind) };
  }

  /** Starts a run; one that is under way already takes over the options, and goes on if it was paused. Resolves when that will survive the process. */
  async start(name: string, options: JobOptions = {}): Promise<void> {
    const kind = this.#kind(name);
    kind.check?.(options);
    if (this.#stopping) throw new OperatingError('ECONNRESET', 'the daemon is about to end');
    if (kind.readsOnly !== true && !this.#mayWrite)
      throw new OperatingError('EROFS', 'the pool is read-only', { hint: 'see `ostraka status` for the reason' });
    let run = this.#runs.get(name);
    while (run?.finished === true) {
      await run.ended;
      run = this.#runs.get(name);
    }
    if (run === undefined) {
      run = this.#newRun(kind, options, this.#options.clock.now().seconds);
      this.#go(run);
    } else {
      run.options = { ...run.options, ...options };
      run.pausing = false;
      run.wake();
    }
    await this.#save(run);
  }

  async #pause(name: string): Promise<void> {
    const run = this.#underWay(name);
    run.pausing = true;
    // One that waits for its turn waits for nothing now.
    if (run.state === 'waiting') run.wake();
    await this.#save(run);
  }

  async #resume(name: string): Promise<void> {
    const run = this.#underWay(name);
    run.pausing = false;
    run.wake();
    await this.#save(run);
  }

  /** Ends a run before its time, and waits until it has ended. Nothing to do where none is under way. */
  async cancel(name: string): Promise<void> {
    this.#kind(name);
    const run = this.#runs.get(name);
    if (run === undefined) return;
    run.ending = 'cancel';
    run.wake();
    await run.ended;
  }

  isActive(name: string): boolean {
    return this.#runs.has(name);
  }

  status(name: string): Job {
    this.#kind(name);
    const run = this.#runs.get(name);
    const last = this.#store.runs(name)[0];
    const nothing = { doneBytes: 0, totalBytes: 0, doneItems: 0, totalItems: 0, ratePerSecond: 0, secondsLeft: null };
    if (run !== undefined) {
      const { progress, state, startedAt } = run;
      const { doneBytes, totalBytes, doneItems, totalItems, message } = progress;
      const idle = state !== 'running';
      const rate = idle ? nothing : { ratePerSecond: progress.ratePerSecond, secondsLeft: progress.secondsLeft };
      const counts = { doneBytes, totalBytes, doneItems, totalItems, ratePerSecond: rate.ratePerSecond, secondsLeft: rate.secondsLeft };
      return { kind: name, state, ...counts, startedAt, finishedAt: null, message, result: last?.result ?? null };
    }
    if (last === undefined)
      return { kind: name, state: 'idle', ...nothing, startedAt: null, finishedAt: null, message: null, result: null };
    const { outcome, startedAt, finishedAt, doneBytes, doneItems, message, result } = last;
    return { kind: name, state: outcome, ...nothing, doneBytes, doneItems, startedAt, finishedAt, message, result };
  }

  /** All kinds, in the order in which they were registered. */
  all(): Job[] {
    return [...this.#kinds.keys()].map((kind) => this.status(kind));
  }

  /** Newest first. */
  history(name: string): JobRun[] {
    return this.#store.runs(name);
  }

  /** Ends all runs at their next checkpoint; they go on with the next process. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const runs = [...this.#runs.values()];
    for (const run of runs) {
      run.ending ??= 'stop';
      run.wake();
    }
    await Promise.all(runs.map(({ ended }) => ended));
  }

  #kind(name: string): JobKind {
    const kind = this.#kinds.get(name);
    if (kind === undefined && !this.#mayWrite)
      throw new OperatingError('EROFS', 'the pool is read-only', { hint: 'see `ostraka status` for the reason' });
    if (kind === undefined) throw new OperatingError('EINVAL', `there is no job called "${name}" here`);
    return kind;
  }

  #underWay(name: string): Run {
    this.#kind(name);
    const run = this.#runs.get(name);
    if (run === undefined) throw new OperatingError('ENOENT', `no ${name} is under way`, { hint: `Start one first: ostraka ${name} NAME` });
    return run;
  }

  #newRun(kind: JobKind, options: JobOptions, startedAt: number): Run {
    const progress = new Progress(this.#options.clock);
    const ended = Promise.resolve();
    const common = {
      kind,
      progress,
      startedAt,
      options,
      ended,
      cursor: undefined,
      savedMs: 0,
      finished: false,
      passing: undefined,
      wake: () => undefined,
    };
    return { ...common, state: 'waiting', pausing: false, ending: undefined };
  }

  #go(run: Run): void {
    this.#runs.set(run.kind.kind, run);
    run.ended = this.#run(run);
  }

  async #run(run: Run): Promise<void> {
    const { clock, log } = this.#options;
    const { kind } = run.kind;
    const context: JobContext = {
      progress: run.progress,
      get options() {
        return run.options;
      },
      cursor: run.cursor,
      checkpoint: () => this.#pass(run),
      ending: () => run.ending !== undefined,
      save: async (cursor) => {
        run.cursor = cursor;
        if (clock.monotonicMs() - run.savedMs >= JOB_SAVE_INTERVAL_MS) await this.#save(run);
      },
    };
    let ended: Pick<JobRun, 'outcome' | 'message' | 'result'>;
    try {
      // Whoever started it is answered first.
      await clock.yield();
      ended = { outcome: 'done', message: null, result: (await this.#inTurn(run, () => run.kind.run(context))) ?? null };
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown;
      const { code, message } = asOperatingError(thrown);
      if (thrown instanceof JobEnded) ended = { outcome: 'cancelled', message: null, result: null };
      else ended = { outcome: 'failed', message, result: thrown instanceof JobUnfinished ? thrown.result : null };
      if (ended.outcome === 'failed') log('warn', `${kind} failed: ${message}`, { code });
    }
    await this.#finish(run, ended);
  }

  async #finish(run: Run, ended: Pick<JobRun, 'outcome' | 'message' | 'result'>): Promise<void> {
    const { clock, log } = this.#options;
    const { kind } = run.kind;
    const { doneBytes, doneItems } = run.progress;
    try {
      // The next process carries it on from where it stands now.
      if (ended.outcome === 'cancelled' && run.ending === 'stop') await this.#save(run);
      else {
        run.finished = true;
        const times = { startedAt: run.startedAt, finishedAt: clock.now().seconds };
        await this.#store.end(kind, { ...ended, ...times, doneBytes, doneItems }, this.#mayWrite);
      }
    } catch (thrown) {
      log('warn', `how ${kind} ended could not be written down: ${asOperatingError(thrown).message}`);
    } finally {
      this.#runs.delete(kind);
    }
  }

  /** Runs `work` in the turn of those that move data, if it is one of them. */
  async #inTurn(run: Run, work: () => Promise<unknown>): Promise<unknown> {
    if (run.kind.turn === undefined) {
      await this.#checkpoint(run);
      return work();
    }
    try {
      await this.#checkpoint(run);
      return await work();
    } finally {
      if (run.state === 'running') this.#turns.give();
    }
  }

  #pass(run: Run): Promise<void> {
    run.passing ??= this.#checkpoint(run).finally(() => (run.passing = undefined));
    return run.passing;
  }

  /** The state is `running` when this resolves, and only then does the run have the turn. @throws JobEnded */
  async #checkpoint(run: Run): Promise<void> {
    const { turn } = run.kind;
    for (;;) {
      if (run.ending !== undefined) throw new JobEnded();
      if (!run.pausing && run.state === 'running' && (turn === undefined || !this.#turns.isWantedBefore(turn))) return;
      if (run.state === 'running' && turn !== undefined) this.#turns.give();
      run.state = run.pausing ? 'paused' : 'waiting';
      if (run.pausing) {
        await new Promise<void>((resolve) => (run.wake = resolve));
        run.wake = () => undefined;
      } else if (turn === undefined || (await this.#turns.take(turn, (abandon) => (run.wake = abandon)))) {
        run.state = 'running';
        run.wake = () => undefined;
      }
    }
  }

  async #save(run: Run): Promise<void> {
    if (run.kind.readsOnly === true || !this.#mayWrite) return;
    // A run that ended meanwhile has no row any more.
    if (run.finished) return;
    const { doneBytes, doneItems } = run.progress;
    const { startedAt, options, cursor } = run;
    run.savedMs = this.#options.clock.monotonicMs();
    await this.#store.save(run.kind.kind, { paused: run.pausing, startedAt, doneBytes, doneItems, options, cursor });
  }

  /** The last run of a kind that found something, for the status of the pool. */
  lastResult(name: string): JobRun | undefined {
    return this.#store.runs(name).find(({ result }) => result !== null);
  }
}
