/** A pool's disks on a simulated machine, watched, for tests of the disk set. */
import type { Test } from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { newUuid } from '../../src/base/ids.js';
import { initialiseDisks } from '../../src/disk/initialise-disks.js';
import type { Membership } from '../../src/disk/membership.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { simulatedOpener } from '../../src/disk/simulated-opener.js';
import { openWatchedDiskSet, type WatchedDiskSet } from '../../src/disk/watched-disk-set.js';
import { ManualClock } from './manual-clock.js';

export const directories = ['/d1', '/d2', '/d3'];

export function newMembership(machine: SimulatedMachine, poolName = 'photos', at: readonly string[] = directories): Membership {
  const members = at.map((directory, i) => ({
    number: i + 1,
    id: machine.medium(directory).id,
    role: 'data' as const,
    state: 'active' as const,
    voter: true,
    zone: undefined,
    directory,
  }));
  return { epoch: 0, version: 1, poolId: newUuid(machine.random), poolName, k: 2, m: 1, lastNumber: members.length, members };
}

export async function newPool(
  machine = new SimulatedMachine(seededRandom(1)),
  poolName = 'photos',
  at: readonly string[] = directories,
): Promise<{ machine: SimulatedMachine; membership: Membership }> {
  for (const directory of at) machine.addDisk(directory);
  const membership = newMembership(machine, poolName, at);
  await initialiseDisks({ opener: simulatedOpener(machine), membership, settings: {}, created: '2026-01-01T00:00:00Z' });
  return { machine, membership };
}

interface Pool {
  readonly machine: SimulatedMachine;
  readonly membership: Membership;
  readonly clock: ManualClock;
  readonly set: WatchedDiskSet;
  /** `number in` or `number out CODE`, as listeners were told. */
  readonly changes: string[];
}

export async function openPool(t: Test, searchDirectories: readonly string[] = []): Promise<Pool> {
  const { machine, membership } = await newPool();
  return openOn(t, machine, membership, searchDirectories);
}

export async function openOn(
  t: Test,
  machine: SimulatedMachine,
  membership: Membership,
  searchDirectories: readonly string[] = [],
): Promise<Pool> {
  const clock = new ManualClock();
  const opener = simulatedOpener(machine);
  const set = await openWatchedDiskSet({ opener, clock, membership, searchDirectories, log: () => undefined });
  const changes: string[] = [];
  set.onChange((number, disk, reason) => {
    t.equal(set.disk(number), disk, 'listeners are told when it is so');
    changes.push(disk ? `${number} in` : `${number} out ${reason?.code ?? ''}`);
  });
  t.teardown(() => set.close());
  return { machine, membership, clock, set, changes };
}

export const states = (set: WatchedDiskSet): string =>
  set
    .members()
    .map((member) => (member.disk === undefined ? '-' : '+'))
    .join('');
