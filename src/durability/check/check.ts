/**
 * The check of a whole pool (fsck): every rule of src/index/schema/README.md and that the records are there which the index points to. It reads a view of the
 * index at one position, so a pool in use gives no false alarms; what it says of records it asks once more of the index as it is then.
 *
 *   encoding (census) ─▶ names ─▶ contents ─▶ blobs ─▶ quotas ─▶ counters ─▶ records
 *
 * `repair` does what the findings say, one transaction for each, stage by stage, and checks again until nothing can be done any more. Nothing is dropped that
 * holds data: what lost its name goes to /lost+found. It is called on a pool that nobody uses. Fails closed: an error of reading ends it.
 */
import type { Clock } from '../../base/clock.js';
import { CHECK_FINDINGS_MAX, CHECK_ROUNDS_MAX } from '../../base/limits.js';
import type { IndexStore } from '../../index/index-store.js';
import { TABLES } from '../../index/schema/tables.js';
import type { Ledger } from '../../namespace/ledger.js';
import type { Storage } from '../../storage/storage.js';
import { checkBlobs } from './blobs.js';
import { checkContents } from './contents.js';
import { checkCounters, checkEncoding, type Census } from './encoding.js';
import { Findings, RULES, type Finding, type FindingCode, type Mendable } from './finding.js';
import { checkNames } from './names.js';
import { checkQuotas } from './quotas.js';
import { checkRecords, type RecordDepth, type RecordsReport } from './records.js';
import type { Reading } from './rows.js';

export interface CheckOptions {
  readonly index: IndexStore;
  readonly clock: Pick<Clock, 'yield'>;
  /** Which disks the pool has; undefined: not known. */
  readonly disks?: ReadonlySet<number>;
  /** What to read of the records; 'none': the index alone. */
  readonly records?: { readonly storage: Pick<Storage, 'inspect'>; readonly depth: RecordDepth };
  /** Told what is being looked at, and how many rows or blobs of it were. */
  readonly progress?: (phase: CheckPhase, done: number, total: number) => void;
  /** Called often; throws to end the check early. */
  readonly checkpoint?: () => Promise<void> | void;
}

export type CheckPhase = 'rows' | 'names' | 'contents' | 'blobs' | 'quotas' | 'records';

export interface CheckReport {
  readonly position: number;
  readonly rows: number;
  readonly findings: readonly Finding[];
  readonly counts: Readonly<Partial<Record<FindingCode, number>>>;
  /** Findings; those that are not listed too. */
  readonly total: number;
  readonly records: RecordsReport | undefined;
}

interface Checked {
  readonly report: CheckReport;
  readonly mendable: readonly Mendable[];
}

/** Looks at everything and changes nothing. */
export async function check(options: CheckOptions): Promise<CheckReport> {
  return (await look(options)).report;
}

async function look(options: CheckOptions): Promise<Checked> {
  const { index, clock, disks, records } = options;
  const findings = new Findings(CHECK_FINDINGS_MAX);
  const view = index.view();
  try {
    let phase: CheckPhase = 'rows';
    let done = 0;
    let total = 0;
    const pause = async (rows: number): Promise<void> => {
      done += rows;
      options.progress?.(phase, done, total);
      await options.checkpoint?.();
      await clock.yield();
    };
    const reading: Reading = { view, pause };
    const begin = (next: CheckPhase, rows: number): void => {
      phase = next;
      done = 0;
      total = rows;
    };
    const census = await checkEncoding(reading, findings);
    begin('names', census.rows);
    await checkNames(reading, findings, census.highestIno);
    begin('contents', census.rows);
    await checkContents(reading, findings);
    begin('blobs', census.rows);
    await checkBlobs(reading, findings, { disks, doubtful: refersDoubtfully(census) });
    begin('quotas', census.rows);
    await checkQuotas(reading, findings, census);
    await checkCounters(reading, findings, census);
    begin('records', 0);
    const found = records === undefined ? undefined : await checkRecords({ ...records, index, view, pause, findings });
    const counts = Object.fromEntries(findings.counts) as CheckReport['counts'];
    const report = {
      position: view.position,
      rows: census.rows,
      findings: findings.all.map(shown),
      counts,
      total: findings.total,
      records: found,
    };
    return { report, mendable: findings.all };
  } finally {
    view.close();
  }
}

/** Rows that refer to blobs, or decide which content is whose, cannot be read: then nobody can say that a blob is not needed. */
function refersDoubtfully({ damaged }: Census): boolean {
  return [TABLES.extent, TABLES.part, TABLES.inode].some((table) => damaged.has(table));
}

/** Without the function that repairs it. */
function shown({ code, severity, message, repair: what, ino, blob, parent, name }: Mendable): Finding {
  const place = { ...(ino !== undefined && { ino }), ...(blob !== undefined && { blob }), ...(parent !== undefined && { parent, name }) };
  return { code, severity, message, repair: what, ...place };
}

function withoutRecords({ index, clock, disks, progress, checkpoint }: CheckOptions): CheckOptions {
  return { index, clock, ...(disks && { disks }), ...(progress && { progress }), ...(checkpoint && { checkpoint }) };
}

export interface RepairReport {
  /** What was found at first. */
  readonly before: CheckReport;
  /** What was done, in order. */
  readonly repaired: readonly Finding[];
  /** What is left. */
  readonly after: CheckReport;
}

/**
 * Checks, repairs what can be, and checks again. Nobody may use the pool meanwhile.
 * @param told of the steps of each stage before the first of them is done
 */
export async function repair(
  options: CheckOptions & { readonly ledger: Ledger; readonly told?: (steps: readonly Finding[]) => Promise<void> | void },
): Promise<RepairReport> {
  const { index, ledger, told } = options;
  let checked = await look(options);
  const before = checked.report;
  const repaired: Finding[] = [];
  // Once is enough for the records: what is bad is recorded, and heal's work.
  const again = withoutRecords(options);
  // While there is less to do each time it goes on; what makes new work is given up at some point.
  for (let round = 0, least = Infinity; round < CHECK_ROUNDS_MAX || checked.report.total < least; round++) {
    least = Math.min(least, checked.report.total);
    const mendable = checked.mendable.filter(({ mend }) => mend !== undefined);
    const stage = Math.min(...mendable.map(({ code }) => RULES[code].stage));
    const steps = mendable.filter(({ code }) => RULES[code].stage === stage);
    if (steps.length > 0) await told?.(steps.map(shown));
    let done = 0;
    for (const finding of steps) {
      const { mend } = finding;
      if (mend === undefined) continue;
      await options.checkpoint?.();
      const { value } = await ledger.change((change) => {
        change.quotas.enforced = false;
        return mend(change);
      });
      if (!value) continue;
      done++;
      if (repaired.length < CHECK_FINDINGS_MAX) repaired.push(shown(finding));
    }
    if (done === 0) break;
    await index.durable();
    checked = await look(again);
  }
  return { before, repaired, after: checked.report };
}
