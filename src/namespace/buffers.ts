/**
 * Buffers of one size that are used again and again, so that megabytes do not wait for the garbage collector. Memory from here never reaches anybody
 * outside without a copy or a release.
 */
import { assert } from '../base/assert.js';

export class BufferPool {
  readonly bytes: number;
  readonly #keepMax: number;
  readonly #free: Buffer[] = [];
  #taken = 0;

  /** @param keepMax free buffers that are kept for the next taker. */
  constructor(bytes: number, keepMax: number) {
    this.bytes = bytes;
    this.#keepMax = keepMax;
  }

  /** Buffers that are out. */
  get taken(): number {
    return this.#taken;
  }

  /** A buffer with whatever it held before. */
  take(): Buffer {
    this.#taken++;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bytes);
  }

  give(buffer: Buffer): void {
    assert(buffer.length === this.bytes && this.#taken > 0, 'not a buffer of this pool');
    this.#taken--;
    if (this.#free.length < this.#keepMax) this.#free.push(buffer);
  }
}
