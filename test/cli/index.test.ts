/** `ostraka index`: exports of a pool in use and of one that is not, an import that takes it back there, snapshots, and what is refused. */
import t from 'tap';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool } from '../support/pool.js';
import { pattern } from '../namespace/fixture.js';

t.test('an export taken while the pool is used is imported again', async (t) => {
  const pool = await TestPool.create(t, { disks: 3 });
  await pool.mount();
  const [big, small] = [pattern(3_000_000, 1), 'small file'];
  await writeFile(pool.at('big'), big);
  await writeFile(pool.at('small'), small);
  const path = join(pool.root, 'photos.ostraka');
  const exported = await pool.ostraka(['index', 'export', pool.name, path]);
  t.match(exported.stdout, /\d+ rows, as of log position \d+, are in .*photos\.ostraka/);
  t.equal((await stat(path)).mode & 0o777, 0o600, 'names stand in it: for its owner alone');

  // Afterwards: one file goes, one changes its name, one comes.
  await rm(pool.at('small'));
  await mkdir(pool.at('new'));
  await writeFile(pool.at('new', 'later'), pattern(1_000_000, 2));
  const refused = await pool.ostraka(['index', 'import', pool.name, path, '--yes'], { mayFail: true });
  t.equal(refused.code, 4);
  t.match(refused.stderr, /is mounted already/);
  await pool.unmount();

  const again = join(pool.root, 'again.ostraka');
  await pool.ostraka(['index', 'export', pool.name, again]);
  const asked = await pool.ostraka(['index', 'import', pool.name, path], { mayFail: true });
  t.equal(asked.code, 4);
  t.match(asked.stdout, /What may be missing:/);
  t.match(asked.stderr, /Nothing was changed/);
  const damaged = join(pool.root, 'damaged.ostraka');
  const bytes = await readFile(path);
  bytes[bytes.length - 40] = (bytes[bytes.length - 40] ?? 0) ^ 1;
  await writeFile(damaged, bytes);
  const bad = await pool.ostraka(['index', 'import', pool.name, damaged, '--yes'], { mayFail: true });
  t.equal(bad.code, 5);
  t.match(bad.stderr, /cannot be used/);

  const done = await pool.ostraka(['index', 'import', pool.name, path, '--yes']);
  t.match(done.stdout, /No file has lost data/);
  t.match(done.stdout, /About \d blobs, .* cannot be named/);
  await pool.mount();
  t.same((await readdir(pool.mountpoint)).sort(), ['big', 'small']);
  t.ok(big.equals(await readFile(pool.at('big'))));
  t.equal(await readFile(pool.at('small'), 'utf8'), small, 'what was deleted since is there again');
  await pool.unmount();
  t.equal((await pool.ostraka(['check', pool.name, '--data'])).code, 0);

  // And forth: the data of the later file was kept.
  await pool.ostraka(['index', 'import', pool.name, again, '--yes']);
  await pool.mount();
  t.ok(pattern(1_000_000, 2).equals(await readFile(pool.at('new', 'later'))));
  const snapshots = await Promise.all(pool.disks.map((disk) => readdir(join(disk, 'snapshots')).catch(() => [])));
  t.equal(snapshots.flat().length, 4, 'each import took a snapshot before, on m + 1 disks');
});

t.test('to standard output, and only of this pool', async (t) => {
  const pool = await TestPool.create(t, { disks: 3 });
  const other = await TestPool.create(t, { disks: 3, name: `other${process.pid}` });
  await pool.mount();
  await pool.unmount();
  const path = join(pool.root, 'export');
  await pool.ostraka(['index', 'export', pool.name, path]);
  const piped = await pool.ostraka(['index', 'export', pool.name]);
  t.match(piped.stdout, /^OSTRAIDX/);
  t.same(await readdir(join(pool.root, 'state')).then((names) => names.filter((name) => name.startsWith('export-'))), []);
  const foreign = await other.ostraka(['index', 'import', other.name, path, '--yes'], { mayFail: true });
  t.equal(foreign.code, 2);
  t.match(foreign.stderr, /the index of another pool/);
});
