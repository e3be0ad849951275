/**
 * Rows of a view of the index, decoded, a page at a time. What cannot be decoded is left out here and reported once, by `checkEncoding`; a row that is
 * there and damaged is never taken for one that is missing.
 */
import { DecodeError } from '../../base/bytes.js';
import type { BlobId } from '../../base/ids.js';
import type { Location } from '../../base/location.js';
import { KiB } from '../../base/limits.js';
import type { IndexView, Range, Row } from '../../index/index-store.js';
import { keyAfter, KeyReader } from '../../index/keys.js';
import { decodeEndangered, decodeLocationRow, decodeReferences } from '../../index/schema/blob-rows.js';
import { decodeBytes, decodeDirent, decodeOrder, type DirentRow, type OrderRow } from '../../index/schema/dirent-row.js';
import { decodeExtent, type Extent } from '../../index/schema/extent-row.js';
import { decodeInode, type InodeRow } from '../../index/schema/inode-row.js';
import { decodeQuota } from '../../index/schema/quota-row.js';
import { decodeDiskOut, decodeSetting } from '../../index/schema/pool-rows.js';
import {
  inodeKey,
  parseBlobKey,
  parseExtentKey,
  parseFreeKey,
  parseGarbageKey,
  parseNumberKey,
  parseOrderKey,
  parsePartKey,
  parseQuotaWalkKey,
  parseXattrKey,
  tableRange,
  TABLES,
} from '../../index/schema/tables.js';
import { decodeCounters, decodeNumber, decodeUpload } from '../../index/schema/work-rows.js';
import { decodeLocation } from '../../storage/location-codec.js';

/** A page takes about so much memory. */
const PAGE_BYTES = 256 * KiB;
/** The largest rows there are may follow the smallest: a page is some megabytes then. */
const PAGE_ROWS_MAX = 128;
const PAGE_ROWS_MIN = 8;

export type Table = (typeof TABLES)[keyof typeof TABLES];

/** What a check reads, and how it lets others have their turn. */
export interface Reading {
  readonly view: Pick<IndexView, 'get' | 'scan'>;
  /** Called after each page with the rows in it. Throws to end the check. */
  readonly pause: (rows: number) => Promise<void>;
}

/** All rows of a range, in pages of bounded memory. */
export async function* pagesOf({ view, pause }: Reading, range: Range): AsyncGenerator<readonly Row[], void, undefined> {
  let { start } = range;
  let limit = Math.min(PAGE_ROWS_MAX, range.limit);
  for (;;) {
    const rows = await view.scan({ ...range, start, limit });
    yield rows;
    await pause(rows.length);
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit) return;
    start = keyAfter(last.key);
    const bytes = rows.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    limit = Math.max(PAGE_ROWS_MIN, Math.min(PAGE_ROWS_MAX, Math.floor((PAGE_BYTES * rows.length) / bytes)));
  }
}

/** Undefined where the row cannot be decoded. */
export function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

async function* decoded<T>(reading: Reading, range: Range, decode: (row: Row) => T): AsyncGenerator<T, void, undefined> {
  for await (const rows of pagesOf(reading, range))
    for (const row of rows) {
      const value = attempt(() => decode(row));
      if (value !== undefined) yield value;
    }
}

export interface Dirent extends DirentRow {
  readonly parent: number;
  readonly name: string;
}

export function parseDirent({ key, value }: Row): Dirent {
  const reader = new KeyReader(key);
  return { parent: reader.number(), name: reader.restText(), ...decodeDirent(value) };
}

export interface Order extends OrderRow {
  readonly parent: number;
  readonly cookie: number;
}

export interface ContentExtent {
  readonly ino: number;
  readonly generation: number;
  readonly extent: Extent;
}

/** An inode whose row cannot be decoded is there all the same. */
export interface FoundInode {
  readonly ino: number;
  readonly row: InodeRow | undefined;
}

export interface BlobRow {
  readonly blob: BlobId;
  readonly location: Location | undefined;
}

const all = (table: Table): Range => tableRange(table, PAGE_ROWS_MAX);

export const dirents = (reading: Reading, range = all(TABLES.dirent)): AsyncGenerator<Dirent> => decoded(reading, range, parseDirent);

export const orders = (reading: Reading): AsyncGenerator<Order> =>
  decoded(reading, all(TABLES.order), ({ key, value }) => ({ ...parseOrderKey(key), ...decodeOrder(value) }));

