/**
 * The memory that dirty data may take, over all uploads. Data is always taken (the kernel has let go of it already); whoever brings some while the
 * budget is overdrawn waits until it is not, first come first served. That is bounded by the requests in flight. What waits holds nothing, and
 * `relieve` commits the oldest uploads, so there is always somebody who gives back.
 */
export class Budget {
  readonly bytesMax: number;
  /** Called when much is used that nobody is writing out. */
  relieve: () => void = () => undefined;
  #usedBytes = 0;
  #leavingBytes = 0;
  readonly #waiting: (() => void)[] = [];

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
    while (this.#usedBytes <= this.bytesMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next();
    }
  }

  /** So many of the used bytes are being written out, and will be given back. */
  leaving(bytes: number): void {
    this.#leavingBytes += bytes;
  }

  left(bytes: number): void {
    this.#leavingBytes -= bytes;
  }

  /** undefined: there is room now. Otherwise resolves when there is. */
  room(): Promise<void> | undefined {
    if (this.#usedBytes <= this.bytesMax && this.#waiting.length === 0) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
