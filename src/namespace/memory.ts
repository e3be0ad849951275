/** The memory of dirty data and its accounts: window buffers from a pool, small pieces from the heap. */
import { assert, must } from '../base/assert.js';
import { KiB, WINDOW_PIECES_BYTES_MAX } from '../base/limits.js';
import type { StoredBlob } from '../storage/storage.js';
import type { Budget } from './budget.js';
import { BufferPool } from '../base/buffers.js';

/**
 * Bytes of a file that were written and not committed yet. `dirty`: in memory, may change; `storing`: in memory, must not change; `stored`: a blob,
 * a part of its upload; `gone`: of no use any more.
 */
export interface Chunk {
  /** File offset of the chunk's first byte. */
  readonly base: number;
  /** Of memory, which a piece may not fill. */
  readonly bytes: number;
  state: 'dirty' | 'storing' | 'stored' | 'gone';
  /** Undefined once stored or gone. */
  buffer: Buffer | undefined;
  readonly pool: BufferPool;
  /** Holds a whole window. */
  readonly window: boolean;
  /** Bytes of the file for which this chunk is the latest. */
  liveBytes: number;
  stored: StoredBlob | undefined;
  /** While storing: settles when it is stored, or was given up; never rejects. */
  settled: Promise<void> | undefined;
}

/** Sizes of piece buffers, and how many free ones are kept: 10 MiB together. What small files bring must not wait for the garbage collector. */
const PIECE_POOLS: readonly [bytes: number, keepMax: number][] = [
  [4 * KiB, 128],
  [16 * KiB, 64],
  [64 * KiB, 32],
  [256 * KiB, 10],
  [WINDOW_PIECES_BYTES_MAX, 4],
];

export class ChunkMemory {
  readonly budget: Budget;
  readonly #windows: BufferPool;
  readonly #pieces = PIECE_POOLS.map(([bytes, keepMax]) => new BufferPool(bytes, { keepMax }));

  /** @param windows pool of buffers of a window's size. */
  constructor(budget: Budget, windows: BufferPool) {
    this.budget = budget;
    this.#windows = windows;
  }

  get windowBytes(): number {
    return this.#windows.bytes;
  }

  /** A copy of `data`, at most WINDOW_PIECES_BYTES_MAX, at file offset `base`. */
  piece(base: number, data: Uint8Array): Chunk {
    const pool = must(
      this.#pieces.find(({ bytes }) => data.length <= bytes),
      'a piece is small',
    );
    const chunk = this.#chunk(base, pool);
    must(chunk.buffer, 'it is new').set(data);
    return chunk;
  }

  /** A buffer for a whole window, with nothing in it yet. */
  window(base: number): Chunk {
    return this.#chunk(base, this.#windows);
  }

  #chunk(base: number, pool: BufferPool): Chunk {
    this.budget.take(pool.bytes);
    const window = pool === this.#windows;
    return {
      base,
      bytes: pool.bytes,
      state: 'dirty',
      buffer: pool.take(),
      pool,
      window,
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
    chunk.pool.give(buffer);
    this.budget.give(chunk.bytes);
  }
}
