/** What goes wrong on real mounts: nobody hangs, nobody else is disturbed, the caller gets an errno, and nothing is left behind. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import t from 'tap';
import { cleanStaleMount, isStaleMount } from '../../src/frontend/fuse/stale-mount.js';
import { until, type Teardown } from '../support/pool.js';
import { run } from '../support/run.js';
import { cannotMount, MemoryDaemon } from './daemon.js';

const skip = (await cannotMount()) ?? false;
/** A program that hangs is what these tests look for. */
const LIMIT_MS = 60_000;

/** Reads, writes, renames, lists and removes in a folder of its own until something fails; prints the errno, or `enough` when its input ends. */
const busy = `
import errno, os, sys, threading
folder = sys.argv[1]
os.mkdir(folder)
enough = False
def wait():
    global enough
    sys.stdin.read()
    enough = True
threading.Thread(target=wait, daemon=True).start()
rounds = 0
try:
    while not enough:
        for i in range(5):
            fd = os.open(f'{folder}/{i}', os.O_RDWR | os.O_CREAT, 0o644)
            os.pwrite(fd, bytes([i]) * 300_000, 1000 * i)
            if i == 3: os.fsync(fd)
            assert os.pread(fd, 10, 1000 * i) == bytes([i]) * 10
            os.close(fd)
        os.listdir(folder)
        os.rename(f'{folder}/0', f'{folder}/moved')
        for name in os.listdir(folder):
            os.unlink(f'{folder}/{name}')
        rounds += 1
        if rounds == 2: print('busy', flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
else:
    print('enough', flush=True)
`;

class Busy {
  readonly #child: ChildProcess;
  #output = '';
  readonly ended: Promise<unknown>;

  constructor(folder: string) {
    const child = spawn('/usr/bin/python3', ['-I', '-c', busy, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    child.stdin.on('error', () => undefined);
    this.#child = child;
    this.ended = once(child, 'close');
  }

  get words(): string[] {
    return this.#output.trim().split('\n');
  }

  enough(): void {
    this.#child.stdin?.end();
  }

  /** The last word; throws when there is none in time. */
  async end(): Promise<string> {
    await until('the program ends', async () => this.#child.exitCode !== null || this.#child.signalCode !== null, LIMIT_MS);
    await this.ended;
    return this.words.at(-1) ?? '';
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Some programs at work on the mount. */
async function load(t: Teardown, daemon: MemoryDaemon): Promise<Busy[]> {
  const programs = ['a', 'b', 'c'].map((name) => new Busy(daemon.at(name)));
  t.teardown(() => {
    for (const program of programs) program.kill();
  });
  await until('all are at work', async () => programs.every(({ words }) => words.includes('busy')), LIMIT_MS);
  return programs;
}

const connectionLost = /^(ENOTCONN|ECONNABORTED|EIO|ENOENT|ENODEV)$/;

t.test('a request that takes for ever holds up nobody else', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.writeFile(daemon.at('stuck'), 'content'.repeat(1000));
  await fs.writeFile(daemon.at('free'), 'other content');
  await run('sync', [daemon.at('stuck'), daemon.at('free')]);
  const { ino } = await fs.stat(daemon.at('stuck'));
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  await daemon.ask(`hold ${ino}`);
  const readers = Array.from({ length: 8 }, () => run('cat', [daemon.at('stuck')]));
  await until('the reader waits', async () => ((await daemon.ask('stats')).underWay as number) >= 1);
  for (let i = 0; i < 50; i++) {
    await fs.writeFile(daemon.at(`new-${i}`), `content ${i}`);
    t.equal(await fs.readFile(daemon.at('free'), 'utf8'), 'other content');
  }
  await run('sync', [daemon.at('new-49')]);
  t.equal((await fs.readdir(daemon.mountpoint)).length, 52);
  await daemon.ask('letGo');
  for (const reader of await Promise.all(readers)) t.equal(reader.stdout, 'content'.repeat(1000));
});

t.test('an exception in a handler is EIO and a line in the log, and all goes on', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await daemon.ask('bug 1');
  const failed = await run('stat', ['-f', daemon.mountpoint], { mayFail: true, limitMs: LIMIT_MS });
  t.match(failed.stderr, /Input\/output error/);
  await until('the log says so', async () => daemon.logs.length > 0);
  t.match(daemon.logs[0], { level: 'error', message: 'STATFS failed', reason: /undefined is not a function/ });
  await fs.writeFile(daemon.at('f'), 'all goes on');
  await daemon.ask('bug 0');
  await run('stat', ['-f', daemon.mountpoint]);
  t.match(await daemon.ask('stats'), { underWay: 0, failures: 1, replyErrors: 0 });
});

t.test('a failed assertion is answered EIO, and then the process ends: going on would not be safe', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await daemon.ask('bug 2');
  const failed = await run('stat', ['-f', daemon.mountpoint], { mayFail: true, limitMs: LIMIT_MS });
  t.match(failed.stderr, /Input\/output error/);
  t.not(await daemon.exited, 0);
  t.ok(await isStaleMount(daemon.mountpoint));
});

t.test('the kernel cuts the connection while requests are under way', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.writeFile(daemon.at('stuck'), 'content');
  await run('sync', [daemon.at('stuck')]);
  const { ino } = await fs.stat(daemon.at('stuck'));
  // The connection's number is the mount's anonymous device.
  const connection = (await fs.stat(daemon.mountpoint)).dev & 0xff;
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  const programs = await load(t, daemon);
  await daemon.ask(`hold ${ino}`);
  const reader = run('cat', [daemon.at('stuck')], { mayFail: true, limitMs: LIMIT_MS });
  await until('the reader waits', async () => ((await daemon.ask('stats')).underWay as number) >= 1);
  const control = await fusectl(t);
  await fs.writeFile(`${control}/${connection}/abort`, '1');
  t.match((await reader).stderr, /connection|Transport|Input\/output|No such device/i, 'the one who waits');
  for (const program of programs) t.match(await program.end(), connectionLost);
  await daemon.ask('letGo').catch(() => undefined);
  t.match(await daemon.event('closed'), { handles: 0, underWay: 0, openFiles: 0 });
  t.equal(await daemon.exited, 0);
});

t.test('the daemon is killed under load', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const programs = await load(t, daemon);
  daemon.child.kill('SIGKILL');
  for (const program of programs) t.match(await program.end(), connectionLost);
  t.ok(await isStaleMount(daemon.mountpoint));
  t.equal(await cleanStaleMount(daemon.mountpoint), 1);
});

