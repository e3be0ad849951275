/** Points of the log as replicas keep them. */
import { assert } from '../base/assert.js';
import type { LogEntry, LogPoint } from '../quorum/state-machine.js';

/** Length of a chain checksum (base/checksums.ts has it too; the replicas' threads do without that module). */
export const CHAIN_BYTES = 16;

/** Before the first entry. */
export const emptyPoint: LogPoint = { position: 0, epoch: 0, chain: new Uint8Array(CHAIN_BYTES) };

/** Asserts that a replica at `point` may apply `entry`: the next position, and an epoch that does not go back. */
export function follows(point: LogPoint | undefined, entry: LogEntry): asserts point is LogPoint {
  assert(point !== undefined, 'a replica without a point cannot apply entries');
  assert(entry.point.position === point.position + 1, `entry ${entry.point.position} applied at ${point.position}`);
  assert(entry.point.epoch >= point.epoch, `entry of epoch ${entry.point.epoch} after epoch ${point.epoch}`);
}
