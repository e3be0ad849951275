/**
 * First pass of a check: every row of every table can be decoded. On the way it counts what the pool's counters must say; last comes what was counted. Rows
 * that can be made again from others are dropped by a repair, and made again by the rules that miss them.
 */
import { DecodeError } from '../../base/bytes.js';
import { decodeInode } from '../../index/schema/inode-row.js';
import type { Row } from '../../index/index-store.js';
import { KeyReader } from '../../index/keys.js';
import { countersKey, parseNumberKey, TABLES } from '../../index/schema/tables.js';
import { decodeCounters, type Counters } from '../../index/schema/work-rows.js';
import { remedyOf } from './damaged-rows.js';
import type { Findings } from './finding.js';
import { attempt, DECODERS, pagesOf, parseDirent, type Reading } from './rows.js';

/** Tables whose keys begin with the number of an inode. */
const BY_INODE: ReadonlySet<number> = new Set([
  TABLES.inode,
  TABLES.dirent,
  TABLES.order,
  TABLES.extent,
  TABLES.garbage,
  TABLES.packable,
  TABLES.symlink,
  TABLES.xattr,
  TABLES.orphan,
  TABLES.quota,
  TABLES.quotaWalk,
]);
/** No pool has given out so many; a larger one is a damaged key. */
const INO_MAX = 2 ** 48;

/** What the first pass learned. */
export interface Census {
  readonly rows: number;
  readonly inodes: number;
  readonly usedBytes: number;
  readonly highestIno: number;
  /** … that any row speaks of: what is left of a file must not become a new file's. */
  readonly highestNumber: number;
  /** Tables in which rows are damaged. */
  readonly damaged: ReadonlySet<number>;
}

const names = new Map<number, string>(Object.entries(TABLES).map(([name, tag]) => [tag, name]));

export async function checkEncoding(reading: Reading, findings: Findings): Promise<Census> {
  const damaged = new Set<number>();
  const unknown = new Map<number, number>();
  let [rows, inodes, usedBytes, highestIno, highestNumber] = [0, 0, 0, 0, 0];
  for await (const page of pagesOf(reading, { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: Number.MAX_SAFE_INTEGER }))
    for (const row of page) {
      rows++;
      const tag = row.key[0] ?? 0;
      if (!names.has(tag)) unknown.set(tag, (unknown.get(tag) ?? 0) + 1);
      highestNumber = Math.max(highestNumber, numberIn(row));
      const decode = DECODERS.get(tag);
      // The counters have a rule of their own.
      if (decode === undefined || tag === TABLES.counters) continue;
      if (tag === TABLES.inode) {
        const ino = attempt(() => parseNumberKey(row.key));
        const inode = ino === undefined ? undefined : attempt(() => decodeInode(ino, row.value));
        inodes++;
        usedBytes += inode?.allocatedBytes ?? 0;
        highestIno = Math.max(highestIno, ino ?? 0);
      }
      try {
        decode(row);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        damaged.add(tag);
        damagedRow(findings, tag, row.key, error.message);
      }
    }
  for (const [tag, count] of unknown)
    findings.add('row-unknown', {}, `${count} rows of a table that this version does not know (tag ${tag}) are left alone`);
  return { rows, inodes, usedBytes, highestIno, highestNumber, damaged };
}

/** The largest number of an inode in a row; 0: there is none, or it cannot be read. */
function numberIn(row: Row): number {
  const tag = row.key[0] ?? 0;
  if (!BY_INODE.has(tag)) return 0;
  const numbers = [attempt(() => new KeyReader(row.key).number())];
  if (tag === TABLES.dirent) numbers.push(attempt(() => parseDirent(row).ino));
  return Math.max(0, ...numbers.map((number = 0) => (number <= INO_MAX ? number : 0)));
}

function damagedRow(findings: Findings, table: number, key: Buffer, reason: string): void {
  const what = `a row of the table ${names.get(table) ?? '?'} (key ${key.toString('hex')}) cannot be read: ${reason}`;
  const ino = table === TABLES.inode ? attempt(() => parseNumberKey(key)) : undefined;
  const place = ino === undefined ? {} : { ino };
  const remedy = remedyOf(table, key);
  findings.add('row-damaged', place, what, remedy?.repair, remedy?.mend);
}

/** The pool's counters are what was counted. */
export async function checkCounters({ view }: Reading, findings: Findings, census: Census): Promise<void> {
  // A pool that was never mounted.
  if (census.inodes === 0) return;
  const row = await view.get(countersKey());
  const counters = row === undefined ? undefined : attempt(() => decodeCounters(row));
  const { inodes, usedBytes, highestNumber } = census;
  const nextIno = highestNumber + 1;
  if (counters === undefined)
    findings.add(
      'next-inode',
      {},
      `the counters of the pool ${row === undefined ? 'are missing' : 'cannot be read'}`,
      `they are counted anew: ${inodes} inodes, ${usedBytes} bytes; the next inode number is ${nextIno}`,
      async (change) => {
        change.counters = { inodes, usedBytes, nextIno };
        return true;
      },
    );
  else if (counters.nextIno <= highestNumber)
    findings.add(
      'next-inode',
      {},
      `the next inode number is ${counters.nextIno}, and there is something of inode ${highestNumber}`,
      `the next number is set to ${nextIno}`,
      async (change) => {
        const before = change.counters;
        change.counters = { ...before, nextIno: Math.max(nextIno, before.nextIno) };
        return true;
      },
    );
  // Sums over rows of which some cannot be read mean nothing.
  if (counters === undefined || census.damaged.has(TABLES.inode)) return;
  const exact: Counters = { ...counters, inodes, usedBytes };
  if (counters.inodes === exact.inodes && counters.usedBytes === exact.usedBytes) return;
  findings.add(
    'counters',
    {},
    `the pool counts ${counters.inodes} inodes and ${counters.usedBytes} bytes, there are ${exact.inodes} and ${exact.usedBytes}`,
    'the counters are set right',
    async (change) => {
      change.counters = { ...change.counters, inodes: exact.inodes, usedBytes: exact.usedBytes };
      return true;
    },
  );
}
