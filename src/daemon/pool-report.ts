/** Fills in the status of an open pool. */
import { DecodeError } from '../base/bytes.js';
import { systemClock } from '../base/clock.js';
import type { DrainResult } from '../durability/drain.js';
import type { HealResult } from '../durability/heal.js';
import { keepsUnknown } from '../durability/orphans.js';
import { countEndangered, diskLevel } from '../durability/survey.js';
import { formatCode } from './code.js';
import type { CountedContents } from './disk-contents.js';
import type { FrontEndReport } from './front-end-report.js';
import type { Pool } from './pool.js';
import {
  jobReport,
  shownState,
  type CountReport,
  type DiskReport,
  type PoolHealth,
  type StatusReport,
  type VoterReport,
} from './status-report.js';

export interface ReportOptions {
  readonly pool: Pool;
  readonly name: string;
  readonly mountpoint: string | undefined;
  /** Open without a mount for this verb. */
  readonly work?: string | undefined;
  /** Mounted read-only because the operator wanted it so. */
  readonly readOnly: boolean;
  /** Of the mount, where there is one. */
  readonly frontEnd?: FrontEndReport | null;
}

export async function reportPool(options: ReportOptions): Promise<StatusReport> {
  const { pool, name, mountpoint, work } = options;
  const { membership } = pool.diskSet;
  const status = pool.namespace.status();
  const capacity = await pool.storage.capacity();
  const endangered = await countEndangered(pool.index, systemClock);
  const counted = await pool.contents.current();
  const disks = await Promise.all(pool.diskSet.members().map((each) => diskReport(each, endangered > 0, counted)));
  const { log } = pool;
  return {
    pool: name,
    pool_id: membership.poolId,
    state: mountpoint === undefined ? 'unmounted' : options.readOnly || pool.readOnlyReason !== undefined ? 'read-only' : 'mounted',
    health: health(membership.m, disks, endangered),
    messages: messages(options, disks, endangered, await keepsUnknownSurely(pool.index)),
    code: formatCode(membership),
    mountpoint: mountpoint ?? null,
    work: work ?? null,
    disks,
    voters: voterReports(pool),
    usable_bytes: capacity.usableBytes,
    used_bytes: status.usedBytes,
    free_bytes: capacity.usableFreeBytes,
    endangered_blobs: endangered,
    last_count: lastCount(pool),
    troubles: (pool.services?.troubles() ?? []).map(({ service, error }) => ({ service, code: error.code, message: error.message })),
    jobs: pool.jobs
      .all()
      .filter(({ state }) => state !== 'idle')
      .map(jobReport),
    objects: status.inodes,
    log: { epoch: log.epoch, position: log.head.position, durable_position: log.durablePosition },
    daemon_pid: process.pid,
    front_end: options.frontEnd ?? null,
  };
}

type Member = ReturnType<Pool['diskSet']['members']>[number];

async function diskReport(each: Member, endangered: boolean, counted: CountedContents | undefined): Promise<DiskReport> {
  const { member, state, disk, reason, errors, returned, reservedBytes } = each;
  // A disk that does not answer now is about to be taken out: its space is unknown.
  const capacity = await disk?.capacity().catch(() => undefined);
  const usedBytes = capacity === undefined ? 0 : capacity.totalBytes - capacity.freeBytes;
  // A witness has none, and a disk that is out keeps what it had.
  const content =
    member.role === 'data' && counted !== undefined ? (counted.disks.get(member.number) ?? { shards: 0, bytes: 0 }) : undefined;
  return {
    path: disk?.directory ?? member.directory,
    id: member.id,
    number: member.number,
    role: member.role,
    zone: member.zone ?? null,
    state: shownState(state, member.state, endangered && returned && member.role === 'data'),
    present: disk !== undefined,
    reason: reason?.message ?? null,
    voter: member.voter,
    size_bytes: capacity?.totalBytes ?? 0,
    used_bytes: usedBytes,
    free_bytes: capacity?.freeBytes ?? 0,
    shards: content?.shards ?? null,
    shard_bytes: content?.bytes ?? null,
    reserve_bytes: reservedBytes,
    other_bytes: content === undefined || capacity === undefined ? null : Math.max(0, usedBytes - content.bytes - reservedBytes),
    level: content === undefined || capacity === undefined ? null : diskLevel(content.bytes, capacity.freeBytes),
    counted_at: content === undefined ? null : (counted?.countedAt ?? null),
    errors,
  };
}

