/**
 * The collector: takes apart what nothing points to any more, and gives its space back, late (I5).
 *
 *   content dropped ──▶ garbage row ──bounded steps──▶ references fall ──last one──▶ free row ──durable, no reader──▶ space given back ──▶ row gone
 *
 * A free row is acted on only when the transaction that wrote it is durable: rows found at log position P wait until everything up to P is. A crash
 * between giving back and deleting the row repeats the giving back, which is harmless. A row whose space a disk refuses to give back stays, and is tried again. The daemon starts one for each writable pool.
 */
import { must } from '../base/assert.js';
import { asOperatingError, type OperatingError } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import type { BlobId } from '../base/ids.js';
import {
  BACKGROUND_INTERVAL_MS,
  CHANGE_STEP_ROWS,
  COLLECT_FOUND_MAX,
  COLLECT_FREES_MAX,
  COLLECT_RETRY_MS_MAX,
  COLLECT_RETRY_MS_MIN,
  COLLECT_WAITING_MAX,
} from '../base/limits.js';
import { decodeLocationRow } from '../index/schema/blob-rows.js';
import type { Range, Row } from '../index/index-store.js';
import { Slots } from '../base/slots.js';
import { keyAfter } from '../index/keys.js';
import { pages } from '../index/pages.js';
import { parseFreeKey, parseGarbageKey, tableRange, TABLES } from '../index/schema/tables.js';
import { decodeNumber } from '../index/schema/work-rows.js';
import { dropGarbage } from '../namespace/content.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import type { Log } from '../namespace/options.js';
import { decodeLocation } from '../storage/location-codec.js';
import type { Storage } from '../storage/storage.js';
import { Repeater } from './repeater.js';

export interface CollectorOptions {
  readonly namespace: Pick<PoolNamespace, 'ledger' | 'pins'>;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
  /** Default COLLECT_WAITING_MAX. */
  readonly waitingMax?: number;
}

/** What was done since the start. */
export interface CollectorStatus {
  readonly contents: number;
  readonly freedBlobs: number;
  readonly freedBytes: number;
  /** Blobs whose space a disk refused to give back so far. */
  readonly waitingBlobs: number;
  /** Why, or why the last round ended early. */
  readonly failure: OperatingError | undefined;
}

/** Free rows, which nobody else changes or deletes. */
interface Found {
  readonly rows: readonly Row[];
  readonly position: number;
}

interface Waiting {
  readonly atMs: number;
  readonly pauseMs: number;
  readonly error: OperatingError;
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #repeater: Repeater;
  /** One at a time takes apart and gives back. */
  readonly #turns = new Slots(1);
  readonly #frees = new Slots(COLLECT_FREES_MAX);
  /** Free rows whose space a disk did not give back, by key, and when they are tried again. */
  readonly #waiting = new Map<string, Waiting>();
  /** Rows that wait until the log is durable; more would be found behind them each time, with work going on. */
  #found: Found | undefined;
  #contents = 0;
  #freedBlobs = 0;
  #freedBytes = 0;

  constructor(options: CollectorOptions) {
    this.#options = options;
    const { clock, log } = options;
    const what = 'collection of freed space';
    this.#repeater = new Repeater({ clock, log, what, intervalMs: BACKGROUND_INTERVAL_MS, round: () => this.collect() });
  }

  status(): CollectorStatus {
    const waiting = [...this.#waiting.values()];
    return {
      contents: this.#contents,
      freedBlobs: this.#freedBlobs,
      freedBytes: this.#freedBytes,
      waitingBlobs: waiting.length,
      failure: this.#repeater.failure ?? waiting.at(-1)?.error,
    };
  }

  /** Looks for work every BACKGROUND_INTERVAL_MS from now on. */
  start(): void {
    this.#repeater.start();
  }

  /** Stops after the step under way. */
  async stop(): Promise<void> {
    await this.#repeater.stop();
    await this.#turns.run(() => Promise.resolve());
  }

  /** Does what can be done now: all garbage, and all free rows that are durable. */
  collect(): Promise<void> {
    return this.#turns.run(() => this.#collect(false));
  }

  /**
   * The same at once, with what was deleted a moment ago, for who finds no room.
   * @returns whether any space was given back
   */
  async reclaim(): Promise<boolean> {
    const before = this.#freedBlobs;
    try {
      await this.#turns.run(() => this.#collect(true));
    } catch (thrown) {
      const { code, message } = asOperatingError(thrown);
      this.#options.log('warn', `no space could be given back to who needs it: ${message}`, { code });
    }
    return this.#freedBlobs > before;
  }

  /** @param urgent does not wait until somebody else makes the log durable */
  async #collect(urgent: boolean): Promise<void> {
    await this.#dropContents();
    const { index } = this.#options.namespace.ledger;
    if (urgent) this.#found = undefined;
    for (let start: Buffer | undefined; !this.#repeater.stopped;) {
      this.#found ??= await this.#find(start);
      const { rows, position } = this.#found;
      if (index.durablePosition < position) {
        // Somebody flushes within the commit interval; nobody waits for this space more than that.
        if (!urgent) return;
        await index.durable(position);
      }
      this.#found = undefined;
      await this.#free(rows);
      if (rows.length < COLLECT_FOUND_MAX) return;
      start = keyAfter(must(rows.at(-1), 'as many as there may be').key);
    }
  }

