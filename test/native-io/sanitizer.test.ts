/** The plain C++ behind the native module under address and undefined-behaviour sanitizers, where a compiler is there. */
import t from 'tap';
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';

const compiler = spawnSync('g++', ['--version']).status === 0;

t.setTimeout(280_000);

void t.test('sanitizers', { skip: compiler ? false : 'no g++ here' }, async (t) => {
  const result = await new Promise((resolve) => {
    execFile('sh', [join(packageRoot, 'native', 'io', 'test', 'run.sh')], (error, stdout, stderr) => {
      resolve({ error, stdout, stderr });
    });
  });
  t.same(result, { error: null, stdout: 'native/io: all good\n', stderr: '' });
});
