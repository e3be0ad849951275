/** The benchmark of a big write, on little; and what a flame graph makes of samples. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../support/run.js';
import { flameGraph } from './flame-graph.js';
import { leftovers, noRoot, place } from './leftovers.js';

t.test('processor time of 16 MiB', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const program = fileURLToPath(new URL('./big-write.js', import.meta.url));
  const args = [program, '--mebibytes', '16', '--rounds', '1', '--images', join(folder, 'tmp'), '--json', join(folder, 'report.json')];
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, TMPDIR: join(folder, 'tmp') }, limitMs: 300_000 });
  const { seconds } = JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as { seconds: Record<string, readonly number[]> };
  for (const name of ['ostraka', 'client', 'null', 'encode', 'files']) t.ok((seconds[name]?.[0] ?? 0) > 0, name);
  t.match(stdout, /^\| 16 MiB written, fsync/m);
  t.same(await leftovers(folder), []);
});

t.test('a flame graph', (t) => {
  const samples = [
    'ostraka p\n\t    1 put+0x10\n\t    2 JS:*write file:///there/dist/src/a/b.js:3:4\n',
    'ostraka p\n\t    1 <get>(int, f(int))\n\t    2 JS:^write file:///there/dist/src/a/b.js:3:4\n',
    'codec\n\t    3 encode\n',
  ];
  const svg = flameGraph(samples.join('\n'), 'A & B');
  const titles = [...svg.matchAll(/<title>(.*?)<\/title>/g)].map(([, title]) => title);
  t.same(titles, ['codec: 33.3 %', 'encode: 33.3 %', 'ostraka p: 66.7 %', 'write (a/b.js): 66.7 %', '&lt;get&gt;: 33.3 %', 'put: 33.3 %']);
  t.match(svg, 'A &amp; B');
  t.throws(() => flameGraph('', 'nothing'));
  t.end();
});
