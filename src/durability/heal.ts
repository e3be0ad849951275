/**
 * Heal: makes every blob whole again. Rebuilds what the table of endangered blobs says is missing or bad, the most endangered first, and only that; then
 * counts all blobs anew, which also finds those on disks that were declared failed or removed. It is done only when that count found every blob whole.
 *
 *   rebuild: blobs with k good shards ─▶ with k + 1 ─▶ … ─▶ count ──new ones found, or something was rebuilt──▶ rebuild …
 *                                                              └──whole──▶ done
 *                                                              └──nothing more can be done now──▶ unfinished, with the reason
 *
 * The table is the state: a heal that is interrupted begins anew and finds what is left. Blobs that no disk can take a shard of, or of which fewer than k
 * shards are good, are passed over without being read. Run by the daemon's job runner.
 */
import { asOperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import { HEAL_ROUNDS_MAX, HEAL_SHARE } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { Log } from '../namespace/options.js';
import { recordBytesOf } from '../storage/record.js';
import { JOB_TURNS, JobUnfinished, type JobContext, type JobKind } from './job.js';
import { Pace, type Usage } from './pace.js';
import { Rebuilder, type RebuilderOptions } from './rebuild.js';
import { countBlobs, countEndangered, DiskView, endangeredRows, type BlobCount, type Disks } from './survey.js';

export interface HealOptions extends RebuilderOptions {
  readonly disks: Disks;
  readonly usage: Usage;
  readonly log: Log;
}

/** What a heal found at its end. Its names travel into `--json`. */
export interface HealResult extends BlobCount {
  /** Every blob has all its shards, each on a disk that is in. */
  readonly whole: boolean;
  readonly healedBlobs: number;
  readonly healedBytes: number;
  /** Seconds since 1970. */
  readonly countedAt: number;
}

/** One blob that can be rebuilt now. */
interface Task {
  readonly location: Location;
  readonly shards: readonly number[];
  /** Good shards beyond k. */
  readonly spare: number;
  /** Fewer than k are good, unless some that were found bad read well after all. */
  readonly doubtful: boolean;
}

/** What the table of endangered blobs holds, by how many shards are good beyond k. */
interface Outlook {
  /** Index: spare shards, 0 …; blobs that can be rebuilt now. */
  readonly blobs: number[];
  bytes: number;
}

export class Heal implements JobKind {
  readonly kind = 'heal';
  readonly turn = JOB_TURNS.heal;
  readonly #options: HealOptions;
  readonly #rebuilder: Rebuilder;
  readonly #pace: Pace;

  constructor(options: HealOptions) {
    this.#options = options;
    this.#rebuilder = new Rebuilder(options);
    this.#pace = new Pace({ clock: options.clock, usage: options.usage, share: HEAL_SHARE });
  }

  /** Is anything endangered that could be rebuilt now? @param doubtful also what takes luck: see `#task` */
  async canHelp(doubtful = false): Promise<boolean> {
    for await (const task of this.#tasks(undefined, async () => undefined)) if (doubtful || !task.doubtful) return true;
    return false;
  }

  /** See `JobKind.run`. Resolves with a HealResult whose `whole` is true. @throws JobUnfinished with one whose `whole` is false */
  async run(context: JobContext): Promise<HealResult> {
    const { progress } = context;
    const { clock, log } = this.#options;
    const { index } = this.#options.namespace.ledger;
    let healedBlobs = 0;
    let healedBytes = 0;
    for (let round = 1; ; round++) {
      const healed = await this.#rebuildAll(context);
      healedBlobs += healed.blobs;
      healedBytes += healed.bytes;
      // A count is worth nothing while what it counts could still be undone.
      await index.durable();
      const { count, recordedBlobs } = await countBlobs(index, this.#options.disks, async (blobs) => {
        progress.message = `counting, ${blobs} blobs so far`;
        await context.checkpoint();
        await clock.yield();
      });
      progress.message = null;
      // Reports that came in behind the count's back.
      const endangeredBlobs = Math.max(count.endangeredBlobs, await countEndangered(index, clock));
      const whole = endangeredBlobs === 0 && count.outBlobs === 0;
      const result = { whole, ...count, endangeredBlobs, healedBlobs, healedBytes, countedAt: clock.now().seconds };
      if (whole) {
        if (healedBlobs > 0) log('info', `healed ${healedBlobs} blobs; all ${count.blobs} are whole`, { healedBlobs });
        return result;
      }
      const stuck = recordedBlobs === 0 && healed.blobs === 0;
      if (stuck || round >= HEAL_ROUNDS_MAX || endangeredBlobs === 0) throw new JobUnfinished(this.#reason(result, healed.failure), result);
    }
  }

  /** Goes over the table once for each degree of endangerment. */
  async #rebuildAll(context: JobContext): Promise<{ blobs: number; bytes: number; failure: string | undefined }> {
    const { log } = this.#options;
    const { progress } = context;
    const outlook = await this.#outlook(() => context.checkpoint());
    progress.totalItems = progress.doneItems + outlook.blobs.reduce((sum, blobs) => sum + blobs, 0);
    progress.totalBytes = progress.doneBytes + outlook.bytes;
    const healed = { blobs: 0, bytes: 0, failure: undefined as string | undefined };
    for (const [spare, count] of outlook.blobs.entries()) {
      if (count === 0) continue;
      progress.message = spare === 0 ? 'blobs that may lose nothing more' : `blobs that may lose ${spare} more`;
      const between = { ending: () => context.ending(), bytesPerSecond: () => undefined, urgent: spare === 0 };
      await this.#rebuilder.each(
        this.#tasks(spare, () => context.checkpoint()),
        this.#pace,
        between,
        async ({ location, shards }) => {
          try {
            const rebuilt = await this.#rebuilder.rebuild(location, shards);
            const bytes = shards.length * recordBytesOf(location.bytes, location.k);
            progress.advance(bytes, 1);
            if (rebuilt === undefined || rebuilt.missing.length < shards.length) healed.blobs++;
            healed.bytes += rebuilt?.bytes ?? 0;
            return bytes;
          } catch (thrown) {
            const { message } = asOperatingError(thrown);
            healed.failure = message;
            log('warn', `blob ${location.blob} cannot be rebuilt now: ${message}`);
            return 0;
          }
        },
      );
    }
    return healed;
  }

  async #outlook(checkpoint: () => Promise<void>): Promise<Outlook> {
    const outlook: Outlook = { blobs: [], bytes: 0 };
    const { m } = this.#options.storage;
    for (let spare = 0; spare <= m; spare++) outlook.blobs[spare] = 0;
    for await (const { location, shards, spare } of this.#tasks(undefined, checkpoint)) {
      outlook.blobs[spare] = (outlook.blobs[spare] ?? 0) + 1;
      outlook.bytes += shards.length * recordBytesOf(location.bytes, location.k);
    }
    return outlook;
  }

  /** Blobs that can be rebuilt now. @param only those with so many spare shards */
  async *#tasks(only: number | undefined, checkpoint: () => Promise<void>): AsyncGenerator<Task, void, undefined> {
    const { namespace, clock } = this.#options;
    for await (const rows of endangeredRows(namespace.ledger.index, clock))
      for (const { blob, bad } of rows) {
        await checkpoint();
        const task = await this.#task(blob, bad);
        if (task !== undefined && (only === undefined || task.spare === only)) yield task;
      }
  }

  async #task(blob: BlobId, bad: readonly number[]): Promise<Task | undefined> {
    const location = await this.#options.namespace.ledger.locations.find(blob);
    if (location === undefined) return undefined;
    const view = new DiskView(this.#options.disks);
    const shards = [...new Set([...bad, ...view.missing(location)])].sort((a, b) => a - b);
    if (shards.length === 0 || !view.placeable(location, shards)) return undefined;
    const spare = view.good(location, shards) - location.k;
    // What was found bad once may have been read badly: with luck it is enough.
    const doubtful = spare < 0;
    if (doubtful && view.good(location, []) < location.k) return undefined;
    return { location, shards, spare: Math.max(0, spare), doubtful };
  }

  #reason(result: BlobCount, failure: string | undefined): string {
    const { endangeredBlobs, outBlobs, unreadableBlobs } = result;
    const reasons: string[] = [];
    if (unreadableBlobs > 0) reasons.push(`${blobs(unreadableBlobs)} have fewer good shards than are needed to read them`);
    if (endangeredBlobs > 0)
      reasons.push(`${blobs(endangeredBlobs)} lack shards that no disk can take now${failure === undefined ? '' : ` (${failure})`}`);
    if (outBlobs > 0) reasons.push(`${blobs(outBlobs)} have shards on disks that are out`);
    return `${reasons.join('; ')}: bring disks back, replace them, or add one`;
  }
}

function blobs(count: number): string {
  return count === 1 ? '1 blob' : `${count} blobs`;
}
