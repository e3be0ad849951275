/** The benchmark of what a user notices, briefly. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../support/run.js';
import { leftovers, noRoot, place } from './leftovers.js';

interface Row {
  readonly under: string;
  readonly samples: number;
  readonly readMs: { readonly p50: number; readonly p99: number };
  readonly createMs: { readonly p50: number; readonly p99: number };
}

t.test('five burdens', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const latency = fileURLToPath(new URL('./latency.js', import.meta.url));
  const { stdout } = await run(process.execPath, [latency, '--quick', '--json', join(folder, 'report.json')], {
    env: { ...process.env, TMPDIR: join(folder, 'tmp') },
    limitMs: 300_000,
  });
  const { rows } = JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as { rows: readonly Row[] };
  t.same(
    rows.map(({ under }) => under),
    ['nothing else', 'a big write', 'a scrub', 'a heal', 'a collection'],
  );
  for (const { under, samples, readMs, createMs } of rows) {
    t.match(stdout, new RegExp(`^\\| ${under} \\| `, 'm'));
    // A heal of so little may be over before the first of them.
    if (samples > 0) t.ok([readMs, createMs].every(({ p50, p99 }) => p50 > 0 && p99 >= p50));
  }
  t.same(await leftovers(folder), []);
});
