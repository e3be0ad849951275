/** The suite on both kinds of target: ext4 proves that it is right, Ostraka that it holds. The quick tests run a part, the long ones all. */
import { chmod } from 'node:fs/promises';
import type { Test } from 'tap';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences } from '../support/tree.js';
import { FAMILIES } from './cases/index.js';
import { prepareReadOnly, readOnly } from './cases/readonly.js';
import { ext4Exceptions, ostrakaExceptions } from './exceptions.js';
import { fuseNativeExceptions } from './fuse-native-exceptions.js';
import { Process, ROOT } from './process.js';
import { runReadOnly, runSuite } from './suite.js';
import { buildAgent, ext4 } from './targets.js';
import { User } from './user.js';

const EXT4_BYTES = 512 * 1024 ** 2;

/** What the suite left: a line for each file, with all that stat says but times, of which the kernel shows its own until it forgets the inode. */
async function describe(agent: string, directory: string): Promise<Map<string, string>> {
  const process = new Process(agent, ROOT);
  try {
    const { out } = await new User(process).tree(directory);
    const lines = (out[0]?.toString('latin1') ?? '').split('\n').filter((line) => line !== '');
    return new Map(lines.map((line) => [line.replace(/ \d+ links .*$/s, ''), line.replace(/ m \S+ c \S+/, '')]));
  } finally {
    await process.end();
  }
}

export async function onExt4(t: Test, every: number): Promise<number> {
  const agent = await buildAgent(t);
  const directory = await ext4(t, EXT4_BYTES);
  const target = { name: 'ext4', directory, agent, exceptions: ext4Exceptions, every };
  const cases = await runSuite(t, target, FAMILIES);
  const remount = async (): Promise<void> => {
    await run('mount', ['-o', 'remount,ro', directory]);
  };
  return cases + (await runReadOnly(t, target, readOnly.cases, prepareReadOnly, remount));
}

/** Ostraka on its own channel, and on the package fuse-native: others may enter, as the suite acts as several users. */
const MOUNTS = {
  Ostraka: { exceptions: ostrakaExceptions, options: [] },
  'fuse-native': { exceptions: fuseNativeExceptions, options: ['--binding', 'fuse-native', '-o', 'allow_other'] },
} as const;

export async function onOstraka(t: Test, every: number, name: keyof typeof MOUNTS = 'Ostraka'): Promise<number> {
  const { exceptions, options } = MOUNTS[name];
  const agent = await buildAgent(t);
  const pool = await TestPool.create(t);
  await pool.mount(...options);
  await chmod(pool.root, 0o755);
  await chmod(pool.mountpoint, 0o755);
  const target = { name, directory: pool.mountpoint, agent, exceptions, every };
  const cases = await runSuite(t, target, FAMILIES);

  const seen = await describe(agent, pool.mountpoint);
  await pool.unmount();
  await pool.mount(...options);
  t.same(differences(seen, await describe(agent, pool.mountpoint)), [], 'what the kernel had cached is what another mount shows');
  t.equal((await pool.ostraka(['check', pool.name], { mayFail: true })).code, 0, 'and it checks');

  const remount = async (): Promise<void> => {
    await pool.unmount();
    await pool.mount(...options, '-o', 'ro');
  };
  return cases + (await runReadOnly(t, target, readOnly.cases, prepareReadOnly, remount));
}
