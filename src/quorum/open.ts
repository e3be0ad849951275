/** The door of this folder for the daemon: open the log of a pool, and make its voters when the pool is made. */
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { Disk } from '../disk/disk.js';
import { originPoint } from './point.js';
import type { OpenQuorumLog } from './quorum-log.js';
import { openWithMutations } from './recovery.js';
import type { ReplicaStore } from './state-machine.js';
import { encodeMark, encodePromise, highestEpoch, markName, promiseName, QUORUM_DIRECTORY, REPLICA_DIRECTORY } from './voter-format.js';
import { surveyVoter } from './voter-reader.js';
import { createSynced } from './voter-writer.js';

/**
 * Opens the quorum log of a pool. All disks must be locked, and synced (`syncAll`), before. The disks, the journal and the working replica stay
 * the caller's, to be closed after the log.
 * @throws OperatingError EIO when nothing is left to recover from.
 */
export const openQuorumLog: OpenQuorumLog = (options) => openWithMutations(options, {});

export interface FreshVoters {
  readonly poolId: string;
  readonly voters: readonly { readonly number: number; readonly disk: Disk }[];
  readonly replicas: ReplicaStore;
  /** No lower epoch is ever used again: of a pool that had voters before. Default 0. */
  readonly epoch?: number;
}

/**
 * Makes the voters of a new pool, or new voters of one that lost them: `epoch` promised, nothing synced, an empty replica. From then on a voter without these files is broken,
 * not new.
 * @throws OperatingError EEXIST where a voter's directory is there already.
 */
export async function initialiseVoters({ poolId, voters, replicas, epoch = 0 }: FreshVoters): Promise<void> {
  await Promise.all(
    voters.map(async ({ number, disk }) => {
      if (await exists(disk))
        throw new OperatingError('EEXIST', 'the disk holds the log of a pool already', { disk: disk.directory, path: QUORUM_DIRECTORY });
      const identity = { poolId, voter: number };
      const id = { epoch: 0, sequence: 1 };
      await disk.makeDirectory(QUORUM_DIRECTORY);
      const replica = await replicas.open(disk, REPLICA_DIRECTORY);
      await replica.close();
      await createSynced(disk, promiseName(epoch), encodePromise(identity, epoch));
      const mark = { id, version: 1, first: { epoch: 0, sequence: 0 }, point: originPoint };
      const slot = encodeMark(identity, mark);
      await createSynced(disk, markName(id), Buffer.concat([Buffer.alloc(slot.length), slot]));
      await disk.syncDirectory(QUORUM_DIRECTORY);
      await disk.syncDirectory('');
    }),
  );
}

/** Puts the log of an earlier life of the pool aside, on its disk, for whoever wants to look at it. Resolves with where it is now. */
export async function setVoterAside(disk: Disk, epoch: number): Promise<string | undefined> {
  if (!(await exists(disk))) return undefined;
  const names = await disk.list('');
  let aside = `${QUORUM_DIRECTORY}-before-${epoch}`;
  for (let count = 2; names.includes(aside); count++) aside = `${QUORUM_DIRECTORY}-before-${epoch}-${count}`;
  await disk.rename(QUORUM_DIRECTORY, aside);
  await disk.syncDirectory('');
  return aside;
}

/** The highest epoch that a voter's directory on this disk tells of; 0 where there is none. */
export async function highestEpochOn(disk: Disk): Promise<number> {
  const names = await surveyVoter(disk);
  return names === undefined ? 0 : highestEpoch(names);
}

async function exists(disk: Disk): Promise<boolean> {
  try {
    return (await disk.list(QUORUM_DIRECTORY)).length > 0;
  } catch (thrown) {
    const error = asOperatingError(thrown);
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}
