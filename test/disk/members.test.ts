/** Members of a pool that change, and the states of its disks, on simulated disks. What a change needs of the log is in test/quorum. */
import t from 'tap';
import { OperatingError } from '../../src/base/errors.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import { findPools } from '../../src/disk/find-pools.js';
import type { Membership } from '../../src/disk/membership.js';
import { simulatedOpener } from '../../src/disk/simulated-opener.js';
import { readSuperblock, updateSuperblock } from '../../src/disk/superblock-file.js';
import { SUPERBLOCK_FILE } from '../../src/disk/superblock.js';
import { openWatchedDiskSet } from '../../src/disk/watched-disk-set.js';
import { ManualClock } from './manual-clock.js';
import { failure } from './failure.js';

import { directories, newPool, openPool, states } from './simulated-pool.js';

const lets = (): Promise<void> => Promise.resolve();

void t.test('members change: a disk joins, another one goes', async (t) => {
  const { machine, set, clock, changes, membership } = await openPool(t);
  const joining = machine.addDisk('/d4');
  const fourth = { number: 4, id: joining.id, role: 'data', state: 'active', voter: false, zone: undefined, directory: '/d4' } as const;
  const added = await set.changeMembership({ ...membership, epoch: 3, members: [...membership.members, fourth] }, lets);
  t.match(added, { epoch: 3, version: 3 }, 'the stamp, then the change');
  t.same(changes, ['4 in']);
  t.equal(states(set), '++++');
  t.equal(set.members()[3]?.returned, true);
  for (const directory of [...directories, '/d4'])
    t.same((await readSuperblock(machine.open(directory, false))).membership, added, `${directory} knows it`);
  // One that is away misses it, and gets it when it is back.
  const away = machine.unmount('/d3');
  await clock.advance(1000);
  const members = added.members.filter(({ number }) => number !== 4);
  const removed = await set.changeMembership({ ...added, epoch: 3, members }, lets);
  t.match(removed, { version: 4, lastNumber: 4 }, 'one stamp an epoch, and no number is given again');
  t.same(changes.slice(1), ['3 out ESTALE', '4 out ENODEV']);
  t.equal(machine.isLocked(joining), false, 'what has left is let go');
  t.same((await readSuperblock(machine.open('/d4', false))).membership, removed, 'and knows it');
  machine.mount('/d3', away);
  await clock.advance(1000);
  t.same((await readSuperblock(machine.open('/d3', false))).membership, removed);
  const { pools, failures } = await findPools(simulatedOpener(machine), ['/d4', '/d2']);
  t.same(pools[0]?.membership.version, 4);
  t.match(failures, [{ directory: '/d4', error: { code: 'ESTALE', message: /is no longer a disk of pool "photos"/ } }]);
});

void t.test('a change of members that no majority learns of is refused, and the next one is newer', async (t) => {
  const { machine, set, membership } = await openPool(t);
  for (const directory of ['/d1', '/d2']) machine.medium(directory).failNext('rename', 'EIO', 2, SUPERBLOCK_FILE);
  const members = membership.members.map((member) => ({ ...member, voter: member.number !== 3 }));
  t.equal((await failure(set.changeMembership({ ...membership, epoch: 2, members }, lets))).code, 'EROFS');
  t.same(set.membership, membership, 'the old one is in force');
  t.notOk(await set.membershipStands(), 'though a disk has a newer one');
  for (const directory of ['/d1', '/d2']) machine.medium(directory).clearFaults();
  const fenced = await failure(
    set.changeMembership({ ...membership, epoch: 2, members }, () => Promise.reject(new OperatingError('EROFS', 'another one leads'))),
  );
  t.match(fenced, { code: 'EROFS', message: 'another one leads' });
  const changed = await set.changeMembership({ ...membership, epoch: 2, members }, lets);
  t.ok(changed.version > 4);
  t.ok(await set.membershipStands());
  t.same((await readSuperblock(machine.open('/d3', false))).membership, changed);
});

void t.test('directories that cannot join change nothing; what a cut-off attempt left can be used', async (t) => {
  const { machine, set, membership } = await openPool(t);
  const join = (directory: string, number = 4): Promise<Membership> => {
    const { id } = machine.medium(directory);
    const member = { number, id, role: 'data', state: 'active', voter: false, zone: undefined, directory } as const;
    return set.changeMembership({ ...set.membership, epoch: 1, members: [...set.membership.members, member] }, lets);
  };
  await newPool(machine, 'other', ['/o1']);
  t.equal((await failure(join('/o1'))).code, 'EEXIST');
  machine.addDisk('/full');
  await (await machine.open('/full', false).open('mine', { create: true, write: true })).close();
  t.equal((await failure(join('/full'))).code, 'ENOTEMPTY');
  t.same(machine.medium('/full').paths(), ['mine']);
  t.same(
    set.membership.members.map(({ number }) => number),
    membership.members.map(({ number }) => number),
  );
  // The superblock was made, the others were not told.
  machine.addDisk('/d4');
  for (const directory of directories) machine.medium(directory).failNext('rename', 'EIO', 9, SUPERBLOCK_FILE);
  t.equal((await failure(join('/d4'))).code, 'EROFS');
  for (const directory of directories) machine.medium(directory).clearFaults();
  t.equal(machine.isLocked(machine.medium('/d4')), false);
  await join('/d4', 5);
  t.equal((await readSuperblock(machine.open('/d4', false))).diskNumber, 5);
  t.equal(states(set), '++++');
});

void t.test('a start takes over what a disk knows that it had not seen before it was locked', async (t) => {
  const { machine, membership } = await newPool();
  const opener = simulatedOpener(machine);
  let looked = 0;
  const next: Membership = { ...membership, epoch: 5, version: 2, poolName: 'pictures' };
  const late: DiskOpener = {
    ...opener,
    openDisk: async (path, identify) => {
      // Somebody changed it between the look and the lock.
      if (path === '/d2' && looked++ === 0) await updateSuperblock(machine.open('/d2', false), next);
      return opener.openDisk(path, identify);
    },
  };
  const set = await openWatchedDiskSet({ opener: late, clock: new ManualClock(), membership, log: () => undefined });
  t.same(set.membership, next);
  t.equal(states(set), '+++');
  t.same((await readSuperblock(machine.open('/d1', false))).membership, next);
  await set.close();
});

void t.test('a disk that fails calls, or answers probes late, is suspect for a while', async (t) => {
  const { machine, set, clock } = await openPool(t);
  machine.medium('/d1').failNext('syncAll', 'EIO');
  await failure(set.disk(1)?.syncAll() ?? Promise.resolve());
  await clock.advance(1000);
  t.equal(set.state(1), 'suspect');
  t.equal(set.state(2), 'online');
  t.equal(set.state(9), 'offline');
  await clock.advance(12_000);
  t.equal(set.state(1), 'online');
});
