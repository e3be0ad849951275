/**
 * The order in which the members of a pool change, so that a crash at any point leaves a membership under which everything acknowledged is found (I4, I7):
 *
 *   an entry is durable under the voters in force ─▶ a new voter follows as a learner ─▶ superblocks: a majority of the old and of the new voters
 *     ─▶ the log counts the new voters ─▶ an entry is durable under them ─▶ the next change
 *
 * Called by the process that leads the log alone, one change at a time. README.md ("Members") argues why it is right.
 */
import { OperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import type { Disk } from '../disk/disk.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { Member, Membership } from '../disk/membership.js';
import { acknowledgementsFor } from './acknowledgements.js';
import type { Mutations } from './mutations.js';
import type { QuorumLog, VoterChange } from './quorum-log.js';
import { highestEpoch } from './voter-format.js';
import { surveyVoter } from './voter-reader.js';

export interface ChangingPool {
  readonly log: QuorumLog;
  readonly disks: Pick<DiskSet, 'membership' | 'disk' | 'changeMembership'>;
}

/** Who votes by this membership, and how many of them must have synced a batch. */
export function votersOf({ members, m }: Membership): VoterChange {
  const voters = members.filter(({ voter }) => voter).map(({ number }) => number);
  return { voters, acknowledgements: acknowledgementsFor(voters.length, m) };
}

/**
 * Makes `members` the pool's, among which voters differ by one at most from those in force.
 * @param mutations rules to leave out, for tests alone
 * @throws OperatingError EROFS: no majority; EIO: the new voter could not be brought up; or what is wrong with a new member's directory. It may be
 * tried again, then and after a restart.
 */
export async function changeMembers({ log, disks }: ChangingPool, members: readonly Member[], mutations: Mutations = {}): Promise<void> {
  if (!log.writable)
    throw new OperatingError('EROFS', 'the members of a pool change only while it can be written', { hint: log.readOnlyReason });
  const before = disks.membership;
  const next: Membership = { ...before, epoch: log.epoch, members };
  const joining = votersOf(next).voters.filter((number) => !votersOf(before).voters.includes(number));
  const same = joining.length === 0 && votersOf(next).voters.length === votersOf(before).voters.length;
  // Whatever became of an earlier change: everything is on a majority of those that vote now.
  if (!same && mutations.skipChangeEntry !== true) await log.changeVoters(votersOf(before));
  for (const number of joining) await log.addLearner(number, diskOf(disks, number));
  await disks.changeMembership(next, (disk) => checkLeads(disk, log.epoch));
  if (same) return;
  const changed = log.changeVoters(votersOf(next));
  if (mutations.skipChangeEntry === true) changed.catch(() => undefined);
  else await changed;
}

function diskOf(disks: Pick<DiskSet, 'disk'>, number: DiskNumber): Disk {
  const disk = disks.disk(number);
  if (disk === undefined) throw new OperatingError('ENODEV', `disk ${number} is not there, so it cannot become a voter`);
  return disk;
}

/** After a superblock was written: does nobody else lead? A new leader promises first and reads superblocks then. */
async function checkLeads(disk: Disk, epoch: number): Promise<void> {
  const names = await surveyVoter(disk);
  if (names === undefined) throw new OperatingError('EIO', 'its quorum files are gone', { disk: disk.directory });
  const promised = highestEpoch({ ...names, marks: [], logs: [] });
  if (promised > epoch) throw new OperatingError('EROFS', `another process leads this pool in epoch ${promised}`);
}
