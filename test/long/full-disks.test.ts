/**
 * Disks filled to the last block and recovered (I4, I8, I10), on loop devices with file systems of their own: by files until nothing more goes in, and by another program
 * outside of the pool, which takes the reserves as well. ENOSPC comes from `open`, `write`, `fsync` or `close`, never after a `close` that said yes: each file
 * whose close returned is verified to the byte, also from the disks after kills and mounts while they are full. After deleting it works again, and `df`
 * comes back to where it was.
 */
import t from 'tap';
import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, statfs, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { TestPool, until, type Teardown } from '../support/pool.js';
import { run } from '../support/run.js';

const MiB = 1024 ** 2;
const DISK_BYTES = 200 * MiB;
const FULL = new Set(['ENOSPC', 'EDQUOT']);
/** What `df` may differ by from an empty pool beside the files of the index, which keep their size: block maps, rounding. */
const DF_SLACK_BYTES = 4 * MiB;

/** What is allocated ahead in the segments that take records, on six disks of this size. `df` counts it as free. */
const AHEAD_BYTES = (6 * DISK_BYTES) / 64;

type Checks = Teardown & Pick<typeof t, 'ok' | 'same' | 'equal' | 'match' | 'comment'>;
type Files = Map<string, string>;

/** Writes a file as a careful program does, and says which call refused it; undefined: all returned, and it is acknowledged. */
async function write(path: string, content: Buffer, sync: boolean): Promise<string | undefined> {
  let step = 'open';
  try {
    const file = await open(path, 'wx');
    try {
      step = 'write';
      for (let at = 0; at < content.length; at += 1 * MiB) await file.write(content, at, Math.min(1 * MiB, content.length - at), at);
      step = 'fsync';
      if (sync) await file.sync();
      step = 'close';
    } finally {
      await file.close();
    }
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!FULL.has(code ?? '')) throw new Error(`${step} of ${path}: ${code ?? String(error)}`);
    return step;
  }
}

