/** Disks that are file systems of their own: one is not mounted at start (missing is not new), full ones, and the same after import. */
import t from 'tap';
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;

t.test('a disk whose file system is not mounted at start', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 512 * MiB });
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  const want = await digests(pool.mountpoint);
  await pool.unmount();
  await pool.unmountDisk(2);
  t.same(await readdir(pool.disks[2] ?? ''), [], 'an empty folder is in its place');
  await pool.mount();
  t.equal((await pool.status()).disks.find((disk) => basename(disk.path) === 'disk2')?.state, 'offline');
  t.same(differences(want, await digests(pool.mountpoint)), []);
  want.set('new', await randomFile(pool.at('new'), 5_000_000));
  await pool.ostraka(['sync', pool.name]);
  t.same(await readdir(pool.disks[2] ?? ''), [], 'nothing is written below the mount point');
  await pool.mountDisk(2);
  await until('it is back by itself', async () => (await pool.status()).disks.every((disk) => disk.state === 'online'), 60_000);
  await until('all voters are online', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.remount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.unmount();
});

t.test('import takes a pool over from its disks alone', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  const want = await digests(pool.mountpoint);
  await pool.unmount();
  for (const folder of ['config', 'state', 'run']) await rm(join(pool.root, folder), { recursive: true, force: true });
  t.match((await pool.ostraka(['mount', pool.name, pool.mountpoint], { mayFail: true })).stderr, /import/);
  await pool.ostraka(['import', ...pool.disks.flatMap((disk) => ['--disk', disk])]);
  t.match((await pool.ostraka(['list'])).stdout, new RegExp(pool.name));
  await pool.mount();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.unmount();
});

t.test('a full pool answers ENOSPC, loses nothing, and works again after deleting', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 160 * MiB });
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  const want = await digests(pool.mountpoint);
  const full = await run('dd', ['if=/dev/urandom', `of=${pool.at('fill')}`, 'bs=1M', 'count=2000', 'conv=fsync', 'status=none'], {
    mayFail: true,
    limitMs: 240_000,
  });
  t.match(full.stderr, /No space left/);
  t.same(
    differences(want, await digests(pool.at('tree')).then((all) => new Map([...all].map(([path, digest]) => [`tree/${path}`, digest])))),
    [],
  );
  await rm(pool.at('fill'));
  await until(
    'there is room again',
    async () => {
      await randomFile(pool.at('again'), 20 * MiB);
      return true;
    },
    60_000,
  );
  await pool.remount();
  t.equal((await digests(pool.mountpoint)).size, want.size + 1);
  await pool.unmount();
});
