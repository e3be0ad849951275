/**
 * One SQLite file of rows: its layout, its settings, and how it is verified. Both replicas are such files; README.md says why each setting is what it
 * is. Used by the main thread for the working replica alone, by the replicas' threads for everything else.
 *
 * Every row carries the position of the entry that wrote it and a CRC-32 over key, position and value (I6). A durable replica also keeps the number of
 * rows and the sum of their checksums, changed in the transaction that changes the rows: a page that was lost or came from an older time breaks them.
 */
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import { assert } from '../base/assert.js';
import {
  INDEX_FREE_BYTES_MIN,
  INDEX_FREE_SHARE,
  INDEX_PAGE_BYTES,
  KiB,
  MiB,
  REPLICA_CACHE_BYTES,
  WORKING_CACHE_BYTES,
} from '../base/limits.js';
import type { LogPoint } from '../quorum/state-machine.js';
import { compareKeys } from './keys.js';
import { CHAIN_BYTES } from './point.js';
import { DamagedFileError } from './sqlite-error.js';

/** "OSTI": an index of Ostraka. */
const APPLICATION_ID = 0x4f535449;
const LAYOUT_VERSION = 1;
/** The sum of row checksums is kept modulo this, so that it stays exact in a double. */
const SUM_MODULUS = 2 ** 48;
/** A lock is only ever held by a thread of ours that is about to let go. */
const BUSY_TIMEOUT_MS = 10_000;

export type FileUse = 'working' | 'durable' | 'reading';

/** Number of rows and sum of their checksums; what a full scan must find. */
export interface Contents {
  rows: number;
  sum: number;
}

/** CRC-32 (IEEE, as zlib's) over key and value, seeded by the position's low 32 bits. */
export function rowChecksum(key: Uint8Array, position: number, value: Uint8Array): number {
  const seed = crc32(key, position >>> 0);
  // Of an empty buffer zlib may see no address at all, and then forgets the seed.
  return value.length === 0 ? seed : crc32(value, seed);
}

interface MetaRow {
  position: number;
  epoch: number;
  chain: Buffer;
  rows: number | null;
  sum: number | null;
}

type StoredRow = [position: number, checksum: number, value: Buffer];

/** What a row says of itself, unverified. */
export type RowStamp = [key: Buffer, position: number, checksum: number, valueBytes: number];

/** A row to be written. */
export interface NewRow {
  readonly key: Uint8Array;
  readonly position: number;
  /** Of `rowChecksum`. */
  readonly checksum: number;
  readonly value: Uint8Array;
}

/** Rows of a group, which one statement writes: calling it costs as much as writing three rows. */
export const GROUP_ROWS = 16;

/** One statement for one row, one for a group. */
interface Statements {
  readonly one: string;
  readonly group: string;
}

function forKeys(before: string, after = ''): Statements {
  const group = `IN (${Array<string>(GROUP_ROWS).fill('?').join(', ')})`;
  return { one: `${before} WHERE key = ?${after}`, group: `${before} WHERE key ${group}${after}` };
}

function forRows(before: string, after = ''): Statements {
  const row = '(?, ?, ?, ?)';
  const group = Array<string>(GROUP_ROWS).fill(row).join(', ');
  return { one: `${before} VALUES ${row}${after}`, group: `${before} VALUES ${group}${after}` };
}

const STAMPS = forKeys('SELECT key, position, checksum, length(value) FROM kv');
const DELETE = forKeys('DELETE FROM kv', ' RETURNING checksum');
const INSERT = forRows('INSERT OR IGNORE INTO kv');
const PUT = forRows(
  'INSERT INTO kv',
  ' ON CONFLICT (key) DO UPDATE SET position = excluded.position, checksum = excluded.checksum, value = excluded.value',
);

function configure(db: Database.Database, use: FileUse): void {
  db.pragma('mmap_size = 0');
  db.pragma('trusted_schema = OFF');
  db.pragma(`cache_size = -${(use === 'working' ? WORKING_CACHE_BYTES : REPLICA_CACHE_BYTES) / KiB}`);
  if (use === 'reading') return;
  if (use === 'working') {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = OFF');
    db.pragma('wal_autocheckpoint = 0');
  } else {
    db.pragma('journal_mode = TRUNCATE');
    db.pragma('synchronous = FULL');
  }
}

