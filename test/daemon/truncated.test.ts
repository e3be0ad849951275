/** Files that are opened with O_TRUNC while others append to them: the kernel and the pool agree on what is left. */
import t from 'tap';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildAgent, cannotRun } from '../posix/targets.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const FILES = 500;
const LEFT = new Set(['', 'n'.repeat(100)]);

t.test('O_TRUNC beside appends', { skip: await cannotRun() }, async (t) => {
  const program = await buildAgent(t, 'truncated');
  const pool = await TestPool.create(t);
  await pool.mount();
  const folder = pool.at('folder');
  await mkdir(folder);
  await run(program, [folder, String(FILES)]);
  const contents = (): Promise<string[]> =>
    Promise.all(Array.from({ length: FILES }, (_, i) => readFile(join(folder, String(i)), 'latin1')));
  const seen = await contents();
  t.same(
    seen.filter((content) => !LEFT.has(content)),
    [],
    'nothing, or what was appended',
  );
  t.ok(new Set(seen).size === 2, 'some of each');
  await pool.remount();
  const next = await contents();
  t.same(
    next.flatMap((content, i) => (content === seen[i] ? [] : [`${i}: ${seen[i]?.length} bytes became ${content.length}`])),
    [],
    'the next mount shows the same',
  );
});
