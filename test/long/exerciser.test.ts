/**
 * One file after the other under random operations against a shadow copy (OSTRAKA_EXERCISE_SECONDS long, default 25; OSTRAKA_SEED for the first one). The seed of
 * what went wrong is printed with the operations before it. First on ext4, which shows that the exerciser is right.
 */
import { writeFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { Exerciser, type ExerciserTarget } from '../posix/exerciser.js';
import { buildAgent, cannotRun, ext4 } from '../posix/targets.js';
import { TestPool } from '../support/pool.js';

const OPERATIONS = 1500;
const seconds = Number(process.env.OSTRAKA_EXERCISE_SECONDS ?? 25);
const firstSeed = Number(process.env.OSTRAKA_SEED ?? Math.floor(Math.random() * 1_000_000));
/** Only what is clean goes: the exerciser has synced its own. */
const dropCaches = (): Promise<void> => writeFile('/proc/sys/vm/drop_caches', '3');
const skip = await cannotRun();

async function exercise(t: Test, target: ExerciserTarget, forSeconds: number): Promise<void> {
  const end = performance.now() + forSeconds * 1000;
  let operations = 0;
  for (let seed = firstSeed; seed === firstSeed || performance.now() < end; seed++) {
    const exerciser = new Exerciser(target, seededRandom(seed), `file-${seed}`);
    try {
      await exerciser.run(OPERATIONS);
    } catch (error) {
      t.fail(`OSTRAKA_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    operations += exerciser.operations;
    t.pass(`seed ${seed}`);
  }
  t.comment(`${operations} operations from seed ${firstSeed} on`);
}

t.test('ext4', { skip }, async (t) => {
  const agent = await buildAgent(t);
  const directory = await ext4(t, 512 * 1024 ** 2);
  await exercise(t, { directory, agent, dropCaches, remount: undefined }, Math.min(3, seconds));
});

t.test('Ostraka', { skip }, async (t) => {
  const agent = await buildAgent(t);
  const pool = await TestPool.create(t);
  await pool.mount();
  const target = { directory: pool.mountpoint, agent, dropCaches, remount: () => pool.remount() };
  await exercise(t, target, seconds);
  t.equal(
    (await pool.ostraka(['check', pool.name, '--data'], { mayFail: true, limitMs: 600_000 })).code,
    0,
    'and it checks, with all data',
  );
  await pool.unmount();
});
