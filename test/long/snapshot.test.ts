/**
 * Index snapshots and recovery on real mounts over loop devices: all voters lost, and the pool goes on from a snapshot, with the data found again by scanning
 * records, also what was moved since, and what is gone named; a majority lost, and it goes on from the survivor.
 */
import t from 'tap';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { exists, TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { pattern } from '../namespace/fixture.js';

const LOOP_BYTES = 256 * 1024 * 1024;

/** The witness, and `quorum/` of every disk. */
async function loseVoters(pool: TestPool, disks: readonly number[]): Promise<void> {
  for (const disk of disks) await rm(join(must(pool.disks[disk], 'a disk'), 'quorum'), { recursive: true, force: true });
}

async function voting(pool: TestPool): Promise<number[]> {
  const found: number[] = [];
  for (const [index, disk] of pool.disks.entries()) if (await exists(join(disk, 'quorum'))) found.push(index);
  return found;
}

t.test('(f) an index snapshot restored after all voters were lost', async (t) => {
  const pool = await TestPool.create(t, { disks: 6, loopBytes: LOOP_BYTES });
  await pool.mount();
  await mkdir(pool.at('kept'));
  const big = [1, 2, 3].map((seed) => pattern(9_000_000 + seed * 1000, seed));
  for (const [index, content] of big.entries()) await writeFile(pool.at('kept', `big${index}`), content);
  await writeFile(pool.at('kept', 'small'), 'rows hold me');
  await writeFile(pool.at('doomed'), pattern(9_000_000, 9));
  await pool.ostraka(['sync', pool.name]);
  const snapshot = await pool.ostraka(['index', 'snapshot', pool.name]);
  t.match(snapshot.stdout, /INDEX-\d{8}T\d{6}Z-\d+\.ostraka \(\d+ rows, .*\) is on (.*, ){2}.*disk\d/, 'on m + 1 disks');
  const on = (await Promise.all(pool.disks.map((disk) => readdir(join(disk, 'snapshots')).catch(() => [])))).filter(
    (names) => names.length > 0,
  );
  t.equal(on.length, 3);

  // Since then: one file goes for good, one comes, and a disk's shards are healed onto other places.
  const spaceOf = async (disk: string): Promise<number> =>
    Number((await run('du', ['-s', '-B1', join(disk, 'segments')])).stdout.split('\t')[0]);
  const before = await Promise.all(pool.disks.map(spaceOf));
  await rm(pool.at('doomed'));
  await until('its space is given back', async () => {
    const now = await Promise.all(pool.disks.map(spaceOf));
    return now.every((bytes, index) => bytes < (before[index] ?? 0));
  });
  await writeFile(pool.at('later'), pattern(5_000_000, 7));
  await pool.unmount();
  const segments = join(must(pool.disks[0], 'a disk'), 'segments');
  await rm(segments, { recursive: true });
  await pool.mount();
  for (const [index, content] of big.entries())
    t.ok(content.equals(await readFile(pool.at('kept', `big${index}`))), 'read around what is gone');
  await pool.ostraka(['heal', pool.name], { limitMs: 300_000 });
  await until('all is healed', async () => (await pool.status()).endangered_blobs === 0, 60_000);
  await pool.ostraka(['sync', pool.name]);
  await pool.unmount();

  await loseVoters(pool, await voting(pool));
  const mount = await pool.ostraka(['mount', pool.name, pool.mountpoint], { mayFail: true });
  t.not(mount.code, 0, 'nothing is left to mount');
  const none = await pool.ostraka(['recover', pool.name], { mayFail: true });
  t.match(none.stderr, /no voter is left to go on from/);
  const asked = await pool.ostraka(['recover', pool.name, '--from-snapshot', 'latest'], { mayFail: true });
  t.equal(asked.code, 4, asked.stderr);
  t.match(asked.stdout, /The index comes from the snapshot INDEX-.*\n(.*\n)*What may be missing:/);
  t.match(asked.stderr, /Nothing was changed/);
  t.same(await voting(pool), [], 'nothing was changed');
  const done = await pool.ostraka(['recover', pool.name, '--from-snapshot', 'latest', '--yes'], { limitMs: 300_000 });
  t.match(done.stdout, /can be mounted again/);
  t.match(done.stdout, /1 files have lost data \(\d blobs\); reading it gives EIO:\n {2}\/doomed\n/);
  t.match(done.stdout, /About \d blobs, .* were written after that index and cannot be named/);
  t.match(done.stdout, /[1-9]\d* found in other places/);
  t.equal((await voting(pool)).length, 5, 'five voters again');

  await pool.mount();
  for (const [index, content] of big.entries()) t.ok(content.equals(await readFile(pool.at('kept', `big${index}`))));
  t.equal(await readFile(pool.at('kept', 'small'), 'utf8'), 'rows hold me');
  await t.rejects(readFile(pool.at('doomed')), { code: 'EIO' });
  await t.rejects(readFile(pool.at('later')), { code: 'ENOENT' });
  await rm(pool.at('doomed'));
  await writeFile(pool.at('new'), big[0] ?? '');
  await pool.remount();
  t.ok(big[0]?.equals(await readFile(pool.at('new'))));
  await pool.unmount();
  const checked = await pool.ostraka(['check', pool.name, '--data'], { mayFail: true, limitMs: 300_000 });
  t.equal(checked.code, 0, checked.stdout);
  t.match((await pool.ostraka(['recover', pool.name, '--discard-unknown', '--yes'])).stdout, /Its space is given back/);
  t.match((await pool.ostraka(['recover', pool.name, '--discard-unknown', '--yes'])).stdout, /Nothing was kept/);
});

t.test('a majority of the voters lost: on from the survivor, and what returns follows', async (t) => {
  const pool = await TestPool.create(t, { disks: 6, loopBytes: LOOP_BYTES });
  await pool.mount();
  const content = pattern(9_000_000, 4);
  await writeFile(pool.at('file'), content);
  await pool.ostraka(['sync', pool.name]);
  await pool.unmount();
  const voters = await voting(pool);
  t.equal(voters.length, 5);
  t.match((await pool.ostraka(['recover', pool.name, '--yes'], { mayFail: true })).stderr, /needs no recovery/);
  // Three logs are gone for good, one of them comes back later as it was.
  const [first = 0, ...others] = voters;
  const path = join(must(pool.disks[first], 'a disk'), 'quorum');
  await rename(path, `${path}-taken`);
  await loseVoters(pool, others.slice(0, 2));
  await pool.mount();
  t.match(await pool.status(), { state: 'read-only' });
  t.ok(content.equals(await readFile(pool.at('file'))));
  await pool.unmount();
  const done = await pool.ostraka(['recover', pool.name, '--yes'], { limitMs: 300_000 });
  t.match(done.stdout, /The index comes from the most advanced voter that is left/);
  t.match(done.stdout, /No file has lost data\./);
  await rm(path, { recursive: true, force: true });
  await rename(`${path}-taken`, path);
  await pool.mount();
  t.match(await pool.status(), { state: 'mounted' });
  t.ok(content.equals(await readFile(pool.at('file'))));
  await writeFile(pool.at('more'), content);
  await pool.ostraka(['sync', pool.name]);
  await until('every voter follows', async () => (await pool.status()).voters.every(({ state }) => state === 'online'));
  await pool.remount();
  t.ok(content.equals(await readFile(pool.at('more'))));
});
