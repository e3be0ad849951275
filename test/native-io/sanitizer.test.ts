/** The plain C++ behind the native module under address and undefined-behaviour sanitizers, where a compiler is there. */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';

const compiler = spawnSync('g++', ['--version']).status === 0;

void t.test('sanitizers', { skip: compiler ? false : 'no g++ here', timeout: 280_000 }, async (t) => {
  const result = spawnSync('sh', [join(packageRoot, 'native', 'io', 'test', 'run.sh')], { encoding: 'utf8' });
  t.equal(result.stderr, '');
  t.equal(result.stdout, 'native/io: all good\n');
  t.equal(result.status, 0);
});
