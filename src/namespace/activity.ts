/** How much the namespace is used just now, by those who wait for it: services in the background give way to them. Counted for every request that may reach a disk. */
import type { Clock } from '../base/clock.js';

export class Activity {
  /** Requests under way. */
  inFlight = 0;
  /** Requests since the start. */
  requests = 0;
  /** When the last one began or ended, monotonic. */
  lastMs = -Infinity;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts a request until it ends. */
  async during<T>(request: () => Promise<T>): Promise<T> {
    this.inFlight++;
    this.requests++;
    try {
      return await request();
    } finally {
      this.inFlight--;
      this.lastMs = this.#clock.monotonicMs();
    }
  }
}
