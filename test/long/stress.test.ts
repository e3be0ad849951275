/**
 * Random operations of every kind on one tree, by several users (`../posix/stress.cc`, of the kind of fsstress):
 *
 *   - by one process at a time: each result, and the tree that is left, is what it is on ext4;
 *   - by several processes at once: no errno that no disk gives, the tree is the same in the next mount, with all its times, and `ostraka check` finds nothing;
 *   - with a kill -9 of the daemon in the middle: the tree is what ext4 has after as many operations as were answered, and it checks.
 *
 * OSTRAKA_STRESS_SECONDS for each of them (default 15), OSTRAKA_STRESS_PROCESSES (4), OSTRAKA_SEED for the first history.
 */
import t, { type Test } from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '../../src/base/clock.js';
import { buildAgent, cannotRun, ext4 } from '../posix/targets.js';
import { describeFully } from '../support/metadata.js';
import { lacking } from '../support/place.js';
import { TestPool, sleep } from '../support/pool.js';
import { differences } from '../support/tree.js';

const seconds = Number(process.env.OSTRAKA_STRESS_SECONDS ?? 15);
const processes = Number(process.env.OSTRAKA_STRESS_PROCESSES ?? 4);
const firstSeed = Number(process.env.OSTRAKA_SEED ?? Math.floor(Math.random() * 1_000_000));
const random = seededRandom(firstSeed);
/** Of one history that is compared with ext4. */
const OPERATIONS = 3000;
const EXT4_BYTES = 2 * 1024 ** 3;
/** Then the tree is compared and made anew: longer, and folders that are moved into each other lie deeper than a path is long. */
const ROUND_SECONDS = 30;
/** What the processes leave behind grows by some 2 MiB a second and disk. */
const DISK_BYTES = Math.max(1024 ** 3, seconds * 6 * 1024 ** 2);
const SHOWN = 12;
/** syncfs(2) all the time: times and pages go to the daemon while they change. */
const WRITE_BACK = 'while :; do sync -f "$1" || exit 1; done';
/** Names and inodes that nobody uses right now are asked for anew. */
const FORGET = 'while :; do echo 2 >/proc/sys/vm/drop_caches; sleep 0.2; done';
/** How the description of a symbolic link begins. */
const LINK_MODE = '120';
/** Exit codes of stress.cc. */
const GONE = 4;
const WRONG_ERRNO = 3;

interface Ended {
  readonly code: number | null;
  /** Operations with their results, where it was asked to tell them. */
  readonly lines: readonly string[];
  readonly stderr: string;
}

interface Running {
  readonly ended: Promise<Ended>;
  stop(): void;
}

function start(t: Test, program: string, args: readonly (string | number)[]): Running {
  const child = spawn(program, args.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => void child.kill('SIGKILL'));
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('latin1').on('data', (more: string) => (text[name] += more));
  const ended = once(child, 'close').then(() => ({
    code: child.exitCode,
    lines: text.stdout.split('\n').slice(0, -1),
    stderr: text.stderr,
  }));
  return { ended, stop: () => void child.kill('SIGTERM') };
}

async function workFolder(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path);
  await chmod(path, 0o777);
  return path;
}

/** Times are those of two runs. */
async function withoutTimes(root: string): Promise<Map<string, string>> {
  return new Map([...(await describeFully(root))].map(([path, line]) => [path, line.replace(/ mtime -?\d+/, '')]));
}

/** What another mount shows is what this one does. */
async function sameInTheNextMount(t: Test, pool: TestPool): Promise<void> {
  const seen = await describeFully(pool.mountpoint, true);
  await pool.remount();
  t.same(
    differences(seen, await describeFully(pool.mountpoint, true)),
    [],
    `${seen.size} files and folders are the same in the next mount`,
  );
}

async function checks(t: Test, pool: TestPool): Promise<void> {
  const { code, stdout } = await pool.ostraka(['check', pool.name, '--data'], { mayFail: true, limitMs: 600_000 });
  t.equal(code, 0, `ostraka check: ${stdout.slice(-500)}`);
}

async function setUp(t: Test): Promise<{ pool: TestPool; reference: string; program: string }> {
  const program = await buildAgent(t, 'stress');
  const reference = await ext4(t, EXT4_BYTES);
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES });
  await pool.mount();
  for (const path of [pool.root, pool.mountpoint]) await chmod(path, 0o755);
  return { pool, reference, program };
}

const skip = (await cannotRun()) || (await lacking('getfattr', 'getfacl'));

