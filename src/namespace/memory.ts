/** The memory of dirty data and its accounts: window buffers from a pool, small pieces from the heap. */
import { assert } from '../base/assert.js';
import type { StoredBlob } from '../storage/storage.js';
import type { Budget } from './budget.js';
import type { BufferPool } from './buffers.js';

/**
 * Bytes of a file that were written and not committed yet. `dirty`: in memory, may change; `storing`: in memory, must not change; `stored`: a blob,
 * a part of its upload; `gone`: of no use any more.
 */
export interface Chunk {
  /** File offset of the chunk's first byte. */
  readonly base: number;
  readonly bytes: number;
  state: 'dirty' | 'storing' | 'stored' | 'gone';
  /** Undefined once stored or gone. */
  buffer: Buffer | undefined;
  readonly pooled: boolean;
  /** Bytes of the file for which this chunk is the latest. */
  liveBytes: number;
  stored: StoredBlob | undefined;
  /** While storing: settles when it is stored, or was given up; never rejects. */
  settled: Promise<void> | undefined;
}

export class ChunkMemory {
  readonly budget: Budget;
  readonly #windows: BufferPool;

  /** @param windows pool of buffers of a window's size. */
  constructor(budget: Budget, windows: BufferPool) {
    this.budget = budget;
    this.#windows = windows;
  }

  get windowBytes(): number {
    return this.#windows.bytes;
  }

  /** A copy of `data`, at file offset `base`. */
  piece(base: number, data: Uint8Array): Chunk {
    this.budget.take(data.length);
    return {
      base,
      bytes: data.length,
      state: 'dirty',
      buffer: Buffer.from(data),
      pooled: false,
      liveBytes: 0,
      stored: undefined,
      settled: undefined,
    };
  }

  /** A buffer for a whole window, with nothing in it yet. */
  window(base: number): Chunk {
    const bytes = this.windowBytes;
    this.budget.take(bytes);
    return {
      base,
      bytes,
      state: 'dirty',
      buffer: this.#windows.take(),
      pooled: true,
      liveBytes: 0,
      stored: undefined,
      settled: undefined,
    };
  }

  /** Gives the chunk's memory back. Nobody may be using it. */
  release(chunk: Chunk): void {
    const { buffer } = chunk;
    if (buffer === undefined) return;
    assert(chunk.state !== 'storing', 'memory released while it is being stored');
    chunk.buffer = undefined;
    if (chunk.pooled) this.#windows.give(buffer);
    this.budget.give(chunk.bytes);
  }
}
