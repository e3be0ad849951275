/**
 * A layer: what changed in one file since its last commit, or what the commit in flight is making visible. It lies over the committed content; a file
 * has at most two, the one that is being committed below the one that takes new writes.
 *
 *   open ──freeze──▶ frozen ──committed──▶ (dropped)
 *     └──────────poison──────┴──────────▶ dead
 *
 * Bytes are kept by windows of a blob's size, aligned in the file: a few pieces first, then one buffer for the whole window, so that a full window can
 * be stored as it is, without another copy.
 */
import { assert } from '../base/assert.js';
import type { Time } from '../base/clock.js';
import { WINDOW_PIECES_BYTES_MAX, WINDOW_PIECES_MAX } from '../base/limits.js';
import type { Chunk, ChunkMemory } from './memory.js';
import { RangeMap } from './range-map.js';

/** Times that a layer brings along; undefined: unchanged. */
export interface LayerTimes {
  atime?: Time;
  mtime?: Time;
  ctime?: Time;
}

interface Pieces {
  count: number;
  bytes: number;
}

export class Layer {
  /** When it began, monotonic ms. */
  readonly sinceMs: number;
  readonly ranges: RangeMap<Chunk>;
  readonly times: LayerTimes = {};
  /** The modification time was set by the caller: later writes of this layer do not touch it. */
  mtimeGiven = false;
  /** The change time was told by who dates changes: it replaces this one of the row, even if that is later. */
  toldOver: Time | undefined;
  /** Length of the file with this layer. */
  size: number;
  /** What lies below is hidden from here on. */
  cutOffset = Infinity;
  /** Bits of the mode that go with it. */
  modeLost = 0;
  frozen = false;
  dead = false;
  /** While it is reserved in a quota: what was written behind all that is stored, and what of that is surely added to what the file takes. */
  reserved: { readonly quota: number; written: number; bytes: number } = { quota: 0, written: 0, bytes: 0 };
  /** Parts in the index; undefined: none yet. */
  upload: number | undefined;
  /** Chunks that are or were being stored as parts. */
  readonly parts = new Set<Chunk>();
  readonly #memory: ChunkMemory;
  readonly #windows = new Map<number, Chunk>();
  readonly #pieces = new Map<number, Pieces>();

  /** @param size length of the file below. */
  constructor(memory: ChunkMemory, size: number, sinceMs: number) {
    this.#memory = memory;
    this.size = size;
    this.sinceMs = sinceMs;
    this.ranges = new RangeMap((chunk, bytes) => {
      this.#displaced(chunk, bytes);
    });
  }

  #displaced(chunk: Chunk, bytes: number): void {
    chunk.liveBytes -= bytes;
    if (chunk.liveBytes > 0 || chunk.state !== 'dirty') return;
    if (this.#windows.get(this.#windowOf(chunk.base)) === chunk) return;
    this.#drop(chunk);
  }

