/**
 * The recovered history, and what was appended to it since: the newest entries in memory (the window), older ones in the voters' logs. Gives
 * entries to voters and replicas that are behind. Kept by `LeadingLog`; recovery fills it.
 *
 * The window holds what is not replicated yet, and what voters who follow a little later will ask for; it is bounded because appends wait when it is full.
 * Durable replicas read what they get from the voters' logs, in stretches: all end in the same places, so that what is made of one is made once for all voters.
 */
import { assert, must } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { LOG_ENTRY_MEMORY_BYTES, LOG_STRETCH_BYTES, LOG_STRETCH_ENTRY_BYTES } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import { commonPosition, type EntryTable } from './entry-table.js';
import { originPoint, samePoint } from './point.js';
import type { LogRecord } from './record.js';
import type { LogPoint } from './state-machine.js';
import { BLOCK_BYTES } from './voter-format.js';
import { readRecords } from './voter-reader.js';

/** A voter's log from which entries can be read. Of its table only what agrees with the history is used. */
export interface LogSource {
  readonly disk: Disk;
  readonly table: EntryTable;
}

/** Entries `from` … `last`; full: there was no room for the next one. */
interface LastRead {
  readonly bytesMax: number;
  readonly from: number;
  readonly last: number;
  readonly full: boolean;
  readonly records: LogRecord[];
}

/** A replica that is further behind follows in steps of its own. */
const STRETCHES_MAX = 64;

export class History {
  readonly #sources = new Map<number, LogSource>();
  readonly #records: LogRecord[] = [];
  /** Index of the window's first record in `#records`; the front is dropped in larger steps. */
  #start = 0;
  #before: LogPoint;
  #head: LogPoint;
  #bytes = 0;
  #pushedBytes = 0;
  #lastRead: LastRead | undefined;
  /** Last entries of stretches, in order: those that a replica may lack. */
  readonly #stretches: number[] = [];
  /** Behind this entry the first of them begins. */
  #stretchesStart: number;
  #stretchBytes = 0;
  /** Told of a log that could not be read; it is not asked again. */
  onFailure: (voter: number, error: OperatingError) => void = () => undefined;

  /** @param end the history's last entry; the window starts empty behind it */
  constructor(end: LogPoint) {
    this.#before = end;
    this.#head = end;
    this.#stretchesStart = end.position;
  }

  /** The last entry. */
  get head(): LogPoint {
    return this.#head;
  }

  /** What the entries in the window take in memory. */
  get windowBytes(): number {
    return this.#bytes;
  }

  /** Of all entries that were pushed, kept or not. */
  get pushedBytes(): number {
    return this.#pushedBytes;
  }

  /** Position before the window's first entry. */
  get windowBase(): number {
    return this.#before.position;
  }

