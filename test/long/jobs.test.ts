/** Long jobs of a real pool: scrub finds by count what rotted and has it healed, mounted or not, and goes on after kill -9; a disk is added, another one drained. */
import t from 'tap';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';

interface JobJson {
  readonly job: {
    readonly state: string;
    readonly done_bytes: number;
    readonly total_bytes: number;
    readonly result: Readonly<Record<string, unknown>> | null;
  };
  readonly history: readonly { readonly outcome: string }[];
}

async function json(pool: TestPool, ...args: string[]): Promise<JobJson> {
  const [verb = '', ...more] = args;
  const { stdout } = await pool.ostraka([verb, pool.name, ...more, '--json'], { limitMs: 120_000 });
  return JSON.parse(stdout) as JobJson;
}

/** Flips a bit in a frame of every `nth` record on a disk. Returns how many. */
async function rot(disk: string, nth: number): Promise<number> {
  let records = 0;
  let flipped = 0;
  for (const name of await readdir(join(disk, 'segments'))) {
    const path = join(disk, 'segments', name);
    const bytes = await readFile(path);
    const file = await open(path, 'r+');
    for (let at = 4096; at + 8192 <= bytes.length; at += 4096) {
      if (bytes.toString('latin1', at, at + 8) !== 'OSTKSHRD' || records++ % nth !== 0) continue;
      await file.write(Buffer.of((bytes[at + 4195] ?? 0) ^ 0x10), 0, 1, at + 4195);
      flipped++;
    }
    await file.close();
  }
  return flipped;
}

t.test('rot on two disks is found by count, and healed, on a pool that is not mounted', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 48 * 1024 ** 2);
  const want = await digests(pool.mountpoint);
  await pool.unmount();
  const flipped = (await rot(pool.disks[1] ?? '', 2)) + (await rot(pool.disks[4] ?? '', 3));
  t.ok(flipped > 5, `${flipped} records`);
  const { job } = await json(pool, 'scrub');
  t.match(job, { state: 'done', result: { badRecords: flipped, missingRecords: 0, repairedRecords: flipped, skippedDisks: [] } });
  t.equal((await readdir(join(pool.disks[1] ?? '', 'damaged'))).length > 0, true, 'damaged records are kept for inspection');
  const again = await json(pool, 'scrub');
  t.match(again, {
    job: { state: 'done', result: { badRecords: 0, missingRecords: 0 } },
    history: [{ outcome: 'done' }, { outcome: 'done' }],
  });
  t.match(await json(pool, 'heal'), { job: { state: 'done', result: { whole: true } } });
  // Whatever two disks are lost now.
  await run('rm', ['-rf', pool.disks[0] ?? '', pool.disks[5] ?? '']);
  await pool.mount();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.unmount();
});

t.test('a scrub goes on after kill -9, where it was', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await randomFile(pool.at('big'), 96 * 1024 ** 2);
  await pool.ostraka(['sync', pool.name]);
  await pool.ostraka(['scrub', pool.name, '--rate', '12M']);
  const status = (): Promise<JobJson> => json(pool, 'scrub', '--status');
  await until('some of it is read', async () => (await status()).job.done_bytes > 80 * 1024 ** 2, 60_000);
  await pool.kill9();
  await pool.mount();
  await until('it runs again', async () => (await status()).job.state === 'running');
  const { job } = await status();
  t.ok(job.done_bytes > 5 * 1024 ** 2, `${job.done_bytes} bytes were not read again`);
  await pool.ostraka(['scrub', pool.name, '--pause']);
  await until('it is paused', async () => (await status()).job.state === 'paused');
  t.match((await pool.ostraka(['status', pool.name])).stdout, /scrub {2}paused/);
  await pool.ostraka(['scrub', pool.name, '--rate', '0', '--watch'], { limitMs: 60_000 });
  const done = await status();
  t.match(done, { job: { state: 'done', result: { badRecords: 0, missingRecords: 0, disks: 6 } } });
  t.equal(done.history.length, 1, 'one run all the time');
});

t.test('a disk is added, another one drained and removed, while files are there', async (t) => {
  const pool = await TestPool.create(t, { disks: 7, raw: true });
  const [old = '', ...others] = pool.disks;
  const fresh = others.pop() ?? '';
  await pool.ostraka(['init', pool.name, '--disk', old, ...others]);
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 32 * 1024 ** 2);
  const want = await digests(pool.mountpoint);
  await pool.ostraka(['disk', 'add', pool.name, fresh]);
  t.match(await json(pool, 'rebalance', '--watch'), { job: { state: 'done', result: { levels: { length: 7 } } } });
  const refused = await pool.ostraka(['disk', 'remove', pool.name, old], { mayFail: true });
  t.not(refused.code, 0, 'a disk in use is not removed');
  const drained = await pool.ostraka(['disk', 'drain', pool.name, old, '--watch'], { limitMs: 120_000 });
  t.match(drained.stdout, /is empty/);
  t.match((await pool.ostraka(['status', pool.name])).stdout, /Disk 1 is empty: remove it/);
  await pool.ostraka(['disk', 'remove', pool.name, old]);
  await run('rm', ['-rf', old]);
  t.match(await json(pool, 'heal', '--watch'), { job: { state: 'done', result: { whole: true } } });
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.remount();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'also in the next mount');
  await pool.unmount();
});
