/** Disks that go away: any two, mounted or not; then a third; then all back (I2, I6, I7, I8). */
import t from 'tap';
import { rename, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { exists, TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, sha256, smallTree } from '../support/tree.js';

const pairs: [number, number][] = [];
for (let a = 0; a < 6; a++) for (let b = a + 1; b < 6; b++) pairs.push([a, b]);

async function fill(pool: TestPool): Promise<Map<string, string>> {
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 40 * 1024 ** 2 + 12345);
  await pool.ostraka(['sync', pool.name]);
  return digests(pool.mountpoint);
}

const away = (pool: TestPool, i: number): Promise<void> => rename(pool.disks[i] ?? '', `${pool.disks[i] ?? ''}.away`);
const back = (pool: TestPool, i: number): Promise<void> => rename(`${pool.disks[i] ?? ''}.away`, pool.disks[i] ?? '');

/** Paths of the disks that status calls anything but online. */
async function missing(pool: TestPool): Promise<string[]> {
  return (await pool.status()).disks
    .filter((disk) => disk.state === 'offline')
    .map((disk) => basename(disk.path))
    .sort();
}

/** What was written while disks were out has its missing shards again. */
const healed = (pool: TestPool): Promise<void> =>
  until('everything is healed', async () => (await pool.status()).endangered_blobs === 0, 60_000);

t.test('any two of six moved away while unmounted', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const want = await fill(pool);
  await pool.unmount();
  for (const [a, b] of pairs) {
    await away(pool, a);
    await away(pool, b);
    await pool.mount();
    await TestPool.dropCaches();
    t.same(differences(want, await digests(pool.mountpoint)), [], `without ${a} and ${b} all files read right`);
    t.same(await missing(pool), [`disk${a}`, `disk${b}`], 'status says which');
    const name = `new-${a}-${b}`;
    want.set(name, await randomFile(pool.scratch(name), 300_000));
    await run('cp', [pool.scratch(name), pool.at(name)]);
    await pool.unmount();
    t.notOk(await exists(pool.disks[a] ?? ''), 'nothing is made where a disk was');
    await back(pool, a);
    await back(pool, b);
    await pool.mount();
    await healed(pool);
    await pool.unmount();
  }
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'with all disks back');
  t.same(await missing(pool), []);
});

t.test('two moved away while mounted, then a third, then back', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const want = await fill(pool);
  for (const [a, b, c] of [
    [0, 1, 2],
    [3, 5, 0],
    [4, 2, 5],
  ] as const) {
    await away(pool, a);
    await away(pool, b);
    await until('status names both', async () => (await missing(pool)).length === 2);
    t.same(await missing(pool), [`disk${a}`, `disk${b}`].sort());
    await TestPool.dropCaches();
    t.same(differences(want, await digests(pool.mountpoint)), [], `without ${a} and ${b} all files read right`);
    const name = `new-${a}-${b}`;
    want.set(name, await randomFile(pool.at(name), 9_000_000));
    t.ok((await pool.status()).endangered_blobs > 0, 'what was written degraded is known to be endangered');

    await away(pool, c);
    await until('status names the third', async () => (await missing(pool)).length === 3);
    await TestPool.dropCaches();
    const got = await digests(pool.mountpoint);
    t.equal(got.get('big'), 'EIO', 'an affected file gives EIO');
    const wrong = [...got].filter(([path, digest]) => digest !== 'EIO' && digest !== want.get(path));
    t.same(wrong, [], 'every file is right or EIO');

    for (const i of [a, b, c]) await back(pool, i);
    await until('all are back', async () => (await missing(pool)).length === 0, 60_000);
    await TestPool.dropCaches();
    t.same(differences(want, await digests(pool.mountpoint)), [], 'whole again');
    await until('it can be written again', async () => writeFile(pool.at('after'), 'after').then(() => true), 60_000);
    want.set('after', await sha256(pool.at('after')));
    await healed(pool);
  }
  await pool.remount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'and after unmount and mount');
});
