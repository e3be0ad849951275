/**
 * The rules of blobs: a row for exactly those that something refers to, as many references as are counted, what is missing recorded, nothing both free and in
 * use. References are counted for a bounded run of blobs at a time, with a pass over all extents for each.
 */
import { CHECK_BLOBS_MAX } from '../../base/limits.js';
import type { BlobId } from '../../base/ids.js';
import type { Location } from '../../base/location.js';
import { decodeEndangered, decodeLocationRow, decodeReferences, encodeEndangered, encodeReferences } from '../../index/schema/blob-rows.js';
import {
  blobKey,
  endangeredKey,
  freeKey,
  parseBlobKey,
  parseFreeKey,
  parsePartKey,
  partKey,
  referencesKey,
  TABLES,
  uploadKey,
} from '../../index/schema/tables.js';
import { decodeLocation, samePlace } from '../../storage/location-codec.js';
import type { Findings } from './finding.js';
import { dropRow } from './mend.js';
import { attempt, blobs, extents, keysOf, type Reading } from './rows.js';

/** What is not in the index. */
export interface BlobsOptions {
  /** Disks that belong to the pool; undefined: not known, every disk counts. */
  readonly disks: ReadonlySet<number> | undefined;
  /** Rows that may refer to blobs are damaged: nothing is said to be unreferenced. */
  readonly doubtful: boolean;
}

/** Blobs in a run, ascending, and what was counted of each. */
class Run {
  readonly ids = new Float64Array(CHECK_BLOBS_MAX);
  readonly bytes = new Float64Array(CHECK_BLOBS_MAX);
  readonly references = new Uint32Array(CHECK_BLOBS_MAX);
  size = 0;
  /** Blobs up to this one belong to the run, also those without a row. */
  end = Infinity;
  /** … and behind this one. */
  start = -1;

  restart(): void {
    this.start = this.end === Infinity ? -1 : this.end;
    this.end = Infinity;
    this.size = 0;
    this.references.fill(0);
  }

  covers(blob: BlobId): boolean {
    return blob > this.start && blob <= this.end;
  }

  /** -1: it has no row. */
  indexOf(blob: BlobId): number {
    let [low, high] = [0, this.size - 1];
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const id = this.ids[middle] ?? 0;
      if (id === blob) return middle;
      if (id < blob) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }
}

export async function checkBlobs(reading: Reading, findings: Findings, options: BlobsOptions): Promise<void> {
  const run = new Run();
  const rows = blobs(reading);
  for (let first = true, more = true; more; first = false) {
    run.restart();
    more = false;
    for (;;) {
      const next = await rows.next();
      if (next.done === true) break;
      const { value } = next;
      await checkLocation(reading, findings, options, value.blob, value.location);
      run.ids[run.size] = value.blob;
      run.bytes[run.size] = value.location?.bytes ?? Infinity;
      if (++run.size < CHECK_BLOBS_MAX) continue;
      run.end = value.blob;
      more = true;
      break;
    }
    await countExtents(reading, findings, run);
    await countParts(reading, findings, run, first);
    for (let index = 0; index < run.size; index++)
      await checkReferences(reading, findings, options, run.ids[index] ?? 0, run.references[index] ?? 0);
  }
  await checkStrays(reading, findings);
  await checkFree(reading, findings);
}

async function countExtents(reading: Reading, findings: Findings, run: Run): Promise<void> {
  for await (const { ino, extent } of extents(reading)) {
    if (extent.kind !== 'blob' || !run.covers(extent.blob)) continue;
    const { blob, blobOffset, offset, bytes } = extent;
    const at = run.indexOf(blob);
    const where = `${bytes} bytes of file ${ino} at offset ${offset}`;
    if (at < 0) {
      findings.add('blob-missing', { ino, blob }, `${where} are in blob ${blob}, of which nothing is known: reading them gives EIO`);
      continue;
    }
    run.references[at] = (run.references[at] ?? 0) + 1;
    if (blobOffset + bytes > (run.bytes[at] ?? 0))
      findings.add('extent-outside', { ino, blob }, `${where} are said to lie behind the end of blob ${blob}: reading them gives EIO`);
  }
}

async function countParts(reading: Reading, findings: Findings, run: Run, report: boolean): Promise<void> {
  for await (const { upload, blob } of keysOf(reading, TABLES.part, parsePartKey)) {
    const stray = (await reading.view.get(uploadKey(upload))) === undefined;
    if (stray && report) {
      const message = `blob ${blob} is part of upload ${upload}, which is not there`;
      findings.add('part-stray', { blob }, message, 'the part is dropped', dropRow(partKey(upload, blob)));
    }
    if (!run.covers(blob)) continue;
    const at = run.indexOf(blob);
    if (at >= 0) run.references[at] = (run.references[at] ?? 0) + 1;
    else
      findings.add(
        'blob-missing',
        { blob },
        `upload ${upload} has blob ${blob}, of which nothing is known`,
        'the part is dropped',
        dropRow(partKey(upload, blob)),
      );
  }
}

