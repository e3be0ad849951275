/** Which pools the disks at given directories belong to; for `import` and for `init`'s and `mount`'s messages. Only reads. */
import { OperatingError, asOperatingError } from '../base/errors.js';
import type { DiskNumber, Uuid } from '../base/ids.js';
import { forEachBounded, withDirectory, type DiskOpener } from './disk-opener.js';
import { compareMemberships, type Member, type Membership } from './membership.js';
import { readSuperblock } from './superblock-file.js';
import type { PoolSettings, Superblock } from './superblock.js';

interface FoundPool {
  /** The newest on any of the disks, with the directories where members were found now. */
  readonly membership: Membership;
  readonly settings: PoolSettings;
  /** Where members were found. */
  readonly found: ReadonlyMap<DiskNumber, string>;
  readonly missing: readonly Member[];
}

export interface FoundPools {
  readonly pools: readonly FoundPool[];
  /** Directories that are of no use, and why: no disk, damaged, a copy of another, no longer a member. */
  readonly failures: readonly { readonly directory: string; readonly error: OperatingError }[];
}

/** Reads the superblocks at `directories`. Never rejects for what is wrong with one of them. */
export async function findPools(opener: DiskOpener, directories: readonly string[]): Promise<FoundPools> {
  const failures: { directory: string; error: OperatingError }[] = [];
  const byPool = new Map<Uuid, { directory: string; superblock: Superblock }[]>();
  await forEachBounded([...new Set(directories)], async (directory) => {
    try {
      const superblock = await withDirectory(opener, directory, readSuperblock);
      const others = byPool.get(superblock.membership.poolId);
      if (others) others.push({ directory, superblock });
      else byPool.set(superblock.membership.poolId, [{ directory, superblock }]);
    } catch (thrown) {
      failures.push({ directory, error: asOperatingError(thrown, { disk: directory }) });
    }
  });
  const pools: FoundPool[] = [];
  for (const disks of byPool.values()) {
    const [newest] = disks.toSorted((a, b) => compareMemberships(b.superblock.membership, a.superblock.membership));
    if (!newest) continue;
    const { membership, settings } = newest.superblock;
    const found = new Map<DiskNumber, string>();
    const inOrder = disks.toSorted((a, b) => directories.indexOf(a.directory) - directories.indexOf(b.directory));
    for (const { directory, superblock } of inOrder) {
      const problem = notUsable(membership, superblock, found);
      if (problem === undefined) found.set(superblock.diskNumber, directory);
      else failures.push({ directory, error: new OperatingError('ESTALE', `${directory} ${problem}`, { disk: directory }) });
    }
    const members = membership.members.map((member) => ({ ...member, directory: found.get(member.number) ?? member.directory }));
    pools.push({ membership: { ...membership, members }, settings, found, missing: members.filter((member) => !found.has(member.number)) });
  }
  return { pools, failures };
}

function notUsable(membership: Membership, disk: Superblock, found: ReadonlyMap<DiskNumber, string>): string | undefined {
  const member = membership.members.find((each) => each.number === disk.diskNumber && each.id === disk.diskId);
  if (!member) return `is no longer a disk of pool "${membership.poolName}"`;
  const other = found.get(disk.diskNumber);
  return other === undefined ? undefined : `is the same disk as ${other}: one of them is a copy`;
}
