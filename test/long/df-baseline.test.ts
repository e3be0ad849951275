/**
 * Space comes back (I10), on loop devices with ext4 and with xfs: files of all sizes are written, overwritten, truncated, appended to and deleted, with a
 * `kill -9` and a mount in between, and a few stay. The collector and the compactor alone must bring what `segments/` takes on each disk down to what is
 * left of the files, and to where it began when these go as well; `df` of the mount follows. Nothing here asks how quickly. Small files that stay lie side
 * by side: packs with holes all over wait for the packer's round, every five minutes (test/namespace/repack.test.ts).
 *
 * `quorum/`, the index and its log, is counted apart: how its files get shorter is their own matter.
 */
import t from 'tap';
import { mkdir, open, readdir, readFile, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';

const MiB = 1024 ** 2;
/** mkfs.xfs makes nothing smaller than 300 MiB. */
const DISK_BYTES = 320 * MiB;
const DISKS = 6;
/** What a disk's `segments/` may keep when nothing is stored: the room ahead of the segment that takes records, which `df` counts as free, and directories. */
const KEPT_BYTES = DISK_BYTES / 64 + 1 * MiB;
/** What `df` of the mount may be short of: block maps and directories, of four disks. */
const DF_SLACK_BYTES = 4 * MiB;
const LIMIT_MS = 120_000;

/** Bytes allocated below a folder of each disk. */
async function diskUse(pool: TestPool, folder: string): Promise<number[]> {
  const uses: number[] = [];
  for (const disk of pool.disks) {
    // Files go while du looks.
    const { stdout } = await run('du', ['-sk', join(disk, folder)], { mayFail: true });
    uses.push(Number(stdout.split('\t')[0]) * 1024);
  }
  return uses;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, each) => all + each, 0);

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** What each disk's file system gives to anything but `quorum/`. */
async function usedOnDisks(pool: TestPool): Promise<number[]> {
  const index = await diskUse(pool, 'quorum');
  const used: number[] = [];
  for (const [i, disk] of pool.disks.entries()) {
    const { blocks, bfree, bsize } = await statfs(disk);
    used.push((blocks - bfree) * bsize - (index[i] ?? 0));
  }
  return used;
}

/** Big ones, small ones, and a change to every third: overwritten inside, cut, appended to, replaced. */
async function churn(pool: TestPool, folder: string, random: Random): Promise<void> {
  const at = (name: string): string => pool.at(folder, name);
  await mkdir(pool.at(folder));
  for (let i = 0; i < 6; i++) await writeFile(at(`big${i}`), random.bytes(12 * MiB + random.below(8 * MiB)));
  for (let i = 0; i < 1500; i++) await writeFile(at(`small${i}`), random.bytes(1 + random.below(20_000)));
  for (let i = 0; i < 60; i++) await writeFile(at(`middle${i}`), random.bytes(random.below(1 * MiB)));
  for (let i = 0; i < 6; i++) {
    const file = await open(at(`big${i}`), 'r+');
    for (let n = 0; n < 20; n++) await file.write(random.bytes(1 + random.below(300_000)), 0, undefined, random.below(12 * MiB));
    if (i % 2 === 0) await file.sync();
    await file.close();
  }
  for (let i = 0; i < 60; i += 3) {
    await truncate(at(`middle${i}`), random.below(400_000));
    await writeFile(at(`middle${i + 1}`), random.bytes(random.below(500_000)));
    await writeFile(at(`middle${i + 2}`), random.bytes(90_000), { flag: 'a' });
  }
  await truncate(at('big1'), 1 * MiB);
  await truncate(at('big1'), 9 * MiB);
}

