/** Memory that is cut from pieces, and what lies side by side in it. */
import t from 'tap';
import { Arena, joined } from '../../src/base/arena.js';
import { seededRandom } from '../../src/base/clock.js';
import { ARENA_PIECE_BYTES } from '../../src/base/limits.js';

t.test('buffers that are cut one after the other are one run of memory', async (test) => {
  const arena = new Arena();
  const [a, b, c] = [arena.take(5), arena.take(300), arena.take(1)];
  a.fill('a');
  b.fill('b');
  c.fill('c');
  const [run, ...more] = joined([a, b, c]);
  test.equal(more.length, 0);
  test.equal(run?.byteOffset, a.byteOffset);
  test.equal(run?.toString('latin1'), `aaaaa${'b'.repeat(300)}c`);
  test.equal(joined([a, c]).length, 2, 'with something in between they are two');
  test.equal(joined([b, a]).length, 2, 'and in another order');
  test.same(joined([]), []);
});

t.test('no byte is in two buffers, and each is where it was put', async (test) => {
  const random = seededRandom(3);
  const arena = new Arena();
  const buffers = Array.from({ length: 400 }, (_, index) =>
    arena.take(1 + random.below(index % 7 === 0 ? ARENA_PIECE_BYTES : 9000)).fill(index),
  );
  const all = buffers.map((buffer, index) => Buffer.alloc(buffer.length, index));
  test.ok(Buffer.concat(buffers).equals(Buffer.concat(all)));
  const runs = joined(buffers);
  test.ok(runs.length < buffers.length / 2, 'most lie side by side');
  test.ok(Buffer.concat(runs).equals(Buffer.concat(all)));
});
