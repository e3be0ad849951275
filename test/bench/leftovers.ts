/** For tests of benchmarks: a place for all that a run makes, and what it left of it. */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Teardown } from '../support/pool.js';
import { run } from '../support/run.js';
import { pidsOf } from '../support/janitor.js';

/** Why no benchmark runs here; false: it does. */
export const noRoot = process.platform === 'linux' && process.geteuid?.() === 0 ? false : 'mounting loop devices needs root on Linux';

/** A folder in which a run has all that it makes: in memory, so that no sync waits for this machine's disk. */
export async function place(t: Teardown): Promise<string> {
  const folder = await mkdtemp('/dev/shm/ostraka-bench-test-');
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, 'tmp'));
  return folder;
}

/** Whatever a run left of what it made. */
export async function leftovers(folder: string): Promise<string[]> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(join(folder, 'tmp')));
  const loops = (await run('losetup', ['-l', '-n', '-O', 'BACK-FILE'])).stdout.split('\n').filter((file) => file.includes(folder));
  const processes = await pidsOf([join(folder, 'tmp')]);
  return [...mounts, ...loops, ...processes.map((pid) => `process ${pid}`), ...(await readdir(join(folder, 'tmp')))];
}