/** Of a new file, and of one that is about to be written anew. */
function layOut(db: Database.Database): void {
  db.pragma(`page_size = ${INDEX_PAGE_BYTES}`);
  db.pragma('auto_vacuum = INCREMENTAL');
}

function create(db: Database.Database): void {
  db.exec(`
    BEGIN;
    PRAGMA application_id = ${APPLICATION_ID};
    PRAGMA user_version = ${LAYOUT_VERSION};
    CREATE TABLE kv(key BLOB NOT NULL UNIQUE, position INTEGER NOT NULL, checksum INTEGER NOT NULL, value BLOB NOT NULL);
    CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL, epoch INTEGER NOT NULL, chain BLOB NOT NULL,
      rows INTEGER, sum INTEGER);
    INSERT INTO meta VALUES (1, 0, 0, zeroblob(${CHAIN_BYTES}), 0, 0);
    COMMIT;`);
}

/** An open file. Its methods throw SQLite's errors and DamagedFileError. */
export class SqliteFile {
  readonly #db: Database.Database;
  readonly #get: Database.Statement<[Uint8Array], StoredRow>;
  /** Prepared when they are first used. */
  readonly #statements = new Map<string, Database.Statement<unknown[]>>();
  readonly #setMeta: Database.Statement<[number, number, Uint8Array, number | null, number | null]>;
  readonly #begin: Database.Statement<[]>;
  readonly #commit: Database.Statement<[]>;
  readonly #scans = new Map<string, Database.Statement<[Uint8Array, Uint8Array, number], [Buffer, ...StoredRow]>>();

  /**
   * Opens the file, or creates it with `createNew`.
   * @throws DamagedFileError when it is not a file of rows of this version; SQLite's errors.
   */
  constructor(
    readonly path: string,
    use: FileUse,
    createNew: boolean,
  ) {
    const db = new Database(path, { fileMustExist: !createNew, readonly: use === 'reading', timeout: BUSY_TIMEOUT_MS });
    this.#db = db;
    try {
      if (createNew) layOut(db);
      configure(db, use);
      if (createNew) create(db);
      if (db.pragma('application_id', { simple: true }) !== APPLICATION_ID) throw new DamagedFileError(`${path} is no index of ours`);
      const version = db.pragma('user_version', { simple: true });
      if (version !== LAYOUT_VERSION)
        throw new DamagedFileError(`${path} has layout ${String(version)}; this program knows ${LAYOUT_VERSION}`);
      this.#get = db.prepare<[Uint8Array], StoredRow>('SELECT position, checksum, value FROM kv WHERE key = ?').raw();
      this.#setMeta = db.prepare('UPDATE meta SET position = ?, epoch = ?, chain = ?, rows = ?, sum = ?');
      this.#begin = db.prepare('BEGIN IMMEDIATE');
      this.#commit = db.prepare('COMMIT');
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** The point and contents in the meta row. `contents` is undefined in a working replica. */
  meta(): { point: LogPoint; contents: Contents | undefined } {
    const row = this.#db.prepare<[], MetaRow>('SELECT position, epoch, chain, rows, sum FROM meta WHERE id = 1').get();
    if (row === undefined || !Buffer.isBuffer(row.chain) || row.chain.length !== CHAIN_BYTES || !whole(row.position) || !whole(row.epoch))
      throw new DamagedFileError(`${this.path} does not say where it stands`);
    const { position, epoch, chain, rows, sum } = row;
    return { point: { position, epoch, chain: new Uint8Array(chain) }, contents: whole(rows) && whole(sum) ? { rows, sum } : undefined };
  }

  setMeta({ position, epoch, chain }: LogPoint, contents: Contents | undefined): void {
    this.#setMeta.run(position, epoch, chain, contents?.rows ?? null, contents?.sum ?? null);
  }

  /** A row's value, verified. */
  get(key: Uint8Array): Buffer | undefined {
    const row = this.#get.get(key);
    if (row === undefined) return undefined;
    this.#check(key, row[0], row[1], row[2]);
    return row[2];
  }

  /** A damaged row may also hold things of other types. */
  #check(key: Uint8Array, position: number, checksum: number, value: Buffer): void {
    if (!(key instanceof Uint8Array)) throw this.#impossible();
    if (!Buffer.isBuffer(value) || rowChecksum(key, position, value) !== checksum)
      throw new DamagedFileError(`${this.path}: a row does not match its checksum`);
  }

  /** Rows of a range in order, verified. */
  scan(start: Uint8Array, end: Uint8Array, limit: number, reverse: boolean): { key: Buffer; value: Buffer }[] {
    const rows = this.#scanStatement(reverse).all(start, end, limit);
    return rows.map(([key, position, checksum, value]) => {
      this.#check(key, position, checksum, value);
      return { key, value };
    });
  }

  #scanStatement(reverse: boolean): Database.Statement<[Uint8Array, Uint8Array, number], [Buffer, ...StoredRow]> {
    const order = reverse ? 'DESC' : 'ASC';
    let statement = this.#scans.get(order);
    if (statement === undefined) {
      statement = this.#db
        .prepare<[Uint8Array, Uint8Array, number], [Buffer, ...StoredRow]>(
          // A sum: SQLite prepares a statement anew whenever a limit that is a bare parameter is bound, since its plan may depend on it.
          `SELECT key, position, checksum, value FROM kv WHERE key >= ? AND key < ? ORDER BY key ${order} LIMIT ? + 0`,
        )
        .raw();
      this.#scans.set(order, statement);
    }
    return statement;
  }

