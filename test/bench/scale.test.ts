/** The benchmark of many files, on a few. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../support/run.js';
import { leftovers, noRoot, place } from './leftovers.js';
import type { ScaleReport } from './scale.js';

t.test('many files', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const scale = fileURLToPath(new URL('./scale.js', import.meta.url));
  const args = ['--files', '240', '--hurry', '--images', join(folder, 'tmp'), '--json', join(folder, 'report.json')];
  const { stdout } = await run(process.execPath, [scale, ...args], {
    env: { ...process.env, TMPDIR: join(folder, 'tmp') },
    limitMs: 350_000,
  });
  for (const layout of ['directory', 'tree', 'turns'])
    t.match(stdout, new RegExp(`^\\| ${layout}: unlink, /s +\\| +\\d+ \\| +\\d+ \\| +[\\d.]+ \\|$`, 'm'));
  t.match(stdout, /^unmount [\d.]+ s · mount after it [\d.]+ s · mount after kill -9 [\d.]+ s · at rest after a mount \d+ MiB$/m);
  const { layouts, mounts } = JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as ScaleReport;
  t.match(
    layouts.map(({ layout, few, many }) => [layout, few.files, many.files]),
    [
      ['directory', 60, 240],
      ['tree', 60, 240],
      ['turns', 60, 240],
    ],
  );
  for (const { few, many, spacePerFile } of layouts) {
    t.ok([few, many].every((rates) => Object.values(rates).every((rate) => rate > 0)));
    // So few may fit into what was allocated before: the numbers say nothing yet.
    t.ok(Object.values(spacePerFile).every(Number.isFinite));
  }
  t.ok(Object.values(mounts).every((value) => value > 0));
  t.same(await leftovers(folder), []);
});
