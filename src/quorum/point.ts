/** Points of the history: comparison and the empty one. Used throughout the folder. */
import { sameBytes, CHECKSUM_BYTES } from '../base/checksums.js';
import type { LogPoint } from './state-machine.js';

/** The empty history. */
export const originPoint: LogPoint = { position: 0, epoch: 0, chain: Buffer.alloc(CHECKSUM_BYTES) };

/** Same position and, by the chain, same history up to there. */
export function samePoint(a: LogPoint, b: LogPoint): boolean {
  return a.position === b.position && sameBytes(a.chain, b.chain);
}

/** Greater than 0 when `a` is more advanced than `b`: by the epoch of the last entry, then by position (Raft's rule). */
export function compareAdvance(a: LogPoint, b: LogPoint): number {
  return a.epoch - b.epoch || a.position - b.position;
}

/** For messages. */
export function pointText(point: LogPoint): string {
  return `${point.position} (epoch ${point.epoch})`;
}
