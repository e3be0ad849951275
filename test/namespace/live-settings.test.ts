/** Settings that change while the namespace is open. */
import t from 'tap';
import { BufferPool } from '../../src/base/buffers.js';
import { ReadCache } from '../../src/namespace/read-cache.js';
import { ManualClock } from '../disk/manual-clock.js';
import { O_RDWR, openPool, pattern, root, ROOT } from './fixture.js';

t.test('a shorter commit interval', async (test) => {
  const { namespace, settings } = await openPool(test);
  settings.commitIntervalMs = 5;
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  await namespace.write(attributes.ino, handle, 0, pattern(1000, 1), root);
  // The file stays open, and nobody asks: an hour would be the interval that it was opened with.
  while (namespace.status().dirtyBytes > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  test.equal((await namespace.getattr(attributes.ino)).size, 1000);
  await namespace.release(attributes.ino, handle);
});

t.test('a smaller read cache lets go as more comes, a larger one takes more', (test) => {
  const pool = new BufferPool(1000, { keepMax: 8 });
  let bytesMax = 4000;
  const cache = new ReadCache(() => bytesMax, new ManualClock());
  const take = (key: string): boolean => {
    const entry = cache.acquire(key, { pool, bytes: 1000, load: () => Promise.resolve(), wanted: false });
    if (entry !== undefined) cache.release(entry);
    return entry !== undefined;
  };
  const fill = async (from: number, count: number): Promise<void> => {
    for (let i = from; i < from + count; i++) {
      take(String(i));
      await Promise.resolve();
      await Promise.resolve();
    }
  };
  return fill(0, 6).then(async () => {
    test.equal(cache.usedBytes, 4000);
    bytesMax = 2000;
    await fill(6, 1);
    test.equal(cache.usedBytes, 2000);
    bytesMax = 3000;
    await fill(7, 3);
    test.equal(cache.usedBytes, 3000);
  });
});
