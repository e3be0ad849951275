/** Who belongs to a pool. A copy stands in every superblock; the one with the highest version is right. */
import type { DiskNumber, Uuid } from '../base/ids.js';

/** data: holds shards (and may vote); witness: a small directory elsewhere that only votes. */
export type MemberRole = 'data' | 'witness';

export interface Member {
  /** Given when it joins, never given again. */
  readonly number: DiskNumber;
  readonly id: Uuid;
  readonly role: MemberRole;
  readonly voter: boolean;
  /** Disks of one zone fail together; undefined: its own zone. */
  readonly zone: string | undefined;
  /** Where it was last seen; a hint only, the id decides. */
  readonly directory: string;
}

export interface Membership {
  /** Grows with each change. */
  readonly version: number;
  readonly poolId: Uuid;
  readonly poolName: string;
  /** The code of new blobs. */
  readonly k: number;
  readonly m: number;
  readonly members: readonly Member[];
}
