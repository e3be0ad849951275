/**
 * Makes a pool of directories that were checked: superblocks on all, then an empty log and index on each voter; then the marks that it is unfinished go. Used by
 * `createPool`, and by the simulation for its pools.
 */
import { must } from '../base/assert.js';
import { OperatingError } from '../base/errors.js';
import { initialiseDisks } from '../disk/initialise-disks.js';
import type { Membership } from '../disk/membership.js';
import { clearMarks } from '../disk/unfinished.js';
import { openWatchedDiskSet } from '../disk/watched-disk-set.js';
import { initialiseVoters } from '../quorum/open.js';
import type { MakingEnvironment } from './environment.js';

/**
 * @param onOurs called once the directories are known to be ours: from then on the caller takes back what a failure leaves. Before, superblocks
 * are taken back by who writes them.
 * @throws OperatingError as `initialiseDisks` and `initialiseVoters`
 */
export async function initialisePool(environment: MakingEnvironment, membership: Membership, onOurs: () => void): Promise<void> {
  const { clock, opener } = environment;
  const created = new Date(clock.now().seconds * 1000).toISOString();
  await initialiseDisks({ opener, membership, settings: {}, created });
  onOurs();
  await makeVoters(environment, membership);
  await clearMarks(opener, membership);
}

/** Gives each voter its empty log and index. */
async function makeVoters({ clock, opener, replicas }: MakingEnvironment, membership: Membership): Promise<void> {
  const diskSet = await openWatchedDiskSet({ opener, clock, membership, log: () => undefined });
  try {
    const voters = diskSet.members().filter(({ member }) => member.voter);
    for (const { disk, reason } of voters)
      if (disk === undefined) throw reason ?? new OperatingError('EIO', 'a disk left while the pool was made');
    await initialiseVoters({
      poolId: membership.poolId,
      voters: voters.map(({ member, disk }) => ({ number: member.number, disk: must(disk, 'checked above') })),
      replicas,
    });
  } finally {
    await diskSet.close();
  }
}
