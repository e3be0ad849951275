/** What a process strands that was taken over, and writes when its successor has searched already (I10). */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom } from '../../src/base/clock.js';
import { writeOn } from './ghost.js';
import { strandedRecords } from './oracle.js';
import { World } from './world.js';

/** By then the search for stranded records has come to its end, and whoever has nothing to do writes no more: it does not notice that it was taken over. */
const QUIET_MS = 10_000;

t.test('the next start finds it; the one after that has nothing to search for', async (test) => {
  const world = new World({ disks: 4, code: { k: 2, m: 1 }, durability: 'interval' }, 1);
  const stranded = (): number => strandedRecords(world, must(world.process?.working, 'it is open').rows()).length;
  await world.create();
  await world.start();
  await world.time.pass(QUIET_MS);
  const old = world.takeOver();
  const successor = await world.start();
  await world.time.pass(QUIET_MS);
  test.equal(successor.services?.strandedPossible, false, 'it has searched');
  await world.within(writeOn(must(old.pool, 'it is open').namespace, 'late', 1, seededRandom(1)), QUIET_MS, 'a late write');
  world.endFenced(old);
  test.ok(stranded() > 0, 'the late write is on the disks');
  await world.stop();
  const next = await world.start();
  test.equal(next.services?.strandedPossible, true, 'one clean stop is not enough');
  await world.time.pass(QUIET_MS);
  test.equal(stranded(), 0, 'its space is given back');
  await world.stop();
  const last = await world.start();
  test.equal(last.services?.strandedPossible, false, 'two are');
  await world.stop();
});
