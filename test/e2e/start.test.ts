/** `npm start`: makes the demo pool, mounts it, stays in the foreground, unmounts on Ctrl-C; a second start finds the files again. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { exists, until } from '../support/pool.js';
import { run } from '../support/run.js';

t.test('npm start, twice', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'ostraka-start-'));
  const mountpoint = join(root, 'mnt');
  const env = {
    ...process.env,
    HOME: root,
    XDG_DATA_HOME: join(root, 'data'),
    OSTRAKA_CONFIG_DIR: join(root, 'config'),
    OSTRAKA_STATE_DIR: join(root, 'state'),
    OSTRAKA_RUN_DIR: join(root, 'run'),
    NO_COLOR: '1',
  };
  const mounted = async (): Promise<boolean> => (await readFile('/proc/mounts', 'utf8')).includes(` ${mountpoint} `);
  t.teardown(async () => {
    await run('umount', ['-l', mountpoint], { mayFail: true });
    await rm(root, { recursive: true, force: true });
  });
  await mkdir(mountpoint);

  const session = async (work: () => Promise<void>): Promise<string> => {
    // A group of its own, so that Ctrl-C reaches npm and what it started, as a terminal does it.
    const child = spawn('npm', ['start', '--', mountpoint], { cwd: packageRoot, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const group = -(child.pid ?? 0);
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    const ended = new Promise<void>((resolve) => child.on('close', resolve));
    try {
      await until('mounted', mounted, 240_000).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${output}`);
      });
      await until('it says what to try', async () => /status/.test(output));
      await work();
      process.kill(group, 'SIGINT');
      await ended;
    } finally {
      try {
        process.kill(group, 'SIGKILL');
      } catch {
        // ended already
      }
    }
    t.notOk(await mounted(), 'unmounted after Ctrl-C');
    return output;
  };

  const first = await session(async () => writeFile(join(mountpoint, 'hello'), 'hello'));
  t.match(first, /protect/i, 'it says what six folders of one disk are worth');
  const disks = (await run('find', [join(root, 'data'), '-name', 'ostraka.superblock'])).stdout.trim().split('\n').sort();
  t.equal(disks.length, 6);
  const lost = join(disks[1] ?? '', '..');
  await rename(lost, `${lost}.gone`);
  await session(async () => {
    t.equal(await readFile(join(mountpoint, 'hello'), 'utf8'), 'hello', 'the second start finds the file again, with one folder gone');
  });
  t.notOk(await exists(lost), 'what is missing is not made anew');
});
