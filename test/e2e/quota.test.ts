/** Quotas on a real mount, with the programs that people use: what they are told, what df shows, and that the numbers are right after a kill. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import t from 'tap';
import type { QuotaReport } from '../../src/daemon/quota-requests.js';
import { TestPool } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';

const MiB = 1 << 20;
const DENIED = /Disk quota exceeded/;

const pool = await TestPool.create(t, { disks: 3, initArguments: ['--code', '2+1'] });
await pool.mount();

const program = (name: string, ...args: string[]): Promise<RunResult> => run(name, args, { mayFail: true, limitMs: 60_000 });
const list = async (...args: string[]): Promise<QuotaReport[]> =>
  JSON.parse((await pool.ostraka(['quota', ...args, '--json'])).stdout) as QuotaReport[];
const shown = (path: string): Promise<QuotaReport[]> => list('show', path);

/** Size, used and available in bytes; inodes and those used. */
async function df(path: string): Promise<number[]> {
  const columns = '--output=size,used,avail,itotal,iused';
  const { stdout } = await run('df', ['-B1', columns, path]);
  return (stdout.trim().split('\n')[1] ?? '').trim().split(/\s+/).map(Number);
}

t.test('bytes: df shows the limit, programs are told, what fits is whole', async (t) => {
  const dir = pool.at('bytes');
  await mkdir(dir);
  const set = (await pool.json(['quota', 'set', dir, '--bytes', '20M'])) as QuotaReport;
  t.match(set, { path: dir, state: 'active', bytes_used: 0, bytes_limit: 20 * MiB, inodes_used: 1, inodes_limit: null });
  const content = randomBytes(15 * MiB);
  await writeFile(pool.at('source'), content);
  t.equal((await program('cp', pool.at('source'), `${dir}/copy`)).code, 0);
  t.same((await df(dir)).slice(0, 3), [20 * MiB, 15 * MiB, 5 * MiB]);
  t.same((await df(`${dir}/copy`)).slice(0, 3), [20 * MiB, 15 * MiB, 5 * MiB], 'of a file as well');
  t.not((await df(pool.mountpoint))[0], 20 * MiB, 'the rest of the pool is as large as it is');

  await writeFile(pool.at('other'), randomBytes(15 * MiB));
  const copied = await program('cp', '--reflink=never', '--sparse=never', pool.at('other'), `${dir}/second`);
  t.not(copied.code, 0);
  t.match(copied.stderr, DENIED);
  const written = await program('dd', 'if=/dev/zero', `of=${dir}/zeros`, 'bs=64K', 'count=320', 'conv=fsync');
  t.not(written.code, 0);
  t.match(written.stderr, DENIED);
  const script = `import os; fd = os.open('${dir}/closed', os.O_CREAT | os.O_WRONLY); os.write(fd, bytes(8 << 20)); os.close(fd)`;
  t.match((await program('python3', '-c', script)).stderr, /Errno 122/, 'close says so, where write did not');
  const direct = await program('dd', `if=${pool.at('other')}`, `of=${dir}/direct`, 'bs=1M', 'oflag=direct');
  t.not(direct.code, 0);
  t.match(direct.stderr, DENIED);
  t.match((await program('fallocate', '-l', '30M', `${dir}/allocated`)).stderr, DENIED);
  t.equal((await program('truncate', '-s', '1G', `${dir}/sparse`)).code, 0, 'holes take nothing');
  await program('rm', '-f', `${dir}/second`, `${dir}/zeros`, `${dir}/closed`, `${dir}/direct`, `${dir}/allocated`, `${dir}/sparse`);
  t.ok((await readFile(`${dir}/copy`)).equals(content), 'what was there is as it was');
  t.match(await shown(dir), [{ bytes_used: 15 * MiB, inodes_used: 2 }]);

  t.equal((await program('dd', `if=${pool.at('other')}`, `of=${dir}/copy`, 'bs=1M', 'conv=notrunc')).code, 0, 'overwriting needs no room');
  t.equal((await program('cp', pool.at('source'), `${dir}/copy`)).code, 0, 'nor does writing anew');
  t.ok((await readFile(`${dir}/copy`)).equals(content));
  await run('sync', [`${dir}/copy`]);
  t.match(await shown(dir), [{ bytes_used: 15 * MiB }]);
});

t.test('a program that goes on writing hears of it, long before it closes', async (t) => {
  const dir = pool.at('stream');
  await mkdir(dir);
  await pool.ostraka(['quota', 'set', dir, '--bytes', '8M']);
  // A gigabyte, with time for the kernel to write back.
  const script = `
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
try:
    for i in range(1000):
        os.write(fd, os.urandom(1 << 20))
        if i % 16 == 15: time.sleep(0.5)
except OSError as error:
    print(error.errno, i)
    sys.exit(0)
print('none')
`;
  const { stdout } = await program('timeout', '50', 'python3', '-c', script, `${dir}/endless`);
  const [errno, megabytes] = stdout.trim().split(' ').map(Number);
  t.equal(errno, 122, `EDQUOT from write: ${stdout}`);
  t.ok((megabytes ?? 1000) < 900, `after ${megabytes} MiB`);
});

