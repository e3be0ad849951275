/**
 * What the quorum log drives. `index/` is one state machine (SQLite); the simulation has one in memory. The log knows
 * nothing of what entries mean.
 */
import type { Disk } from '../disk/disk.js';

/** A point of the history. Position 0, epoch 0 and a chain of zeros is the empty history. */
export interface LogPoint {
  /** Entries are numbered from 1 without gaps. */
  readonly position: number;
  /** Epoch of the entry at this position. */
  readonly epoch: number;
  /** Checksum over that entry and, by its own chain field, all before it; 16 bytes (XXH3-128). */
  readonly chain: Uint8Array;
}

/** data: a transaction's write set; barrier: everything before it is durable; lead: the first entry of an epoch. */
export type EntryKind = 'data' | 'barrier' | 'lead';

export interface LogEntry {
  readonly point: LogPoint;
  readonly kind: EntryKind;
  /** Empty unless `kind` is data. */
  readonly payload: Uint8Array;
}

/** Records of a log that lie in one file, in order, with nothing but zeros up to the end of a block between them. */
export interface LogPiece {
  /** Within the disk. */
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Entries that follow each other, where a voter's log has them. Who applies them reads them there, and checks that they are those: log-run.ts. */
export interface LogRun {
  /** Before the first one, and of the last one. */
  readonly from: LogPoint;
  readonly to: LogPoint;
  readonly disk: Disk;
  readonly pieces: readonly LogPiece[];
}

/** The replica that serves reads. Disposable: valid within one boot, made anew from a durable one otherwise. */
export interface WorkingReplica {
  /** Where it stands; undefined: unusable, must be rebuilt. */
  readonly point: LogPoint | undefined;
  /** Applies the next entry (its position is point.position + 1). Synchronous and in memory as far as the caller can tell. */
  apply(entry: LogEntry): void;
  /** Undefined: there is room for more entries. Otherwise look again once it resolves; it never rejects. Who applies without asking uses memory without a bound. */
  room(): Promise<void> | undefined;
  /** Becomes a copy of a durable replica, or empty where there is none. */
  rebuildFrom(source: DurableReplica | undefined): Promise<void>;
}

/** A voter's replica on its disk; never ahead of the last barrier. All work happens off the main thread. */
export interface DurableReplica {
  /** Where it stands, durably; undefined: none or damaged. An empty new one stands at position 0. */
  readonly point: LogPoint | undefined;
  /**
   * Applies entries that follow its point in one durable step (in which rows that come and go may cancel out).
   * @throws OperatingError EBADMSG where the log has others, or damaged ones: the replica stands where it stood
   */
  apply(run: LogRun): Promise<void>;
  /** Replaces this replica by a copy of another one. Atomic: a crash leaves the old one, the new one, or none. */
  rebuildFrom(source: DurableReplica): Promise<void>;
  /** Throws this replica away and starts an empty one. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** Opens the durable replica that lives in directory `directory` of a voter's disk; creates an empty one if none is there. */
export interface ReplicaStore {
  open(voter: Disk, directory: string): Promise<DurableReplica>;
}
