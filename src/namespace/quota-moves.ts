/**
 * What a rename does to quotas. A file takes its account along; so does a directory, as long as its tree is small enough for one transaction; a directory with a
 * quota of its own takes along that quota as a whole, however large. A larger tree is EXDEV, so that programs such as mv copy it.
 */
import { QUOTA_MOVE_INODES_MAX } from '../base/limits.js';
import { changedInode, type InodeRow } from '../index/schema/inode-row.js';
import { decodeOrder } from '../index/schema/dirent-row.js';
import { orderRange } from '../index/schema/tables.js';
import type { Change } from './change.js';
import { refuse } from './directories.js';
import { isDirectory } from './modes.js';
import type { Ino } from './namespace.js';

/** `ino`, and what is below it, counts in `quota` from now on. @throws OperatingError EXDEV; EDQUOT comes at the end of the change, if it does not fit */
export async function moveToQuota(change: Change, ino: Ino, quota: number): Promise<void> {
  const left: Ino[] = [ino];
  for (let moved = 0; ; moved++) {
    const next = left.pop();
    if (next === undefined) return;
    if (moved + left.length >= QUOTA_MOVE_INODES_MAX)
      refuse('EXDEV', `more than ${QUOTA_MOVE_INODES_MAX} inodes would change from one quota to another`);
    const row = await change.inode(next);
    if (row === undefined) continue;
    if (row.quota === next && change.quotas.isSet(next)) {
      change.quotas.moveBelow(next, quota);
      continue;
    }
    const stays = change.quotas.effective(row.quota) === quota;
    if (stays && next === ino) return;
    const isDir = isDirectory(row.mode);
    if (!isDir && !stays && row.links > 1) refuse('EXDEV', 'a file has all its names in one quota');
    change.putInode(changedInode(row, { quota }));
    if (isDir) left.push(...(await entriesOf(change, row)));
  }
}

async function entriesOf(change: Change, { ino, size }: InodeRow): Promise<Ino[]> {
  if (size === 0) return [];
  const rows = await change.tx.scan(orderRange(ino, 0, QUOTA_MOVE_INODES_MAX + 1));
  return rows.map(({ value }) => decodeOrder(value).ino);
}
