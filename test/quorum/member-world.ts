/**
 * A pool whose voters change, for tests: disks with superblocks, of which some vote. Opening it goes by the newest membership on the disks that are there,
 * as the daemon does. Superblocks are the real ones; the watch over disks is left out.
 */
import { must } from '../../src/base/assert.js';
import type { Disk } from '../../src/disk/disk.js';
import { isNewer, type Member, type Membership } from '../../src/disk/membership.js';
import { MembershipWriter, type Fence, type MembershipMutations } from '../../src/disk/membership-writer.js';
import type { SimulatedDisk } from '../../src/disk/simulated-disk.js';
import { createSuperblock, readSuperblock, updateSuperblock } from '../../src/disk/superblock-file.js';
import { decodeSlot, SUPERBLOCK_FILE } from '../../src/disk/superblock.js';
import { changeMembers, votersOf } from '../../src/quorum/change-membership.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import { initialiseVoters } from '../../src/quorum/open.js';
import type { OpenedLog } from '../../src/quorum/quorum-log.js';
import { directory, poolId, World, type OpenChoices } from './world.js';

export interface MemberMutations extends MembershipMutations, Mutations {}

/** The disks that one process has open. */
class OpenDisks {
  readonly writer: MembershipWriter;
  readonly #disks: ReadonlyMap<number, SimulatedDisk>;

  constructor(membership: Membership, disks: ReadonlyMap<number, SimulatedDisk>, mutations: MembershipMutations) {
    this.#disks = disks;
    this.writer = new MembershipWriter(membership, { disk: (number) => this.disk(number), failed: () => undefined, mutations });
  }

  get membership(): Membership {
    return this.writer.current;
  }

  disk(number: number): Disk | undefined {
    return this.#disks.get(number);
  }

  changeMembership(next: Membership, fence: Fence): Promise<Membership> {
    return this.writer.change(next, fence, () => Promise.resolve());
  }
}

export class MemberWorld extends World {
  disks: OpenDisks | undefined;
  opened: OpenedLog | undefined;
  memberMutations: MemberMutations = {};

  /** @param voters of the disks 1 … `count`, at first */
  static async make(count: number, voters: readonly number[]): Promise<MemberWorld> {
    const world = new MemberWorld(count);
    const members = world.voters.map((number): Member => ({
      number,
      id: world.medium(number).id,
      role: 'data',
      state: 'active',
      voter: voters.includes(number),
      zone: undefined,
      directory: directory(number),
    }));
    const membership: Membership = { epoch: 0, version: 1, poolId: poolId, poolName: 'p', k: 2, m: 1, lastNumber: count, members };
    for (const { number, id } of members) {
      const disk = world.openDisk(number);
      await createSuperblock(disk, { diskId: id, diskNumber: number, created: '2026-01-01T00:00:00Z', settings: {}, membership });
      if (voters.includes(number)) await initialiseVoters({ poolId, voters: [{ number, disk }], replicas: world.replicas });
      await disk.close();
    }
    return world;
  }

  /** The newest membership on these disks; undefined where none can be read. */
  async newest(there: readonly number[]): Promise<Membership | undefined> {
    let newest: Membership | undefined;
    for (const number of there) {
      const { membership } = await readSuperblock(this.openDisk(number));
      if (isNewer(membership, newest)) newest = membership;
    }
    return newest;
  }

  override async open(choices: OpenChoices = {}): Promise<OpenedLog> {
    const { missing = [] } = choices;
    const there = new Map(this.voters.filter((number) => !missing.includes(number)).map((number) => [number, this.openDisk(number)]));
    const membership = must(await this.newest([...there.keys()]), 'a disk is there');
    for (const disk of there.values()) await updateSuperblock(disk, membership).catch(() => undefined);
    this.disks = new OpenDisks(membership, there, this.memberMutations);
    for (const disk of there.values()) this.disks.writer.saw((await readSuperblock(disk)).membership);
    const { voters, acknowledgements } = votersOf(membership);
    const options = {
      voters: voters.map((number) => ({ number, disk: there.get(number) })),
      acknowledgements,
      membershipStands: async () => !isNewer(must(await this.newest([...there.keys()]), 'they are there'), this.disks?.membership),
    };
    this.opened = await super.open({ ...choices, options: { ...choices.options, ...options } });
    return this.opened;
  }

  /** Makes these disks the voters; one may differ. */
  async vote(voters: readonly number[]): Promise<void> {
    const disks = must(this.disks, 'open first');
    const { log } = must(this.opened, 'open first');
    const members = disks.membership.members.map((member) => ({ ...member, voter: voters.includes(member.number) }));
    await changeMembers({ log, disks }, members, this.memberMutations);
  }

  override copy(): MemberWorld {
    const copy = this.copyInto(new MemberWorld(this.voterCount));
    copy.memberMutations = this.memberMutations;
    return copy;
  }

  /** The same without whose superblock it is, but with what it says of this disk. */
  override fingerprint(voter: number, durable = false): string {
    const medium = this.medium(voter);
    const stamp = (bytes: Buffer): string => {
      const slot = decodeSlot(bytes);
      if (slot.state !== 'good') return slot.state;
      const { epoch, version, members } = slot.superblock.membership;
      return `${epoch}.${version}.${members.find(({ number }) => number === voter)?.voter === true ? 'v' : '-'}`;
    };
    const parts = medium
      .paths()
      .filter((path) => path.startsWith(SUPERBLOCK_FILE))
      .map((path) => {
        const file = medium.file(path);
        return `${path} ${stamp(file.read(0, 4096))} ${durable ? `${stamp(file.readDurable(0, 4096))} ${file.dirty}` : ''}`;
      });
    return `${super.fingerprint(voter, durable)} ${parts.join()}`;
  }
}
