/** The simulation finds bugs: each mutation leaves one rule out, and within so many seeds a promise must be seen broken that the rule is there for. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { run } from './driver.js';
import { historyOf } from './history.js';
import { mutations } from './mutations.js';
import { Violation, type Rule } from './violation.js';

const SEEDS_MAX = 100;

/** Where to begin, for those that few histories notice. */
const first: Readonly<Record<string, number>> = { 'verify frames': 38 };

/** What each is caught by. */
const expected: Readonly<Record<string, readonly Rule[]>> = {
  'sync data before the log': ['bytes'],
  'sync the log': ['I4 durable', 'I7 m losses'],
  'record what is endangered': ['heal', 'rows'],
  'heal before saying so': ['heal'],
  'commit in one transaction': ['rows', 'I3 one swap'],
  'search for what a crash stranded': ['I10 stranded space'],
  'give back what is freed': ['I10 stranded space'],
  'verify frames': ['bytes', 'I3 one swap'],
};

for (const [name, mutation] of Object.entries(mutations))
  await t.test(`without "${name}"`, async (test) => {
    const rules = must(expected[name], `what is "${name}" caught by?`);
    const from = first[name] ?? 1;
    for (let seed = from; seed < from + SEEDS_MAX; seed++) {
      const { error } = await run(historyOf(seed), mutation);
      if (error === undefined) continue;
      test.ok(error instanceof Violation && rules.includes(error.rule), `seed ${seed}: ${error.message.split('\n')[0] ?? ''}`);
      return;
    }
    test.fail(`not found in ${SEEDS_MAX} seeds`);
  });
