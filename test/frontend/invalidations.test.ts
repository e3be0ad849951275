/** Regression: each failed write of a full pool started a thread of its own, thousands of them. */
import t from 'tap';
import { Invalidations } from '../../src/frontend/fuse/invalidations.js';

t.test('few at a time, and an inode once more however often it is named', async (t) => {
  const sent: number[] = [];
  const finish: (() => void)[] = [];
  let most = 0;
  const invalidations = new Invalidations((ino) => {
    sent.push(ino);
    return new Promise((resolve) => {
      finish.push(resolve);
      most = Math.max(most, finish.length);
    });
  });
  for (let i = 0; i < 1000; i++) invalidations.add(7);
  t.same(sent, [7], 'one runs');
  for (let ino = 100; ino < 120; ino++) invalidations.add(ino);
  const idle = invalidations.idle();
  while (finish.length > 0) {
    finish.shift()?.();
    await new Promise(setImmediate);
  }
  await idle;
  t.equal(most, 4);
  t.same(
    [...sent].sort((a, b) => a - b),
    [7, 7, ...Array.from({ length: 20 }, (_, i) => 100 + i)],
  );
  await invalidations.idle();
});
