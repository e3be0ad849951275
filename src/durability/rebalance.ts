/**
 * Rebalance: moves shards from fuller to emptier disks until they are about equally full, so that a disk that was added takes its part of old data too. The level
 * of a disk is the part of what it has for shards that shards take. One shard of a blob at a time goes, to a disk that has none of the blob and is below the mean;
 * zones are kept, since placement chooses among those (storage/placement.ts).
 *
 *   measure ─▶ levels within the tolerance ──▶ done
 *       ▲  └─▶ walk over all blobs, move what is on full disks ──something moved──┐
 *       └─────────────────────────────────────────────────────────────────────────┘ nothing moved: as even as code and zones allow, done
 *
 * What is interrupted measures anew. Run by the daemon's job runner.
 */
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { PACE_SHARE, REBALANCE_PASSES_MAX, REBALANCE_TOLERANCE } from '../base/limits.js';
import type { Location } from '../base/location.js';
import { recordBytesOf } from '../storage/record.js';
import type { DrainOptions } from './drain.js';
import { JOB_TURNS, type JobContext, type JobKind, type JobOptions } from './job.js';
import { checkRate, Pace, rateOf } from './pace.js';
import { Rebuilder } from './rebuild.js';
import { measureDisks, surveyBlobs } from './survey.js';

/** How full a disk is: 0 … 1. */
export interface DiskLevel {
  readonly disk: DiskNumber;
  readonly before: number;
  readonly after: number;
}

/** Its names travel into `--json`. */
export interface RebalanceResult {
  /** The levels differ by no more than the tolerance. */
  readonly even: boolean;
  readonly movedShards: number;
  readonly movedBytes: number;
  readonly levels: readonly DiskLevel[];
}

interface Task {
  readonly location: Location;
  readonly shard: number;
  readonly avoid: ReadonlySet<DiskNumber>;
}

/** What is on each disk that takes part, as moves go on. */
class Levels {
  readonly #disks = new Map<DiskNumber, { used: number; readonly room: number }>();

  add(disk: DiskNumber, used: number, room: number): void {
    this.#disks.set(disk, { used, room: Math.max(1, room) });
  }

  has(disk: DiskNumber): boolean {
    return this.#disks.has(disk);
  }

