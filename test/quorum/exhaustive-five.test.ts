/**
 * The exhaustive check with five voters, of which two may be missing. Depth: one flush, while which more arrives; marks are written at once.
 */
import t from 'tap';
import { Explorer, nothing, type Run } from './explorer.js';
import { World } from './world.js';

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
  t.ok(explorer.counts.states >= 40 && explorer.counts.recoveries >= 250, 'it looked at many');
});
