/** Rows in memory over the state below them: what a transaction wrote, what the working replica has not written to its file yet. */
import type { Range, Row } from './index-store.js';
import { compareKeys } from './keys.js';
import type { SortedRows } from './sorted-rows.js';

/**
 * Rows of `range` as they are with `own` on top.
 * @param valueOf what an own row says: a value, or null (there is none).
 * @param below scans the state below.
 */
export function overlaid<V>(own: SortedRows<V>, valueOf: (row: V) => Buffer | null, range: Range, below: (range: Range) => Row[]): Row[] {
  const { start, end, limit } = range;
  const reverse = range.reverse === true;
  if (own.size === 0) return below(range);
  const rows = reverse ? own.entriesReverse(start, end) : own.entries(start, end);
  const first = rows.next();
  if (first.done === true) return below(range);
  // Each own row hides at most one below; so many more are needed, page by page where that is more than one scan may ask for.
  return merge(first.value, rows, valueOf, pages(range, below), limit, reverse ? -1 : 1);
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

/** Merges two sequences in order (`sign` 1) or reverse order (-1); own rows win, deleted ones hide. */
function merge<V>(
  first: [key: Buffer, value: V],
  own: Iterator<[key: Buffer, value: V]>,
  valueOf: (row: V) => Buffer | null,
  below: Iterator<Row>,
  limit: number,
  sign: number,
): Row[] {
  const merged: Row[] = [];
  let mine: [key: Buffer, value: V] | undefined = first;
  // Fetched when it is compared, not before: after the last row that is asked for it would be a scan for nothing.
  let under: IteratorResult<Row> | undefined;
  while (merged.length < limit) {
    under ??= below.next();
    const order = mine === undefined ? 1 : under.done === true ? -1 : compareKeys(mine[0], under.value.key) * sign;
    if (mine === undefined || order > 0) {
      if (under.done === true) break;
      merged.push(under.value);
      under = undefined;
      continue;
    }
    const value = valueOf(mine[1]);
    if (value !== null) merged.push({ key: mine[0], value });
    const next = own.next();
    mine = next.done === true ? undefined : next.value;
    if (order === 0) under = undefined;
  }
  return merged;
}