for (const fileSystem of ['ext4', 'xfs'] as const)
  t.test(fileSystem, async (t) => {
    const pool = await TestPool.create(t, { disks: DISKS, loopBytes: DISK_BYTES, fileSystem, name: `df${process.pid}` });
    const random = seededRandom(fileSystem.length);
    await pool.mount();
    // Each disk gets one some time after it is in.
    const reserved = (): Promise<boolean> =>
      Promise.all(pool.disks.map((disk) => stat(join(disk, 'ostraka.reserve')))).then(
        (reserves) => reserves.every(({ blocks }) => blocks > 0),
        () => false,
      );
    await until('each disk has its reserve', reserved, LIMIT_MS, 100);
    const freeBefore = await freeBytes(pool.mountpoint);
    const usedBefore = await usedOnDisks(pool);
    const quorumBefore = await diskUse(pool, 'quorum');
    t.ok(
      (await diskUse(pool, 'segments')).every((bytes) => bytes <= KEPT_BYTES),
      'a new pool keeps no more than it may',
    );

    await churn(pool, 'a', random);
    // What a kill leaves: files half written, blobs that no row names, what was unlinked and not collected.
    const torn = await open(pool.at('torn'), 'w');
    await torn.write(random.bytes(9 * MiB), 0);
    await rm(pool.at('a', 'big0'));
    await pool.kill9();
    await torn.close().catch(() => undefined);
    await pool.mount();
    await churn(pool, 'b', random);
    await pool.remount();
    t.ok(sum(await diskUse(pool, 'segments')) > 200 * MiB, 'much was stored');

    const left = new Map<string, Buffer>();
    for (const folder of ['a', 'b'])
      for (const name of await readdir(pool.at(folder))) {
        if (/^(small1[0-9]|middle\d+7)$/.test(name)) left.set(join(folder, name), await readFile(pool.at(folder, name)));
        else await rm(pool.at(folder, name));
      }
    await rm(pool.at('torn'), { force: true });
    t.equal(left.size, 30, 'a few files stay');
    const leftBytes = sum([...left.values()].map(({ length }) => length));
    await pool.ostraka(['sync', pool.name]);
    const settled = async (what: string, bound: number): Promise<void> => {
      let most = '';
      const low = async (): Promise<boolean> => {
        const uses = await diskUse(pool, 'segments');
        most = uses.map((bytes) => `${Math.round(bytes / 1024)} KiB`).join(', ');
        return uses.every((bytes) => bytes <= bound);
      };
      await until(what, low, LIMIT_MS, 1000).catch(async (error: unknown) => {
        t.fail(`${String(error)}; segments take ${most}`);
        t.comment((await run('ls', ['-lsk', join(must(pool.disks[0], 'a disk'), 'segments')])).stdout);
      });
      t.comment(`${what}: ${most}`);
    };
    // Four shards hold the bytes; a pack is kept as long as half of it is used.
    await settled('what was deleted gives its space back', KEPT_BYTES + (2 * leftBytes) / 4);
    await TestPool.dropCaches();
    for (const [name, content] of left) t.ok(content.equals(await readFile(pool.at(name))), `${name} is whole`);

    for (const folder of ['a', 'b']) await rm(pool.at(folder), { recursive: true });
    await pool.ostraka(['sync', pool.name]);
    await settled('nothing is left', KEPT_BYTES);
    // With as many disks as shards the fullest one decides, four of six blocks are data.
    const index = async (): Promise<number> =>
      4 * Math.max(...(await diskUse(pool, 'quorum')).map((bytes, i) => bytes - (quorumBefore[i] ?? 0)));
    let short = 0;
    const back = async (): Promise<boolean> => {
      short = freeBefore - (await freeBytes(pool.mountpoint)) - Math.max(0, await index());
      return short <= DF_SLACK_BYTES;
    };
    await until('df of the mount is where it was', back, LIMIT_MS, 1000).catch((error: unknown) => {
      t.fail(`${String(error)}; ${short} bytes short`);
    });
    // Files that are unlinked and still open, and blocks of the file system's own, go a little later.
    let more: number[] = [];
    let files: number[] = [];
    const clean = async (): Promise<boolean> => {
      more = (await usedOnDisks(pool)).map((used, i) => used - must(usedBefore[i], 'a disk'));
      files = await Promise.all(pool.disks.map(async (disk) => (await readdir(join(disk, 'segments'))).length));
      return more.every((bytes) => bytes <= KEPT_BYTES) && files.every((count) => count <= 2);
    };
    await until('each disk is where it was', clean, LIMIT_MS, 1000).catch((error: unknown) => {
      t.fail(`${String(error)}; ${more.join(', ')} bytes more than before, ${files.join(', ')} segments`);
    });
    t.comment(`bytes more than before: ${more.join(', ')}; segments: ${files.join(', ')}`);
    await pool.unmount();
  });
