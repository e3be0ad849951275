/** The disks of a mounted pool change by `ostraka disk`, and the daemon is killed in the midst of it: asked again, it goes on, and nothing is lost. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { exists, sleep, TestPool, until } from '../support/pool.js';

const content = Buffer.alloc(3 << 20, 'never lost ');

interface Listed {
  readonly number: number;
  readonly path: string;
  readonly state: string;
  readonly voter: boolean;
}

async function disks(pool: TestPool): Promise<Listed[]> {
  return JSON.parse((await pool.ostraka(['disk', 'list', pool.name, '--json'])).stdout) as Listed[];
}

async function mounted(t: Test): Promise<TestPool> {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('file'), content);
  await pool.ostraka(['sync', pool.name]);
  return pool;
}

/** Runs a command, and kills the daemon as soon as `sign` is there. */
async function killAt(pool: TestPool, sign: string, args: readonly string[]): Promise<void> {
  const pid = must((await pool.status()).daemon_pid, 'it is mounted');
  const asked = pool.ostraka(args, { mayFail: true });
  let ended = false;
  void asked.finally(() => (ended = true));
  while (!ended && !(await exists(sign))) await sleep(1);
  await pool.killPid(pid);
  await asked;
  await pool.mount();
}

t.test('a disk is added; killed when its superblock appears', async (t) => {
  const pool = await mounted(t);
  const added = join(pool.root, 'disk6');
  await mkdir(added);
  await killAt(pool, join(added, 'ostraka.superblock'), ['disk', 'add', pool.name, added]);
  // It is there already, or is added now.
  const { code, stderr } = await pool.ostraka(['disk', 'add', pool.name, added], { mayFail: true });
  if (code !== 0) t.match(stderr, /is disk \d+ of pool/);
  const listed = await disks(pool);
  t.equal(listed.length, 7);
  t.match(
    listed.find(({ path }) => path === added),
    { state: 'online', voter: false },
  );
  t.ok((await readFile(pool.at('file'))).equals(content));
  await pool.remount();
  t.equal((await disks(pool)).length, 7);
});

for (const [what, sign] of [
  ['the new superblock appears', 'disk6/ostraka.superblock'],
  ['the new voter gets its files', 'disk5/quorum'],
] as const)
  t.test(`a dead disk is replaced; killed when ${what}`, async (t) => {
    const pool = await mounted(t);
    const [dead = ''] = pool.disks;
    const added = join(pool.root, 'disk6');
    await rename(dead, join(pool.root, 'gone'));
    await mkdir(added);
    await until('it is noticed', async () => (await disks(pool))[0]?.state === 'offline');
    await killAt(pool, join(pool.root, sign), ['disk', 'replace', pool.name, dead, added]);
    const { code, stderr } = await pool.ostraka(['disk', 'replace', pool.name, dead, added], { mayFail: true });
    // What was dead may have left meanwhile.
    if (code !== 0) t.match(stderr, /has no disk/);
    await until(
      'what the dead disk held is rebuilt, and it has left',
      async () => (await disks(pool)).every(({ path }) => path !== dead),
      60_000,
    );
    const listed = await disks(pool);
    t.equal(listed.length, 6);
    t.equal(listed.filter(({ voter }) => voter).length, 5);
    t.equal((await pool.status()).endangered_blobs, 0);
    t.ok((await readFile(pool.at('file'))).equals(content));
    // Its return changes nothing, and two others may be lost.
    await rename(join(pool.root, 'gone'), dead);
    await pool.unmount();
    for (const disk of pool.disks.slice(1, 3)) await rename(disk, `${disk}.away`);
    await pool.mount();
    t.ok((await readFile(pool.at('file'))).equals(content));
    t.equal((await disks(pool)).length, 6);
    for (const disk of pool.disks.slice(1, 3)) await rename(`${disk}.away`, disk);
  });

t.test('a pool of eight disks coded 4+2: five voters in different zones', async (t) => {
  const pool = await TestPool.create(t, { disks: 8, raw: true });
  const zones = pool.disks.map((disk, index) => `${disk}=shelf${Math.floor(index / 2)}`);
  await pool.init(['--code', '4+2', ...zones.flatMap((zone) => ['--zone', zone])]);
  await pool.mount();
  await writeFile(pool.at('file'), content);
  const listed = await disks(pool);
  t.equal(listed.length, 8);
  const voters = listed.filter(({ voter }) => voter).map(({ number }) => Math.floor((number - 1) / 2));
  t.equal(voters.length, 5);
  t.equal(new Set(voters).size, 4, 'each shelf has a voter');
  await pool.remount();
  t.ok((await readFile(pool.at('file'))).equals(content));
});
