/** Names that are replaced all the time, as by `ln -sfn`, editors and deployments: whoever uses them meets the old or the new, and never an error. */
import t from 'tap';
import { mkdir } from 'node:fs/promises';
import { cannotRun, buildAgent, ext4 } from '../posix/targets.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const TRIES = 1500;
const EXT4_BYTES = 64 * 1024 ** 2;

t.test('names that are replaced all the time', { skip: await cannotRun() }, async (t) => {
  const program = await buildAgent(t, 'replaced');
  const pool = await TestPool.create(t);
  await pool.mount();
  await mkdir(pool.at('folder'));
  for (const [name, folder] of [
    ['ext4', await ext4(t, EXT4_BYTES)],
    ['Ostraka', pool.at('folder')],
  ] as const) {
    const { code, stdout, stderr } = await run(program, [folder, String(TRIES)], { mayFail: true });
    t.same([stdout, stderr, code], ['', '', 0], `${name}: no call failed`);
  }
  const { code, stdout } = await pool.ostraka(['check', pool.name], { mayFail: true });
  t.equal(code, 0, `nothing is left of what was replaced: ${stdout}`);
});