export const inodes = (reading: Reading, range = all(TABLES.inode)): AsyncGenerator<FoundInode> =>
  decoded(reading, range, ({ key, value }) => {
    const ino = parseNumberKey(key);
    return { ino, row: attempt(() => decodeInode(ino, value)) };
  });

export const extents = (reading: Reading): AsyncGenerator<ContentExtent> =>
  decoded(reading, all(TABLES.extent), ({ key, value }) => {
    const { ino, generation, offset } = parseExtentKey(key);
    return { ino, generation, extent: decodeExtent(offset, value) };
  });

export const blobs = (reading: Reading, range = all(TABLES.blob)): AsyncGenerator<BlobRow> =>
  decoded(reading, range, ({ key, value }) => ({
    blob: parseBlobKey(key),
    location: attempt(() => decodeLocation(decodeLocationRow(value))),
  }));

export const rowsOf = <T>(reading: Reading, table: Table, decode: (row: Row) => T): AsyncGenerator<T> =>
  decoded(reading, all(table), decode);

/** Rows of which only the key counts. */
export const keysOf = <T>(reading: Reading, table: Table, parse: (key: Uint8Array) => T): AsyncGenerator<T> =>
  decoded(reading, all(table), ({ key }) => parse(key));

/** 'damaged': it is there and cannot be decoded. */
export async function inodeAt({ view }: Pick<Reading, 'view'>, ino: number): Promise<InodeRow | 'damaged' | undefined> {
  const value = await view.get(inodeKey(ino));
  return value === undefined ? undefined : (attempt(() => decodeInode(ino, value)) ?? 'damaged');
}

/** A row and the next one of a sorted stream, for walking along two of them. */
export class Peeked<T> {
  current: T | undefined;
  readonly #rows: AsyncGenerator<T>;

  constructor(rows: AsyncGenerator<T>) {
    this.#rows = rows;
  }

  async advance(): Promise<void> {
    const next = await this.#rows.next();
    this.current = next.done === true ? undefined : next.value;
  }

  static async of<T>(rows: AsyncGenerator<T>): Promise<Peeked<T>> {
    const peeked = new Peeked(rows);
    await peeked.advance();
    return peeked;
  }
}

type Decode = (row: Row) => unknown;

/** How the rows of each table are read. Tables that are not here belong to later versions, or to whoever keeps its own (jobs). */
export const DECODERS: ReadonlyMap<number, Decode> = new Map<number, Decode>([
  [TABLES.blob, ({ key, value }) => [parseBlobKey(key), decodeLocation(decodeLocationRow(value))]],
  [TABLES.counters, ({ value }) => decodeCounters(value)],
  [TABLES.dirent, parseDirent],
  [TABLES.extent, ({ key, value }) => decodeExtent(parseExtentKey(key).offset, value)],
  [TABLES.free, ({ key, value }) => [parseFreeKey(key), decodeLocation(decodeLocationRow(value))]],
  [TABLES.garbage, ({ key, value }) => [parseGarbageKey(key), decodeNumber(value)]],
  [TABLES.inode, ({ key, value }) => decodeInode(parseNumberKey(key), value)],
  [TABLES.packable, ({ key, value }) => [parseNumberKey(key), decodeNumber(value)]],
  [TABLES.symlink, ({ key, value }) => [parseNumberKey(key), decodeBytes(value, 'symlink')]],
  [TABLES.endangered, ({ key, value }) => [parseBlobKey(key), decodeEndangered(value)]],
  [TABLES.order, ({ key, value }) => [parseOrderKey(key), decodeOrder(value)]],
  [TABLES.part, ({ key, value }) => [parsePartKey(key), decodeNumber(value)]],
  [TABLES.references, ({ key, value }) => [parseBlobKey(key), decodeReferences(value)]],
  [TABLES.quota, ({ key, value }) => [parseNumberKey(key), decodeQuota(value)]],
  [TABLES.quotaWalk, ({ key, value }) => [parseQuotaWalkKey(key), decodeNumber(value)]],
  [TABLES.setting, ({ value }) => decodeSetting(value)],
  [TABLES.upload, ({ key, value }) => [parseNumberKey(key), decodeUpload(value)]],
  [TABLES.diskOut, ({ key, value }) => [parseNumberKey(key), decodeDiskOut(value)]],
  [TABLES.xattr, ({ key, value }) => [parseXattrKey(key), decodeBytes(value, 'xattr')]],
  [TABLES.orphan, ({ key, value }) => [parseNumberKey(key), decodeNumber(value)]],
]);
