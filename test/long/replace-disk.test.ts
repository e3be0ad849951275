/**
 * A disk is pulled (its device answers errors, then it is gone) while programs write, and is replaced by an empty one: nobody gets an error, the pool heals to whole, and
 * then survives the loss of two other disks (I2, I6, I7).
 */
import t from 'tap';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { TestPool, sleep, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, sha256, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
const DISK_BYTES = 400 * MiB;

t.test('a disk pulled during writes, replaced by an empty one', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES });
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 40 * MiB + 12345);
  await pool.ostraka(['sync', pool.name]);
  const want = await digests(pool.mountpoint);

  let stop = false;
  const writing = [0, 1].map(async (lane) => {
    const content = Buffer.alloc(1.5 * MiB, `lane ${lane}`);
    let count = 0;
    for (; !stop; count++) {
      const path = pool.at(`w${lane}-${count}`);
      const file = await open(path, 'wx');
      await file.write(content, 0, 1 + ((count * 77_777) % content.length));
      await file.sync();
      await file.close();
    }
    return count;
  });
  await sleep(1500);
  await pool.pullDisk(1);
  await until('status knows', async () => (await pool.status()).disks.some((disk) => disk.state === 'offline'), 60_000);
  await sleep(1500);
  stop = true;
  const counts = await Promise.all(writing);
  t.ok(Math.min(...counts) > 3, `${counts.join(' and ')} files were written and synced meanwhile, without an error`);
  for (const [lane, count] of counts.entries())
    for (let i = 0; i < count; i++) want.set(`w${lane}-${i}`, await sha256(pool.at(`w${lane}-${i}`)));
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without it all files read right');

  const pulled = (await pool.status()).disks.find((disk) => basename(disk.path) === 'disk1');
  t.equal(pulled?.state, 'offline');
  // At the place of the old one, as one does.
  await pool.attach(1, DISK_BYTES);
  await run('rmdir', [`${pool.disks[1] ?? ''}/lost+found`]);
  await pool.ostraka(['disk', 'replace', pool.name, String(pulled?.number), pool.disks[1] ?? '', '--watch'], { limitMs: 400_000 });
  t.match((await pool.ostraka(['heal', pool.name, '--watch'], { limitMs: 400_000 })).stdout, /All \d+ blobs are whole/);
  const status = await pool.status();
  t.equal(status.endangered_blobs, 0);
  await until('all voters follow', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);
  t.same(differences(want, await digests(pool.mountpoint)), [], 'healed');
  await pool.unmount();

  await pool.unmountDisk(0);
  await pool.unmountDisk(4);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without two others');
  await randomFile(pool.at('after'), 3 * MiB);
  await pool.unmount();
});
