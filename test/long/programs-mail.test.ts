/**
 * A Maildir on the mount: several programs deliver at a time (by rename, by link and unlink, and by Python's own module), two readers move what is new, set and clear flags and
 * verify every message that they see. Each message is there once and whole; also after a kill -9 of the daemon, when it was said to be durable.
 */
import t, { type Test } from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { Place, lacking } from '../support/place.js';
import { until } from '../support/pool.js';
import { run } from '../support/run.js';

const program = join(packageRoot, 'test/e2e/programs/maildir.py');
const HOW = ['rename', 'link', 'module'] as const;
const COUNT = 120;

interface Started {
  readonly child: ChildProcess;
  /** It has printed so many lines. */
  readonly printed: (count: number) => boolean;
  readonly ended: Promise<{ code: number | null; lines: string[]; stderr: string }>;
}

function start(t: Test, directory: string, ...args: readonly string[]): Started {
  const child = spawn('python3', ['-I', program, directory, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  t.teardown(() => void child.kill('SIGKILL'));
  // One that died of the kill reads no more.
  child.stdin.on('error', () => undefined);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (more: string) => (text[name] += more));
  const ended = once(child, 'close').then(() => ({
    code: child.exitCode,
    lines: text.stdout.split('\n').slice(0, -1),
    stderr: text.stderr,
  }));
  return { child, ended, printed: (count) => text.stdout.split('\n').length > count };
}

/** Deliveries of each kind under a name of their own, and two readers. */
function begin(t: Test, directory: string, count: number): { deliveries: Started[]; readers: Started[] } {
  const deliveries = HOW.map((how) => start(t, directory, 'deliver', how, String(count), how));
  return { deliveries, readers: ['one', 'two'].map((name) => start(t, directory, 'read', name)) };
}

async function found(directory: string): Promise<Map<string, number>> {
  const { stdout } = await run('python3', ['-I', program, directory, 'verify']);
  return new Map(stdout.trim().split('\n').map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])])); // prettier-ignore
}

const skip = await lacking('python3');

t.test('a Maildir in use', { skip }, async (t) => {
  const place = await Place.create(t);
  const make = (directory: string): Promise<unknown> => run('mkdir', ['-p', ...['tmp', 'new', 'cur'].map((name) => join(directory, name))]);

  await t.test('each message is delivered once, and whole', async (t) => {
    const directory = place.at('mail');
    await make(directory);
    const { deliveries, readers } = begin(t, directory, COUNT);
    for (const { ended } of deliveries) {
      const { code, lines, stderr } = await ended;
      t.same({ code, count: lines.length, stderr }, { code: 0, count: COUNT, stderr: '' });
    }
    for (const reader of readers) reader.child.stdin?.write('\n');
    for (const { ended } of readers) {
      const { code, lines, stderr } = await ended;
      t.same({ code, stderr }, { code: 0, stderr: '' });
      t.ok(Number(lines[0]) > 0, `${lines[0]} messages were moved`);
    }
    const want = new Map(HOW.flatMap((how) => Array.from({ length: COUNT }, (_, i): [string, number] => [`${how}-${i}`, 1])).sort());
    t.same(new Map([...(await found(directory))].sort()), want);
    t.same(await readdir(join(directory, 'tmp')), []);
    await place.fresh();
    t.same(new Map([...(await found(directory))].sort()), want, 'from the disks');
  });

  await t.test('kill -9 of the daemon', { skip: place.cannotCrash }, async (t) => {
    for (const round of [1, 2]) {
      const directory = place.at(`mail${round}`);
      await make(directory);
      const { deliveries, readers } = begin(t, directory, 100_000);
      await until('all deliver', async () => deliveries.every(({ printed }) => printed(5 * round)));
      await place.crash(async () => {
        for (const { child } of [...deliveries, ...readers]) child.kill('SIGKILL');
        await Promise.all([...deliveries, ...readers].map(({ ended }) => ended));
      });
      const durable = (await Promise.all(deliveries.map(async ({ ended }) => (await ended).lines))).flat();
      const there = await found(directory);
      t.ok(durable.length > 10, `${durable.length} messages`);
      t.same(durable.filter((message) => there.get(message) !== 1), [], 'each is there once'); // prettier-ignore
      t.ok(there.size <= durable.length + HOW.length, 'and of others only what was under way');
    }
  });
});
