/** What the quorum log promises to those who use it, one test each. The crash safety is in exhaustive.test.ts and random.test.ts. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import { LOG_FILE_BYTES_MAX, LOG_KEPT_BYTES_MAX, REPLICA_INTERVAL_MS, VOTER_RETRY_MS } from '../../src/base/limits.js';
import { acknowledgementsFor } from '../../src/quorum/acknowledgements.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import { initialiseVoters } from '../../src/quorum/open.js';
import type { QuorumLog } from '../../src/quorum/quorum-log.js';
import { readVoter } from '../../src/quorum/voter-reader.js';
import { MemoryWorking } from './memory-machine.js';
import { poolId, put, quiet, settle, World } from './world.js';

const lose = () => () => false;

const states = (log: QuorumLog): string[] => log.voters().map((voter) => voter.state);

async function image(world: World, voter: number): Promise<Awaited<ReturnType<typeof readVoter>>> {
  const disk = world.openDisk(voter);
  const read = await readVoter(disk, { poolId, voter });
  await disk.close();
  return read;
}

void t.test('appended is committed at once, durable after a flush, and all there after a clean close', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  t.ok(log.writable);
  t.equal(log.epoch, 1);
  t.equal(log.durablePosition, log.head.position, 'what was recovered is durable');
  const position = put(log, 'a');
  t.equal(position, log.head.position);
  t.same(world.working.state.data, ['a'], 'applied');
  t.ok(log.durablePosition < position);
  await log.durable(position);
  t.equal(log.durablePosition, log.head.position);
  put(log, 'b');
  await log.close();
  t.throws(() => log.append(Buffer.from('c')), { code: 'EROFS' });
  await log.durable(log.head.position);
  for (const voter of world.voters) {
    const { mark, table } = await image(world, voter);
    t.equal(mark?.point.position, table.lastPosition, 'the mark is up to date');
    t.equal(world.replicas.of(world.medium(voter).id).point?.position, table.lastPosition, 'so is the replica');
  }
  world.crash(true, lose);
  const { log: again, journalEntries, cutEntries } = await world.open();
  t.same(world.working.state.data, ['a', 'b']);
  t.equal(again.epoch, 2);
  t.same([journalEntries, cutEntries], [0, 0]);
  t.same(states(again), ['online', 'online', 'online']);
  await again.close();
});

void t.test('one flush at a time: what arrives meanwhile is the next batch', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  let asked = 0;
  world.held = true;
  const ends = ['a', 'b', 'c'].map((text) => {
    const position = put(log, text);
    return log.durable(position).then(() => ++asked);
  });
  await settle();
  const writes = world.pending.filter(({ operation }) => operation.kind === 'write');
  t.equal(writes.length, 3, 'one write a voter');
  put(log, 'd');
  const last = log.durable(log.head.position);
  await world.drive(undefined);
  await Promise.all([...ends, last]);
  t.equal(asked, 3);
  world.held = false;
  await log.close();
});

void t.test('data is synced before its entries; where it had to be moved, the flush asks again and covers the moves', async (t) => {
  const world = await World.fresh(3);
  let asked = 0;
  let move = (): void => undefined;
  const syncData = (): Promise<boolean> => {
    asked++;
    if (asked === 1) move();
    return Promise.resolve(asked > 1);
  };
  const { log } = await world.open({ options: { syncData } });
  move = () => void put(log, 'moved');
  put(log, 'a');
  await log.durable(log.head.position);
  t.equal(asked, 2);
  t.same(world.working.state.data, ['a', 'moved']);
  t.equal(log.durablePosition, log.head.position);
  await log.close();
});

void t.test('an entry that came while data was being synced is not durable with that flush', async (t) => {
  const world = await World.fresh(3);
  const syncs: (() => void)[] = [];
  const syncData = (): Promise<boolean> => new Promise((resolve) => syncs.push(() => resolve(true)));
  const { log } = await world.open({ options: { syncData } });
  const first = put(log, 'a');
  const durable = log.durable(first);
  const second = put(log, 'b');
  must(syncs.shift(), 'asked')();
  await durable;
  t.ok(log.durablePosition >= first && log.durablePosition < second, 'only what was there when data was synced');
  const next = log.durable(second);
  await quiet();
  must(syncs.shift(), 'asked again')();
  await next;
  t.ok(log.durablePosition >= second);
  const closing = log.close();
  await quiet();
  for (const end of syncs) end();
  await closing;
});

void t.test('data that cannot be synced fails those who wait, and the commit interval tries again', async (t) => {
  const world = await World.fresh(3);
  let broken = true;
  const syncData = (): Promise<boolean> =>
    broken ? Promise.reject(new OperatingError('EIO', 'too many disks failed')) : Promise.resolve(true);
  const { log } = await world.open({ options: { syncData } });
  const position = put(log, 'a');
  await t.rejects(log.durable(position), { code: 'EIO' });
  t.ok(log.writable);
  broken = false;
  world.clock.advance(1000);
  await quiet();
  t.ok(log.durablePosition >= position);
  await log.close();
});

void t.test('the commit interval flushes what nobody waits for, and only when there is something', async (t) => {
  const world = await World.fresh(3);
  let asked = 0;
  const { log } = await world.open({ options: { syncData: () => Promise.resolve(++asked > 0) } });
  world.clock.advance(5000);
  await quiet();
  t.equal(asked, 0);
  const position = put(log, 'a');
  world.clock.advance(1000);
  await quiet();
  t.equal(asked, 1);
  t.ok(log.durablePosition >= position);
  await log.close();
});

void t.test('a full journal makes appends wait until a flush made room', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  let waited = 0;
  for (let count = 0; count < 200; count++) {
    for (let room = log.reserve(1000); room !== undefined; room = log.reserve(1000)) {
      waited++;
      await room;
    }
    log.append(Buffer.alloc(1000, 65));
  }
  t.ok(waited > 0 && waited < 100);
  await log.durable(log.head.position);
  t.equal(world.working.state.data.length, 200);
  await log.close();
});

void t.test('appends go on while data is being synced for long: voters take what is there', async (t) => {
  const world = await World.fresh(3);
  const syncs: (() => void)[] = [];
  const { log } = await world.open({ options: { syncData: () => new Promise((resolve) => syncs.push(() => resolve(true))) } });
  for (let count = 0; count < 200; count++) {
    for (let room = log.reserve(1000); room !== undefined; room = log.reserve(1000)) await room;
    log.append(Buffer.from(String(count).padEnd(1000)));
  }
  t.equal(syncs.length, 1, 'the first sync has not ended');
  const before = log.durablePosition;
  t.ok(before < 5, 'none of them is durable');
  // The daemon dies: all were committed.
  const all = [...world.working.state.data];
  world.crash(false);
  const { log: again } = await world.open({ missing: [2] });
  t.same(world.working.state.data, all);
  await again.close();
});

void t.test('a voter that fails is taken out and reported; the others go on; it returns by itself', async (t) => {
  const world = await World.fresh(3);
  const failed: number[] = [];
  const { log } = await world.open({ options: { voterFailed: (number) => failed.push(number) } });
  world.medium(2).failNext('sync', 'EIO');
  put(log, 'a');
  await log.durable(log.head.position);
  await quiet();
  t.same(failed, [2]);
  t.same(states(log), ['online', 'behind', 'online']);
  t.match(log.voters()[1]?.reason, /injected EIO/);
  put(log, 'b');
  await log.durable(log.head.position);
  world.clock.advance(VOTER_RETRY_MS);
  await quiet();
  t.same(states(log), ['online', 'online', 'online']);
  const files = world
    .medium(2)
    .paths()
    .filter((path) => path.includes('/log-'));
  t.ok(files.includes('quorum/log-0000001-00002'), 'in a new file: the old one is not synced again');
  await log.close();
  world.crash(true, lose);
  await world.open({ missing: [1] });
  t.same(world.working.state.data, ['a', 'b']);
});

void t.test('without a majority nothing is acknowledged; when voters return everything goes on', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  put(log, 'a');
  const waiting = t.rejects(log.durable(log.head.position), { code: 'EROFS' });
  world.machine.vanish(world.medium(1), lose);
  log.setVoterDisk(1, undefined);
  world.machine.vanish(world.medium(3), lose);
  log.setVoterDisk(3, undefined);
  await waiting;
  t.notOk(log.writable, 'two of three are gone');
  t.match(log.readOnlyReason, /1 of 3 voters are online, 2 are needed/);
  t.equal(log.reserve(1), undefined);
  t.throws(() => log.append(Buffer.from('x')), { code: 'EROFS' });
  await t.rejects(log.durable(log.head.position), { code: 'EROFS' });
  t.same(world.working.state.data, ['a'], 'reads go on');
  world.machine.comeBack(world.medium(3));
  log.setVoterDisk(3, world.openDisk(3));
  await quiet();
  t.ok(log.writable);
  t.equal(log.readOnlyReason, undefined);
  t.equal(log.durablePosition, log.head.position, 'what had waited was flushed');
  put(log, 'b');
  await log.durable(log.head.position);
  await log.close();
  world.crash(true, lose);
  world.machine.comeBack(world.medium(1));
  await world.open({ missing: [2] });
  t.same(world.working.state.data, ['a', 'b']);
});

void t.test('entries whose data is gone are cut, with all that follow', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  put(log, 'a');
  await log.durable(log.head.position);
  for (const text of ['b', 'c', 'd']) put(log, text);
  world.crash(false);
  const { log: again, cutEntries, journalEntries } = await world.open({ lostData: new Set(['a', 'c']) });
  t.same(world.working.state.data, ['a', 'b'], 'a is behind a barrier and not asked for');
  t.equal(cutEntries, 2);
  t.equal(journalEntries, 1);
  put(again, 'e');
  await again.close();
  world.crash(true, lose);
  await world.open({ missing: [3] });
  t.same(world.working.state.data, ['a', 'b', 'e']);
});

void t.test('wiped and damaged voters are broken, and repaired while the others serve', async (t) => {
  const world = await World.fresh(5);
  const { log } = await world.open();
  for (const text of ['a', 'b']) put(log, text);
  await log.close();
  world.crash(true);
  world.medium(1).wipe();
  world.replicas.forget(world.medium(1).id);
  const path = must(
    world
      .medium(2)
      .paths()
      .find((each) => each.includes('/log-')),
    'a log',
  );
  world.medium(2).flip(path, 4096 + 20);
  world.replicas.damage(world.medium(2).id);
  const { log: again } = await world.open();
  t.ok(again.writable);
  await quiet();
  t.same(states(again), ['online', 'online', 'online', 'online', 'online']);
  t.ok(
    world.messages.some((message) => /voter 2 is broken.*damaged/.test(message)),
    'the operator is told',
  );
  await again.close();
  world.crash(true, lose);
  await world.open({ missing: [3, 4] });
  t.same(world.working.state.data, ['a', 'b'], 'the repaired ones count again');
});

void t.test('too many broken or absent voters: read-only from the most advanced survivor, and nothing is written', async (t) => {
  const world = await World.fresh(5);
  const { log } = await world.open();
  for (const text of ['a', 'b']) put(log, text);
  await log.close();
  world.crash(true);
  for (const voter of [1, 2]) {
    world.medium(voter).wipe();
    world.replicas.forget(world.medium(voter).id);
  }
  const before = [3, 4, 5].map((voter) => world.fingerprint(voter, true));
  const { log: again } = await world.open({ missing: [3] });
  t.notOk(again.writable);
  t.match(again.readOnlyReason, /2 of 5 voters can be used, 3 are needed/);
  t.same(states(again), ['broken', 'broken', 'absent', 'behind', 'behind']);
  t.same(world.working.state.data, ['a', 'b']);
  t.throws(() => again.append(Buffer.from('x')), { code: 'EROFS' });
  t.same(
    [3, 4, 5].map((voter) => world.fingerprint(voter, true)),
    before,
  );
  await again.close();
  world.crash(true);
  const { log: back } = await world.open();
  t.ok(back.writable, 'with voter 3 back');
  await back.close();
});

void t.test('with no voter left there is nothing to open', async (t) => {
  const world = await World.fresh(3);
  await t.rejects(world.open({ missing: [1, 2, 3] }), { code: 'EIO' });
});

void t.test('replicas alone are enough to read', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  put(log, 'a');
  await log.close();
  world.crash(true);
  for (const voter of world.voters) world.medium(voter).wipe();
  for (const voter of world.voters) world.medium(voter).makeDirectory('quorum');
  const { log: again } = await world.open();
  t.notOk(again.writable);
  t.same(world.working.state.data, ['a']);
});

void t.test('a working replica that is ahead of the recovered history is made anew', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  put(log, 'a');
  await log.durable(log.head.position);
  put(log, 'b');
  world.crash(false);
  // As if shared memory had gone while the working replica stayed.
  world.journal = journalMemory(2 ** 15);
  const rebuilds = world.working.rebuilds;
  await world.open();
  t.same(world.working.state.data, ['a']);
  t.equal(world.working.rebuilds, rebuilds + 1);
});

void t.test('a voter that is slow to come back finds what it needs, however much is written meanwhile', async (t) => {
  const world = await World.fresh(3);
  const journal = memoryJournal(journalMemory(2 ** 23), { poolId, bootId: 'b' });
  const { log } = await world.open({ options: { journal }, missing: [3] });
  const write = async (mebibytes: number): Promise<void> => {
    for (let count = 0; count < mebibytes; count++) {
      for (let room = log.reserve(2 ** 20 - 100); room !== undefined; room = log.reserve(2 ** 20 - 100)) await room;
      log.append(Buffer.alloc(2 ** 20 - 100, 65 + (count % 26)));
    }
    await log.durable(log.head.position);
    world.clock.advance(REPLICA_INTERVAL_MS);
    await quiet();
  };
  const mebibytesOfFile = LOG_FILE_BYTES_MAX / 2 ** 20;
  await write(mebibytesOfFile + 6);
  t.equal(log.voters()[0]?.replicaPosition, log.durablePosition, 'the logs of the others begin late');
  // It gets a copy of a replica, and then its disk is slow.
  world.medium(3).stalledPath = 'quorum/log-0000001-00001';
  log.setVoterDisk(3, world.openDisk(3));
  await quiet();
  t.equal(states(log)[2], 'behind');
  await write(2 * mebibytesOfFile + 6);
  world.machine.release(world.medium(3));
  await quiet();
  t.same(log.voters()[2], { ...log.voters()[2], state: 'online', syncedPosition: log.head.position }, 'it caught up, in one go');
  t.equal(world.messages.filter((message) => message.includes('copy of another')).length, 1);
  // Then the logs are cut.
  await write(2);
  for (const voter of [1, 2])
    t.equal(
      world
        .medium(voter)
        .paths()
        .filter((path) => path.includes('/log-')).length,
      1,
    );
  await log.close();
});

void t.test('a voter that does not get on is not waited for: logs are cut all the same', async (t) => {
  const world = await World.fresh(3);
  const journal = memoryJournal(journalMemory(2 ** 23), { poolId, bootId: 'b' });
  const { log } = await world.open({ options: { journal }, missing: [3] });
  world.medium(3).stalledPath = 'quorum/log-0000001-00001';
  log.setVoterDisk(3, world.openDisk(3));
  for (let step = 0; step * LOG_FILE_BYTES_MAX < LOG_KEPT_BYTES_MAX + 3 * LOG_FILE_BYTES_MAX; step++) {
    for (let count = 0; count < LOG_FILE_BYTES_MAX / 2 ** 20; count++) {
      for (let room = log.reserve(2 ** 20 - 100); room !== undefined; room = log.reserve(2 ** 20 - 100)) await room;
      log.append(Buffer.alloc(2 ** 20 - 100, 65));
    }
    await log.durable(log.head.position);
    world.clock.advance(REPLICA_INTERVAL_MS);
    await quiet();
  }
  const files = world
    .medium(1)
    .paths()
    .filter((path) => path.includes('/log-'));
  t.ok(files.length <= 2, files.join());
  world.machine.release(world.medium(3));
  await quiet();
  world.clock.advance(VOTER_RETRY_MS);
  await quiet();
  t.equal(states(log)[2], 'online', 'it begins anew');
  await log.close();
});

void t.test('a second leader fences the first', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  put(log, 'a');
  await log.durable(log.head.position);
  const other = memoryJournal(journalMemory(2 ** 15), { poolId, bootId: 'other' });
  const { log: second } = await world.open({ options: { journal: other, working: new MemoryWorking() } });
  t.ok(second.writable);
  put(log, 'b');
  await t.rejects(log.durable(log.head.position), { code: 'EROFS' });
  t.notOk(log.writable);
  t.match(log.readOnlyReason, /another process leads this pool in epoch 2/);
});

void t.test('voters are made once', async (t) => {
  const world = await World.fresh(3);
  const voters = [{ number: 1, disk: world.openDisk(1) }];
  await t.rejects(initialiseVoters({ poolId, voters, replicas: world.replicas }), { code: 'EEXIST' });
});

void t.test('a directory of another pool or voter is not taken for the own', async (t) => {
  const world = await World.fresh(3);
  const disk = world.openDisk(1);
  const other = await readVoter(disk, { poolId: poolId.replace('0', 'f'), voter: 1 });
  t.match(other.broken, /no promise/);
  const wrong = await readVoter(disk, { poolId, voter: 2 });
  t.match(wrong.broken, /no promise/);
  t.equal((await readVoter(disk, { poolId, voter: 1 })).broken, undefined);
});

void t.test('how many must acknowledge', (t) => {
  t.equal(acknowledgementsFor(1, 0), 1);
  t.equal(acknowledgementsFor(2, 1), 2);
  t.equal(acknowledgementsFor(3, 1), 2);
  t.equal(acknowledgementsFor(3, 2), 3);
  t.equal(acknowledgementsFor(3, 4), 3);
  t.equal(acknowledgementsFor(4, 1), 3);
  t.equal(acknowledgementsFor(5, 2), 3);
  t.end();
});
