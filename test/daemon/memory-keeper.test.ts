/** When the daemon has garbage looked for, and when it gives memory back. */
import t from 'tap';
import { keepMemory } from '../../src/daemon/memory-keeper.js';
import { MiB } from '../../src/base/limits.js';
import { ManualClock } from '../disk/manual-clock.js';

function bench() {
  const clock = new ManualClock();
  const done: string[] = [];
  const state = { bytes: 0, cpuMs: 0 };
  const note = (what: string) => () => void done.push(`${clock.monotonicMs()} ${what}`);
  const end = keepMemory(clock, {
    bufferBytes: () => state.bytes,
    cpuMs: () => state.cpuMs,
    beginCollection: note('collect'),
    trim: note('trim'),
  });
  return { clock, done, state, end };
}

t.test('garbage is looked for where buffers pile up, once for each pile', async (t) => {
  const { clock, done, state, end } = bench();
  state.bytes = 10 * MiB;
  await clock.advance(1000);
  t.same(done, []);
  state.bytes++;
  await clock.advance(1000);
  t.same(done, ['1250 collect']);
  state.bytes = 3 * MiB;
  await clock.advance(250);
  state.bytes = 14 * MiB;
  await clock.advance(250);
  t.same(done, ['1250 collect', '2500 collect']);
  end();
});

t.test('memory is given back after work, not during it', async (t) => {
  const { clock, done, state, end } = bench();
  for (let second = 0; second < 30; second++) {
    state.cpuMs += 201;
    await clock.advance(1000);
  }
  t.same(done, [], 'busy');
  for (let second = 0; second < 100; second++) {
    state.cpuMs += 150;
    await clock.advance(1000);
  }
  const rest = ['35000 collect', '38000 trim', '50000 collect', '53000 trim'];
  t.same(done, rest, 'once after each busy time');
  state.cpuMs += 500;
  await clock.advance(5000);
  t.same(done.length, 4);
  await clock.advance(1000);
  t.same(done.slice(4), ['136000 collect']);
  state.cpuMs += 500;
  await clock.advance(30_000);
  t.same(done.slice(5), [], 'not again within a minute');
  await clock.advance(30_000);
  t.same(done.slice(5), ['196000 collect'], 'and made up for then');
  await clock.advance(30_000);
  t.same(done.slice(6), ['199000 trim', '211000 collect', '214000 trim']);
  state.cpuMs += 500;
  end();
  await clock.advance(100_000);
  t.equal(done.length, 9, 'it has ended');
});
