/**
 * Durable replicas in SQLite: one file `replica.sqlite` in a directory of each voter's disk. The quorum log is the only caller. All SQLite calls run in
 * `ReplicaThreads`, so that a disk that hangs holds up nobody else; names are made durable, renamed and removed by the disk.
 *
 *   open ──▶ standing at a point ──apply──▶ standing at a later point (one SQLite transaction)
 *     └────▶ without a point (damaged) ──rebuildFrom / reset──▶ standing
 *
 * A failed write or sync, damage, or a thread that hangs takes the point away: what nobody vouches for is not used (I4, I6). Without space it stays.
 * A disk in which a thread hangs gets no other: it is refused until it comes back anew, as another `Disk`, or the call returns.
 */
import { posix } from 'node:path';
import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { OperatingError, type ErrorDetail } from '../base/errors.js';
import { REPLICA_CALLS_MAX } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import type { DurableReplica, LogPoint, LogRun, ReplicaStore } from '../quorum/state-machine.js';
import { JobError } from './replica-thread.js';
import { ReplicaThreads, type HangListener, type ReplicaClient } from './replica-threads.js';
import { clonePoint } from './worker-jobs.js';

const FILE = 'replica.sqlite';
const JOURNAL = `${FILE}-journal`;
const NEW_FILE = `${FILE}.new`;

/** Where replicas report what the operator should see. */
export type ReplicaLogger = (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;

export interface ReplicaStoreOptions {
  readonly clock: Clock;
  readonly log: ReplicaLogger;
  /** Shared with others; without it the store has its own. */
  readonly threads?: ReplicaThreads;
}

export class SqliteDurableReplica implements DurableReplica {
  readonly #voter: Disk;
  readonly #directory: string;
  readonly #log: ReplicaLogger;
  readonly #worker: ReplicaClient;
  /** Absolute path of the directory, for SQLite. */
  #base = '';
  #point: LogPoint | undefined;
  /** The last call; the next one begins when it ended. */
  #last: Promise<unknown> = Promise.resolve();
  #calls = 0;
  #closed = false;

  /** Use `SqliteReplicaStore.open`. */
  constructor(voter: Disk, directory: string, log: ReplicaLogger, threads: ReplicaThreads, listener: HangListener) {
    this.#voter = voter;
    this.#directory = directory;
    this.#log = log;
    this.#worker = threads.client(detailOf(voter, directory), listener);
  }

  get point(): LogPoint | undefined {
    return this.#point;
  }

  /** Opens what is there or creates an empty replica. */
  open(): Promise<void> {
    return this.#inTurn(async () => {
      const disk = this.#voter;
      await disk.makeDirectory(this.#directory);
      await disk.syncDirectory(parentOf(this.#directory));
      this.#base = await disk.externalPath(this.#directory);
      const names = await disk.list(this.#directory);
      const there = names.includes(FILE);
      // A copy that was not finished; a journal whose database is gone.
      for (const name of names) if (name.startsWith(NEW_FILE) || (!there && name.startsWith(FILE))) await this.#remove(name);
      await this.#stand(!there);
      if (this.#point !== undefined) return;
      disk.health.checksumErrors++;
      this.#log('warn', 'a replica of the index is damaged', { disk: disk.directory, path: posix.join(this.#directory, FILE) });
    });
  }

  apply(run: LogRun): Promise<void> {
    return this.#inTurn(async () => {
      const at = this.#usable();
      const { disk, from, to } = run;
      assert(
        from.position === at.position && to.position > from.position,
        `entries ${from.position + 1} … ${to.position} applied at ${at.position}`,
      );
      assert(to.epoch >= from.epoch, `entry of epoch ${to.epoch} after epoch ${from.epoch}`);
      const pieces = await Promise.all(run.pieces.map(async (piece) => ({ ...piece, path: await disk.externalPath(piece.path) })));
      const files = { pieces, from: clonePoint(from), to: clonePoint(to) };
      try {
        await this.#worker.request<'apply'>({ kind: 'apply', path: this.#path(FILE), run: files });
        this.#point = files.to;
      } catch (error) {
        const damaged = error instanceof JobError ? error.damaged : 'own';
        if (damaged === 'log' && (error as OperatingError).code === 'EBADMSG') disk.health.checksumErrors++;
        else if (damaged === 'log') disk.health.readErrors++;
        else if (error instanceof OperatingError && error.code !== 'ETIMEDOUT') this.#voter.health.writeErrors++;
        if (damaged === 'own') this.#point = undefined;
        throw error;
      }
    });
  }

  rebuildFrom(source: DurableReplica): Promise<void> {
    assert(source instanceof SqliteDurableReplica && source !== this, 'a replica copies another one of its kind');
    return this.#inTurn(async () => {
      const disk = this.#voter;
      this.#point = undefined;
      await this.#letGo();
      await this.#removeAll([NEW_FILE, `${NEW_FILE}-journal`]);
      this.#base = await disk.externalPath(this.#directory);
      const point = await source.lend((from) => this.#worker.request<'copy'>({ kind: 'copy', from, to: this.#path(NEW_FILE) }));
      await this.#sync(NEW_FILE);
      // The old database goes before its journal, and both before the new one comes: a journal never meets a database that is not its own.
      await this.#removeAll([FILE, JOURNAL]);
      await disk.syncDirectory(this.#directory);
      await disk.rename(posix.join(this.#directory, NEW_FILE), posix.join(this.#directory, FILE));
      await this.#stand(false);
      if (this.point?.position !== point.position)
        throw new OperatingError('EIO', 'a replica that was just copied reads back wrong', { disk: disk.directory });
    });
  }

  reset(): Promise<void> {
    return this.#inTurn(async () => {
      this.#point = undefined;
      await this.#letGo();
      await this.#removeAll([FILE, JOURNAL]);
      this.#base = await this.#voter.externalPath(this.#directory);
      await this.#stand(true);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const last = this.#last;
    this.#closed = true;
    await last;
    this.#point = undefined;
    try {
      await this.#letGo();
    } catch (error) {
      // What was applied was durable before; a disk that fails now takes nothing away.
      this.#log('warn', 'a replica did not close', { disk: this.#voter.directory, error: String(error) });
    }
    await this.#worker.end();
  }

  /**
   * Lends the file for reading: nothing changes it until `use` ends. If it turns out damaged, this replica loses its point.
   * @throws OperatingError EIO when it has none; what `use` throws.
   */
  lend<T>(use: (path: string) => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      this.#usable();
      try {
        return await use(this.#path(FILE));
      } catch (error) {
        if (error instanceof JobError && error.damaged === 'source') {
          this.#point = undefined;
          this.#voter.health.checksumErrors++;
          this.#log('error', 'a replica of the index is damaged', { disk: this.#voter.directory, error: error.message });
        }
        throw error;
      }
    });
  }

  /** Calls run one after the other. */
  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    assert(!this.#closed, 'the replica is closed');
    assert(this.#calls < REPLICA_CALLS_MAX, 'too many calls wait for a replica');
    this.#calls++;
    const done = this.#last.then(call).finally(() => {
      this.#calls--;
    });
    this.#last = done.catch(() => undefined);
    return done;
  }

  #usable(): LogPoint {
    if (this.#point !== undefined) return this.#point;
    throw new OperatingError('EIO', 'the replica has no point', { disk: this.#voter.directory, path: posix.join(this.#directory, FILE) });
  }

  /** No thread has the file open afterwards. */
  async #letGo(): Promise<void> {
    await this.#worker.request<'close'>({ kind: 'close', path: this.#path(FILE) });
  }

  #path(name: string): string {
    return posix.join(this.#base, name);
  }

  /** Opens the file and takes its point. Its name is durable before anybody relies on it. */
  async #stand(create: boolean): Promise<void> {
    const point = await this.#worker.request<'open'>({ kind: 'open', path: this.#path(FILE), create });
    await this.#voter.syncDirectory(this.#directory);
    this.#point = point;
  }

  async #sync(name: string): Promise<void> {
    const file = await this.#voter.open(posix.join(this.#directory, name), { write: true });
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #removeAll(names: readonly string[]): Promise<void> {
    const there = await this.#voter.list(this.#directory);
    for (const name of names) if (there.includes(name)) await this.#remove(name);
  }

  #remove(name: string): Promise<void> {
    return this.#voter.unlink(posix.join(this.#directory, name));
  }
}

