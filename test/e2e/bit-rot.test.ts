/** Bits flipped in shard records of two disks: every byte still reads right, and the errors stand with the right disks (I6, I8). */
import t from 'tap';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';
import { seededRandom } from '../../src/base/clock.js';

t.test('rot on two disks', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 64 * 1024 ** 2);
  const want = await digests(pool.mountpoint);
  await pool.unmount();

  const random = seededRandom(7);
  for (const i of [1, 4]) {
    const segments = join(pool.disks[i] ?? '', 'segments');
    for (const name of await readdir(segments)) {
      const path = join(segments, name);
      const size = (await stat(path)).size;
      const file = await open(path, 'r+');
      // One flipped bit in each 100 KiB, headers, tables and frames alike; the segment's own first block too.
      for (let at = 0; at < size; at += 100 * 1024) {
        const offset = at + random.below(Math.min(100 * 1024, size - at));
        const byte = Buffer.alloc(1);
        await file.read(byte, 0, 1, offset);
        byte[0] = (byte[0] ?? 0) ^ (1 << random.below(8));
        await file.write(byte, 0, 1, offset);
      }
      await file.close();
    }
  }
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'every file reads right');
  for (const disk of (await pool.status()).disks) {
    if (['disk1', 'disk4'].includes(basename(disk.path))) t.ok(disk.errors > 0, `${basename(disk.path)} has ${disk.errors} errors`);
    else t.equal(disk.errors, 0, `${basename(disk.path)} has none`);
  }
});
