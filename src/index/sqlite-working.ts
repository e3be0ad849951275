/**
 * The working replica: serves the index store's reads and follows the log. What was applied lies in memory first (`unwritten-rows.ts`); a thread writes it to a
 * SQLite file in the daemon's state directory, its net effect in large steps. The file is named by the boot and never synced: a kill of the daemon leaves
 * it at its last commit, from where logs and journal go on; another boot's file is deleted. The daemon opens it, the quorum log drives it.
 *
 *   unusable (point undefined) ──rebuildFrom──▶ following ──apply──▶ following
 *      ▲                                           │
 *      └────────── damage, failed write ───────────┘  (its file is removed at once, so that the next start makes a new one)
 *
 *   apply ──▶ active ──so many rows, bytes, or ms──▶ writing ──thread──▶ file
 *
 * Reads look into active, writing and the file, in this order. At most one batch is being written; when the next one is full, `room` makes commits wait.
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { assert, AssertionError, must } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import type { Cancel, Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { WORKING_VIEW_WAL_BYTES_MAX, WORKING_WRITE_BYTES, WORKING_WRITE_MS, WORKING_WRITE_ROWS } from '../base/limits.js';
import type { DurableReplica, LogEntry, LogPoint } from '../quorum/state-machine.js';
import type { Range, Row } from './index-store.js';
import { follows } from './point.js';
import { checkRange, type ReadableReplica, type ReplicaView } from './readable-replica.js';
import { SqliteView } from './sqlite-view.js';
import { SqliteDurableReplica, type ReplicaLogger } from './sqlite-durable.js';
import { asIndexError, isDamage } from './sqlite-error.js';
import { SqliteFile } from './sqlite-file.js';
import { JobError } from './replica-thread.js';
import { ReplicaThreads, type ReplicaClient } from './replica-threads.js';
import { UnwrittenRows } from './unwritten-rows.js';
import { clonePoint } from './worker-jobs.js';

export interface WorkingReplicaOptions {
  /** Absolute path of a directory that is this pool's own, on a disk of the machine. Created if it is not there. */
  readonly directory: string;
  /** Names this boot of the machine: `currentBootId()`. */
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: ReplicaLogger;
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
  /** With a thread of its own: commits wait for it, and must not wait for voters' disks. */
  readonly #worker: ReplicaClient;
  /** For reading; the thread has another one. */
  #file: SqliteFile | undefined;
  #point: LogPoint | undefined;
  #active = new UnwrittenRows();
  #writing: UnwrittenRows | undefined;
  /** The write under way; rejects with bugs alone. */
  #written: Promise<void> | undefined;
  /** Where the file stands when that write is done, or stands now. */
  #filePoint: LogPoint | undefined;
  /** Rows travel to the thread in it; kept for the next ones. */
  #memory = new SharedArrayBuffer(0);
  #cancelWrite: Cancel | undefined;
  /** Those that are open keep the write-ahead file from starting over. */
  readonly #views = new Set<SqliteView>();

  /** Use `openWorkingReplica`. */
  constructor(options: WorkingReplicaOptions) {
    assert(/^[0-9a-zA-Z-]+$/.test(options.bootId), `not a boot id: ${options.bootId}`);
    this.#options = options;
    this.#path = join(options.directory, `working-${options.bootId}.sqlite`);
    const detail = { path: this.#path, hint: HINT };
    this.#worker = new ReplicaThreads(options.clock).client(detail, {
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
      if (point !== undefined) await this.#stand(false);
      else log('warn', 'the working replica is damaged and will be made anew', { path: this.#path });
    } catch (error) {
      throw asIndexError(error, { path: this.#path, hint: `see that ${directory} can be written to` });
    }
  }

  async #stand(create: boolean): Promise<void> {
    const point = await this.#worker.request<'stand'>({ kind: 'stand', path: this.#path, create });
    this.#file = new SqliteFile(this.#path, 'reading', false);
    this.#point = point;
    this.#filePoint = point;
  }

  apply(entry: LogEntry): void {
    follows(this.#point, entry);
    this.#following();
    this.#active.apply(entry);
    this.#point = entry.point;
    if (this.#full) this.#write();
    else
      this.#cancelWrite ??= this.#options.clock.after(WORKING_WRITE_MS, () => {
        this.#cancelWrite = undefined;
        this.#write();
      });
  }

  get #full(): boolean {
    return this.#active.bytes >= WORKING_WRITE_BYTES || this.#active.size >= WORKING_WRITE_ROWS;
  }

  room(): Promise<void> | undefined {
    return this.#full ? this.#written : undefined;
  }

  get(key: Uint8Array): Buffer | undefined {
    const file = this.#following();
    const active = this.#active.get(key);
    const unwritten = active === undefined ? this.#writing?.get(key) : active;
    if (unwritten !== undefined) return unwritten ?? undefined;
    try {
      return file.get(key);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  scan(range: Range): Row[] {
    checkRange(range);
    const file = this.#following();
    const inFile = ({ start, end, limit, reverse }: Range): Row[] => file.scan(start, end, limit, reverse === true);
    const writing = this.#writing;
    const below = writing === undefined ? inFile : (asked: Range): Row[] => writing.scan(asked, inFile);
    try {
      return this.#active.scan(range, below);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  view(): ReplicaView {
    this.#following();
    // What the file may lack lies over it, whether or not the thread writes it meanwhile.
    const layers = [this.#writing, this.#active].flatMap((rows) => (rows === undefined ? [] : [rows.held()]));
    const point = must(this.#point, 'it follows');
    try {
      const view = new SqliteView(this.#path, { point, layers }, () => {
        this.#views.delete(view);
      });
      this.#views.add(view);
      return view;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Has everything written that was applied: a kill of the daemon from here on leaves at least this. @throws OperatingError it cannot be used any more */
  async flush(): Promise<void> {
    this.#following();
    while (this.#writing !== undefined || this.#point !== this.#filePoint) {
      this.#write();
      await this.#written;
      this.#following();
    }
  }

  /** Gives the thread what there is, unless it is still at it. */
  #write(): void {
    if (this.#writing !== undefined || this.#point === undefined || this.#point === this.#filePoint) return;
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    this.#writing = this.#active;
    this.#filePoint = this.#point;
    this.#active = new UnwrittenRows();
    this.#written = this.#writeRows(this.#writing, this.#point);
  }

  async #writeRows(rows: UnwrittenRows, point: LogPoint): Promise<void> {
    try {
      const packed = rows.pack((least) => {
        if (this.#memory.byteLength < least) this.#memory = new SharedArrayBuffer(least);
        return this.#memory;
      });
      const walBytes = await this.#worker.request<'write'>({ kind: 'write', path: this.#path, rows: packed, point: clonePoint(point) });
      if (walBytes >= WORKING_VIEW_WAL_BYTES_MAX) for (const view of this.#views) view.giveUp();
    } catch (error) {
      // The next call says so to its caller; a bug ends the process, or these rows would be missing from here on.
      const failure = this.#writing === rows ? this.#fail(error) : undefined;
      if (failure !== undefined && !(failure instanceof OperatingError)) throw failure;
    }
    if (this.#writing !== rows) return;
    this.#writing = undefined;
    this.#written = undefined;
    if (this.#full) this.#write();
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
      await this.#stand(source === undefined);
    } catch (error) {
      throw asIndexError(error, { path: this.#path });
    }
  }

  async close(): Promise<void> {
    // What cannot be written comes from the logs.
    if (this.#point !== undefined) await this.flush().catch(() => undefined);
    this.#letGo();
    await this.#worker.request<'close'>({ kind: 'close', path: this.#path }).catch(() => undefined);
    await this.#worker.end();
  }

  #following(): SqliteFile {
    if (this.#file !== undefined && this.#point !== undefined) return this.#file;
    throw new OperatingError('EIO', 'the working replica cannot be used', { path: this.#path, hint: HINT });
  }

  /** Gives the replica up, loudly, and removes what cannot be trusted, so that the next start does not meet it again. */
  #fail(error: unknown): Error {
    if (error instanceof AssertionError || error instanceof DecodeError) return error;
    const failure = asIndexError(error, { path: this.#path, hint: HINT });
    this.#options.log('error', 'the working replica failed', { path: this.#path, error: failure.message });
    this.#letGo();
    const damaged = isDamage(error) || (error instanceof JobError && error.damaged === 'own');
    if (damaged) for (const suffix of ['', '-wal', '-shm']) rmSync(this.#path + suffix, { force: true });
    return failure;
  }

  #letGo(): void {
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    this.#point = undefined;
    this.#filePoint = undefined;
    this.#active = new UnwrittenRows();
    this.#writing = undefined;
    this.#written = undefined;
    for (const view of this.#views) view.giveUp();
    this.#file?.close();
    this.#file = undefined;
  }

  async #removeFiles(): Promise<void> {
    for (const suffix of ['', '-wal', '-shm', '.new', '.new-journal']) await rm(this.#path + suffix, { force: true });
  }
}
