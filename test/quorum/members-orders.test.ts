/**
 * One more voter: every order in which the calls of the change complete, and every crash. Depth: 3 voters become 4, an entry before and one meanwhile; calls for a
 * superblock but its rename, and those for marks, complete at once.
 */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import type { SimulatedOperation } from '../../src/disk/simulated-disk.js';
import { Explorer, nothing } from './explorer.js';
import { MemberWorld } from './member-world.js';

/** A new superblock appears with its rename; what comes before it means nothing. */
function quickly({ kind, path }: SimulatedOperation): boolean {
  if (path.includes('mark') || path.includes('promise')) return true;
  return path.includes('superblock') && kind !== 'rename';
}

void t.test('3 voters, one more: every order and every crash', async (t) => {
  const explorer = new Explorer();
  await explorer.explore({
    base: await MemberWorld.make(4, [1, 2, 3]),
    before: nothing,
    scenario: async (run) => {
      const world = run.world as MemberWorld;
      run.exploring = false;
      await run.open();
      run.append('a');
      await run.durable();
      await run.log?.addLearner(4, must(world.disks?.disk(4), 'it is there'));
      run.exploring = true;
      run.append('b');
      await world.vote([1, 2, 3, 4]);
    },
    orders: 'all',
    atOnce: quickly,
    alike: true,
    survivals: ['none'],
  });
  t.comment(JSON.stringify(explorer.counts));
  t.ok(explorer.counts.states >= 50, 'it looked at many');
});
