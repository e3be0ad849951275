/**
 * The index store: transactions over the working replica, committed through the quorum log. The daemon makes one over an opened log; the
 * floors above use nothing else of this folder but keys and rows.
 *
 * A transaction takes the turn, runs its body (reads see the working replica and its own writes), is encoded once, waits for room in the
 * journal where there is none, and is appended: the log applies it to the working replica in the same call. So a commit is one log entry (I3),
 * and what is read was either committed or written by the reader.
 *
 *   waiting ──take──▶ running ──body ends──▶ committing ──append──▶ done
 *                        ▲                        │ no room in the journal
 *                        └─── room, turn again ───┘ (the body runs again if someone else committed meanwhile)
 *
 * The turn is given up while waiting for room, because the flush that makes room may itself have to commit (shards that moved).
 */
import { assert } from '../base/assert.js';
import { lastly, when, type Awaitable } from '../base/awaitable.js';
import { OperatingError } from '../base/errors.js';
import type { QuorumLog } from '../quorum/quorum-log.js';
import { WRITES_BYTES_MAX } from './entry.js';
import type { Committed, IndexStore, IndexView, Range, Row, Transaction } from './index-store.js';
import type { ReadableReplica } from './readable-replica.js';
import { Turns } from './turns.js';
import { WriteSet } from './write-set.js';

/** One run of a body. Ends with it: a body that lets its transaction escape fails an assertion. */
class LogTransaction implements Transaction {
  readonly writes = new WriteSet();
  readonly #working: ReadableReplica;
  ended = false;

  constructor(working: ReadableReplica) {
    this.#working = working;
  }

  get entryBytes(): number {
    return this.writes.payloadBytes;
  }

  get(key: Uint8Array): Buffer | undefined {
    assert(!this.ended, 'transaction used after its end');
    const own = this.writes.get(key);
    return own === undefined ? this.#working.get(key) : (own ?? undefined);
  }

  scan(range: Range): Row[] {
    assert(!this.ended, 'transaction used after its end');
    return this.writes.scan(range, (below) => this.#working.scan(below));
  }

  put(key: Uint8Array, value: Uint8Array): void {
    assert(!this.ended, 'transaction used after its end');
    this.writes.set(key, value);
  }

  delete(key: Uint8Array): void {
    assert(!this.ended, 'transaction used after its end');
    this.writes.set(key, null);
  }
}

class LogIndex implements IndexStore {
  readonly #log: QuorumLog;
  readonly #working: ReadableReplica;
  readonly #turns = new Turns();
  /** Commits since the start; tells whether the state changed while a transaction waited. */
  #commits = 0;

  constructor(log: QuorumLog, working: ReadableReplica) {
    this.#log = log;
    this.#working = working;
  }

  get writable(): boolean {
    return this.#log.writable;
  }

  get refusalCode(): 'EROFS' | 'ENOSPC' {
    return this.#log.refusalCode;
  }

  get durablePosition(): number {
    return this.#log.durablePosition;
  }

  get headPosition(): number {
    return this.#log.head.position;
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#working.get(key);
  }

  scan(range: Range): Row[] {
    return this.#working.scan(range);
  }

  view(): IndexView {
    const view = this.#working.view();
    const { position, epoch } = view.point;
    return {
      position,
      epoch,
      get: (key) => view.get(key),
      scan: (range) => view.scan(range),
      close: () => {
        view.close();
      },
    };
  }

  durable(position?: number): Promise<void> {
    return this.#log.durable(position ?? this.#log.head.position);
  }

  transact<T>(body: (tx: Transaction) => Awaitable<T>): Awaitable<Committed<T>> {
    return this.#turns.run(() => this.#run(body));
  }

  #run<T>(body: (tx: Transaction) => Awaitable<T>): Awaitable<Committed<T>> {
    return when(this.#try(body), (committed) => committed ?? this.#run(body));
  }

  /** One run of a body; undefined when others committed while it waited for room, so that it must run again. */
  #try<T>(body: (tx: Transaction) => Awaitable<T>): Awaitable<Committed<T> | undefined> {
    const tx = new LogTransaction(this.#working);
    const ran = lastly(
      () => body(tx),
      () => {
        tx.ended = true;
      },
    );
    return when(ran, (value) => this.#commit(tx.writes, value));
  }

  /** Appends a write set; undefined when others committed while it waited. */
  #commit<T>(writes: WriteSet, value: T): Awaitable<Committed<T> | undefined> {
    if (writes.size === 0) return { value, position: 0 };
    this.#checkWritable();
    if (writes.payloadBytes > WRITES_BYTES_MAX)
      throw new OperatingError('EFBIG', `a transaction of ${writes.payloadBytes} bytes; at most ${WRITES_BYTES_MAX} go into one log entry`);
    const room = this.#room(writes.payloadBytes);
    return room === undefined ? { value, position: this.#append(writes) } : this.#commitLater(writes, value, room);
  }

  async #commitLater<T>(writes: WriteSet, value: T, firstRoom: Promise<void>): Promise<Committed<T> | undefined> {
    const commits = this.#commits;
    for (let room: Promise<void> | undefined = firstRoom; room !== undefined; room = this.#room(writes.payloadBytes)) {
      this.#turns.give();
      try {
        await room;
      } finally {
        const turn = this.#turns.take(true);
        if (turn !== undefined) await turn;
      }
      if (this.#commits !== commits) return undefined;
      this.#checkWritable();
    }
    return { value, position: this.#append(writes) };
  }

  #append(writes: WriteSet): number {
    this.#commits++;
    return this.#log.append(writes.encode());
  }

  /** Undefined: there is room, in the working replica and in the journal. */
  #room(payloadBytes: number): Promise<void> | undefined {
    return this.#working.room() ?? this.#log.reserve(payloadBytes);
  }

  #checkWritable(): void {
    if (!this.#log.writable)
      throw new OperatingError(this.#log.refusalCode, 'the pool is read-only', {
        hint: this.#log.readOnlyReason ?? 'bring back a majority of the voters',
      });
  }
}

/** The index store over an opened log. `working` must be the replica that the log drives. */
export function createIndexStore(log: QuorumLog, working: ReadableReplica): IndexStore {
  return new LogIndex(log, working);
}
