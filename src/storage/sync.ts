/**
 * Makes what was written durable, and deals with what could not be: the heart of I2 and I4.
 *
 *   round: sync all disks in parallel ──all good──▶ true
 *            └─ suspects (sync failed, disk left) ─▶ rebuild each from its blob's other shards, elsewhere ─▶ tell the index (`onMoved`) ─▶ false
 *
 * A shard that cannot be written elsewhere becomes missing in the blob's location, after its disk was declared out. A blob of which fewer than k
 * shards can be read is kept and tried again by each later round; until then `sync` rejects, for what points to it cannot become durable.
 */
import { OperatingError, asOperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import { MOVES_IN_FLIGHT_MAX, SYNC_PATIENCE_FACTOR, SYNC_PATIENCE_MS_MIN } from '../base/limits.js';
import type { Location } from '../base/location.js';
import { Slots } from '../base/slots.js';
import { MISSING, missingShards, replacedShards, samePlace } from './location-codec.js';
import type { Freeing } from './freeing.js';
import type { Moves } from './moves.js';
import { placeOf, type Pool } from './pool.js';
import type { Reader } from './reader.js';
import { geometryOf } from './record.js';
import type { LiveBlob } from './segment.js';
import type { SuspectShard } from './shelf.js';
import type { StoredBlob } from './storage.js';
import type { Fill, Writer } from './writer.js';

interface News {
  readonly old: Location;
  readonly now: StoredBlob;
}

export class Syncer {
  /** Bytes written since the last round began. */
  writtenBytes = 0;
  readonly #pool: Pool;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #moves: Moves;
  readonly #freeing: Freeing;
  readonly #slots = new Slots(MOVES_IN_FLIGHT_MAX);
  #running: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;
  /** Suspects whose blobs could not be read. Bounded like all unsynced records. */
  #stranded: SuspectShard[] = [];
  /** Blobs that are being moved, and those of them that were freed meanwhile. */
  readonly #moving = new Set<BlobId>();
  readonly #freed = new Set<BlobId>();
  /** Moves that the index did not take yet. */
  #untold: News[] = [];

  constructor(pool: Pool, reader: Reader, writer: Writer, moves: Moves, freeing: Freeing) {
    this.#freeing = freeing;
    this.#pool = pool;
    this.#reader = reader;
    this.#writer = writer;
    this.#moves = moves;
  }

  /** Nothing was written that is not synced, and nothing is left from earlier rounds. */
  get clean(): boolean {
    return this.#pool.tally.unsyncedBytes === 0 && !this.#running && this.#stranded.length === 0 && this.#untold.length === 0;
  }

  /** See `Storage.sync`. Callers that come while a round runs share the next one. */
  sync(): Promise<boolean> {
    if (!this.#running) return this.#start();
    this.#next ??= this.#afterRunning();
    return this.#next;
  }

  async #afterRunning(): Promise<boolean> {
    while (this.#running) await this.#running.catch(() => undefined);
    this.#next = undefined;
    return this.#start();
  }

  #start(): Promise<boolean> {
    const round = this.#round().finally(() => {
      this.#running = undefined;
    });
    this.#running = round;
    return round;
  }

  /** Nothing points to these records any more: they need not be rescued. */
  forget(location: Location): void {
    if (this.#moving.has(location.blob) && missingShards(location).length === 0) this.#freed.add(location.blob);
    this.#stranded = this.#stranded.filter(({ blob, shard }) => {
      if (blob.location.blob !== location.blob) return true;
      return !samePlace(placeOf(blob.location, shard), location.shards[shard] ?? MISSING);
    });
  }

  async #round(): Promise<boolean> {
    this.writtenBytes = 0;
    const suspects = [...this.#stranded, ...(await this.#syncAll())];
    this.#stranded = [];
    if (suspects.length === 0 && this.#untold.length === 0) return true;
    await this.#tellAgain();
    await this.#moveAll(suspects);
    return false;
  }

  /** Syncs all disks at one time. One that is late is waited for on its account, until it is put out: then its shelf says at once what is in doubt. */
  async #syncAll(): Promise<SuspectShard[]> {
    const { lateDisks, options } = this.#pool;
    const startedMs = options.clock.monotonicMs();
    const suspects: SuspectShard[] = [];
    const failures: unknown[] = [];
    let othersMs = 0;
    const syncs = this.#pool.shelves().map((shelf) => {
      const object = shelf.disk;
      const sync = async (): Promise<void> => {
        const outcome = await shelf.sync();
        othersMs = options.clock.monotonicMs() - startedMs;
        suspects.push(...outcome.suspects);
        if (outcome.error) this.#pool.ioFailed(shelf.number, object, 'sync', outcome.error);
      };
      const done = sync().catch((thrown: unknown) => failures.push(thrown));
      return { disk: shelf.number, object, done };
    });
    const patience = { lateAfterMs: () => Math.max(SYNC_PATIENCE_MS_MIN, SYNC_PATIENCE_FACTOR * othersMs) };
    await lateDisks.all(syncs, patience);
    // Those that were put out meanwhile have their say, too.
    await Promise.all(syncs.map(({ done }) => done));
    if (failures.length > 0) throw failures[0];
    return suspects;
  }

  async #tellAgain(): Promise<void> {
    while (this.#untold.length > 0) {
      const [news] = this.#untold;
      if (news) await this.#pool.options.onMoved(news.old, news.now);
      this.#untold.shift();
    }
  }

  async #moveAll(suspects: readonly SuspectShard[]): Promise<void> {
    const byBlob = new Map<LiveBlob, SuspectShard[]>();
    for (const suspect of suspects) byBlob.set(suspect.blob, [...(byBlob.get(suspect.blob) ?? []), suspect]);
    this.#pool.options.log('warn', `${suspects.length} shards of ${byBlob.size} blobs are written anew: their sync failed`);
    const moves = [...byBlob].map(([blob, shards]) => this.#slots.run(() => this.#move(blob, shards)));
    const failures = (await Promise.allSettled(moves)).filter((result) => result.status === 'rejected');
    const first = failures[0];
    if (first) throw asOperatingError(first.reason);
  }

  /** Writes a blob's suspect shards elsewhere. Whatever throws, the suspects or the news of them stay for the next round. */
  async #move(blob: LiveBlob, suspects: readonly SuspectShard[]): Promise<void> {
    const old = blob.location;
    const shards = suspects.map(({ shard }) => shard);
    this.#moving.add(old.blob);
    try {
      const data = await this.#reader.content(old, shards, 'quiet');
      // I2: the disks whose sync failed are out of the index before a shard is left out because of them.
      const location = { ...old, shards: old.shards.map((place, shard) => (shards.includes(shard) ? MISSING : place)) };
      const { stripeIo } = this.#pool.options;
      const fill: Fill = (records, watch) => stripeIo.store(geometryOf(old), data, records, watch);
      const { unplaced } = await this.#writer.write({ purpose: 'move', location, shards, fill, blob });
      if (unplaced.length > 0) this.#pool.options.log('warn', `blob ${old.blob} is endangered: shards ${unplaced.join(', ')} are missing`);
    } catch (thrown) {
      if (this.#freed.delete(old.blob)) return;
      this.#stranded.push(...suspects);
      const error = asOperatingError(thrown);
      throw new OperatingError(error.code, `blob ${old.blob} cannot be made durable: ${error.message}`, {
        hint: 'Data that was written but never synced cannot be read back: bring missing disks back.',
        cause: thrown,
      });
    } finally {
      this.#moving.delete(old.blob);
    }
    // Freed while it was moved: nobody will ask for the shards that were just written.
    if (this.#freed.delete(old.blob)) return this.#freeing.discard(replacedShards(blob.location, old));
    const now: StoredBlob = { location: blob.location, missing: missingShards(blob.location) };
    this.#moves.record(old, now.location);
    try {
      await this.#pool.options.onMoved(old, now);
    } catch (error) {
      this.#untold.push({ old, now });
      throw error;
    }
  }
}
