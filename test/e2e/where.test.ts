/** Where a file is: `ostraka where`, and attributes that nobody wrote. What they say is held against the disks themselves. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

interface Where {
  readonly size: number;
  readonly inline_bytes: number;
  readonly extents: number;
  readonly blobs: readonly {
    readonly blob: number;
    readonly code: string;
    readonly file_bytes: number;
    readonly shards: (number | null)[];
  }[];
  readonly disks: readonly { readonly number: number; readonly path: string }[];
}

const pool = await TestPool.create(t, { disks: 4, initArguments: ['--code', '2+2'] });
await pool.mount();
const attribute = async (name: string, file: string): Promise<string> => {
  const { code, stdout, stderr } = await run('getfattr', ['--only-values', '--absolute-names', '-n', name, file], { mayFail: true });
  return code === 0 ? stdout : stderr;
};

t.test('a file of several blobs', async (t) => {
  const content = randomBytes(20 << 20);
  await writeFile(pool.at('film'), content);
  await run('sync', [pool.at('film')]);
  const found = (await pool.json(['where', pool.at('film')])) as Where;
  t.equal(found.size, content.length);
  t.equal(found.inline_bytes, 0);
  t.equal(
    found.blobs.reduce((sum, { file_bytes: bytes }) => sum + bytes, 0),
    content.length,
  );
  t.same(found.disks.map(({ path }) => path).sort(), [...pool.disks].sort());
  for (const { code, shards } of found.blobs) {
    t.equal(code, '2+2');
    t.equal(new Set(shards).size, 4, 'each shard on a disk of its own');
  }
  const { stdout } = await pool.ostraka(['where', pool.at('film')]);
  t.match(stdout, /film: 20\.0 MiB in \d+ extents; \d+ blobs \(2\+2\)/);
  for (const shard of ['D0', 'D1', 'P0', 'P1']) t.match(stdout, new RegExp(`^.*\\b${shard}\\b`, 'm'));
  for (const disk of pool.disks) t.ok(stdout.includes(`: ${disk}\n`));
  t.equal(await attribute('user.ostraka.code', pool.at('film')), '2+2');
  t.equal(await attribute('user.ostraka.extents', pool.at('film')), String(found.extents));
  t.equal(await attribute('user.ostraka.blobs', pool.at('film')), found.blobs.map(({ blob }) => blob).join(','));
  t.same((await attribute('user.ostraka.disks', pool.at('film'))).split(',').sort(), [...pool.disks].sort());
});

t.test('a file of very many blobs, over several pages', async (t) => {
  // Pieces far apart, each a blob of its own when it is large enough to be coded.
  const file = pool.at('scattered');
  const piece = randomBytes(256 << 10);
  const script = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
piece = os.urandom(${piece.length})
for i in range(70):
    os.pwrite(fd, piece, i * 3 * ${piece.length})
    if i % 10 == 9: os.fsync(fd)
os.close(fd)
`;
  await run('/usr/bin/python3', ['-I', '-c', script, file]);
  const found = (await pool.json(['where', file])) as Where;
  t.ok(found.extents > 64, `${found.extents} extents are more than a page`);
  t.equal(found.inline_bytes + found.blobs.reduce((sum, { file_bytes: bytes }) => sum + bytes, 0), 70 * piece.length);
  t.equal(new Set(found.blobs.map(({ blob }) => blob)).size, found.blobs.length);
});

t.test('small files are in the index, folders nowhere', async (t) => {
  await writeFile(pool.at('small'), 'x');
  await mkdir(pool.at('folder'));
  t.match(await pool.json(['where', pool.at('small')]), { size: 1, inline_bytes: 1, blobs: [], disks: [] });
  t.match((await pool.ostraka(['where', pool.at('small')])).stdout, /in the index itself/);
  t.equal(await attribute('user.ostraka.disks', pool.at('small')), '');
  t.match(await attribute('user.ostraka.disks', pool.at('folder')), /No such attribute/);
  t.match(await attribute('user.ostraka.nonsense', pool.at('small')), /No such attribute/);
});

t.test('nobody trips over the attributes', async (t) => {
  await run('setfattr', ['-n', 'user.mine', '-v', 'value', pool.at('small')]);
  t.match(
    (await run('getfattr', ['-d', '-m', '-', '--absolute-names', pool.at('small')])).stdout.trim(),
    /^# file: .*\nuser\.mine="value"$/,
  );
  const local = join(pool.root, 'local');
  await mkdir(local);
  await run('rsync', ['-aX', pool.at('film'), pool.at('small'), `${local}/`]);
  await run('cp', ['-a', pool.at('small'), pool.at('copied')]);
  const again = await run('rsync', ['-aX', '--itemize-changes', pool.at('film'), pool.at('small'), `${local}/`]);
  t.equal(again.stdout, '');
  t.ok((await readFile(join(local, 'film'))).equals(await readFile(pool.at('film'))));
  for (const args of [
    ['-n', 'user.ostraka.disks', '-v', 'x'],
    ['-x', 'user.ostraka.disks'],
  ]) {
    const { code, stderr } = await run('setfattr', [...args, pool.at('small')], { mayFail: true });
    t.equal(code, 1);
    t.match(stderr, /Operation not supported/);
  }
});

t.test('what cannot be asked', async (t) => {
  const failure = async (file: string): Promise<string> => (await pool.ostraka(['where', file], { mayFail: true })).stderr;
  t.match(await failure('/etc/passwd'), /not on a pool of Ostraka/);
  t.match(await failure(pool.at('missing')), /ENOENT|no such file/i);
  await rm(pool.at('film'));
});
