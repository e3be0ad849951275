/** What a test has on the machine goes, also when the test is killed in the midst of it. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { pidsOf } from './janitor.js';
import type { TestPool } from './pool.js';
import { exists, until } from './pool.js';
import { run } from './run.js';

/** As a test that is killed: a pool of its own, mounted, and a program that works in it. */
const KILLED = `
  import { spawn } from 'node:child_process';
  import { TestPool } from ${JSON.stringify(new URL('./pool.js', import.meta.url).href)};
  const pool = await TestPool.create({ teardown: () => undefined }, { disks: 3, loopBytes: 64 * 1024 ** 2 });
  await pool.mount();
  spawn('sleep', ['1000'], { cwd: pool.mountpoint, env: { ...process.env, WHERE: pool.mountpoint }, stdio: 'ignore' });
  console.log(JSON.stringify({ root: pool.root, loops: pool.loops, images: pool.images }));
  setInterval(() => undefined, 1000);
`;

for (const signal of ['SIGTERM', 'SIGKILL'] as const)
  void t.test(`a test that ends by ${signal}`, async (t) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', KILLED], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const { root, loops, images } = JSON.parse(line) as Pick<TestPool, 'root' | 'loops' | 'images'>;
    const mounts = async (): Promise<string[]> =>
      (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((mount) => mount.includes(root));
    t.equal((await mounts()).length, 4, 'three disks, and the pool');
    t.ok((await pidsOf([root])).length >= 2, 'its daemon, and a program');
    const journals = await readFile(`${root}/config/t${child.pid ?? 0}.json`, 'utf8');
    const journal = `/dev/shm/ostraka-${process.geteuid?.() ?? 0}/journal-${(JSON.parse(journals) as { poolId: string }).poolId}`;
    t.ok(await exists(journal));
    child.kill(signal);
    await once(child, 'exit');
    await until('its folder is gone', async () => !(await exists(root)));
    t.same(await mounts(), []);
    t.same(await pidsOf([root]), []);
    const devices = (await run('losetup', ['-l', '-n', '-O', 'BACK-FILE'])).stdout;
    for (const image of images) t.notOk(devices.includes(image), `${loops.join()} are free`);
    t.notOk(await exists(journal), 'nothing is left in shared memory');
    await until('its images are gone', async () => (await Promise.all(images.map(exists))).every((there) => !there));
  });
