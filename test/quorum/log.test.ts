import t from 'tap';
import { World } from './world.js';

void t.test('append, durable, close, open', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  t.equal(log.writable, true);
  t.equal(log.epoch, 1);
  const p = log.append(Buffer.from('a'));
  log.append(Buffer.from('b'));
  await log.durable(p + 1);
  t.equal(log.durablePosition, log.head.position);
  log.append(Buffer.from('c'));
  await log.close();
  world.crash(true, () => () => false);
  const again = await world.open();
  t.same(world.working.state.data, ['a', 'b', 'c']);
  t.equal(again.log.epoch, 2);
  t.same(
    again.log.voters().map((v) => v.state),
    ['online', 'online', 'online'],
  );
  await again.log.close();
  t.comment(world.messages.join('\n'));
  t.comment(world.medium(1).paths());
});
