/** Which groups a process is in, as /proc tells it. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { nativeIo } from '../../src/base/native-io.js';

t.test('groups of a process', async (t) => {
  const child = spawn('setpriv', ['--groups', '4100,4200', 'sh', '-c', 'echo ready; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const native = nativeIo();
  t.same(
    [4100, 4200, 410, 42, 4300].map((gid) => native.inGroupOf(pid, gid)),
    [true, true, false, false, false],
  );
  child.kill('SIGKILL');
  await once(child, 'close');
  t.notOk(native.inGroupOf(pid, 4100), 'it is gone');
  t.notOk(native.inGroupOf(0, 4100), 'out of sight');
  t.throws(() => native.inGroupOf(-1, 0), TypeError);
});
