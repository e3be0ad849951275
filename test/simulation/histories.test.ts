/** Whole pools in simulation: some histories hold all invariants, and a seed is a run: the same one twice does the same, call by call. */
import t from 'tap';
import { run } from './driver.js';
import { describeStep, historyOf } from './history.js';

const SEEDS = 30;

await t.test(`the first ${SEEDS} seeds hold all invariants`, async (test) => {
  let crashes = 0;
  let faults = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const history = historyOf(seed);
    const { error, counts } = await run(history);
    crashes += counts.crashes;
    faults += counts.faults;
    if (error !== undefined) test.fail(`seed ${seed}: ${error.message}`, { steps: history.steps.map(describeStep) });
  }
  test.ok(crashes > 50 && faults > 50, `${crashes} crashes, ${faults} faults`);
});

await t.test('the same seed does the same, whatever ran before it', async (test) => {
  for (const seed of [2, 7, 11]) {
    const first = await run(historyOf(seed));
    await run(historyOf(seed + 100));
    const second = await run(historyOf(seed));
    test.equal(second.digest, first.digest, `seed ${seed}`);
    test.same(second.counts, first.counts);
  }
});
