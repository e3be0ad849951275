/** What comes at once or later: in which order things are done, and that an end is never left out. */
import t from 'tap';
import { lastly, when, type Awaitable } from '../../src/base/awaitable.js';

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
