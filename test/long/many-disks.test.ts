/**
 * A pool of 64 disks with code 16+4: everything on all of them, read back with four disks gone, healed after one was replaced, grown by the 65th; the daemon stays
 * below its limit of memory.
 */
import t from 'tap';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
const DISKS = 64;
const MEMORY_BYTES_MAX = 300 * MiB;

t.test('64 disks', async (t) => {
  const pool = await TestPool.create(t, { disks: DISKS + 2, loopBytes: 96 * MiB, raw: true });
  await run(
    'rmdir',
    pool.disks.map((disk) => join(disk, 'lost+found')),
  );
  const spare = pool.disks.splice(DISKS);
  await pool.init(['--code', '16+4']);
  pool.disks.push(...spare);
  await pool.mount();
  const before = await pool.status();
  t.equal(before.code, '16+4');
  t.same([before.disks.length, before.voters.length], [DISKS, 9], 'nine of them vote: as many losses as the code allows leave a majority');
  await run('cp', ['-a', smallTree, pool.at('tree')], { limitMs: 120_000 });
  for (let i = 0; i < 16; i++) await randomFile(pool.at(`f${i}`), 16 * MiB);
  await pool.ostraka(['sync', pool.name]);
  const want = await digests(pool.mountpoint);
  for (const disk of pool.disks.slice(0, DISKS)) t.not((await readdir(join(disk, 'segments'))).length, 0, `something is on ${disk}`);
  await pool.unmount();

  const gone = [3, 17, 40, 63];
  for (const i of gone) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without four of them');
  want.set('meanwhile', await randomFile(pool.at('meanwhile'), 5 * MiB));
  await pool.ostraka(['disk', 'replace', pool.name, must(pool.disks[3], 'disks'), must(spare[0], 'a spare')], { limitMs: 120_000 });
  for (const i of gone.slice(1)) await pool.mountDisk(i);
  await until('they are taken back', async () => (await pool.status()).disks.every(({ state }) => state === 'online'), 120_000);
  await pool.ostraka(['heal', pool.name, '--watch'], { limitMs: 400_000 });
  await pool.ostraka(['disk', 'add', pool.name, must(spare[1], 'two spares')]);
  const after = await pool.status();
  t.same([after.disks.length, after.disks.filter(({ state }) => state === 'online').length], [DISKS + 1, DISKS + 1]);
  t.equal(after.endangered_blobs, 0);
  t.equal((await pool.ostraka(['check', pool.name], { limitMs: 400_000, mayFail: true })).code, 0, 'it checks');
  const { peakBytes } = await pool.memory();
  t.ok(peakBytes < MEMORY_BYTES_MAX, `peak ${Math.round(peakBytes / MiB)} MiB`);
  await pool.unmount();

  for (const i of [0, 20, 33, 50]) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without four others');
  await pool.unmount();
});
