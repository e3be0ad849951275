/** What the quorum log does with durable replicas: when they follow, and how far. (Which of them is fed when: replica-feeder.test.ts.) */
import t from 'tap';
import {
  LOG_FILE_BYTES_MAX,
  LOG_STRETCH_BYTES,
  LOG_STRETCH_ENTRY_BYTES,
  LOG_STRETCHES_BEHIND_MAX,
  REPLICA_INTERVAL_MS,
} from '../../src/base/limits.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import { RECORD_HEADER_BYTES } from '../../src/quorum/record.js';
import { poolId, put, quiet, World } from './world.js';

const lose = () => () => false;

void t.test('durable replicas follow late, logs are cut behind those of a majority', async (t) => {
  const world = await World.fresh(1);
  const journal = memoryJournal(journalMemory(2 ** 23), { poolId, bootId: 'b' });
  const { log } = await world.open({ options: { journal } });
  const total = Math.ceil(LOG_FILE_BYTES_MAX / 2 ** 20) + 6;
  for (let count = 0; count < total; count++) {
    for (let room = log.reserve(2 ** 20 - 100); room !== undefined; room = log.reserve(2 ** 20 - 100)) await room;
    log.append(Buffer.alloc(2 ** 20 - 100, 65 + (count % 26)));
  }
  await log.durable(log.head.position);
  const files = (): string[] =>
    world
      .medium(1)
      .paths()
      .filter((path) => path.includes('/log-'));
  world.clock.advance(REPLICA_INTERVAL_MS);
  await quiet();
  t.equal(log.voters()[0]?.replicaPosition, log.durablePosition);
  t.same(files(), ['quorum/log-0000001-00002'], 'the first file is gone');
  await log.close();
  world.crash(true, lose);
  const { log: again } = await world.open();
  t.ok(again.writable);
  t.equal(world.working.state.data.length, total);
  await again.close();
});

void t.test('a durable replica goes no further than the log beside it', async (t) => {
  const world = await World.fresh(3);
  const { log } = await world.open();
  const before = log.head.position;
  // What is written to the third voter's log stays on the way.
  world.medium(3).stalledPath = 'quorum/log-0000001-00001';
  await log.durable(put(log, 'a'));
  world.clock.advance(REPLICA_INTERVAL_MS);
  await quiet();
  const replicas = (): (number | undefined)[] => world.voters.map((voter) => world.replicas.of(world.medium(voter).id).point?.position);
  t.equal(log.voters()[2]?.state, 'online');
  const [first, second, third] = replicas();
  t.same([first, second], [log.durablePosition, log.durablePosition]);
  t.ok(third !== undefined && third <= before, `${third}: the third log has ${before}, if it can be read`);
  world.machine.release(world.medium(3));
  await log.durable(put(log, 'b'));
  await quiet();
  world.clock.advance(REPLICA_INTERVAL_MS);
  await quiet();
  t.same(replicas(), world.voters.fill(log.durablePosition), 'then it follows');
  await log.close();
});

void t.test('appends wait while a majority of the replicas lacks several stretches', async (t) => {
  const world = await World.fresh(3);
  const journal = memoryJournal(journalMemory(2 ** 23), { poolId, bootId: 'b' });
  const { log } = await world.open({ options: { journal } });
  let release = (): void => undefined;
  world.replicas.held = new Promise((resolve) => (release = resolve));
  const payload = Buffer.alloc(2 ** 20 - 100, 1);
  const each = Math.ceil(LOG_STRETCH_BYTES / (payload.length + RECORD_HEADER_BYTES + LOG_STRETCH_ENTRY_BYTES));
  let appended = 0;
  const append = async (): Promise<boolean> => {
    for (let turns = 0; log.reserve(payload.length) !== undefined; turns++) {
      if (turns === 20) return false;
      await quiet();
    }
    log.append(payload);
    appended++;
    return true;
  };
  while (await append()) t.ok(appended < 10 * each, `${appended} entries`);
  t.ok(
    appended >= (LOG_STRETCHES_BEHIND_MAX + 1) * each - 1 && appended <= (LOG_STRETCHES_BEHIND_MAX + 1) * each,
    `${appended} entries, ${each} to a stretch`,
  );
  t.ok(log.writable);
  await log.durable(log.head.position);
  const waiting = log.reserve(payload.length);
  release();
  world.replicas.held = undefined;
  await waiting;
  t.ok(await append(), 'there is room as soon as they follow');
  await log.close();
  t.equal(world.replicas.of(world.medium(1).id).data.length, appended);
});
