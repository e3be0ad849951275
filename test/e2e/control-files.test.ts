/** `/.ostraka` on a real mount: found by name, seen by nothing that walks, readable by programs, changed by none. */
import {
  link,
  mkdir,
  open,
  type FileHandle,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import t from 'tap';
import { CONTROL_HANDLES_MAX } from '../../src/base/limits.js';
import { TestPool } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';

const pool = await TestPool.create(t, { disks: 3, initArguments: ['--code', '2+1'] });
await pool.mount();
const control = pool.at('.ostraka');
const program = (name: string, ...args: string[]): Promise<RunResult> => run(name, args, { mayFail: true, limitMs: 60_000 });

/** The code of the error that `action` fails with. */
async function codeOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
    return 'none';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function counters(text: string): Map<string, number> {
  return new Map(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([name = '', value]) => [name, Number(value)]),
  );
}

t.test('what it says', async (t) => {
  t.same((await readdir(control)).sort(), ['config', 'health', 'stats']);
  const status = await pool.status();
  const config = JSON.parse(await readFile(`${control}/config`, 'utf8')) as Record<string, unknown>;
  t.match(config, { pool: pool.name, code: '2+1', mountpoint: pool.mountpoint, daemon_pid: status.daemon_pid });
  t.match(config.settings, { durability: 'interval', 'commit-interval': '1s' });
  t.same(
    (config.disks as { path: string }[]).map(({ path }) => path),
    status.disks.map(({ path }) => path),
  );
  t.equal((await readFile(`${control}/health`, 'utf8')).split('\n')[0], 'good');
  const before = counters(await readFile(`${control}/stats`, 'utf8'));
  await pool.ostraka(['settings', pool.name, 'commit-interval=500ms']);
  await writeFile(pool.at('file'), 'x'.repeat(1000));
  const after = counters(await readFile(`${control}/stats`, 'utf8'));
  t.equal((after.get('objects') ?? 0) - (before.get('objects') ?? 0), 1, 'made anew at each open');
  t.equal((after.get('used_bytes') ?? 0) - (before.get('used_bytes') ?? 0), 1000);
  t.ok((after.get('write_count') ?? 0) > (before.get('write_count') ?? 0));
  for (const [name, value] of after) t.ok(Number.isFinite(value), name);
  t.match(JSON.parse(await readFile(`${control}/config`, 'utf8')), { settings: { 'commit-interval': '500ms' } });
});

t.test('programs read it', async (t) => {
  const config = await readFile(`${control}/config`, 'utf8');
  const output = async (name: string, ...args: string[]): Promise<string> => (await run(name, args)).stdout;
  t.equal(await output('cat', `${control}/config`), config);
  t.equal(await output('head', '-n1', `${control}/health`), 'good\n');
  t.equal(await output('tail', '-n1', `${control}/config`), '}\n');
  t.match(await output('grep', '^objects ', `${control}/stats`), /^objects \d+\n$/);
  t.equal(Number((await output('wc', '-c', `${control}/config`)).split(' ')[0]), config.length);
  t.equal(await output('dd', 'if=' + `${control}/config`, 'bs=7', 'status=none'), config);
  await run('cp', [`${control}/config`, pool.at('copied')]);
  t.equal(await readFile(pool.at('copied'), 'utf8'), config, 'cp, within the mount');
  t.match(await output('ls', '-la', control), /dr-x------ .* \.\n(.|\n)*-r-------- .* stats\n/);
  const handle = await open(`${control}/stats`, 'r');
  const first = await handle.readFile('utf8');
  await writeFile(pool.at('another'), 'y');
  const again = Buffer.alloc(first.length);
  await handle.read(again, 0, first.length, 0);
  t.equal(again.toString(), first, 'one handle sees one content');
  await handle.close();
});

t.test('what walks does not see it', async (t) => {
  t.notOk((await readdir(pool.mountpoint)).includes('.ostraka'));
  t.notMatch((await run('find', [pool.mountpoint])).stdout, /\.ostraka/);
  t.notMatch((await run('ls', ['-A', pool.mountpoint])).stdout, /\.ostraka/);
  t.notMatch((await run('tar', ['-C', pool.mountpoint, '-cvf', '/dev/null', '.'])).stdout, /\.ostraka/);
  const target = pool.scratch('backup');
  await mkdir(target, { recursive: true });
  await run('rsync', ['-a', `${pool.mountpoint}/`, target]);
  t.notOk((await readdir(target)).includes('.ostraka'));
  t.notMatch((await run('du', ['-a', pool.mountpoint])).stdout, /\.ostraka/);
});

t.test('nothing can be changed there, or made in its place', async (t) => {
  const file = `${control}/stats`;
  const changes: Record<string, [string, () => Promise<unknown>]> = {
    'open for writing': ['EACCES', () => open(file, 'r+')],
    'open with O_TRUNC': ['EACCES', () => writeFile(file, 'x')],
    truncate: ['EACCES', () => truncate(file, 0)],
    utimes: ['EPERM', () => utimes(file, 1, 1)],
    'remove a file': ['EPERM', () => rm(file)],
    'make a file': ['EPERM', () => writeFile(`${control}/mine`, 'x')],
    'make a directory': ['EPERM', () => mkdir(`${control}/mine`)],
    'link out': ['EPERM', () => link(file, pool.at('linked'))],
    'link in': ['EPERM', () => link(pool.at('file'), `${control}/mine`)],
    symlink: ['EPERM', () => symlink('x', `${control}/mine`)],
    'rename out': ['EPERM', () => rename(file, pool.at('moved'))],
    'rename in': ['EPERM', () => rename(pool.at('file'), `${control}/mine`)],
    'rename it': ['EPERM', () => rename(control, pool.at('moved'))],
    'look further': ['ENOENT', () => stat(`${control}/nothing`)],
  };
  for (const [name, [code, action]] of Object.entries(changes)) t.equal(await codeOf(action), code, name);
  t.match((await program('rmdir', control)).stderr, /Operation not permitted/);
  t.match((await program('chmod', '777', control)).stderr, /Operation not permitted/);
  t.match((await program('setfattr', '-n', 'user.a', '-v', 'b', control)).stderr, /Operation not permitted/);
  t.match((await program('mkdir', control)).stderr, /File exists/);
  t.equal(await codeOf(() => rename(pool.at('file'), control)), 'EISDIR');
  t.equal((await run('stat', ['-c', '%i', pool.mountpoint])).stdout, (await run('stat', ['-c', '%i', `${control}/..`])).stdout);
  t.equal(await readFile(pool.at('file'), 'utf8'), 'x'.repeat(1000), 'what was to be moved there is where it was');
  const other = await program('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'cat', file);
  t.match(other.stderr, /Permission denied/, 'others may not look');
  await mkdir(pool.at('sub'));
  await writeFile(pool.at('sub/.ostraka'), 'elsewhere it is a name like any other');
});

t.test('many open at one time are refused, and are let go of', async (t) => {
  const handles: FileHandle[] = [];
  let code = 'none';
  while (code === 'none' && handles.length <= CONTROL_HANDLES_MAX)
    code = await codeOf(async () => handles.push(await open(`${control}/health`, 'r')));
  t.equal(code, 'EMFILE');
  for (const handle of handles) await handle.close();
  t.equal((await readFile(`${control}/health`, 'utf8')).split('\n')[0], 'good');
});
