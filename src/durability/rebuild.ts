/**
 * Makes shards of one blob anew in another place and swaps the blob's location in one transaction; the old places are queued for the collector, which gives
 * them back when the swap is durable and nobody reads there (I5). The step that heal, drain and rebalance repeat; and a few of them at a time.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import { PACE_SLEEP_MS, REBUILDS_IN_FLIGHT_MAX, REBUILT_UNSYNCED_BYTES_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import { replacedShards } from '../storage/location-codec.js';
import { recordBytesOf } from '../storage/record.js';
import type { RebuildOptions, Storage } from '../storage/storage.js';
import type { Pace } from './pace.js';

export interface RebuilderOptions {
  readonly namespace: Pick<PoolNamespace, 'ledger' | 'moved'>;
  readonly storage: Storage;
  readonly clock: Clock;
}

/** What became of one blob. */
export interface Rebuilt {
  /** Shards that are still where they were, or nowhere. */
  readonly missing: readonly number[];
  /** Shards that have another place now. */
  readonly moved: readonly number[];
  readonly location: Location;
  /** Bytes of records written. */
  readonly bytes: number;
}

export class Rebuilder {
  readonly #options: RebuilderOptions;
  /** Under way; its failure is for whoever comes next. */
  #flush: Promise<unknown> | undefined;
  #failure: unknown;

  constructor(options: RebuilderOptions) {
    this.#options = options;
  }

  /**
   * @returns undefined when the blob went meanwhile
   * @throws OperatingError as `Storage.rebuild`
   */
  async rebuild(location: Location, shards: readonly number[], options?: RebuildOptions): Promise<Rebuilt | undefined> {
    const { namespace, storage } = this.#options;
    const now = await storage.rebuild(location, shards, options);
    const fresh = replacedShards(now.location, location);
    if (!(await namespace.moved(location, now))) {
      // What was just written is nobody's.
      await storage.discard(fresh);
      return undefined;
    }
    const moved = fresh.shards.flatMap(({ disk }, shard) => (disk === 0 ? [] : [shard]));
    await this.#boundUnsynced();
    return { missing: now.missing, moved, location: now.location, bytes: moved.length * recordBytesOf(location.bytes, location.k) };
  }

  /** Begins a flush where much is unsynced, and waits only where the one before has not ended. @throws what a flush said */
  async #boundUnsynced(): Promise<void> {
    const { namespace, storage } = this.#options;
    while (storage.unsyncedBytes > REBUILT_UNSYNCED_BYTES_MAX) {
      if (this.#flush === undefined) {
        this.#flush = namespace.ledger.index
          .durable()
          .catch((error: unknown) => (this.#failure = error))
          .finally(() => (this.#flush = undefined));
        break;
      }
      await this.#flush;
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw asOperatingError(failure);
  }

  /**
   * Works tasks off, several at a time while nobody uses the pool, one at its pace while somebody does. The first error ends it, after the others under way have
   * ended.
   * @param between `urgent`: gives way to nobody
   * @param work resolves with the bytes that it moved
   */
  async each<T>(
    tasks: AsyncIterable<T>,
    pace: Pace,
    between: { ending: () => boolean; bytesPerSecond: () => number | undefined; urgent?: boolean },
    work: (task: T) => Promise<number>,
  ): Promise<void> {
    const { clock } = this.#options;
    const source = tasks[Symbol.asyncIterator]();
    // A generator gives one at a time; the others wait for it.
    let turn: Promise<unknown> = Promise.resolve();
    let ended = false;
    const next = (): Promise<IteratorResult<T, unknown>> => {
      const got = turn.then(() => (ended ? { done: true as const, value: undefined } : source.next()));
      turn = got.catch(() => undefined);
      return got;
    };
    const worker = async (_: unknown, index: number): Promise<void> => {
      try {
        for (;;) {
          // The first one alone goes on: others would only stand in line with those who use the pool.
          while (index > 0 && between.urgent !== true && pace.used && !ended && !between.ending()) await clock.sleep(PACE_SLEEP_MS);
          const got = await next();
          if (got.done === true) break;
          const beginMs = clock.monotonicMs();
          const bytes = await work(got.value);
          const stepMs = between.urgent === true ? 0 : clock.monotonicMs() - beginMs;
          await pace.after(stepMs, bytes, between.bytesPerSecond(), between.ending);
          await clock.yield();
        }
      } finally {
        ended = true;
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: REBUILDS_IN_FLIGHT_MAX }, worker));
    await source.return?.();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }
}
