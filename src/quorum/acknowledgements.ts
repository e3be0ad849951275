/** How many voters must have synced a batch. */
import { assert } from '../base/assert.js';

/** Voters that are more than half. */
export function majorityOf(voterCount: number): number {
  assert(voterCount >= 1, 'a pool has a voter');
  return Math.floor(voterCount / 2) + 1;
}

/**
 * Voters that must have synced a batch before it is durable: at least a majority, and at least m + 1, so that it survives the loss of any
 * m (I7); where there are fewer, all.
 */
export function acknowledgementsFor(voterCount: number, m: number): number {
  return Math.min(voterCount, Math.max(majorityOf(voterCount), m + 1));
}
