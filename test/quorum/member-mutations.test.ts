/** What the rules for changes of members are for: each is left out in turn, and something acknowledged is lost, which with all rules is not. */
import t from 'tap';
import { nothing, Run, Violation } from './explorer.js';
import { anyStart } from './member-starts.js';
import { MemberWorld, type MemberMutations } from './member-world.js';
import { settle, type Pending } from './world.js';

const lose = () => () => false;

async function violation(action: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await action();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof Violation)) throw thrown;
    return thrown.message;
  }
}

async function world(count: number, voters: readonly number[], mutations: MemberMutations): Promise<MemberWorld> {
  const made = await MemberWorld.make(count, voters);
  made.memberMutations = mutations;
  return made;
}

/** New superblocks appear on none of these disks. */
function failing(pool: MemberWorld, numbers: readonly number[]): void {
  for (const number of numbers) pool.medium(number).failNext('rename', 'EIO', 999, 'superblock');
}

function mend(pool: MemberWorld): void {
  for (const number of pool.voters) pool.medium(number).clearFaults();
}

/** All but the new disks miss the changes; then the old ones are there alone. */
async function forgotten(mutations: MemberMutations): Promise<string | undefined> {
  const pool = await world(5, [1, 2, 3], mutations);
  const run = new Run(pool, nothing, mutations);
  await run.open();
  run.append('a');
  await run.durable();
  failing(pool, [1, 2, 3]);
  for (const voters of [
    [1, 2, 3, 4],
    [2, 3, 4],
    [2, 3, 4, 5],
    [3, 4, 5],
  ])
    await pool.vote(voters).catch(() => undefined);
  // Only new voters have it.
  run.log?.setVoterDisk(3, undefined);
  run.append('b');
  await run.durable();
  pool.crash(true, lose);
  mend(pool);
  return violation(() => anyStart(pool, run));
}

void t.test('a change that only few disks know of is forgotten', async (t) => {
  t.equal(await forgotten({}), undefined);
  t.match(await forgotten({ skipMajority: true }), /a start with/);
});

/** An entry is on two of three voters when a third joins and one of the two goes. */
async function inFlight(mutations: MemberMutations): Promise<string | undefined> {
  const pool = await world(4, [1, 2, 3], mutations);
  const run = new Run(pool, nothing, mutations);
  const log = await run.open();
  run.append('a');
  await run.durable();
  const joining = pool.disks?.disk(4);
  if (joining !== undefined) await log.addLearner(4, joining);
  pool.held = true;
  run.append('b');
  const durable = run.durable();
  // What goes into the logs of 3 and 4 takes its time.
  const prompt = ({ voter, operation }: Pending): boolean => voter <= 2 || !operation.path.startsWith('quorum/log-');
  const drive = async (): Promise<void> => {
    for (;;) {
      for (let turn = 0; turn < 5; turn++) await settle();
      const index = pool.pending.findIndex(prompt);
      if (index < 0) return;
      pool.pending.splice(index, 1)[0]?.run();
    }
  };
  await drive();
  await durable;
  const changed = pool.vote([1, 2, 3, 4]).then(() => pool.vote([2, 3, 4]));
  changed.catch(() => undefined);
  await drive();
  pool.crash(true, lose);
  return violation(() => anyStart(pool, run));
}

void t.test('of two changes in flight the second loses what the first has not carried over', async (t) => {
  t.equal(await inFlight({}), undefined);
  t.match(await inFlight({ skipChangeEntry: true }), /a start with/);
});

/** Of four voters one leader would add a fifth, the next one would remove one; each reaches a single disk. */
async function siblings(mutations: MemberMutations): Promise<string | undefined> {
  const pool = await world(5, [1, 2, 3, 4], mutations);
  const first = new Run(pool, nothing, mutations);
  await first.open();
  first.append('a');
  await first.durable();
  failing(pool, [2, 3, 4, 5]);
  await pool.vote([1, 2, 3, 4, 5]).catch(() => undefined);
  pool.crash(true, lose);
  mend(pool);
  const second = new Run(pool, nothing, mutations);
  await second.open({ missing: [1] });
  // With the rule, the stamp comes before the change: it must get through.
  if (mutations.skipStamp === true) failing(pool, [2, 4, 5]);
  await pool.vote([2, 3, 4]).catch(() => undefined);
  pool.crash(true, lose);
  mend(pool);
  const third = new Run(pool, nothing, mutations);
  await third.open({ missing: [1, 2, 5] });
  if (third.log?.writable === true) {
    third.append('b');
    third.appended.unshift('a');
    await third.durable();
  }
  pool.crash(true, lose);
  return violation(() => anyStart(pool, third));
}

void t.test('without the stamp of its epoch a change stands beside one that an earlier leader left', async (t) => {
  t.equal(await siblings({}), undefined);
  t.match(await siblings({ skipStamp: true }), /a start with/);
});
