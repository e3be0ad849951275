/**
 * Memory for buffers of some KiB that come in quick succession and go in about the same order, such as the entries of a log: cut from larger pieces, each of
 * which goes when all that was cut from it has gone. V8 makes, counts and frees one object outside of its heap for each piece, not for each buffer, and those are dear.
 * Not for what stays: it would keep its neighbours.
 */
import { ARENA_PIECE_BYTES } from './limits.js';

export class Arena {
  #piece = Buffer.alloc(0);
  #used = 0;

  /** A buffer of so many bytes, with anything in it. It begins where the last one ends, if both are of one piece. */
  take(bytes: number): Buffer {
    if (bytes > ARENA_PIECE_BYTES / 4) return Buffer.allocUnsafeSlow(bytes);
    if (this.#used + bytes > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(ARENA_PIECE_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += bytes;
    return this.#piece.subarray(start, this.#used);
  }
}

/** Buffers one after the other: what lies side by side in memory is one of them then. */
export function joined(buffers: readonly Buffer[]): Buffer[] {
  const runs: Buffer[] = [];
  for (let at = 0; at < buffers.length;) {
    const first = buffers[at++];
    if (first === undefined) break;
    let end = first.byteOffset + first.length;
    for (let next = buffers[at]; next?.buffer === first.buffer && next.byteOffset === end; next = buffers[++at]) end += next.length;
    runs.push(Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset));
  }
  return runs;
}
