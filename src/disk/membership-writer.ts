/**
 * Changes the membership in superblocks so that no later start can miss it. Kept by the disk set alone; src/quorum/README.md ("Members") argues why it is
 * safe. Its rules:
 *
 * - A change is durable on a majority of those that vote now and of those that will before it is in force.
 * - Before the first change of an epoch the membership in force gets the epoch's stamp on a majority: whatever an earlier leader left on a disk that is
 *   away is older then. A change that failed may be on some disk, so the stamp is renewed before the next one.
 */
import { assert } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import type { Disk } from './disk.js';
import type { Membership } from './membership.js';
import { updateSuperblock } from './superblock-file.js';

/** Rejects when another process leads the pool by now; asked on each voter's disk after its superblock was written. */
export type Fence = (disk: Disk) => Promise<void>;

export interface MembershipWriterOptions {
  /** The disk while it is in. */
  readonly disk: (number: DiskNumber) => Disk | undefined;
  /** Told of each disk that could not be written. */
  readonly failed: (number: DiskNumber, error: OperatingError) => void;
  /** Rules to leave out, for the check that shows what each is for. */
  readonly mutations?: MembershipMutations;
}

export interface MembershipMutations {
  /** Change without the stamp of the own epoch. */
  readonly skipStamp?: boolean;
  /** Be content with a single disk that has it. */
  readonly skipMajority?: boolean;
}

function votersOf(membership: Membership): DiskNumber[] {
  return membership.members.filter(({ voter }) => voter).map(({ number }) => number);
}

export class MembershipWriter {
  readonly #options: MembershipWriterOptions;
  #current: Membership;
  /** The highest version that was seen or given. */
  #version: number;
  /** The membership in force stands on a majority of its voters with the stamp of this epoch; undefined: not known. */
  #stampedIn: number | undefined;

  constructor(current: Membership, options: MembershipWriterOptions) {
    this.#current = current;
    this.#version = current.version;
    this.#options = options;
  }

  /** In force. */
  get current(): Membership {
    return this.#current;
  }

  /** A superblock with this membership was read. */
  saw({ version }: Membership): void {
    this.#version = Math.max(this.#version, version);
  }

  /** Takes over what was found on a disk at the start. */
  adopt(membership: Membership): void {
    this.saw(membership);
    this.#current = membership;
  }

  /**
   * Makes `next` the membership in force; one call at a time.
   * @param prepare called with the stamped membership before it is written to disks that are in
   * @throws OperatingError EROFS: no majority has it; or what `prepare` threw. It may be on some disk then, and is not in force.
   */
  async change(next: Membership, fence: Fence, prepare: (stamped: Membership) => Promise<void>): Promise<Membership> {
    const { epoch, poolId } = next;
    assert(poolId === this.#current.poolId && epoch >= this.#current.epoch, 'the leader of this pool changes its membership');
    if (this.#stampedIn !== epoch && this.#options.mutations?.skipStamp !== true) {
      const again = this.#stamp({ ...this.#current, epoch });
      await this.#write(again, fence);
      this.#current = again;
    }
    this.#stampedIn = undefined;
    const stamped = this.#stamp(next);
    await prepare(stamped);
    await this.#write(stamped, fence);
    this.#current = stamped;
    this.#stampedIn = epoch;
    return stamped;
  }

  #stamp(membership: Membership): Membership {
    const { lastNumber, members } = membership;
    // A number is never given again, also when its disk has left.
    return { ...membership, version: ++this.#version, lastNumber: Math.max(lastNumber, ...members.map(({ number }) => number)) };
  }

  /** Writes to all disks of either membership that are in, at the same time. */
  async #write(next: Membership, fence: Fence): Promise<void> {
    const before = votersOf(this.#current);
    const after = votersOf(next);
    const changed = after.filter((number) => !before.includes(number)).length + before.filter((number) => !after.includes(number)).length;
    assert(changed <= 1, 'voters change one at a time');
    const numbers = new Set([...this.#current.members, ...next.members].map(({ number }) => number));
    const written = new Set<DiskNumber>();
    let fenced: OperatingError | undefined;
    await Promise.all(
      [...numbers].map(async (number) => {
        const disk = this.#options.disk(number);
        if (disk === undefined) return;
        try {
          await updateSuperblock(disk, next);
          if (before.includes(number) || after.includes(number)) await fence(disk);
          written.add(number);
        } catch (thrown) {
          const error = asOperatingError(thrown, { disk: disk.directory });
          if (error.code === 'EROFS') fenced = error;
          this.#options.failed(number, error);
        }
      }),
    );
    for (const voters of [before, after]) {
      const have = voters.filter((number) => written.has(number)).length;
      if (have * 2 > voters.length || this.#options.mutations?.skipMajority === true) continue;
      throw (
        fenced ??
        new OperatingError('EROFS', `only ${have} of ${voters.length} voters could be told of the change of the pool's members`, {
          hint: 'Bring back their disks, then try again.',
        })
      );
    }
  }
}