  #drop(chunk: Chunk): void {
    chunk.state = 'gone';
    this.#memory.release(chunk);
  }

  #windowOf(offset: number): number {
    return Math.floor(offset / this.#memory.windowBytes);
  }

  /** Bytes of the file that are in this layer. */
  liveBytes(): number {
    let bytes = 0;
    for (const range of this.ranges.ranges) bytes += range.end - range.start;
    return bytes;
  }

  /** Of the bytes from `start` to `end`, how many are in this layer. */
  coveredBytes(start: number, end: number): number {
    let bytes = 0;
    for (const range of this.ranges.within(start, end)) bytes += range.end - range.start;
    return bytes;
  }

  /** Memory of this layer that is not being stored yet. */
  dirtyMemoryBytes(): number {
    let bytes = 0;
    for (const chunk of this.#chunks()) if (chunk.state === 'dirty') bytes += chunk.bytes;
    return bytes;
  }

  #chunks(): Set<Chunk> {
    const chunks = new Set<Chunk>(this.parts);
    for (const { value } of this.ranges.ranges) chunks.add(value);
    for (const chunk of this.#windows.values()) chunks.add(chunk);
    return chunks;
  }

  /**
   * Takes a copy of `data`. Returns the windows that are full now.
   * @param offset where in the file.
   */
  write(offset: number, data: Uint8Array): Chunk[] {
    assert(!this.frozen && !this.dead, 'write to a layer that is closed');
    const full: Chunk[] = [];
    for (let at = 0; at < data.length;) {
      const start = offset + at;
      const window = this.#windowOf(start);
      const bytes = Math.min(data.length - at, (window + 1) * this.#memory.windowBytes - start);
      const chunk = this.#put(window, start, data.subarray(at, at + bytes));
      const base = window * this.#memory.windowBytes;
      if (chunk.window && this.ranges.covered(base, base + chunk.bytes, chunk)) full.push(chunk);
      at += bytes;
    }
    this.size = Math.max(this.size, offset + data.length);
    return full;
  }

  #put(window: number, start: number, data: Uint8Array): Chunk {
    const chunk = this.#windows.get(window) ?? this.#dense(window, data.length);
    if (chunk === undefined) {
      const piece = this.#memory.piece(start, data);
      this.#set(start, start + data.length, piece);
      return piece;
    }
    const { buffer } = chunk;
    assert(buffer !== undefined && chunk.state === 'dirty', 'window without memory');
    buffer.set(data, start - chunk.base);
    this.#set(start, start + data.length, chunk);
    return chunk;
  }

  #set(start: number, end: number, chunk: Chunk): void {
    chunk.liveBytes += end - start;
    this.ranges.set(start, end, chunk);
  }

  /** A buffer for the whole window, when `more` bytes are too many for pieces. Pieces move into it. */
  #dense(window: number, more: number): Chunk | undefined {
    const pieces = this.#pieces.get(window) ?? { count: 0, bytes: 0 };
    pieces.count++;
    pieces.bytes += more;
    const { windowBytes } = this.#memory;
    if (pieces.bytes <= Math.min(WINDOW_PIECES_BYTES_MAX, windowBytes / 2) && pieces.count <= WINDOW_PIECES_MAX) {
      this.#pieces.set(window, pieces);
      return undefined;
    }
    this.#pieces.delete(window);
    const chunk = this.#memory.window(window * windowBytes);
    const { buffer } = chunk;
    assert(buffer !== undefined, 'window without memory');
    this.#windows.set(window, chunk);
    for (const { start, end, value } of [...this.ranges.within(chunk.base, chunk.base + windowBytes)]) {
      if (value.state !== 'dirty' || value.buffer === undefined) continue;
      value.buffer.copy(buffer, start - chunk.base, start - value.base, end - value.base);
      this.#set(start, end, chunk);
    }
    return chunk;
  }

  /** The window is being stored from now on: later writes to it go elsewhere. */
  detach(chunk: Chunk): void {
    const window = this.#windowOf(chunk.base);
    if (this.#windows.get(window) === chunk) this.#windows.delete(window);
  }

  /** The file ends at `size` now; what was behind is gone, also below this layer. */
  truncate(size: number): void {
    assert(!this.frozen && !this.dead, 'truncation of a layer that is closed');
    if (size < this.size) {
      this.cutOffset = Math.min(this.cutOffset, size);
      this.ranges.cut(size);
      for (const [window, chunk] of this.#windows) {
        if (chunk.liveBytes > 0) continue;
        this.#windows.delete(window);
        this.#drop(chunk);
      }
      for (const window of this.#pieces.keys()) if (window * this.#memory.windowBytes >= size) this.#pieces.delete(window);
    }
    this.size = size;
  }

  /** Gives back all memory that is not being stored right now (that follows when its store settles). */
  close(): void {
    const chunks = this.#chunks();
    this.ranges.clear();
    this.#windows.clear();
    for (const chunk of chunks) if (chunk.state === 'dirty' || chunk.state === 'stored') this.#drop(chunk);
  }
}
