/** Pools of buffers: what is kept, and for how long. */
import t from 'tap';
import { BUFFERS_REST_MS, MiB } from '../../src/base/limits.js';
import { BufferPool } from '../../src/base/buffers.js';
import { ManualClock } from '../disk/manual-clock.js';

void t.test('buffers come back, as many as are kept', (t) => {
  const pool = new BufferPool(100, { keepMax: 2 });
  const taken = [pool.take(), pool.take(), pool.take()];
  t.equal(pool.taken, 3);
  for (const buffer of taken) pool.give(buffer);
  t.equal(pool.kept, 2);
  const again = [pool.take(), pool.take()];
  t.ok(
    again.every((buffer) => taken.includes(buffer)),
    'the same memory',
  );
  t.equal(pool.kept, 0);
  t.end();
});

void t.test('what nobody takes for a while goes, but for what rests', async (t) => {
  const clock = new ManualClock();
  const pool = new BufferPool(100, { keepMax: 8, resting: { keepMax: 1, clock } });
  const many = Array.from({ length: 6 }, () => pool.take());
  for (const buffer of many) pool.give(buffer);
  t.equal(pool.kept, 6);
  await clock.advance(BUFFERS_REST_MS);
  // Two are in use from time to time.
  const kept = pool.kept;
  t.ok(kept < 6 && kept > 2, 'those that were free all the time');
  for (const buffer of [pool.take(), pool.take()]) pool.give(buffer);
  await clock.advance(BUFFERS_REST_MS);
  t.equal(pool.kept, 2);
  await clock.advance(BUFFERS_REST_MS);
  t.equal(pool.kept, 1);
  await clock.advance(10 * BUFFERS_REST_MS);
  t.equal(pool.kept, 1);
  const out = [pool.take(), pool.take(), pool.take()];
  for (const buffer of out) pool.give(buffer);
  pool.close();
  t.equal(pool.kept, 0);
  pool.give(pool.take());
  t.equal(pool.kept, 0, 'closed');
});

void t.test("memory of large buffers that go is the system's at once", async (t) => {
  const clock = new ManualClock();
  const pool = new BufferPool(MiB, { keepMax: 2, resting: { keepMax: 1, clock } });
  const taken = [pool.take(), pool.take(), pool.take()];
  for (const buffer of taken) pool.give(buffer.fill(7));
  // V8's array begins somewhere in its first page.
  const discarded = (): boolean[] => taken.map((buffer) => buffer.subarray(4096, -4096).every((byte) => byte === 0));
  t.same(discarded(), [false, false, true], 'one was too many');
  await clock.advance(BUFFERS_REST_MS);
  t.same(discarded(), [false, true, true]);
  pool.close();
  t.same(discarded(), [true, true, true]);
});
