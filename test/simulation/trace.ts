/**
 * What was appended to the log, entry by entry, as the journal got it: the history of which recovery must find a prefix (I4). And a digest of everything
 * that happened, by which two runs of one seed are compared.
 */
import { createHash } from 'node:crypto';
import { assert, must } from '../../src/base/assert.js';
import type { Journal } from '../../src/quorum/quorum-log.js';
import { decodeRecord } from '../../src/quorum/record.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { applyTo, type Rows } from './replicas.js';

export class Trace {
  /** By position minus one; undefined: the first entry of an epoch, which holds no rows. */
  readonly entries: (LogEntry | undefined)[] = [];
  readonly #hash = createHash('sha1');
  #replayed: { position: number; rows: Map<string, Buffer> } = { position: 0, rows: new Map() };

  get position(): number {
    return this.entries.length;
  }

  /** Something happened. */
  note(what: string): void {
    this.#hash.update(what);
    this.#hash.update('\n');
  }

  /** Of everything noted so far. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  append(entry: LogEntry): void {
    const { position } = entry.point;
    this.cut(position - 1);
    assert(this.entries.length === position - 1, `entry ${position} appended after ${this.entries.length}`);
    this.entries.push({ ...entry, payload: Buffer.from(entry.payload) });
    this.note(`entry ${position} ${entry.kind} ${Buffer.from(entry.point.chain).toString('hex')}`);
  }

  /** The first entry of an epoch, which no journal has. */
  lead(): void {
    this.entries.push(undefined);
  }

  /** What is behind `position` is gone. */
  cut(position: number): void {
    if (this.entries.length > position) this.entries.length = position;
    if (this.#replayed.position > position) this.#replayed = { position: 0, rows: new Map() };
  }

  /** The rows after the entries up to `position`. */
  rows(position: number): Rows {
    if (this.#replayed.position > position) this.#replayed = { position: 0, rows: new Map() };
    const { rows } = this.#replayed;
    for (let at = this.#replayed.position; at < position; at++) {
      const entry = this.entries[at];
      if (entry !== undefined) applyTo(rows, entry);
    }
    this.#replayed.position = position;
    return rows;
  }

  /** A journal whose appends are noted. */
  journal(inner: Journal, noted: (entry: LogEntry) => void): Journal {
    return {
      capacityBytes: inner.capacityBytes,
      freeBytes: () => inner.freeBytes(),
      append: (record) => {
        inner.append(record);
        noted(must(decodeRecord(Buffer.from(record)), 'the log appends records').entry);
      },
      trim: (position) => {
        inner.trim(position);
      },
      recover: () => inner.recover(),
      reset: () => {
        inner.reset();
      },
      close: () => {
        inner.close();
      },
    };
  }
}

/** The first key in which two states differ, and how. */
export function difference(expected: Rows, found: Rows): string | undefined {
  for (const [key, value] of expected) {
    const other = found.get(key);
    if (other === undefined) return `row ${describeKey(key)} is gone`;
    if (!other.equals(value)) return `row ${describeKey(key)} is another`;
  }
  for (const key of found.keys()) if (!expected.has(key)) return `row ${describeKey(key)} should not be there`;
  return undefined;
}

function describeKey(key: string): string {
  return `${String.fromCharCode(parseInt(key.slice(0, 2), 16))}:${key.slice(2, 42)}`;
}
