/**
 * What the rules of the quorum log are for: each is left out in turn, and the check must find that a promise breaks. The same scenarios pass with
 * all rules in force (exhaustive.test.ts, fencing.test.ts and the control runs here).
 */
import t from 'tap';
import type { Mutations } from '../../src/quorum/mutations.js';
import { check, Explorer, nothing, Run, Violation } from './explorer.js';
import { fence } from './fence.js';
import { World, type Pending } from './world.js';

async function oneFlush(run: Run): Promise<void> {
  run.exploring = false;
  await run.open();
  run.exploring = true;
  run.append('a');
  await run.durable();
}

/** Explores a flush; the message of the violation, if any. */
async function exploreFlush(mutations: Mutations): Promise<string | undefined> {
  const explorer = new Explorer();
  return violation(async () =>
    explorer.explore({
      base: await World.fresh(3),
      before: nothing,
      scenario: oneFlush,
      mutations,
      orders: 'all',
      atOnce: 'mark',
      survivals: ['none'],
    }),
  );
}

async function violation(action: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await action();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof Violation)) throw thrown;
    return thrown.message;
  }
}

void t.test('with all rules nothing is found', async (t) => {
  t.equal(await exploreFlush({}), undefined);
});

void t.test('acknowledging without a sync loses what was acknowledged', async (t) => {
  // The mark may notice the loss, which is no better for the reader.
  t.match(await exploreFlush({ skipSync: true }), /lost what was acknowledged|read-only/);
});

void t.test('acknowledging on fewer voters loses what was acknowledged', async (t) => {
  t.match(await exploreFlush({ acknowledgeEarly: true }), /lost what was acknowledged/);
});

/** A log that was synced and marked, then damaged on one voter, while another one is missing: more than may be lost. It must be loud. */
async function damagedBelowMark(mutations: Mutations): Promise<string | undefined> {
  const world = await World.fresh(3);
  const run = new Run(world, nothing, mutations);
  // Voter 3 is away, so 1 and 2 have it.
  const log = await run.open({ missing: [3] });
  run.append('a');
  await run.durable();
  await log.close();
  world.crash(true);
  const path =
    world
      .medium(2)
      .paths()
      .filter((each) => each.includes('/log-'))[0] ?? '';
  world.medium(2).flip(path, 4096 + 70);
  const { log: again } = await world.open({ missing: [1], mutations });
  if (!again.writable) return undefined;
  return violation(() => check(world, [1], { appended: ['a'], acknowledged: 1, committed: 1 }, true, mutations));
}

void t.test('without the mark, damage is taken for a voter that is behind', async (t) => {
  t.equal(await damagedBelowMark({}), undefined, 'with the mark the log is read-only then');
  t.match(await damagedBelowMark({ ignoreMark: true }), /lost what was acknowledged/);
});

void t.test('without promises, or without asking for them, an old leader acknowledges what the new one does not have', async (t) => {
  t.equal(await violation(() => fence({ voterCount: 3, mutations: {} })), undefined);
  t.match(await violation(() => fence({ voterCount: 3, mutations: { skipPromise: true } })), /lost what the old leader acknowledged/);
  t.match(await violation(() => fence({ voterCount: 3, mutations: { skipFence: true } })), /lost what the old leader acknowledged/);
});

/** Explores the recovery from what `prepare` leaves. */
async function exploreRecovery(
  mutations: Mutations,
  prepare: (run: Run) => Promise<void>,
  { power, missing = [] }: { power: boolean; missing?: readonly number[] },
): Promise<string | undefined> {
  const run = new Run(await World.fresh(3), nothing, {});
  await prepare(run);
  run.world.crash(power, () => () => false);
  const { appended, acknowledged, committed } = run;
  return violation(() =>
    new Explorer().explore({
      base: run.world,
      before: { appended, acknowledged, committed: power ? acknowledged : committed },
      scenario: (recovery) => recovery.recover({ missing }),
      mutations,
      orders: 'first',
      alike: true,
      survivals: ['none', 'block'],
    }),
  );
}

void t.test('cutting what follows an entry that is written again loses it when the rewrite is torn', async (t) => {
  const prepare = async (run: Run): Promise<void> => {
    await run.open();
    run.append('a');
    run.append('b'.repeat(5000));
    await run.durable();
  };
  t.equal(await exploreRecovery({}, prepare, { power: true }), undefined);
  t.match(await exploreRecovery({ cutOnRewrite: true }, prepare, { power: true }), /lost what was acknowledged/);
});

void t.test('going on behind what was written but not synced loses it', async (t) => {
  const prepare = async (run: Run): Promise<void> => {
    await run.open();
    run.append('a');
    run.world.held = true;
    void run.durable().catch(() => undefined);
    const synced = ({ operation }: Pending): boolean => operation.kind === 'sync';
    await run.world.drive(undefined, (pending) => pending.filter(synced).length === 3);
  };
  t.equal(await exploreRecovery({}, prepare, { power: false }), undefined);
  t.match(await exploreRecovery({ trustUnsynced: true }, prepare, { power: false }), /lost|second recovery|read-only/);
});

/**
 * Voter 1 alone has an entry of epoch 1; voter 3 alone the first entry of epoch 2, whose leader knew nothing of it. Who recovers from 1 and 2
 * takes the entry of epoch 1, and has it on a majority: but a log that ends in epoch 2 is more advanced.
 */
async function rivals(run: Run): Promise<void> {
  const { world } = run;
  await run.open();
  run.append('a');
  world.held = true;
  void run.durable().catch(() => undefined);
  await world.drive(1);
  world.crash(true, () => () => false);
  world.held = true;
  void run.open({ missing: [1] }).catch(() => undefined);
  let removed = 0;
  await world.drive(undefined, (pending) => {
    removed += pending.filter(({ operation }) => operation.kind === 'unlink').length;
    return (
      removed > 0 && pending.length === 2 && pending.every(({ operation: { kind, path } }) => kind === 'write' && path.includes('log-'))
    );
  });
  await world.drive(3);
}

void t.test('serving before an entry of the own epoch is on a majority loses what was recovered', async (t) => {
  t.equal(await exploreRecovery({}, rivals, { power: true, missing: [3] }), undefined);
  t.match(await exploreRecovery({ skipLead: true }, rivals, { power: true, missing: [3] }), /lost what was acknowledged/);
});