t.test('unmounting under load: refused while in use, lazily served to the end', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const programs = await load(t, daemon);
  // A moment without an open file there is possible, if unlikely: then it is unmounted at once.
  const folder = await fs.open(daemon.mountpoint, 'r');
  t.equal((await daemon.ask('unmount 0')).code, 'EBUSY');
  const before = programs.map(({ words }) => words.length);
  t.same(before, [1, 1, 1], 'nobody was disturbed');
  const asked = daemon.ask('unmount 1');
  for (const program of programs) t.match(await program.end(), /^(ENOENT|ENOTCONN)$/, 'the path is gone, not the data under a write');
  await folder.close();
  t.equal((await asked).code, 'done');
  t.match(await daemon.event('closed'), { handles: 0, underWay: 0, replyErrors: 0 });
  t.equal(await daemon.exited, 0);
});

t.test('a load that ends by itself leaves nothing', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const programs = await load(t, daemon);
  for (const program of programs) program.enough();
  for (const program of programs) t.equal(await program.end(), 'enough');
  await run('rm', ['-r', daemon.at('a'), daemon.at('b'), daemon.at('c')]);
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  await until('the kernel has forgotten it all', async () => (await daemon.ask('stats')).inodes === 1);
  t.match(await daemon.ask('stats'), { handles: 0, underWay: 0, failures: 0, replyErrors: 0, notifyErrors: 0 });
  t.equal((await daemon.ask('unmount 0')).code, 'done');
});

/** The kernel's switches for connections, mounted for this test where nobody has. */
async function fusectl(t: Teardown): Promise<string> {
  const usual = '/sys/fs/fuse/connections';
  if ((await fs.readdir(usual)).length > 0) return usual;
  const folder = await fs.mkdtemp('/tmp/ostraka-fusectl-');
  t.teardown(async () => {
    await run('umount', [folder], { mayFail: true });
    await fs.rmdir(folder);
  });
  await run('mount', ['-t', 'fusectl', 'fusectl', folder]);
  return folder;
}
