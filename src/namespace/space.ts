/**
 * How much more the pool can take. Storage is asked once in a while; in between, what was stored since is subtracted. Asking is cheap and never
 * waits, so every write can.
 */
import type { Clock } from '../base/clock.js';
import { CAPACITY_AGE_MS } from '../base/limits.js';
import type { PoolCapacity, Storage } from '../storage/storage.js';

export class Space {
  /** Gives back what was deleted and still takes space; says whether that was anything. The collector's, while one runs. */
  reclaimer: () => Promise<boolean> = async () => false;
  readonly #storage: Storage;
  readonly #clock: Clock;
  #capacity: PoolCapacity = { rawFreeBytes: 0, rawTotalBytes: 0, usableBytes: 0, usableFreeBytes: 0 };
  #storedBytes = 0;
  #askedMs = -Infinity;
  #asking: Promise<void> | undefined;
  #reclaiming: Promise<boolean> | undefined;

  constructor(storage: Storage, clock: Clock) {
    this.#storage = storage;
    this.#clock = clock;
  }

  /** A blob took so much. */
  stored(bytes: number): void {
    this.#storedBytes += bytes;
  }

  /** The capacity, as of now. */
  async capacity(): Promise<PoolCapacity> {
    await (this.#asking ?? this.refresh());
    return this.#capacity;
  }

  /** Asks, or waits for whoever is asking. @param anew see `Storage.capacity`; not while somebody is asking */
  refresh(anew = false): Promise<void> {
    this.#asking ??= this.#ask(anew).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  /** For who finds no room: waits for the space of what was deleted. False: there is no more than before. */
  reclaim(): Promise<boolean> {
    this.#reclaiming ??= this.#reclaim().finally(() => {
      this.#reclaiming = undefined;
    });
    return this.#reclaiming;
  }

  async #reclaim(): Promise<boolean> {
    const freed = await this.reclaimer();
    // One at a time, as each takes off what was stored before it; and one that is under way may not know of what was given back.
    while (this.#asking !== undefined) await this.#asking;
    const before = this.#capacity.usableFreeBytes;
    await this.refresh(true);
    return freed || this.#capacity.usableFreeBytes > before;
  }

  async #ask(anew: boolean): Promise<void> {
    this.#askedMs = this.#clock.monotonicMs();
    const before = this.#storedBytes;
    this.#capacity = await this.#storage.capacity(anew);
    this.#storedBytes -= before;
  }

  /** User data for which there is room, as known; less than nothing when more was stored. */
  get freeBytes(): number {
    if (this.#clock.monotonicMs() - this.#askedMs > CAPACITY_AGE_MS) this.refresh().catch(() => undefined);
    return this.#capacity.usableFreeBytes - this.#storedBytes;
  }
}