  push(record: LogRecord): void {
    assert(record.entry.point.position === this.#head.position + 1, 'entries follow each other');
    this.#records.push(record);
    this.#bytes += record.bytes.length + LOG_ENTRY_MEMORY_BYTES;
    this.#pushedBytes += record.bytes.length;
    this.#head = record.entry.point;
    // A barrier is a write to the log, which ends with a whole block.
    this.#stretchBytes += record.bytes.length + (record.entry.kind === 'data' ? LOG_STRETCH_ENTRY_BYTES : BLOCK_BYTES);
    if (this.#stretchBytes < LOG_STRETCH_BYTES) return;
    this.#stretchBytes = 0;
    this.#stretches.push(this.#head.position);
    if (this.#stretches.length > STRETCHES_MAX) this.#stretchesStart = must(this.#stretches.shift(), 'there are some');
  }

  /** Where the stretch ends that the entry behind `position` is in; undefined while it grows, and where nobody knows any more. */
  stretchEnd(position: number): number | undefined {
    return position < this.#stretchesStart ? undefined : this.#stretches[this.#stretches.length - this.stretchesBehind(position)];
  }

  /** Where the last stretch ends that is whole up to `position`; 0 if none is. */
  lastStretchEnd(position: number): number {
    return this.#stretches[this.#stretches.length - this.stretchesBehind(position) - 1] ?? 0;
  }

  /** How many stretches have ended behind `position`. */
  stretchesBehind(position: number): number {
    const stretches = this.#stretches;
    let first = stretches.length;
    while (first > 0 && must(stretches[first - 1], 'in range') > position) first--;
    return stretches.length - first;
  }

  /** Drops the window's entries up to `position`. */
  evict(position: number): void {
    if (this.#lastRead !== undefined && this.#lastRead.from <= position) this.#lastRead = undefined;
    const count = Math.min(this.#records.length - this.#start, position - this.#before.position);
    if (count <= 0) return;
    for (const end = this.#start + count; this.#start < end; this.#start++)
      this.#bytes -= must(this.#records[this.#start], 'in range').bytes.length + LOG_ENTRY_MEMORY_BYTES;
    const { point } = must(this.#records[this.#start - 1], 'the last one').entry;
    // The chain is a view into the record: copied, so that the record's memory goes.
    this.#before = { ...point, chain: Buffer.from(point.chain) };
    if (this.#start > 1024 && this.#start * 2 > this.#records.length) {
      this.#records.splice(0, this.#start);
      this.#start = 0;
    } else if (this.#start === this.#records.length) {
      this.#records.length = 0;
      this.#start = 0;
    }
  }

  setSource(voter: number, source: LogSource): void {
    this.#sources.set(voter, source);
  }

  dropSource(voter: number): void {
    this.#sources.delete(voter);
  }

  /** The point at `position`; undefined where no log reaches. */
  pointAt(position: number): LogPoint | undefined {
    if (position === 0) return originPoint;
    if (position > this.#head.position) return undefined;
    if (position === this.#before.position) return this.#before;
    if (position > this.#before.position) return this.#record(position).entry.point;
    for (const source of this.#sources.values()) {
      const point = source.table.pointAt(position);
      if (point !== undefined) return point;
    }
    return undefined;
  }

  /** Is this point on the history? False too where no log reaches back to it. */
  holds(point: LogPoint): boolean {
    const own = this.pointAt(point.position);
    return own !== undefined && samePoint(own, point);
  }

  /** The highest position up to which `table` agrees with the history; undefined where they do not meet. */
  commonWith(table: EntryTable): number | undefined {
    let best: number | undefined;
    const windowPart = {
      base: this.#before,
      lastPosition: this.#head.position,
      pointAt: (position: number): LogPoint | undefined => this.pointAt(position),
    };
    for (const other of [windowPart, ...[...this.#sources.values()].map((source) => source.table)]) {
      const common = commonPosition(table, other);
      if (common !== undefined && common > (best ?? -1)) best = common;
    }
    return best;
  }

  /** Can all entries after `position` be read? */
  reaches(position: number): boolean {
    let at = Math.max(position, 0);
    while (at < this.#before.position) {
      let next = at;
      for (const { table } of this.#sources.values())
        if (table.has(at + 1)) next = Math.max(next, Math.min(table.lastPosition, this.#before.position));
      if (next === at) return false;
      at = next;
    }
    return true;
  }

  /**
   * Entries from `from` on, up to `to` and about `bytesMax` (at least one).
   * @throws OperatingError EIO when no log has the first of them.
   */
  async read(from: number, to: number, bytesMax: number): Promise<LogRecord[]> {
    assert(from >= 1 && from <= to && to <= this.#head.position, `no entries ${from} … ${to}`);
    const there = this.readNow(from, to, bytesMax);
    if (there !== undefined) return there;
    let failure: OperatingError | undefined;
    for (const [voter, { disk, table }] of [...this.#sources])
      if (table.has(from)) {
        try {
          return await readRecords(disk, table, from, Math.min(to, this.#before.position), bytesMax);
        } catch (thrown) {
          failure = asOperatingError(thrown);
          this.onFailure(voter, failure);
          if (this.#sources.get(voter)?.table === table) this.#sources.delete(voter);
        }
      }
    throw new OperatingError('EIO', `no voter's log reaches back to entry ${from}`, { cause: failure });
  }

  /** The same where they are in memory. */
  readNow(from: number, to: number, bytesMax: number): LogRecord[] | undefined {
    return from > this.#before.position ? this.#fromWindow(from, to, bytesMax) : undefined;
  }

  /** Voters that follow in step get the same array, so that what is written is made of it once. */
  #fromWindow(from: number, to: number, bytesMax: number): LogRecord[] {
    const cached = this.#lastRead;
    if (cached?.from === from && cached.bytesMax === bytesMax && cached.last <= to && (cached.full || cached.last === to))
      return cached.records;
    const records: LogRecord[] = [];
    let bytes = 0;
    for (let position = from; position <= to; position++) {
      const record = this.#record(position);
      bytes += record.bytes.length;
      if (records.length > 0 && bytes > bytesMax) break;
      records.push(record);
    }
    this.#lastRead = { bytesMax, from, last: from + records.length - 1, full: bytes > bytesMax, records };
    return records;
  }

  #record(position: number): LogRecord {
    return must(this.#records[this.#start + position - this.#before.position - 1], () => `entry ${position} is not in the window`);
  }
}
