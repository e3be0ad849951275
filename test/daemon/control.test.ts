/** The control socket: requests and answers, errors that travel, bounds, a dead daemon's socket. */
import t from 'tap';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OperatingError } from '../../src/base/errors.js';
import { ControlClient } from '../../src/daemon/control-client.js';
import { CONTROL_LINE_BYTES_MAX, type ControlRequest } from '../../src/daemon/control-protocol.js';
import { ControlServer, type ControlHandler } from '../../src/daemon/control-server.js';
import type { Teardown } from '../support/pool.js';

async function serve(t: Teardown, handler: ControlHandler): Promise<{ path: string; server: ControlServer }> {
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-control-'));
  const path = join(folder, 'a.sock');
  const server = await ControlServer.open(path, handler);
  t.teardown(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  return { path, server };
}

async function connect(t: Teardown, path: string): Promise<ControlClient> {
  const client = await ControlClient.connect(path);
  if (client === undefined) throw new Error('nobody listens');
  t.teardown(() => {
    client.close();
  });
  return client;
}

t.test('answers in order, errors with all they carry', async (t) => {
  const seen: ControlRequest[] = [];
  const { path } = await serve(t, async (request) => {
    seen.push(request);
    if (request.verb === 'sync') throw new OperatingError('EROFS', 'no majority', { disk: '/a', path: '/a/b', hint: 'bring disks back' });
    return { verb: request.verb };
  });
  t.equal((await stat(path)).mode & 0o777, 0o600);
  const client = await connect(t, path);
  const [first, second, third] = await Promise.allSettled([
    client.request({ verb: 'status' }),
    client.request({ verb: 'sync' }),
    client.request({ verb: 'writers' }),
  ]);
  t.match(first, { value: { verb: 'status' } });
  t.match(second, { reason: { code: 'EROFS', message: 'no majority', disk: '/a', path: '/a/b', hint: 'bring disks back' } });
  t.match(third, { value: { verb: 'writers' } });
  t.equal(seen.length, 3);
});

t.test('what is no request is refused, what is too long ends the connection', async (t) => {
  const { path } = await serve(t, async () => t.fail('the handler is not asked'));
  const answer = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = createConnection(path);
      let got = '';
      socket.on('data', (data: Buffer) => {
        got += data.toString();
        socket.end();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        resolve(got);
      });
      socket.write(text);
    });
  t.match(await answer('{"verb":"format"}\n'), /EPROTO/);
  t.match(await answer('{"verb":"status","more":1}\n'), /EPROTO/);
  t.match(await answer('not JSON\n'), /error/);
  t.equal(await answer('x'.repeat(CONTROL_LINE_BYTES_MAX + 2)), '');
});

t.test('a socket that nobody serves', async (t) => {
  const { path, server } = await serve(t, async () => ({}));
  const client = await connect(t, path);
  await server.close();
  await t.rejects(client.request({ verb: 'status' }), { code: 'ECONNRESET' });
  t.equal(await ControlClient.connect(path), undefined, 'gone');
  await writeFile(path, '');
  t.equal(await ControlClient.connect(path), undefined, 'a file of that name');
  const again = await ControlServer.open(path, async () => ({ pid: 1 }));
  t.teardown(() => again.close());
  t.same(await (await connect(t, path)).request({ verb: 'status' }), { pid: 1 }, 'is replaced by the next daemon');
});

t.test('a daemon that dies before it answers', async (t) => {
  const { path, server } = await serve(t, async () => new Promise(() => undefined));
  const client = await connect(t, path);
  const asked = client.request({ verb: 'status' });
  const refused = t.rejects(asked, { code: 'ECONNRESET' });
  await server.close();
  await refused;
});

t.test('a path that is too long', async (t) => {
  await t.rejects(
    ControlServer.open(`/tmp/${'x'.repeat(110)}`, async () => ({})),
    { code: 'ENAMETOOLONG' },
  );
});