function lastCount({ jobs }: Pool): CountReport | null {
  const found = jobs.lastResult('heal')?.result as HealResult | undefined;
  if (found === undefined) return null;
  const { whole, blobs, endangeredBlobs, outBlobs, countedAt } = found;
  return { whole, blobs, endangered_blobs: endangeredBlobs, out_blobs: outBlobs, counted_at: countedAt };
}

function voterReports(pool: Pool): VoterReport[] {
  const members = new Map(pool.diskSet.members().map((each) => [each.member.number, each]));
  return pool.log.voters().map((voter) => {
    const found = members.get(voter.number);
    return {
      path: found?.disk?.directory ?? found?.member.directory ?? `disk ${voter.number}`,
      state: voter.state,
      reason: voter.reason ?? null,
      synced_position: voter.syncedPosition,
      replica_position: voter.replicaPosition,
    };
  });
}

function health(m: number, disks: readonly DiskReport[], endangered: number): PoolHealth {
  const out = disks.filter(({ role, state }) => role === 'data' && state === 'offline').length;
  if (out > m) return 'failing';
  if (endangered > 0) return 'endangered';
  return disks.some(({ state }) => state === 'offline') ? 'degraded' : 'good';
}

/** Nothing is given up while nobody can say. */
async function keepsUnknownSurely(index: Pool['index']): Promise<boolean> {
  try {
    return await keepsUnknown(index);
  } catch (error) {
    if (error instanceof DecodeError) return true;
    throw error;
  }
}

function drainMessages(pool: Pool): string[] {
  const draining = pool.diskSet.membership.members.filter(({ role, state }) => role === 'data' && state === 'draining');
  const drained = new Set((pool.jobs.lastResult('drain')?.result as DrainResult | undefined)?.emptyDisks);
  return draining.map(({ number }) =>
    drained.has(number)
      ? `Disk ${number} is empty: remove it with "ostraka disk remove".`
      : `Disk ${number} is being drained${pool.jobs.isActive('drain') ? '' : ', which is not under way now: "ostraka disk drain" goes on with it'}.`,
  );
}

function messages({ pool, readOnly }: ReportOptions, disks: readonly DiskReport[], endangered: number, keptUnknown: boolean): string[] {
  const { m } = pool.diskSet.membership;
  const out = disks.filter(({ role, state }) => role === 'data' && state === 'offline').length;
  const found: string[] = [];
  if (pool.readOnlyReason !== undefined) found.push(`The pool is read-only: ${pool.readOnlyReason}`);
  else if (readOnly) found.push('The pool was mounted read-only.');
  if (out > m) found.push(`${out} disks are out and the code makes up for ${m}: some files give EIO until disks return.`);
  else if (out > 0) found.push(`${out} of ${m} tolerable disks are out: bring them back or replace them.`);
  if (endangered > 0) found.push(`${endangered} blobs lack shards, or have damaged ones: heal rebuilds them as soon as disks allow.`);
  if (keptUnknown) found.push('Data that no name leads to is kept since a recovery: "ostraka recover --discard-unknown" gives it up.');
  found.push(...drainMessages(pool));
  for (const { service, error } of pool.services?.troubles() ?? [])
    found.push(`In the background, ${service} stopped and is tried again: ${error.message} (${error.code}).`);
  const broken = pool.log.voters().filter(({ state }) => state === 'broken').length;
  if (broken > 0) found.push(`${broken} voters are broken; they are rebuilt from the others while a majority is there.`);
  return found;
}
