/** The C++ behind the channel, by itself, under the sanitizers. */
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from '../support/run.js';

t.test('device and mount under the address and undefined-behaviour sanitizers', async (t) => {
  t.equal((await run('sh', [join(packageRoot, 'native/fuse/test/run.sh')], { limitMs: 280_000 })).stdout, 'ok\n');
});