/** Fills the folder with files of all sizes until not even the smallest goes in; acknowledged ones go to `files`. */
async function fill(t: Checks, folder: string, files: Files, random: Random): Promise<void> {
  const refused = new Map<string, number>();
  let sizes = [8 * MiB, 1 * MiB, 60_000, 3000];
  let number = 0;
  while (sizes.length > 0) {
    const most = sizes[random.below(sizes.length)] ?? 0;
    const content = Buffer.from(random.bytes(Math.ceil((most / 2 + random.below(most / 2)) / 64)));
    const bytes = Buffer.concat(Array.from({ length: 64 }, () => content));
    const name = `f${files.size}-${number++}`;
    const step = await write(join(folder, name), bytes, number % 3 === 0);
    if (step === undefined) files.set(name, createHash('sha256').update(bytes).digest('hex'));
    else {
      refused.set(step, (refused.get(step) ?? 0) + 1);
      sizes = sizes.filter((size) => size < most);
      // What was refused is no file of anybody's: a program would remove it, and can.
      await unlink(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    }
  }
  t.comment(`${files.size} files, refused by ${[...refused].map(([step, count]) => `${step} (${count})`).join(', ')}`);
  t.ok(refused.size > 0, 'the pool was full');
}

async function whole(t: Checks, folder: string, files: Files, when: string): Promise<void> {
  await TestPool.dropCaches();
  const wrong: string[] = [];
  for (const [name, digest] of files) {
    const content = await readFile(join(folder, name)).catch((error: NodeJS.ErrnoException) => error.code ?? 'no code');
    if (typeof content === 'string') wrong.push(`${name}: ${content}`);
    else if (createHash('sha256').update(content).digest('hex') !== digest) wrong.push(`${name}: ${content.length} bytes that are others`);
  }
  t.same(wrong.slice(0, 20), [], `${when}: ${files.size} acknowledged files are whole`);
}

/** Removes all files but every `keep`th. */
async function remove(folder: string, files: Files, keep: number): Promise<void> {
  for (const [i, name] of [...files.keys()].entries())
    if (i % keep !== 0) {
      await unlink(join(folder, name));
      files.delete(name);
    }
}

const worksAgain = (pool: TestPool, name: string): Promise<void> =>
  until(
    'there is room again',
    async () => {
      await rm(pool.at(name), { force: true });
      return (await write(pool.at(name), Buffer.alloc(10 * MiB, name), true)) === undefined;
    },
    90_000,
    500,
  );

async function freeBytes(pool: TestPool): Promise<number> {
  const { bavail, bsize } = await statfs(pool.mountpoint);
  return bavail * bsize;
}

/** Bytes on each disk below a folder of this name. */
async function diskUses(pool: TestPool, folder: string): Promise<number[]> {
  const uses: number[] = [];
  for (const disk of pool.disks) {
    const said = await run('du', ['-sk', join(disk, folder)], { mayFail: true });
    uses.push(Number(said.stdout.split('\t')[0] ?? 0) * 1024);
  }
  return uses;
}

async function diskUse(pool: TestPool, folder: string): Promise<number> {
  return (await diskUses(pool, folder)).reduce((sum, bytes) => sum + bytes, 0);
}

/** Takes every block of a disk's file system, as another program that runs as root could. */
async function stuff(pool: TestPool, disk: number): Promise<void> {
  const path = join(pool.disks[disk] ?? '', 'stuffing');
  const said = await run('dd', ['if=/dev/zero', `of=${path}`, 'bs=64k', 'conv=fsync', 'status=none'], { mayFail: true, limitMs: 300_000 });
  if (!said.stderr.includes('No space left')) throw new Error(`${path} did not fill the disk: ${said.stderr}`);
  // The last blocks, one by one.
  await run('dd', ['if=/dev/zero', `of=${path}.last`, 'bs=1k', 'conv=fsync', 'status=none'], { mayFail: true });
}

async function unstuff(pool: TestPool, disk: number): Promise<void> {
  for (const name of ['stuffing', 'stuffing.last']) await rm(join(pool.disks[disk] ?? '', name), { force: true });
}

t.test('filled by files until nothing goes in', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES });
  await pool.mount();
  const files: Files = new Map();
  const random = seededRandom(5);
  const before = await freeBytes(pool);
  const indexBefore = await diskUses(pool, 'quorum');
  await fill(t, pool.mountpoint, files, random);
  await whole(t, pool.mountpoint, files, 'full');
  await pool.ostraka(['sync', pool.name]);
  await pool.kill9();
  await pool.mount();
  await whole(t, pool.mountpoint, files, 'killed while full');
  await pool.remount();
  await whole(t, pool.mountpoint, files, 'mounted again while full');

  await remove(pool.mountpoint, files, 2);
  await worksAgain(pool, 'again');
  await unlink(pool.at('again'));
  await fill(t, pool.mountpoint, files, random);
  await whole(t, pool.mountpoint, files, 'filled a second time');
  t.equal((await pool.status()).endangered_blobs, 0, 'nothing was stored short of a shard because of full disks');
  for (const name of await readdir(pool.mountpoint)) await unlink(pool.at(name));
  await pool.ostraka(['sync', pool.name]);
  await until('no record is left', async () => (await diskUse(pool, 'segments')) < AHEAD_BYTES, 90_000);
  // Four of six blocks are data, and the fullest disk says how many there is room for: voters' logs end in files of their own.
  const index = async (): Promise<number> =>
    4 * Math.max(...(await diskUses(pool, 'quorum')).map((bytes, disk) => bytes - (indexBefore[disk] ?? 0)));
  await until('df comes back to its baseline', async () => (await freeBytes(pool)) > before - (await index()) - DF_SLACK_BYTES, 30_000);
  t.comment(
    `${Math.round((before - (await freeBytes(pool))) / MiB)} MiB less free than before, of which the index ${Math.round((await index()) / MiB)}`,
  );
  await pool.unmount();
});

