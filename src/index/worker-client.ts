/**
 * The main thread's side of a replica's thread. The thread starts with the first request and ends with `end`. It keeps the process alive only
 * while a request is under way. A thread that shows no sign of life for REPLICA_STALL_MS hangs in its disk: it is left behind (nothing can stop a
 * system call that does not return), its request and all later ones fail with ETIMEDOUT.
 */
import { Worker } from 'node:worker_threads';
import { assert, AssertionError } from '../base/assert.js';
import type { Cancel, Clock } from '../base/clock.js';
import { OperatingError, type ErrorDetail } from '../base/errors.js';
import { REPLICA_CALLS_MAX, REPLICA_STALL_MS } from '../base/limits.js';
import type { Job, JobAnswers, JobFailure, Reply, Request } from './worker-jobs.js';

/** What a request failed with; `damaged`: the file that must not be trusted any more. */
export class JobError extends OperatingError {
  readonly damaged: JobFailure['damaged'];

  constructor({ code, message, damaged }: Pick<JobFailure, 'code' | 'message' | 'damaged'>, detail: ErrorDetail) {
    super(code, message, detail);
    this.damaged = damaged;
  }
}

interface Pending {
  readonly kind: Job['kind'];
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A replica's thread is small: it holds one batch's keys and SQLite's cache, which is not on V8's heap. */
const HEAP_MIB = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 };

export class WorkerClient {
  readonly #clock: Clock;
  readonly #detail: ErrorDetail;
  readonly #onStuck: () => void;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #dead: OperatingError | undefined;
  #ended = false;
  #lastId = 0;
  #cancelStall: Cancel | undefined;

  /**
   * @param detail disk and path for errors.
   * @param onStuck called once if the thread has to be left behind.
   */
  constructor(clock: Clock, detail: ErrorDetail, onStuck: () => void) {
    this.#clock = clock;
    this.#detail = detail;
    this.#onStuck = onStuck;
  }

  /** Sends a job; resolves with its answer. @throws JobError, OperatingError ETIMEDOUT or EIO (the thread is gone). */
  request<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<JobAnswers[K]> {
    assert(!this.#ended, 'the replica is closed');
    assert(this.#pending.size < REPLICA_CALLS_MAX, 'too many calls wait for a replica');
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const worker = (this.#worker ??= this.#start());
    const id = ++this.#lastId;
    return new Promise<JobAnswers[K]>((resolve, reject) => {
      this.#pending.set(id, { kind: job.kind, resolve: resolve as (answer: unknown) => void, reject });
      worker.ref();
      this.#watch();
      const request: Request = { id, job };
      worker.postMessage(request);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./replica-worker.js', import.meta.url), {
      name: 'ostraka-replica',
      resourceLimits: HEAP_MIB,
      // Not the process's own flags: some of them are for its main module alone.
      execArgv: [],
    });
    worker.unref();
    worker.on('message', (reply: Reply) => {
      this.#take(reply);
    });
    worker.on('error', (error) => {
      this.#die(new OperatingError('EIO', `a replica's thread ended: ${error.message}`, { ...this.#detail, cause: error }));
    });
    worker.on('exit', () => {
      this.#die(new OperatingError('EIO', "a replica's thread ended", this.#detail));
    });
    return worker;
  }

  #take(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    if (reply.type === 'alive') {
      this.#watch();
      return;
    }
    this.#pending.delete(reply.id);
    this.#watch();
    if (this.#pending.size === 0) this.#worker?.unref();
    if (reply.type === 'done') pending.resolve(reply.answer);
    else if (reply.failure.bug) pending.reject(new AssertionError(reply.failure.message));
    else pending.reject(new JobError(reply.failure, this.#detail));
  }

  /** Starts the stall clock anew, or stops it when nothing is under way. */
  #watch(): void {
    this.#cancelStall?.();
    this.#cancelStall = undefined;
    if (this.#pending.size === 0) return;
    this.#cancelStall = this.#clock.after(REPLICA_STALL_MS, () => {
      this.#onStuck();
      this.#die(new OperatingError('ETIMEDOUT', `a replica did not answer for ${REPLICA_STALL_MS / 1000} s`, this.#detail));
    });
  }

  #die(error: OperatingError): void {
    this.#dead ??= error;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#watch();
    this.#worker?.unref();
    for (const { reject } of pending) reject(this.#dead);
  }

  /** Ends the thread; waits for it unless it hangs. What is under way fails. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const stuck = this.#dead?.code === 'ETIMEDOUT';
    const worker = this.#worker;
    this.#die(new OperatingError('EIO', 'the replica was closed', this.#detail));
    if (worker === undefined) return;
    worker.ref();
    const stopped = worker.terminate();
    if (stuck) worker.unref();
    else await stopped;
  }
}
