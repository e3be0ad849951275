/**
 * The exhaustive small-scope check of the quorum log: every order in which calls complete, every crash, every set of up to m missing voters;
 * then every crash during the recoveries from these. What is demanded is in `check` (explorer.ts). Depth: 3 voters, from the first promise through
 * two flushes; 5 voters, one flush; recoveries of 3 voters in one order.
 */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { Explorer, nothing, type Promised, type Run } from './explorer.js';
import { World } from './world.js';

/** Two flushes, the second of which has what arrived during the first, and an entry that nobody waits for. */
async function twoFlushes(run: Run): Promise<void> {
  await run.open();
  run.append('a');
  // Longer than a block, so that a write can be torn within it.
  run.append('b'.repeat(5000));
  const first = run.durable();
  run.append('c');
  await first;
  await run.durable();
  run.append('d');
}

async function oneFlush(run: Run): Promise<void> {
  run.exploring = false;
  await run.open();
  run.exploring = true;
  run.append('a');
  run.append('b');
  const first = run.durable();
  run.append('c');
  await first;
}

void t.test('3 voters: every order and every crash from the first promise on, and every crash in a recovery', async (t) => {
  const explorer = new Explorer();
  const left: { world: World; promised: Promised }[] = [];
  await explorer.explore({
    base: await World.fresh(3),
    before: nothing,
    scenario: twoFlushes,
    orders: 'all',
    survivals: ['none', 'all', 'block'],
    crashed: (world, promised) => left.push({ world: world.copy(), promised }),
  });
  t.comment(`${JSON.stringify(explorer.counts)}, ${left.length} states to recover from`);
  t.ok(explorer.counts.states >= 500 && explorer.counts.recoveries >= 2000, 'it looked at many');

  // Every n-th of them, with crashes in the recovery itself.
  const inRecovery = new Explorer();
  const step = Math.max(1, Math.floor(left.length / 6));
  for (let index = 0; index < left.length; index += step) {
    const { world, promised } = must(left[index], 'in range');
    const missing = index % 2 === 0 ? [] : [(index % 3) + 1];
    await inRecovery.explore({
      base: world,
      before: promised,
      scenario: (run) => run.recover({ missing }),
      orders: 'first',
      alike: true,
      forgetMissing: true,
      survivals: ['none', 'block', 'holes'],
    });
  }
  t.comment(`in recovery: ${JSON.stringify(inRecovery.counts)}`);
  t.ok(inRecovery.counts.states >= 200, 'it looked at many');
});

void t.test('5 voters: every order and every crash of a flush', async (t) => {
  const explorer = new Explorer();
  await explorer.explore({
    base: await World.fresh(5),
    before: nothing,
    scenario: oneFlush,
    orders: 'all',
    atOnce: 'mark',
    forgetMissing: true,
    survivals: ['none', 'all'],
  });
  t.comment(JSON.stringify(explorer.counts));
  t.ok(explorer.counts.states >= 100 && explorer.counts.recoveries >= 500, 'it looked at many');
});