t.test('what is deleted makes room at once', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES });
  await pool.mount();
  const random = seededRandom(8);
  const bytes = Math.floor((await freeBytes(pool)) * 0.6);
  for (let round = 0; round < 8; round++) {
    const piece = Buffer.from(random.bytes(1000));
    const content = Buffer.alloc(bytes, piece);
    // Twice as much as there is, if what went before still took its space.
    t.equal(await write(pool.at('large'), content, round % 2 === 0), undefined, `round ${round}: written`);
    await TestPool.dropCaches();
    t.ok((await readFile(pool.at('large'))).equals(content), `round ${round}: as written`);
    await unlink(pool.at('large'));
  }
  await pool.unmount();
});

t.test('filled from outside, the reserves too', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES });
  await pool.mount();
  const files: Files = new Map();
  const random = seededRandom(6);
  for (let i = 0; i < 40; i++) {
    const content = Buffer.from(random.bytes(1 + random.below(700_000)));
    t.equal(await write(pool.at(`f${i}`), content, i % 2 === 0), undefined);
    files.set(`f${i}`, createHash('sha256').update(content).digest('hex'));
  }
  const stuffAll = async (): Promise<void> => {
    for (const disk of pool.disks.keys()) await stuff(pool, disk);
  };
  const unstuffAll = async (): Promise<void> => {
    for (const disk of pool.disks.keys()) await unstuff(pool, disk);
  };
  /** What is refused beside full disks was never acknowledged, what is acknowledged stays. */
  const writeUntilRefused = async (name: string): Promise<void> => {
    let refused = 0;
    for (let i = 0; i < 300 && refused < 3; i++) {
      const content = Buffer.from(random.bytes(200_000));
      if ((await write(pool.at(`${name}${i}`), content, i % 2 === 0)) === undefined)
        files.set(`${name}${i}`, createHash('sha256').update(content).digest('hex'));
      else refused++;
    }
    t.equal(refused, 3, 'the pool says ENOSPC');
  };

  await stuffAll();
  await whole(t, pool.mountpoint, files, 'disks without a block');
  await writeUntilRefused('late');
  await unstuffAll();
  await worksAgain(pool, 'again');
  await until('all voters follow', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);
  await whole(t, pool.mountpoint, files, 'with room again, without a new mount');

  await stuffAll();
  await writeUntilRefused('later');
  await pool.kill9();
  // Recovery writes a promise to each voter: where not even that has room the pool can be read, and says why.
  const said = await pool.mount();
  if ((await pool.status()).state === 'read-only') t.match(said.stderr, /full|[Nn]o space|ENOSPC/, 'it says why it can only be read');
  await whole(t, pool.mountpoint, files, 'killed with disks without a block');
  await pool.unmount();
  await unstuffAll();
  await pool.mount();
  await worksAgain(pool, 'again');
  await until('all voters follow', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);
  await pool.remount();
  await whole(t, pool.mountpoint, files, 'after all');
  t.equal((await pool.status()).endangered_blobs, 0);
  await pool.unmount();
});

t.test('one full disk among emptier ones does not stop the pool', async (t) => {
  const pool = await TestPool.create(t, { disks: 8, loopBytes: DISK_BYTES, initArguments: ['--code', '4+2'] });
  await pool.mount();
  const files: Files = new Map();
  const random = seededRandom(7);
  await stuff(pool, 0);
  for (let i = 0; i < 60; i++) {
    const content = Buffer.from(random.bytes(1 + random.below(2 * MiB)));
    t.equal(await write(pool.at(`f${i}`), content, true), undefined, 'it is written and synced');
    files.set(`f${i}`, createHash('sha256').update(content).digest('hex'));
  }
  await whole(t, pool.mountpoint, files, 'beside a full disk');
  t.equal((await pool.status()).endangered_blobs, 0, 'with all shards, on the other disks');
  await pool.kill9();
  await pool.mount();
  await whole(t, pool.mountpoint, files, 'killed');
  await unstuff(pool, 0);
  await pool.remount();
  await until('all voters follow', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);
  await writeFile(pool.at('after'), 'after');
  await pool.unmount();
});
