/**
 * First pass of a check: every row of every table can be decoded. On the way it counts what the pool's counters must say; last comes what was counted. Rows
 * that can be made again from others are dropped by a repair, and made again by the rules that miss them.
 */
import { DecodeError } from '../../base/bytes.js';
import { decodeInode } from '../../index/schema/inode-row.js';
import { countersKey, parseNumberKey, TABLES } from '../../index/schema/tables.js';
import { decodeCounters, type Counters } from '../../index/schema/work-rows.js';
import type { Findings } from './finding.js';
import { attempt, DECODERS, pagesOf, type Reading } from './rows.js';

/** Their content follows from other rows. */
const DERIVED: ReadonlySet<number> = new Set([TABLES.order, TABLES.references, TABLES.endangered, TABLES.packable, TABLES.orphan]);

/** What the first pass learned. */
export interface Census {
  readonly rows: number;
  readonly inodes: number;
  readonly usedBytes: number;
  readonly highestIno: number;
  /** Tables in which rows are damaged. */
  readonly damaged: ReadonlySet<number>;
}

const names = new Map<number, string>(Object.entries(TABLES).map(([name, tag]) => [tag, name]));

export async function checkEncoding(reading: Reading, findings: Findings): Promise<Census> {
  const damaged = new Set<number>();
  const unknown = new Map<number, number>();
  let [rows, inodes, usedBytes, highestIno] = [0, 0, 0, 0];
  for await (const page of pagesOf(reading, { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: Number.MAX_SAFE_INTEGER }))
    for (const row of page) {
      rows++;
      const tag = row.key[0] ?? 0;
      if (!names.has(tag)) unknown.set(tag, (unknown.get(tag) ?? 0) + 1);
      const decode = DECODERS.get(tag);
      if (decode === undefined) continue;
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
  return { rows, inodes, usedBytes, highestIno, damaged };
}

function damagedRow(findings: Findings, table: number, key: Buffer, reason: string): void {
  const what = `a row of the table ${names.get(table) ?? '?'} (key ${key.toString('hex')}) cannot be read: ${reason}`;
  const ino = table === TABLES.inode ? attempt(() => parseNumberKey(key)) : undefined;
  const place = ino === undefined ? {} : { ino };
  if (!DERIVED.has(table)) findings.add('row-damaged', place, what);
  else
    findings.add('row-damaged', place, what, 'the row is dropped; what it said is made again from other rows', async ({ tx }) => {
      const row = await tx.get(key);
      if (row === undefined || attempt(() => DECODERS.get(table)?.({ key, value: row })) !== undefined) return false;
      tx.delete(key);
      return true;
    });
}

/** The pool's counters are what was counted. */
export async function checkCounters({ view }: Reading, findings: Findings, census: Census): Promise<void> {
  // A pool that was never mounted.
  if (census.inodes === 0) return;
  const row = await view.get(countersKey());
  const counters = row === undefined ? undefined : attempt(() => decodeCounters(row));
  if (counters === undefined || counters.nextIno <= census.highestIno) {
    const nextIno = census.highestIno + 1;
    const found = counters === undefined ? 'the counters of the pool are missing' : `the next inode number is ${counters.nextIno}`;
    findings.add(
      'next-inode',
      {},
      `${found}, and inode ${census.highestIno} exists`,
      `the next number is set to ${nextIno}`,
      async (change) => {
        const before = change.counters;
        change.counters = { ...before, nextIno: Math.max(nextIno, before.nextIno) };
        return true;
      },
    );
  }
  // Sums over rows of which some cannot be read mean nothing.
  if (counters === undefined || census.damaged.has(TABLES.inode)) return;
  const exact: Counters = { ...counters, inodes: census.inodes, usedBytes: census.usedBytes };
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
