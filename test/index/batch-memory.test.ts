/** Shared memory of batches: used again when nobody reads it, and never before. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock, type Clock } from '../../src/base/clock.js';
import { BatchMemory } from '../../src/index/batch-memory.js';
import { encodeWrites, writeBytes } from '../../src/index/entry.js';
import { emptyPoint } from '../../src/index/point.js';
import { packedEntries, type PackedEntries } from '../../src/index/worker-jobs.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { nextEntry } from './fake-log.js';

/** One entry of its own, at the beginning of a log. */
function batchOf(text: string): readonly LogEntry[] {
  const key = Buffer.from(text);
  return [nextEntry(emptyPoint, encodeWrites([{ key, value: key }], 1, writeBytes(key.length, key.length)))];
}

const textOf = ({ memory, bytes }: PackedEntries): string[] =>
  [...packedEntries(Buffer.from(memory, 0, bytes))].map(([, payload]) => payload.subarray(-1).toString());

/** A use that goes on until it is told to end. */
function begin(
  batches: BatchMemory,
  entries: readonly LogEntry[],
): { packed: PackedEntries; end: () => Promise<void>; fail: () => Promise<void> } {
  let settle: (error?: Error) => void = () => undefined;
  let packed: PackedEntries | undefined;
  const using = batches.use(batches.of(emptyPoint, entries), (given) => {
    packed = given;
    return new Promise<void>((resolve, reject) => {
      settle = (error) => {
        if (error === undefined) resolve();
        else reject(error);
      };
    });
  });
  return {
    packed: must(packed, 'it is given at once'),
    end: async () => {
      settle();
      await using;
    },
    fail: async () => {
      settle(new Error('it did not work'));
      await using.catch(() => undefined);
    },
  };
}

t.test('one batch for all who are given the same entries; its memory for a later one, once nobody reads it', async (t) => {
  const batches = new BatchMemory(systemClock);
  const [a, b, c, d, e] = [batchOf('a'), batchOf('b'), batchOf('c'), batchOf('d'), batchOf('e')];
  const first = begin(batches, a);
  const second = begin(batches, a);
  t.equal(first.packed, second.packed);
  await first.end();
  const other = begin(batches, b);
  const another = begin(batches, c);
  t.equal(new Set([first, other, another].map(({ packed }) => packed.memory)).size, 3, 'somebody still reads the first one');
  t.same(
    [first, other, another].flatMap(({ packed }) => textOf(packed)),
    ['a', 'b', 'c'],
  );
  await second.end();
  const next = begin(batches, d);
  t.equal(next.packed.memory, first.packed.memory, 'nobody does any more');
  t.same(textOf(next.packed), ['d']);
  t.same(
    [other, another].flatMap(({ packed }) => textOf(packed)),
    ['b', 'c'],
  );
  // Who comes late with the first one's entries gets them packed again.
  const late = begin(batches, a);
  t.notOk([next, other, another].some(({ packed }) => packed.memory === late.packed.memory));
  t.same(textOf(late.packed), ['a']);
  await Promise.all([next, other, another, late].map(({ end }) => end()));
  const last = begin(batches, e);
  t.same([...textOf(last.packed), ...textOf(late.packed)], ['e', 'a'], 'the newest one is kept for those who follow');
  await last.end();
  const follower = begin(batches, e);
  t.equal(follower.packed, last.packed);
  await follower.end();
});

t.test('after a failure, which may leave a thread behind that still reads, memory is not used again', async (t) => {
  const batches = new BatchMemory(systemClock);
  const entries = batchOf('a');
  const first = begin(batches, entries);
  const second = begin(batches, entries);
  await first.fail();
  await second.end();
  const seen = new Set([first.packed.memory]);
  for (const text of ['b', 'c', 'd']) {
    const next = begin(batches, batchOf(text));
    t.not(next.packed.memory, first.packed.memory);
    seen.add(next.packed.memory);
    await next.end();
  }
  t.ok(seen.size < 4, 'others are');
  const again = begin(batches, entries);
  t.not(again.packed, first.packed, 'nor is the batch');
  t.same(textOf(again.packed), ['a']);
  await again.end();
});

t.test('without a batch for a while nothing is kept', async (t) => {
  let rest: (() => void) | undefined;
  const clock: Clock = {
    ...systemClock,
    after: (_, action) => {
      rest = action;
      return () => undefined;
    },
  };
  const batches = new BatchMemory(clock);
  const before: PackedEntries[] = [];
  for (const text of ['a', 'b', 'c']) {
    const used = begin(batches, batchOf(text));
    before.push(used.packed);
    await used.end();
  }
  const reading = begin(batches, batchOf('d'));
  rest?.();
  t.same(textOf(reading.packed), ['d'], 'who reads goes on');
  await reading.end();
  const after = [begin(batches, batchOf('e')), begin(batches, batchOf('f'))];
  t.notOk(after.some(({ packed }) => [...before, reading.packed].some(({ memory }) => memory === packed.memory)));
  await Promise.all(after.map(({ end }) => end()));
});