t.test('one process: every result is that of ext4', { skip }, async (t) => {
  const { pool, reference, program } = await setUp(t);
  const end = performance.now() + seconds * 1000;
  for (let seed = firstSeed; seed === firstSeed || performance.now() < end; seed++) {
    const folders = await Promise.all([reference, pool.mountpoint].map((parent) => workFolder(parent, String(seed))));
    const [want, got] = await Promise.all(folders.map((folder) => start(t, program, [folder, seed, OPERATIONS, 'lh']).ended));
    const at = want?.lines.findIndex((line, i) => got?.lines[i] !== line) ?? 0;
    if (at >= 0 || got?.code !== 0) {
      const before = want?.lines.slice(Math.max(0, at - SHOWN), at).join('\n');
      t.fail(`OSTRAKA_SEED=${seed}: ext4: ${want?.lines[at]}, Ostraka: ${got?.lines[at]} ${got?.stderr}; before it:\n${before}`);
      return;
    }
    const [wanted, found] = await Promise.all(folders.map(withoutTimes));
    t.same(differences(wanted ?? new Map<string, string>(), found ?? new Map<string, string>()), [], `seed ${seed}: ${wanted?.size} files`);
    await rm(folders[0] ?? '', { recursive: true });
  }
  await sameInTheNextMount(t, pool);
  await checks(t, pool);
});

for (const pressed of [false, true])
  t.test(
    `${processes} processes at once${pressed ? ', while the kernel writes back and forgets all the time' : ''}`,
    { skip },
    async (t) => {
      const { pool, program } = await setUp(t);
      const end = performance.now() + seconds * 1000;
      for (let seed = firstSeed; seed === firstSeed || performance.now() < end; seed++) {
        const folder = await workFolder(pool.mountpoint, 'shared');
        const pressure = pressed ? [start(t, 'sh', ['-c', WRITE_BACK, 'sh', folder]), start(t, 'sh', ['-c', FORGET])] : [];
        const running = Array.from({ length: processes }, (_, i) => start(t, program, [folder, seed * 100 + i, 0, 'h']));
        await sleep(Math.min(ROUND_SECONDS, seconds) * 1000);
        for (const each of running) each.stop();
        let operations = 0;
        for (const { code, stderr, lines } of await Promise.all(running.map(({ ended }) => ended))) {
          t.equal(code, 0, `OSTRAKA_SEED=${seed}: ${stderr}`);
          operations += Number(lines[0]);
        }
        for (const each of pressure) each.stop();
        await Promise.all(pressure.map(({ ended }) => ended));
        t.comment(`${operations} operations`);
        await sameInTheNextMount(t, pool);
        await rm(folder, { recursive: true });
      }
      await checks(t, pool);
    },
  );

/** Does only what the operation that was under way names differ? A name that goes through a link may be any. */
function isOf(operation: string, differing: readonly string[], found: ReadonlyMap<string, string>): boolean {
  const words = operation.split(/[ /]/);
  // Renamed, it need not be called one: l.
  if (operation.split(' ').some((path) => found.get(path)?.startsWith(LINK_MODE) === true)) return true;
  const names = differing.map((line) => line.slice(0, line.indexOf(':')).split('/').at(-1) ?? '');
  return names.every((name) => words.includes(name) || words.some((word) => /^l\d$/.test(word)));
}

t.test('kill -9 of the daemon in the middle', { skip }, async (t) => {
  const { pool, reference, program } = await setUp(t);
  const end = performance.now() + seconds * 1000;
  for (let seed = firstSeed; seed === firstSeed || performance.now() < end; seed++) {
    const shared = await workFolder(pool.mountpoint, `shared${seed}`);
    const folder = await workFolder(pool.mountpoint, String(seed));
    const others = Array.from({ length: processes - 1 }, (_, i) => start(t, program, [shared, seed * 100 + i, 0, 'h']));
    // What it has written is closed when it goes on: all of that must be there.
    const one = start(t, program, [folder, seed, 0, 'l']);
    await sleep(300 + random.below(2500));
    await pool.kill9();
    const { code, lines } = await one.ended;
    for (const other of others) {
      const { code: otherCode, stderr } = await other.ended;
      t.ok(otherCode === GONE || otherCode === WRONG_ERRNO, `they see that it is gone: ${stderr}`);
    }
    t.ok(code === GONE || code === WRONG_ERRNO, 'and so does this one');
    await pool.mount();
    const found = await withoutTimes(folder);
    const answered = lines.length - 1;
    const differing: string[][] = [];
    for (const count of [answered, answered + 1]) {
      const replayed = await workFolder(reference, `${seed}.${count}`);
      t.equal(count === 0 ? 0 : (await start(t, program, [replayed, seed, count, 'l']).ended).code, 0);
      differing.push(differences(await withoutTimes(replayed), found));
      await rm(replayed, { recursive: true });
    }
    const [before = [], after = []] = differing;
    const last = lines.at(-1) ?? '';
    const fine = after.length === 0 || isOf(last, before, found) || isOf(last, after, found);
    t.ok(fine, `OSTRAKA_SEED=${seed}: ${answered} operations, then ${last}:\n${before.join('\n')}`);
    await sameInTheNextMount(t, pool);
    for (const each of [shared, folder]) await rm(each, { recursive: true });
  }
  await checks(t, pool);
});
