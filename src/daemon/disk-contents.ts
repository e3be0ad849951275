/**
 * What of the blobs lies on each disk, for `status` and `disk list`: counted from the index's rows, which takes a walk over all of them. So it is counted when
 * somebody asks and the last count is old, in the background, and who asks waits a moment for it, but not longer. Read-only; made for each open pool.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { DISK_CONTENTS_AGE_MS, DISK_CONTENTS_SHARE, DISK_CONTENTS_WAIT_MS } from '../base/limits.js';
import { measureDisks, type DiskContent } from '../durability/survey.js';
import type { IndexStore } from '../index/index-store.js';
import type { Log } from './logger.js';

export interface CountedContents {
  readonly disks: ReadonlyMap<DiskNumber, DiskContent>;
  /** Seconds since 1970. */
  readonly countedAt: number;
}

/** Ends a count: nothing was wrong. */
class Stopped extends Error {}

export class DiskContents {
  readonly #index: IndexStore;
  readonly #clock: Clock;
  readonly #log: Log;
  #known: CountedContents | undefined;
  #freshUntilMs = -Infinity;
  #counting: Promise<void> | undefined;
  #stopped = false;

  constructor(index: IndexStore, clock: Clock, log: Log) {
    this.#index = index;
    this.#clock = clock;
    this.#log = log;
  }

  /** As last counted; undefined where it was never counted to the end. */
  async current(): Promise<CountedContents | undefined> {
    if (!this.#stopped && this.#clock.monotonicMs() >= this.#freshUntilMs)
      this.#counting ??= this.#count().finally(() => {
        this.#counting = undefined;
      });
    if (this.#counting !== undefined) await this.#atMost(this.#counting);
    return this.#known;
  }

  async #atMost(work: Promise<void>): Promise<void> {
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#clock.after(DISK_CONTENTS_WAIT_MS, resolve);
    });
    await Promise.race([work, late]);
    cancel();
  }

  /** Never rejects. */
  async #count(): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    try {
      const disks = await measureDisks(this.#index, async () => {
        if (this.#stopped) throw new Stopped();
        await this.#clock.yield();
      });
      this.#known = { disks, countedAt: this.#clock.now().seconds };
    } catch (thrown) {
      if (thrown instanceof Stopped) return;
      const { code, message } = asOperatingError(thrown);
      this.#log('warn', `what is on each disk could not be counted: ${message}`, { code });
    }
    const nowMs = this.#clock.monotonicMs();
    this.#freshUntilMs = nowMs + Math.max(DISK_CONTENTS_AGE_MS, (nowMs - startMs) / DISK_CONTENTS_SHARE);
  }

  /** Resolves when no count is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#counting;
  }
}
