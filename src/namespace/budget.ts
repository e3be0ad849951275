/**
 * The memory that dirty data may take, over all uploads. Data is always taken (the kernel has let go of it already); whoever brings some while the
 * budget is overdrawn waits until it is not, first come first served. That is bounded by the requests in flight. What waits holds nothing, and
 * `relieve` commits the oldest uploads, so there is always somebody who gives back.
 *
 * Whoever brings little does not wait behind those who bring much: what these brought and wait for does not count for him, and a little more is allowed.
 */
import { BUDGET_SMALL_BYTES_MAX, BUDGET_SMALL_OVERDRAFT_BYTES_MAX } from '../base/limits.js';

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

export class Budget {
  readonly bytesMax: number;
  /** Called when much is used that nobody is writing out. */
  relieve: () => void = () => undefined;
  #usedBytes = 0;
  #leavingBytes = 0;
  /** Who brought much. */
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Who brought little. */
  readonly #smallWaiting: (() => void)[] = [];

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** More than three quarters are used by data that nobody is writing out. At half, a big file's windows would be stored before they are full. */
  get tight(): boolean {
    return this.#usedBytes - this.#leavingBytes > (this.bytesMax * 3) / 4;
  }

  take(bytes: number): void {
    this.#usedBytes += bytes;
    if (this.tight) this.relieve();
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    while (this.#roomForLittle && this.#smallWaiting.length > 0) this.#smallWaiting.shift()?.();
    while (this.#usedBytes <= this.bytesMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#waitingBytes -= next.bytes;
      next.go();
    }
  }

  /** So many of the used bytes are being written out, and will be given back. */
  leaving(bytes: number): void {
    this.#leavingBytes += bytes;
  }

  left(bytes: number): void {
    this.#leavingBytes -= bytes;
  }

  get #roomForLittle(): boolean {
    const overdraft = Math.min(BUDGET_SMALL_OVERDRAFT_BYTES_MAX, this.bytesMax / 4);
    return this.#usedBytes - this.#waitingBytes <= this.bytesMax + overdraft;
  }

  /**
   * For whoever brought so many bytes.
   * @returns undefined: there is room now. Otherwise resolves when there is.
   */
  room(bytes: number): Promise<void> | undefined {
    if (bytes <= BUDGET_SMALL_BYTES_MAX) {
      if (this.#roomForLittle && this.#smallWaiting.length === 0) return undefined;
      return new Promise((go) => this.#smallWaiting.push(go));
    }
    if (this.#usedBytes <= this.bytesMax && this.#waiting.length === 0) return undefined;
    this.#waitingBytes += bytes;
    return new Promise((go) => this.#waiting.push({ bytes, go }));
  }
}