function parentOf(directory: string): string {
  const parent = posix.dirname(directory);
  return parent === '.' ? '' : parent;
}

function detailOf(voter: Disk, directory: string): ErrorDetail {
  return { disk: voter.directory, path: posix.join(directory, FILE), hint: 'the replica is made anew from another voter' };
}

/** Opens durable replicas in SQLite. */
export class SqliteReplicaStore implements ReplicaStore {
  readonly #log: ReplicaLogger;
  readonly #threads: ReplicaThreads;
  /** Disks in which a thread hangs now. */
  readonly #hung = new WeakSet<Disk>();

  constructor({ clock, log, threads }: ReplicaStoreOptions) {
    this.#log = log;
    this.#threads = threads ?? new ReplicaThreads(clock);
  }

  /** @throws OperatingError ETIMEDOUT while an earlier call hangs in this disk. */
  async open(voter: Disk, directory: string): Promise<DurableReplica> {
    const detail = detailOf(voter, directory);
    if (this.#hung.has(voter))
      throw new OperatingError('ETIMEDOUT', 'a call on its replica hangs in the disk', {
        ...detail,
        hint: 'the replica is used again when the call returns, or the disk is mounted anew',
      });
    const replica = new SqliteDurableReplica(voter, directory, this.#log, this.#threads, {
      hung: () => {
        voter.health.stalls++;
        this.#hung.add(voter);
        this.#log('error', 'a replica hangs in its disk; its thread is left behind', { ...detail, threads: this.#threads.stuck });
      },
      returned: () => {
        this.#hung.delete(voter);
        this.#log('info', 'a call on a replica that hung has returned', { ...detail, threads: this.#threads.stuck });
      },
    });
    try {
      await replica.open();
    } catch (error) {
      await replica.close();
      throw error;
    }
    return replica;
  }
}
