/** Steps that repairs are made of. Each looks again, in its transaction, at what it changes; counts that follow from it are set right by a later stage. */
import { must } from '../../base/assert.js';
import { decodeDirent } from '../../index/schema/dirent-row.js';
import { changedInode, type InodeRow } from '../../index/schema/inode-row.js';
import { decodeOrder } from '../../index/schema/dirent-row.js';
import { direntKey, direntRange, inodeKey, orderKey } from '../../index/schema/tables.js';
import type { Change } from '../../namespace/change.js';
import { FIRST_COOKIE } from '../../namespace/directories.js';
import { fileType, isDirectory, S_IFDIR } from '../../namespace/modes.js';
import { attempt, dirents, type Dirent } from './rows.js';
import type { Mend } from './finding.js';

const ROOT_INO = 1;
const LOST_AND_FOUND = 'lost+found';

/** Is this name still what it was? */
async function sameDirent(change: Change, { parent, name, ino, cookie }: Dirent): Promise<boolean> {
  const value = await change.tx.get(direntKey(parent, name));
  const now = value === undefined ? undefined : attempt(() => decodeDirent(value));
  return now?.ino === ino && now.cookie === cookie;
}

/** The names of an inode in one directory. */
export async function namesIn({ tx }: Change, parent: number, ino: number): Promise<Dirent[]> {
  const found: Dirent[] = [];
  for await (const dirent of dirents({ view: tx, pause: async () => undefined }, direntRange(parent, 1000)))
    if (dirent.ino === ino) found.push(dirent);
  return found;
}

/** Takes a name away. Its place in the order goes too, if it is its own. */
export function removeName(dirent: Dirent): Mend {
  return async (change) => {
    if (!(await sameDirent(change, dirent))) return false;
    const { parent, name, cookie } = dirent;
    const value = await change.tx.get(orderKey(parent, cookie));
    const order = value === undefined ? undefined : attempt(() => decodeOrder(value));
    change.deleteDirent(parent, name, dirent);
    // It was another name's.
    if (value !== undefined && order !== undefined && order.name !== name) change.tx.put(orderKey(parent, cookie), value);
    return true;
  };
}

/** Writes a name anew: with its inode's type, and with a place in the order that is its own. */
export function rewriteName(dirent: Dirent, type: number): Mend {
  return async (change) => {
    if (!(await sameDirent(change, dirent))) return false;
    const { parent, name, ino } = dirent;
    const value = await change.tx.get(orderKey(parent, dirent.cookie));
    const order = value === undefined ? undefined : attempt(() => decodeOrder(value));
    const taken = order !== undefined && order.name !== name;
    const cookie = taken ? await newCookie(change, parent) : dirent.cookie;
    if (cookie === undefined) return false;
    change.putDirent(parent, name, { ino, type, cookie });
    return true;
  };
}

/** A cookie that no name in this directory ever had. */
async function newCookie(change: Change, parent: number): Promise<number | undefined> {
  const row = await change.inode(parent);
  if (row === undefined) return undefined;
  change.putInode(changedInode(row, { nextCookie: row.nextCookie + 1 }));
  return row.nextCookie;
}

/** Changes an inode's row as long as it is still the one that was looked at. */
export function changeInode(seen: InodeRow, next: Partial<InodeRow>): Mend {
  return async (change) => {
    const now = await change.inode(seen.ino);
    if (now === undefined) return false;
    for (const field of Object.keys(next) as (keyof InodeRow)[]) if (now[field] !== seen[field]) return false;
    change.putInode({ ...now, ...next });
    return true;
  };
}

/** Drops a row whose key alone was wrong. */
export function dropRow(key: Buffer): Mend {
  return async ({ tx }) => {
    if ((await tx.get(key)) === undefined) return false;
    tx.delete(key);
    return true;
  };
}

/** Gives an inode without a name one below /lost+found, which is made if it is not there. */
export function adopt(ino: number, resurrected?: InodeRow): Mend {
  return async (change) => {
    const row = resurrected ?? (await change.inode(ino));
    if (row === undefined) return false;
    if (resurrected !== undefined) {
      if ((await change.tx.get(inodeKey(ino))) !== undefined) return false;
      change.count(1, row.allocatedBytes);
    }
    const folder = await lostAndFound(change);
    if (folder === undefined) return false;
    const name = await freeName(change, folder.ino, `#${ino}`);
    change.putDirent(folder.ino, name, { ino, type: fileType(row.mode), cookie: folder.nextCookie });
    const isDir = isDirectory(row.mode);
    const links = isDir ? folder.links + 1 : folder.links;
    change.putInode({ ...folder, size: folder.size + 1, nextCookie: folder.nextCookie + 1, links });
    const quota = change.quotas.isSet(ino) && isDir ? ino : change.quotas.effective(folder.quota);
    change.putInode(changedInode(row, isDir ? { parent: folder.ino, quota } : { links: 1, quota }));
    return true;
  };
}

async function freeName(change: Change, parent: number, name: string): Promise<string> {
  for (let count = 0; ; count++) {
    const tried = count === 0 ? name : `${name}.${count}`;
    if ((await change.dirent(parent, tried)) === undefined) return tried;
  }
}

/** Undefined: the root itself is not there. */
async function lostAndFound(change: Change): Promise<InodeRow | undefined> {
  const root = await change.inode(ROOT_INO);
  if (root === undefined) return undefined;
  const there = await change.dirent(ROOT_INO, LOST_AND_FOUND);
  const row = there === undefined ? undefined : await change.inode(there.ino);
  if (row !== undefined && isDirectory(row.mode)) return row;
  const name = await freeName(change, ROOT_INO, LOST_AND_FOUND);
  const ino = change.newIno();
  const made: InodeRow = {
    ...root,
    ino,
    mode: S_IFDIR | 0o700,
    links: 2,
    size: 0,
    allocatedBytes: 0,
    generation: 0,
    flags: 0,
    parent: ROOT_INO,
    nextCookie: FIRST_COOKIE,
    btime: undefined,
  };
  change.putInode(made);
  change.count(1, 0);
  change.putDirent(ROOT_INO, name, { ino, type: S_IFDIR, cookie: root.nextCookie });
  change.putInode({ ...root, links: root.links + 1, size: root.size + 1, nextCookie: root.nextCookie + 1 });
  return must(await change.inode(ino), 'just made');
}
