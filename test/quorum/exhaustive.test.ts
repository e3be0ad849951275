/**
 * The exhaustive small-scope check of the quorum log: every order in which calls complete, every crash, every set of up to m missing voters;
 * then every crash during the recoveries from these. What is demanded is in `check` (explorer.ts). Depth: 3 voters, from the first promise through
 * two flushes; recoveries of these in one order. 5 voters: exhaustive-five.test.ts.
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
  const step = Math.max(1, Math.floor(left.length / 4));
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
  t.ok(inRecovery.counts.states >= 150, 'it looked at many');
});
