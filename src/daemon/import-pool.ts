/** `ostraka import`: finds out from superblocks alone what pool some directories belong to, and writes its definition. Disks are not changed. */
import { resolve } from 'node:path';
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { withDirectory } from '../disk/disk-opener.js';
import { findPools } from '../disk/find-pools.js';
import type { Member, Membership } from '../disk/membership.js';
import { nativeOpener } from '../disk/open-disk-set.js';
import { isMarked } from '../disk/unfinished.js';
import { formatCode } from './code.js';
import type { Folders } from './folders.js';
import { findDefinition, writeDefinition, type PoolDefinition } from './pool-definition.js';
import { refuseMountedPool } from './pool-status.js';

export interface ImportOptions {
  readonly folders: Folders;
  readonly directories: readonly string[];
  /** The pool's name here; its own name unless given. */
  readonly name: string | undefined;
}

export interface Imported {
  readonly definition: PoolDefinition;
  /** Directories, as they were known last, of members that were not given. */
  readonly missing: readonly string[];
}

/**
 * @throws OperatingError ENOENT/EBADMSG a directory is no disk, EINVAL disks of several pools, EIO too few disks, EEXIST the name is another
 * pool's here, EBUSY the pool is mounted.
 */
export async function importPool({ folders, directories, name: chosen }: ImportOptions): Promise<Imported> {
  const wanted = [...new Set(directories.map((directory) => resolve(directory)))];
  const { pools, failures } = await findPools(nativeOpener(systemClock), wanted);
  for (const { error } of failures) throw error;
  const [pool, other] = pools;
  if (pool === undefined || other !== undefined)
    throw new OperatingError(
      'EINVAL',
      `the disks are of ${pools.length} pools: ${pools.map(({ membership }) => `"${membership.poolName}"`).join(', ')}`,
      {
        hint: 'Import one pool at a time.',
      },
    );
  const { membership, missing } = pool;
  checkEnough(membership, missing);
  await checkFinished(membership, [...pool.found.values()]);
  const name = chosen ?? membership.poolName;
  const existing = await findDefinition(folders, name);
  if (existing !== undefined && existing.poolId !== membership.poolId)
    throw new OperatingError('EEXIST', `another pool is known here as "${name}"`, {
      hint: 'Give this one another name here: --name NAME.',
    });
  if (existing !== undefined) await refuseMountedPool(folders, existing);
  const definition: PoolDefinition = {
    version: 1,
    name,
    poolId: membership.poolId,
    code: formatCode(membership),
    members: membership.members.map(({ number, id, role, directory }) => {
      const known = existing?.members.find((member) => member.id === id)?.directory;
      return { number, id, role, directory: pool.found.get(number) ?? known ?? directory };
    }),
    settings: existing?.settings ?? {},
    lastMountpoint: existing?.lastMountpoint ?? null,
  };
  await writeDefinition(folders, definition);
  return { definition, missing: missing.map(({ directory }) => directory) };
}

/** One disk that is not marked tells that the pool was made to the end. */
async function checkFinished({ poolName }: Membership, directories: readonly string[]): Promise<void> {
  const marked = await Promise.all(directories.map((directory) => withDirectory(nativeOpener(systemClock), directory, isMarked)));
  if (!marked.every(Boolean)) return;
  throw new OperatingError('EINVAL', `making pool "${poolName}" was cut off, and nothing is in it`, {
    hint: 'Make it again with "ostraka init".',
  });
}

/** As many data disks must be there that every blob can be read: at most m are missing. Without a majority of voters it is read-only. */
function checkEnough(membership: Membership, missing: readonly Member[]): void {
  const absent = missing.filter(({ role }) => role === 'data');
  if (absent.length <= membership.m) return;
  throw new OperatingError(
    'EIO',
    `pool "${membership.poolName}" is coded ${formatCode(membership)}, and ${absent.length} of its disks are not given`,
    {
      hint: `At most ${membership.m} may be missing. Give also those last seen at ${absent.map(({ directory }) => directory).join(', ')}.`,
    },
  );
}
