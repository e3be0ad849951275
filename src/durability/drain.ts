/**
 * Drain: moves every shard off the disks that the operator wants to take away, until nothing names them. A shard is copied to another disk and the blob's location
 * is swapped in one transaction, so each blob keeps all its shards all the time; a disk that is out, or damaged, is emptied by rebuilding from the others.
 *
 *   measure ─▶ walk over all blobs, move ─▶ measure … ─▶ nothing names the disks ─▶ their space is given back ─▶ done: they can be removed
 *                                              └──nothing could be moved any more──▶ unfinished, with the reason
 *
 * The wish stands in the membership and the state in the rows: a drain that is interrupted begins anew and finds what is left. Run by the daemon's job runner.
 */
import { asOperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { DRAIN_PASSES_MAX, DRAIN_SETTLE_MS, PACE_SHARE, SURVEY_ROWS } from '../base/limits.js';
import type { Location } from '../base/location.js';
import { pages } from '../index/pages.js';
import { decodeLocationRow } from '../index/schema/blob-rows.js';
import { tableRange, TABLES } from '../index/schema/tables.js';
import type { Log } from '../namespace/options.js';
import { decodeLocation } from '../storage/location-codec.js';
import { recordBytesOf } from '../storage/record.js';
import { JOB_TURNS, JobUnfinished, type JobContext, type JobKind, type JobOptions } from './job.js';
import { checkRate, Pace, rateOf, type Usage } from './pace.js';
import { Rebuilder, type RebuilderOptions } from './rebuild.js';
import { measureDisks, surveyBlobs, type Disks } from './survey.js';

export interface DrainOptions extends RebuilderOptions {
  readonly disks: Disks;
  readonly usage: Usage;
  readonly log: Log;
}

/** Its names travel into `--json`. */
export interface DrainResult {
  /** Nothing names these any more: they can be removed. */
  readonly emptyDisks: readonly DiskNumber[];
  readonly movedShards: number;
  readonly movedBytes: number;
  /** Shards that are still on disks that shall be emptied. */
  readonly leftShards: number;
}

interface Task {
  readonly location: Location;
  readonly shards: readonly number[];
}

/** How often it is looked whether freed space was given back. */
const LOOK_MS = 200;

export class Drain implements JobKind {
  readonly kind = 'drain';
  readonly turn = JOB_TURNS.drain;
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

  /** Disks that shall be emptied, now. */
  draining(): Set<DiskNumber> {
    const wanted = this.#options.disks.members().filter(({ member }) => member.role === 'data' && member.state === 'draining');
    return new Set(wanted.map(({ member }) => member.number));
  }

  /** See `JobKind.run`. @throws JobUnfinished with its DrainResult when something could not be moved */
  async run(context: JobContext): Promise<DrainResult> {
    const { index } = this.#options.namespace.ledger;
    const moved = { shards: 0, bytes: 0, failure: undefined as string | undefined };
    for (let pass = 1; ; pass++) {
      const left = await this.#measure(context);
      const result = { emptyDisks: [], movedShards: moved.shards, movedBytes: moved.bytes, leftShards: left };
      if (left === 0) {
        await index.durable();
        await this.#settle(context);
        const emptyDisks = [...this.draining()];
        if (emptyDisks.length > 0) this.#options.log('info', `drained: ${names(emptyDisks)} can be removed`, { moved: moved.shards });
        return { ...result, emptyDisks };
      }
      const before = moved.shards;
      if (pass <= DRAIN_PASSES_MAX) await this.#moveAll(context, moved);
      if (moved.shards === before) {
        const why = moved.failure === undefined ? 'no other disk can take them' : moved.failure;
        throw new JobUnfinished(
          `${left} shards are still on ${names([...this.draining()])}: ${why}; add a disk, or bring disks back`,
          result,
        );
      }
    }
  }

  /** Shards on disks that shall be emptied. */
  async #measure(context: JobContext): Promise<number> {
    const { progress } = context;
    progress.message = 'measuring';
    const contents = await measureDisks(this.#options.namespace.ledger.index, async () => {
      await context.checkpoint();
      await this.#options.clock.yield();
    });
    let shards = 0;
    let bytes = 0;
    for (const disk of this.draining()) {
      shards += contents.get(disk)?.shards ?? 0;
      bytes += contents.get(disk)?.bytes ?? 0;
    }
    progress.totalBytes = progress.doneBytes + bytes;
    progress.totalItems = progress.doneItems + shards;
    progress.message = null;
    return shards;
  }

  async #moveAll(context: JobContext, moved: { shards: number; bytes: number; failure: string | undefined }): Promise<void> {
    const { log } = this.#options;
    const { progress } = context;
    const between = { ending: () => context.ending(), bytesPerSecond: () => rateOf(context.options) };
    await this.#rebuilder.each(this.#tasks(context), this.#pace, between, async ({ location, shards }) => {
      try {
        const rebuilt = await this.#rebuilder.rebuild(location, shards, { avoid: this.draining() });
        // A blob that went has moved as well as can be.
        const count = rebuilt === undefined ? shards.length : rebuilt.moved.length;
        const bytes = count * recordBytesOf(location.bytes, location.k);
        moved.shards += count;
        moved.bytes += rebuilt?.bytes ?? 0;
        progress.advance(bytes, count);
        return bytes;
      } catch (thrown) {
        const { message } = asOperatingError(thrown);
        moved.failure = message;
        log('warn', `shards of blob ${location.blob} cannot be moved now: ${message}`);
        return 0;
      }
    });
  }

  async *#tasks(context: JobContext): AsyncGenerator<Task, void, undefined> {
    const { namespace, clock } = this.#options;
    for await (const { blobs } of surveyBlobs(namespace.ledger.index)) {
      await context.checkpoint();
      // The operator may have thought better of it.
      const disks = this.draining();
      if (disks.size === 0) return;
      for (const { location: found } of blobs) {
        if (!found.shards.some(({ disk }) => disks.has(disk))) continue;
        await context.checkpoint();
        const location = await namespace.ledger.locations.find(found.blob);
        const shards = location?.shards.flatMap(({ disk }, shard) => (disks.has(disk) ? [shard] : [])) ?? [];
        if (location !== undefined && shards.length > 0) yield { location, shards };
      }
      await clock.yield();
    }
  }

  /** Waits, not for ever, until the collector has given back what was left behind: then the disks are empty indeed. */
  async #settle(context: JobContext): Promise<void> {
    const { clock } = this.#options;
    context.progress.message = 'giving space back';
    for (const endMs = clock.monotonicMs() + DRAIN_SETTLE_MS; clock.monotonicMs() < endMs && (await this.#anyToFree());) {
      await context.checkpoint();
      await clock.sleep(LOOK_MS);
    }
    context.progress.message = null;
  }

  async #anyToFree(): Promise<boolean> {
    const { namespace, clock } = this.#options;
    const draining = this.draining();
    // On a disk that is out nothing can be given back.
    const disks = new Set(this.#options.disks.members().flatMap(({ member, disk }) => (disk === undefined ? [] : [member.number])));
    for await (const rows of pages(namespace.ledger.index, tableRange(TABLES.free, SURVEY_ROWS), clock))
      for (const { value } of rows)
        if (decodeLocation(decodeLocationRow(value)).shards.some(({ disk }) => draining.has(disk) && disks.has(disk))) return true;
    return false;
  }
}

function names(disks: readonly DiskNumber[]): string {
  return disks.length === 1 ? `disk ${disks[0] ?? ''}` : `disks ${disks.join(', ')}`;
}
