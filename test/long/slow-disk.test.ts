/**
 * A disk that hangs, for real: its file system is frozen (fsfreeze), so that it reads and never writes. The pool goes on without it, says so, takes it back by itself
 * when it is thawed, and everything is whole then (I2, I4, I7, I8). And one that is merely slow (bindfs with a limited rate).
 */
import t, { type Test } from 'tap';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool, until, type Teardown } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, sha256, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
/** The first disk holds data and votes. */
const HUNG = 0;
/** The last one has no vote. */
const SLOW = 6;

/** Freezes a disk's file system; whatever happens, it is thawed before the pool is taken down. */
async function freeze(t: Teardown, pool: TestPool, i: number): Promise<() => Promise<void>> {
  const directory = pool.disks[i] ?? '';
  const thaw = async (): Promise<void> => void (await run('fsfreeze', ['-u', directory], { mayFail: true }));
  t.teardown(thaw);
  await run('fsfreeze', ['-f', directory]);
  return thaw;
}

const stateOf = async (pool: TestPool, i: number): Promise<string | undefined> => (await pool.status()).disks[i]?.state;

/** Writes a file and returns when it is durable. */
async function writeDurably(pool: TestPool, name: string, want: Map<string, string>): Promise<void> {
  want.set(name, await randomFile(pool.at(name), 2 * MiB + 17));
  const file = await open(pool.at(name), 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Small files, many: what makes the log grow. Every hundredth is waited for. */
async function writeSmall(pool: TestPool, prefix: string, count: number, want: Map<string, string>): Promise<void> {
  for (let n = 0; n < count; n++) {
    const name = `${prefix}-${n}`;
    const file = await open(pool.at(name), 'w');
    try {
      await file.writeFile(Buffer.alloc(6000, n));
      if (n % 100 === 0) await file.sync();
    } finally {
      await file.close();
    }
    want.set(name, await sha256(pool.at(name)));
  }
}

async function filled(pool: TestPool): Promise<Map<string, string>> {
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 40 * MiB);
  await pool.ostraka(['sync', pool.name]);
  return digests(pool.mountpoint);
}

/** All disks and voters are in, every blob is whole, and two other disks can be done without. */
async function wholeAgain(t: Test, pool: TestPool, want: Map<string, string>): Promise<void> {
  const well = async (): Promise<boolean> => {
    const { disks, voters, endangered_blobs } = await pool.status();
    return disks.every(({ state }) => state === 'online') && voters.every(({ state }) => state === 'online') && endangered_blobs === 0;
  };
  await until('disks and voters are back, everything is healed', well, 180_000, 500);
  await pool.ostraka(['sync', pool.name]);
  const check = await pool.ostraka(['check', pool.name, '--data'], { limitMs: 300_000 });
  t.match(check.stdout, /is as it should be/, 'a check of all data finds nothing wrong');
  await pool.unmount();
  for (const i of [1, 2]) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'it serves what the two others held');
  await pool.unmount();
  for (const i of [1, 2]) await pool.mountDisk(i);
}

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

t.test('a voter hangs for long while much is written, and is online soon after', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 700 * MiB });
  const want = await filled(pool);
  const thaw = await freeze(t, pool, HUNG);
  const voter = async (): Promise<string | undefined> => (await pool.status()).voters[HUNG]?.state;
  const end = performance.now() + 45_000;
  for (let round = 0; performance.now() < end; round++) await writeSmall(pool, `round${round}`, 500, want);
  t.equal(await voter(), 'absent');
  await thaw();
  // Writing goes on while it catches up.
  let caughtUp = false;
  const waiting = until('the voter is online', async () => (await voter()) === 'online', 180_000, 500).then(() => {
    caughtUp = true;
  });
  for (let round = 0; !caughtUp && performance.now() < end + 200_000; round++) await writeSmall(pool, `later${round}`, 200, want);
  await waiting;
  await pool.ostraka(['sync', pool.name]);
  await wholeAgain(t, pool, await digests(pool.mountpoint));
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
  t.teardown(async () => {
    await pool.unmount().catch(() => undefined);
    await run('umount', [slow], { mayFail: true });
    // bindfs lets go of the disk a moment after its mount is gone.
    await until('bindfs has ended', async () => (await run('pgrep', ['-f', `bindfs.*${slow}`], { mayFail: true })).code !== 0);
  });
  await run('bindfs', ['--write-rate=300k', directory, slow]);
  pool.disks[SLOW] = slow;
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
  await pool.unmount();
});

t.test('unmount while a disk hangs: it says what it waits for, and ends; nothing is lost', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 400 * MiB });
  const want = await filled(pool);
  const thaw = await freeze(t, pool, HUNG);
  want.set('last', await randomFile(pool.at('last'), 20 * MiB));
  const said = await pool.ostraka(['unmount', pool.name], { limitMs: 200_000 });
  t.match(said.stderr, /Writing back|Making everything durable/, 'not in silence');
  await thaw();
  await pool.mount();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await wholeAgain(t, pool, want);
});
