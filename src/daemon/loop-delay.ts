/** How late timers are: how long the event loop, on which all requests are served, was busy with something else. */
import type { Cancel, Clock } from '../base/clock.js';
import { Histogram, type Durations } from '../base/histogram.js';

/** Often enough to see what hurts, seldom enough to cost nothing. */
const SAMPLE_MS = 250;

export class LoopDelay {
  readonly #clock: Clock;
  readonly #histogram = new Histogram();
  #cancel: Cancel = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#next();
  }

  #next(): void {
    const due = this.#clock.monotonicMs() + SAMPLE_MS;
    this.#cancel = this.#clock.after(SAMPLE_MS, () => {
      this.#histogram.add(this.#clock.monotonicMs() - due);
      this.#next();
    });
  }

  get durations(): Durations {
    return this.#histogram.durations;
  }

  stop(): void {
    this.#cancel();
  }
}
