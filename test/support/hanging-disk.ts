/** A disk that hangs, for real: its file system is frozen (fsfreeze), so that it reads and never writes. And what a pool must be like afterwards. */
import type { Test } from 'tap';
import { open } from 'node:fs/promises';
import { TestPool, until, type Teardown } from './pool.js';
import { run } from './run.js';
import { differences, digests, randomFile, sha256, smallTree } from './tree.js';

export const MiB = 1024 ** 2;
/** The first disk holds data and votes. */
export const HUNG = 0;

/** Freezes a disk's file system; whatever happens, it is thawed before the pool is taken down. */
export async function freeze(t: Teardown, pool: TestPool, i: number): Promise<() => Promise<void>> {
  const directory = pool.disks[i] ?? '';
  const thaw = async (): Promise<void> => void (await run('fsfreeze', ['-u', directory], { mayFail: true }));
  t.teardown(thaw);
  await run('fsfreeze', ['-f', directory]);
  return thaw;
}

export const stateOf = async (pool: TestPool, i: number): Promise<string | undefined> => (await pool.status()).disks[i]?.state;

/** Writes a file and returns when it is durable. */
export async function writeDurably(pool: TestPool, name: string, want: Map<string, string>): Promise<void> {
  want.set(name, await randomFile(pool.at(name), 2 * MiB + 17));
  const file = await open(pool.at(name), 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Small files, many: what makes the log grow. Every hundredth is waited for. */
export async function writeSmall(pool: TestPool, prefix: string, count: number, want: Map<string, string>): Promise<void> {
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

export async function filled(pool: TestPool): Promise<Map<string, string>> {
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  await randomFile(pool.at('big'), 40 * MiB);
  await pool.ostraka(['sync', pool.name]);
  return digests(pool.mountpoint);
}

/** All disks and voters are in, every blob is whole, and two other disks can be done without. */
export async function wholeAgain(t: Test, pool: TestPool, want: Map<string, string>): Promise<void> {
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
