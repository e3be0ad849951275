/**
 * The memory that dirty data may take, over all uploads. Data is always taken (the kernel has let go of it already); whoever brings some while the
 * budget is overdrawn waits until it is not, first come first served. That is bounded by the requests in flight. What waits holds nothing, and
 * `relieve` commits the oldest uploads, so there is always somebody who gives back.
 *
 * Whoever brings little does not wait behind those who bring much: it may overdraw the budget by so much more.
 */
import { BUDGET_SMALL_BYTES_MAX, BUDGET_SMALL_OVERDRAFT_BYTES_MAX } from '../base/limits.js';

export class Budget {
  readonly bytesMax: number;
  /** Called when much is used that nobody is writing out. */
  relieve: () => void = () => undefined;
  #usedBytes = 0;
  #leavingBytes = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #smallWaiting: (() => void)[] = [];

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** More than half is used by data that nobody is writing out. */
  get tight(): boolean {
    return this.#usedBytes - this.#leavingBytes > this.bytesMax / 2;
  }

  take(bytes: number): void {
    this.#usedBytes += bytes;
    if (this.tight) this.relieve();
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    while (this.#usedBytes <= this.#smallBytesMax) {
      const next = this.#smallWaiting.shift() ?? (this.#usedBytes <= this.bytesMax ? this.#waiting.shift() : undefined);
      if (next === undefined) return;
      next();
    }
  }

  get #smallBytesMax(): number {
    return this.bytesMax + Math.min(BUDGET_SMALL_OVERDRAFT_BYTES_MAX, 1.25 * this.bytesMax);
  }

  /** So many of the used bytes are being written out, and will be given back. */
  leaving(bytes: number): void {
    this.#leavingBytes += bytes;
  }

  left(bytes: number): void {
    this.#leavingBytes -= bytes;
  }

  /**
   * For whoever brought so many bytes.
   * @returns undefined: there is room now. Otherwise resolves when there is.
   */
  room(bytes: number): Promise<void> | undefined {
    const small = bytes <= BUDGET_SMALL_BYTES_MAX;
    const waiting = small ? this.#smallWaiting : this.#waiting;
    if (this.#usedBytes <= (small ? this.#smallBytesMax : this.bytesMax) && waiting.length === 0) return undefined;
    return new Promise((resolve) => waiting.push(resolve));
  }
}
