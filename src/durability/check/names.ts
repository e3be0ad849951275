/**
 * The rules of names: entries, their order, directories, links, orphans, extended attributes and links' targets. Directory entries are read in the order of
 * their directories; what has to be counted by inode is counted for a bounded range of inodes at a time, with a pass over all entries for each.
 */
import { CHECK_INODES_MAX } from '../../base/limits.js';
import { decodeDirent, decodeOrder } from '../../index/schema/dirent-row.js';
import { INODE_HAS_XATTRS, type InodeRow } from '../../index/schema/inode-row.js';
import {
  direntKey,
  direntRange,
  inodeKey,
  orderKey,
  orderRange,
  orphanKey,
  parseNumberKey,
  parseOrderKey,
  parseXattrKey,
  symlinkKey,
  TABLES,
  xattrRange,
} from '../../index/schema/tables.js';
import { fileType, isDirectory, S_IFDIR, S_IFLNK } from '../../namespace/modes.js';
import type { Findings } from './finding.js';
import { adopt, changeInode, dropRow, namesIn, removeName, rewriteName } from './mend.js';
import { attempt, dirents, inodeAt, inodes, keysOf, orders, Peeked, type Dirent, type Order, type Reading } from './rows.js';

const ROOT_INO = 1;
const REMOVED = 'the name is removed';

/** Names as people read them. */
function shown(name: string): string {
  return JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
}

export async function checkNames(reading: Reading, findings: Findings, highestIno: number): Promise<void> {
  if ((await inodeAt(reading, ROOT_INO)) === undefined) {
    if (highestIno > 0) findings.add('root-missing', { ino: ROOT_INO }, 'the root directory is not there');
    return;
  }
  await checkDirents(reading, findings);
  await checkOrders(reading, findings);
  for (let first = 0; first <= highestIno; first += CHECK_INODES_MAX)
    await checkLinks(reading, findings, first, Math.min(CHECK_INODES_MAX, highestIno + 1 - first));
  await checkBelongings(reading, findings);
}

async function checkDirents(reading: Reading, findings: Findings): Promise<void> {
  let parent: { ino: number; row: InodeRow | 'damaged' | undefined } | undefined;
  for await (const dirent of dirents(reading)) {
    if (parent?.ino !== dirent.parent) parent = { ino: dirent.parent, row: await inodeAt(reading, dirent.parent) };
    const { row } = parent;
    const place = { parent: dirent.parent, name: dirent.name, ino: dirent.ino };
    const name = `entry ${shown(dirent.name)}`;
    if (row === 'damaged') continue;
    if (row === undefined || !isDirectory(row.mode)) {
      const what = row === undefined ? 'is not there' : 'is no directory';
      const repair = `${REMOVED}; what it named, and has no other name, goes to /lost+found`;
      findings.add('dirent-parent', place, `${name} is in inode ${dirent.parent}, which ${what}`, repair, removeName(dirent));
      continue;
    }
    await checkTarget(reading, findings, dirent);
    const value = await reading.view.get(orderKey(dirent.parent, dirent.cookie));
    const order = value === undefined ? undefined : attempt(() => decodeOrder(value));
    if (order?.ino === dirent.ino && order.name === dirent.name && order.type === dirent.type) continue;
    const message = `${name} of directory ${dirent.parent} is missing where the directory is listed`;
    findings.add('order-missing', place, message, 'it is listed again', rewriteName(dirent, dirent.type));
  }
}

async function checkTarget(reading: Reading, findings: Findings, dirent: Dirent): Promise<void> {
  const { parent, name, ino, type } = dirent;
  const place = { parent, name, ino };
  const what = `entry ${shown(name)} of directory ${parent}`;
  const row = await inodeAt(reading, ino);
  if (row === 'damaged') return;
  if (row === undefined) {
    findings.add('dirent-dangling', place, `${what} is of inode ${ino}, which is not there`, REMOVED, removeName(dirent));
    return;
  }
  if (fileType(row.mode) !== type)
    findings.add(
      'dirent-type',
      place,
      `${what} has the type of something else than inode ${ino}`,
      'the type is set right',
      rewriteName(dirent, fileType(row.mode)),
    );
  if (!isDirectory(row.mode) || row.parent === parent) {
    if (ino === ROOT_INO) findings.add('directory-names', place, `${what} is the root directory`, REMOVED, removeName(dirent));
    return;
  }
  if (ino === ROOT_INO || (await isNamedIn(reading, row.parent, ino)))
    findings.add('directory-names', place, `${what} is a second name of directory ${ino}`, REMOVED, removeName(dirent));
  else
    findings.add(
      'directory-parent',
      place,
      `directory ${ino} is in ${parent} and says that it is in ${row.parent}`,
      'it is told where it is',
      changeInode(row, { parent }),
    );
}

/** Does a directory have an entry of this inode? Asked about those alone that are wrong. */
async function isNamedIn(reading: Reading, parent: number, ino: number): Promise<boolean> {
  for await (const dirent of dirents(reading, direntRange(parent, 1000))) if (dirent.ino === ino) return true;
  return false;
}

