/**
 * The collector: takes apart what nothing points to any more, and gives its space back, late (I5).
 *
 *   content dropped ──▶ garbage row ──bounded steps──▶ references fall ──last one──▶ free row ──durable, no reader──▶ space given back ──▶ row gone
 *
 * A free row is acted on only when the transaction that wrote it is durable: rows found at log position P wait until everything up to P is. A crash
 * between giving back and deleting the row repeats the giving back, which is harmless. The daemon starts one for each writable pool.
 */
import { asOperatingError } from '../base/errors.js';
import type { Cancel, Clock } from '../base/clock.js';
import { BACKGROUND_INTERVAL_MS, COLLECT_BLOBS_MAX } from '../base/limits.js';
import { decodeLocationRow } from '../index/schema/blob-rows.js';
import type { Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { parseFreeKey, parseGarbageKey, tableRange, TABLES } from '../index/schema/tables.js';
import { decodeNumber } from '../index/schema/work-rows.js';
import { dropGarbage } from '../namespace/content.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import type { Log } from '../namespace/options.js';
import { decodeLocation } from '../storage/location-codec.js';
import type { Storage } from '../storage/storage.js';

export interface CollectorOptions {
  readonly namespace: Pick<PoolNamespace, 'ledger' | 'pins'>;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
}

/** What was done since the start. */
export interface CollectorStatus {
  readonly contents: number;
  readonly freedBlobs: number;
  readonly freedBytes: number;
  /** Blobs whose space could not be given back yet. */
  readonly failures: number;
}

export class Collector {
  readonly #options: CollectorOptions;
  #timer: Cancel | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #contents = 0;
  #freedBlobs = 0;
  #freedBytes = 0;
  #failures = 0;

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  status(): CollectorStatus {
    return { contents: this.#contents, freedBlobs: this.#freedBlobs, freedBytes: this.#freedBytes, failures: this.#failures };
  }

  /** Looks for work every BACKGROUND_INTERVAL_MS from now on. */
  start(): void {
    this.#timer = this.#options.clock.after(BACKGROUND_INTERVAL_MS, () => {
      if (this.#stopped) return;
      this.#running ??= this.#round().finally(() => {
        this.#running = undefined;
        if (!this.#stopped) this.start();
      });
    });
  }

  /** Stops after the step under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.();
    await this.#running;
  }

  async #round(): Promise<void> {
    try {
      await this.collect();
    } catch (error) {
      const { code, message } = asOperatingError(error);
      this.#options.log('warn', `collection of freed space stopped: ${message}`, { code });
    }
  }

  /** Does what can be done now: all garbage, and all free rows that are durable. */
  async collect(): Promise<void> {
    await this.#dropContents();
    const { ledger } = this.#options.namespace;
    const { index } = ledger;
    let range = tableRange(TABLES.free, COLLECT_BLOBS_MAX);
    while (!this.#stopped) {
      // In a turn of its own: readers know of every change whose rows are seen here.
      const from = range;
      const rows = await ledger.exclusively(() => index.scan(from));
      const position = index.headPosition;
      // Somebody flushes within the commit interval; nobody waits for this space more than that.
      if (index.durablePosition < position) return;
      await this.#free(rows);
      const last = rows.at(-1);
      if (last === undefined || rows.length < COLLECT_BLOBS_MAX) return;
      range = { ...range, start: keyAfter(last.key) };
      await this.#options.clock.yield();
    }
  }

  async #dropContents(): Promise<void> {
    const { ledger } = this.#options.namespace;
    let range = tableRange(TABLES.garbage, 1);
    while (!this.#stopped) {
      const row = (await ledger.index.scan(range))[0];
      if (row === undefined) return;
      // A cut that is not finished belongs to the namespace.
      if (decodeNumber(row.value) !== 0) {
        range = { ...range, start: keyAfter(row.key) };
        continue;
      }
      const done = (await ledger.change((change) => dropGarbage(change, parseGarbageKey(row.key)))).value;
      if (done) this.#contents++;
      await this.#options.clock.yield();
    }
  }

  /** Gives back the space of durable free rows that no reader can reach, then deletes those rows. */
  async #free(rows: readonly Row[]): Promise<void> {
    const { namespace, storage } = this.#options;
    const { ledger, pins } = namespace;
    const done: Buffer[] = [];
    for (const { key, value } of rows) {
      const { blob, serial } = parseFreeKey(key);
      if (pins.has(blob)) continue;
      const location = decodeLocation(decodeLocationRow(value));
      try {
        // Shards that a failed sync moved after the last reference went. Only of whole blobs: where the places that a move left went to is alive.
        const current = serial === 0 ? storage.current(location) : location;
        await storage.free(location);
        if (current !== location) await storage.free(current);
        done.push(key);
        this.#freedBlobs++;
        this.#freedBytes += location.bytes;
      } catch (error) {
        const { code, message } = asOperatingError(error);
        if (this.#failures++ === 0) this.#options.log('warn', `space of blob ${blob} is not given back yet: ${message}`, { code });
      }
    }
    if (done.length === 0) return;
    await ledger.change(async (change) => {
      for (const key of done) change.tx.delete(key);
    });
  }
}
