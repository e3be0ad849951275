/**
 * Makes shards of one blob anew in another place and swaps the blob's location in one transaction; the old places are queued for the collector, which gives
 * them back when the swap is durable and nobody reads there (I5). The step that heal, drain and rebalance repeat; and a few of them at a time.
 */
import type { Clock } from '../base/clock.js';
import { REBUILDS_IN_FLIGHT_MAX, REBUILT_UNSYNCED_BYTES_MAX } from '../base/limits.js';
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
    if (storage.unsyncedBytes > REBUILT_UNSYNCED_BYTES_MAX) await namespace.ledger.index.durable();
    return { missing: now.missing, moved, location: now.location, bytes: moved.length * recordBytesOf(location.bytes, location.k) };
  }

  /**
   * Works tasks off, a few at a time, each at its pace. The first error ends it, after the others under way have ended.
   * @param between `urgent`: gives way to nobody
   * @param work resolves with the bytes that it moved
   */
  async each<T>(
    tasks: AsyncIterable<T>,
    pace: Pace,
    between: { ending: () => boolean; bytesPerSecond: () => number | undefined; urgent?: (task: T) => boolean },
    work: (task: T) => Promise<number>,
  ): Promise<void> {
    const { clock } = this.#options;
    const source = tasks[Symbol.asyncIterator]();
    // A generator gives one at a time; the others wait for it.
    let turn: Promise<unknown> = Promise.resolve();
    let failed = false;
    const next = (): Promise<IteratorResult<T, unknown>> => {
      const got = turn.then(() => (failed ? { done: true as const, value: undefined } : source.next()));
      turn = got.catch(() => undefined);
      return got;
    };
    const worker = async (): Promise<void> => {
      try {
        for (let got = await next(); got.done !== true; got = await next()) {
          const beginMs = clock.monotonicMs();
          const bytes = await work(got.value);
          const stepMs = between.urgent?.(got.value) === true ? 0 : clock.monotonicMs() - beginMs;
          await pace.after(stepMs, bytes, between.bytesPerSecond(), between.ending);
          await clock.yield();
        }
      } catch (error) {
        failed = true;
        throw error;
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: REBUILDS_IN_FLIGHT_MAX }, worker));
    await source.return?.();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }
}
