/** How much the namespace is used just now, by those who wait for it: services in the background give way to them. Counted for every request that may reach a disk. */
import { lastly, type Awaitable } from '../base/awaitable.js';
import type { Clock } from '../base/clock.js';

export class Activity {
  /** Requests under way. */
  inFlight = 0;
  /** Requests since the start. */
  requests = 0;
  /** When the last one began or ended, monotonic. */
  lastMs = -Infinity;
  readonly #end: () => void;

  constructor(clock: Clock) {
    this.#end = () => {
      this.inFlight--;
      this.lastMs = clock.monotonicMs();
    };
  }

  /** Counts a request until it ends. */
  during<T>(request: () => Awaitable<T>): Awaitable<T> {
    this.inFlight++;
    this.requests++;
    return lastly(request, this.#end);
  }
}
