/**
 * Scrub: reads everything on all disks, in the order of each disk, and holds it against the index both ways.
 *
 *   for each disk:  scan ──every record: frames verified, its row looked up──▶ walk ──every row: was its record seen?──▶ done
 *   at the end:     what was found is recorded as endangered while it goes on; wait until heal has done what it can; the result
 *
 * record → row: one that a row names is good, or damaged and handed to heal. One that no row names may be of a blob that is just being written, so it is looked
 * at once more later; then it is counted, and the search for stranded records (orphans.ts) is asked to run. Scrub itself deletes nothing.
 * row → record: a row whose record was not seen is looked at in its place; if it is not there, it is missing and handed to heal. What was seen is remembered in
 * bitmaps of bounded size (seen-blobs.ts); what does not fit there, or was seen before a restart, is looked at in its place too.
 *
 * Fails closed: an index that cannot answer, or a row that cannot be read, ends it with an error. A disk that cannot be read is left out and named in the result.
 * Where it stands, with what it found, is saved every few seconds; a restart repeats no more than that. Run by the daemon's job runner.
 */
import { AssertionError } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { BlobId, DiskNumber } from '../base/ids.js';
import { PACE_SHARE, SCRUB_BYTES_PER_MS, SCRUB_DISKS_IN_FLIGHT_MAX, SCRUB_DOUBTS_MAX, SCRUB_SETTLE_MS } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { DiskSet } from '../disk/disk-set.js';
import { blobKey } from '../index/schema/tables.js';
import { decodeLocationRow } from '../index/schema/blob-rows.js';
import type { Log } from '../namespace/options.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import { decodeLocation } from '../storage/location-codec.js';
import type { RecordCursor, ScannedRecord, ScannedShard, Storage } from '../storage/storage.js';
import { JOB_TURNS, JobUnfinished, type JobContext, type JobKind, type JobOptions } from './job.js';
import { isKnown } from './orphans.js';
import { checkRate, Pace, rateOf, type Usage } from './pace.js';
import { SeenBlobs } from './seen-blobs.js';
import { endangeredRows, measureDisks, surveyBlobs } from './survey.js';

export interface ScrubOptions {
  readonly namespace: Pick<PoolNamespace, 'ledger'>;
  readonly storage: Storage;
  readonly disks: Pick<DiskSet, 'members' | 'disk' | 'countError'>;
  readonly usage: Usage;
  readonly clock: Clock;
  readonly log: Log;
  /** Shards that are bad or missing: records them as endangered, and sees to it that heal runs. Resolves when they are recorded. */
  readonly repair: (blob: BlobId, shard: number) => Promise<void>;
  /** Is a heal under way, or about to be? */
  readonly isRepairing: () => boolean;
  /** There are records that nothing points to. */
  readonly onStranded: () => void;
}

/** What a scrub found so far. */
export interface ScrubCounts {
  disks: number;
  segments: number;
  records: number;
  bytes: number;
  /** Records that a row names with a frame that is bad or cannot be read. */
  badRecords: number;
  /** Records that a row names and that are not in their place. */
  missingRecords: number;
  /** Bytes that are neither zeros nor a record. */
  strayBytes: number;
  /** Records that nothing names. */
  unreferencedRecords: number;
}

/** Its names travel into `--json`. */
export interface ScrubResult extends ScrubCounts {
  /** Of the bad and missing ones: healed by the end. */
  readonly repairedRecords: number;
  /** Disks that could not be read to their end, and why. */
  readonly skippedDisks: readonly { readonly disk: DiskNumber; readonly reason: string }[];
}

/** How far one disk is. */
type DiskCursor =
  | { readonly phase: 'scan'; readonly after?: RecordCursor }
  | { readonly phase: 'walk'; readonly after?: BlobId }
  | { readonly phase: 'done' }
  | { readonly phase: 'skipped'; readonly reason: string };

interface Cursor {
  readonly disks: Record<string, DiskCursor>;
  readonly counts: ScrubCounts;
}

