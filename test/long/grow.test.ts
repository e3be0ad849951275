/**
 * A pool grows from 6 disks to 7, the new one of another size; it is rebalanced; one of the old is drained, with a kill of the daemon in the midst, and removed. All of it
 * while the pool is mounted and used (I2, I7, I10).
 */
import t from 'tap';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { TestPool, sleep, until, type StatusDisk } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;

/** How full a disk is, of 1. */
const level = (disk: StatusDisk | undefined): number => (disk === undefined ? 0 : disk.used_bytes / (disk.used_bytes + disk.free_bytes));

/** Bytes of records on a disk. */
async function recordBytes(disk: string): Promise<number> {
  return Number((await run('du', ['-sk', join(disk, 'segments')])).stdout.split('\t')[0]);
}

t.test('grown to 7 disks, rebalanced, one drained and removed', async (t) => {
  const pool = await TestPool.create(t, { disks: 7, loopBytes: [...Array<number>(6).fill(300 * MiB), 500 * MiB], raw: true });
  const [seventh] = pool.disks.splice(6, 1);
  await run(
    'rmdir',
    [...pool.disks, must(seventh, 'seven disks')].map((disk) => join(disk, 'lost+found')),
  );
  await pool.init();
  pool.disks.push(must(seventh, 'seven disks'));
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  for (let i = 0; i < 30; i++) await randomFile(pool.at(`f${i}`), 14 * MiB);
  await pool.ostraka(['sync', pool.name]);
  const want = await digests(pool.mountpoint);
  const disk = async (name: string): Promise<StatusDisk | undefined> =>
    (await pool.status()).disks.find(({ path }) => basename(path) === name);

  await pool.ostraka(['disk', 'add', pool.name, must(seventh, 'seven disks')]);
  t.equal((await pool.status()).disks.length, 7);
  t.ok(level(await disk('disk6')) < 0.1, 'the new disk is empty');
  await pool.ostraka(['rebalance', pool.name, '--watch'], { limitMs: 400_000 });
  // A blob has one shard at most on a disk: the larger one has one of each then, the others five sixths. What was moved away is given back a little later.
  await until(
    'the larger disk holds more than each of the others',
    async () => {
      const bytes = await Promise.all(pool.disks.map(recordBytes));
      return (bytes.pop() ?? 0) > Math.max(...bytes);
    },
    60_000,
  );
  t.same(differences(want, await digests(pool.mountpoint)), [], 'rebalanced');

  const leaving = must(pool.disks[2], 'seven disks');
  await pool.ostraka(['disk', 'drain', pool.name, leaving]);
  await sleep(700);
  await pool.kill9();
  await pool.mount();
  await randomFile(pool.at('meanwhile'), 5 * MiB).then((digest) => want.set('meanwhile', digest));
  await pool.ostraka(['disk', 'drain', pool.name, leaving, '--watch'], { limitMs: 400_000 });
  await until('nothing is left on it', async () => (await readdir(join(leaving, 'segments'))).length === 0, 60_000);
  await pool.ostraka(['disk', 'remove', pool.name, leaving]);
  const after = await pool.status();
  t.same(after.disks.map(({ path }) => basename(path)).sort(), ['disk0', 'disk1', 'disk3', 'disk4', 'disk5', 'disk6']);
  t.equal(after.voters.length, 5, 'its vote went to another');
  t.notOk(after.voters.some(({ path }) => path === leaving));
  t.equal(after.endangered_blobs, 0);
  await pool.unmount();

  // It may be unplugged, and two more may be lost.
  for (const i of [2, 0, 5]) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without it and two others');
  await pool.unmount();
});
