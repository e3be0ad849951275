/**
 * What `ostraka status --json` prints, for a pool that is mounted (the daemon fills it in) and for one that is not (superblocks tell). The names
 * are stable: scripts depend on them.
 */
import type { DiskState } from '../disk/disk-set.js';
import type { MemberState } from '../disk/membership.js';
import type { Job, JobState } from '../durability/progress.js';
import type { VoterState } from '../quorum/quorum-log.js';
import type { FrontEndReport } from './front-end-report.js';

/**
 * mounted; read-only (mounted without a majority of voters, or by `-o ro`); unmounted; dead: the daemon died and left its mount behind, the
 * next mount cleans up.
 */
export type PoolState = 'mounted' | 'read-only' | 'unmounted' | 'dead';

/**
 * good: every disk is there; degraded: some are not, data has less protection; endangered: some blobs have fewer shards than they should;
 * failing: more disks are out than the code has parity; unknown: not mounted.
 */
export type PoolHealth = 'good' | 'degraded' | 'endangered' | 'failing' | 'unknown';

/**
 * online; suspect: it is in, but slow or failing now and then; offline; failed: given up by the operator; draining: what it holds is moved to others;
 * healing: it came (back) in this session and some blobs still lack shards. The diagram is in src/disk/README.md.
 */
export type ShownDiskState = 'online' | 'suspect' | 'offline' | 'failed' | 'draining' | 'healing';

export interface DiskReport {
  readonly path: string;
  readonly id: string;
  readonly number: number;
  readonly role: 'data' | 'witness';
  readonly zone: string | null;
  /** While unmounted, online means that the superblock can be read and names this pool. */
  readonly state: ShownDiskState;
  /** Can it be read now? */
  readonly present: boolean;
  /** Why it is offline. */
  readonly reason: string | null;
  /** Does it vote on the index? */
  readonly voter: boolean;
  /** Of its file system. */
  readonly size_bytes: number;
  readonly used_bytes: number;
  readonly free_bytes: number;
  /**
   * The pool's part of what is used. Shards that files, snapshots of them or heal need now, by the index as last counted (`counted_at`); null while that is not
   * known, and while unmounted. What was deleted and is not given back yet does not count.
   */
  readonly shards: number | null;
  readonly shard_bytes: number | null;
  /** Kept free from other programs, for the time when the disk is full. */
  readonly reserve_bytes: number;
  /** All else: log, replica and snapshots of the index, what is about to be given back, what the file system takes, and other programs' files. */
  readonly other_bytes: number | null;
  /** 0 … 1: the part that shards take of what the disk has for them. Rebalance makes it even. */
  readonly level: number | null;
  /** Seconds since 1970. */
  readonly counted_at: number | null;
  readonly errors: number;
}

export interface VoterReport {
  readonly path: string;
  readonly state: VoterState | 'unknown';
  readonly reason: string | null;
  readonly synced_position: number;
  readonly replica_position: number;
}

/** A long-running job: what it does, or how its last run ended. Times are seconds since 1970. */
export interface JobReport {
  readonly kind: string;
  readonly state: JobState;
  readonly done_bytes: number;
  /** 0: not known. */
  readonly total_bytes: number;
  readonly done_items: number;
  readonly total_items: number;
  /** Bytes; items where no bytes are counted. */
  readonly rate_per_second: number;
  readonly seconds_left: number | null;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly message: string | null;
  /** What the last run that ended found. */
  readonly result: unknown;
}

/** A job as scripts see it. */
export function jobReport(job: Job): JobReport {
  return {
    kind: job.kind,
    state: job.state,
    done_bytes: job.doneBytes,
    total_bytes: job.totalBytes,
    done_items: job.doneItems,
    total_items: job.totalItems,
    rate_per_second: Math.round(job.ratePerSecond),
    seconds_left: job.secondsLeft,
    started_at: job.startedAt,
    finished_at: job.finishedAt,
    message: job.message,
    result: job.result,
  };
}

/** … and back. */
export function jobOf(report: JobReport): Job {
  return {
    kind: report.kind,
    state: report.state,
    doneBytes: report.done_bytes,
    totalBytes: report.total_bytes,
    doneItems: report.done_items,
    totalItems: report.total_items,
    ratePerSecond: report.rate_per_second,
    secondsLeft: report.seconds_left,
    startedAt: report.started_at,
    finishedAt: report.finished_at,
    message: report.message,
    result: report.result,
  };
}

/** The last time that all blobs of the pool were counted. */
export interface CountReport {
  /** Every blob had all its shards, each on a disk that was in. */
  readonly whole: boolean;
  readonly blobs: number;
  readonly endangered_blobs: number;
  /** Whole but for shards on disks that were out. */
  readonly out_blobs: number;
  /** Seconds since 1970. */
  readonly counted_at: number;
}

export interface TroubleReport {
  /** What it was doing, in words. */
  readonly service: string;
  readonly code: string;
  readonly message: string;
}

export interface StatusReport {
  readonly pool: string;
  readonly pool_id: string;
  readonly state: PoolState;
  readonly health: PoolHealth;
  /** What is wrong and what to do, one sentence each. */
  readonly messages: readonly string[];
  /** K+M */
  readonly code: string;
  readonly mountpoint: string | null;
  /** While unmounted: the verb of a command that has the pool open, null where there is none. */
  readonly work: string | null;
  readonly disks: readonly DiskReport[];
  readonly voters: readonly VoterReport[];
  /** Space for user data under the code: all of it, used, free. 0 while unmounted. */
  readonly usable_bytes: number;
  readonly used_bytes: number;
  readonly free_bytes: number;
  readonly endangered_blobs: number;
  /** Null: not counted yet, or not mounted. */
  readonly last_count: CountReport | null;
  /** Background services that failed when they last ran, and try again. Nothing is deleted on suspicion: an error stops them. */
  readonly troubles: readonly TroubleReport[];
  /** Long-running jobs that run, or ran; none while unmounted. */
  readonly jobs: readonly JobReport[];
  /** Inodes. */
  readonly objects: number;
  /** Null while unmounted. */
  readonly log: {
    readonly epoch: number;
    readonly position: number;
    readonly durable_position: number;
  } | null;
  readonly daemon_pid: number | null;
  /** Null while unmounted. */
  readonly front_end: FrontEndReport | null;
}

/** What users see of a disk: what the operator wants with it counts for more than how the device answers. */
export function shownState(device: DiskState, member: MemberState, healing: boolean): ShownDiskState {
  if (member === 'failed') return 'failed';
  if (device === 'offline') return 'offline';
  if (member === 'draining') return 'draining';
  if (device === 'suspect') return 'suspect';
  return healing ? 'healing' : 'online';
}

/** The pool in one line, for a service manager. */
export function summaryOf({ state, mountpoint, health, disks, messages }: StatusReport): string {
  const there = disks.filter(({ present }) => present).length;
  const where = `${state === 'read-only' ? 'Read-only' : 'Mounted'} at ${mountpoint ?? '?'}`;
  return [`${where}: health ${health}, ${there} of ${disks.length} disks.`, ...messages].join(' ');
}
