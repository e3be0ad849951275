/** The daemon as a service: what it says to a service manager, signs of life that are more than a timer, lines for the journal. */
import t from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { errnoNumber } from '../../src/base/errors.js';
import { nativeIo } from '../../src/base/native-io.js';
import { SERVICE_STATUS_CHARACTERS_MAX, SERVICE_STATUS_INTERVAL_MS } from '../../src/base/limits.js';
import { showLife } from '../../src/daemon/liveness.js';
import { journalLine } from '../../src/daemon/logger.js';
import { serviceManagerOf } from '../../src/daemon/service-manager.js';
import { ManualClock } from '../disk/manual-clock.js';
import { TestPool, exists, mainProgram, sleep, until, type Teardown } from '../support/pool.js';

/** A service manager's socket. Node has no datagrams on Unix sockets; python3 is there, since node-gyp needs it. */
const LISTENER = `
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + name[1:] if name[0] == '@' else name)
print('bound', flush=True)
while True: print(repr(s.recv(65536).decode()), flush=True)
`;

interface Listener {
  readonly messages: string[];
  /** Fields of all messages, in order. */
  fields(name: string): string[];
}

async function listen(t: Teardown, name: string): Promise<Listener> {
  const child = spawn('python3', ['-c', LISTENER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => void child.kill('SIGKILL'));
  const messages: string[] = [];
  const lines = createInterface({ input: child.stdout });
  const bound = new Promise<void>((resolve) => lines.once('line', () => resolve()));
  await bound;
  lines.on('line', (line) => messages.push(line.slice(1, -1).replaceAll('\\n', '\n')));
  return {
    messages,
    fields: (field) =>
      messages
        .flatMap((message) => message.split('\n'))
        .flatMap((line) => (line.startsWith(`${field}=`) ? [line.slice(field.length + 1)] : [])),
  };
}

function start(
  t: Teardown,
  pool: TestPool,
  env: NodeJS.ProcessEnv,
): { child: ChildProcess; ended: Promise<number | null>; errors: () => string } {
  const child = spawn(process.execPath, [mainProgram, 'mount', pool.name, pool.mountpoint, '--foreground'], {
    env: { ...pool.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  let errors = '';
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  return { child, ended, errors: () => errors };
}

for (const kind of ['a path', 'an abstract name'])
  t.test(`a service, told by ${kind}`, async (t) => {
    const pool = await TestPool.create(t);
    const socket = kind === 'a path' ? join(pool.root, 'notify') : `@ostraka-test-${process.pid}`;
    const manager = await listen(t, socket);
    const { child, ended, errors } = start(t, pool, { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '800000' });
    await until('ready', async () => manager.fields('READY').length === 1);
    const status = await pool.status();
    t.equal(status.daemon_pid, child.pid, 'the process that was started is the daemon');
    t.match(manager.fields('STATUS').at(-1), `Mounted at ${pool.mountpoint}: health good, 6 of 6 disks.`);
    await until('signs of life', async () => manager.fields('WATCHDOG').length >= 3);
    await writeFile(pool.at('file'), 'content');

    // Its event loop stands still: no signs. It goes on: they do too.
    child.kill('SIGSTOP');
    await sleep(300);
    const before = manager.fields('WATCHDOG').length;
    await sleep(1000);
    t.equal(manager.fields('WATCHDOG').length, before);
    child.kill('SIGCONT');
    await until('signs of life again', async () => manager.fields('WATCHDOG').length > before);

    t.same(manager.fields('STOPPING'), []);
    child.kill('SIGTERM');
    t.equal(await ended, 0);
    t.match(errors(), /everything is durable/, 'its messages go where those of the command went');
    t.same(manager.fields('STOPPING'), ['1']);
    t.equal(manager.fields('READY').length, 1);
    await pool.mount();
    t.equal((await pool.status()).objects, 2);
    await pool.unmount();
  });

t.test('unmounted from outside, and a start that fails', async (t) => {
  const pool = await TestPool.create(t);
  const socket = join(pool.root, 'notify');
  const manager = await listen(t, socket);
  const first = start(t, pool, { NOTIFY_SOCKET: socket });
  await until('ready', async () => manager.fields('READY').length === 1);
  t.same(manager.fields('WATCHDOG'), [], 'nobody asked for them');
  const second = start(t, pool, { NOTIFY_SOCKET: socket });
  t.equal(await second.ended, 4);
  t.match(second.errors(), /mounted already/);
  t.equal(manager.fields('READY').length, 1);
  await pool.unmount();
  t.equal(await first.ended, 0);
  t.same(manager.fields('STOPPING'), ['1']);

  // A command that leaves its daemon behind: the service manager hears nothing of that.
  const { messages } = await listen(t, join(pool.root, 'other'));
  await pool.ostraka(['mount', pool.name, pool.mountpoint], { env: { ...pool.env, NOTIFY_SOCKET: join(pool.root, 'other') } });
  await pool.unmount();
  t.same(messages, []);
});

t.test('signs of life', async (t) => {
  const clock = new ManualClock();
  const said: string[] = [];
  let hang: Promise<void> | undefined;
  let go: () => void = () => undefined;
  let probes = 0;
  const end = showLife(
    {
      probe: async () => {
        probes++;
        await hang;
      },
      summary: async () => {
        if (said.includes('status')) throw new Error('not now');
        return 'status';
      },
    },
    { watchdogMs: 4000, alive: () => said.push('alive'), status: (text) => said.push(text) },
    clock,
  );
  await clock.advance(4000);
  t.same(said, ['alive', 'alive', 'alive', 'alive']);
  hang = new Promise((resolve) => (go = resolve));
  await clock.advance(20_000);
  t.same(said, ['alive', 'alive', 'alive', 'alive', 'status'], 'a mount that hangs gives none');
  t.equal(probes, 5, 'and is not asked again');
  go();
  hang = undefined;
  await clock.advance(1500);
  t.equal(said.length, 7);
  end();
  await clock.advance(SERVICE_STATUS_INTERVAL_MS * 2);
  t.equal(said.length, 7, 'ended');
});

t.test('messages', async (t) => {
  const sent: string[] = [];
  let full = 2;
  const manager = serviceManagerOf({ NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '2000000', WATCHDOG_PID: '7' }, 7, (socket, text) => {
    if (full-- > 0) return -errnoNumber('EAGAIN');
    sent.push(`${socket} ${text}`);
    return 0;
  });
  t.equal(manager?.watchdogMs, 2000);
  const clock = new ManualClock();
  const ready = manager?.ready(clock, 'two\nlines');
  await clock.advance(100);
  await clock.advance(100);
  await ready;
  manager?.status('two lines');
  manager?.status('x'.repeat(1000));
  manager?.starting('long step', 1000);
  t.same(sent, [
    '/run/n READY=1\nSTATUS=two lines',
    `/run/n STATUS=${'x'.repeat(SERVICE_STATUS_CHARACTERS_MAX)}`,
    '/run/n STATUS=long step\nEXTEND_TIMEOUT_USEC=1000000',
  ]);
  t.equal(serviceManagerOf({ NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '2000000', WATCHDOG_PID: '8' }, 7)?.watchdogMs, undefined);
  for (const socket of [undefined, '', '@', 'relative']) t.equal(serviceManagerOf({ NOTIFY_SOCKET: socket }, 7), undefined);
  const io = nativeIo();
  t.equal(io.sendDatagram('/nowhere/at/all', 'x'), -errnoNumber('ENOENT'));
  t.equal(io.sendDatagram('/' + 'x'.repeat(107), 'x'), -errnoNumber('EINVAL'), 'longer than an address');
  t.equal(io.become('/nowhere/at/all', ['x'], []), -errnoNumber('ENOENT'));
  t.notOk(await exists('/nowhere'));
});

t.test('the journal', async (t) => {
  t.equal(journalLine('error', 'lost\nit', { disk: '/d\n' }), '<3>lost it {"disk":"/d\\n"}\n');
  t.equal(journalLine('warn', 'slow', { disk: undefined }), '<4>slow\n');
  t.equal(journalLine('info', 'mounted'), '<6>mounted\n');
});