  /** What these rows say of themselves, in any order. One of them or GROUP_ROWS; so it is for the next three. */
  stamps(keys: readonly Uint8Array[]): RowStamp[] {
    const stamps = this.#statement(STAMPS, keys.length).all(keys) as RowStamp[];
    for (const [key, , checksum] of stamps) if (!Buffer.isBuffer(key) || !whole(checksum)) throw this.#impossible();
    return stamps;
  }

  /** Writes rows, over those with the same keys. */
  put(rows: readonly NewRow[]): void {
    this.#statement(PUT, rows.length).run(values(rows));
  }

  /** Writes those of the rows whose keys are not there yet; returns how many. */
  insert(rows: readonly NewRow[]): number {
    return this.#statement(INSERT, rows.length).run(values(rows)).changes;
  }

  /** Removes rows; returns the checksums of those that were there. */
  delete(keys: readonly Uint8Array[]): number[] {
    const gone = this.#statement(DELETE, keys.length).all(keys) as [number][];
    return gone.map(([checksum]) => {
      if (!whole(checksum)) throw this.#impossible();
      return checksum;
    });
  }

  #statement({ one, group }: Statements, rows: number): Database.Statement<unknown[]> {
    assert(rows === 1 || rows === GROUP_ROWS, `${rows} rows are no group`);
    const text = rows === 1 ? one : group;
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#db.prepare<unknown[]>(text);
      if (statement.reader) statement.raw();
      this.#statements.set(text, statement);
    }
    return statement;
  }

  #impossible(): DamagedFileError {
    return new DamagedFileError(`${this.path}: a row is of types that none has`);
  }

  begin(): void {
    this.#begin.run();
  }

  /** Holds still what readers see, until `close`. */
  beginReading(): void {
    this.#db.exec('BEGIN');
    this.meta();
  }

  commit(): void {
    this.#commit.run();
  }

  rollback(): void {
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
  }

  /**
   * Reads every row by way of the key index and checks order, checksums and, where they are kept, number and sum.
   * @param progress called every few hundred rows.
   * @throws DamagedFileError, SQLite's errors.
   */
  verify(progress: () => void): void {
    const found: Contents = { rows: 0, sum: 0 };
    let last: Buffer | undefined;
    const all = this.#db
      .prepare<[], [Buffer, ...StoredRow]>('SELECT key, position, checksum, value FROM kv INDEXED BY sqlite_autoindex_kv_1 ORDER BY key')
      .raw();
    for (const [key, position, checksum, value] of all.iterate()) {
      this.#check(key, position, checksum, value);
      if (last !== undefined && compareKeys(last, key) >= 0) throw new DamagedFileError(`${this.path}: rows are out of order`);
      last = key;
      addRow(found, checksum);
      if (found.rows % 512 === 0) progress();
    }
    const { contents } = this.meta();
    if (contents !== undefined && (contents.rows !== found.rows || contents.sum !== found.sum))
      throw new DamagedFileError(`${this.path}: ${found.rows} rows found, ${contents.rows} written, or some are old`);
  }

  #number(pragma: string): number {
    return Number(this.#db.pragma(pragma, { simple: true }));
  }

  /** Bytes of the database without its journal. */
  bytes(): number {
    return this.#number('page_count') * this.#number('page_size');
  }

  /**
   * Gives pages without rows back to the file system, beyond what is kept for the rows to come. Does nothing to a file that cannot shrink.
   * @param bytes at most so many; each page may move one page of rows
   */
  shrink(bytes: number): void {
    const pageBytes = this.#number('page_size');
    const free = this.#number('freelist_count') * pageBytes;
    if (free <= INDEX_FREE_BYTES_MIN) return;
    const excess = Math.floor(Math.min(bytes, free - Math.max(INDEX_FREE_BYTES_MIN, this.bytes() / INDEX_FREE_SHARE)) / pageBytes);
    if (excess > 0) this.#db.pragma(`incremental_vacuum(${excess})`);
  }

  /** Is it laid out as a new file is? Earlier versions made files that cannot shrink, and pages of another size. */
  get isCurrent(): boolean {
    return this.#number('auto_vacuum') === INCREMENTAL && this.#number('page_size') === INDEX_PAGE_BYTES;
  }

  /** Writes the whole file anew, in one SQLite transaction, as a new file is laid out. Takes its size in free space. Not for a file with a write-ahead one. */
  rewrite(): void {
    layOut(this.#db);
    this.#db.exec('VACUUM');
  }

  /**
   * Copies the write-ahead file into the database as far as nobody stands in the way.
   * @returns bytes in the write-ahead file, and whether all of them are copied, so that the next write starts it over.
   */
  checkpoint(): { walBytes: number; complete: boolean } {
    const [row] = this.#db.pragma('wal_checkpoint(PASSIVE)') as { busy: number; log: number; checkpointed: number }[];
    if (row === undefined || row.log < 0) return { walBytes: 0, complete: true };
    return { walBytes: row.log * this.#number('page_size'), complete: row.busy === 0 && row.log === row.checkpointed };
  }

  /** Copies the whole file to `path`, page by page. `progress` is called again and again; other jobs of the thread may run in between. */
  async copyTo(path: string, progress: () => void): Promise<void> {
    const pages = COPY_BYTES / this.#number('page_size');
    await this.#db.backup(path, {
      progress: () => {
        progress();
        return pages;
      },
    });
  }

  close(): void {
    this.#db.close();
  }
}

/** https://www.sqlite.org/pragma.html#pragma_auto_vacuum */
const INCREMENTAL = 2;

/** What one step of a copy takes. */
const COPY_BYTES = 4 * MiB;

function values(rows: readonly NewRow[]): (number | Uint8Array)[] {
  const all: (number | Uint8Array)[] = [];
  for (const { key, position, checksum, value } of rows) all.push(key, position, checksum, value);
  return all;
}

function whole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Counts a row in. */
export function addRow(contents: Contents, checksum: number): void {
  contents.rows++;
  contents.sum = (contents.sum + checksum) % SUM_MODULUS;
}

/** Counts a row out. */
export function removeRow(contents: Contents, checksum: number): void {
  contents.rows--;
  contents.sum = (contents.sum - checksum + SUM_MODULUS) % SUM_MODULUS;
}
