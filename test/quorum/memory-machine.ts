/**
 * A state machine in memory for tests of the quorum log: it keeps the entries that it was given, so a test can compare histories. Durable
 * replicas live in their store under the id of the disk and stand where their last `apply` left them, whatever crashes.
 */
import { assert, must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import type { Disk } from '../../src/disk/disk.js';
import { readRun } from '../../src/quorum/log-run.js';
import type { DurableReplica, LogEntry, LogPoint, LogRun, ReplicaStore, WorkingReplica } from '../../src/quorum/state-machine.js';
import { originPoint } from '../../src/quorum/point.js';

/** What a replica holds: the payloads of all data entries so far, as text, and where it stands. */
export interface MemoryState {
  point: LogPoint | undefined;
  data: readonly string[];
}

export const emptyState = (): MemoryState => ({ point: originPoint, data: [] });

export function applyEntry(state: MemoryState, entry: LogEntry): void {
  const before = must(state.point, 'a replica without a point takes no entries');
  assert(entry.point.position === before.position + 1, `entry ${entry.point.position} after ${before.position}`);
  assert(entry.point.epoch >= before.epoch, 'epochs grow');
  assert(entry.kind === 'data' || entry.payload.length === 0, 'only data has a payload');
  if (entry.kind === 'data') state.data = [...state.data, Buffer.from(entry.payload).toString('utf8')];
  state.point = { ...entry.point, chain: Buffer.from(entry.point.chain) };
}

export class MemoryWorking implements WorkingReplica {
  state: MemoryState = { point: undefined, data: [] };
  rebuilds = 0;

  get point(): LogPoint | undefined {
    return this.state.point;
  }

  apply(entry: LogEntry): void {
    applyEntry(this.state, entry);
  }

  room(): undefined {
    return undefined;
  }

  rebuildFrom(source: DurableReplica | undefined): Promise<void> {
    assert(source === undefined || source instanceof MemoryDurable, 'one of our own');
    this.rebuilds++;
    this.state = source === undefined ? emptyState() : { ...source.state };
    return Promise.resolve();
  }
}

export class MemoryDurable implements DurableReplica {
  closed = false;

  constructor(
    readonly state: MemoryState,
    readonly store: MemoryReplicas,
  ) {}

  get point(): LogPoint | undefined {
    return this.state.point;
  }

  async apply(run: LogRun): Promise<void> {
    assert(!this.closed, 'closed');
    const entries = await readRun(run);
    await this.store.held;
    if (this.state.point === undefined || this.store.failing.delete(this.state))
      throw new OperatingError('EIO', 'injected: the replica cannot be written');
    for (const entry of entries) applyEntry(this.state, entry);
  }

  async rebuildFrom(source: DurableReplica): Promise<void> {
    assert(!this.closed && source instanceof MemoryDurable && !source.closed, 'both open');
    await Promise.resolve();
    if (source.state.point === undefined) throw new OperatingError('EIO', 'the replica to copy is damaged');
    this.state.point = source.state.point;
    this.state.data = source.state.data;
  }

  async reset(): Promise<void> {
    assert(!this.closed, 'closed');
    await Promise.resolve();
    this.state.point = originPoint;
    this.state.data = [];
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

export class MemoryReplicas implements ReplicaStore {
  readonly states = new Map<string, MemoryState>();
  /** The next `apply` of these fails. */
  readonly failing = new Set<MemoryState>();
  /** No `apply` ends before this. */
  held: Promise<void> | undefined;

  open(voter: Disk, directory: string): Promise<DurableReplica> {
    assert(directory === 'quorum/replica', 'where replicas are');
    return Promise.resolve(new MemoryDurable(this.of(voter.id), this));
  }

  of(id: string): MemoryState {
    const state = this.states.get(id) ?? emptyState();
    this.states.set(id, state);
    return state;
  }

  damage(id: string): void {
    this.of(id).point = undefined;
  }

  forget(id: string): void {
    this.states.delete(id);
  }

  copy(): MemoryReplicas {
    const copy = new MemoryReplicas();
    for (const [id, state] of this.states) copy.states.set(id, { ...state });
    return copy;
  }
}
