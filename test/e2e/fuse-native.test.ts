/** `ostraka mount --binding fuse-native`: programs on a real pool, and what another mount by our own channel then shows. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { FrontEndReport } from '../../src/daemon/front-end-report.js';
import { exists, TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { describeTree, differences, randomFile, sha256, smallTree } from '../support/tree.js';

const pool = await TestPool.create(t, { disks: 4 });
const NATIVE = ['--binding', 'fuse-native'];
const tree = join(smallTree, 'v4');

/** As the package has times: to the millisecond. */
async function describe(folder: string): Promise<Map<string, string>> {
  const lines = await describeTree(folder);
  return new Map([...lines].map(([path, line]) => [path, line.replace(/(\d{13})\d{6}(?= |$)/, '$1')]));
}

t.test('cp, rsync, git and SQLite, and the same by our own channel', async (t) => {
  await pool.mount(...NATIVE);
  const { front_end: report } = (await pool.json(['status', pool.name])) as { front_end: FrontEndReport };
  t.match(report, { binding: 'fuse-native', protocol: null, refused_replies: 0 });
  t.ok(report.flags.includes('big_writes'));
  t.match((await pool.ostraka(['status', pool.name, '--verbose'])).stdout, /binding {2}fuse-native/);

  const want = await describe(tree);
  await run('cp', ['-a', tree, pool.at('cp')]);
  await run('rsync', ['-a', `${tree}/`, pool.at('rsync')]);
  t.equal((await run('rsync', ['-ain', '--modify-window=1', `${tree}/`, pool.at('rsync')])).stdout, '', 'nothing to copy again');
  const big = pool.scratch('big');
  await mkdir(pool.scratch(), { recursive: true });
  const digest = await randomFile(big, 20 * 1024 ** 2 + 17);
  await run('cp', [big, pool.at('big')]);

  const git = (...args: string[]): Promise<unknown> =>
    run('git', ['-c', 'user.name=x', '-c', 'user.email=x@y', ...args], { cwd: pool.at('git') });
  await run('cp', ['-r', join(tree, 'core'), pool.at('git')]);
  await git('init', '-q');
  await git('add', '.');
  await git('commit', '-qm', 'all');
  const script = [
    'import sqlite3, sys',
    'c = sqlite3.connect(sys.argv[1])',
    'c.execute("pragma journal_mode=delete")',
    'c.execute("create table t (n integer primary key, s text)")',
    'for i in range(50):',
    '  with c: c.executemany("insert into t (s) values (?)", [(str(i),)] * 100)',
  ];
  await run('/usr/bin/python3', ['-I', '-c', script.join('\n'), pool.at('db')]);

  const check = async (about: string): Promise<void> => {
    t.same(differences(want, await describe(pool.at('cp'))), [], `cp ${about}`);
    t.same(differences(want, await describe(pool.at('rsync'))), [], `rsync ${about}`);
    t.equal(await sha256(pool.at('big')), digest, `a large file ${about}`);
    await git('fsck', '--strict');
    await git('diff', '--quiet', 'HEAD');
    const asked = ['-I', '-c', 'import sqlite3, sys; print(*[sqlite3.connect(sys.argv[1]).execute(q).fetchone() for q in sys.argv[2:]])'];
    const { stdout } = await run('/usr/bin/python3', [...asked, pool.at('db'), 'pragma integrity_check', 'select count(*) from t']);
    t.equal(stdout.trim(), "('ok',) (5000,)", `SQLite ${about}`);
  };
  await pool.unmount();
  await pool.mount();
  await check('by our own channel');
  await writeFile(pool.at('both'), 'of the channel');
  await pool.unmount();
  await pool.mount(...NATIVE);
  await check('and by the package again');
  t.equal(await readFile(pool.at('both'), 'utf8'), 'of the channel');
});

t.test('what was acknowledged outlives the daemon', async (t) => {
  await writeFile(pool.at('kept'), 'closed');
  await writeFile(pool.at('moving'), 'moved');
  await rename(pool.at('moving'), pool.at('moved'));
  await pool.kill9();
  await pool.mount(...NATIVE);
  t.equal(await readFile(pool.at('kept'), 'utf8'), 'closed');
  t.equal(await readFile(pool.at('moved'), 'utf8'), 'moved');
  await pool.unmount();
  t.equal((await pool.ostraka(['check', pool.name], { mayFail: true })).code, 0);
});

t.test('where the package is missing, or the name is wrong', async (t) => {
  const hook = pool.scratch('hook.cjs');
  const lines = [
    "const { Module } = require('node:module');",
    'const resolve = Module._resolveFilename;',
    'Module._resolveFilename = function (name, ...rest) {',
    "  if (name.startsWith('fuse-native')) throw new Error(`Cannot find module '${name}'`);",
    '  return resolve.call(this, name, ...rest);',
    '};',
  ];
  await writeFile(hook, lines.join('\n'));
  const mount = ['mount', pool.name, pool.mountpoint];
  const missing = await pool.ostraka([...mount, ...NATIVE], { mayFail: true, env: { ...pool.env, NODE_OPTIONS: `--require ${hook}` } });
  t.not(missing.code, 0);
  t.match(missing.stderr, /binding fuse-native cannot be loaded: Cannot find module/);
  t.match(missing.stderr, /npm install fuse-native@2\.2\.6/);
  t.notOk(await exists(pool.at('kept')), 'not mounted');
  const wrong = await pool.ostraka([...mount, '--binding', 'fuse'], { mayFail: true });
  t.match(wrong.stderr, /"fuse" is not a binding/);
  await pool.mount();
  t.ok(await exists(pool.at('kept')), 'and our own needs neither');
});
