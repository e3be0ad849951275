/** A clock that stands still until a test moves it. */
import type { Cancel, Clock, Time } from '../../src/base/clock.js';

interface Timer {
  readonly atMs: number;
  readonly action: () => void;
}

/** Lets everything that can run without the clock run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class ManualClock implements Clock {
  #nowMs = 0;
  #timers: Timer[] = [];

  monotonicMs(): number {
    return this.#nowMs;
  }

  now(): Time {
    return { seconds: 1_700_000_000 + Math.floor(this.#nowMs / 1000), nanoseconds: (this.#nowMs % 1000) * 1e6 };
  }

  after(delayMs: number, action: () => void): Cancel {
    const timer = { atMs: this.#nowMs + delayMs, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  /** Moves on, firing timers in order, and lets what they started settle. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const [next] = this.#timers.filter((timer) => timer.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.action();
      await settle();
    }
    this.#nowMs = untilMs;
  }
}
