/** Which voters a flush waits for: the quickest ones, as many as it needs; the others follow. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { VOTER_FOLLOW_MS, VOTER_PATIENCE_MS_MIN } from '../../src/base/limits.js';
import type { QuorumLog } from '../../src/quorum/quorum-log.js';
import { put, quiet, World } from './world.js';

const lose = () => () => false;
const quickest = { allVotersAtOnce: false };
const synced = (log: QuorumLog): number[] =>
  log.voters().flatMap(({ number, syncedPosition }) => (syncedPosition === log.head.position ? [number] : []));

void t.test('a flush waits for as many voters as it needs; the others follow, many flushes together', async (t) => {
  const world = await World.fresh(5);
  const { log } = await world.open({ options: quickest });
  await quiet();
  for (const text of ['a', 'b', 'c']) {
    await log.durable(put(log, text));
    await quiet();
    t.equal(synced(log).length, 3, 'three of five');
  }
  world.clock.advance(VOTER_FOLLOW_MS);
  await quiet();
  t.same(synced(log), [1, 2, 3, 4, 5]);
  // Two of those that had it first are lost with the power.
  const had = synced(log);
  await log.durable(put(log, 'd'));
  await quiet();
  const first = synced(log);
  t.same([had.length, first.length], [5, 3]);
  world.crash(true, lose);
  const { log: again } = await world.open({ missing: first.slice(0, 2) });
  t.same(world.working.state.data, ['a', 'b', 'c', 'd'], 'one that has it is enough among a majority');
  await again.close();
});

void t.test('where one of the quickest voters is late or fails, all are asked', async (t) => {
  const world = await World.fresh(5);
  const { log } = await world.open({ options: quickest });
  await quiet();
  await log.durable(put(log, 'a'));
  await quiet();
  const [late, failing] = synced(log);
  world.medium(must(late, 'three have it')).stalledPath = 'quorum/log';
  const durable = log.durable(put(log, 'b'));
  await quiet();
  t.equal(synced(log).length, 2, 'one is missing');
  world.clock.advance(VOTER_PATIENCE_MS_MIN);
  await durable;
  await quiet();
  t.same(synced(log).length, 4, 'all others were asked');
  world.medium(must(failing, 'three have it')).failNext('write', 'EIO', 1, 'quorum/log');
  await log.durable(put(log, 'c'));
  t.notOk(synced(log).includes(must(failing, 'checked')), 'without any time passing');
  world.machine.release(world.medium(must(late, 'checked')));
  await quiet();
  await log.close();
  t.same(world.working.state.data, ['a', 'b', 'c']);
});
