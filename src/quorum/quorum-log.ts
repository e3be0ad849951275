/** The replicated log's public face. The rules and the files are described in README.md beside this file. */
import type { Disk } from '../disk/disk.js';
import type { Clock } from '../base/clock.js';
import type { OperatingError } from '../base/errors.js';
import type { LogEntry, LogPoint, ReplicaStore, WorkingReplica } from './state-machine.js';

/** A place that votes: a pool disk or a witness directory. */
export interface Voter {
  /** The number of the disk (or witness) in the pool's membership. */
  readonly number: number;
  /** undefined: absent now. */
  readonly disk: Disk | undefined;
}

/** online: follows; behind: being brought up; broken: damaged below its mark or its files are gone; absent: no disk. */
export type VoterState = 'online' | 'behind' | 'broken' | 'absent';

export interface VoterStatus {
  readonly number: number;
  readonly state: VoterState;
  /** How far it is synced, 0 if unknown. */
  readonly syncedPosition: number;
  readonly replicaPosition: number;
  /** Why it is not online. */
  readonly reason: string | undefined;
}

export interface QuorumOptions {
  readonly poolId: string;
  readonly clock: Clock;
  readonly voters: readonly Voter[];
  /** Voters that must have synced a batch before it is durable: at least a majority, and at least m+1 (or all). */
  readonly acknowledgements: number;
  readonly working: WorkingReplica;
  readonly replicas: ReplicaStore;
  readonly journal: Journal;
  /** ms between flushes when nobody asks. */
  readonly commitIntervalMs: number;
  /** ms; default MARK_INTERVAL_MS. 0: with each append. */
  readonly markIntervalMs?: number;
  /** All voters are asked to write at the same time, whether or not so many are needed. */
  readonly allVotersAtOnce?: boolean;
  /**
   * Makes durable on the data disks what all entries appended so far point to. Called at the start of every flush, before the voters are
   * written. Resolves false when it had to append entries itself (shards moved after a failed sync): the flush then takes these in and asks again.
   */
  readonly syncData: () => Promise<boolean>;
  /**
   * Recovery: may this entry behind the last barrier stay, i.e. is all data there that it points to? Asked also of entries that an earlier recovery kept, as
   * long as no barrier came after it: whoever answers notes which of the data is there in part, and records that before anything else is appended.
   */
  readonly verifyEntry: (entry: LogEntry) => Promise<boolean>;
  /**
   * Asked after the promise: is the membership that names these voters still the newest on all disks? Otherwise another process changed it, and the
   * opening fails with ESTALE.
   */
  readonly membershipStands?: () => Promise<boolean>;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;
  /** A voter was taken out because a call on its disk failed; it is also logged. */
  readonly voterFailed?: (number: number, error: OperatingError) => void;
}

/** Who votes from now on. */
export interface VoterChange {
  readonly voters: readonly number[];
  readonly acknowledgements: number;
}

/** A bounded ring in shared memory that outlives the daemon, not the boot: where an appended entry lands first. */
export interface Journal {
  readonly capacityBytes: number;
  /** Bytes that can still be appended before older entries are dropped. */
  freeBytes(): number;
  /** Copies an encoded entry in; it is there for the next process as soon as this returns. */
  append(record: Uint8Array): void;
  /** Drops entries up to and including `position` (they are durable). */
  trim(position: number): void;
  /** What an earlier process of this boot left, oldest first; empty after a boot, or where it does not belong to this pool. */
  recover(): Uint8Array[];
  /** Starts empty. */
  reset(): void;
  close(): void;
}

export interface QuorumLog {
  /** False: no majority. Reads work, appends are refused with EROFS. */
  readonly writable: boolean;
  /** Why not, and what to do, for the operator. */
  readonly readOnlyReason: string | undefined;
  /** What a change is refused with while it is not writable: ENOSPC when voters that have no room would make the majority. */
  readonly refusalCode: 'EROFS' | 'ENOSPC';
  /** The epoch of this leadership. */
  readonly epoch: number;
  /** The last appended entry. */
  readonly head: LogPoint;
  /** Everything up to here is durable. */
  readonly durablePosition: number;
  /** Waits until an entry of `payloadBytes` fits into the journal; undefined when it does now (no await needed). */
  reserve(payloadBytes: number): Promise<void> | undefined;
  /**
   * Appends a data entry to the journal and applies it to the working replica: committed when this returns. `reserve` must have
   * resolved in the same turn. Copies the payload.
   * @throws OperatingError EROFS without a majority.
   */
  append(payload: Uint8Array): number;
  /** Resolves when everything up to `position` is durable; starts a flush if needed. Rejects with EIO/EROFS when that cannot be. */
  durable(position: number): Promise<void>;
  /** A disk left (undefined) or came back. If it votes or learns, a returned one is brought up in the background. */
  setVoterDisk(number: number, disk: Disk | undefined): void;
  voters(): VoterStatus[];
  /**
   * Makes a disk follow without counting: gives it a promise, a replica and a log as far as it lacks them. Resolves when it follows. Does nothing
   * more for one that follows already.
   * @throws OperatingError EIO: why it could not be brought up; it is no learner then. EROFS.
   */
  addLearner(number: number, disk: Disk): Promise<void>;
  /** A learner that is not to become a voter after all. */
  dropLearner(number: number): Promise<void>;
  /**
   * Changes who votes by at most one; a new voter must be a learner that follows. Resolves when an entry is durable under the new set. May be called
   * again with the same set after a failure. Only change-membership.ts calls it: the new membership must stand in superblocks before.
   * @throws OperatingError EROFS: no majority now; the new set is in force.
   */
  changeVoters(change: VoterChange): Promise<void>;
  /** Flushes, brings durable replicas up to the last barrier, closes all files. */
  close(): Promise<void>;
}

export interface OpenedLog {
  readonly log: QuorumLog;
  /** Entries behind the last barrier that were cut because their data was not there. */
  readonly cutEntries: number;
  /** Entries taken over from the journal. */
  readonly journalEntries: number;
}

export type OpenQuorumLog = (options: QuorumOptions) => Promise<OpenedLog>;
