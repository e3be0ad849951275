/**
 * Rows that the working replica has applied and not written to its file yet: the last write to each key, so that rows that come and go are never written at
 * all. And how they travel to the thread that writes them.
 */
import { put } from '../base/bytes.js';
import type { LogEntry } from '../quorum/state-machine.js';
import { visitWrites } from './entry.js';
import type { Range, Row } from './index-store.js';
import { overlaid } from './overlaid.js';
import { SortedRows } from './sorted-rows.js';

/** A row as an entry wrote it; null: deleted. Keys and values are views into the entries. */
interface Unwritten {
  readonly position: number;
  readonly value: Buffer | null;
}

/** Before each packed row: position (f64), key's bytes (u16), value's bytes + 1 (u32; 0: deleted), all little endian. */
const ROW_HEADER_BYTES = 14;

const valueOf = (row: Unwritten): Buffer | null => row.value;

export class UnwrittenRows {
  readonly #rows: SortedRows<Unwritten>;
  /** Of the entries that brought them, which stay in memory with them. */
  bytes = 0;

  constructor(rows = new SortedRows<Unwritten>()) {
    this.#rows = rows;
  }

  get size(): number {
    return this.#rows.size;
  }

  apply({ kind, point, payload }: LogEntry): void {
    if (kind !== 'data') return;
    const { position } = point;
    visitWrites(payload, (key, value) => this.#rows.set(key, { position, value: value ?? null }));
    this.bytes += payload.length;
  }

  /** A value, null (deleted) or undefined (nothing was written to this key). */
  get(key: Uint8Array): Buffer | null | undefined {
    return this.#rows.size === 0 ? undefined : this.#rows.get(key)?.value;
  }

  /** Rows of `range` with these on top of what `below` finds. */
  scan(range: Range, below: (range: Range) => Row[]): Row[] {
    return overlaid(this.#rows, valueOf, range, below);
  }

  /** The same rows, which later ones do not change. */
  held(): UnwrittenRows {
    return new UnwrittenRows(this.#rows.copy());
  }

  /** Copies all rows, in order of their keys, into memory that a thread can read; `take` finds memory of so many bytes. */
  pack(take: (bytes: number) => SharedArrayBuffer): { memory: SharedArrayBuffer; bytes: number } {
    let bytes = 0;
    this.#rows.forEach((key, { value }) => {
      bytes += ROW_HEADER_BYTES + key.length + (value?.length ?? 0);
    });
    const memory = take(bytes);
    const packed = Buffer.from(memory, 0, bytes);
    let at = 0;
    this.#rows.forEach((key, { position, value }) => {
      at = packed.writeDoubleLE(position, at);
      at = packed.writeUInt16LE(key.length, at);
      at = packed.writeUInt32LE(value === null ? 0 : value.length + 1, at);
      put(key, packed, at);
      at += key.length;
      if (value === null) return;
      put(value, packed, at);
      at += value.length;
    });
    return { memory, bytes };
  }
}

/** Calls `visit` for each row of `pack`'s memory. Keys and values are views. */
export function visitPacked(
  memory: SharedArrayBuffer,
  bytes: number,
  visit: (key: Buffer, position: number, value: Buffer | undefined) => void,
): void {
  const packed = Buffer.from(memory, 0, bytes);
  for (let at = 0; at < bytes;) {
    const position = packed.readDoubleLE(at);
    const keyBytes = packed.readUInt16LE(at + 8);
    const mark = packed.readUInt32LE(at + 10);
    at += ROW_HEADER_BYTES;
    const key = packed.subarray(at, at + keyBytes);
    at += keyBytes;
    const value = mark === 0 ? undefined : packed.subarray(at, at + mark - 1);
    at += value?.length ?? 0;
    visit(key, position, value);
  }
}
