/**
 * Where the entries of one voter's log are: one row an entry, 48 bytes, so that long logs cost little memory. Positions have no gaps. The
 * reader builds it, the writer goes on with it, trimming drops its front.
 */
import { assert, must } from '../base/assert.js';
import { CHECKSUM_BYTES, sameBytes } from '../base/checksums.js';
import type { LogRecord } from './record.js';
import type { EntryKind, LogPoint } from './state-machine.js';
import { compareFiles, type FileId, type LogFileHeader } from './voter-format.js';

/** Row: chain 16, epoch 4, kind 1 (+3), file 4, record bytes 4, offset 8, covers 8. */
const ROW_BYTES = 48;
/** Rows come and go by pieces of so many: a log of 100,000 entries grows without copies, and takes what it needs. */
const PIECE_ROWS = 128;
const kinds: readonly EntryKind[] = ['data', 'barrier', 'lead'];

/** Where one record is. */
export interface EntryPlace {
  readonly file: FileId;
  readonly offset: number;
  readonly bytes: number;
}

export class EntryTable {
  #base: LogPoint;
  readonly #pieces: Buffer[] = [];
  /** Rows at the beginning of the first piece that were dropped. */
  #droppedRows = 0;
  /** Rows in use, behind those. */
  #count = 0;
  /** All files of the log in order. Rows name them by index + #filesDropped. */
  readonly #files: LogFileHeader[] = [];
  #filesDropped = 0;

  /** @param base the point before the first entry */
  constructor(base: LogPoint) {
    this.#base = base;
  }

  get base(): LogPoint {
    return this.#base;
  }

  get files(): readonly LogFileHeader[] {
    return this.#files;
  }

  get lastPosition(): number {
    return this.#base.position + this.#count;
  }

  get last(): LogPoint {
    return must(this.pointAt(this.lastPosition), 'the last entry is in the table');
  }

  /** The point at `position`; undefined outside base … last. */
  pointAt(position: number): LogPoint | undefined {
    if (position === this.#base.position) return this.#base;
    const row = this.#row(position);
    if (row === undefined) return undefined;
    return { position, epoch: row.readUInt32LE(16), chain: Buffer.from(row.subarray(0, CHECKSUM_BYTES)) };
  }

  /** Is the history at `point` this log's? False where the log does not reach. */
  holds(point: LogPoint): boolean {
    const own = this.pointAt(point.position);
    return own !== undefined && sameBytes(own.chain, point.chain);
  }

  has(position: number): boolean {
    return position > this.#base.position && position <= this.lastPosition;
  }

  place(position: number): EntryPlace {
    const row = must(this.#row(position), () => `no entry ${position} in the table`);
    const file = must(this.#files[row.readUInt32LE(24) - this.#filesDropped], 'the file of an entry is in the table');
    return { file: file.id, bytes: row.readUInt32LE(28), offset: row.readDoubleLE(32) };
  }

  kindAt(position: number): EntryKind {
    return must(kinds[must(this.#row(position), () => `no entry ${position}`).readUInt8(20)], 'a kind');
  }

  /** The highest position up to which a barrier (or, unless `barriers` alone count, a lead entry) at or before `end` says that all was synced; 0 if none. */
  covered(end: number, barriers = false): number {
    for (let position = Math.min(end, this.lastPosition); this.has(position); position--) {
      const covers = must(this.#row(position), 'in range').readDoubleLE(40);
      // Each later one covers at least as much as the ones before it.
      const kind = this.kindAt(position);
      if (kind === 'barrier' || (kind === 'lead' && !barriers)) return covers;
    }
    return 0;
  }

  addFile(header: LogFileHeader): void {
    const before = this.#files.at(-1);
    assert(before === undefined || compareFiles(before.id, header.id) < 0, 'log files are in order');
    this.#files.push(header);
  }

  /**
   * Adds an entry of the last file. At a position that the table has already, the same entry takes its place with what follows it left
   * alone; a different one cuts everything from there on (Raft's rule for conflicting entries).
   */
  put(record: LogRecord, offset: number): void {
    const { point, kind } = record.entry;
    const at = point.position - this.#base.position - 1;
    assert(at >= 0 && at <= this.#count, () => `entry ${point.position} leaves a gap after ${this.lastPosition}`);
    if (at === this.#count || !sameBytes(must(this.pointAt(point.position), 'it is there').chain, point.chain)) this.#count = at + 1;
    const index = this.#droppedRows + at;
    if (index === this.#pieces.length * PIECE_ROWS) this.#pieces.push(Buffer.alloc(PIECE_ROWS * ROW_BYTES));
    const piece = this.#pieceOf(index);
    const row = (index % PIECE_ROWS) * ROW_BYTES;
    piece.set(point.chain, row);
    piece.writeUInt32LE(point.epoch, row + 16);
    piece.writeUInt8(kinds.indexOf(kind), row + 20);
    piece.writeUInt32LE(this.#filesDropped + this.#files.length - 1, row + 24);
    piece.writeUInt32LE(record.bytes.length, row + 28);
    piece.writeDoubleLE(offset, row + 32);
    piece.writeDoubleLE(record.covers, row + 40);
  }

  /** Drops everything after `position`. */
  cut(position: number): void {
    assert(position >= this.#base.position, `cannot cut at ${position} before ${this.#base.position}`);
    this.#count = Math.min(this.#count, position - this.#base.position);
  }

  /**
   * Files that are not needed by who starts at `position`, the oldest first; drops them and their entries. The log then begins with `from` or a
   * file after it: the first file of the present writer, from which on nothing is torn or written twice.
   */
  dropFiles(position: number, from: FileId): FileId[] {
    let drop = 0;
    for (const [index, file] of this.#files.entries()) if (compareFiles(file.id, from) >= 0 && file.base.position <= position) drop = index;
    if (drop === 0) return [];
    const base = must(this.#files[drop], 'in range').base;
    const dropped = this.#files.splice(0, drop).map((file) => file.id);
    this.#filesDropped += drop;
    const rows = base.position - this.#base.position;
    assert(rows >= 0 && rows <= this.#count, 'a file begins inside the log');
    this.#droppedRows += rows;
    this.#pieces.splice(0, Math.floor(this.#droppedRows / PIECE_ROWS));
    this.#droppedRows %= PIECE_ROWS;
    this.#count -= rows;
    this.#base = base;
    return dropped;
  }

  #row(position: number): Buffer | undefined {
    if (!this.has(position)) return undefined;
    const index = this.#droppedRows + position - this.#base.position - 1;
    const at = (index % PIECE_ROWS) * ROW_BYTES;
    return this.#pieceOf(index).subarray(at, at + ROW_BYTES);
  }

  #pieceOf(index: number): Buffer {
    return must(this.#pieces[Math.floor(index / PIECE_ROWS)], 'all rows are in pieces');
  }
}

/** The highest position at which two logs are the same; undefined where they have no position in common or differ everywhere. */
export function commonPosition(
  a: { readonly base: LogPoint; readonly lastPosition: number; pointAt(position: number): LogPoint | undefined },
  b: { readonly base: LogPoint; readonly lastPosition: number; pointAt(position: number): LogPoint | undefined },
): number | undefined {
  let low = Math.max(a.base.position, b.base.position);
  let high = Math.min(a.lastPosition, b.lastPosition);
  const same = (position: number): boolean => {
    const left = a.pointAt(position);
    const right = b.pointAt(position);
    return left !== undefined && right !== undefined && sameBytes(left.chain, right.chain);
  };
  if (low > high || !same(low)) return undefined;
  // Equal at a position means equal at all before it, so halving finds the end.
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (same(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
