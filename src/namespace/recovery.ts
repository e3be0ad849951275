/**
 * What a start finds: a new pool gets its root; an old one what its last daemon left in the middle of something. Cuts are finished before anything
 * may grow again; dead uploads and orphans fall in the background, a bounded step at a time (I10).
 */
import { DecodeError } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import { CHANGE_STEP_ROWS } from '../base/limits.js';
import type { Row } from '../index/index-store.js';
import { pages } from '../index/pages.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { inodeKey, parseGarbageKey, parseNumberKey, tableRange, TABLES } from '../index/schema/tables.js';
import { decodeNumber, decodeUpload } from '../index/schema/work-rows.js';
import { cutStep } from './commits.js';
import { dropGarbage } from './content.js';
import { FIRST_COOKIE } from './directories.js';
import type { Ledger } from './ledger.js';
import { S_IFDIR } from './modes.js';
import type { Log } from './options.js';
import type { Nodes } from './nodes.js';
import { abortUpload } from './parts.js';

export const ROOT_INO = 1;

/** Makes the root if there is none. */
export async function initialiseNamespace(ledger: Ledger, clock: Clock): Promise<void> {
  if ((await ledger.index.get(inodeKey(ROOT_INO))) !== undefined) return;
  const now = clock.now();
  await ledger.change(async (change) => {
    const root: InodeRow = {
      ino: change.newIno(),
      mode: S_IFDIR | 0o755,
      links: 2,
      uid: 0,
      gid: 0,
      rdev: 0,
      size: 0,
      allocatedBytes: 0,
      generation: 0,
      flags: 0,
      parent: ROOT_INO,
      nextCookie: FIRST_COOKIE,
      atime: now,
      mtime: now,
      ctime: now,
      btime: now,
      quota: 0,
    };
    change.putInode(root);
    change.count(1, 0);
  });
}

/** Rows of a table, some at a time; rows may be deleted while it goes. */
async function* rowsOf(ledger: Ledger, table: (typeof TABLES)[keyof typeof TABLES]): AsyncGenerator<Row> {
  for await (const rows of pages(ledger.index, tableRange(table, CHANGE_STEP_ROWS))) yield* rows;
}

/** Finishes cuts that were interrupted: nothing may lie behind the end of a file when it is served. */
export async function finishCuts(ledger: Ledger): Promise<number> {
  let count = 0;
  for await (const { key, value } of rowsOf(ledger, TABLES.garbage)) {
    const offset = decodeNumber(value);
    if (offset === 0) continue;
    const content = parseGarbageKey(key);
    count++;
    for (let done = false; !done;)
      done = (
        await ledger.change(async (change) => {
          const row = await change.inode(content.ino);
          if (row?.generation === content.generation) return cutStep(change, content.ino, offset);
          return dropGarbage(change, content);
        })
      ).value;
  }
  return count;
}

/** Ends uploads and removes unlinked files whose daemon died. Resolves with how many there were. */
export async function clearDeadSessions(
  ledger: Ledger,
  nodes: Nodes,
  { epoch, clock, log, stopped }: { readonly epoch: number; readonly clock: Clock; readonly log: Log; readonly stopped: () => boolean },
): Promise<{ uploads: number; orphans: number }> {
  /** False: it cannot be read, and is left to a check. */
  const isDead = (session: () => number): boolean => {
    try {
      return session() !== epoch;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      log('warn', `a row that the last session left cannot be read: ${error.message}`);
      return false;
    }
  };
  let uploads = 0;
  for await (const { key, value } of rowsOf(ledger, TABLES.upload)) {
    if (stopped()) break;
    if (!isDead(() => decodeUpload(value).session)) continue;
    await abortUpload(ledger, parseNumberKey(key));
    uploads++;
    await clock.yield();
  }
  let orphans = 0;
  for await (const { key, value } of rowsOf(ledger, TABLES.orphan)) {
    if (stopped()) break;
    if (!isDead(() => decodeNumber(value))) continue;
    const ino = parseNumberKey(key);
    await ledger.change(async (change) => {
      const row = await change.inode(ino);
      if (row === undefined) change.tx.delete(key);
      else if (row.links === 0) await nodes.removeOrphan(change, row);
    });
    orphans++;
    await clock.yield();
  }
  return { uploads, orphans };
}