  numbers(): DiskNumber[] {
    return [...this.#disks.keys()];
  }

  of(disk: DiskNumber): number {
    const found = this.#disks.get(disk);
    return found === undefined ? 0 : found.used / found.room;
  }

  /** As full as all would be. */
  get mean(): number {
    let used = 0;
    let room = 0;
    for (const disk of this.#disks.values()) {
      used += disk.used;
      room += disk.room;
    }
    return room === 0 ? 0 : used / room;
  }

  get spread(): number {
    let low = 1;
    let high = 0;
    for (const { used, room } of this.#disks.values()) {
      low = Math.min(low, used / room);
      high = Math.max(high, used / room);
    }
    return Math.max(0, high - low);
  }

  change(disk: DiskNumber, bytes: number): void {
    const found = this.#disks.get(disk);
    if (found !== undefined) found.used += bytes;
  }

  /** Bytes above the mean. */
  get surplus(): number {
    const { mean } = this;
    let bytes = 0;
    for (const { used, room } of this.#disks.values()) bytes += Math.max(0, used - mean * room);
    return Math.round(bytes);
  }
}

export class Rebalance implements JobKind {
  readonly kind = 'rebalance';
  readonly turn = JOB_TURNS.rebalance;
  readonly #options: DrainOptions;
  readonly #rebuilder: Rebuilder;
  readonly #pace: Pace;

  constructor(options: DrainOptions) {
    this.#options = options;
    this.#rebuilder = new Rebuilder(options);
    this.#pace = new Pace({ clock: options.clock, usage: options.usage, share: PACE_SHARE });
  }

  check(options: JobOptions): void {
    checkRate(options);
  }

  /** See `JobKind.run`. */
  async run(context: JobContext): Promise<RebalanceResult> {
    const { progress } = context;
    const moved = { shards: 0, bytes: 0 };
    const before = new Map<DiskNumber, number>();
    for (let pass = 1; ; pass++) {
      const levels = await this.#measure(context);
      for (const disk of levels.numbers()) if (!before.has(disk)) before.set(disk, levels.of(disk));
      const earlier = moved.shards;
      if (levels.spread > REBALANCE_TOLERANCE && pass <= REBALANCE_PASSES_MAX) {
        progress.totalBytes = progress.doneBytes + levels.surplus;
        await this.#moveAll(context, levels, moved);
      }
      if (moved.shards > earlier) continue;
      progress.message = null;
      const all = levels.numbers().map((disk): DiskLevel => ({ disk, before: before.get(disk) ?? 0, after: levels.of(disk) }));
      return { even: levels.spread <= REBALANCE_TOLERANCE, movedShards: moved.shards, movedBytes: moved.bytes, levels: all };
    }
  }

  /** Of disks that are in and take new shards; what other things take on their file systems does not count. */
  async #measure(context: JobContext): Promise<Levels> {
    const { namespace, disks, clock } = this.#options;
    context.progress.message = 'measuring';
    const contents = await measureDisks(namespace.ledger.index, async () => {
      await context.checkpoint();
      await clock.yield();
    });
    const levels = new Levels();
    for (const { member, disk } of disks.members()) {
      if (member.role !== 'data' || member.state !== 'active' || disk === undefined) continue;
      const used = contents.get(member.number)?.bytes ?? 0;
      try {
        levels.add(member.number, used, (await disk.capacity()).freeBytes + used);
      } catch (thrown) {
        this.#options.log('warn', `disk ${member.number} takes no part: ${asOperatingError(thrown).message}`, { disk: member.number });
      }
    }
    return levels;
  }

  async #moveAll(context: JobContext, levels: Levels, moved: { shards: number; bytes: number }): Promise<void> {
    const { progress } = context;
    const between = { ending: () => context.ending(), bytesPerSecond: () => rateOf(context.options) };
    await this.#rebuilder.each(this.#tasks(context, levels), this.#pace, between, async ({ location, shard, avoid }) => {
      const bytes = recordBytesOf(location.bytes, location.k);
      const from = location.shards[shard]?.disk ?? 0;
      try {
        const rebuilt = await this.#rebuilder.rebuild(location, [shard], { avoid });
        if (rebuilt?.moved.length === 0) throw new OperatingError('ENOSPC', 'no disk takes it');
        levels.change(rebuilt?.location.shards[shard]?.disk ?? 0, bytes);
        moved.shards++;
        moved.bytes += bytes;
        progress.advance(bytes, 1);
        return bytes;
      } catch (thrown) {
        // Its zone, or its disk's room, forbids it: another blob will do.
        levels.change(from, bytes);
        this.#options.log('info', `shard ${shard} of blob ${location.blob} stays on disk ${from}: ${asOperatingError(thrown).message}`);
        return 0;
      }
    });
  }

  /** Shards on disks above the mean, for which a disk below it has none of their blob. What is yielded is taken off its disk's level at once. */
  async *#tasks(context: JobContext, levels: Levels): AsyncGenerator<Task, void, undefined> {
    const { namespace, clock } = this.#options;
    const { mean } = levels;
    for await (const { blobs } of surveyBlobs(namespace.ledger.index)) {
      await context.checkpoint();
      for (const { location: found, bad } of blobs) {
        if (levels.spread <= REBALANCE_TOLERANCE / 2) return;
        if (bad.length > 0 || this.#choose(found, levels, mean) === undefined) continue;
        await context.checkpoint();
        const location = await namespace.ledger.locations.find(found.blob);
        const task = location === undefined ? undefined : this.#choose(location, levels, mean);
        if (task === undefined) continue;
        const { shard } = task;
        levels.change(task.location.shards[shard]?.disk ?? 0, -recordBytesOf(found.bytes, found.k));
        context.progress.message = null;
        yield task;
      }
      await clock.yield();
    }
  }

  #choose(location: Location, levels: Levels, mean: number): Task | undefined {
    let shard = -1;
    let fullest = mean;
    for (const [number, { disk }] of location.shards.entries()) {
      const level = levels.of(disk);
      if (level <= fullest) continue;
      fullest = level;
      shard = number;
    }
    if (shard < 0) return undefined;
    const used = new Set(location.shards.map(({ disk }) => disk));
    const numbers = levels.numbers();
    const targets = numbers.filter((disk) => !used.has(disk) && levels.of(disk) < mean);
    if (targets.length === 0) return undefined;
    return {
      location,
      shard,
      avoid: new Set(
        this.#options.disks
          .members()
          .map(({ member }) => member.number)
          .filter((disk) => !targets.includes(disk)),
      ),
    };
  }
}
