/** One owner (I9), refusals at mount, damaged superblocks, clean stop. */
import t from 'tap';
import { mkdir, open, writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';

t.test('a second mount of a mounted pool is refused with the owner’s pid', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const pid = (await pool.status()).daemon_pid;
  const other = join(pool.root, 'other');
  await mkdir(other);
  const second = await pool.ostraka(['mount', pool.name, other], { mayFail: true });
  t.not(second.code, 0);
  t.match(second.stderr, new RegExp(String(pid)));
  // Also by somebody with another configuration, who knows only the disks.
  const env = {
    ...pool.env,
    OSTRAKA_CONFIG_DIR: join(pool.root, 'c2'),
    OSTRAKA_STATE_DIR: join(pool.root, 's2'),
    OSTRAKA_RUN_DIR: join(pool.root, 'r2'),
  };
  await pool.ostraka(['import', ...pool.disks.flatMap((disk) => ['--disk', disk])], { env, mayFail: true });
  const third = await pool.ostraka(['mount', pool.name, other], { env, mayFail: true });
  t.not(third.code, 0);
  t.match(third.stderr, new RegExp(String(pid)));
  await writeFile(pool.at('still'), 'fine');
  t.equal(await readFile(pool.at('still'), 'utf8'), 'fine');
  await pool.unmount();
});

t.test('mount refuses what cannot work, and nothing is lost', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  await pool.unmount();
  const refused = async (args: string[], pattern: RegExp): Promise<void> => {
    const result = await pool.ostraka(args, { mayFail: true });
    t.not(result.code, 0, args.join(' '));
    t.match(result.stderr, pattern, args.join(' '));
  };
  await refused(['mount', 'nobody-knows', pool.mountpoint], /nobody-knows/);
  await refused(['mount', pool.name, join(pool.root, 'missing')], /missing/);
  await writeFile(join(pool.root, 'plain'), '');
  await refused(['mount', pool.name, join(pool.root, 'plain')], /director/);
  await refused(['mount', pool.name, '/proc'], /proc/);
  await refused(['unmount', pool.name], /not mounted/);
  await refused(['status', 'nobody-knows'], /nobody-knows/);
  await pool.mount();
  t.equal(await readFile(pool.at('file'), 'utf8'), 'content');
  await pool.unmount();
});

t.test('damaged superblocks', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  await pool.unmount();
  for (const i of [0, 5]) {
    const file = await open(join(pool.disks[i] ?? '', 'ostraka.superblock'), 'r+');
    const size = (await file.stat()).size;
    await file.write(Buffer.alloc(size, 0x5a), 0, size, 0);
    await file.close();
  }
  await pool.mount();
  t.equal(await readFile(pool.at('file'), 'utf8'), 'content', 'two damaged superblocks: two disks out');
  const status = await pool.status();
  t.equal(status.disks.filter((disk) => disk.state !== 'online').length, 2);
  await pool.unmount();
  const damaged = await readFile(join(pool.disks[0] ?? '', 'ostraka.superblock'));
  t.ok(
    damaged.every((byte) => byte === 0x5a),
    'a damaged superblock is not overwritten',
  );
});

t.test('the daemon stops cleanly on SIGTERM', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  const pid = (await pool.status()).daemon_pid ?? 0;
  process.kill(pid, 'SIGTERM');
  await until('unmounted', async () => !(await readFile('/proc/mounts', 'utf8')).includes(pool.mountpoint));
  await until('gone', async () => (await pool.status()).daemon_pid === null);
  await pool.mount();
  t.equal(await readFile(pool.at('file'), 'utf8'), 'content');
  await pool.unmount();
  t.notMatch((await run('cat', ['/proc/mounts'])).stdout, new RegExp(pool.mountpoint));
});
