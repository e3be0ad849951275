/**
 * Batches of entries in shared memory, for the threads of the replicas. A batch is packed once for all voters that are given the same array of entries, and
 * its memory is used again when nobody reads it: shared memory that is let go of stays until both threads have collected their handles, which V8 is in no hurry to do.
 *
 *   packed ──▶ in use ──a newer batch was packed, and nobody uses it──▶ its memory is spare ──▶ packed
 *                └──an apply failed──▶ never used again: a thread that was left behind may still read it
 */
import type { Cancel, Clock } from '../base/clock.js';
import { REPLICA_APPLY_BYTES_MAX, REPLICA_BATCH_REST_MS, REPLICA_BATCHES_SPARE } from '../base/limits.js';
import type { LogEntry, LogPoint } from '../quorum/state-machine.js';
import { packEntries, type PackedEntries } from './worker-jobs.js';

/** A batch that voters are given one after the other. */
export interface Batch {
  readonly packed: PackedEntries;
  users: number;
  /** Its memory is no longer its own. */
  retired: boolean;
}

export class BatchMemory {
  readonly #clock: Clock;
  readonly #batches = new WeakMap<readonly LogEntry[], Batch>();
  /** The one that others will ask for. */
  #newest: Batch | undefined;
  #spare: SharedArrayBuffer[] = [];
  #cancelRest: Cancel | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** These entries, which follow `from`, packed. To be used at once. @throws AssertionError where they do not follow each other. */
  of(from: LogPoint, entries: readonly LogEntry[]): Batch {
    const there = this.#batches.get(entries);
    if (there !== undefined && !there.retired && there.packed.from.position === from.position) return there;
    const before = this.#newest;
    const batch = { packed: packEntries(from, entries, (bytes) => this.#take(bytes)), users: 0, retired: false };
    this.#batches.set(entries, batch);
    this.#newest = batch;
    if (before !== undefined) this.#settle(before);
    return batch;
  }

  /** Holds a batch's memory until `apply` has ended. */
  async use(batch: Batch, apply: (packed: PackedEntries) => Promise<unknown>): Promise<void> {
    batch.users++;
    let applied = false;
    try {
      await apply(batch.packed);
      applied = true;
    } finally {
      batch.users--;
      if (!applied) batch.retired = true;
      this.#settle(batch);
    }
  }

  #take(bytes: number): SharedArrayBuffer {
    this.#restLater();
    const memory = this.#spare.pop();
    // Of one size, so that it fits for the next one: pages that are never written take no memory.
    return memory !== undefined && memory.byteLength >= bytes ? memory : new SharedArrayBuffer(Math.max(bytes, REPLICA_APPLY_BYTES_MAX));
  }

  #settle(batch: Batch): void {
    if (batch.users > 0 || batch.retired || batch === this.#newest) return;
    batch.retired = true;
    if (this.#spare.length < REPLICA_BATCHES_SPARE) this.#spare.push(batch.packed.memory);
  }

  #restLater(): void {
    this.#cancelRest?.();
    this.#cancelRest = this.#clock.after(REPLICA_BATCH_REST_MS, () => {
      this.#spare = [];
      // Whoever uses it now goes on doing so.
      if (this.#newest !== undefined) this.#newest.retired = true;
      this.#newest = undefined;
    });
  }
}
