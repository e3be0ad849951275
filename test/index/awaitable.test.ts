/** What comes at once or later: in which order things are done, and that an end is never left out. */
import t from 'tap';
import { each, lastly, repeat, undoing, when, type Awaitable } from '../../src/base/awaitable.js';

t.test('goes on at once where the value is there, and behind it where it comes later', async (test) => {
  test.equal(
    when(1, (value) => value + 1),
    2,
  );
  const later = when(Promise.resolve(1), (value) => value + 1);
  test.ok(later instanceof Promise);
  test.equal(await later, 2);
});

interface Case {
  readonly action: () => Awaitable<string>;
  readonly atOnce: boolean;
  readonly becomes: string;
}

const cases: Record<string, Case> = {
  'a value': { action: () => 'done', atOnce: true, becomes: 'done' },
  'a promise': { action: async () => 'done', atOnce: false, becomes: 'done' },
  'an error': {
    action: () => {
      throw new Error('broken');
    },
    atOnce: true,
    becomes: 'broken',
  },
  'a rejection': { action: async () => Promise.reject(new Error('refused')), atOnce: false, becomes: 'refused' },
};

for (const [name, { action, atOnce, becomes }] of Object.entries(cases))
  t.test(`the end comes once, behind what gives ${name}`, async (test) => {
    let ends = 0;
    const doing = async (): Promise<string> => {
      let result: Awaitable<string>;
      try {
        result = lastly(
          () => {
            test.equal(ends, 0, 'not before');
            return action();
          },
          () => ends++,
        );
      } finally {
        test.equal(ends, atOnce ? 1 : 0, 'when there is nothing more to wait for');
      }
      return result;
    };
    test.equal(await doing().catch((thrown: unknown) => (thrown as Error).message), becomes);
    test.equal(ends, 1);
  });

for (const [name, { action, atOnce, becomes }] of Object.entries(cases))
  t.test(`what gives ${name} is undone where it fails, once`, async (test) => {
    let undone = 0;
    const fails = becomes !== 'done';
    const doing = async (): Promise<string> => {
      let result: Awaitable<string>;
      try {
        result = undoing(action, () => undone++);
      } finally {
        test.equal(undone, fails && atOnce ? 1 : 0);
      }
      return result;
    };
    test.equal(await doing().catch((thrown: unknown) => (thrown as Error).message), becomes);
    test.equal(undone, fails ? 1 : 0);
  });

for (const later of [[], [1], [0, 3], [0, 1, 2, 3, 4]])
  t.test(`one after the other, of which ${later.join(', ') || 'none'} come later`, async (test) => {
    const begun: string[] = [];
    const act = (name: string): Awaitable<void> => {
      begun.push(name);
      if (!later.includes(begun.length - 1)) return;
      return Promise.resolve().then(() => {
        test.equal(begun.at(-1), name, 'nothing begins before it has ended');
      });
    };
    const doing = each(['a', 'b', 'c', 'd', 'e'], act);
    test.equal(doing instanceof Promise, later.length > 0);
    await doing;
    test.same(begun, ['a', 'b', 'c', 'd', 'e']);
  });

t.test('again and again, until it says that this is all; without taking stack for each time', async (test) => {
  let left = 100_000;
  test.equal(
    repeat(() => --left > 0),
    undefined,
  );
  test.equal(left, 0);
  await test.rejects(async () => repeat(async () => Promise.reject(new Error('refused'))), /refused/);
});
