/** The writes of a transaction that has not committed yet, and how its reads see them over the state below. Single use, by one transaction. */
import { assert } from '../base/assert.js';
import { INDEX_KEY_BYTES_MAX } from '../base/limits.js';
import type { Write } from './entry.js';
import { encodeWrites, WRITES_HEADER_BYTES_MAX, writeBytes } from './entry.js';
import type { Range, Row } from './index-store.js';
import { overlaid } from './overlaid.js';
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
    assert(key.length > 0 && key.length <= INDEX_KEY_BYTES_MAX, () => `key of ${key.length} bytes`);
    const before = this.#rows.set(asBuffer(key), value === null ? null : asBuffer(value));
    if (before !== undefined) this.#bytes -= writeBytes(key.length, before?.length);
    this.#bytes += writeBytes(key.length, value?.length);
  }

  /** The payload of the log entry; valid until the next one is encoded. */
  encode(): Buffer {
    const writes: Write[] = [];
    this.#rows.forEach((key, value) => writes.push({ key, value: value ?? undefined }));
    return encodeWrites(writes, writes.length, this.#bytes);
  }

  /** Rows of `range` as this transaction sees them. `below` scans the state before it. */
  scan(range: Range, below: (range: Range) => Row[]): Row[] {
    return overlaid(this.#rows, (value) => value, range, below);
  }
}
