/**
 * Memory for buffers of some KiB that come in quick succession and go in about the same order, such as the entries of a log: cut from larger pieces, each of
 * which goes when all that was cut from it has gone. V8 makes, counts and frees one object outside of its heap for each piece, not for each buffer, and those are dear.
 * Not for what stays: it would keep its neighbours.
 */
import { ARENA_PIECE_BYTES } from './limits.js';

let piece = Buffer.alloc(0);
let used = 0;

/** A buffer of so many bytes, with anything in it. */
export function arenaBuffer(bytes: number): Buffer {
  if (bytes > ARENA_PIECE_BYTES / 4) return Buffer.allocUnsafeSlow(bytes);
  if (used + bytes > piece.length) {
    piece = Buffer.allocUnsafeSlow(ARENA_PIECE_BYTES);
    used = 0;
  }
  const buffer = piece.subarray(used, used + bytes);
  // The next one begins where numbers of eight bytes are aligned.
  used += (bytes + 7) & ~7;
  return buffer;
}
