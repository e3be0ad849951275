/** `ostraka init`: what it makes, and every refusal with its message and exit code, with nothing changed anywhere. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exitCodes } from '../../src/cli/exit-codes.js';
import { exists, mainProgram } from '../support/pool.js';
import { run } from '../support/run.js';
import { Place, disks } from './place.js';

const six = ['d1', 'd2', 'd3', 'd4', 'd5', 'd6'];

t.test('a pool of six', async (t) => {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  const made = await place.ostraka(['init', 'photos', ...disks(paths)]);
  t.equal(made.code, 0, made.stderr);
  t.match(made.stdout, /6 disks, code 4\+2, 5 voters/);
  t.match(made.stderr, /on one file system and fail together/);
  for (const path of paths) t.ok(await exists(`${path}/ostraka.superblock`));
  const status = await place.ostraka(['status', 'photos', '--json']);
  t.match(JSON.parse(status.stdout), {
    pool: 'photos',
    state: 'unmounted',
    code: '4+2',
    mountpoint: null,
    daemon_pid: null,
    disks: { length: 6 },
  });
  t.match((await place.ostraka(['status'])).stdout, /photos/);
  t.match((await place.ostraka(['list'])).stdout, /photos +unmounted +4\+2 +6/);
  t.match(JSON.parse((await place.ostraka(['list', '--json'])).stdout), [{ pool: 'photos', disks: 6 }]);
});

t.test('other numbers of disks', async (t) => {
  const place = await Place.create(t);
  const one = await place.ostraka(['init', 'one', ...disks(await place.folders('a1'))]);
  t.equal(one.code, 0, one.stderr);
  t.match(one.stderr, /1\+0 protects from nothing/);
  const two = await place.ostraka(['init', 'two', ...disks(await place.folders('b1', 'b2'))]);
  t.equal(two.code, 0, two.stderr);
  t.match(two.stdout, /A witness was put at .*state\/witness\/two/);
  t.match(two.stdout, /code 1\+1, 3 voters/);
  t.ok(await exists(place.at('state/witness/two/ostraka.superblock')));
  const [witness = ''] = await place.folders('w');
  const four = await place.ostraka(['init', 'four', ...disks(await place.folders('c1', 'c2', 'c3', 'c4')), '--witness', witness]);
  t.match(four.stdout, /code 2\+2, 5 voters/);
  t.notOk(await exists(place.at('state/witness/four')), 'a witness that is given is enough');
  const zoned = [...disks(await place.folders('e1', 'e2', 'e3')), '--zone', `${place.at('e1')}=shelf`, `${place.at('e2')}=shelf`];
  t.match((await place.ostraka(['init', 'zoned', ...zoned, '--code', '1+1'])).stdout, /code 1\+1, 3 voters/);
  t.match(JSON.parse((await place.ostraka(['status', 'zoned', '--json'])).stdout), {
    disks: [{ zone: 'shelf' }, { zone: 'shelf' }, { zone: null }],
  });
});

t.test('a relative path is taken from the current directory', async (t) => {
  const place = await Place.create(t);
  await place.folders('d1');
  const made = await place.ostraka(['init', 'rel', '--disk', './d1/../d1']);
  t.equal(made.code, 0, made.stderr);
  t.match(JSON.parse(await readFile(place.at('config/rel.json'), 'utf8')), { members: [{ directory: place.at('d1') }] });
});

t.test('refusals', async (t) => {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  const [first = '', second = ''] = paths;
  await place.folders('other', 'full', 'fresh');
  await place.ostraka(['init', 'old', '--disk', place.at('other')]);
  await mkdir(place.at('used'));
  await writeFile(place.at('used/thesis.txt'), 'precious');
  await writeFile(place.at('file'), 'a file');
  await symlink(first, place.at('link'));
  const refused = async (args: readonly string[], code: number, ...patterns: readonly RegExp[]): Promise<void> => {
    const before = await place.content();
    const result = await place.ostraka(['init', ...args]);
    const name = args.join(' ').replaceAll(place.root, '');
    t.equal(result.code, code, `${name}: ${result.stderr}`);
    for (const pattern of patterns) t.match(result.stderr, pattern, name);
    t.equal(result.stdout, '', 'nothing is said to be done');
    t.same(await place.content(), before, 'nothing changed');
  };
  const { usage, missing, refused: busy } = exitCodes;
  const all = (...more: string[]): string[] => ['new', ...disks([...paths.slice(0, 5), ...more])];
  await refused(all(place.at('used')), busy.code, /used is not empty: it holds thesis\.txt/, /what to do/);
  await refused(all(place.at('other')), busy.code, /other is disk 1 of pool "old" already/);
  await refused(all(first), usage.code, /given twice/, /d1/);
  await refused(all(`${first}/../d1`), usage.code, /given twice/);
  await refused(all(place.at('link')), usage.code, /given twice: .*\/d1 and .*\/link/);
  await refused(all(place.at('none')), missing.code, /none is not there/);
  await refused(all(place.at('file')), missing.code, /file is not a directory/);
  await refused(['new', ...disks(paths), '--witness', first], usage.code, /given twice/);
  await refused(['new', ...disks(paths.slice(0, 3)), '--code', '4+2'], usage.code, /code 4\+2 needs 6 disks, and 3 are given/);
  await refused(['new', ...disks(paths), '--code', 'most'], usage.code, /"most" is not a code/);
  await refused(['new', ...disks(paths), '--zone', `${place.at('fresh')}=a`], usage.code, /no disk of this pool/);
  await refused(['new', ...disks(paths), '--zone', 'a'], usage.code, /"a" is not a zone/);
  await refused(['new', ...disks(paths), '--zone', ...paths.map((path) => `${path}=a`)], usage.code, /zones leave room for 2 of the 6/);
  await refused(['../new', ...disks(paths)], usage.code, /cannot be the name/);
  await refused(['old', ...disks(paths)], busy.code, /"old" is known here already/);
  await refused(['new'], usage.code, /--disk/);
  await refused(['new', ...disks(paths), '--cod', '4+2'], usage.code, /unknown option '--cod'/);
  await refused(['two', ...disks([first, second]), '--witness', place.at('fresh'), place.at('full')], usage.code, /too many/);
  t.equal((await readFile(place.at('used/thesis.txt'), 'utf8')).toString(), 'precious');
});

t.test('a directory that cannot be written to', { skip: process.geteuid?.() === 0 && 'root may write everywhere' }, async (t) => {
  const place = await Place.create(t);
  const [path = ''] = await place.folders('d1');
  await chmod(path, 0o555);
  const result = await place.ostraka(['init', 'new', '--disk', path]);
  t.equal(result.code, exitCodes.permission.code);
});

t.test('a full disk', { skip: process.geteuid?.() !== 0 && 'needs root to mount one' }, async (t) => {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  const full = paths[3] ?? '';
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', full]);
  t.teardown(() => run('umount', [full], { mayFail: true }).then(() => undefined));
  const before = await place.content();
  const result = await place.ostraka(['init', 'new', ...disks(paths)]);
  t.equal(result.code, exitCodes.disks.code, result.stderr);
  t.match(result.stderr, /d4 is full/);
  t.same(await place.content(), before, 'nothing changed');
});

t.test('half way: what was made is taken back', async (t) => {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  // The definition cannot be written: a file is where its folder would be.
  await writeFile(place.at('config'), '');
  const before = await place.content();
  const result = await place.ostraka(['init', 'new', ...disks(paths)]);
  t.not(result.code, 0);
  t.same(await place.content(), before, 'nothing is left behind');
  await rm(place.at('config'));
  t.equal((await place.ostraka(['init', 'new', ...disks(paths)])).code, 0, 'and it works once that is put right');
});

t.test('cut off at any moment: init takes over what is provably unfinished, and nothing else', async (t) => {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  const mark = (path: string): string => join(path, 'ostraka.unfinished');
  const marked = async (): Promise<number> => (await Promise.all(paths.map((path) => exists(mark(path))))).filter(Boolean).length;
  const cutOffMs = [];
  // However slow the machine is, one gets through in the end.
  for (let delayMs = 250; delayMs < 120_000; delayMs += Math.max(150, delayMs >> 3)) {
    const child = spawn(process.execPath, [mainProgram, 'init', 'new', ...disks(paths)], { env: place.env, stdio: 'ignore' });
    const ended = once(child, 'exit');
    const cut = setTimeout(() => child.kill('SIGKILL'), delayMs);
    await ended;
    clearTimeout(cut);
    if ((await place.ostraka(['list'])).stdout.includes('new')) break;
    const before = await marked();
    if (before > 0) cutOffMs.push(delayMs);
    const imported = await place.ostraka(['import', ...disks(paths)]);
    if (imported.code === 0) {
      // The cut came after the pool was made, and before it was known here. What marks are left its first mount clears.
      for (const path of paths) await rm(mark(path), { force: true });
      break;
    }
    t.match(imported.stderr, /cut off|ENOENT|no disk of a pool/, 'it is no pool');
  }
  t.comment(`cut off after ${cutOffMs.join(', ')} ms`);
  t.equal(await marked(), 0, 'the one that got through has finished');
  t.equal((await place.ostraka(['status', 'new'])).code, 0);
  const again = await place.ostraka(['init', 'other', ...disks(paths)]);
  t.equal(again.code, exitCodes.refused.code);

  // As a disk that was cleared last would look after a cut, and after the others were used.
  await writeFile(mark(paths[5] ?? ''), '');
  const before = await place.content();
  t.match((await place.ostraka(['init', 'other', ...disks(paths.slice(5))])).stderr, /is disk 6 of pool "new" already/);
  t.same(await place.content(), before, 'one marked disk of a finished pool is left alone');
  await rename(paths[0] ?? '', place.at('elsewhere'));
  t.match(
    (await place.ostraka(['init', 'other', ...disks(paths.slice(5))])).stderr,
    /is disk 6 of pool "new" already/,
    'also while another is away',
  );
  await rename(place.at('elsewhere'), paths[0] ?? '');

  // Half of them marked, as a cut between the first and the last leaves them.
  for (const path of paths.slice(3)) await writeFile(mark(path), '');
  await rm(place.at('config', 'new.json'));
  const half = await place.ostraka(['init', 'new', ...disks(paths)]);
  t.equal(half.code, exitCodes.refused.code);
  t.match(half.stderr, /is disk 1 of pool "new" already[^]*ostraka import/);
  t.equal((await place.ostraka(['import', ...disks(paths)])).code, 0, 'import takes it over');

  // All of them marked, as a cut before the first was cleared leaves them; one has no superblock yet.
  for (const path of paths) await writeFile(mark(path), '');
  await rm(join(paths[4] ?? '', 'ostraka.superblock'));
  await rm(join(paths[4] ?? '', 'quorum'), { recursive: true });
  await rm(place.at('config', 'new.json'));
  const over = await place.ostraka(['init', 'other', ...disks(paths)]);
  t.equal(over.code, 0, over.stderr);
  t.match(over.stdout + over.stderr, /was cut off once/);
  t.equal(await marked(), 0);
});
