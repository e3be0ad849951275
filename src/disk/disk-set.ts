/**
 * The disks of one pool and which of them are in. It opens and locks them, probes them every `PROBE_INTERVAL_MS`, takes one out when it
 * vanishes, is replaced by something else, errors or stalls, and brings it back by itself. Both the data plane and the quorum log
 * ask it, and are told of each change.
 *
 *   online ──(probe fails, I/O error, stall)──▶ offline ──(probe finds it good and locks it again)──▶ online
 */
import type { Disk } from './disk.js';
import type { Member, Membership } from './membership.js';
import type { Fence } from './membership-writer.js';
import type { OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';

/**
 * The device, as it answers: online; suspect: it is in, but a probe is late or calls failed lately, so reads go around it where they can; offline:
 * it is out.
 */
export type DiskState = 'online' | 'suspect' | 'offline';

export interface SetMember {
  readonly member: Member;
  readonly state: DiskState;
  /** There while online or suspect; while offline undefined. */
  readonly disk: Disk | undefined;
  /** Why it is offline. */
  readonly reason: OperatingError | undefined;
  /** What the reserve file keeps from others: it counts as free until it is let go. */
  readonly reservedBytes: number;
  /** Errors of all kinds since the daemon's start, also over several comings and goings. */
  readonly errors: number;
  /** It was out, or no member, earlier in this session: it may lack shards. */
  readonly returned: boolean;
}

/** Called after a state change took effect. `disk` is undefined when it went out. */
export type DiskChange = (number: DiskNumber, disk: Disk | undefined, reason: OperatingError | undefined) => void;

export interface DiskSet {
  readonly membership: Membership;
  /** All members in the order of their numbers. */
  members(): readonly SetMember[];
  /** The disk while it is in. */
  disk(number: DiskNumber): Disk | undefined;
  /** Offline too for a number that no member has. */
  state(number: DiskNumber): DiskState;
  /** An I/O call on it failed or stalled in a way that a healthy disk's does not (EIO, ENODEV, ESTALE, ETIMEDOUT, EROFS…; not ENOSPC): takes it out until a probe, after a delay, finds it good. */
  reportFailure(number: DiskNumber, error: OperatingError): void;
  /** Counts an error that calls on the disk and stripe I/O have not counted in `health` themselves, without taking the disk out. */
  countError(number: DiskNumber, kind: 'read' | 'write' | 'sync' | 'checksum'): void;
  /** Reads of it come late again and again, after so many milliseconds or more: it is suspect, though in; 0: it answers in time again. */
  reportSlow(number: DiskNumber, ms: number): void;
  onChange(listener: DiskChange): void;
  /**
   * Changes who belongs to the pool, by one voter at most, durably on a majority of the old and of the new voters. New members' directories become
   * disks. `next.epoch` is the leader's; its version is given here. Then disks are watched, or let go, as `next` says, and it resolves with what
   * was written. May be asked again after a failure. For the leader of the log alone (src/quorum/change-membership.ts).
   * @throws OperatingError EROFS: no majority has it; EEXIST, ENOTEMPTY, ENOENT…: what is wrong with a new directory.
   */
  changeMembership(next: Membership, fence: Fence): Promise<Membership>;
  /** Reads all superblocks again: is no membership newer than the one in force? */
  membershipStands(): Promise<boolean>;
  /** Probes all members now. */
  probeNow(): Promise<void>;
  close(): Promise<void>;
}
