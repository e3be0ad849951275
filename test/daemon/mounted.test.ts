/** The command with a mounted pool: what each verb does to a daemon that runs, busy mounts, signals, unmounting from outside. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { exitCodes } from '../../src/cli/exit-codes.js';
import { requestJob, watchJob } from '../../src/cli/watch-job.js';
import { ControlClient } from '../../src/daemon/control-client.js';
import { TestPool, exists, mainProgram, until } from '../support/pool.js';
import { run } from '../support/run.js';

const mounted = async (pool: TestPool): Promise<boolean> =>
  (await readFile('/proc/mounts', 'utf8')).includes(` ${pool.mountpoint} fuse.ostraka`);

t.test('verbs', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const socket = join(pool.root, 'run', `${pool.name}.sock`);
  t.equal((await stat(socket)).mode & 0o777, 0o600);
  t.equal((await stat(join(pool.root, 'run'))).mode & 0o777, 0o700);
  const status = await pool.status();
  t.match(status, { pool: pool.name, state: 'mounted', code: '4+2', mountpoint: pool.mountpoint, endangered_blobs: 0, objects: 1 });
  t.equal(Number(await readFile(join(pool.root, 'run', `${pool.name}.pid`), 'utf8')), status.daemon_pid);
  t.match((await pool.ostraka(['status'])).stdout, /health {2}good/);
  t.match((await pool.ostraka(['list'])).stdout, new RegExp(`${pool.name} +mounted +4\\+2 +6 +${pool.mountpoint}`));

  // A file that stays open: sync sees to what the kernel still holds of it.
  const folder = join(pool.mountpoint, 'földer');
  await mkdir(folder);
  const file = await open(join(folder, 'open'), 'w');
  await file.write('not closed');
  await symlink('open', join(folder, 'link'));
  await pool.ostraka(['sync', pool.name]);
  await pool.kill9();
  await file.close().catch(() => undefined);
  await pool.mount();
  t.equal(await readFile(join(folder, 'open'), 'utf8'), 'not closed');

  t.match((await pool.ostraka(['settings', pool.name, 'upload-memory=32M'])).stdout, /upload-memory: takes effect at the next mount/);
  t.equal((await pool.ostraka(['settings', pool.name, 'upload-memory=24M'])).stdout, '', 'as it is in force');
  t.equal((await pool.ostraka(['settings', pool.name, 'commit-interval=300ms', 'read-cache=2M'])).stdout, '', 'in force at once');
  await pool.ostraka(['settings', pool.name, 'durability=close']);
  const position = async (): Promise<number[]> => {
    const { log } = (await pool.status()) as unknown as { log: { position: number; durable_position: number } };
    return [log.position, log.durable_position];
  };
  await writeFile(join(folder, 'durable'), 'when close returns');
  const [head, durable] = await position();
  t.ok((durable ?? 0) >= (head ?? 0) - 1, `durability=close is in force at once: ${durable ?? 0} of ${head ?? 0}`);
  const imported = await pool.ostraka(['import', ...pool.disks.flatMap((disk) => ['--disk', disk])], { mayFail: true });
  t.equal(imported.code, exitCodes.refused.code, 'a mounted pool is not taken over');
  const nothing = await pool.ostraka(['unmount', 'mnt'], { mayFail: true, cwd: folder });
  t.match(nothing.stderr, /no pool "mnt" is known here/);
  await pool.ostraka(['unmount', 'mnt'], { cwd: pool.root });
  t.notOk(await mounted(pool), 'by the name of the folder, as seen from here');
  t.notOk(await exists(socket));
  t.match(await pool.status(), { state: 'unmounted', daemon_pid: null, mountpoint: null });
});

t.test('a busy mount', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const file = await open(pool.at('file'), 'w');
  const refused = await pool.ostraka(['unmount', pool.name], { mayFail: true });
  t.equal(refused.code, exitCodes.refused.code, refused.stderr);
  t.match(refused.stderr, /in use/);
  t.match(refused.stderr, /what to do/);
  await file.write('goes on');
  const lazy = pool.ostraka(['unmount', pool.name, '--lazy']);
  await until('detached', async () => !(await mounted(pool)));
  await file.close();
  t.equal((await lazy).code, 0);
  await pool.mount();
  t.equal(await readFile(pool.at('file'), 'utf8'), 'goes on');
  await pool.unmount();
});

t.test('read-only by option', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  await pool.unmount();
  t.match((await pool.mount('-o', 'ro')).stdout, /mounted at/);
  t.equal(await readFile(pool.at('file'), 'utf8'), 'content');
  await t.rejects(writeFile(pool.at('no'), ''), { code: 'EROFS' });
  t.equal((await pool.status()).state, 'read-only');
  await pool.unmount();
});

t.test('a scrub of a disk that is back this very moment', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), Buffer.alloc(1 << 20, 1));
  const [disk = ''] = pool.disks;
  await rename(disk, `${disk}-gone`);
  await until('it is out', async () => (await pool.status()).disks[0]?.state === 'offline');
  await rename(`${disk}-gone`, disk);
  const client = must(await ControlClient.connect(join(pool.root, 'run', `${pool.name}.sock`)), 'the daemon listens');
  t.teardown(() => {
    client.close();
  });
  await requestJob(client, 'scrub', 'start');
  const { job } = await watchJob(client, 'scrub', { sink: { write: () => true } });
  t.match(job, { state: 'done', message: null, result: { disks: 6, skippedDisks: [] } });
  await pool.unmount();
});

t.test('unmounted from outside: the daemon makes everything durable and ends', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  const pid = (await pool.status()).daemon_pid ?? 0;
  await run('umount', [pool.mountpoint]);
  await until('it has ended', async () => !(await exists(`/proc/${pid}`)));
  await pool.mount();
  t.equal(await readFile(pool.at('file'), 'utf8'), 'content');
  await pool.unmount();
});

for (const signal of ['SIGINT', 'SIGKILL'] as const)
  t.test(`in the foreground, until ${signal}`, async (t) => {
    const pool = await TestPool.create(t);
    const child = spawn(process.execPath, [mainProgram, 'mount', pool.name, pool.mountpoint, '--foreground'], {
      env: pool.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.teardown(() => void child.kill('SIGKILL'));
    let errors = '';
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    await until('mounted', () => mounted(pool));
    await until('it answers', async () => (await pool.status()).state === 'mounted');
    await writeFile(pool.at('file'), signal);
    const pid = (await pool.status()).daemon_pid ?? 0;
    child.kill(signal);
    t.equal(await ended, signal === 'SIGINT' ? 0 : null, 'the command ends');
    await until('the daemon ends', async () => !(await exists(`/proc/${pid}`)));
    t.notOk(await mounted(pool), 'cleanly, however the command ended');
    t.match(errors, /everything is durable/);
    await pool.mount();
    t.equal(await readFile(pool.at('file'), 'utf8'), signal);
    await pool.unmount();
  });

t.test('a dead daemon', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), 'content');
  await pool.kill9();
  t.match(await pool.status(), { state: 'dead', mountpoint: pool.mountpoint, daemon_pid: null });
  t.match((await pool.ostraka(['unmount', pool.name])).stdout, /had died; its mount .* is gone/);
  t.notOk(await mounted(pool));
  const other = join(pool.root, 'other');
  await mkdir(other);
  await pool.mount();
  await pool.kill9();
  await pool.ostraka(['mount', pool.name, other]);
  t.notOk(await mounted(pool), 'mounting elsewhere cleans up where it was');
  t.equal(await readFile(join(other, 'file'), 'utf8'), 'content');
  await pool.unmount();
});
