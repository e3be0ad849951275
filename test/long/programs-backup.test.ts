/**
 * Backup programs with their repositories on the mount, of a tree on the mount: restic and borg. Backup, a second one after changes, a full check of all data, prune, and
 * what is restored is what was backed up; also after kill -9 of the daemon in the middle of a backup.
 */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describeFully } from '../support/metadata.js';
import { Place, lacking, shell } from '../support/place.js';
import { until } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';
import { differences, randomFile, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;

/** What a backup program must be able to do. */
interface Program {
  /** Its command and environment for a place. */
  readonly command: string;
  environment(place: Place): NodeJS.ProcessEnv;
  init(repository: string): readonly string[];
  backup(repository: string, name: string): readonly string[];
  /** Restores into the working folder. */
  restore(repository: string, name: string): readonly string[];
  /** Reads all of the repository's data. */
  check(repository: string): readonly string[];
  /** Keeps the newest one only. */
  prune(repository: string): readonly (readonly string[])[];
  list(repository: string): readonly string[];
  /** What clears away what a backup that died left, if that is needed. */
  unlock(repository: string): readonly string[];
}

const restic: Program = {
  command: 'restic',
  environment: (place) => ({ RESTIC_PASSWORD: 'secret', RESTIC_CACHE_DIR: place.beside('restic-cache'), RESTIC_PROGRESS_FPS: '0' }),
  init: (repository) => ['-r', repository, 'init'],
  backup: (repository, name) => ['-r', repository, 'backup', '--quiet', '--tag', name, '.'],
  restore: (repository, name) => ['-r', repository, 'restore', 'latest', '--tag', name, '--target', '.'],
  check: (repository) => ['-r', repository, 'check', '--read-data'],
  prune: (repository) => [['-r', repository, 'forget', '--keep-last', '1', '--group-by', 'host', '--prune']],
  list: (repository) => ['-r', repository, 'snapshots', '--json'],
  unlock: (repository) => ['-r', repository, 'unlock', '--remove-all'],
};

const borg: Program = {
  command: 'borg',
  environment: (place) => ({
    BORG_PASSPHRASE: 'secret',
    BORG_BASE_DIR: place.beside('borg-home'),
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  }),
  init: (repository) => ['init', '-e', 'repokey-blake2', repository],
  backup: (repository, name) => ['create', `${repository}::${name}`, '.'],
  restore: (repository, name) => ['extract', '--sparse', `${repository}::${name}`],
  check: (repository) => ['check', '--verify-data', repository],
  prune: (repository) => [
    ['prune', '--keep-last', '1', repository],
    ['compact', '--threshold', '0', repository],
  ],
  list: (repository) => ['list', '--json', repository],
  unlock: (repository) => ['break-lock', repository],
};

const CHANGES = `
  cd "$1"; rm -r real/v3; mv real/package.json real/moved.json; head -c 3000000 /dev/urandom >large-2
  printf changed | dd of=large bs=1 seek=5000000 conv=notrunc status=none; setfattr -n user.second -v 2 large; setfacl -m u:77:r large
`;

function suite(program: Program): void {
  t.test(program.command, { skip: missing.get(program.command) ?? false }, async (t) => {
    const place = await Place.create(t);
    const repository = place.at('repository');
    const env = { ...process.env, ...program.environment(place) };
    const call = (args: readonly string[], cwd = place.root): Promise<RunResult> => run(program.command, args, { cwd, env });
    const restored = async (name: string, folder: string): Promise<ReadonlyMap<string, string>> => {
      await mkdir(folder);
      await call(program.restore(repository, name), folder);
      return describeFully(folder);
    };
    const source = place.at('source');
    await mkdir(source);
    await run('cp', ['-a', smallTree, join(source, 'real')]);
    await shell('cd "$1"; ln real/package.json hard-link; setfattr -n user.first -v 1 real; chmod 750 .; chown -R 1234:4321 real/v4', [
      source,
    ]);
    await randomFile(join(source, 'large'), 24 * MiB + 321);
    const first = await describeFully(source);
    await call(program.init(repository));
    await call(program.backup(repository, 'first'), source);
    await shell(CHANGES, [source]);
    const second = await describeFully(source);
    t.not(second.size, first.size);
    await call(program.backup(repository, 'second'), source);

    await place.fresh();
    await call(program.check(repository));
    const relevant = withoutRoot;
    t.same(
      differences(relevant(first), relevant(await restored('first', place.at('restored-first')))),
      [],
      'the first one, onto the mount',
    );
    t.same(
      differences(relevant(second), relevant(await restored('second', place.beside('restored-second')))),
      [],
      'the second one, elsewhere',
    );

    await t.test('the daemon is killed in the middle of a backup', { skip: place.cannotCrash }, async (t) => {
      await randomFile(join(source, 'more'), 64 * MiB);
      const before = await bytesOf(repository);
      const child = spawn(program.command, program.backup(repository, 'third'), { cwd: source, env, stdio: 'ignore' });
      t.teardown(() => void child.kill('SIGKILL'));
      const ended = once(child, 'exit');
      await until('a quarter of it is there', async () => (await bytesOf(repository)) > before + 16 * MiB);
      await place.crash(async () => {
        child.kill('SIGKILL');
        await ended;
      });
      await call(program.unlock(repository));
      await call(program.check(repository));
      t.same(
        differences(relevant(second), relevant(await restored('second', place.beside('restored-again')))),
        [],
        'what was backed up before',
      );
      await call(program.backup(repository, 'third'), source);
    });

    for (const args of program.prune(repository)) await call(args);
    await call(program.check(repository));
    const { snapshots, archives } = { snapshots: [], archives: [], ...parsed((await call(program.list(repository))).stdout) };
    t.equal(snapshots.length + archives.length, 1, 'one is left');
    const last = place.cannotCrash === false ? 'third' : 'second';
    t.same(
      differences(relevant(await describeFully(source)), relevant(await restored(last, place.at('restored-last')))),
      [],
      'and is what was backed up',
    );
    await rm(repository, { recursive: true });
  });
}

/** What is in a folder; files that go meanwhile do not matter. */
async function bytesOf(folder: string): Promise<number> {
  return Number((await run('sh', ['-c', 'du -sb "$1" 2>/dev/null | cut -f1', 'sh', folder])).stdout);
}

/** Of the folder that is backed up itself, programs keep this or that. */
function withoutRoot(lines: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...lines].filter(([path]) => path !== '.'));
}

/** restic prints its snapshots, borg an object with its archives. */
function parsed(text: string): { snapshots?: unknown[]; archives?: unknown[] } {
  const value = JSON.parse(text) as unknown[] | { archives: unknown[] };
  return Array.isArray(value) ? { snapshots: value } : value;
}

const missing = new Map<string, string | false>();
for (const program of [restic, borg]) missing.set(program.command, await lacking(program.command, 'setfacl', 'setfattr'));
suite(restic);
suite(borg);
