/**
 * Who belongs to a pool. A copy stands in every superblock; of all that can be read the newest is right, by (epoch, version). How it changes is
 * argued in src/quorum/README.md: one voter at a time, by the leader of the log alone, durable on a majority of the old and of the new voters.
 */
import type { DiskNumber, Uuid } from '../base/ids.js';

/** data: holds shards (and may vote); witness: a small directory elsewhere that only votes. */
export type MemberRole = 'data' | 'witness';

/**
 * active: takes new shards; draining: takes none, is still read, and leaves when it is empty; failed: the operator said that it will not come back,
 * so its shards count as missing for good.
 */
export type MemberState = 'active' | 'draining' | 'failed';

export interface Member {
  /** Given when it joins, never given again. */
  readonly number: DiskNumber;
  readonly id: Uuid;
  readonly role: MemberRole;
  readonly state: MemberState;
  readonly voter: boolean;
  /** Disks of one zone fail together; undefined: its own zone. */
  readonly zone: string | undefined;
  /** Where it was last seen; a hint only, the id decides. */
  readonly directory: string;
}

export interface Membership {
  /** The epoch of the leader that made this change; 0 as `init` made it. */
  readonly epoch: number;
  /** Grows with each change. */
  readonly version: number;
  readonly poolId: Uuid;
  readonly poolName: string;
  /** The code of new blobs. */
  readonly k: number;
  readonly m: number;
  /** The highest number that was ever given. */
  readonly lastNumber: DiskNumber;
  readonly members: readonly Member[];
}

type Stamp = Pick<Membership, 'epoch' | 'version'>;

/** Positive where `a` is the newer one; 0 for the same. */
export function compareMemberships(a: Stamp, b: Stamp): number {
  return a.epoch - b.epoch || a.version - b.version;
}

/** Is `a` newer than `b`, or is there no `b`? */
export function isNewer(a: Stamp, b: Stamp | undefined): boolean {
  return b === undefined || compareMemberships(a, b) > 0;
}
