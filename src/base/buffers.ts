/**
 * Buffers of one size that are used again and again, so that megabytes do not wait for the garbage collector: V8 marks its whole heap each time that so many have come
 * and gone. Memory from here never reaches anybody outside without a copy or a release.
 */
import { assert } from './assert.js';
import type { Cancel, Clock } from './clock.js';
import { BUFFERS_REST_MS, KiB } from './limits.js';
import { nativeIo } from './native-io.js';

/** Smaller ones lie in the C heap, between others. */
const DISCARDED_BYTES_MIN = 256 * KiB;

export interface BufferPoolOptions {
  /** Free buffers that are kept for the next taker. */
  readonly keepMax: number;
  /** Those of them that are kept for good; others go when nobody has taken them for a while, by `clock`. Default: all. */
  readonly resting?: { readonly keepMax: number; readonly clock: Clock };
}

export class BufferPool {
  readonly bytes: number;
  readonly #options: BufferPoolOptions;
  readonly #free: Buffer[] = [];
  #taken = 0;
  /** Free buffers of which nobody took one since the last look. */
  #unused = 0;
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(bytes: number, options: BufferPoolOptions) {
    this.bytes = bytes;
    this.#options = options;
  }

  /** Buffers that are out. */
  get taken(): number {
    return this.#taken;
  }

  /** Buffers that are kept. */
  get kept(): number {
    return this.#free.length;
  }

  /** A buffer with whatever it held before. */
  take(): Buffer {
    this.#taken++;
    const buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bytes);
    this.#unused = Math.min(this.#unused, this.#free.length);
    return buffer;
  }

  give(buffer: Buffer): void {
    assert(buffer.length === this.bytes && this.#taken > 0, 'not a buffer of this pool');
    this.#taken--;
    if (this.#closed || this.#free.length >= this.#options.keepMax) {
      this.#discard([buffer]);
      return;
    }
    this.#free.push(buffer);
    this.#look();
  }

  #look(): void {
    const { resting } = this.#options;
    if (resting === undefined || this.#cancel !== undefined || this.#free.length <= resting.keepMax) return;
    this.#unused = this.#free.length;
    this.#cancel = resting.clock.after(BUFFERS_REST_MS, () => {
      this.#cancel = undefined;
      // Never more than there are: those that are out come back.
      this.#discard(this.#free.splice(Math.max(resting.keepMax, this.#free.length - this.#unused)));
      this.#look();
    });
  }

  /** It may take V8 many seconds to see that they are garbage. */
  #discard(buffers: readonly Buffer[]): void {
    if (this.bytes >= DISCARDED_BYTES_MIN) for (const buffer of buffers) nativeIo().discardPages(buffer);
  }

  /** Keeps nothing any more. */
  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#discard(this.#free.splice(0));
  }
}
