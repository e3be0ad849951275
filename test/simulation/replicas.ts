/**
 * Replicas of the simulation. A durable one takes time and fails with its disk; what its last completed step left survives everything but the loss of
 * its disk. A working one outlives the daemon as it stood some entries ago, and the boot not at all.
 */
import { assert, must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import type { SimulatedDisk } from '../../src/disk/simulated-disk.js';
import type { Uuid } from '../../src/base/ids.js';
import { visitWrites } from '../../src/index/entry.js';
import type { Range, Row } from '../../src/index/index-store.js';
import { emptyPoint, follows } from '../../src/index/point.js';
import { checkRange, type ReadableReplica, type ReplicaView } from '../../src/index/readable-replica.js';
import { SortedRows } from '../../src/index/sorted-rows.js';
import { readRun } from '../../src/quorum/log-run.js';
import type { DurableReplica, LogEntry, LogPoint, LogRun, ReplicaStore } from '../../src/quorum/state-machine.js';

/** Rows by key in hexadecimal. */
export type Rows = ReadonlyMap<string, Buffer>;

/** A state of the index; never changed, so that many may hold it. */
export interface ReplicaState {
  readonly point: LogPoint;
  readonly rows: Rows;
}

/** Are there rows in a table? */
export function has(rows: Rows, table: string): boolean {
  const prefix = Buffer.from(table).toString('hex');
  for (const key of rows.keys()) if (key.startsWith(prefix)) return true;
  return false;
}

const nothing: ReplicaState = { point: emptyPoint, rows: new Map() };

/** `rows` after an entry. */
export function applyTo(rows: Map<string, Buffer>, entry: LogEntry): void {
  if (entry.kind !== 'data') return;
  visitWrites(entry.payload, (key, value) => {
    const name = Buffer.from(key).toString('hex');
    if (value === undefined) rows.delete(name);
    else rows.set(name, Buffer.from(value));
  });
}

/** Durable replicas of all disks, by the disk's id. */
export class SimulatedReplicas {
  readonly states = new Map<Uuid, ReplicaState | 'damaged'>();

  /** The store as one process has it. */
  store(): ReplicaStore {
    return {
      open: async (disk, directory) => {
        const voter = disk as SimulatedDisk;
        // What of it is on the disk is one file: it is gone when the disk is another one.
        await voter.submit('list', directory, () => undefined);
        if (!this.states.has(voter.id)) this.states.set(voter.id, nothing);
        return new SimulatedReplica(this.states, voter, directory);
      },
    };
  }
}

/** A replica as one process has it open. As the real one, it loses its point when the file is not as this process left it. */
class SimulatedReplica implements DurableReplica {
  #point: LogPoint | undefined;

  constructor(
    private readonly states: Map<Uuid, ReplicaState | 'damaged'>,
    private readonly disk: SimulatedDisk,
    private readonly directory: string,
  ) {
    const state = states.get(disk.id);
    this.#point = state === undefined || state === 'damaged' ? undefined : state.point;
  }

  get point(): LogPoint | undefined {
    return this.#point;
  }

  get state(): ReplicaState {
    const state = this.states.get(this.disk.id);
    if (state === undefined || state === 'damaged' || state.point.position !== this.#point?.position) {
      this.#point = undefined;
      throw new OperatingError('EIO', 'the replica is damaged, or not where it was', { disk: this.disk.directory });
    }
    return state;
  }

  /** One durable step: a crash leaves all of it or nothing. */
  async #change(make: () => ReplicaState): Promise<void> {
    try {
      await this.disk.submit('sync', `${this.directory}/index`, () => {
        const state = make();
        this.states.set(this.disk.id, state);
        this.#point = state.point;
      });
    } catch (error) {
      // What a failed step left is not used.
      this.#point = undefined;
      throw error;
    }
  }

  async apply(run: LogRun): Promise<void> {
    const entries = await readRun(run);
    await this.#change(() => {
      let { point } = this.state;
      const rows = new Map(this.state.rows);
      for (const entry of entries) {
        assert(entry.point.position === point.position + 1, `entry ${entry.point.position} applied after ${point.position}`);
        applyTo(rows, entry);
        point = entry.point;
      }
      return { point, rows };
    });
  }

  rebuildFrom(source: DurableReplica): Promise<void> {
    const { state } = source as SimulatedReplica;
    return this.#change(() => state);
  }

  reset(): Promise<void> {
    return this.#change(() => nothing);
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}

/** Entries by which the working replica's last durable step may be behind. */
const WORKING_LAG_ENTRIES = 64;

/** The working replica of one process. */
export class SimulatedWorking implements ReadableReplica {
  point: LogPoint | undefined;
  /** What the death of the daemon leaves. */
  kept: ReplicaState | undefined;
  readonly #rows = new SortedRows<Buffer>();
  #sinceKept = 0;

  /** @param left what an earlier process of this boot left */
  constructor(left: ReplicaState | undefined) {
    if (left !== undefined) this.#become(left);
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#rows.get(key);
  }

  scan(range: Range): Row[] {
    return scanRows(this.#rows, range);
  }

  view(): ReplicaView {
    const rows = new SortedRows<Buffer>();
    for (const [key, value] of this.#rows.entries()) rows.set(key, value);
    return {
      point: must(this.point, 'it is usable'),
      get: (key) => rows.get(key),
      scan: (range) => scanRows(rows, range),
      close: () => {
        rows.clear();
      },
    };
  }

  apply(entry: LogEntry): void {
    follows(this.point, entry);
    if (entry.kind === 'data')
      visitWrites(entry.payload, (key, value) => {
        if (value === undefined) this.#rows.delete(key);
        else this.#rows.set(Buffer.from(key), Buffer.from(value));
      });
    this.point = { ...entry.point, chain: Buffer.from(entry.point.chain) };
    if (++this.#sinceKept >= WORKING_LAG_ENTRIES) this.#keep();
  }

  room(): undefined {
    return undefined;
  }

  async rebuildFrom(source: DurableReplica | undefined): Promise<void> {
    this.#become(source === undefined ? nothing : (source as SimulatedReplica).state);
  }

  async close(): Promise<void> {
    if (this.point !== undefined) this.#keep();
  }

  /** All rows, as they are. */
  rows(): Rows {
    return new Map([...this.#rows.entries()].map(([key, value]) => [key.toString('hex'), value]));
  }

  #become(state: ReplicaState): void {
    this.#rows.clear();
    for (const [key, value] of state.rows) this.#rows.set(Buffer.from(key, 'hex'), value);
    this.point = state.point;
    this.kept = state;
    this.#sinceKept = 0;
  }

  #keep(): void {
    this.kept = { point: must(this.point, 'it is usable'), rows: this.rows() };
    this.#sinceKept = 0;
  }
}

function scanRows(rows: SortedRows<Buffer>, range: Range): Row[] {
  checkRange(range);
  const { start, end, limit, reverse } = range;
  const found: Row[] = [];
  for (const [key, value] of reverse === true ? rows.entriesReverse(start, end) : rows.entries(start, end)) {
    if (found.length === limit) break;
    found.push({ key, value });
  }
  return found;
}