async function checkOrders(reading: Reading, findings: Findings): Promise<void> {
  let parent: { ino: number; row: InodeRow | 'damaged' | undefined } | undefined;
  for await (const order of orders(reading)) {
    if (parent?.ino !== order.parent) {
      parent = { ino: order.parent, row: await inodeAt(reading, order.parent) };
      if (typeof parent.row === 'object') await checkNextCookie(reading, findings, parent.row);
    }
    const value = await reading.view.get(direntKey(order.parent, order.name));
    const dirent = value === undefined ? undefined : attempt(() => decodeDirent(value));
    if (dirent?.cookie === order.cookie) continue;
    const place = { parent: order.parent, name: order.name, ino: order.ino };
    const what = `directory ${order.parent} lists ${shown(order.name)}`;
    // Where the name itself is lost or damaged, the list still knows what it was.
    const restorable = dirent === undefined && typeof parent.row === 'object' && (await inodeAt(reading, order.ino)) !== undefined;
    if (restorable) findings.add('order-stray', place, `${what}, which cannot be looked up`, 'the name is made again', restoreName(order));
    else
      findings.add(
        'order-stray',
        place,
        `${what}, which ${dirent === undefined ? 'is not there' : 'is listed elsewhere too'}`,
        'the line of the list is dropped',
        dropRow(orderKey(order.parent, order.cookie)),
      );
  }
}

function restoreName({ parent, name, ino, type, cookie }: Order): ReturnType<typeof dropRow> {
  return async (change) => {
    const value = await change.tx.get(direntKey(parent, name));
    if (value !== undefined && attempt(() => decodeDirent(value)) !== undefined) return false;
    change.putDirent(parent, name, { ino, type, cookie });
    return true;
  };
}

async function checkNextCookie({ view }: Reading, findings: Findings, directory: InodeRow): Promise<void> {
  const { ino, nextCookie } = directory;
  const range = orderRange(ino, 0, 1);
  const last = (await view.scan({ ...range, reverse: true }))[0];
  const key = last === undefined ? undefined : attempt(() => parseOrderKey(last.key).cookie);
  if (key === undefined || key < nextCookie) return;
  findings.add(
    'next-cookie',
    { ino },
    `directory ${ino} would give a place in its list that is taken`,
    'it goes on behind the last place',
    changeInode(directory, { nextCookie: key + 1 }),
  );
}

/** Counts names and entries for the inodes first … first + count - 1. */
async function checkLinks(reading: Reading, findings: Findings, first: number, count: number): Promise<void> {
  const links = new Uint32Array(count);
  const entries = new Uint32Array(count);
  /** Names of each inode, 255: so many or more. */
  const names = new Uint8Array(count);
  for await (const { parent, ino, type } of dirents(reading)) {
    const [target, folder] = [ino - first, parent - first];
    if (target >= 0 && target < count) {
      links[target] = (links[target] ?? 0) + 1;
      names[target] = Math.min(255, (names[target] ?? 0) + 1);
    }
    if (folder < 0 || folder >= count) continue;
    entries[folder] = (entries[folder] ?? 0) + 1;
    if (type === S_IFDIR) links[folder] = (links[folder] ?? 0) + 1;
  }
  const start = inodeKey(first);
  for await (const { row } of inodes(reading, { start, end: inodeKey(first + count), limit: 1000 })) {
    if (row === undefined) continue;
    const at = row.ino - first;
    await checkInode(reading, findings, row, { links: links[at] ?? 0, entries: entries[at] ?? 0, names: names[at] ?? 0 });
  }
}

async function checkInode(
  reading: Reading,
  findings: Findings,
  row: InodeRow,
  counted: { links: number; entries: number; names: number },
): Promise<void> {
  const { ino } = row;
  const isDir = isDirectory(row.mode);
  if (isDir && row.size !== counted.entries)
    findings.add(
      'directory-size',
      { ino },
      `directory ${ino} says that it has ${row.size} entries, it has ${counted.entries}`,
      'the number is set right',
      changeInode(row, { size: counted.entries }),
    );
  if (isDir && counted.names > 1)
    findings.add('directory-names', { ino }, `directory ${ino} has ${counted.names} names`, 'all but one are removed', keepOneName(row));
  const orphan = (await reading.view.get(orphanKey(ino))) !== undefined;
  if (counted.names === 0 && orphan && row.links === 0 && !isDir) return;
  if (counted.names === 0 && ino !== ROOT_INO) {
    findings.add('no-name', { ino }, `inode ${ino} has no name`, `it gets the name /lost+found/#${ino}`, adopt(ino));
    return;
  }
  const links = counted.links + (isDir ? (ino === ROOT_INO ? 2 : 1) : 0);
  if (row.links !== links)
    findings.add(
      'links',
      { ino },
      `inode ${ino} says that it has ${row.links} links, it has ${links}`,
      'the number is set right',
      changeInode(row, { links }),
    );
  if (isDir && ino !== ROOT_INO) await checkReach(reading, findings, row);
}

