/** Goes over many rows without holding all of them, or anybody up. */
import type { Awaitable } from '../base/awaitable.js';
import type { Clock } from '../base/clock.js';
import type { Range, Row } from './index-store.js';
import { keyAfter } from './keys.js';

/**
 * Rows of a range, in their order, `range.limit` at a time; no page is empty. Each is what the index holds when its turn comes: rows may be put and deleted
 * meanwhile, and those behind the page that was yielded last are met as they are then.
 * @param clock lets others have their turn in between; without it the caller does
 */
export async function* pages(
  source: { scan(range: Range): Awaitable<Row[]> },
  range: Range,
  clock?: Pick<Clock, 'yield'>,
): AsyncGenerator<Row[], void, undefined> {
  for (let page = range; ;) {
    const rows = await source.scan(page);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    if (rows.length < range.limit) return;
    page = { ...page, start: keyAfter(last.key) };
    await clock?.yield();
  }
}
