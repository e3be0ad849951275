/** `ostraka check` as the operator runs it: mounted, unmounted, with something wrong in the index and on a disk, repaired, and what it exits with. */
import t from 'tap';
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { foldersOf } from '../../src/daemon/folders.js';
import { nativeEnvironment } from '../../src/daemon/environment.js';
import { openPool } from '../../src/daemon/pool.js';
import { readDefinition } from '../../src/daemon/pool-definition.js';
import { decodeInode, encodeInode } from '../../src/index/schema/inode-row.js';
import { direntKey, inodeKey } from '../../src/index/schema/tables.js';
import { decodeDirent } from '../../src/index/schema/dirent-row.js';
import type { Transaction } from '../../src/index/index-store.js';
import { TestPool } from '../support/pool.js';
import { pattern } from '../namespace/fixture.js';

/** Changes rows of a pool that is not mounted behind everybody's back. */
async function tamper(pool: TestPool, change: (tx: Transaction) => Promise<void>): Promise<void> {
  const folders = foldersOf(pool.env, 0);
  const definition = await readDefinition(folders, pool.name);
  const quiet = (): void => undefined;
  const opened = await openPool({
    definition,
    environment: nativeEnvironment(folders, definition, quiet),
    readOnly: true,
    log: quiet,
    progress: quiet,
    onInvalidate: quiet,
  });
  await opened.index.transact(change);
  await opened.close();
}

t.test('a sound pool, mounted and not; then one with broken rows and records', async (t) => {
  const pool = await TestPool.create(t, { disks: 6 });
  await pool.mount();
  await mkdir(pool.at('photos'));
  const content = pattern(5_000_000, 1);
  await writeFile(pool.at('photos', 'big'), content);
  await writeFile(pool.at('photos', 'small'), 'small');
  const mounted = await pool.ostraka(['check', pool.name, '--data']);
  t.match(mounted.stdout, /is as it should be: \d+ rows of the index \(log position \d+\), \d blobs on the disks/);
  const refused = await pool.ostraka(['check', pool.name, '--repair'], { mayFail: true });
  t.equal(refused.code, 4);
  t.match(refused.stderr, /a pool in use is not repaired/);
  await pool.unmount();
  t.match((await pool.ostraka(['check', pool.name])).stdout, /is as it should be/);
  t.match((await pool.ostraka(['check', pool.name, '--quick'])).stdout, /is as it should be: \d+ rows of the index \(log position \d+\)\./);

  await tamper(pool, async (tx) => {
    const { ino } = decodeDirent(must(await tx.get(direntKey(1, 'photos')), 'photos'));
    tx.put(inodeKey(ino), encodeInode({ ...decodeInode(ino, must(await tx.get(inodeKey(ino)), 'row')), size: 40, links: 9 }));
  });
  await breakRecord(pool, 2);
  const found = await pool.ostraka(['check', pool.name], { mayFail: true });
  t.equal(found.code, 7);
  t.match(
    found.stdout,
    /warning directory-size: directory \d+ says that it has 40 entries, it has 2 \(\/photos\)\n {4}repair: the number is set right/,
  );
  t.match(found.stdout, /error links: inode \d+ says that it has 9 links, it has 2 \(\/photos\)/);
  t.match(found.stdout, /error record: shards \d \(EBADMSG\) of blob \d+ are not as they were written \(\/photos\/big\)/);
  const dry = await pool.ostraka(['check', pool.name, '--repair', '--dry-run'], { mayFail: true });
  t.equal(dry.code, 7);
  t.match(dry.stdout, /would be repaired: they are recorded, so that heal makes them anew/);
  const json = JSON.parse((await pool.ostraka(['check', pool.name, '--json'], { mayFail: true })).stdout) as {
    counts: unknown;
    left: number;
  };
  t.match(json, { counts: { 'directory-size': 1, links: 1, record: 1 }, left: 3 });
  const repaired = await pool.ostraka(['check', pool.name, '--repair'], { mayFail: true });
  t.equal(repaired.code, 8, repaired.stdout + repaired.stderr);
  t.match(
    repaired.stdout,
    /repairing links: inode \d+ says that it has 9 links, it has 2 \(\/photos\): the number is set right\n(.*\n)*Repaired:/,
    'each repair is said first, and why',
  );
  t.match(repaired.stdout, /Repaired:\n(.*\n)*.*inode \d+ says that it has 9 links, it has 2 \(\/photos\): the number is set right\./);
  t.match((await pool.ostraka(['check', pool.name])).stdout, /is as it should be/, 'what heal knows of is no finding');

  await pool.mount();
  t.match(await pool.status(), { endangered_blobs: 1 });
  t.ok(content.equals(await readFile(pool.at('photos', 'big'))));
  t.equal((await stat(pool.at('photos'))).nlink, 2);
});

/** Overwrites the first record's header on a disk. */
async function breakRecord(pool: TestPool, disk: number): Promise<void> {
  const folder = join(must(pool.disks[disk], 'a disk'), 'segments');
  const [name] = await readdir(folder);
  const file = await open(join(folder, must(name, 'a segment')), 'r+');
  await file.write(Buffer.alloc(64, 0xee), 0, 64, 4096 + 100);
  await file.close();
}