function keepOneName({ ino, parent }: InodeRow): ReturnType<typeof dropRow> {
  return async (change) => {
    let kept = false;
    let removed = false;
    for (const dirent of await namesIn(change, parent, ino)) {
      if (kept) removed = (await removeName(dirent)(change)) || removed;
      kept = true;
    }
    return removed;
  };
}

/** A loop of directories hangs nowhere: each leads up to the next and none to the root. Told once, by its lowest number. */
async function checkReach(reading: Reading, findings: Findings, row: InodeRow): Promise<void> {
  // Most are near the root, and their way up is short; a loop shows when the slower of two walkers is met.
  let slow = row.ino;
  let fast = row.ino;
  let lowest = row.ino;
  const up = async (ino: number): Promise<number | undefined> => {
    const at = ino === ROOT_INO ? undefined : await inodeAt(reading, ino);
    return typeof at === 'object' && at.ino !== ROOT_INO ? at.parent : undefined;
  };
  for (;;) {
    for (let step = 0; step < 2; step++) {
      const next = await up(fast);
      if (next === undefined) return;
      fast = next;
      lowest = Math.min(lowest, next);
      if (fast === row.ino) {
        if (lowest === row.ino) loopFound(findings, row);
        return;
      }
    }
    slow = (await up(slow)) ?? slow;
    // A loop further up, in which this one is not: its members tell of it.
    if (slow === fast) return;
  }
}

function loopFound(findings: Findings, { ino, parent }: InodeRow): void {
  const message = `directory ${ino} lies within itself: no path leads to it`;
  findings.add('directory-loop', { ino }, message, 'it is taken out of the loop and goes to /lost+found', async (change) => {
    const [dirent] = await namesIn(change, parent, ino);
    return dirent !== undefined && removeName(dirent)(change);
  });
}

/** What hangs on inodes: extended attributes, targets of links, rows of unlinked open files. */
async function checkBelongings(reading: Reading, findings: Findings): Promise<void> {
  const xattrs = await Peeked.of(keysOf(reading, TABLES.xattr, (key) => parseXattrKey(key).ino));
  const symlinks = await Peeked.of(keysOf(reading, TABLES.symlink, parseNumberKey));
  const orphans = await Peeked.of(keysOf(reading, TABLES.orphan, parseNumberKey));
  const before = async (ino: number): Promise<void> => {
    for (; xattrs.current !== undefined && xattrs.current < ino; await xattrs.advance()) strayXattr(findings, xattrs.current);
    for (; symlinks.current !== undefined && symlinks.current < ino; await symlinks.advance())
      findings.add(
        'symlink-stray',
        { ino: symlinks.current },
        `a link's target of inode ${symlinks.current}, which is not there`,
        'the target is dropped',
        dropRow(symlinkKey(symlinks.current)),
      );
    for (; orphans.current !== undefined && orphans.current < ino; await orphans.advance())
      strayOrphan(findings, orphans.current, 'is not there');
  };
  for await (const { ino, row } of inodes(reading)) {
    await before(ino);
    const hasXattrs = xattrs.current === ino;
    while (xattrs.current === ino) await xattrs.advance();
    const hasTarget = symlinks.current === ino;
    if (hasTarget) await symlinks.advance();
    const isOrphan = orphans.current === ino;
    if (isOrphan) await orphans.advance();
    if (row === undefined) continue;
    if (isOrphan && row.links > 0) strayOrphan(findings, ino, 'has a name');
    if (fileType(row.mode) === S_IFLNK && !hasTarget)
      findings.add('symlink-missing', { ino }, `the target of symbolic link ${ino} is lost`);
    if (hasXattrs === ((row.flags & INODE_HAS_XATTRS) !== 0)) continue;
    const flags = row.flags ^ INODE_HAS_XATTRS;
    const what = hasXattrs ? 'has extended attributes and denies it' : 'says that it has extended attributes, it has none';
    findings.add('xattr-flag', { ino }, `inode ${ino} ${what}`, 'the flag is set right', changeInode(row, { flags }));
  }
  await before(Infinity);
}

function strayXattr(findings: Findings, ino: number): void {
  const message = `an extended attribute of inode ${ino}, which is not there`;
  findings.add('xattr-stray', { ino }, message, 'it is dropped', async ({ tx }) => {
    if ((await tx.get(inodeKey(ino))) !== undefined) return false;
    const rows = await tx.scan(xattrRange(ino, 256));
    for (const { key } of rows) tx.delete(key);
    return rows.length > 0;
  });
}

function strayOrphan(findings: Findings, ino: number, why: string): void {
  findings.add(
    'orphan-stray',
    { ino },
    `inode ${ino} counts as unlinked and open, and ${why}`,
    'the mark is dropped',
    dropRow(orphanKey(ino)),
  );
}
