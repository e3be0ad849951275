/**
 * Voters that change while the log is used: every crash in a change, with every disk missing at the recovery; then starts with any of the disks, also those
 * that a change has left behind. Depth: 3 voters become 4, then 3 others, with entries before, between and after. Every order in which the calls of a
 * change complete: members-orders.test.ts.
 */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { asOperatingError } from '../../src/base/errors.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import { Explorer, nothing, Run } from './explorer.js';
import { MemberWorld } from './member-world.js';
import { anyStart, driven } from './member-starts.js';
import { MemoryWorking } from './memory-machine.js';
import { poolId } from './world.js';

async function replaceVoter(run: Run): Promise<void> {
  const world = run.world as MemberWorld;
  run.exploring = false;
  await run.open();
  run.append('a');
  await run.durable();
  run.exploring = true;
  const added = world.vote([1, 2, 3, 4]);
  run.append('b');
  await Promise.all([run.durable(), added]);
  const removed = world.vote([2, 3, 4]);
  run.append('c');
  await Promise.all([run.durable(), removed]);
}

void t.test('3 voters, one replaced: every crash, calls completing in the order of their making', async (t) => {
  const explorer = new Explorer();
  await explorer.explore({
    base: await MemberWorld.make(4, [1, 2, 3]),
    before: nothing,
    scenario: replaceVoter,
    orders: 'first',
    survivals: ['none', 'all'],
  });
  t.comment(JSON.stringify(explorer.counts));
  t.ok(explorer.counts.states >= 60 && explorer.counts.recoveries >= 300, 'it looked at many');
});

void t.test('whichever disks are there at a start, it finds everything acknowledged, or does not lead', async (t) => {
  let starts = 0;
  let led = 0;
  for (let steps = 0; ; steps += 9) {
    const world = await MemberWorld.make(4, [1, 2, 3]);
    const run = new Run(world, nothing, {});
    const more = await driven(world, run, replaceVoter, steps);
    const counts = await anyStart(world, run);
    starts += counts.starts;
    led += counts.led;
    if (!more) break;
  }
  t.comment(`${starts} starts, ${led} of them led`);
  t.ok(led > 60 && starts > led);
});

void t.test('a change is refused without a majority of the old or of the new voters', async (t) => {
  const world = await MemberWorld.make(4, [1, 2, 3]);
  const { log } = await world.open();
  for (const number of [1, 2]) world.medium(number).failNext('rename', 'EIO', 99, 'superblock');
  const refused = await world.vote([1, 2, 3, 4]).catch((error: unknown) => asOperatingError(error));
  t.match(refused, { code: 'EROFS' });
  t.same(
    log.voters().map(({ number }) => number),
    [1, 2, 3],
    'the old ones are in force',
  );
  log.append(Buffer.from('still'));
  await log.durable(log.head.position);
  for (const number of [1, 2]) world.medium(number).clearFaults();
  await world.vote([1, 2, 3, 4]);
  await world.vote([1, 2, 4]);
  t.same(
    log.voters().map(({ number, state }) => `${number} ${state}`),
    ['1 online', '2 online', '4 online'],
  );
  await log.close();
  world.crash(true);
  const { log: again } = await world.open({ missing: [3] });
  t.same(world.working.state.data, ['still']);
  t.same(
    again.voters().map(({ number, state }) => `${number} ${state}`),
    ['1 online', '2 online', '4 online'],
  );
  await again.close();
});

void t.test('voters that change while data is being synced: what follows is durable all the same', async (t) => {
  const world = await MemberWorld.make(4, [1, 2, 3]);
  let synced = (): void => undefined;
  let syncs = 0;
  const syncData = async (): Promise<boolean> => {
    if (syncs++ === 0) await new Promise<void>((resolve) => (synced = resolve));
    return true;
  };
  const { log } = await world.open({ options: { syncData } });
  log.append(Buffer.from('a'));
  const first = log.durable(log.head.position);
  await world.vote([1, 2, 3, 4]);
  synced();
  await first;
  await world.vote([2, 3, 4]);
  t.equal(log.durablePosition, log.head.position, 'the entries of the changes are, too');
  await log.close();
});

void t.test('a voter that left and comes back as one knows nothing that others do not', async (t) => {
  const world = await MemberWorld.make(4, [1, 2, 3]);
  const { log } = await world.open();
  const put = async (text: string): Promise<void> => {
    log.append(Buffer.from(text));
    await log.durable(log.head.position);
  };
  await put('a');
  await world.vote([1, 2, 3, 4]);
  await world.vote([2, 3, 4]);
  await put('b');
  await world.vote([1, 2, 3, 4]);
  await world.vote([1, 2, 4]);
  await put('c');
  await log.close();
  world.crash(true);
  const { log: again } = await world.open({ missing: [2] });
  t.ok(again.writable);
  t.same(world.working.state.data, ['a', 'b', 'c']);
  await again.close();
});

void t.test('a second process that takes over in a change: the first one does not get it through', async (t) => {
  const world = await MemberWorld.make(4, [1, 2, 3]);
  const { log: old } = await world.open();
  const { disks, opened } = world;
  await old.addLearner(4, must(disks?.disk(4), 'it is there'));
  // It has its own memory.
  const working = new MemoryWorking();
  const journal = memoryJournal(journalMemory(2 ** 13), { poolId, bootId: 'elsewhere' });
  const { log: now } = await world.open({ options: { working, journal } });
  t.ok(now.writable);
  Object.assign(world, { disks, opened });
  await t.rejects(world.vote([1, 2, 3, 4]), { code: 'EROFS' });
  now.append(Buffer.from('new'));
  await now.durable(now.head.position);
  world.crash(true, () => () => false);
  await world.open();
  t.same(world.working.state.data, ['new']);
  t.same(world.disks?.membership.members.filter(({ voter }) => voter).length, 3, 'and its change is gone');
});
