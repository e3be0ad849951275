/** The writes of a transaction that has not committed yet, and how its reads see them over the state below. Single use, by one transaction. */
import { assert } from '../base/assert.js';
import { INDEX_KEY_BYTES_MAX } from '../base/limits.js';
import type { Write } from './entry.js';
import { encodeWrites, WRITES_HEADER_BYTES_MAX, writeBytes } from './entry.js';
import type { Range, Row } from './index-store.js';
import { compareKeys } from './keys.js';
import { SortedRows } from './sorted-rows.js';

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export class WriteSet {
  /** null: deleted. */
  readonly #rows = new SortedRows<Buffer | null>();
  #bytes = 0;

  get size(): number {
    return this.#rows.size;
  }

  /** Bytes that the payload takes, at most a few fewer. */
  get payloadBytes(): number {
    return this.#rows.size === 0 ? 0 : this.#bytes + WRITES_HEADER_BYTES_MAX;
  }

  /** What this transaction wrote to `key`: a value, null (deleted) or undefined (nothing). */
  get(key: Uint8Array): Buffer | null | undefined {
    return this.#rows.size === 0 ? undefined : this.#rows.get(key);
  }

  /** Keeps key and value by reference. */
  set(key: Uint8Array, value: Uint8Array | null): void {
    assert(key.length > 0 && key.length <= INDEX_KEY_BYTES_MAX, `key of ${key.length} bytes`);
    const before = this.#rows.set(asBuffer(key), value === null ? null : asBuffer(value));
    if (before !== undefined) this.#bytes -= writeBytes(key.length, before?.length);
    this.#bytes += writeBytes(key.length, value?.length);
  }

  /** The payload of the log entry. */
  encode(): Buffer {
    return encodeWrites(this.#writes(), this.#rows.size, this.#bytes);
  }

  *#writes(): Generator<Write> {
    for (const [key, value] of this.#rows.entries()) yield { key, value: value ?? undefined };
  }

  /** Rows of `range` as this transaction sees them. `below` scans the state before it. */
  scan(range: Range, below: (range: Range) => Row[]): Row[] {
    const { start, end, limit } = range;
    const reverse = range.reverse === true;
    if (this.#rows.size === 0) return below(range);
    const own = [...(reverse ? this.#rows.entriesReverse(start, end) : this.#rows.entries(start, end))];
    if (own.length === 0) return below(range);
    // Each own write hides at most one row below; so many more are needed, page by page where that is more than one scan may ask for.
    return merge(own, pages(range, below), limit, reverse ? -1 : 1);
  }
}

/** All rows of a range below, fetched `range.limit` at a time. */
function* pages(range: Range, below: (range: Range) => Row[]): Generator<Row> {
  let { start, end } = range;
  for (;;) {
    const rows = below({ ...range, start, end });
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < range.limit) return;
    if (range.reverse === true) end = last.key;
    else start = Buffer.concat([last.key, Buffer.alloc(1)]);
  }
}

/** Merges two sequences in order (`sign` 1) or reverse order (-1); own writes win, deleted ones hide. */
function merge(own: [Buffer, Buffer | null][], below: Iterator<Row>, limit: number, sign: number): Row[] {
  const merged: Row[] = [];
  let at = 0;
  let under = below.next();
  while (merged.length < limit) {
    const mine = own[at];
    const order = mine === undefined ? 1 : under.done === true ? -1 : compareKeys(mine[0], under.value.key) * sign;
    if (mine === undefined || order > 0) {
      if (under.done === true) break;
      merged.push(under.value);
      under = below.next();
      continue;
    }
    const [key, value] = mine;
    if (value !== null) merged.push({ key, value });
    at++;
    if (order === 0) under = below.next();
  }
  return merged;
}
