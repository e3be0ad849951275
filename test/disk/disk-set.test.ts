/** The watch over a pool's disks, over simulated disks and a clock that the test moves; init and import of disks. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { withDirectory, type DiskOpener } from '../../src/disk/disk-opener.js';
import { findPools } from '../../src/disk/find-pools.js';
import { initialiseDisks } from '../../src/disk/initialise-disks.js';
import type { Membership } from '../../src/disk/membership.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { simulatedOpener } from '../../src/disk/simulated-opener.js';
import { readSuperblock, updateSuperblock } from '../../src/disk/superblock-file.js';
import { SUPERBLOCK_FILE } from '../../src/disk/superblock.js';
import { openWatchedDiskSet } from '../../src/disk/watched-disk-set.js';
import { ManualClock } from './manual-clock.js';
import { failure } from './failure.js';
import { directories, newMembership, newPool, openOn, openPool, states } from './simulated-pool.js';

void t.test('opens, locks and closes all', async (t) => {
  const { machine, membership, set } = await openPool(t);
  t.equal(states(set), '+++');
  t.same(set.membership, membership);
  t.equal(set.disk(2)?.id, membership.members[1]?.id);
  t.equal(set.disk(2)?.directory, '/d2');
  t.equal(set.disk(4), undefined);
  const opener = simulatedOpener(machine);
  const clock = new ManualClock();
  const second = await failure(openWatchedDiskSet({ opener, clock, membership, log: () => undefined }));
  t.equal(second.code, 'EBUSY', 'I9: a second owner is refused');
  t.match(second.message, 'process 1');
  await set.close();
  const again = await openWatchedDiskSet({ opener, clock, membership, log: () => undefined });
  t.equal(states(again), '+++', 'and has left no lock behind');
  await again.close();
});

void t.test('I9: one disk that is owned by another process refuses the whole pool', async (t) => {
  const { machine, membership } = await newPool();
  const other = machine.open('/d3');
  const options = { opener: simulatedOpener(machine), clock: new ManualClock(), membership, log: () => undefined };
  t.equal((await failure(openWatchedDiskSet(options))).code, 'EBUSY');
  t.equal(machine.isLocked(machine.medium('/d1')), false, 'what was locked is free again');
  await other.close();
  const set = await openWatchedDiskSet(options);
  t.equal(states(set), '+++');
  await set.close();
});

void t.test('a disk that vanishes goes out, and comes back by itself', async (t) => {
  const { machine, clock, set, changes } = await openPool(t);
  const medium = machine.medium('/d2');
  machine.vanish(medium);
  await clock.advance(1000);
  t.same(changes, ['2 out ENODEV']);
  t.equal(states(set), '+-+');
  t.equal(set.members()[1]?.reason?.code, 'ENODEV');
  machine.comeBack(medium);
  await clock.advance(30_000);
  t.same(changes, ['2 out ENODEV', '2 in']);
  t.equal(set.members()[1]?.reason, undefined);
  await (await set.disk(2)?.open('works', { create: true, write: true }))?.write(0, [Buffer.from('x')]);
});

void t.test('missing is not new: an empty directory in the place of a disk is never written to', async (t) => {
  const { machine, membership } = await newPool();
  const medium = machine.unmount('/d1');
  const below = machine.medium('/d1');
  const { clock, set, changes } = await openOn(t, machine, membership);
  t.equal(states(set), '-++');
  t.equal(set.members()[0]?.reason?.code, 'ENOENT');
  await clock.advance(20_000);
  t.same(below.paths(), []);
  t.same(below.list(''), []);
  machine.mount('/d1', medium);
  await clock.advance(1000);
  t.same(changes, ['1 in'], 'back once it is mounted');
  // Unmounted while open: calls would go on to work on the old file system, but it is not where it should be.
  machine.unmount('/d1');
  const second = machine.medium('/d1');
  await clock.advance(1000);
  t.same(changes, ['1 in', '1 out ESTALE']);
  t.same(second.list(''), []);
});

void t.test('a directory that is moved away while open counts as offline; one that appears elsewhere is found', async (t) => {
  const { machine, clock, set, changes } = await openPool(t, ['/mnt/new']);
  machine.move('/d3', '/hidden');
  await clock.advance(1000);
  t.same(changes, ['3 out ENOENT']);
  machine.move('/hidden', '/mnt/new');
  await clock.advance(6000);
  t.same(changes, ['3 out ENOENT', '3 in']);
  t.equal(set.disk(3)?.directory, '/mnt/new');
  machine.move('/mnt/new', '/d3');
  await set.probeNow();
  t.equal(states(set), '++-');
  await set.probeNow();
  t.equal(set.disk(3)?.directory, '/d3', 'and found again where it was');
});

void t.test('disks that changed places are found by their identity', async (t) => {
  const { machine, membership } = await newPool();
  machine.move('/d1', '/x');
  machine.move('/d2', '/d1');
  machine.move('/x', '/d2');
  const { set } = await openOn(t, machine, membership);
  t.equal(states(set), '+++');
  t.equal(set.disk(1)?.directory, '/d2');
  t.equal(set.disk(1)?.id, membership.members[0]?.id);
});

void t.test('a disk of another pool in the place of one of ours is not touched', async (t) => {
  const { machine, membership } = await newPool();
  await newPool(machine, 'other', ['/o1', '/o2']);
  const ours = machine.medium('/d1');
  machine.move('/o1', '/d1');
  const { set } = await openOn(t, machine, membership);
  t.equal(states(set), '-++');
  t.equal(set.members()[0]?.reason?.code, 'ESTALE');
  t.match(set.members()[0]?.reason?.message, 'pool "other"');
  t.equal(machine.isLocked(machine.medium('/d1')), false);
  machine.mount('/d1', ours);
  await set.probeNow();
  t.equal(states(set), '+++');
});

void t.test('reported failures: out at once, tried again after 1, 2, 4 … 30 s', async (t) => {
  const { machine, clock, set, changes } = await openPool(t);
  const disk = set.disk(1);
  set.reportFailure(1, new OperatingError('ENOSPC', 'full'));
  set.reportFailure(1, new OperatingError('EBADMSG', 'checksum'));
  set.reportFailure(1, new OperatingError('EAGAIN', 'queue'));
  t.same(changes, [], 'not the disk’s fault');
  set.reportFailure(1, new OperatingError('EIO', 'broken'));
  t.same(changes, ['1 out EIO'], 'told at once');
  t.equal((await failure(disk?.list('') ?? Promise.resolve())).code, 'EBADF', 'its handles are dead');
  const medium = machine.medium('/d1');
  const attempts: number[] = [];
  const open = machine.open.bind(machine);
  machine.open = (directory, lock) => {
    if (machine.mounted(directory) === medium && lock === false) attempts.push(clock.monotonicMs() / 1000);
    return open(directory, lock);
  };
  medium.failNext('read', 'EIO', 1000);
  await clock.advance(100_000);
  t.same(attempts, [1, 3, 7, 15, 31, 61, 91]);
  medium.clearFaults();
  await clock.advance(30_000);
  t.same(changes, ['1 out EIO', '1 in']);
  await clock.advance(60_000);
  attempts.length = 0;
  set.reportFailure(1, new OperatingError('EIO', 'again'));
  await clock.advance(1000);
  t.equal(attempts.length, 1, 'after a minute in, it starts with the shortest wait again');
});

void t.test('a deleted directory is noticed by the ENOENT that it causes', async (t) => {
  const { machine, set, clock, changes } = await openPool(t);
  machine.remove('/d1');
  set.reportFailure(1, new OperatingError('ENOENT', 'cannot create'));
  set.reportFailure(2, new OperatingError('ENOENT', 'cannot open'));
  await clock.advance(0);
  t.same(changes, ['1 out ENOENT'], 'a file alone that is missing is no reason');
});

void t.test('a stalled disk goes out, and its calls fail', async (t) => {
  const { machine, clock, set, changes } = await openPool(t);
  const medium = machine.medium('/d2');
  const disk = set.disk(2);
  medium.stalledPath = '';
  const call = failure(disk?.list('') ?? Promise.resolve());
  await clock.advance(59_000);
  t.same(changes, []);
  await clock.advance(5000);
  t.same(changes, ['2 out ETIMEDOUT']);
  t.equal((await call).code, 'EBADF');
  machine.release(medium);
  await clock.advance(120_000);
  t.same(changes, ['2 out ETIMEDOUT', '2 in']);
});

void t.test('a new life waits until the last one has ended, but not for ever', async (t) => {
  const { machine, membership } = await newPool();
  const clock = new ManualClock();
  const plain = simulatedOpener(machine);
  let release = (): void => undefined;
  let opened = 0;
  const opener: DiskOpener = {
    ...plain,
    openDisk: async (path, identify) => {
      const disk = await plain.openDisk(path, identify);
      if (path !== '/d1') return disk;
      opened++;
      // Calls that do not come back hold the close up.
      const close = disk.close.bind(disk);
      disk.close = async () => {
        await close();
        await new Promise<void>((resolve) => (release = resolve));
      };
      return disk;
    },
  };
  const set = await openWatchedDiskSet({ opener, clock, membership, log: () => undefined });
  set.reportFailure(1, new OperatingError('EIO', 'broken'));
  await clock.advance(20_000);
  t.equal(opened, 1, 'old calls may still fail');
  release();
  await clock.advance(1000);
  t.equal(opened, 2);
  set.reportFailure(1, new OperatingError('EIO', 'broken'));
  await clock.advance(120_000);
  t.equal(opened, 3, 'they hang: it goes on without them');
  const closed = set.close();
  await clock.advance(120_000);
  await closed;
});

void t.test('a disk whose superblock is damaged goes out and is not written to', async (t) => {
  const { machine, clock, set, changes } = await openPool(t);
  const medium = machine.medium('/d1');
  medium.flip(SUPERBLOCK_FILE, 70);
  await clock.advance(1000);
  t.same(changes, [], 'one copy is enough');
  medium.flip(SUPERBLOCK_FILE, (256 << 10) + 70);
  await clock.advance(1000);
  t.same(changes, ['1 out EBADMSG']);
  t.match(set.members()[0]?.reason?.message, SUPERBLOCK_FILE);
  const before = medium.file(SUPERBLOCK_FILE).read(0, 1 << 20);
  await clock.advance(60_000);
  t.same(medium.file(SUPERBLOCK_FILE).read(0, 1 << 20), before);
});

void t.test('errors are counted over all comings and goings', async (t) => {
  const { machine, clock, set } = await openPool(t);
  set.countError(1, 'checksum');
  set.countError(1, 'read');
  t.equal(set.disk(1)?.health.checksumErrors, 1);
  t.equal(set.members()[0]?.errors, 2);
  machine.medium('/d1').failNext('syncAll', 'EIO');
  await failure(set.disk(1)?.syncAll() ?? Promise.resolve());
  t.equal(set.members()[0]?.errors, 3);
  set.reportFailure(1, new OperatingError('EIO', 'broken'));
  t.equal(set.members()[0]?.errors, 3);
  set.countError(1, 'write');
  await clock.advance(2000);
  t.equal(states(set), '+++');
  t.equal(set.members()[0]?.errors, 4);
  t.equal(set.members()[1]?.errors, 0);
});

void t.test('the newest membership wins, and disks that missed it get it', async (t) => {
  const { machine, membership } = await newPool();
  const next: Membership = { ...membership, version: 2, poolName: 'pictures' };
  const away = machine.unmount('/d1');
  for (const directory of ['/d2', '/d3']) await updateSuperblock(machine.open(directory, false), next);
  const { set, clock } = await openOn(t, machine, membership);
  t.same(set.membership, next);
  machine.mount('/d1', away);
  await clock.advance(1000);
  t.equal(states(set), '+++');
  t.same((await readSuperblock(machine.open('/d1', false))).membership, next);
});

void t.test('random comings and goings end with all disks in', async (t) => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = seededRandom(seed);
    const machine = new SimulatedMachine(random);
    const { membership } = await newPool(machine);
    const media = directories.map((directory) => machine.medium(directory));
    const { clock, set } = await openOn(t, machine, membership);
    for (let step = 0; step < 30; step++) {
      const index = random.below(3);
      const medium = media[index];
      const directory = directories[index];
      if (!medium || !directory) throw new Error('three disks');
      const action = random.below(6);
      if (action === 0 && !medium.gone) machine.vanish(medium);
      else if (action === 1) machine.comeBack(medium);
      else if (action === 2) machine.mount(directory, medium);
      else if (action === 3) machine.remove(directory);
      else if (action === 4) set.reportFailure(index + 1, new OperatingError('EIO', 'random'));
      else medium.failNext('read', 'EIO', random.below(4));
      if (random.below(2) === 0) await clock.advance(random.below(3000));
      for (const [i, member] of set.members().entries())
        if (member.disk && member.disk.id !== media[i]?.id) t.fail(`seed ${seed}: the wrong disk is in`);
    }
    for (const [i, medium] of media.entries()) {
      machine.comeBack(medium);
      medium.clearFaults();
      machine.mount(directories[i] ?? '', medium);
    }
    await clock.advance(65_000);
    t.equal(states(set), '+++', `seed ${seed}`);
    for (const medium of media) t.equal(machine.isLocked(medium), true);
    await set.close();
    for (const medium of media) t.equal(machine.isLocked(medium), false);
  }
});

void t.test('init: all disks or none', async (t) => {
  const create = (machine: SimulatedMachine, membership: Membership): Promise<void> =>
    initialiseDisks({ opener: simulatedOpener(machine), membership, settings: {}, created: '2026-01-01T00:00:00Z' });
  const fresh = (): SimulatedMachine => {
    const machine = new SimulatedMachine(seededRandom(3));
    for (const directory of directories) machine.addDisk(directory);
    return machine;
  };
  const untouched = (machine: SimulatedMachine, from = directories): void => {
    for (const directory of from) t.same(machine.medium(directory).paths(), [], `${directory} is as it was`);
  };
  {
    const machine = fresh();
    await (await machine.open('/d3', false).open('mine', { create: true, write: true })).close();
    t.equal((await failure(create(machine, newMembership(machine)))).code, 'ENOTEMPTY');
    t.same(machine.medium('/d3').paths(), ['mine']);
    untouched(machine, ['/d1', '/d2']);
  }
  {
    const machine = fresh();
    const membership = newMembership(machine);
    machine.remove('/d2');
    t.equal((await failure(create(machine, membership))).code, 'ENOENT');
    untouched(machine, ['/d1', '/d3']);
  }
  {
    const machine = fresh();
    const { members, ...rest } = newMembership(machine);
    const twice = members.map((member) => ({ ...member, directory: '/d1' }));
    t.equal((await failure(create(machine, { ...rest, members: twice }))).code, 'EBUSY', 'the same directory twice');
    const relative = members.map((member) => ({ ...member, directory: member.directory.slice(1) }));
    t.equal((await failure(create(machine, { ...rest, members: relative }))).code, 'EINVAL');
    untouched(machine);
  }
  {
    const machine = fresh();
    machine.medium('/d3').capacityBytes = 0;
    t.equal((await failure(create(machine, newMembership(machine)))).code, 'ENOSPC');
    untouched(machine);
    machine.medium('/d3').capacityBytes = 1 << 30;
    await create(machine, newMembership(machine));
    t.equal((await failure(create(machine, newMembership(machine)))).code, 'EEXIST');
    for (const directory of directories) t.equal(machine.isLocked(machine.medium(directory)), false);
  }
});

void t.test('import: finds pools on disks', async (t) => {
  const { machine, membership } = await newPool();
  await newPool(machine, 'other', ['/o1', '/o2']);
  machine.addDisk('/empty');
  await updateSuperblock(machine.open('/d2', false), { ...membership, version: 5 });
  machine.move('/d1', '/mnt/a');
  const opener = simulatedOpener(machine);
  const copy = machine.addDisk('/copy');
  const superblock = await withDirectory(opener, '/o1', readSuperblock);
  const file = await machine.open('/copy', false).open(SUPERBLOCK_FILE, { create: true, write: true });
  await file.write(0, [
    machine
      .medium('/o1')
      .file(SUPERBLOCK_FILE)
      .read(0, 1 << 20),
  ]);
  t.same(await readSuperblock(machine.open('/copy', false)), superblock);
  t.ok(copy.has(SUPERBLOCK_FILE));

  const { pools, failures } = await findPools(opener, ['/mnt/a', '/d2', '/o1', '/copy', '/empty', '/nowhere', '/d2']);
  t.same(pools.map((pool) => pool.membership.poolName).sort(), ['other', 'photos']);
  const photos = pools.find((pool) => pool.membership.poolName === 'photos');
  t.equal(photos?.membership.version, 5, 'the newest');
  t.same(
    photos?.membership.members.map((member) => member.directory),
    ['/mnt/a', '/d2', '/d3'],
  );
  t.same([...(photos?.found ?? [])].sort(), [
    [1, '/mnt/a'],
    [2, '/d2'],
  ]);
  t.same(
    photos?.missing.map((member) => member.number),
    [3],
  );
  t.same(failures.map(({ directory, error }) => `${directory} ${error.code}`).sort(), ['/copy ESTALE', '/empty ENOENT', '/nowhere ENOENT']);
  t.equal(machine.isLocked(machine.medium('/d2')), false);
});
