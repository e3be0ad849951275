/**
 * A disk that hangs, for real, and one that is merely slow (bindfs with a limited rate): the pool goes on without it, says so, takes it back by itself, and
 * everything is whole then (I2, I4, I7, I8).
 */
import t, { type Test } from 'tap';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { filled, freeze, HUNG, MiB, stateOf, wholeAgain, writeDurably, writeSmall } from '../support/hanging-disk.js';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests } from '../support/tree.js';

/** The last one has no vote. */
const SLOW = 6;

t.test('one of six disks hangs: it is out, and back by itself with all that it missed', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 700 * MiB });
  const want = await filled(pool);
  const thaw = await freeze(t, pool, HUNG);
  // Begun while the pool still waits for the disk: it ends all the same, while that hangs on.
  for (let n = 0; n < 4; n++) await writeDurably(pool, `during-${n}`, want);
  t.equal(await stateOf(pool, HUNG), 'offline', 'it is said to be out');
  t.ok((await pool.status()).endangered_blobs > 0, 'what lacks a shard is counted');
  await writeSmall(pool, 'small', 3000, want);
  for (let n = 4; n < 20; n++) await writeDurably(pool, `during-${n}`, want);
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'everything reads right while it hangs');
  t.equal(await stateOf(pool, HUNG), 'offline', 'it does not come back before it writes');
  await thaw();
  await writeSmall(pool, 'after', 500, want);
  await wholeAgain(t, pool, want);
});

t.test('one of seven disks hangs: nothing lacks a shard', async (t) => {
  const pool = await TestPool.create(t, { disks: 7, loopBytes: 400 * MiB });
  const want = await filled(pool);
  const thaw = await freeze(t, pool, HUNG);
  for (let n = 0; n < 20; n++) await writeDurably(pool, `during-${n}`, want);
  t.not(await stateOf(pool, HUNG), 'online');
  await until('all that was written has its shards on other disks', async () => (await pool.status()).endangered_blobs === 0, 60_000);
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await thaw();
  await wholeAgain(t, pool, want);
});

t.test('one of seven disks is slow: the others do not wait for it', async (t) => {
  const pool = await TestPool.create(t, { disks: 7, loopBytes: 400 * MiB, raw: true });
  const directory = pool.disks[SLOW] ?? '';
  const slow = join(pool.root, 'slow');
  await mkdir(slow);
  await run('bindfs', ['--write-rate=300k', directory, slow]);
  pool.disks[SLOW] = slow;
  try {
    await slowDisk(t, pool);
  } finally {
    await pool.unmount().catch(() => pool.kill9());
    await run('umount', ['-l', slow], { mayFail: true });
    pool.disks[SLOW] = directory;
    // bindfs lets go of the disk a moment after its mount is gone.
    await until('bindfs has ended', async () => (await run('pgrep', ['-f', `bindfs.*${slow}`], { mayFail: true })).code !== 0);
  }
});

async function slowDisk(t: Test, pool: TestPool): Promise<void> {
  await pool.init();
  const want = await filled(pool);
  const states = new Set<string | undefined>();
  for (let n = 0; n < 30; n++) {
    await writeDurably(pool, `during-${n}`, want);
    states.add(await stateOf(pool, SLOW));
  }
  t.ok(states.has('suspect') || states.has('offline'), `status says which: ${[...states].join()}`);
  const { disks, endangered_blobs } = await pool.status();
  const used = disks.map((disk) => disk.used_bytes);
  t.ok((used[SLOW] ?? Infinity) < Math.min(...used.slice(0, SLOW)), `it holds less than each other: ${used.join()}`);
  t.equal(endangered_blobs, 0, 'and nothing lacks a shard because of it');
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), []);
}