t.test('inodes: every way to make one', async (t) => {
  const dir = pool.at('inodes');
  await mkdir(dir);
  await pool.ostraka(['quota', 'set', dir, '--inodes', '3']);
  t.same((await df(dir)).slice(3), [3, 1]);
  await writeFile(`${dir}/a`, '1');
  await mkdir(`${dir}/b`);
  t.same((await df(`${dir}/b`)).slice(3), [3, 3]);
  for (const [name, ...args] of [
    ['touch', `${dir}/c`],
    ['mkdir', `${dir}/b/c`],
    ['ln', '-s', 'a', `${dir}/c`],
    ['mkfifo', `${dir}/c`],
    ['cp', `${dir}/a`, `${dir}/c`],
    ['mv', pool.at('other'), `${dir}/c`],
  ] as [string, ...string[]][])
    t.match((await program(name, ...args)).stderr, DENIED, name);
  t.equal((await program('ln', `${dir}/a`, `${dir}/c`)).code, 0, 'another name is no inode');
  t.equal((await program('mv', `${dir}/a`, pool.at('moved'))).code, 0, 'mv copies one of two names');
  t.same(await readFile(`${dir}/c`, 'utf8'), await readFile(pool.at('moved'), 'utf8'));
  t.same((await df(dir)).slice(3), [3, 3], 'and the other one stays');
  t.equal((await program('mv', `${dir}/c`, pool.at('moved'))).code, 0);
  t.equal((await program('touch', `${dir}/c`)).code, 0, 'what has left makes room');
});

t.test('trees: what is there is counted, moved and copied', async (t) => {
  const [from, to] = [pool.at('from'), pool.at('to')];
  await mkdir(`${from}/deep/er`, { recursive: true });
  await mkdir(to);
  await run('sh', ['-c', `cd ${from} && for i in $(seq 400); do echo $i > deep/er/f$i; done`]);
  const { stdout } = await run('du', ['-sb', '--apparent-size', '--inodes', from]);
  const inodes = Number(stdout.split('\t')[0]);
  const set = (await pool.json(['quota', 'set', from, '--inodes', '10000'])) as QuotaReport;
  t.match(set, { state: 'active', inodes_used: inodes });
  t.equal(inodes, 403);
  await pool.ostraka(['quota', 'set', to, '--inodes', '450']);
  t.equal((await program('mv', `${from}/deep`, to)).code, 0, 'mv copies what is too large to be renamed');
  t.match([...(await shown(from)), ...(await shown(to))], [{ inodes_used: 1 }, { inodes_used: 403 }]);
  t.equal((await readFile(`${to}/deep/er/f400`, 'utf8')).trim(), '400');
  const synced = await program('rsync', '-a', `${to}/deep`, from);
  t.equal(synced.code, 0, synced.stderr);
  t.match(await shown(from), [{ inodes_used: 403 }]);
  const full = await program('rsync', '-a', `${from}/deep/`, `${to}/again`);
  t.equal(full.code, 23, 'rsync says that not everything was copied');
  t.match(full.stderr, DENIED);
});

t.test('the command: nested, listed, changed, cleared, refused', async (t) => {
  const inner = pool.at('bytes/inner');
  await mkdir(inner);
  await pool.ostraka(['quota', 'set', pool.mountpoint, '--inodes', '1000000']);
  await pool.ostraka(['quota', 'set', inner, '--bytes', 'none', '--inodes', '5']);
  const chain = (await shown(inner)).map(({ path }) => path);
  t.same(chain, [inner, pool.at('bytes'), pool.mountpoint]);
  const listed = await list('list', pool.name);
  t.same(
    listed.map(({ path }) => path).sort(),
    [pool.mountpoint, ...['bytes', 'bytes/inner', 'stream', 'inodes', 'from', 'to'].map((at) => pool.at(at))].sort(),
  );
  const { stdout } = await pool.ostraka(['quota', 'list']);
  t.match(stdout, /DIRECTORY +BYTES +LIMIT +USED +INODES +LIMIT +USED +STATE/);
  t.match(stdout, /\/bytes +15\.0 MiB +20\.0 MiB +75 % +3 +- +- +active/);
  t.equal((await pool.ostraka(['quota', 'clear', inner])).code, 0);
  t.same(
    (await shown(inner)).map(({ path }) => path),
    [pool.at('bytes'), pool.mountpoint],
  );
  const refused = async (args: readonly string[], code: number, message: RegExp): Promise<void> => {
    const result = await pool.ostraka(['quota', ...args], { mayFail: true });
    t.equal(result.code, code, args.join(' '));
    t.match(result.stderr, message);
  };
  await refused(['clear', inner], 3, /no quota of its own[\s\S]*what to do/);
  await refused(['set', inner], 2, /no limit is given/);
  await refused(['set', inner, '--bytes', 'much'], 2, /"much" is not a value of --bytes/);
  await refused(['set', pool.at('source'), '--bytes', '1M'], 3, /is not a directory/);
  await refused(['show', '/proc'], 2, /not on a pool/);
});

t.test('after a kill the numbers are right, and the limits hold', async (t) => {
  const before = await list('list', pool.name);
  await pool.kill9();
  await pool.mount();
  t.same(await list('list', pool.name), before);
  t.match((await program('dd', 'if=/dev/zero', `of=${pool.at('bytes/more')}`, 'bs=1M', 'count=6', 'conv=fsync')).stderr, DENIED);
  await rm(pool.at('bytes/more'), { force: true });
  const checked = await pool.ostraka(['check', pool.name]);
  t.equal(checked.code, 0, checked.stdout);
  await pool.unmount();
  const unmounted = await list('list', pool.name);
  t.same(
    unmounted.map(({ bytes_used: bytes }) => bytes),
    before.map(({ bytes_used: bytes }) => bytes),
    'as well while it is not mounted',
  );
});
