/**
 * What a repair does about a row that cannot be decoded. It drops nothing that holds data: a row goes, or is written anew, where other rows or the row's own key
 * say what it said, or where the worst that follows is a search or a default. For all others there is no remedy here.
 */
import { decodeInode } from '../../index/schema/inode-row.js';
import { cleanStopKey, encodeSetting, keepUnknownKey, parseSettingKey, restoringKey } from '../../index/schema/pool-rows.js';
import { inodeKey, parseGarbageKey, parsePartKey, TABLES } from '../../index/schema/tables.js';
import { encodeNumber } from '../../index/schema/work-rows.js';
import type { Change } from '../../namespace/change.js';
import type { Mend } from './finding.js';
import { attempt, DECODERS } from './rows.js';

export interface Remedy {
  /** What the repair does, in words. */
  readonly repair: string;
  readonly mend: Mend;
}

/** Their content follows from other rows, or is written anew when it is needed. */
const DERIVED: ReadonlySet<number> = new Set([
  TABLES.order,
  TABLES.references,
  TABLES.endangered,
  TABLES.packable,
  TABLES.orphan,
  TABLES.diskOut,
]);

/** Undefined: nothing can be done without losing something. */
export function remedyOf(table: number, key: Buffer): Remedy | undefined {
  if (DERIVED.has(table)) return dropped(key, 'the row is dropped; what it said is made again from other rows');
  switch (table) {
    case TABLES.upload:
      return dropped(key, 'the unfinished upload is dropped; its parts are looked at next');
    case TABLES.part:
      if (attempt(() => parsePartKey(key)) === undefined) return undefined;
      return rewritten(key, 'the row is written anew: its key says everything', async () => encodeNumber(0));
    case TABLES.free:
      return dropped(key, 'the row is dropped; the next mount searches the disks for space that nothing points to', [cleanStopKey()]);
    case TABLES.garbage:
      return garbage(key);
    case TABLES.setting:
      return setting(key);
    case TABLES.quota:
      return dropped(key, 'the quota is dropped, and has to be set again');
    case TABLES.quotaWalk:
      return dropped(key, 'the row is dropped; what was still to be counted is looked at next');
    default:
      return undefined;
  }
}

/** Is it still there, and still damaged? */
async function isDamaged({ tx }: Change, key: Buffer): Promise<boolean> {
  const value = await tx.get(key);
  return value !== undefined && attempt(() => ({ decoded: DECODERS.get(key[0] ?? 0)?.({ key, value }) })) === undefined;
}

function dropped(key: Buffer, repair: string, also: readonly Buffer[] = []): Remedy {
  return {
    repair,
    mend: async (change) => {
      if (!(await isDamaged(change, key))) return false;
      for (const each of [key, ...also]) change.tx.delete(each);
      return true;
    },
  };
}

/** @param value undefined: the row is dropped after all */
function rewritten(key: Buffer, repair: string, value: (change: Change) => Promise<Buffer | undefined>): Remedy {
  return {
    repair,
    mend: async (change) => {
      if (!(await isDamaged(change, key))) return false;
      const now = await value(change);
      if (now === undefined) change.tx.delete(key);
      else change.tx.put(key, now);
      return true;
    },
  };
}

/** Of a file that is there, a cut was under way: nothing behind its end is its own. Of a replaced content, all goes. Of a lost file, the data is kept. */
function garbage(key: Buffer): Remedy {
  const content = attempt(() => parseGarbageKey(key));
  if (content === undefined) return dropped(key, 'the row is dropped; what it was about is looked at next');
  const repair = 'it is made again: a file that was cut ends where its inode says, an earlier content is given to the collector';
  return rewritten(key, repair, async ({ tx }) => {
    const value = await tx.get(inodeKey(content.ino));
    const row = value === undefined ? undefined : attempt(() => decodeInode(content.ino, value));
    if (row === undefined) return undefined;
    if (row.generation !== content.generation) return encodeNumber(0);
    // A cut at 0 is a replaced content: there is no row for it.
    return row.size === 0 ? undefined : encodeNumber(row.size);
  });
}

function setting(key: Buffer): Remedy | undefined {
  if (key.equals(restoringKey())) return undefined;
  if (key.equals(cleanStopKey()))
    return dropped(key, 'the mark of a clean stop is dropped; the next mount searches the disks for what nothing points to');
  if (key.equals(keepUnknownKey()))
    return rewritten(key, 'everything that no name leads to is kept, until "ostraka recover --discard-unknown" gives it up', async () =>
      encodeSetting(String(Number.MAX_SAFE_INTEGER)),
    );
  return dropped(key, `the setting ${attempt(() => parseSettingKey(key)) ?? ''} is dropped, and has its default again`);
}
