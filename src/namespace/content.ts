/**
 * A content is the extents of one generation of an inode. Here are the steps that change one inside a transaction, each bounded. In every committed
 * state extents do not overlap and none reaches beyond the inode's size (except behind a cut in progress, which a garbage row records).
 */
import { when, type Awaitable } from '../base/awaitable.js';
import { CHANGE_STEP_ROWS } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { decodeExtent, encodeExtent, sliceExtent } from '../index/schema/extent-row.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { extentKey, extentRange, garbageKey, parseExtentKey } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import type { IndexStore, Row } from '../index/index-store.js';
import type { Change } from './change.js';

/** A content by its inode and generation. */
export interface ContentId {
  readonly ino: number;
  readonly generation: number;
}

/** How far a step came. */
export interface Step {
  /** Bytes whose extents went. */
  readonly droppedBytes: number;
  /** Everything before this offset is done. */
  readonly reached: number;
  /** One extent was written anew as it is: so will the next ones be. */
  readonly anew: boolean;
}

export function extentOfRow(row: Row): Extent {
  return decodeExtent(parseExtentKey(row.key).offset, row.value);
}

/** Returns the row's value. */
export function putExtent(change: Change, { ino, generation }: ContentId, extent: Extent): Buffer {
  const value = encodeExtent(extent);
  change.touch(ino);
  change.tx.put(extentKey(ino, generation, extent.offset), value);
  if (extent.kind === 'blob') change.addReferences(extent.blob, 1);
  return value;
}

function dropExtent(change: Change, { ino, generation }: ContentId, extent: Extent): void {
  change.touch(ino);
  change.tx.delete(extentKey(ino, generation, extent.offset));
  if (extent.kind === 'blob') change.addReferences(extent.blob, -1);
}

/** The extent that begins before `offset` and reaches beyond it. */
function straddling(change: Change, { ino, generation }: ContentId, offset: number): Awaitable<Extent | undefined> {
  if (offset === 0) return undefined;
  return when(change.tx.scan(extentRange(ino, generation, 0, offset, 1, true)), ([row]) => {
    const extent = row === undefined ? undefined : extentOfRow(row);
    return extent !== undefined && extent.offset + extent.bytes > offset ? extent : undefined;
  });
}

/** Extents that one scan backwards is made for first: what a write of a page or two replaces. */
const NEAR_ROWS = 3;

/**
 * Extents that overlap `start` … `end` in order, and perhaps some before, by one scan backwards; undefined when there may be more than `limit`.
 * @param end undefined: all behind `start`
 */
export function extentsBackFrom(
  from: Pick<IndexStore, 'scan'>,
  { ino, generation }: ContentId,
  start: number,
  end: number | undefined,
  limit: number,
): Awaitable<Extent[] | undefined> {
  return when(from.scan(extentRange(ino, generation, 0, end, limit, true)), (rows) => {
    const extents = rows.map(extentOfRow).reverse();
    return extents.length < limit || (extents[0]?.offset ?? 0) <= start ? extents : undefined;
  });
}

/** The extent that begins at `start` and reaches to `end` or beyond. */
function beginningAt(change: Change, { ino, generation }: ContentId, start: number, end: number): Awaitable<Extent | undefined> {
  return when(change.tx.get(extentKey(ino, generation, start)), (value) => {
    const extent = value === undefined ? undefined : decodeExtent(start, value);
    return extent !== undefined && start + extent.bytes >= end ? extent : undefined;
  });
}

/** Extents in order. */
interface Overlapping {
  readonly extents: readonly Extent[];
  /** There are no more. */
  readonly all: boolean;
}

/** Extents that overlap `start` … `end`; all of them, or CHANGE_STEP_ROWS and the one that begins before. */
export function overlapping(change: Change, content: ContentId, start: number, end: number): Awaitable<Overlapping> {
  const to = end === Infinity ? undefined : end;
  return when(extentsBackFrom(change.tx, content, start, to, NEAR_ROWS), (near) =>
    near === undefined
      ? manyOverlapping(change, content, start, to)
      : { extents: near.filter(({ offset, bytes }) => offset + bytes > start), all: true },
  );
}

