/**
 * Replicas in memory, for simulation and tests. They follow the same contract as the SQLite ones (one conformance suite runs on both). A durable one
 * lives in its store under the id of its disk, so it survives a simulated crash of the daemon and of the machine as at its last `apply`.
 * Faults that callers must survive: a replica that was damaged (`damage`) opens without a point.
 */
import { assert, must } from '../base/assert.js';
import { OperatingError } from '../base/errors.js';
import type { Disk } from '../disk/disk.js';
import { readRun } from '../quorum/log-run.js';
import type { DurableReplica, LogEntry, LogPoint, LogRun, ReplicaStore } from '../quorum/state-machine.js';
import { visitWrites } from './entry.js';
import type { Range, Row } from './index-store.js';
import { emptyPoint, follows } from './point.js';
import type { ReadableReplica, ReplicaView } from './readable-replica.js';
import { checkRange } from './readable-replica.js';
import { SortedRows } from './sorted-rows.js';

/** Rows and the point at which they stand. */
class MemoryRows {
  point: LogPoint | undefined = emptyPoint;
  readonly rows = new SortedRows<Buffer>();

  apply(entry: LogEntry): void {
    follows(this.point, entry);
    if (entry.kind === 'data')
      visitWrites(entry.payload, (key, value) => {
        // The payload's memory is the log's: copy.
        if (value === undefined) this.rows.delete(key);
        else this.rows.set(Buffer.from(key), Buffer.from(value));
      });
    this.point = entry.point;
  }

  become(source: MemoryRows | undefined): void {
    this.rows.clear();
    for (const [key, value] of source?.rows.entries() ?? []) this.rows.set(key, value);
    this.point = source === undefined ? emptyPoint : source.point;
  }
}

function scanRows({ rows }: MemoryRows, range: Range): Row[] {
  checkRange(range);
  const { start, end, limit, reverse } = range;
  const found: Row[] = [];
  for (const [key, value] of reverse === true ? rows.entriesReverse(start, end) : rows.entries(start, end)) {
    if (found.length === limit) break;
    found.push({ key, value });
  }
  return found;
}

/** A working replica in memory. Starts unusable, as after a boot, unless `empty`. */
export class MemoryWorkingReplica implements ReadableReplica {
  readonly #state = new MemoryRows();

  constructor(empty = false) {
    if (!empty) this.#state.point = undefined;
  }

  get point(): LogPoint | undefined {
    return this.#state.point;
  }

  /** Rows there are. */
  get size(): number {
    return this.#state.rows.size;
  }

  apply(entry: LogEntry): void {
    this.#state.apply(entry);
  }

  room(): undefined {
    return undefined;
  }

  async rebuildFrom(source: DurableReplica | undefined): Promise<void> {
    this.#state.become(source === undefined ? undefined : memoryRows(source));
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#state.rows.get(key);
  }

  scan(range: Range): Row[] {
    return scanRows(this.#state, range);
  }

  view(): ReplicaView {
    const held = new MemoryRows();
    held.become(this.#state);
    return {
      point: must(held.point, 'a replica that is read has a point'),
      get: (key) => held.rows.get(key),
      scan: (range) => scanRows(held, range),
      close: () => {
        held.rows.clear();
      },
    };
  }

  async close(): Promise<void> {
    // Nothing outlives this object, nothing is held.
  }
}

function memoryRows(source: DurableReplica): MemoryRows {
  assert(source instanceof MemoryDurableReplica, 'a replica in memory can only copy one of its kind');
  if (source.point === undefined) throw new OperatingError('EIO', 'the replica to copy is damaged');
  return source.state;
}

class MemoryDurableReplica implements DurableReplica {
  #closed = false;

  constructor(readonly state: MemoryRows) {}

  get point(): LogPoint | undefined {
    return this.state.point;
  }

  async apply(run: LogRun): Promise<void> {
    assert(!this.#closed, 'replica is closed');
    const entries = await readRun(run);
    for (const entry of entries) this.state.apply(entry);
  }

  async rebuildFrom(source: DurableReplica): Promise<void> {
    assert(!this.#closed, 'replica is closed');
    this.state.become(memoryRows(source));
  }

  async reset(): Promise<void> {
    assert(!this.#closed, 'replica is closed');
    this.state.become(undefined);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

/** Durable replicas of all simulated disks. */
export class MemoryReplicaStore implements ReplicaStore {
  readonly #replicas = new Map<string, MemoryRows>();

  async open(voter: Disk, directory: string): Promise<DurableReplica> {
    const name = `${voter.id}/${directory}`;
    if (!this.#replicas.has(name)) this.#replicas.set(name, new MemoryRows());
    return new MemoryDurableReplica(must(this.#replicas.get(name), 'just set'));
  }

  /** The replica on this disk is found damaged from now on. */
  damage(voter: Disk, directory: string): void {
    const rows = this.#replicas.get(`${voter.id}/${directory}`);
    if (rows !== undefined) rows.point = undefined;
  }

  /** The disk was replaced by an empty one. */
  forget(voter: Disk, directory: string): void {
    this.#replicas.delete(`${voter.id}/${directory}`);
  }
}
