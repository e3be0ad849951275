/**
 * Chooses the history from what voters and journal hold: the most advanced log (by the epoch of its last entry, then by position), then what
 * the journal adds to it, cut behind the last barrier where an entry's data is not there. So the history stays a prefix (I4). Used by
 * recovery for a leader and for a read-only log alike. Changes nothing on disks.
 */
import { must } from '../base/assert.js';
import { LOG_BATCH_BYTES_MAX } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import type { EntryTable } from './entry-table.js';
import { History } from './history.js';
import { compareAdvance } from './point.js';
import type { QuorumOptions } from './quorum-log.js';
import { decodeRecord, followsPoint, type LogRecord } from './record.js';
import type { LogPoint } from './state-machine.js';
import type { VoterImage } from './voter-reader.js';

/** A voter that could be read. */
export interface ReadVoter {
  readonly disk: Disk;
  readonly image: VoterImage;
}

export interface RecoveredHistory {
  /** Sources are the voters' logs as far as they agree; the window holds what the journal added. */
  readonly history: History;
  /** Up to here a barrier says that all data was synced. */
  readonly covered: number;
  readonly cutEntries: number;
  readonly journalEntries: number;
}

/** Entries whose data is looked for at one time. */
const VERIFY_AT_ONCE = 16;

/**
 * @param voters whose logs count; their tables are cut to what agrees with the history
 * @param replicas where durable replicas stand: what they hold was covered by a barrier
 */
export async function recoverHistory(
  options: QuorumOptions,
  voters: readonly ReadVoter[],
  replicas: readonly LogPoint[],
): Promise<RecoveredHistory> {
  const best = mostAdvanced(voters.map((voter) => voter.image.table));
  const logEnd = best.last;
  const all = connect(logEnd, voters);
  const carried = fromJournal(options, logEnd);
  for (const record of carried) all.push(record);
  const applied = replicas.filter((point) => all.holds(point)).map((point) => point.position);
  const covered = Math.max(best.covered(logEnd.position), best.base.position, ...applied, ...carried.map((record) => record.covers));
  // What a recovery verified, and no barrier covers since, is looked at again: it may have died before it could say which shards are missing.
  const surveyed = Math.max(best.covered(logEnd.position, true), best.base.position, ...carried.map((record) => record.covers));
  const end = await verifiedEnd(options, all, Math.min(surveyed, covered), covered);
  if (end === all.head.position) return { history: all, covered, cutEntries: 0, journalEntries: carried.length };
  const cutEntries = await countData(all, end);
  const history = connect(must(all.pointAt(Math.min(end, logEnd.position)), 'the end was read'), voters);
  const kept = carried.filter((record) => record.entry.point.position <= end);
  for (const record of kept) history.push(record);
  return { history, covered, cutEntries, journalEntries: kept.length };
}

function mostAdvanced(tables: readonly EntryTable[]): EntryTable {
  const byAdvance = [...tables].sort((a, b) => compareAdvance(b.last, a.last));
  return must(byAdvance[0], 'there is a voter');
}

/** The history up to `end`, read from all voters that agree with it, also through each other. */
function connect(end: LogPoint, voters: readonly ReadVoter[]): History {
  const history = new History(end);
  let left = [...voters];
  for (let found = true; found;) {
    found = false;
    for (const voter of left) {
      const { table } = voter.image;
      const common = history.commonWith(table);
      if (common === undefined) continue;
      table.cut(common);
      history.setSource(voter.image.voter, { disk: voter.disk, table });
      left = left.filter((other) => other !== voter);
      found = true;
    }
  }
  return history;
}

/** The journal's records that continue the log at `end`. */
function fromJournal(options: QuorumOptions, end: LogPoint): LogRecord[] {
  const carried: LogRecord[] = [];
  let before = end;
  for (const bytes of options.journal.recover()) {
    const record = decodeRecord(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if (record === undefined) break;
    if (record.entry.point.position <= end.position) continue;
    if (!followsPoint(record, before)) break;
    carried.push(record);
    before = record.entry.point;
  }
  return carried;
}

/** The last position up to which the data of all entries is there, looking at those behind `surveyed`. Up to `covered` all stay. */
async function verifiedEnd(options: QuorumOptions, history: History, surveyed: number, covered: number): Promise<number> {
  const end = history.head.position;
  for (let position = surveyed; position < end;) {
    const records = await history.read(position + 1, end, LOG_BATCH_BYTES_MAX);
    for (let at = 0; at < records.length; at += VERIFY_AT_ONCE) {
      const some = records.slice(at, at + VERIFY_AT_ONCE);
      const good = await Promise.all(some.map(async (record) => record.entry.kind !== 'data' || options.verifyEntry(record.entry)));
      const bad = good.findIndex((there, index) => !there && must(some[index], 'in range').entry.point.position > covered);
      if (bad >= 0) return must(some[bad], 'in range').entry.point.position - 1;
    }
    position += records.length;
  }
  return end;
}

async function countData(history: History, end: number): Promise<number> {
  let count = 0;
  for (let position = end; position < history.head.position;) {
    const records = await history.read(position + 1, history.head.position, LOG_BATCH_BYTES_MAX);
    count += records.filter((record) => record.entry.kind === 'data').length;
    position += records.length;
  }
  return count;
}
