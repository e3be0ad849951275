/** Lookups after an ESTALE: what they find is held, for a time, and by a bounded number. */
import t from 'tap';
import { OperatingError } from '../../src/base/errors.js';
import { Retries } from '../../src/frontend/fuse/retries.js';
import type { Attributes, Ino } from '../../src/namespace/namespace.js';
import { ManualClock, settle } from '../disk/manual-clock.js';

const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const HOLD_MS = 1000;

function bench() {
  const clock = new ManualClock();
  const held: Ino[] = [];
  const forgotten: Ino[] = [];
  const gone = new Set<Ino>();
  const retries = new Retries(
    {
      hold: async (ino) => {
        if (gone.has(ino)) throw new OperatingError('ESTALE', 'gone');
        held.push(ino);
        return async () => void held.splice(held.indexOf(ino), 1);
      },
      forget: (ino) => void forgotten.push(ino),
    },
    clock,
    () => undefined,
  );
  const look = (ino: Ino, type = S_IFREG) =>
    retries.found(1, async () => ({ ino, mode: type | 0o644 }) as unknown as Attributes).then((found) => found?.ino);
  return { clock, held, forgotten, gone, retries, look };
}

t.test('what a thread finds after an ESTALE is held for a second', async (t) => {
  const { clock, held, retries, look } = bench();
  t.notOk(retries.isExpected(1));
  retries.expect(1);
  t.ok(retries.isExpected(1));
  t.notOk(retries.isExpected(2), 'a thread for itself');
  t.equal(await look(10), 10);
  await look(11, S_IFDIR);
  t.same(held, [10], 'no directory');
  await clock.advance(HOLD_MS - 1);
  t.same(held, [10]);
  retries.expect(1);
  await clock.advance(HOLD_MS - 1);
  t.same(held, [10], 'another ESTALE: another second');
  await clock.advance(1);
  t.same(held, []);
  t.notOk(retries.isExpected(1));
});

t.test('a name that is another one at each look', async (t) => {
  const { held, forgotten, gone, retries } = bench();
  retries.expect(1);
  gone.add(1).add(2);
  let next = 1;
  const found = await retries.found(1, async () => ({ ino: next++, mode: S_IFREG }) as unknown as Attributes);
  t.equal(found?.ino, 3);
  t.same(held, [3]);
  t.same(forgotten, [1, 2], 'the kernel hears of the last one only');
  for (let ino = 4; ino < 100; ino++) gone.add(ino);
  next = 4;
  const last = await retries.found(1, async () => ({ ino: next++, mode: S_IFREG }) as unknown as Attributes);
  t.equal(last?.ino, 19, 'it ends');
  t.same(held, [3]);
  await retries.end();
  t.same(held, []);
});

t.test('what is held is bounded', async (t) => {
  const { held, retries, look } = bench();
  retries.expect(1);
  for (let ino = 1; ino <= 20; ino++) await look(ino);
  t.same([held.length, held.includes(4), held.includes(5)], [16, false, true], 'the latest of a thread');
  for (let thread = 2; thread <= 64; thread++) retries.expect(thread);
  t.ok(retries.isExpected(1));
  retries.expect(65);
  await settle();
  t.notOk(retries.isExpected(1), 'the one that has waited longest makes room');
  t.same(held, []);
  await retries.end();
});

t.test('a hold that fails is told', async (t) => {
  const forgotten: Ino[] = [];
  const retries = new Retries(
    { hold: () => Promise.reject(new OperatingError('EIO', 'no')), forget: (ino) => void forgotten.push(ino) },
    new ManualClock(),
    () => undefined,
  );
  retries.expect(1);
  await t.rejects(
    retries.found(1, async () => ({ ino: 1, mode: S_IFREG }) as unknown as Attributes),
    { code: 'EIO' },
  );
  t.same(forgotten, [1], 'the kernel does not hear of the lookup');
  await retries.end();
});
