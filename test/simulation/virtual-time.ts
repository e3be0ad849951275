/**
 * Time that passes only when the simulation says so. Everything that will happen (timers, completions of calls on disks) stands in one queue, ordered
 * by its time and then by the order in which it was asked for; between two events all promises settle. So a run depends on its seed alone.
 */
import type { Cancel, Clock, Time } from '../../src/base/clock.js';

interface Event {
  readonly atMs: number;
  readonly sequence: number;
  action: (() => void) | undefined;
}

/** 2023-11-14, so that times look like times. */
const START_SECONDS = 1_700_000_000;

export class VirtualTime {
  nowMs = 0;
  /** Events that took place. */
  count = 0;
  readonly #heap: Event[] = [];
  #sequence = 0;

  at(atMs: number, action: () => void): Cancel {
    const event: Event = { atMs, sequence: this.#sequence++, action };
    this.#push(event);
    return () => {
      event.action = undefined;
    };
  }

  after(delayMs: number, action: () => void): Cancel {
    return this.at(this.nowMs + Math.max(0, delayMs), action);
  }

  /**
   * Lets things happen until `done` says so, or `limitMs` of virtual time passed.
   * @returns whether `done` did
   */
  async run(done: () => boolean, limitMs: number): Promise<boolean> {
    const untilMs = this.nowMs + limitMs;
    for (;;) {
      await settle();
      if (done()) return true;
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = untilMs;
        return false;
      }
      this.#pop();
      const { action } = next;
      if (action === undefined) continue;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.count++;
      action();
    }
  }

  /** Lets so much time pass. */
  async pass(ms: number): Promise<void> {
    await this.run(() => false, ms);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = heap[above];
      if (other === undefined || before(other, event)) break;
      heap[at] = other;
      at = above;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      let child = heap[below];
      const right = heap[below + 1];
      if (child !== undefined && right !== undefined && before(right, child)) {
        child = right;
        below++;
      }
      if (child === undefined || before(last, child)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}

/** Lets promises run until nothing moves without an event. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The clock of one process; its timers end with it. */
export class ProcessClock implements Clock {
  #dead = false;
  #last: Time = { seconds: 0, nanoseconds: 0 };

  constructor(readonly time: VirtualTime) {}

  die(): void {
    this.#dead = true;
  }

  monotonicMs(): number {
    return this.time.nowMs;
  }

  now(): Time {
    const { nowMs } = this.time;
    const seconds = START_SECONDS + Math.floor(nowMs / 1000);
    let nanoseconds = Math.floor((nowMs % 1000) * 1e6);
    // Successive stamps are apart and in order.
    if (seconds === this.#last.seconds && nanoseconds <= this.#last.nanoseconds && this.#last.nanoseconds < 999_999_999)
      nanoseconds = this.#last.nanoseconds + 1;
    this.#last = { seconds, nanoseconds };
    return this.#last;
  }

  after(delayMs: number, action: () => void): Cancel {
    return this.time.after(delayMs, () => {
      if (!this.#dead) action();
    });
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  yield(): Promise<void> {
    return this.sleep(0);
  }
}
