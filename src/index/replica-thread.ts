/**
 * The main thread's side of one thread in which SQLite runs (replica-worker.ts). Serves one job at a time, for whichever replica it is. Made and ended by
 * `ReplicaThreads` alone. It keeps the process alive only while a job is under way.
 */
import { Worker } from 'node:worker_threads';
import { assert, AssertionError } from '../base/assert.js';
import { OperatingError, type ErrorDetail } from '../base/errors.js';
import type { Job, JobAnswers, JobFailure, Reply, Request } from './worker-jobs.js';

/** What a job failed with; `damaged`: the file that must not be trusted any more. */
export class JobError extends OperatingError {
  readonly damaged: JobFailure['damaged'];

  constructor({ code, message, damaged }: Pick<JobFailure, 'code' | 'message' | 'damaged'>, detail: ErrorDetail) {
    super(code, message, detail);
    this.damaged = damaged;
  }
}

interface Running {
  readonly id: number;
  readonly detail: ErrorDetail;
  readonly alive: () => void;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** The thread is small: it holds one batch's keys and SQLite's cache, which is not on V8's heap. */
const HEAP_MIB = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 };

export class ReplicaThread {
  readonly #worker: Worker;
  #running: Running | undefined;
  #lastId = 0;
  #gone: Error | undefined;

  constructor() {
    this.#worker = new Worker(new URL('./replica-worker.js', import.meta.url), {
      name: 'ostraka-replica',
      resourceLimits: HEAP_MIB,
      // Not the process's own flags: some of them are for its main module alone.
      execArgv: [],
    });
    this.#worker.unref();
    this.#worker.on('message', (reply: Reply) => {
      this.#take(reply);
    });
    this.#worker.on('error', (error) => {
      this.#end(error);
    });
    this.#worker.on('exit', () => {
      this.#end(new Error('it was stopped'));
    });
  }

  /** False once the thread has ended. */
  get usable(): boolean {
    return this.#gone === undefined;
  }

  /**
   * Runs a job; `alive` is called whenever it shows that it goes on, `detail` is for errors.
   * @throws JobError; OperatingError EIO when the thread has ended.
   */
  run<K extends Job['kind']>(job: Extract<Job, { kind: K }>, detail: ErrorDetail, alive: () => void): Promise<JobAnswers[K]> {
    assert(this.#running === undefined, 'a thread runs one job at a time');
    if (this.#gone !== undefined) return Promise.reject(ended(this.#gone, detail));
    const id = ++this.#lastId;
    return new Promise<JobAnswers[K]>((resolve, reject) => {
      this.#running = { id, detail, alive, resolve: resolve as (answer: unknown) => void, reject };
      this.#worker.ref();
      const request: Request = { id, job };
      this.#worker.postMessage(request);
    });
  }

  /** Nothing more comes for now: the thread lets go of memory. */
  rest(): void {
    const request: Request = { id: 0, job: { kind: 'rest' } };
    this.#worker.postMessage(request);
  }

  /** It hangs: the process does not wait for it. */
  leaveBehind(): void {
    this.#worker.unref();
  }

  /** Stops the thread. Not while a job is under way. */
  async end(): Promise<void> {
    assert(this.#running === undefined, 'a thread that works is not stopped');
    this.#worker.ref();
    await this.#worker.terminate();
  }

  #take(reply: Reply): void {
    const running = this.#running;
    if (running?.id !== reply.id) return;
    if (reply.type === 'alive') {
      running.alive();
      return;
    }
    this.#running = undefined;
    this.#worker.unref();
    if (reply.type === 'done') running.resolve(reply.answer);
    else if (reply.failure.bug) running.reject(new AssertionError(reply.failure.message));
    else running.reject(new JobError(reply.failure, running.detail));
  }

  #end(why: Error): void {
    this.#gone ??= why;
    const running = this.#running;
    this.#running = undefined;
    running?.reject(ended(this.#gone, running.detail));
  }
}

function ended(why: Error, detail: ErrorDetail): OperatingError {
  return new OperatingError('EIO', `a replica's thread ended: ${why.message}`, { ...detail, cause: why });
}
