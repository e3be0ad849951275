/**
 * One thread for the SQLite calls of all replicas of a pool, and what keeps a disk that hangs from holding up the others. Each replica has a `ReplicaClient`;
 * the jobs of all are served in turn. The thread starts with the first job and ends with the last client.
 *
 *   waiting ──▶ running on the shared thread ──answer──▶ done
 *                  │
 *                  └─ longer than REPLICA_PATIENCE_MS, and others wait: it keeps its thread, they get a new one
 *                        ├── answer ──▶ its file is closed, the thread ends ──▶ done
 *                        └── no sign of life for REPLICA_STALL_MS ──▶ it hangs in its disk: left behind, counted, reported
 *
 * Nothing can stop a system call that does not return. A client whose job hangs fails with ETIMEDOUT from then on; should the call return after all,
 * the thread ends and the client's owner is told. A thread has one file open at a time, so one that is left behind holds no other disk.
 */
import { assert } from '../base/assert.js';
import type { Cancel, Clock } from '../base/clock.js';
import { OperatingError, type ErrorDetail } from '../base/errors.js';
import { REPLICA_CALLS_MAX, REPLICA_PATIENCE_MS, REPLICA_STALL_MS } from '../base/limits.js';
import { ReplicaThread } from './replica-thread.js';
import type { Job, JobAnswers } from './worker-jobs.js';

/** What a client's owner is told of a job that hangs. */
export interface HangListener {
  /** The job is left behind: whatever the file is, it is not known any more. */
  hung(): void;
  /** The call has returned after all; the file is closed. */
  returned(): void;
}

interface Task {
  readonly client: ReplicaClient;
  readonly job: Job;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** REPLICA_PATIENCE_MS have passed. */
  slow: boolean;
  /** It was left behind. */
  hung: boolean;
}

export class ReplicaThreads {
  readonly #clock: Clock;
  readonly #queue: Task[] = [];
  /** The thread that takes the next job, and what it does now. */
  #shared: ReplicaThread | undefined;
  #current: Task | undefined;
  #clients = 0;
  /** Threads that hang in a dead disk now; the process cannot end before their system calls return, unless it is killed. */
  stuck = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** For one replica. `detail`: disk and path for errors. */
  client(detail: ErrorDetail, listener: HangListener): ReplicaClient {
    this.#clients++;
    return new ReplicaClient(this, detail, listener);
  }

  /** For `ReplicaClient`. */
  submit(client: ReplicaClient, job: Job): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ client, job, resolve, reject, slow: false, hung: false });
      this.#next();
    });
  }

  /** For `ReplicaClient`: one of them has ended. */
  async left(): Promise<void> {
    if (--this.#clients > 0) return;
    const shared = this.#shared;
    this.#shared = undefined;
    await shared?.end();
  }

  #next(): void {
    if (this.#queue.length > 0 && this.#current?.slow === true) this.#giveUpThread();
    if (this.#current !== undefined) return;
    let task = this.#queue.shift();
    for (; task?.client.dead !== undefined; task = this.#queue.shift()) task.reject(task.client.dead);
    if (task === undefined) {
      this.#shared?.rest();
      return;
    }
    this.#current = task;
    this.#shared ??= new ReplicaThread();
    void this.#run(task, this.#shared);
  }

  /** What runs keeps its thread. */
  #giveUpThread(): void {
    this.#shared = undefined;
    this.#current = undefined;
  }

  async #run(task: Task, thread: ReplicaThread): Promise<void> {
    const cancelPatience = this.#clock.after(REPLICA_PATIENCE_MS, () => {
      task.slow = true;
      this.#next();
    });
    let cancelStall: Cancel | undefined;
    const alive = (): void => {
      cancelStall?.();
      if (!task.hung)
        cancelStall = this.#clock.after(REPLICA_STALL_MS, () => {
          this.#leaveBehind(task, thread);
        });
    };
    alive();
    let settle: () => void;
    try {
      const answer = await thread.run(task.job, task.client.detail, alive);
      settle = () => {
        task.resolve(answer);
      };
    } catch (error) {
      settle = () => {
        task.reject(error);
      };
    }
    cancelPatience();
    if (thread === this.#shared) {
      this.#giveUpThread();
      if (thread.usable) this.#shared = thread;
    } else {
      // Letting go of the file may hang as well.
      alive();
      await retire(thread, task.client.detail);
    }
    cancelStall?.();
    if (task.hung) {
      this.stuck--;
      task.client.returned();
    }
    settle();
    if (this.#current === undefined) this.#next();
  }

  #leaveBehind(task: Task, thread: ReplicaThread): void {
    task.hung = true;
    this.stuck++;
    thread.leaveBehind();
    task.reject(task.client.hung());
    if (this.#shared !== thread) return;
    this.#giveUpThread();
    this.#next();
  }
}

/** Closes the thread's file, so that nobody meets it open, and ends the thread. */
async function retire(thread: ReplicaThread, detail: ErrorDetail): Promise<void> {
  // A close that fails changes nothing: what was applied was durable before.
  await thread.run<'close'>({ kind: 'close' }, detail, () => undefined).catch(() => undefined);
  await thread.end();
}

/** One replica's way to the threads. */
export class ReplicaClient {
  readonly detail: ErrorDetail;
  readonly #threads: ReplicaThreads;
  readonly #listener: HangListener;
  readonly #pending = new Set<Promise<unknown>>();
  #ended = false;
  /** What every job fails with since one hung. */
  dead: OperatingError | undefined;

  /** Use `ReplicaThreads.client`. */
  constructor(threads: ReplicaThreads, detail: ErrorDetail, listener: HangListener) {
    this.#threads = threads;
    this.detail = detail;
    this.#listener = listener;
  }

  /** Sends a job; resolves with its answer. @throws JobError, OperatingError ETIMEDOUT (it hangs, or an earlier one did) or EIO (the thread is gone). */
  async request<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<JobAnswers[K]> {
    assert(!this.#ended, 'the replica is closed');
    assert(this.#pending.size < REPLICA_CALLS_MAX, 'too many calls wait for a replica');
    if (this.dead !== undefined) throw this.dead;
    const answer = this.#threads.submit(this, job);
    this.#pending.add(answer);
    try {
      return (await answer) as JobAnswers[K];
    } finally {
      this.#pending.delete(answer);
    }
  }

  /** For `ReplicaThreads`: a job of this client is left behind. Returns what it fails with. */
  hung(): OperatingError {
    this.dead = new OperatingError('ETIMEDOUT', `a replica did not answer for ${REPLICA_STALL_MS / 1000} s`, this.detail);
    this.#listener.hung();
    return this.dead;
  }

  /** For `ReplicaThreads`: that job has ended. */
  returned(): void {
    this.#listener.returned();
  }

  /** Waits for what is under way, unless it hangs. The client is of no use afterwards. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await Promise.allSettled(this.#pending);
    await this.#threads.left();
  }
}
