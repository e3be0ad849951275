/**
 * The rules of quotas: each is of a directory, everything below it is marked with it, and its numbers are what is there. Nothing is asked of pools without
 * quotas. While one is being counted, marks and what is around what are on their way, and only the numbers are looked at.
 */
import { decodeQuota, type QuotaRow } from '../../index/schema/quota-row.js';
import { INODE_HAD_NAMES, type InodeRow } from '../../index/schema/inode-row.js';
import { parseNumberKey, TABLES } from '../../index/schema/tables.js';
import { isDirectory } from '../../namespace/modes.js';
import { Quotas } from '../../namespace/quotas.js';
import type { Census } from './encoding.js';
import type { Findings } from './finding.js';
import { changeInode } from './mend.js';
import { dirents, inodeAt, inodes, rowsOf, type Dirent, type Reading } from './rows.js';

const ROOT_INO = 1;

interface Usage {
  inodes: number;
  bytes: number;
}

export async function checkQuotas(reading: Reading, findings: Findings, { damaged }: Pick<Census, 'damaged'>): Promise<void> {
  const quotas = new Quotas();
  for await (const [quota, row] of rowsOf(reading, TABLES.quota, ({ key, value }) => [parseNumberKey(key), decodeQuota(value)] as const))
    quotas.set(quota, row);
  for (const [quota, { state }] of quotas.all()) {
    const inode = await inodeAt(reading, quota);
    if (state !== 'clearing' && (inode === undefined || (inode !== 'damaged' && !isDirectory(inode.mode)))) stray(findings, quota);
  }
  // Sums over rows of which some cannot be read mean nothing.
  if (!damaged.has(TABLES.inode)) await checkCounts(reading, findings, quotas);
  const rows = quotas.all().map(([, row]) => row);
  if (rows.some(({ state }) => state === 'counting')) return;
  await checkMarks(reading, findings, quotas);
}

function stray(findings: Findings, quota: number): void {
  const message = `a quota of directory ${quota}, which is not there`;
  findings.add('quota-stray', { ino: quota }, message, 'the quota is dropped', async (change) => {
    if (change.quotas.get(quota) === undefined) return false;
    change.quotas.put(quota, undefined);
    return true;
  });
}

/** What is marked adds up to what rows say; and nothing is marked with what is not there. */
async function checkCounts(reading: Reading, findings: Findings, quotas: Quotas): Promise<void> {
  const counted = new Map<number, Usage>(quotas.all().map(([quota]) => [quota, { inodes: 0, bytes: 0 }]));
  for await (const { row } of inodes(reading)) {
    if (row === undefined || row.quota === 0) continue;
    if (quotas.get(row.quota) === undefined) wrongMark(findings, row, 0);
    for (const [quota] of quotas.chain(row.quota)) {
      const usage = counted.get(quota);
      if (usage === undefined) continue;
      usage.inodes++;
      usage.bytes += row.allocatedBytes;
    }
  }
  for (const [quota, row] of quotas.all()) {
    const { inodes: usedInodes, bytes: usedBytes } = counted.get(quota) ?? { inodes: 0, bytes: 0 };
    if (row.usedInodes === usedInodes && row.usedBytes === usedBytes) continue;
    const said = `counts ${row.usedInodes} inodes and ${row.usedBytes} bytes, there are ${usedInodes} and ${usedBytes}`;
    findings.add('quota-count', { ino: quota }, `the quota of directory ${quota} ${said}`, 'its numbers are set right', async (change) => {
      const now = change.quotas.get(quota);
      if (now === undefined) return false;
      change.quotas.put(quota, { ...now, usedInodes, usedBytes });
      return true;
    });
  }
}

function wrongMark(findings: Findings, row: InodeRow, wanted: number): void {
  const message = `inode ${row.ino} counts in quota ${row.quota} instead of ${wanted}`;
  findings.add('quota-mark', { ino: row.ino }, message, 'it counts there', changeInode(row, { quota: wanted }));
}

/** Everything counts in the quota that it is below. */
async function checkMarks(reading: Reading, findings: Findings, quotas: Quotas): Promise<void> {
  const isSet = (ino: number): boolean => (quotas.get(ino)?.state ?? 'clearing') !== 'clearing';
  const root = await inodeAt(reading, ROOT_INO);
  if (typeof root === 'object') checkMark(findings, quotas, root, isSet(ROOT_INO) ? ROOT_INO : 0);
  let parent: { readonly ino: number; readonly quota: number | undefined } | undefined;
  for await (const dirent of dirents(reading)) {
    if (quotas.size === 0) return;
    if (parent?.ino !== dirent.parent) parent = { ino: dirent.parent, quota: await around(reading, dirent.parent, isSet) };
    if (parent.quota !== undefined) await checkEntry(reading, findings, quotas, dirent, parent.quota, isSet);
  }
}

/** The quota that a directory is in or has. undefined: no way leads to the root, which others report. */
async function around(reading: Reading, directory: number, isSet: (ino: number) => boolean): Promise<number | undefined> {
  const seen = new Set<number>();
  for (let at = directory; ;) {
    if (isSet(at)) return at;
    if (at === ROOT_INO) return 0;
    const row = seen.has(at) ? undefined : await inodeAt(reading, at);
    if (typeof row !== 'object') return undefined;
    seen.add(at);
    at = row.parent;
  }
}

async function checkEntry(
  reading: Reading,
  findings: Findings,
  quotas: Quotas,
  { ino, parent }: Dirent,
  outer: number,
  isSet: (ino: number) => boolean,
): Promise<void> {
  const row = await inodeAt(reading, ino);
  if (typeof row !== 'object') return;
  const isDir = isDirectory(row.mode);
  // Where it really is, others find out first.
  if (isDir && row.parent !== parent) return;
  const quota = isDir && isSet(ino) ? quotas.get(ino) : undefined;
  // A file that has, or had, several names counts in the quota of any of them.
  if (isDir || (row.links <= 1 && (row.flags & INODE_HAD_NAMES) === 0)) checkMark(findings, quotas, row, quota === undefined ? outer : ino);
  if (quota !== undefined && quotas.effective(quota.parent) !== outer) wrongParent(findings, ino, quota, outer);
}

function checkMark(findings: Findings, quotas: Quotas, row: InodeRow, wanted: number): void {
  if (row.quota !== 0 && quotas.get(row.quota) === undefined) return;
  if (quotas.effective(row.quota) !== wanted) wrongMark(findings, row, wanted);
}

function wrongParent(findings: Findings, quota: number, { parent }: QuotaRow, wanted: number): void {
  const message = `the quota of directory ${quota} counts in quota ${parent} instead of ${wanted}`;
  findings.add('quota-parent', { ino: quota }, message, 'it counts there', async (change) => {
    if (change.quotas.get(quota)?.parent !== parent) return false;
    change.quotas.moveBelow(quota, wanted);
    return true;
  });
}
