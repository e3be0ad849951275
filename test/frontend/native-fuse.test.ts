/** The C++ behind the channel, by itself, under the sanitizers. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from '../support/run.js';

t.test('device and mount under the address and undefined-behaviour sanitizers', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-sanitize-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const program = join(folder, 'device_test');
  const from = join(packageRoot, 'native/fuse');
  const flags = ['-std=c++17', '-g', '-O1', '-Wall', '-Wextra', '-Werror', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
  await run('g++', [
    ...flags,
    '-o',
    program,
    join(from, 'test/device_test.cc'),
    join(from, 'device.cc'),
    join(from, 'mount.cc'),
    '-lpthread',
  ]);
  t.equal((await run(program, [])).stdout, 'ok\n');
});