function manyOverlapping(change: Change, content: ContentId, start: number, to: number | undefined): Awaitable<Overlapping> {
  return when(straddling(change, content, start), (over) =>
    when(change.tx.scan(extentRange(content.ino, content.generation, start, to, CHANGE_STEP_ROWS)), (rows) => ({
      extents: [...(over === undefined ? [] : [over]), ...rows.map(extentOfRow)],
      all: rows.length < CHANGE_STEP_ROWS,
    })),
  );
}

/**
 * Drops what lies in `start` … `end`, keeping the rest of extents that reach beyond; at most CHANGE_STEP_ROWS of them.
 * @param anew one that begins just there is expected, as where a database writes its pages anew: it is got more quickly than looked for
 */
export function clearRange(change: Change, content: ContentId, start: number, end: number, anew = false): Awaitable<Step> {
  const one = anew ? beginningAt(change, content, start, end) : undefined;
  const found = when(one, (extent) => (extent === undefined ? overlapping(change, content, start, end) : { extents: [extent], all: true }));
  return when(found, (old) => dropOverlapping(change, content, start, end, old));
}

function dropOverlapping(change: Change, content: ContentId, start: number, end: number, { extents, all }: Overlapping): Step {
  let droppedBytes = 0;
  let reached = start;
  for (const extent of extents) {
    const extentEnd = extent.offset + extent.bytes;
    dropExtent(change, content, extent);
    if (extent.offset < start) putExtent(change, content, sliceExtent(extent, extent.offset, start));
    if (extentEnd > end) putExtent(change, content, sliceExtent(extent, end, extentEnd));
    reached = Math.min(extentEnd, end);
    droppedBytes += reached - Math.max(extent.offset, start);
  }
  return { droppedBytes, reached: all ? end : reached, anew: extents.length === 1 && extents[0]?.offset === start };
}

/** Drops what lies at or behind `from`; at most CHANGE_STEP_ROWS extents. `reached` is Infinity when nothing is left. */
export function cutContent(change: Change, content: ContentId, from: number): Awaitable<Step> {
  return clearRange(change, content, from, Infinity);
}

/** The one extent that is all of a content, got by its key: most files have one, and to look for one is cheaper than for all. Undefined: there are more, or none. */
export function onlyExtent(from: Pick<IndexStore, 'get'>, { ino, generation, allocatedBytes }: InodeRow): Awaitable<Extent | undefined> {
  return when(from.get(extentKey(ino, generation, 0)), (value) => {
    const first = value === undefined ? undefined : decodeExtent(0, value);
    return first?.bytes === allocatedBytes ? first : undefined;
  });
}

/**
 * Drops a whole content: at once when it is small, else by a garbage row, which the collector works off (`dropGarbage`). The inode must be pointed to
 * another generation, or go, in the same transaction.
 */
export function dropContent(change: Change, row: InodeRow): Awaitable<void> {
  if (row.allocatedBytes === 0) return;
  change.touch(row.ino);
  change.count(0, -row.allocatedBytes);
  return when(onlyExtent(change.tx, row), (only) => {
    if (only === undefined) return dropExtents(change, row);
    dropExtent(change, row, only);
  });
}

function dropExtents(change: Change, row: InodeRow): Awaitable<void> {
  return when(change.tx.scan(extentRange(row.ino, row.generation, 0, undefined, CHANGE_STEP_ROWS)), (rows) => {
    if (rows.length < CHANGE_STEP_ROWS) for (const extent of rows) dropExtent(change, row, extentOfRow(extent));
    else change.tx.put(garbageKey(row.ino, row.generation), encodeNumber(0));
  });
}

/** One step of working off a garbage row of a whole content. True when the content and the row are gone. */
export function dropGarbage(change: Change, content: ContentId): Awaitable<boolean> {
  return when(cutContent(change, content, 0), ({ reached }) => {
    const done = reached === Infinity;
    if (done) change.tx.delete(garbageKey(content.ino, content.generation));
    return done;
  });
}