async function checkReferences(
  reading: Reading,
  findings: Findings,
  { doubtful }: BlobsOptions,
  blob: BlobId,
  counted: number,
): Promise<void> {
  const value = await reading.view.get(referencesKey(blob));
  const said = value === undefined ? 1 : attempt(() => decodeReferences(value));
  if (counted === 0) {
    if (doubtful) return;
    const message = `nothing refers to blob ${blob}, and its space is not given back`;
    findings.add('blob-unreferenced', { blob }, message, 'it is given to the collector', async ({ tx }) => {
      const location = await tx.get(blobKey(blob));
      if (location === undefined) return false;
      for (const key of [blobKey(blob), referencesKey(blob), endangeredKey(blob)]) tx.delete(key);
      tx.put(freeKey(blob, 0), location);
      return true;
    });
    return;
  }
  if (said === counted) return;
  const message = `blob ${blob} says that ${said ?? '?'} refer to it, ${counted} do`;
  findings.add('references', { blob }, message, 'the number is set right', async ({ tx }) => {
    if ((await tx.get(blobKey(blob))) === undefined) return false;
    if (counted > 1) tx.put(referencesKey(blob), encodeReferences(counted));
    else tx.delete(referencesKey(blob));
    return true;
  });
}

async function checkLocation(
  { view }: Reading,
  findings: Findings,
  { disks }: BlobsOptions,
  blob: BlobId,
  location: Location | undefined,
): Promise<void> {
  if (location === undefined) return;
  if (location.blob !== blob) {
    findings.add('location', { blob }, `the row of blob ${blob} has the location of blob ${location.blob}`);
    return;
  }
  const value = await view.get(endangeredKey(blob));
  const known = new Set(value === undefined ? [] : (attempt(() => decodeEndangered(value)) ?? []));
  const nowhere: number[] = [];
  const gone: number[] = [];
  for (const [shard, { disk }] of location.shards.entries()) {
    if (known.has(shard)) continue;
    if (disk === 0) nowhere.push(shard);
    else if (disks?.has(disk) === false) gone.push(shard);
  }
  const repair = 'they are recorded as missing, so that heal makes them anew';
  if (nowhere.length > 0)
    findings.add(
      'endangered-missing',
      { blob },
      `blob ${blob} lacks shards ${nowhere.join(', ')}, and heal does not know`,
      repair,
      recordMissing(blob, nowhere),
    );
  if (gone.length > 0)
    findings.add(
      'blob-disk',
      { blob },
      `shards ${gone.join(', ')} of blob ${blob} are on disks that are not of this pool`,
      repair,
      recordMissing(blob, gone),
    );
  const beyond = [...known].filter((shard) => shard >= location.shards.length);
  if (beyond.length > 0 || (value !== undefined && known.size === 0))
    findings.add(
      'endangered-stray',
      { blob },
      `blob ${blob} is recorded as lacking shards that it does not have`,
      'the record is dropped',
      dropRow(endangeredKey(blob)),
    );
}

/** Adds shards to those that heal is to make anew. */
export function recordMissing(blob: BlobId, shards: readonly number[]): ReturnType<typeof dropRow> {
  return async ({ tx }) => {
    if ((await tx.get(blobKey(blob))) === undefined) return false;
    const value = await tx.get(endangeredKey(blob));
    const before = value === undefined ? [] : (attempt(() => decodeEndangered(value)) ?? []);
    tx.put(endangeredKey(blob), encodeEndangered([...new Set([...before, ...shards])].sort((a, b) => a - b)));
    return true;
  };
}

/** Rows about blobs that have no row of their own. */
async function checkStrays(reading: Reading, findings: Findings): Promise<void> {
  for await (const blob of keysOf(reading, TABLES.references, parseBlobKey)) {
    if ((await reading.view.get(blobKey(blob))) !== undefined) continue;
    findings.add(
      'references',
      { blob },
      `references are counted of blob ${blob}, which is not there`,
      'the row is dropped',
      dropRow(referencesKey(blob)),
    );
  }
  for await (const blob of keysOf(reading, TABLES.endangered, parseBlobKey)) {
    if ((await reading.view.get(blobKey(blob))) !== undefined) continue;
    findings.add(
      'endangered-stray',
      { blob },
      `blob ${blob} is recorded as lacking shards, and is not there`,
      'the record is dropped',
      dropRow(endangeredKey(blob)),
    );
  }
}

/** What waits to be given back must be nobody's. */
async function checkFree(reading: Reading, findings: Findings): Promise<void> {
  for await (const { blob, serial } of keysOf(reading, TABLES.free, parseFreeKey)) {
    const inUse = await reading.view.get(blobKey(blob));
    const value = inUse === undefined ? undefined : await reading.view.get(freeKey(blob, serial));
    if (inUse === undefined || value === undefined) continue;
    const now = attempt(() => decodeLocation(decodeLocationRow(inUse)));
    const free = attempt(() => decodeLocation(decodeLocationRow(value)));
    const shared = serial === 0 || now?.shards.some((place, shard) => place.disk !== 0 && free !== undefined && same(place, free, shard));
    if (shared !== true) continue;
    const message = `blob ${blob} is in use, and its space is about to be given back`;
    findings.add('free-in-use', { blob }, message, 'its space is kept', dropRow(freeKey(blob, serial)));
  }
}

function same(place: Location['shards'][number], free: Location, shard: number): boolean {
  const other = free.shards[shard];
  return other !== undefined && samePlace(place, other);
}
