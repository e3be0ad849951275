/**
 * The key space: which tables there are, and how their keys are built and taken apart. README.md has the same as a table. Tags are letters, so that a
 * dump can be read by eye; a tag is never given another meaning.
 */
import type { BlobId } from '../../base/ids.js';
import { XATTR_PAGE_ROWS } from '../../base/limits.js';
import type { Range } from '../index-store.js';
import { KeyReader, keyOf } from '../keys.js';

const tag = (letter: string): number => letter.charCodeAt(0);

/** Table tags, the first byte of each key. */
export const TABLES = {
  blob: tag('b'),
  counters: tag('c'),
  dirent: tag('d'),
  extent: tag('e'),
  free: tag('f'),
  garbage: tag('g'),
  inode: tag('i'),
  job: tag('j'),
  packable: tag('k'),
  symlink: tag('l'),
  endangered: tag('m'),
  order: tag('o'),
  part: tag('p'),
  quota: tag('q'),
  references: tag('r'),
  setting: tag('s'),
  quotaWalk: tag('t'),
  upload: tag('u'),
  diskOut: tag('v'),
  xattr: tag('x'),
  orphan: tag('z'),
} as const;

export const countersKey = (): Buffer => keyOf(TABLES.counters).end();

export const inodeKey = (ino: number): Buffer => keyOf(TABLES.inode).number(ino).end();

export const direntKey = (parent: number, name: string): Buffer => keyOf(TABLES.dirent).number(parent).restText(name).end();
export const direntRange = (parent: number, limit: number): Range => keyOf(TABLES.dirent).number(parent).range(limit);

export const orderKey = (parent: number, cookie: number): Buffer => keyOf(TABLES.order).number(parent).number(cookie).end();
/** Entries of a directory with cookies greater than `after`. */
export function orderRange(parent: number, after: number, limit: number): Range {
  const all = keyOf(TABLES.order).number(parent).range(limit);
  return { ...all, start: orderKey(parent, after + 1) };
}
export const parseOrderKey = (key: Uint8Array): { parent: number; cookie: number } => {
  const reader = new KeyReader(key);
  const parsed = { parent: reader.number(), cookie: reader.number() };
  reader.end();
  return parsed;
};

export const symlinkKey = (ino: number): Buffer => keyOf(TABLES.symlink).number(ino).end();

export const xattrKey = (ino: number, name: string): Buffer => keyOf(TABLES.xattr).number(ino).restText(name).end();
export const xattrRange = (ino: number, limit = XATTR_PAGE_ROWS): Range => keyOf(TABLES.xattr).number(ino).range(limit);
export const parseXattrKey = (key: Uint8Array): { ino: number; name: string } => {
  const reader = new KeyReader(key);
  return { ino: reader.number(), name: reader.restText() };
};

export const extentKey = (ino: number, generation: number, offset: number): Buffer =>
  keyOf(TABLES.extent).number(ino).number(generation).number(offset).end();
/** Extents of one content whose offsets are `from` (inclusive) to `to` (exclusive, default: all). */
export function extentRange(ino: number, generation: number, from: number, to: number | undefined, limit: number, reverse = false): Range {
  const all = keyOf(TABLES.extent).number(ino).number(generation).range(limit, reverse);
  const end = to === undefined ? all.end : extentKey(ino, generation, to);
  return { ...all, start: extentKey(ino, generation, from), end };
}
export const parseExtentKey = (key: Uint8Array): { ino: number; generation: number; offset: number } => {
  const reader = new KeyReader(key);
  const parsed = { ino: reader.number(), generation: reader.number(), offset: reader.number() };
  reader.end();
  return parsed;
};

export const blobKey = (blob: BlobId): Buffer => keyOf(TABLES.blob).number(blob).end();
export const referencesKey = (blob: BlobId): Buffer => keyOf(TABLES.references).number(blob).end();
export const endangeredKey = (blob: BlobId): Buffer => keyOf(TABLES.endangered).number(blob).end();
/** The blob of a key of the tables blob, references or endangered. */
export function parseBlobKey(key: Uint8Array): BlobId {
  const reader = new KeyReader(key);
  const blob = reader.number();
  reader.end();
  return blob;
}

/** `serial` tells several dropped locations of one blob apart (the whole blob: 0; places that a rebuild left: 1 …). */
export const freeKey = (blob: BlobId, serial: number): Buffer => keyOf(TABLES.free).number(blob).number(serial).end();
export const freeRangeOfBlob = (blob: BlobId, limit: number, reverse = false): Range =>
  keyOf(TABLES.free).number(blob).range(limit, reverse);
export const parseFreeKey = (key: Uint8Array): { blob: BlobId; serial: number } => {
  const reader = new KeyReader(key);
  const parsed = { blob: reader.number(), serial: reader.number() };
  reader.end();
  return parsed;
};

export const uploadKey = (upload: number): Buffer => keyOf(TABLES.upload).number(upload).end();
export const partKey = (upload: number, blob: BlobId): Buffer => keyOf(TABLES.part).number(upload).number(blob).end();
export const partRange = (upload: number, limit: number): Range => keyOf(TABLES.part).number(upload).range(limit);
export const parsePartKey = (key: Uint8Array): { upload: number; blob: BlobId } => {
  const reader = new KeyReader(key);
  const parsed = { upload: reader.number(), blob: reader.number() };
  reader.end();
  return parsed;
};

export const orphanKey = (ino: number): Buffer => keyOf(TABLES.orphan).number(ino).end();
export const packableKey = (ino: number): Buffer => keyOf(TABLES.packable).number(ino).end();
export const garbageKey = (ino: number, generation: number): Buffer => keyOf(TABLES.garbage).number(ino).number(generation).end();
export const parseGarbageKey = (key: Uint8Array): { ino: number; generation: number } => {
  const reader = new KeyReader(key);
  const parsed = { ino: reader.number(), generation: reader.number() };
  reader.end();
  return parsed;
};

export const quotaKey = (quota: number): Buffer => keyOf(TABLES.quota).number(quota).end();
/** A directory whose entries are still to be counted in a quota. */
export const quotaWalkKey = (quota: number, ino: number): Buffer => keyOf(TABLES.quotaWalk).number(quota).number(ino).end();
export const quotaWalkRange = (quota: number, limit: number): Range => keyOf(TABLES.quotaWalk).number(quota).range(limit);
export const parseQuotaWalkKey = (key: Uint8Array): { quota: number; ino: number } => {
  const reader = new KeyReader(key);
  const parsed = { quota: reader.number(), ino: reader.number() };
  reader.end();
  return parsed;
};

/** The one number of a key of the tables inode, symlink, upload, orphan, packable or quota. */
export function parseNumberKey(key: Uint8Array): number {
  const reader = new KeyReader(key);
  const value = reader.number();
  reader.end();
  return value;
}

/** All rows of a table, `limit` at a time. */
export const tableRange = (table: (typeof TABLES)[keyof typeof TABLES], limit: number): Range => keyOf(table).range(limit);
