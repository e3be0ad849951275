/**
 * How much user data disks of given sizes can hold under a code. Pure functions; `space.ts` feeds them.
 *
 * With n shards to a stripe and T bytes in each, a disk of r bytes can give at most min(r, T), for a stripe has one shard on it at most, and a
 * zone at most limit × T. T fits as long as these sums reach n × T (filling disk after disk and wrapping around shows that it then
 * works out); the sum is concave in T, so the largest T is found by bisection.
 */
import type { Zoned } from './placement.js';
import { zoneKey } from './placement.js';

/** A disk and the bytes on it that shards may take. */
export interface SizedDisk extends Zoned {
  readonly bytes: number;
}

/**
 * Bytes of each shard that fit if every stripe has `shards` of them.
 * @param limit shards of one stripe in one zone at most
 */
export function shardBytesThatFit(disks: readonly SizedDisk[], shards: number, limit: number): number {
  const zones = new Map<string, number[]>();
  for (const disk of disks) zones.set(zoneKey(disk), [...(zones.get(zoneKey(disk)) ?? []), disk.bytes]);
  const fits = (each: number): boolean => {
    let sum = 0;
    for (const sizes of zones.values())
      sum += Math.min(
        limit * each,
        sizes.reduce((zone, bytes) => zone + Math.min(bytes, each), 0),
      );
    // Where every disk gives all of `each`, both sides are the same but for rounding.
    return sum >= shards * each * (1 - 1e-12);
  };
  let low = 0;
  let high = disks.reduce((sum, disk) => sum + disk.bytes, 0) / shards;
  if (fits(high)) return high;
  // Each step halves the error: 60 of them find a byte in 2^60.
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** User data that fits when each shard of `shardBytes` has a header in front of it. */
export function userBytes(each: number, k: number, shardBytes: number, headerBytes: number): number {
  return Math.floor((each * k * shardBytes) / (shardBytes + headerBytes));
}
