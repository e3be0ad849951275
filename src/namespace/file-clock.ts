/**
 * The clock that dates files. The kernel dates what it caches, by its own coarse clock, which may be a tick ahead of what it tells programs; so what it told us last
 * counts here, too, and a file that is changed later never looks older than one that was changed before.
 */
import type { Cancel, Clock, Time } from '../base/clock.js';
import { FILE_CLOCK_AHEAD_SECONDS } from '../base/limits.js';

/** The later one. */
export function later(a: Time, b: Time): Time {
  return b.seconds > a.seconds || (b.seconds === a.seconds && b.nanoseconds > a.nanoseconds) ? b : a;
}

/** To the nanosecond. */
export function sameTime(a: Time, b: Time): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds;
}

export class FileClock implements Clock {
  readonly #clock: Clock;
  #told: Time = { seconds: 0, nanoseconds: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The time to date a change with. */
  now(): Time {
    const now = this.#clock.now();
    // Somebody set the machine's clock back: it counts.
    if (this.#told.seconds > now.seconds + FILE_CLOCK_AHEAD_SECONDS) this.#told = now;
    return later(now, this.#told);
  }

  /** A change that was dated elsewhere, by the clock: a ctime, which nobody can choose. */
  told(time: Time): void {
    this.#told = later(this.#told, time);
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  after(delayMs: number, action: () => void): Cancel {
    return this.#clock.after(delayMs, action);
  }

  sleep(delayMs: number): Promise<void> {
    return this.#clock.sleep(delayMs);
  }

  yield(): Promise<void> {
    return this.#clock.yield();
  }
}
