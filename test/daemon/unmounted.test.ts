/** A daemon without a mount: started for a command, refused to others with its name and pid, ends with the last command that is connected. */
import t from 'tap';
import { readFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { must } from '../../src/base/assert.js';
import { withPool } from '../../src/cli/with-pool.js';
import { Output } from '../../src/cli/output.js';
import { ControlClient } from '../../src/daemon/control-client.js';
import { foldersOf, poolPaths, type Folders } from '../../src/daemon/folders.js';
import type { StatusReport } from '../../src/daemon/status-report.js';
import { exists, TestPool, until, type Teardown } from '../support/pool.js';

const silent = { write: () => true };

/** The pool's folders stand in this process's environment, where the daemons that it starts find them. */
async function prepare(t: Teardown): Promise<{ pool: TestPool; context: { folders: Folders; output: Output } }> {
  const pool = await TestPool.create(t, { disks: 3 });
  for (const name of ['OSTRAKA_CONFIG_DIR', 'OSTRAKA_STATE_DIR', 'OSTRAKA_RUN_DIR'])
    process.env[name] = must(pool.env[name], 'set by TestPool');
  return { pool, context: { folders: foldersOf(pool.env, 0), output: new Output(silent, silent) } };
}

t.test('a command opens a pool that is not mounted, others are told, and nothing is left', async (t) => {
  const { pool, context } = await prepare(t);
  const pid = await withPool(context, pool.name, 'check', async (client, { unmounted }) => {
    t.ok(unmounted);
    const status = (await client.request({ verb: 'status' })) as StatusReport;
    t.match(status, { state: 'unmounted', work: 'check', mountpoint: null });
    t.match((await pool.ostraka(['status', pool.name])).stdout, /unmounted \(check running\)/);
    t.match((await pool.ostraka(['list'])).stdout, /unmounted \(check running\)/);
    const mount = await pool.ostraka(['mount', pool.name, pool.mountpoint], { mayFail: true });
    t.equal(mount.code, 4);
    t.match(mount.stderr, new RegExp(`worked on by "ostraka check", process ${status.daemon_pid}`));
    const unmount = await pool.ostraka(['unmount', pool.name], { mayFail: true });
    t.equal(unmount.code, 3);
    t.match(unmount.stderr, /is not mounted: "ostraka check" works on it/);
    return must(status.daemon_pid, 'a daemon has a pid');
  });
  t.notOk(await exists(`/proc/${pid}`), 'the daemon has ended');
  t.notOk(await exists(poolPaths(context.folders, pool.name).pid));
  await pool.mount();
  await withPool(context, pool.name, 'check', async (client, { unmounted }) => {
    t.notOk(unmounted, 'a mounted pool is used as it is');
    t.match(await client.request({ verb: 'status' }), { state: 'mounted', work: null });
  });
  t.match(await pool.status(), { state: 'mounted' });
});

t.test('it stays for another command that is connected, and ends with the last one', async (t) => {
  const { pool, context } = await prepare(t);
  let other: ControlClient | undefined;
  const pid = await withPool(context, pool.name, 'heal', async (client) => {
    other = await ControlClient.connect(poolPaths(context.folders, pool.name).socket);
    return ((await client.request({ verb: 'status' })) as StatusReport).daemon_pid;
  });
  const connected = must(other, 'it was connected');
  t.match(await connected.request({ verb: 'status' }), { work: 'heal', daemon_pid: pid });
  connected.close();
  await until('the daemon ends', async () => !(await exists(`/proc/${pid ?? 0}`)));
});

t.test('it ends when its command fails, and when it is killed', async (t) => {
  const { pool, context } = await prepare(t);
  await t.rejects(
    withPool(context, pool.name, 'check', () => Promise.reject(new Error('the work failed'))),
    /the work failed/,
  );
  t.match(await pool.status(), { state: 'unmounted', work: null, daemon_pid: null });

  const program = `
    import { withPool } from ${JSON.stringify(new URL('../../src/cli/with-pool.js', import.meta.url).href)};
    import { Output } from ${JSON.stringify(new URL('../../src/cli/output.js', import.meta.url).href)};
    import { ownFolders } from ${JSON.stringify(new URL('../../src/daemon/folders.js', import.meta.url).href)};
    await withPool({ folders: ownFolders(), output: new Output() }, ${JSON.stringify(pool.name)}, 'scrub', () => new Promise(() => setInterval(() => 0, 1000)));`;
  const command = spawn(process.execPath, ['--input-type=module', '-e', program], { env: pool.env, stdio: 'ignore' });
  t.teardown(() => command.kill('SIGKILL'));
  const { pid: pidPath, socket } = poolPaths(context.folders, pool.name);
  await until('the daemon is there', async () => exists(socket));
  const pid = Number(await readFile(pidPath, 'utf8'));
  command.kill('SIGKILL');
  await until('the daemon ends', async () => !(await exists(`/proc/${pid}`)));
  t.match(await pool.status(), { state: 'unmounted', work: null });
});