  /** Free rows from `start` on, and the position up to which the log must be durable before they are acted on. */
  async #find(start: Buffer | undefined): Promise<Found> {
    const { ledger } = this.#options.namespace;
    const { index } = ledger;
    const table = tableRange(TABLES.free, CHANGE_STEP_ROWS);
    // Each page in a turn of its own: readers know of every change whose rows are seen here.
    const inTurn = { scan: (range: Range) => ledger.exclusively(() => index.scan(range)) };
    const rows: Row[] = [];
    for await (const some of pages(inTurn, start === undefined ? table : { ...table, start }, this.#options.clock)) {
      rows.push(...some);
      if (rows.length >= COLLECT_FOUND_MAX) break;
    }
    return { rows, position: rows.length === 0 ? 0 : index.headPosition };
  }

  async #dropContents(): Promise<void> {
    const { ledger } = this.#options.namespace;
    let range = tableRange(TABLES.garbage, 1);
    while (!this.#repeater.stopped) {
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
    let tooMany: OperatingError | undefined;
    const free = async ({ key, value }: Row): Promise<void> => {
      if (tooMany !== undefined) return;
      const { blob, serial } = parseFreeKey(key);
      if (pins.has(blob) || this.#waits(key)) return;
      const location = decodeLocation(decodeLocationRow(value));
      try {
        // Shards that a failed sync moved after the last reference went. Only of whole blobs: where the places that a move left went to is alive.
        const current = serial === 0 ? storage.current(location) : location;
        // In this order: what storage knows of the moves goes with the last of their places.
        if (current !== location) for (const place of [...storage.passed(location), current]) await storage.free(place);
        await storage.free(location);
        done.push(key);
        this.#waiting.delete(key.toString('hex'));
        this.#freedBlobs++;
        this.#freedBytes += location.bytes;
      } catch (thrown) {
        const error = asOperatingError(thrown);
        if (!this.#refused(key, blob, error)) tooMany = error;
      }
    };
    // Each waits behind what is being written to the disks: together they wait once.
    await Promise.all(rows.map((row) => this.#frees.run(() => free(row))));
    for (let at = 0; at < done.length; at += CHANGE_STEP_ROWS)
      await ledger.change(async (change) => {
        for (const key of done.slice(at, at + CHANGE_STEP_ROWS)) change.tx.delete(key);
      });
    if (tooMany !== undefined) throw tooMany;
  }

  #waits(key: Buffer): boolean {
    const waiting = this.#waiting.get(key.toString('hex'));
    return waiting !== undefined && waiting.atMs > this.#options.clock.monotonicMs();
  }

  /** The row stays, and is acted on again later (I10). False: too many wait already, and this one is not remembered. */
  #refused(key: Buffer, blob: BlobId, error: OperatingError): boolean {
    const { clock, log, waitingMax = COLLECT_WAITING_MAX } = this.#options;
    const name = key.toString('hex');
    const before = this.#waiting.get(name);
    if (this.#waiting.size === 0) log('warn', `space of blob ${blob} is not given back yet: ${error.message}`, { code: error.code });
    if (before === undefined && this.#waiting.size >= waitingMax) return false;
    const pauseMs = Math.min(COLLECT_RETRY_MS_MAX, before === undefined ? COLLECT_RETRY_MS_MIN : before.pauseMs * 2);
    this.#waiting.set(name, { atMs: clock.monotonicMs() + pauseMs, pauseMs, error });
    return true;
  }
}
