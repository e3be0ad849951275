/**
 * Compaction: empties segments that are nearly empty, by moving what is live in them, so that their files go. Freed records are holes already where the file
 * system can punch them; what this returns besides is what lies between records (torn headers, tails of crashes, space on file systems without holes),
 * and the number of files: each life of the daemon leaves a small segment on each disk.
 *
 *   survey ─▶ segments with little in them ─▶ each record whose place its blob's row names: copied, the row swapped ─▶ collector frees ─▶ file unlinked
 *
 * It moves only what a row names, by the same steps as heal and drain (I5), and frees nothing by itself. Records that no row names are not its business:
 * orphans.ts finds those. So much a round, slower while the pool is used, never a pause of the mount. Run by the daemon's services.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError, type OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import {
  COMPACT_BYTES_MAX,
  COMPACT_INTERVAL_MS,
  COMPACT_LIVE_SHARE,
  COMPACT_SEGMENT_BYTES_MIN,
  COMPACT_SURVEYS_MAX,
  HEAL_SHARE,
  SMALL_SEGMENT_BYTES,
  SMALL_SEGMENTS_MAX,
} from '../base/limits.js';
import type { Log } from '../namespace/options.js';
import type { ScannedShard, SegmentUse } from '../storage/storage.js';
import { Pace, type Usage } from './pace.js';
import { Rebuilder, type RebuilderOptions } from './rebuild.js';
import { Repeater } from './repeater.js';
import type { Disks } from './survey.js';

export interface CompactorOptions extends RebuilderOptions {
  readonly disks: Disks;
  readonly usage: Usage;
  readonly clock: Clock;
  readonly log: Log;
}

/** What one round moved. */
export interface CompactReport {
  readonly segments: number;
  readonly records: number;
  readonly bytes: number;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Those of a disk's segments that are worth emptying, the emptiest first. */
export function worthEmptying(segments: readonly SegmentUse[]): SegmentUse[] {
  const live = segments.filter(({ liveRecords }) => liveRecords > 0).sort((a, b) => a.liveBytes - b.liveBytes);
  const small = live.filter(({ liveBytes }) => liveBytes < SMALL_SEGMENT_BYTES);
  const tooMany =
    small.length > SMALL_SEGMENTS_MAX ? new Set(small.slice(0, small.length - SMALL_SEGMENTS_MAX / 2)) : new Set<SegmentUse>();
  const sparse = ({ bytes, liveBytes }: SegmentUse): boolean =>
    bytes >= COMPACT_SEGMENT_BYTES_MIN && liveBytes < bytes * COMPACT_LIVE_SHARE;
  return live.filter((segment) => sparse(segment) || tooMany.has(segment));
}

export class Compactor {
  readonly #options: CompactorOptions;
  readonly #rebuilder: Rebuilder;
  readonly #pace: Pace;
  /** How many records were left in a segment after it was gone over: as long as it is as many, going over it again brings nothing. */
  readonly #left = new Map<string, number>();
  readonly #repeater: Repeater;

  constructor(options: CompactorOptions) {
    this.#options = options;
    this.#rebuilder = new Rebuilder(options);
    this.#pace = new Pace({ clock: options.clock, usage: options.usage, share: HEAL_SHARE });
    const { clock, log } = options;
    this.#repeater = new Repeater({ clock, log, what: 'compaction', intervalMs: COMPACT_INTERVAL_MS, round: () => this.#round() });
  }

  /** Looks for work every COMPACT_INTERVAL_MS from now on. */
  start(): void {
    this.#repeater.start();
  }

  /** Stops after the step under way. */
  stop(): Promise<void> {
    return this.#repeater.stop();
  }

  /** What the last round failed with, if it did. */
  get failure(): OperatingError | undefined {
    return this.#repeater.failure;
  }

  async #round(): Promise<void> {
    const { segments, records, bytes } = await this.compact();
    if (records > 0) this.#options.log('info', `moved ${records} records out of ${segments} nearly empty segments`, { records, bytes });
  }

  /** One round over all disks that are in. @throws the first error; a disk is left alone from its first error on, the others are gone over */
  async compact(): Promise<CompactReport> {
    const report = { segments: 0, records: 0, bytes: 0 };
    let failed: unknown;
    for (const { member, disk } of this.#options.disks.members()) {
      // A draining disk is emptied anyway.
      if (member.role !== 'data' || member.state !== 'active' || disk === undefined) continue;
      try {
        await this.#compactDisk(member.number, report);
      } catch (thrown) {
        failed ??= thrown;
      }
    }
    if (failed !== undefined) throw asOperatingError(failed);
    return report;
  }

  async #compactDisk(disk: DiskNumber, report: Writable<CompactReport>): Promise<void> {
    const { storage } = this.#options;
    await storage.survey(disk, COMPACT_SURVEYS_MAX);
    const segments = storage.segments(disk);
    this.#forgetGone(disk, segments);
    for (const segment of worthEmptying(segments)) {
      if (this.#repeater.stopped || report.bytes >= COMPACT_BYTES_MAX) return;
      if (this.#left.get(keyOf(segment)) === segment.liveRecords) continue;
      await this.#empty(segment, report);
    }
  }

  async #empty(segment: SegmentUse, report: Writable<CompactReport>): Promise<void> {
    const { storage, clock } = this.#options;
    const ending = (): boolean => this.#repeater.stopped;
    let moved = 0;
    for await (const found of storage.scanRecords(segment.disk, { segment: segment.segment, offset: 0 }, { frames: false })) {
      if (found.segment !== segment.segment || found.kind === 'segment') break;
      if (found.kind !== 'record') continue;
      const startedMs = clock.monotonicMs();
      const bytes = await this.#move(found);
      if (bytes > 0) moved++;
      report.bytes += bytes;
      if (ending() || report.bytes >= COMPACT_BYTES_MAX) break;
      await this.#pace.after(clock.monotonicMs() - startedMs, bytes, undefined, ending);
      await clock.yield();
    }
    report.records += moved;
    if (moved > 0) report.segments++;
    // What was moved is freed later; what was not is somebody else's.
    else this.#left.set(keyOf(segment), segment.liveRecords);
  }

  /** Bytes written; 0: no row names this place. */
  async #move({ blob, shard, disk, segment, offset }: ScannedShard): Promise<number> {
    const location = await this.#options.namespace.ledger.locations.find(blob);
    const place = location?.shards[shard];
    if (location === undefined || place?.disk !== disk || place.segment !== segment || place.offset !== offset) return 0;
    return (await this.#rebuilder.rebuild(location, [shard]))?.bytes ?? 0;
  }

  #forgetGone(disk: DiskNumber, segments: readonly SegmentUse[]): void {
    const there = new Set(segments.map(keyOf));
    for (const key of this.#left.keys()) if (key.startsWith(`${disk}/`) && !there.has(key)) this.#left.delete(key);
  }
}

function keyOf({ disk, segment }: SegmentUse): string {
  return `${disk}/${segment}`;
}
