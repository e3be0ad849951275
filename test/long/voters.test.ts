/** Voters that are lost: two of five are rebuilt, three of five leave a pool that can be read and says what to do (I4, I7, I8). */
import t from 'tap';
import { open, readdir, rename, rm, stat, writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool, exists, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, smallTree } from '../support/tree.js';

/** Folders `quorum` of the disks that vote. */
async function voterFolders(pool: TestPool): Promise<string[]> {
  const folders = pool.disks.map((disk) => join(disk, 'quorum'));
  const there = await Promise.all(folders.map(exists));
  return folders.filter((_, i) => there[i]);
}

/** Overwrites every 1,000th byte of every file below a folder. */
async function corrupt(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const file = await open(path, 'r+');
    for (let at = 5; at < (await stat(path)).size; at += 1000) await file.write(Buffer.from([0xa5]), 0, 1, at);
    await file.close();
  }
}

const forgetWorking = (pool: TestPool): Promise<void> => rm(join(pool.root, 'state'), { recursive: true, force: true });

async function filled(pool: TestPool): Promise<Map<string, string>> {
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  return digests(pool.mountpoint);
}

for (const how of ['removed', 'corrupted'] as const)
  t.test(`two of five ${how}, and the working replica`, async (t) => {
    const pool = await TestPool.create(t);
    const want = await filled(pool);
    t.equal((await pool.status()).voters.length, 5);
    await pool.unmount();
    const folders = await voterFolders(pool);
    t.equal(folders.length, 5);
    for (const folder of folders.slice(1, 3)) await (how === 'removed' ? rm(folder, { recursive: true }) : corrupt(folder));
    await forgetWorking(pool);
    await pool.mount();
    t.same(differences(want, await digests(pool.mountpoint)), []);
    await until('all voters are online', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'));
    await writeFile(pool.at('after'), 'after');
    want.set('after', (await digests(pool.mountpoint)).get('after') ?? '');
    await pool.unmount();
    // The rebuilt ones are worth as much as the others: without two of the three that were never touched it still works.
    for (const folder of [folders[0], folders[3]]) await rm(folder ?? '', { recursive: true });
    await forgetWorking(pool);
    await pool.mount();
    t.same(differences(want, await digests(pool.mountpoint)), []);
    await pool.unmount();
  });

t.test('three of five: read-only, and says what to do', async (t) => {
  const pool = await TestPool.create(t);
  const want = await filled(pool);
  await pool.unmount();
  for (const folder of (await voterFolders(pool)).slice(0, 3)) await rename(folder, `${folder}.away`);
  await forgetWorking(pool);
  const said = await pool.mount();
  t.match(said.stdout + said.stderr, /read-only/);
  t.same(differences(want, await digests(pool.mountpoint)), [], 'everything can be read');
  await t.rejects(writeFile(pool.at('no'), 'no'), { code: 'EROFS' });
  const status = await pool.ostraka(['status', pool.name]);
  t.match(status.stdout, /read-only/);
  t.equal((await pool.status()).state, 'read-only');
  await pool.unmount();
  for (const disk of pool.disks)
    if (await exists(join(disk, 'quorum.away'))) {
      await rm(join(disk, 'quorum'), { recursive: true, force: true });
      await rename(join(disk, 'quorum.away'), join(disk, 'quorum'));
    }
  await pool.mount();
  await writeFile(pool.at('yes'), 'yes');
  t.equal(await readFile(pool.at('yes'), 'utf8'), 'yes', 'with the voters back it can be written');
  t.same(differences(want, await digests(pool.mountpoint).then((all) => (all.delete('yes'), all))), []);
  await pool.unmount();
});

t.test('a 1+1 pool with its witness goes on without one disk, and without the witness', async (t) => {
  const pool = await TestPool.create(t, { disks: 2 });
  const want = await filled(pool);
  const status = await pool.status();
  t.equal(status.code, '1+1');
  t.equal(status.voters.length, 3);
  await pool.unmount();
  const witness = status.voters.map((voter) => voter.path).find((path) => !pool.disks.includes(path)) ?? '';
  t.ok(await exists(witness), `the witness is at ${witness}`);
  for (const lost of [pool.disks[0] ?? '', pool.disks[1] ?? '', witness]) {
    await rename(lost, `${lost}.away`);
    await pool.mount();
    t.same(differences(want, await digests(pool.mountpoint)), [], `without ${lost} all reads right`);
    const name = `without-${want.size}`;
    await writeFile(pool.at(name), name);
    want.set(name, (await digests(pool.mountpoint)).get(name) ?? '');
    await pool.unmount();
    await rename(`${lost}.away`, lost);
  }
  await pool.mount();
  t.same(differences(want, await digests(pool.mountpoint)), []);
  await pool.unmount();
});
