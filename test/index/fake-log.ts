/**
 * A quorum log in the process: applies what is appended to the working replica and keeps it in an array. Faults that it can play: no
 * majority (`writable`), a full journal (`room`), durability that is held back until `flush`.
 */
import { assert, must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { createIndexStore } from '../../src/index/log-index.js';
import { MemoryWorkingReplica } from '../../src/index/memory-replica.js';
import { emptyPoint } from '../../src/index/point.js';
import type { QuorumLog, VoterStatus } from '../../src/quorum/quorum-log.js';
import { encodeRecord } from '../../src/quorum/record.js';
import type { EntryKind, LogEntry, LogPoint, WorkingReplica } from '../../src/quorum/state-machine.js';

/** The entry that follows `before`. Copies the payload. */
export function nextEntry(before: LogPoint, payload: Uint8Array, epoch = Math.max(1, before.epoch), kind: EntryKind = 'data'): LogEntry {
  return encodeRecord(before, epoch, kind, kind === 'data' ? 0 : before.position, payload).entry;
}

export class FakeLog implements QuorumLog {
  writable = true;
  readOnlyReason: string | undefined;
  readonly refusalCode = 'EROFS';
  readonly epoch = 1;
  head: LogPoint;
  durablePosition = 0;
  /** All data entries since the log was made. */
  readonly entries: LogEntry[] = [];
  /** False: `durable` waits for `flush`. */
  flushAtOnce = true;
  #full: { promise: Promise<void>; open: () => void } | undefined;
  #flushWaiters: { position: number; done: () => void }[] = [];

  constructor(readonly working: WorkingReplica) {
    this.head = must(working.point, 'the working replica has no point');
  }

  /** false: the journal is full from now on; true: there is room again. */
  set room(there: boolean) {
    if (there) {
      this.#full?.open();
      this.#full = undefined;
    } else if (this.#full === undefined) {
      let open = (): void => undefined;
      const promise = new Promise<void>((resolve) => (open = resolve));
      this.#full = { promise, open };
    }
  }

  reserve(): Promise<void> | undefined {
    return this.#full?.promise;
  }

  append(payload: Uint8Array): number {
    if (!this.writable) throw new OperatingError('EROFS', 'no majority');
    assert(this.#full === undefined, 'appended without room');
    const entry = nextEntry(this.head, payload);
    this.entries.push(entry);
    this.head = entry.point;
    this.working.apply(entry);
    return entry.point.position;
  }

  async durable(position: number): Promise<void> {
    if (this.flushAtOnce) this.flush();
    if (this.durablePosition < position) await new Promise<void>((done) => this.#flushWaiters.push({ position, done }));
  }

  flush(): void {
    this.durablePosition = this.head.position;
    const waiters = this.#flushWaiters;
    this.#flushWaiters = [];
    for (const { done } of waiters) done();
  }

  setVoterDisk(): void {
    // It has no voters.
  }

  voters(): VoterStatus[] {
    return [];
  }

  async addLearner(): Promise<void> {
    // It has no voters.
  }

  async dropLearner(): Promise<void> {
    // It has no voters.
  }

  async changeVoters(): Promise<void> {
    // It has no voters.
  }

  async close(): Promise<void> {
    this.flush();
  }
}

/** A whole index in memory, empty. */
export function createFakeIndex(): { store: IndexStore; log: FakeLog; working: MemoryWorkingReplica } {
  const working = new MemoryWorkingReplica(true);
  assert(working.point === emptyPoint, 'a new replica is empty');
  const log = new FakeLog(working);
  return { store: createIndexStore(log, working), log, working };
}
