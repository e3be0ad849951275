/** The last part of a check: is every shard of every blob in its place? Headers alone by default; `frames` reads and verifies all data. */
import type { Location } from '../../base/location.js';
import type { IndexStore } from '../../index/index-store.js';
import { decodeEndangered, decodeLocationRow } from '../../index/schema/blob-rows.js';
import { blobKey, endangeredKey } from '../../index/schema/tables.js';
import { decodeLocation, samePlace } from '../../storage/location-codec.js';
import type { ShardDamage, Storage } from '../../storage/storage.js';
import { recordMissing } from './blobs.js';
import type { Findings } from './finding.js';
import { attempt, blobs, type Reading } from './rows.js';

export type RecordDepth = 'headers' | 'frames';

export interface RecordsReport {
  readonly depth: RecordDepth;
  readonly blobs: number;
  /** Blobs of which shards are missing or bad; those that heal knew of are not among them. */
  readonly damagedBlobs: number;
}

interface RecordsOptions extends Reading {
  readonly storage: Pick<Storage, 'inspect'>;
  readonly depth: RecordDepth;
  /** As it is now: blobs may go or move while this goes on. */
  readonly index: Pick<IndexStore, 'get'>;
  readonly findings: Findings;
}

export async function checkRecords(options: RecordsOptions): Promise<RecordsReport> {
  const { depth, storage } = options;
  let count = 0;
  let damagedBlobs = 0;
  for await (const { blob, location } of blobs(options)) {
    count++;
    if (location?.blob !== blob) continue;
    const damage = await storage.inspect(location, depth);
    if (damage.length > 0 && (await confirm(options, location, damage))) damagedBlobs++;
    await options.pause(0);
  }
  return { depth, blobs: count, damagedBlobs };
}

/** Asks the index as it is now: a blob that went, or a shard that moved or is known to be missing, is no damage. */
async function confirm(
  { index, storage, depth, findings }: RecordsOptions,
  seen: Location,
  first: readonly ShardDamage[],
): Promise<boolean> {
  const { blob, k } = seen;
  const value = await index.get(blobKey(blob));
  const now = value === undefined ? undefined : attempt(() => decodeLocation(decodeLocationRow(value)));
  if (now === undefined) return false;
  const moved = now.shards.some((place, shard) => !samePlace(place, seen.shards[shard] ?? place));
  const damage = moved ? await storage.inspect(now, depth) : first;
  const row = await index.get(endangeredKey(blob));
  const known = new Set(row === undefined ? [] : (attempt(() => decodeEndangered(row)) ?? []));
  const news = damage.filter(({ shard }) => !known.has(shard));
  const left = now.shards.filter(({ disk }, shard) => disk !== 0 && !damage.some((each) => each.shard === shard)).length;
  if (damage.length > 0 && left < k)
    findings.add('blob-lost', { blob }, `blob ${blob} has ${left} good shards and needs ${k}: what is in it cannot be read`);
  if (news.length === 0) return false;
  const shards = news.map(({ shard }) => shard);
  const what = news.map(({ shard, code }) => `${shard} (${code})`).join(', ');
  findings.add(
    'record',
    { blob },
    `shards ${what} of blob ${blob} are not as they were written`,
    'they are recorded, so that heal makes them anew',
    recordMissing(blob, shards),
  );
  return true;
}
