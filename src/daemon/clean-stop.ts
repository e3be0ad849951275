/**
 * The mark of a clean stop: while it stands nothing can be stranded on the disks, and a start need not search them (I10).
 *
 *   unclean ──clean stop──▶ search again ──clean stop──▶ clean ──▶ clean …      (whatever is not a clean stop ──▶ unclean)
 *
 * Two in a row: a process that was taken over from another host may have gone on for a while, and written records after its successor's search. The next
 * start finds these.
 */
import type { IndexStore } from '../index/index-store.js';
import { cleanStopKey, encodeSetting } from '../index/schema/pool-rows.js';
import type { Services } from './services.js';

/** How the last session ended. */
export type LastStop = 'unclean' | 'search again' | 'clean';

const CLEAN = encodeSetting('yes');
const SEARCH_AGAIN = encodeSetting('search again');

/** How did the last session end? Its mark is gone, durably, before anything is written that a crash could strand. */
export async function takeCleanStop(index: IndexStore, readOnly: boolean): Promise<LastStop> {
  const mark = await index.get(cleanStopKey());
  if (mark === undefined) return 'unclean';
  // Who writes no data strands none.
  if (!readOnly && index.writable) {
    const { position } = await index.transact(async (tx) => {
      tx.delete(cleanStopKey());
    });
    await index.durable(position);
  }
  return CLEAN.equals(mark) ? 'clean' : 'search again';
}

/** Called after the namespace has written its last. @param last how the session before this one ended */
export async function markCleanStop(
  services: Pick<Services, 'strandedPossible'> | undefined,
  index: IndexStore,
  last: LastStop,
): Promise<void> {
  if (services === undefined || services.strandedPossible || !index.writable) return;
  await index.transact(async (tx) => {
    tx.put(cleanStopKey(), last === 'unclean' ? SEARCH_AGAIN : CLEAN);
  });
}
