/**
 * The working replica in SQLite: serves the index store's reads and follows the log on the main thread. It lives in the daemon's state directory, in
 * a file that is named by the boot and never synced: a kill of the daemon leaves it at its last SQLite commit, from where the journal goes on; another
 * boot's file is deleted. The daemon opens it, the quorum log drives it.
 *
 *   unusable (point undefined) ──rebuildFrom──▶ following ──apply──▶ following
 *      ▲                                           │
 *      └────────── damage, failed write ───────────┘  (its file is removed at once, so that the next start makes a new one)
 *
 * Entries go into one open SQLite transaction, which #commit ends every so often. Checkpoints of the write-ahead file run in a thread.
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { assert, AssertionError } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import type { Cancel, Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import {
  WORKING_CHECKPOINT_COMMITS,
  WORKING_COMMIT_BYTES,
  WORKING_COMMIT_ENTRIES,
  WORKING_COMMIT_MS,
  WORKING_SHRINK_PAGES,
  WORKING_VIEW_WAL_BYTES_MAX,
  WORKING_WAL_BYTES,
} from '../base/limits.js';
import type { DurableReplica, LogEntry, LogPoint } from '../quorum/state-machine.js';
import { visitWrites } from './entry.js';
import type { Range, Row } from './index-store.js';
import { follows } from './point.js';
import { checkRange, type ReadableReplica, type ReplicaView } from './readable-replica.js';
import { SqliteView } from './sqlite-view.js';
import { SqliteDurableReplica, type ReplicaLogger } from './sqlite-durable.js';
import { asIndexError, isDamage } from './sqlite-error.js';
import { SqliteFile } from './sqlite-file.js';
import { ReplicaThreads, type ReplicaClient } from './replica-threads.js';

export interface WorkingReplicaOptions {
  /** Absolute path of a directory that is this pool's own, on a disk of the machine. Created if it is not there. */
  readonly directory: string;
  /** Names this boot of the machine: `currentBootId()`. */
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: ReplicaLogger;
  /** Shared with the durable replicas; without it the working replica has its own. */
  readonly threads?: ReplicaThreads;
}

const HINT = 'restart the daemon: it makes a new working replica from a voter';

/** The kernel's name for this boot. */
export async function currentBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Opens the working replica that an earlier process of this boot left; where there is none, or a damaged one, it has no point. */
export async function openWorkingReplica(options: WorkingReplicaOptions): Promise<SqliteWorkingReplica> {
  const replica = new SqliteWorkingReplica(options);
  try {
    await replica.open();
  } catch (error) {
    await replica.close();
    throw error;
  }
  return replica;
}

export class SqliteWorkingReplica implements ReadableReplica {
  readonly #options: WorkingReplicaOptions;
  readonly #path: string;
  readonly #worker: ReplicaClient;
  #file: SqliteFile | undefined;
  #point: LogPoint | undefined;
  /** Entries and bytes in the open SQLite transaction. */
  #openEntries = 0;
  #openBytes = 0;
  #inTransaction = false;
  #cancelCommit: Cancel | undefined;
  #commitsSinceCheckpoint = 0;
  #checkpointing = false;
  /** The write-ahead file is long: let it start over after the next commit. */
  #walIsLong = false;
  /** Those that are open keep the write-ahead file from starting over. */
  readonly #views = new Set<SqliteView>();

