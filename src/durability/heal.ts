/**
 * Heal: rebuilds what the table of endangered blobs says is missing, when enough disks are there to take it. The new location replaces the old
 * one in one transaction; places that nobody uses any more are queued for the collector. A bounded number of blobs each round, one at a time, so
 * that it never competes with those who use the pool.
 */
import { asOperatingError } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import { COLLECT_BLOBS_MAX } from '../base/limits.js';
import type { BlobId } from '../base/ids.js';
import { keyAfter } from '../index/keys.js';
import { decodeEndangered, encodeEndangered } from '../index/schema/blob-rows.js';
import { blobKey, endangeredKey, parseBlobKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Log } from '../namespace/options.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import type { Storage } from '../storage/storage.js';

export interface HealOptions {
  readonly namespace: Pick<PoolNamespace, 'ledger' | 'moved'>;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
  readonly stopped: () => boolean;
}

export interface HealReport {
  readonly healedBlobs: number;
  /** Blobs that are still short of shards. */
  readonly endangeredBlobs: number;
}

/** Endangered blobs as the index knows them. */
export async function countEndangered(ledger: PoolNamespace['ledger']): Promise<number> {
  let count = 0;
  for (let range = tableRange(TABLES.endangered, COLLECT_BLOBS_MAX); ;) {
    const rows = await ledger.index.scan(range);
    count += rows.length;
    const last = rows.at(-1);
    if (last === undefined || rows.length < COLLECT_BLOBS_MAX) return count;
    range = { ...range, start: keyAfter(last.key) };
  }
}

/** Records that shards of a blob are missing or bad, so that heal finds it. Does nothing when no row points to the blob. */
export async function recordEndangered(ledger: PoolNamespace['ledger'], blob: BlobId, shards: readonly number[]): Promise<void> {
  await ledger.change(async ({ tx }) => {
    if ((await tx.get(blobKey(blob))) === undefined) return;
    const before = await tx.get(endangeredKey(blob));
    const all = new Set([...(before === undefined ? [] : decodeEndangered(before)), ...shards]);
    tx.put(endangeredKey(blob), encodeEndangered([...all].sort((a, b) => a - b)));
  });
}

/** Goes once over all endangered blobs. A blob that cannot be rebuilt now stays for the next time. */
export async function heal({ namespace, storage, clock, log, stopped }: HealOptions): Promise<HealReport> {
  const { ledger } = namespace;
  let healedBlobs = 0;
  let endangeredBlobs = 0;
  for (let range = tableRange(TABLES.endangered, COLLECT_BLOBS_MAX); ;) {
    const rows = await ledger.index.scan(range);
    for (const { key, value } of rows) {
      if (stopped()) return { healedBlobs, endangeredBlobs };
      const blob = parseBlobKey(key);
      try {
        const location = await ledger.locations.find(blob);
        const healed = location !== undefined && (await rebuild(namespace, storage, location, decodeEndangered(value)));
        if (healed) healedBlobs++;
        else if (location !== undefined) endangeredBlobs++;
      } catch (error) {
        endangeredBlobs++;
        log('warn', `blob ${blob} cannot be rebuilt now: ${asOperatingError(error).message}`);
      }
      await clock.yield();
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < COLLECT_BLOBS_MAX) return { healedBlobs, endangeredBlobs };
    range = { ...range, start: keyAfter(last.key) };
  }
}

/** True when nothing is missing any more. */
async function rebuild(
  namespace: HealOptions['namespace'],
  storage: Storage,
  location: Parameters<Storage['rebuild']>[0],
  missing: readonly number[],
): Promise<boolean> {
  const now = await storage.rebuild(location, missing);
  if (await namespace.moved(location, now)) return now.missing.length === 0;
  // The blob went meanwhile: what was just written is nobody's.
  await storage.free({ ...now.location, shards: now.location.shards.map((place, shard) => (missing.includes(shard) ? place : nowhere)) });
  return true;
}

const nowhere = { disk: 0, segment: 0, offset: 0 };
