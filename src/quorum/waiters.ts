/** Those who wait for a leading log: for a position to become durable, or for something to move. Bounded by who asks: each is a request in flight. */
import type { OperatingError } from '../base/errors.js';

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: OperatingError) => void;
}

export class Waiters {
  #waiting: Waiter[] = [];

  add(position: number): Promise<void> {
    return new Promise<void>((resolve, reject) => this.#waiting.push({ position, resolve, reject }));
  }

  /** Does anyone wait for more than `position`? */
  beyond(position: number): boolean {
    return this.#waiting.some((waiter) => waiter.position > position);
  }

  /** Everything up to `position` is durable. */
  reached(position: number): void {
    const done = this.#waiting.filter((waiter) => waiter.position <= position);
    this.#waiting = this.#waiting.filter((waiter) => waiter.position > position);
    for (const waiter of done) waiter.resolve();
  }

  fail(error: OperatingError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) waiter.reject(error);
  }
}

/** Those who wait for a change, and look for themselves whether it is what they wait for. */
export class Gate {
  #waiting: (() => void)[] = [];

  /** Does anyone wait? */
  get wanted(): boolean {
    return this.#waiting.length > 0;
  }

  wait(): Promise<void> {
    return new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  open(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