  /** Use `openWorkingReplica`. */
  constructor(options: WorkingReplicaOptions) {
    assert(/^[0-9a-zA-Z-]+$/.test(options.bootId), `not a boot id: ${options.bootId}`);
    this.#options = options;
    this.#path = join(options.directory, `working-${options.bootId}.sqlite`);
    const detail = { path: this.#path, hint: HINT };
    const threads = options.threads ?? new ReplicaThreads(options.clock);
    this.#worker = threads.client(detail, {
      hung() {
        options.log('error', 'the working replica hangs; its thread is left behind', detail);
      },
      returned() {
        options.log('info', 'a call on the working replica that hung has returned', detail);
      },
    });
  }

  get point(): LogPoint | undefined {
    return this.#point;
  }

  /** Bytes of its files are bounded by the rows; path for messages and tests. */
  get path(): string {
    return this.#path;
  }

  /** @throws OperatingError when the directory cannot be used. */
  async open(): Promise<void> {
    const { directory, log } = this.#options;
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      let there = false;
      for (const name of await readdir(directory)) {
        if (!/^working-.*\.sqlite/.test(name)) continue;
        const path = join(directory, name);
        if (path === this.#path) there = true;
        else if (path !== `${this.#path}-wal` && path !== `${this.#path}-shm`) await rm(path, { force: true });
      }
      if (!there) return;
      const point = await this.#worker.request<'check'>({ kind: 'check', path: this.#path });
      if (point !== undefined) this.#use(new SqliteFile(this.#path, 'working', false));
      else log('warn', 'the working replica is damaged and will be made anew', { path: this.#path });
    } catch (error) {
      throw asIndexError(error, { path: this.#path, hint: `see that ${directory} can be written to` });
    }
  }

  #use(file: SqliteFile): void {
    this.#file = file;
    this.#point = file.meta().point;
  }

  apply(entry: LogEntry): void {
    follows(this.#point, entry);
    const file = this.#following();
    try {
      if (!this.#inTransaction) this.#begin(file);
      const { position } = entry.point;
      if (entry.kind === 'data')
        visitWrites(entry.payload, (key, value) => {
          if (value === undefined) file.delete(key);
          else file.put(key, position, value);
        });
      this.#point = entry.point;
      this.#openBytes += entry.payload.length;
      if (++this.#openEntries >= WORKING_COMMIT_ENTRIES || this.#openBytes >= WORKING_COMMIT_BYTES) this.#commit(file);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  get(key: Uint8Array): Buffer | undefined {
    const file = this.#following();
    try {
      return file.get(key);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  scan(range: Range): Row[] {
    checkRange(range);
    const file = this.#following();
    try {
      return file.scan(range.start, range.end, range.limit, range.reverse === true);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  view(): ReplicaView {
    this.commit();
    try {
      const view = new SqliteView(this.#path, () => {
        this.#views.delete(view);
        // What was written meanwhile is copied by the thread first.
        this.#walIsLong = false;
      });
      this.#views.add(view);
      return view;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Ends the open SQLite transaction: a kill of the daemon from here on leaves at least this. */
  commit(): void {
    const file = this.#following();
    try {
      this.#commit(file);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  async rebuildFrom(source: DurableReplica | undefined): Promise<void> {
    assert(source === undefined || source instanceof SqliteDurableReplica, 'a replica copies another one of its kind');
    const created = `${this.#path}.new`;
    try {
      this.#letGo();
      await this.#worker.request<'close'>({ kind: 'close', path: this.#path });
      await this.#removeFiles();
      if (source !== undefined) {
        await source.lend((from) => this.#worker.request<'copy'>({ kind: 'copy', from, to: created }));
        await rename(created, this.#path);
      }
      const file = new SqliteFile(this.#path, 'working', source === undefined);
      this.#file = file;
      const { point } = file.meta();
      // It does not keep count of its rows from here on.
      file.setMeta(point, undefined);
      this.#point = point;
    } catch (error) {
      throw asIndexError(error, { path: this.#path });
    }
  }

  async close(): Promise<void> {
    if (this.#point !== undefined && this.#file !== undefined) {
      this.#commit(this.#file, false);
      // The copying is the thread's work; it lets go last, or copies nothing more.
      if (!this.#checkpointing) await this.#checkpoint();
    }
    this.#letGo();
    await this.#worker.request<'close'>({ kind: 'close', path: this.#path }).catch(() => undefined);
    await this.#worker.end();
  }

  #following(): SqliteFile {
    if (this.#file !== undefined && this.#point !== undefined) return this.#file;
    throw new OperatingError('EIO', 'the working replica cannot be used', { path: this.#path, hint: HINT });
  }

  #begin(file: SqliteFile): void {
    file.begin();
    this.#inTransaction = true;
    this.#cancelCommit = this.#options.clock.after(WORKING_COMMIT_MS, () => {
      try {
        this.#commit(file);
      } catch (error) {
        // The next call says so to its caller.
        const failure = this.#fail(error);
        if (!(failure instanceof OperatingError)) throw failure;
      }
    });
  }

  #commit(file: SqliteFile, checkpoint = true): void {
    this.#cancelCommit?.();
    if (!this.#inTransaction) return;
    assert(this.#point !== undefined, 'a transaction is open, so there is a point');
    file.setMeta(this.#point, undefined);
    file.shrink(WORKING_SHRINK_PAGES);
    file.commit();
    this.#inTransaction = false;
    this.#openEntries = 0;
    this.#openBytes = 0;
    this.#commitsSinceCheckpoint++;
    if (!checkpoint || this.#checkpointing) return;
    if (this.#walIsLong) {
      // The thread has copied all but what the last commits added; that little is copied here, and the next write starts the file over.
      this.#walIsLong = !file.checkpoint().complete;
    } else if (this.#commitsSinceCheckpoint >= WORKING_CHECKPOINT_COMMITS) void this.#checkpoint();
  }

  async #checkpoint(): Promise<void> {
    this.#checkpointing = true;
    this.#commitsSinceCheckpoint = 0;
    try {
      const walBytes = await this.#worker.request<'checkpoint'>({ kind: 'checkpoint', path: this.#path });
      this.#walIsLong = walBytes >= WORKING_WAL_BYTES && this.#views.size === 0;
      if (walBytes >= WORKING_VIEW_WAL_BYTES_MAX) for (const view of this.#views) view.giveUp();
    } catch (error) {
      // The write-ahead file grows until the next try; nothing is lost.
      if (this.#file !== undefined) this.#options.log('warn', 'checkpoint of the working replica failed', { error: String(error) });
    } finally {
      this.#checkpointing = false;
    }
  }

  /** Gives the replica up, loudly, and removes what cannot be trusted, so that the next start does not meet it again. */
  #fail(error: unknown): Error {
    if (error instanceof AssertionError || error instanceof DecodeError) return error;
    const failure = asIndexError(error, { path: this.#path, hint: HINT });
    this.#options.log('error', 'the working replica failed', { path: this.#path, error: failure.message });
    this.#letGo();
    if (isDamage(error)) for (const suffix of ['', '-wal', '-shm']) rmSync(this.#path + suffix, { force: true });
    return failure;
  }

  #letGo(): void {
    this.#cancelCommit?.();
    this.#point = undefined;
    this.#inTransaction = false;
    this.#openEntries = 0;
    this.#openBytes = 0;
    this.#walIsLong = false;
    for (const view of this.#views) view.giveUp();
    // Closing rolls back what was not committed.
    this.#file?.close();
    this.#file = undefined;
  }

  async #removeFiles(): Promise<void> {
    for (const suffix of ['', '-wal', '-shm', '.new', '.new-journal']) await rm(this.#path + suffix, { force: true });
  }
}
