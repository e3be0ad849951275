/**
 * Rows that the working replica has applied and not written to its file yet: the last write to each key, so that rows that come and go are never written at
 * all. And how they travel to the thread that writes them.
 *
 * Most of them are written before anybody asks for them, so an entry is kept as it came, with the tables that it writes to. Who asks for a key has the entries of its
 * table taken apart, and no others; the thread takes apart what is left. A batch that is asked again and again is taken apart as it comes.
 *
 *   apply ──▶ entry ──somebody asks for one of its tables──▶ rows
 *               └────────────────pack────────────────▶ entry, taken apart by the thread
 */
import { put } from '../base/bytes.js';
import type { LogEntry } from '../quorum/state-machine.js';
import { outlineOf, tableBit, visitWrites } from './entry.js';
import type { Range, Row } from './index-store.js';
import { overlaid } from './overlaid.js';
import { SortedRows } from './sorted-rows.js';
import { ENTRY_HEADER_BYTES, packedEntries, putEntry, type PackedRows } from './worker-jobs.js';

/** A row as an entry wrote it; null: deleted. Keys and values are views into the entries. */
interface Unwritten {
  readonly position: number;
  readonly value: Buffer | null;
}

/** An entry of which no row was asked for. */
interface Whole {
  readonly position: number;
  readonly payload: Uint8Array;
  readonly tables: number;
  readonly writes: number;
}

/** Before each packed row: position (f64), key's bytes (u16), value's bytes + 1 (u32; 0: deleted), all little endian. */
const ROW_HEADER_BYTES = 14;

/** After so many questions that had entries taken apart, the next ones are as they come: each goes over all that are whole. */
const QUESTIONS_MAX = 16;

const ALL_TABLES = -1;

const valueOf = (row: Unwritten): Buffer | null => row.value;

/** The later of two writes to one key: entries are not taken apart in the order in which they came. */
function setLater<V extends { readonly position: number }>(rows: SortedRows<V>, key: Buffer, row: V): void {
  const before = rows.set(key, row);
  if (before !== undefined && before.position > row.position) rows.set(key, before);
}

export class UnwrittenRows {
  readonly #rows: SortedRows<Unwritten>;
  #entries: Whole[] = [];
  /** Tables, and number of writes, of the entries that are whole. */
  #tables = 0;
  #writes = 0;
  #questions = 0;
  /** Of the entries that brought them, which stay in memory with them. */
  bytes = 0;

  constructor(rows = new SortedRows<Unwritten>()) {
    this.#rows = rows;
  }

  /** Rows, at most: of those in whole entries some may be of one key. */
  get size(): number {
    return this.#rows.size + this.#writes;
  }

  apply({ kind, point, payload }: LogEntry): void {
    if (kind !== 'data') return;
    this.bytes += payload.length;
    if (this.#questions >= QUESTIONS_MAX) this.#takeApart(point.position, payload);
    else this.#keep({ position: point.position, payload, ...outlineOf(payload) });
  }

  #keep(entry: Whole): void {
    this.#entries.push(entry);
    this.#tables |= entry.tables;
    this.#writes += entry.writes;
  }

  #takeApart(position: number, payload: Uint8Array): void {
    visitWrites(payload, (key, value) => {
      setLater(this.#rows, key, { position, value: value ?? null });
    });
  }

  /** All rows of these tables are in order afterwards. */
  #ask(tables: number): void {
    if ((this.#tables & tables) === 0) return;
    const wanted = ++this.#questions < QUESTIONS_MAX ? tables : ALL_TABLES;
    const left: Whole[] = [];
    for (const entry of this.#entries)
      if ((entry.tables & wanted) === 0) left.push(entry);
      else this.#takeApart(entry.position, entry.payload);
    this.#entries = [];
    this.#tables = 0;
    this.#writes = 0;
    for (const entry of left) this.#keep(entry);
  }

  /** A value, null (deleted) or undefined (nothing was written to this key). */
  get(key: Uint8Array): Buffer | null | undefined {
    this.#ask(tableBit(key));
    return this.#rows.size === 0 ? undefined : this.#rows.get(key)?.value;
  }

  /** Rows of `range` with these on top of what `below` finds. */
  scan(range: Range, below: (range: Range) => Row[]): Row[] {
    // A range mostly ends where its table does: at the next tag.
    const [first = 0] = range.start;
    const [behind = 0] = range.end;
    this.#ask(behind === first || (behind === first + 1 && range.end.length === 1) ? tableBit(range.start) : ALL_TABLES);
    return overlaid(this.#rows, valueOf, range, below);
  }

  /** The same rows, which later ones do not change. */
  held(): UnwrittenRows {
    this.#ask(ALL_TABLES);
    return new UnwrittenRows(this.#rows.copy());
  }

  /** Copies everything into memory that a thread can read; `take` finds memory of so many bytes. */
  pack(take: (bytes: number) => SharedArrayBuffer): PackedRows {
    let rowBytes = 0;
    this.#rows.forEach((key, { value }) => {
      rowBytes += ROW_HEADER_BYTES + key.length + (value?.length ?? 0);
    });
    let entryBytes = 0;
    for (const { payload } of this.#entries) entryBytes += ENTRY_HEADER_BYTES + payload.length;
    const memory = take(rowBytes + entryBytes);
    const packed = Buffer.from(memory, 0, rowBytes + entryBytes);
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
    for (const { position, payload } of this.#entries) at = putEntry(packed, at, position, payload);
    return { memory, rowBytes, entryBytes };
  }
}

/** A row as the last entry of several left it; undefined: deleted. */
export interface NetWrite {
  readonly position: number;
  readonly value: Buffer | undefined;
  /** Of the row, once it was needed. */
  checksum: number | undefined;
}

/**
 * The last write to each key of these entries: rows that come and go within them never reach a disk. In parts, to be written one after the other:
 * entries can be of more rows than there is memory for (a file in very many pieces was removed).
 * @param rowsMax of each part, but for the last entry that is in it
 */
export function* netEffects(
  entries: Iterable<readonly [position: number, payload: Buffer]>,
  rowsMax: number,
): Generator<SortedRows<NetWrite>> {
  let net = new SortedRows<NetWrite>();
  for (const [position, payload] of entries) {
    if (net.size >= rowsMax) {
      yield net;
      net = new SortedRows();
    }
    visitWrites(payload, (key, value) => net.set(key, { position, value, checksum: undefined }));
  }
  yield net;
}

/** The rows that were packed. Keys and values are views. */
export function netRows({ memory, rowBytes, entryBytes }: PackedRows): SortedRows<NetWrite> {
  const [net = new SortedRows<NetWrite>()] = netEffects(packedEntries(Buffer.from(memory, rowBytes, entryBytes)), Infinity);
  visitRows(Buffer.from(memory, 0, rowBytes), (key, position, value) => {
    setLater(net, key, { position, value, checksum: undefined });
  });
  return net;
}

function visitRows(packed: Buffer, visit: (key: Buffer, position: number, value: Buffer | undefined) => void): void {
  for (let at = 0; at < packed.length;) {
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
