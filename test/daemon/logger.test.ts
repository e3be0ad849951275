/** Log lines: what repeats is written once in a while, with how often it came. */
import t from 'tap';
import { withoutRepeats } from '../../src/daemon/logger.js';

t.test('repeats', async (t) => {
  const lines: unknown[] = [];
  let now = 0;
  const log = withoutRepeats(
    (level, message, detail) => lines.push([level, message, detail]),
    () => now,
  );
  for (let i = 0; i < 100; i++) log('error', 'lost', { ino: i });
  log('info', 'other');
  now = 999;
  log('error', 'lost', { ino: 1 });
  now = 1000;
  log('error', 'lost', { ino: 2 });
  now = 2000;
  log('error', 'lost', { ino: 3 });
  t.same(lines, [
    ['error', 'lost', { ino: 0 }],
    ['info', 'other', undefined],
    ['error', 'lost', { ino: 2, leftOut: 100 }],
    ['error', 'lost', { ino: 3 }],
  ]);
  for (let i = 0; i < 1000; i++) log('info', `message ${i}`);
  t.equal(lines.length, 1004, 'different ones are all written');
});
