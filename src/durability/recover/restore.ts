/**
 * Puts the rows of an export in the place of all that the index holds, in bounded transactions. A mark stands in the index from before the first row goes until
 * recovery is finished: a pool in which it stands is not served, so a restore that was cut off is begun again and never half used.
 */
import type { Clock } from '../../base/clock.js';
import { CHANGE_STEP_BYTES, CHANGE_STEP_ROWS } from '../../base/limits.js';
import type { ExportReader } from '../../index/export.js';
import type { IndexStore, Row } from '../../index/index-store.js';
import { pages } from '../../index/pages.js';
import { cleanStopKey, encodeSetting, keepUnknownKey, restoringKey } from '../../index/schema/pool-rows.js';
import { parseFreeKey, TABLES } from '../../index/schema/tables.js';

/** Rows that speak of the moment alone. */
const PASSING: readonly Buffer[] = [cleanStopKey(), restoringKey()];

export interface RestoreOptions {
  readonly index: IndexStore;
  readonly clock: Pick<Clock, 'yield'>;
  /** Told how many rows are in. */
  readonly progress: (rows: number) => void;
}

/** Is the index being restored, or was that cut off? */
export async function isRestoring(index: Pick<IndexStore, 'get'>): Promise<boolean> {
  return (await index.get(restoringKey())) !== undefined;
}

/** @param reader of an export that was verified before. Resolves with the number of rows. */
export async function restoreRows({ index, clock, progress }: RestoreOptions, reader: ExportReader): Promise<number> {
  const { position } = await index.transact(async (tx) => {
    tx.put(restoringKey(), encodeSetting('yes'));
  });
  await index.durable(position);
  await clear(index, clock);
  let count = 0;
  let waiting: Row[] = [];
  let bytes = 0;
  const put = async (): Promise<void> => {
    const rows = waiting;
    [waiting, bytes] = [[], 0];
    await index.transact(async (tx) => {
      for (const { key, value } of rows) tx.put(key, value);
    });
    count += rows.length;
    progress(count);
    await clock.yield();
  };
  for await (const rows of reader.rows())
    for (const row of rows) {
      if (!wanted(row)) continue;
      waiting.push(row);
      bytes += row.key.length + row.value.length;
      if (bytes >= CHANGE_STEP_BYTES || waiting.length >= CHANGE_STEP_ROWS * 4) await put();
    }
  await put();
  await index.durable();
  return count;
}

/**
 * Places that a rebuild had left, and that were about to be given back then, may be where a shard is found now: they are forgotten, and found again as
 * stranded if nobody needs them.
 */
function wanted({ key }: Row): boolean {
  if (PASSING.some((each) => each.equals(key))) return false;
  return key[0] !== TABLES.free || parseFreeKey(key).serial === 0;
}

async function clear(index: IndexStore, clock: Pick<Clock, 'yield'>): Promise<void> {
  const mark = restoringKey();
  for await (const rows of pages(index, { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: CHANGE_STEP_ROWS }, clock))
    await index.transact(async (tx) => {
      for (const { key } of rows) if (!key.equals(mark)) tx.delete(key);
    });
}

/** The last step: the pool may be served. Records of blobs from before `epoch` that no row knows are kept until the operator gives them up. */
export async function finishRestore(index: IndexStore, epoch: number): Promise<void> {
  const { position } = await index.transact(async (tx) => {
    tx.delete(restoringKey());
    tx.put(keepUnknownKey(), encodeSetting(String(epoch)));
  });
  await index.durable(position);
}

/** The operator gives up what no row knows: the next search for stranded records frees it. True when something was kept. */
export async function discardUnknown(index: IndexStore): Promise<boolean> {
  const { value, position } = await index.transact(async (tx) => {
    if ((await tx.get(keepUnknownKey())) === undefined) return false;
    tx.delete(keepUnknownKey());
    // So that the next start searches.
    tx.delete(cleanStopKey());
    return true;
  });
  await index.durable(position);
  return value;
}
