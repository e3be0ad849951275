/**
 * How fast a background job may go: as fast as it can while nobody uses the pool, a small share of the time while somebody does, and never faster than the
 * operator's bound. The job calls `after` behind each of its steps, with the time and bytes that the step took.
 *
 * Why shares of time: a request that meets a step waits for its end, so the part of requests that are slowed down is the part of time that steps take. With one in
 * a hundred or less, the 99th percentile of reads and writes is what it is without the job.
 */
import type { Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { PACE_IDLE_MS, PACE_SLEEP_MS } from '../base/limits.js';
import type { JobOptions } from './job.js';

/** Who uses the pool; see namespace/activity.ts. */
export interface Usage {
  readonly inFlight: number;
  readonly lastMs: number;
}

/** The operator's bound among a job's options: `rate`, bytes a second; null or nothing for none. */
export function rateOf({ rate }: JobOptions): number | undefined {
  return typeof rate === 'number' ? rate : undefined;
}

/** @throws OperatingError EINVAL */
export function checkRate({ rate }: JobOptions): void {
  if (rate !== undefined && rate !== null && !(typeof rate === 'number' && Number.isFinite(rate) && rate >= 1))
    throw new OperatingError('EINVAL', 'a rate is a number of bytes a second');
}

export interface PaceOptions {
  readonly clock: Clock;
  readonly usage: Usage;
  /** The part of the time that steps may take while the pool is used, above 0, up to 1. */
  readonly share: number;
}

export class Pace {
  readonly #options: PaceOptions;
  /** When the bound lets the next byte pass. */
  #freeMs = -Infinity;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** Is the pool used just now, or was it a moment ago? */
  get used(): boolean {
    const { clock, usage } = this.#options;
    return usage.inFlight > 0 || clock.monotonicMs() - usage.lastMs < PACE_IDLE_MS;
  }

  /**
   * Waits as long as a step that took so long must be followed by none.
   * @param bytesPerSecond the operator's bound; undefined: none
   * @param ending true: wait no longer
   */
  async after(stepMs: number, bytes: number, bytesPerSecond: number | undefined, ending: () => boolean): Promise<void> {
    const { clock, share } = this.#options;
    const now = clock.monotonicMs();
    if (bytesPerSecond !== undefined) this.#freeMs = Math.max(this.#freeMs, now - PACE_IDLE_MS) + (bytes * 1000) / bytesPerSecond;
    const politeMs = now + stepMs * (1 / share - 1);
    for (;;) {
      const at = clock.monotonicMs();
      const bound = bytesPerSecond === undefined ? at : this.#freeMs;
      const until = this.used ? Math.max(bound, politeMs) : bound;
      if (at >= until || ending()) return;
      await clock.sleep(Math.min(until - at, PACE_SLEEP_MS));
    }
  }
}
