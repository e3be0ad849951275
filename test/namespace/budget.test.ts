/** The memory of dirty data: who waits for it, and behind whom. */
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { BUDGET_SMALL_BYTES_MAX, BUDGET_SMALL_OVERDRAFT_BYTES_MAX, MiB, UPLOAD_BYTES_MAX } from '../../src/base/limits.js';
import { Budget } from '../../src/namespace/budget.js';
import { contentOf, O_WRONLY, openPool, pattern, root, ROOT } from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

/** Takes memory as a write does; its name is in `through` once it need not wait any more. */
function bring(budget: Budget, through: string[], name: string, bytes: number): void {
  budget.take(bytes);
  const room = budget.room(bytes);
  if (room === undefined) through.push(name);
  else void room.then(() => through.push(name));
}

t.test('whoever overdraws it waits, first come first served', async (t) => {
  const budget = new Budget(16 * MiB);
  const through: string[] = [];
  bring(budget, through, 'a', 16 * MiB);
  bring(budget, through, 'b', MiB);
  bring(budget, through, 'c', MiB);
  t.same(through, ['a']);
  budget.give(MiB);
  await setImmediate();
  t.same(through, ['a'], 'still overdrawn by what the second one brought');
  budget.give(MiB);
  await setImmediate();
  t.same(through, ['a', 'b', 'c']);
  t.equal(budget.usedBytes, 16 * MiB);
});

t.test('who brings little passes those who bring much, within a bound', async (t) => {
  const budget = new Budget(16 * MiB);
  const through: string[] = [];
  bring(budget, through, 'large', 16 * MiB);
  bring(budget, through, 'larger', 16 * MiB);
  bring(budget, through, 'small', BUDGET_SMALL_BYTES_MAX);
  t.same(through, ['large', 'small'], 'one waits, the other does not');
  bring(budget, through, 'as much', BUDGET_SMALL_BYTES_MAX + 1);
  t.same(through, ['large', 'small']);
  const few = BUDGET_SMALL_OVERDRAFT_BYTES_MAX / BUDGET_SMALL_BYTES_MAX - 1;
  for (let n = 0; n < few; n++) bring(budget, through, `few ${n}`, BUDGET_SMALL_BYTES_MAX);
  t.equal(through.length, 2 + few);
  bring(budget, through, 'too many', BUDGET_SMALL_BYTES_MAX);
  bring(budget, through, 'the next', BUDGET_SMALL_BYTES_MAX);
  t.equal(through.length, 2 + few, 'the bound holds for small ones, too, whatever the others brought');
  budget.give(2 * BUDGET_SMALL_BYTES_MAX);
  await setImmediate();
  t.same(through.slice(-2), ['too many', 'the next'], 'in their order, and before those who bring much');
  budget.give(budget.usedBytes - 16 * MiB);
  await setImmediate();
  t.same(through.slice(-2), ['larger', 'as much']);
  bring(budget, through, 'last', BUDGET_SMALL_BYTES_MAX);
  t.equal(through.at(-1), 'last', 'what waits no more counts');
  for (let n = 0; n < few; n++) bring(budget, through, `again ${n}`, BUDGET_SMALL_BYTES_MAX);
  bring(budget, through, 'over', BUDGET_SMALL_BYTES_MAX);
  t.not(through.at(-1), 'over');
});

t.test('two windows that fill up at the same time are stored whole', async (t) => {
  const { namespace, storage } = await openPool(t, {
    storage: new MemoryStorage(8 * MiB, 128 * 1024),
    settings: { uploadBytesMax: UPLOAD_BYTES_MAX },
  });
  const content = pattern(32 * MiB, 1);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_WRONLY, root);
  const write = async (at: number): Promise<void> => {
    await namespace.write(attributes.ino, handle, at, content.subarray(at, at + MiB), root);
    await setImmediate();
  };
  // As write-back comes in: something of the next window before the last of this one.
  for (let pair = 0; pair < content.length; pair += 16 * MiB)
    for (let at = pair; at < pair + 8 * MiB; at += MiB) {
      await write(at);
      await write(at + 8 * MiB);
    }
  await namespace.flush(attributes.ino, handle);
  await namespace.release(attributes.ino, handle);
  t.same(
    [...storage.blobs.values()].map(({ data }) => data.length),
    [8, 8, 8, 8].map((window) => window * MiB),
  );
  t.ok((await contentOf(namespace, attributes.ino)).equals(content));
});
