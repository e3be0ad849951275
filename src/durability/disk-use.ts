/**
 * What the index still keeps on a disk: asked before a member leaves the pool, and before a disk is given up. Goes over all locations, a bounded number
 * at a time, beside those who use the pool.
 */
import type { Clock } from '../base/clock.js';
import type { DiskNumber } from '../base/ids.js';
import { COLLECT_BLOBS_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { IndexStore } from '../index/index-store.js';
import { pages } from '../index/pages.js';
import { decodeEndangered, decodeLocationRow } from '../index/schema/blob-rows.js';
import { endangeredKey, tableRange, TABLES } from '../index/schema/tables.js';
import { decodeLocation } from '../storage/location-codec.js';

async function* locations(index: IndexStore, clock: Clock): AsyncGenerator<Location> {
  for await (const rows of pages(index, tableRange(TABLES.blob, COLLECT_BLOBS_MAX), clock))
    for (const { value } of rows) yield decodeLocation(decodeLocationRow(value));
}

/** Does any blob have a shard on this disk? What waits for the collector does not count: nobody needs it. */
export async function namesDisk(index: IndexStore, clock: Clock, disk: DiskNumber): Promise<boolean> {
  for await (const { shards } of locations(index, clock)) if (shards.some((place) => place.disk === disk)) return true;
  return false;
}

/**
 * How many blobs could not be read any more without this disk.
 * @param usable whether the shards of another disk can be counted on
 */
export async function blobsThatNeed(
  index: IndexStore,
  clock: Clock,
  disk: DiskNumber,
  usable: (disk: DiskNumber) => boolean,
): Promise<number> {
  let count = 0;
  for await (const { blob, k, shards } of locations(index, clock)) {
    if (!shards.some((place) => place.disk === disk)) continue;
    const row = await index.get(endangeredKey(blob));
    const missing = row === undefined ? [] : decodeEndangered(row);
    const good = shards.filter((place, shard) => place.disk !== 0 && place.disk !== disk && usable(place.disk) && !missing.includes(shard));
    if (good.length < k) count++;
  }
  return count;
}
