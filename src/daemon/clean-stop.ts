/** The mark of a clean stop: while it stands nothing can be stranded on the disks, and a start need not search them (I10). */
import type { IndexStore } from '../index/index-store.js';
import { cleanStopKey, encodeSetting } from '../index/schema/pool-rows.js';
import type { Services } from './services.js';

/** Did the last session end cleanly? Its mark is gone, durably, before anything is written that a crash could strand. */
export async function takeCleanStop(index: IndexStore, readOnly: boolean): Promise<boolean> {
  const clean = (await index.get(cleanStopKey())) !== undefined;
  // Who writes no data strands none.
  if (!clean || readOnly || !index.writable) return clean;
  const { position } = await index.transact(async (tx) => {
    tx.delete(cleanStopKey());
  });
  await index.durable(position);
  return true;
}

/** Called after the namespace has written its last. */
export async function markCleanStop(services: Pick<Services, 'strandedPossible'> | undefined, index: IndexStore): Promise<void> {
  if (services === undefined || services.strandedPossible || !index.writable) return;
  await index.transact(async (tx) => {
    tx.put(cleanStopKey(), encodeSetting('yes'));
  });
}
