/**
 * Looks at blobs through their rows: which shards of one must be made anew, which ones wait for a disk that is out, and, over all blobs of the pool, whether
 * every one is whole. Heal, drain, rebalance and the status of the pool ask it.
 *
 *   whole: every shard has a place, on a disk that is a member, has not failed and is in, and nobody has found it bad.
 */
import { must } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import type { BlobId, DiskNumber } from '../base/ids.js';
import { SURVEY_ROWS } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { IndexStore, Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { pages } from '../index/pages.js';
import { decodeEndangered, decodeLocationRow, encodeEndangered } from '../index/schema/blob-rows.js';
import { blobKey, endangeredKey, parseBlobKey, tableRange, TABLES } from '../index/schema/tables.js';
import { decodeLocation } from '../storage/location-codec.js';
import { recordBytesOf } from '../storage/record.js';

/** What there is to know about disks here. */
export type Disks = Pick<DiskSet, 'members'>;

/** The disks of a pool at one moment. */
export class DiskView {
  /** Members that have not failed, in or not. */
  readonly #staying = new Set<DiskNumber>();
  readonly #in = new Set<DiskNumber>();
  readonly #taking = new Set<DiskNumber>();

  constructor(disks: Disks) {
    for (const { member, disk } of disks.members()) {
      if (member.role !== 'data' || member.state === 'failed') continue;
      this.#staying.add(member.number);
      if (disk === undefined) continue;
      this.#in.add(member.number);
      if (member.state === 'active') this.#taking.add(member.number);
    }
  }

  /** Shards that will not come back: without a place, or on a disk that failed or was removed. */
  missing({ shards }: Location): number[] {
    return shards.flatMap(({ disk }, shard) => (this.#staying.has(disk) ? [] : [shard]));
  }

  /** Shards on disks that are out and may come back. */
  out({ shards }: Location): number[] {
    return shards.flatMap(({ disk }, shard) => (this.#staying.has(disk) && !this.#in.has(disk) ? [shard] : []));
  }

  /** How many shards can be read, without those known to be bad. */
  good({ shards }: Location, bad: readonly number[]): number {
    return shards.filter(({ disk }, shard) => this.#in.has(disk) && !bad.includes(shard)).length;
  }

  /** Is there a disk that could take one of these shards? Room and zones are another question. */
  placeable({ shards }: Location, wanted: readonly number[]): boolean {
    const used = new Set(shards.flatMap(({ disk }, shard) => (wanted.includes(shard) ? [] : [disk])));
    for (const disk of this.#taking) if (!used.has(disk)) return true;
    return false;
  }
}

/** A blob as its row says. `bad`: shards that were recorded as endangered. */
export interface SurveyedBlob {
  readonly location: Location;
  readonly bad: readonly number[];
}

/** Lets others have their turn: after the loss of a disk every blob may be endangered. */
type Yielding = Pick<Clock, 'yield'>;

/** A few blobs, and the key to go on behind them. */
export interface SurveyStep {
  readonly blobs: readonly SurveyedBlob[];
  readonly last: BlobId;
}

/** All blobs in the order of their numbers, SURVEY_ROWS at a time; the caller lets others have their turn in between. @param after goes on behind this blob */
export async function* surveyBlobs(index: IndexStore, after?: BlobId): AsyncGenerator<SurveyStep, void, undefined> {
  let range = tableRange(TABLES.blob, SURVEY_ROWS);
  if (after !== undefined) range = { ...range, start: keyAfter(blobKey(after)) };
  for await (const rows of pages(index, range)) {
    const lastBlob = parseBlobKey(must(rows.at(-1), 'no page is empty').key);
    const first = parseBlobKey(must(rows[0], 'no page is empty').key);
    const bad = new Map<BlobId, number[]>();
    const marked = await index.scan({ start: endangeredKey(first), end: keyAfter(endangeredKey(lastBlob)), limit: SURVEY_ROWS });
    for (const { key, value } of marked) bad.set(parseBlobKey(key), decodeEndangered(value));
    const blobs = rows.map(({ key, value }): SurveyedBlob => ({
      location: decodeLocation(decodeLocationRow(value)),
      bad: bad.get(parseBlobKey(key)) ?? [],
    }));
    yield { blobs, last: lastBlob };
  }
}

/** Endangered blobs as the index knows them; also those of which the row cannot be read. */
export async function countEndangered(index: IndexStore, clock: Yielding): Promise<number> {
  let count = 0;
  for await (const rows of endangeredPages(index, clock)) count += rows.length;
  return count;
}

export interface EndangeredRow {
  readonly blob: BlobId;
  readonly bad: readonly number[];
}

/** The table of endangered blobs, SURVEY_ROWS at a time. @throws DecodeError */
export async function* endangeredRows(index: IndexStore, clock: Yielding): AsyncGenerator<EndangeredRow[], void, undefined> {
  for await (const rows of endangeredPages(index, clock))
    yield rows.map(({ key, value }) => ({ blob: parseBlobKey(key), bad: decodeEndangered(value) }));
}

function endangeredPages(index: IndexStore, clock: Yielding): AsyncGenerator<Row[], void, undefined> {
  return pages(index, tableRange(TABLES.endangered, SURVEY_ROWS), clock);
}

/**
 * Records that shards of blobs are missing or bad, so that heal finds them; in one transaction, of rows of blobs alone. Blobs that no row points to any more are
 * passed over.
 */
export async function recordEndangered(index: IndexStore, blobs: ReadonlyMap<BlobId, Iterable<number>>): Promise<void> {
  await index.transact(async (tx) => {
    for (const [blob, shards] of blobs) {
      if ((await tx.get(blobKey(blob))) === undefined) continue;
      const before = await tx.get(endangeredKey(blob));
      const recorded = before === undefined ? [] : readable(before);
      const all = [...new Set([...recorded, ...shards])].sort((a, b) => a - b);
      if (all.length > recorded.length) tx.put(endangeredKey(blob), encodeEndangered(all));
    }
  });
}

/** A row that cannot be read says nothing; who counts or reads the blob finds out again. */
function readable(row: Buffer): number[] {
  try {
    return [...decodeEndangered(row)];
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return [];
  }
}

/** What a count of all blobs found. */
export interface BlobCount {
  readonly blobs: number;
  /** Blobs that lack shards for good, or have bad ones. */
  readonly endangeredBlobs: number;
  /** Blobs that are whole but for shards on disks that are out. */
  readonly outBlobs: number;
  /** Of all these, blobs that cannot be read now: fewer than k good shards. */
  readonly unreadableBlobs: number;
}

/**
 * Counts all blobs, and records those as endangered that nobody had recorded yet: on disks that were declared failed, or removed.
 * @param step called between steps; may wait, may throw to end the count
 * @returns the count, and how many were recorded
 */
export async function countBlobs(
  index: IndexStore,
  disks: Disks,
  step: (blobs: number) => Promise<void>,
): Promise<{ count: BlobCount; recordedBlobs: number }> {
  const count = { blobs: 0, endangeredBlobs: 0, outBlobs: 0, unreadableBlobs: 0 };
  let recordedBlobs = 0;
  for await (const { blobs } of surveyBlobs(index)) {
    const view = new DiskView(disks);
    const unrecorded = new Map<BlobId, number[]>();
    for (const { location, bad } of blobs) {
      count.blobs++;
      const missing = view.missing(location);
      if (missing.some((shard) => !bad.includes(shard))) unrecorded.set(location.blob, missing);
      if (missing.length > 0 || bad.length > 0) count.endangeredBlobs++;
      else if (view.out(location).length > 0) count.outBlobs++;
      if (view.good(location, bad) < location.k) count.unreadableBlobs++;
    }
    if (unrecorded.size > 0) await recordEndangered(index, unrecorded);
    recordedBlobs += unrecorded.size;
    await step(count.blobs);
  }
  return { count, recordedBlobs };
}

/** What of the blobs lies on one disk. */
export interface DiskContent {
  shards: number;
  /** Of their records. */
  bytes: number;
}

/** How full a disk is with shards, as rebalance makes it even: their part of what a disk has for them, 0 … 1. Logs, replicas and other programs' files do not count. */
export function diskLevel(shardBytes: number, freeBytes: number): number {
  return shardBytes === 0 ? 0 : shardBytes / (shardBytes + freeBytes);
}

/** What all rows say of each disk that they name. @param step called between steps; may throw to end it */
export async function measureDisks(index: IndexStore, step: () => Promise<void>): Promise<Map<DiskNumber, DiskContent>> {
  const contents = new Map<DiskNumber, DiskContent>();
  for await (const { blobs } of surveyBlobs(index)) {
    for (const { location } of blobs) {
      const bytes = recordBytesOf(location.bytes, location.k);
      for (const { disk } of location.shards) {
        if (disk === 0) continue;
        const content = contents.get(disk) ?? { shards: 0, bytes: 0 };
        content.shards++;
        content.bytes += bytes;
        contents.set(disk, content);
      }
    }
    await step();
  }
  return contents;
}
