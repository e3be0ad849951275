/**
 * Writes the rows of a batch to a file of rows, in groups of one statement each. Used by the replicas' thread alone, within one SQLite transaction.
 *
 *   value ──its table grows?──yes──▶ insert ──some were there──▶ put, one by one
 *     │                └──no──▶ look ──▶ put
 *   none ──▶ delete
 *
 * A row that is new needs no look at what it replaces; where the last rows were new the next ones are, mostly. So a table grows or not, as its rows of
 * the last group did.
 */
import { sameBytes } from '../base/checksums.js';
import { addRow, GROUP_ROWS, removeRow, type Contents, type NewRow, type RowStamp, type SqliteFile } from './sqlite-file.js';
import { DamagedFileError } from './sqlite-error.js';

/** A row that gets shorter by more is put in anew: SQLite puts a page together with its neighbours when a row is deleted, but not when one gets shorter. Where a
 * small file's content was, the page would stay empty. */
const SHORTER_BYTES = 128;

/** With more of a group's rows there before, its tables do not grow: each of them cost a look and a statement. */
const OLD_ROWS_MAX = GROUP_ROWS / 4;

/** Tables that grow, by the first byte of their keys. Of all files: what is written to one is written to the others. */
const growing = new Set<number | undefined>();

const tableOf = ({ key }: NewRow): number | undefined => key[0];

export class RowWriter {
  readonly #file: SqliteFile;
  readonly #contents: Contents;
  #inserts: NewRow[] = [];
  #puts: NewRow[] = [];
  #deletes: Uint8Array[] = [];

  /** @param contents of the file; follows what is written */
  constructor(file: SqliteFile, contents: Contents) {
    this.#file = file;
    this.#contents = contents;
  }

  /** Each key once until `flush`; later than every entry that wrote to the file before. */
  write(row: NewRow): void {
    if (growing.has(tableOf(row))) {
      if (this.#inserts.push(row) === GROUP_ROWS) this.#insert();
    } else if (this.#puts.push(row) === GROUP_ROWS) this.#put();
  }

  delete(key: Uint8Array): void {
    if (this.#deletes.push(key) === GROUP_ROWS) this.#delete();
  }

  /** Writes what is left. */
  flush(): void {
    this.#insert();
    this.#put();
    this.#delete();
  }

  #insert(): void {
    for (const rows of groups(this.#inserts)) {
      const fresh = this.#file.insert(rows) === rows.length ? rows : this.#insertedOf(rows);
      for (const { checksum } of fresh) addRow(this.#contents, checksum);
    }
    this.#inserts = [];
  }

  /** Puts those of the rows that were there before; returns the others. */
  #insertedOf(rows: readonly NewRow[]): NewRow[] {
    const stamps = this.#stampsOf(rows);
    const fresh: NewRow[] = [];
    const old: NewRow[] = [];
    for (const [at, row] of rows.entries()) {
      // The positions of those before are lower.
      if (stamps[at]?.[1] === row.position) fresh.push(row);
      else {
        this.#putOver([row], [stamps[at]]);
        old.push(row);
      }
    }
    if (old.length > OLD_ROWS_MAX || rows.length < GROUP_ROWS) for (const row of old) growing.delete(tableOf(row));
    return fresh;
  }

  #put(): void {
    for (const rows of groups(this.#puts)) {
      const stamps = this.#stampsOf(rows);
      this.#putOver(rows, stamps);
      for (const [at, row] of rows.entries()) if (stamps[at] === undefined) growing.add(tableOf(row));
      for (const [at, row] of rows.entries()) if (stamps[at] !== undefined) growing.delete(tableOf(row));
    }
    this.#puts = [];
  }

  /** @param stamps of what each of the rows replaces */
  #putOver(rows: readonly NewRow[], stamps: readonly (RowStamp | undefined)[]): void {
    for (const [at, row] of rows.entries()) {
      const [, , checksum, bytes] = stamps[at] ?? [];
      if (checksum !== undefined) removeRow(this.#contents, checksum);
      if (bytes !== undefined && bytes - row.value.length > SHORTER_BYTES) this.#file.delete([row.key]);
      addRow(this.#contents, row.checksum);
    }
    this.#file.put(rows);
  }

  #delete(): void {
    for (const keys of groups(this.#deletes)) for (const checksum of this.#file.delete(keys)) removeRow(this.#contents, checksum);
    this.#deletes = [];
  }

  /** For each of the rows what is there, or undefined. */
  #stampsOf(rows: readonly NewRow[]): (RowStamp | undefined)[] {
    const stamps = Array<RowStamp | undefined>(rows.length);
    let at = 0;
    for (const stamp of this.#file.stamps(rows.map(({ key }) => key))) {
      at = indexOf(rows, stamp[0], at);
      if (at < 0) throw new DamagedFileError(`${this.#file.path}: a row is found where another one was looked for`);
      stamps[at] = stamp;
    }
    return stamps;
  }
}

/** @param from where it is mostly found, or soon behind: both are in the order of their keys */
function indexOf(rows: readonly NewRow[], key: Uint8Array, from: number): number {
  for (let turn = 0; turn < rows.length; turn++) {
    const at = (from + turn) % rows.length;
    const row = rows[at];
    if (row !== undefined && sameBytes(row.key, key)) return at;
  }
  return -1;
}

/** All of them where they are a group, else one by one. */
function groups<T>(items: T[]): T[][] {
  return items.length === GROUP_ROWS ? [items] : items.map((item) => [item]);
}