const nothing: ScrubCounts = {
  disks: 0,
  segments: 0,
  records: 0,
  bytes: 0,
  badRecords: 0,
  missingRecords: 0,
  strayBytes: 0,
  unreferencedRecords: 0,
};

/** While heal works, scrub looks this often whether it has ended. */
const REPAIR_LOOK_MS = 250;
/** Rows between two looks at what else wants the event loop. */
const ROWS_BETWEEN_YIELDS = 64;

export class Scrub implements JobKind {
  readonly kind = 'scrub';
  readonly turn = JOB_TURNS.scrub;
  readonly #options: ScrubOptions;

  constructor(options: ScrubOptions) {
    this.#options = options;
  }

  /** @throws OperatingError EINVAL */
  check(options: JobOptions): void {
    checkRate(options);
  }

  /** See `JobKind.run`. @throws JobUnfinished with its ScrubResult when something could not be read or repaired */
  async run(context: JobContext): Promise<ScrubResult> {
    const { disks, namespace, clock } = this.#options;
    const cursor = await this.#begin(context);
    await namespace.ledger.index.durable();
    const data = disks.members().filter(({ member }) => member.role === 'data' && member.state !== 'failed');
    for (const { member } of data) cursor.disks[member.number] ??= { phase: 'scan' };
    const waiting = data.map(({ member }) => member.number);
    const pace = new Pace({ clock, usage: this.#options.usage, share: PACE_SHARE / SCRUB_DISKS_IN_FLIGHT_MAX });
    const worker = async (): Promise<void> => {
      for (let disk = waiting.shift(); disk !== undefined; disk = waiting.shift())
        await new DiskScrub(this.#options, context, cursor, disk, pace).run();
    };
    const outcomes = await Promise.allSettled(Array.from({ length: SCRUB_DISKS_IN_FLIGHT_MAX }, worker));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    const { counts } = cursor;
    context.progress.message = 'waiting for heal';
    for (; this.#options.isRepairing(); await clock.sleep(REPAIR_LOOK_MS)) await context.checkpoint();
    context.progress.message = null;
    const skippedDisks = Object.entries(cursor.disks).flatMap(([disk, at]) =>
      at.phase === 'skipped' ? [{ disk: Number(disk), reason: at.reason }] : [],
    );
    const result = { ...counts, repairedRecords: await this.#repaired(counts), skippedDisks };
    const left = counts.badRecords + counts.missingRecords - result.repairedRecords;
    const reasons = skippedDisks.map(({ disk, reason }) => `disk ${disk} was left out (${reason})`);
    if (left > 0) reasons.unshift(`${left} damaged records could not be repaired yet ("ostraka heal" says why)`);
    if (reasons.length > 0) throw new JobUnfinished(reasons.join('; '), result);
    return result;
  }

  async #begin(context: JobContext): Promise<Cursor> {
    const { index } = this.#options.namespace.ledger;
    let total = 0;
    for (const { bytes } of (await measureDisks(index, () => context.checkpoint())).values()) total += bytes;
    const saved = context.cursor as Cursor | undefined;
    const cursor = saved === undefined ? { disks: {}, counts: { ...nothing } } : structuredClone(saved);
    context.progress.restart(cursor.counts.bytes, cursor.counts.records);
    context.progress.totalBytes = Math.max(total, cursor.counts.bytes);
    return cursor;
  }

  async #repaired({ badRecords, missingRecords }: ScrubCounts): Promise<number> {
    const found = badRecords + missingRecords;
    if (found === 0) return 0;
    let left = 0;
    const { namespace, clock } = this.#options;
    for await (const rows of endangeredRows(namespace.ledger.index, clock)) for (const { bad } of rows) left += bad.length;
    return Math.max(0, found - left);
  }
}

/** One disk of one run. */
class DiskScrub {
  readonly #options: ScrubOptions;
  readonly #context: JobContext;
  readonly #cursor: Cursor;
  readonly #disk: DiskNumber;
  readonly #pace: Pace;
  readonly #seen = new SeenBlobs();
  /** Records without a row, and when the last of them was found. */
  #doubts: ScannedShard[] = [];
  #doubtedMs = 0;

  constructor(options: ScrubOptions, context: JobContext, cursor: Cursor, disk: DiskNumber, pace: Pace) {
    this.#options = options;
    this.#context = context;
    this.#cursor = cursor;
    this.#disk = disk;
    this.#pace = pace;
  }

  /** To its end; a disk that cannot be read is left out. @throws whatever the index says, JobEnded */
  async run(): Promise<void> {
    try {
      if (this.#at.phase === 'scan') await this.#scan();
      if (this.#at.phase === 'walk') await this.#walk();
    } catch (thrown) {
      if (!(thrown instanceof DiskUnreadable)) throw thrown;
      const { message } = asOperatingError(thrown.cause);
      this.#options.log('warn', `scrub leaves out disk ${this.#disk}: ${message}`, { disk: this.#disk });
      await this.#goTo({ phase: 'skipped', reason: message });
    }
  }

  get #at(): DiskCursor {
    return this.#cursor.disks[this.#disk] ?? { phase: 'done' };
  }

  async #goTo(at: DiskCursor): Promise<void> {
    this.#cursor.disks[this.#disk] = at;
    await this.#context.save(this.#cursor);
  }

  async #scan(): Promise<void> {
    const { clock, storage, disks } = this.#options;
    const { counts } = this.#cursor;
    const at = this.#at;
    if (disks.disk(this.#disk) === undefined) throw new DiskUnreadable(new OperatingError('ENODEV', 'the disk is out'));
    const items = storage.scanRecords(this.#disk, at.phase === 'scan' ? at.after : undefined)[Symbol.asyncIterator]();
    try {
      for (;;) {
        await this.#context.checkpoint();
        const beginMs = clock.monotonicMs();
        const next = await items.next().catch((error: unknown) => {
          if (error instanceof AssertionError) throw error;
          throw new DiskUnreadable(error);
        });
        if (next.done === true) break;
        const value: ScannedRecord = next.value;
        const bytes = await this.#take(value);
        await this.#goTo({ phase: 'scan', after: value.cursor });
        const stepMs = Math.max(clock.monotonicMs() - beginMs, bytes / SCRUB_BYTES_PER_MS);
        await this.#pace.after(stepMs, bytes, rateOf(this.#context.options), () => this.#context.ending());
      }
    } finally {
      await items.return?.();
    }
    await this.#settleDoubts();
    counts.disks++;
    await this.#goTo({ phase: 'walk' });
  }

  /** Takes one thing that the scan found into account. Returns its bytes. */
  async #take(item: ScannedRecord): Promise<number> {
    const { counts } = this.#cursor;
    if (item.kind === 'segment') {
      counts.segments++;
      this.#context.progress.message = `disk ${this.#disk}, segment ${item.index + 1} of ${item.count}`;
      return 0;
    }
    counts.bytes += item.bytes;
    if (item.kind === 'stray') {
      counts.strayBytes += item.bytes;
      this.#context.progress.advance(item.bytes);
      return item.bytes;
    }
    counts.records++;
    this.#context.progress.advance(item.bytes, 1);
    if (await this.#isNamed(item)) {
      this.#seen.add(item.blob);
      if (item.state === 'bad') {
        counts.badRecords++;
        await this.#damaged(item.blob, item.shard);
      }
    } else if (!(await this.#isKnown(item))) await this.#doubt(item);
    return item.bytes;
  }

  async #damaged(blob: BlobId, shard: number): Promise<void> {
    const { disks, log } = this.#options;
    log('warn', `scrub found shard ${shard} of blob ${blob} on disk ${this.#disk} damaged`, { blob, shard, disk: this.#disk });
    disks.countError(this.#disk, 'checksum');
    await this.#options.repair(blob, shard);
  }

  /** The location in the blob's row, as it stands now. */
  async #row(blob: BlobId): Promise<Location | undefined> {
    const row = await this.#options.namespace.ledger.index.get(blobKey(blob));
    return row === undefined ? undefined : decodeLocation(decodeLocationRow(row));
  }

  /** Does the blob's row name this very record? */
  async #isNamed({ blob, shard, segment, offset }: ScannedShard): Promise<boolean> {
    const place = (await this.#row(blob))?.shards[shard];
    return place !== undefined && place.disk === this.#disk && place.segment === segment && place.offset === offset;
  }

  /** Does anything else know of it: a blob on its way to its row, space that is about to be given back? */
  async #isKnown(record: ScannedShard): Promise<boolean> {
    const { ledger } = this.#options.namespace;
    const unborn = ledger.locations.expected(record.blob)?.location.shards[record.shard];
    if (unborn !== undefined && unborn.segment === record.segment && unborn.offset === record.offset) return true;
    return isKnown(ledger.index, this.#options.storage, record);
  }

  async #doubt(record: ScannedShard): Promise<void> {
    this.#doubts.push(record);
    this.#doubtedMs = this.#options.clock.monotonicMs();
    if (this.#doubts.length >= SCRUB_DOUBTS_MAX) await this.#settleDoubts();
  }

  /** Looks once more at records without a row: those of blobs that were being written have one by now. */
  async #settleDoubts(): Promise<void> {
    const { clock } = this.#options;
    const doubts = this.#doubts;
    this.#doubts = [];
    if (doubts.length === 0) return;
    while (clock.monotonicMs() - this.#doubtedMs < SCRUB_SETTLE_MS) {
      await this.#context.checkpoint();
      await clock.sleep(REPAIR_LOOK_MS);
    }
    let found = 0;
    for (const record of doubts) if (!(await this.#isNamed(record)) && !(await this.#isKnown(record))) found++;
    this.#cursor.counts.unreferencedRecords += found;
    if (found > 0) this.#options.onStranded();
  }

  /** Every row that names this disk: its record was seen, or is looked at. */
  async #walk(): Promise<void> {
    const { clock, namespace, disks } = this.#options;
    const at = this.#at;
    this.#context.progress.message = `disk ${this.#disk}, comparing the index with what was found`;
    for await (const { blobs, last } of surveyBlobs(namespace.ledger.index, at.phase === 'walk' ? at.after : undefined)) {
      let looked = 0;
      for (const { location, bad } of blobs) {
        const shard = location.shards.findIndex(({ disk }) => disk === this.#disk);
        if (shard < 0 || bad.includes(shard) || this.#seen.has(location.blob)) continue;
        await this.#context.checkpoint();
        const beginMs = clock.monotonicMs();
        if (await this.#isGone(location, shard)) {
          this.#cursor.counts.missingRecords++;
          await this.#damaged(location.blob, shard);
        }
        await this.#pace.after(clock.monotonicMs() - beginMs, 0, undefined, () => this.#context.ending());
        if (++looked % ROWS_BETWEEN_YIELDS === 0) await clock.yield();
      }
      if (disks.disk(this.#disk) === undefined) throw new DiskUnreadable(new OperatingError('ENODEV', 'the disk is out'));
      await this.#goTo({ phase: 'walk', after: last });
      await this.#context.checkpoint();
      await clock.yield();
    }
    await this.#goTo({ phase: 'done' });
  }

  /** Is a shard not in its place, while the row says that it is? */
  async #isGone(location: Location, shard: number): Promise<boolean> {
    const place = location.shards[shard];
    if ((await this.#options.storage.inspect(location, 'headers', [shard])).length === 0) return false;
    // The blob may have moved, or gone, since its row was read.
    const now = (await this.#row(location.blob))?.shards[shard];
    return (
      now !== undefined && place !== undefined && now.disk === place.disk && now.segment === place.segment && now.offset === place.offset
    );
  }
}

/** The disk, not the index: only this disk is left out. */
class DiskUnreadable extends Error {
  constructor(override readonly cause: unknown) {
    super('a disk cannot be read');
  }
}
