/**
 * The search for stranded records (I10): what a crash left on the disks and no row knows of, such as blobs that were stored right before it, or entries
 * of the log that were cut. It walks the records that earlier epochs wrote, disk by disk, and frees those whose blob has no row, or whose place
 * the blob's row does not name. Nothing new is ever among them, so nothing that is just being written can be taken for stranded.
 *
 * Fails closed: on any error of the index or of decoding it stops and frees nothing more; it never guesses. The daemon runs it once after a start, when
 * all that the index says is durable.
 */
import { DecodeError } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import type { Location } from '../base/location.js';
import { COLLECT_BLOBS_MAX } from '../base/limits.js';
import type { IndexStore } from '../index/index-store.js';
import { decodeLocationRow } from '../index/schema/blob-rows.js';
import { decodeSetting, keepUnknownKey } from '../index/schema/pool-rows.js';
import { blobKey, freeRangeOfBlob } from '../index/schema/tables.js';
import type { Log } from '../namespace/options.js';
import { blobEpoch, decodeLocation } from '../storage/location-codec.js';
import type { FoundRecord, Storage } from '../storage/storage.js';

export interface StrandedReport {
  readonly records: number;
  readonly strandedRecords: number;
  readonly freedBytes: number;
}

export interface StrandedOptions {
  readonly index: IndexStore;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
  /** Asked between records: true ends the search early. */
  readonly stopped: () => boolean;
}

/** Blobs of epochs before this one are kept although no row knows them; 0: there are none such. @throws DecodeError */
async function keptEpoch(index: Pick<IndexStore, 'get'>): Promise<number> {
  const row = await index.get(keepUnknownKey());
  if (row === undefined) return 0;
  const epoch = Number(decodeSetting(row));
  if (!Number.isSafeInteger(epoch)) throw new DecodeError('the mark of what a recovery keeps cannot be read');
  return epoch;
}

/** Is something kept since a recovery although no row knows it? */
export async function keepsUnknown(index: Pick<IndexStore, 'get'>): Promise<boolean> {
  return (await keptEpoch(index)) > 0;
}

/** Does a row speak of this record? Free rows do: the collector gives those back. */
export async function isKnown(index: IndexStore, storage: Storage, record: FoundRecord): Promise<boolean> {
  const names = (location: Location): boolean => {
    const place = location.shards[record.shard];
    return place !== undefined && place.disk === record.disk && place.segment === record.segment && place.offset === record.offset;
  };
  const row = await index.get(blobKey(record.blob));
  const free = await index.scan(freeRangeOfBlob(record.blob, COLLECT_BLOBS_MAX));
  const rows = row === undefined ? [] : [decodeLocation(decodeLocationRow(row))];
  for (const { value } of free) rows.push(decodeLocation(decodeLocationRow(value)));
  // After a recovery it may be all that is left of somebody's file.
  if (rows.length === 0 && blobEpoch(record.blob) < (await keptEpoch(index))) return true;
  return rows.some((location) => names(location) || names(storage.current(location)));
}

/** Finds and frees stranded records. @throws whatever the index or a row's bytes say; what was not judged yet stays. */
export async function freeStranded({ index, storage, clock, log, stopped }: StrandedOptions): Promise<StrandedReport> {
  let records = 0;
  let strandedRecords = 0;
  let freedBytes = 0;
  // What recovery took over from the journal may not be durable yet; only what is can make a record stranded for good.
  await index.durable();
  for await (const record of storage.scan()) {
    if (stopped()) break;
    if (++records % COLLECT_BLOBS_MAX === 0) await clock.yield();
    if (await isKnown(index, storage, record)) continue;
    await storage.freeRecord(record);
    strandedRecords++;
    freedBytes += record.bytes;
  }
  if (strandedRecords > 0) log('info', 'freed records that nothing pointed to', { records, strandedRecords, freedBytes });
  return { records, strandedRecords, freedBytes };
}
