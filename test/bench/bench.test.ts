/** The benchmark's parts, on next to nothing: what it reports, that a broken step is told, and that nothing of it stays behind, also when it is killed. */
import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { until } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';
import { leftovers, noRoot, place } from './leftovers.js';
import { picture } from './picture.js';
import { figuresTable, medianOf, processorTable, ratioOf, REPORT_FORMAT, type Report } from './report.js';
import { verdictsOf } from './targets.js';
import { groups } from './workloads.js';

const program = fileURLToPath(new URL('./bench.js', import.meta.url));

function command(folder: string): string[] {
  return [program, '--tiny', '--images', join(folder, 'tmp'), '--json', join(folder, 'report.json')];
}

function bench(folder: string, ...args: readonly string[]): Promise<RunResult> {
  return run(process.execPath, [...command(folder), ...args], {
    env: { ...process.env, TMPDIR: join(folder, 'tmp') },
    mayFail: true,
    limitMs: 350_000,
  });
}

async function reportOf(folder: string): Promise<Report> {
  return JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as Report;
}

/** Two rounds of two figures. */
const made: Report = {
  format: REPORT_FORMAT,
  when: '2026-01-02T03:04:05.000Z',
  command: 'npm run bench',
  machine: { kernel: '6.18', processors: 2, memoryBytes: 1, node: 'v20' },
  size: 'full',
  rounds: 2,
  tree: { files: 8000, bytes: 1 },
  subjects: [
    { name: 'ostraka', about: 'Ostraka <4+2>', peakBytes: 400 * 1024 ** 2 },
    { name: 'bindfs', about: 'bindfs', peakBytes: 6 * 1024 ** 2 },
    { name: 'ext4', about: 'ext4', peakBytes: 0 },
  ],
  leftOut: [],
  samples: [
    { subject: 'ostraka', figure: 'create', round: 1, value: 100, operations: 1000, daemonSeconds: 0.5, afterSeconds: 0.1 },
    { subject: 'ostraka', figure: 'create', round: 2, value: 300, operations: 1000, daemonSeconds: 0.3, afterSeconds: 0.1 },
    { subject: 'bindfs', figure: 'create', round: 1, value: 200 },
    { subject: 'bindfs', figure: 'create', round: 2, value: 200 },
    { subject: 'ostraka', figure: 'untar', round: 1, value: 2, operations: 8000, partial: '1 of 2' },
    { subject: 'bindfs', figure: 'untar', round: 1, value: 8 },
    { subject: 'ext4', figure: 'untar', round: 1, error: 'no space' },
  ],
};

t.test('medians, ratios, targets, tables', async (t) => {
  t.equal(medianOf(made, 'ostraka', 'create'), 200);
  t.equal(ratioOf(made, 'ostraka', 'bindfs', 'create'), 1, 'the median of 0.5 and 1.5');
  t.equal(ratioOf(made, 'ostraka', 'bindfs', 'untar'), 4, 'fewer seconds are better');
  t.equal(ratioOf(made, 'ostraka', 'ext4', 'untar'), undefined, 'what failed is no figure');
  const verdicts = verdictsOf(made, 'ostraka');
  t.equal(verdicts.get('create'), 'met');
  t.equal(verdicts.get('untar'), 'met');
  t.equal(verdicts.get('memory'), 'over 300');
  const slow = made.samples.map((sample) => (sample.subject === 'bindfs' && sample.figure === 'untar' ? { ...sample, value: 4 } : sample));
  t.equal(verdictsOf({ ...made, samples: slow }, 'ostraka').get('untar'), '2.0 × bindfs, not 3');
  const table = figuresTable(made, true);
  t.match(table, /^\| create \+ 4K \+ close, \/s +\| +200 ±50% +\| +200 ±0% +\| +– +\| +1\.0 +\| +met +\|$/m);
  t.match(table, /^\| untar, s +\| +~2\.0 +\| +8\.0 +\| +– +\| +4\.0 +\|/m);
  t.match(processorTable(made), /^\| create \+ 4K \+ close: each +\| +500 +\|/m);
});

t.test('the picture', async (t) => {
  const svg = picture(made);
  t.match(svg, /^<svg [\s\S]*prefers-color-scheme:dark[\s\S]*<\/svg>\n$/);
  t.match(svg, 'Ostraka &lt;4+2&gt;');
  t.equal(svg.match(/<rect class="better"/g)?.length, 2);
});

t.test('a run of everything', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const svg = join(folder, 'ratios.svg');
  const { code, stdout, stderr } = await bench(folder, '--degraded', '--targets', '--subjects', 'ostraka,null,ext4', '--picture', svg);
  t.equal(code, 0, `${stderr.slice(-3000)}\n${stdout.slice(-3000)}`);
  const report = await reportOf(folder);
  t.match(report, { format: REPORT_FORMAT, size: 'tiny', rounds: 1, tree: { files: 40 }, leftOut: [] });
  t.same(
    report.subjects.map(({ name, peakBytes }) => [name, peakBytes > 0]),
    [
      ['ostraka', true],
      ['null', true],
      ['ext4', false],
    ],
  );
  const wanted = groups.flatMap((group) =>
    group.steps.flatMap(({ figure }) =>
      ['ostraka', ...(group.losesDisks === true ? [] : ['null', 'ext4'])].map((name) => `${name} ${figure}`),
    ),
  );
  t.same(report.samples.map(({ subject, figure }) => `${subject} ${figure}`).sort(), wanted.sort());
  for (const { subject, figure, value = 0, operations = 0, daemonSeconds = -1 } of report.samples)
    t.ok(value > 0 && operations > 0 && daemonSeconds >= 0, `${subject} ${figure}`);
  const create = report.samples.find(({ subject, figure }) => subject === 'ostraka' && figure === 'create');
  t.ok((create?.daemonSeconds ?? 0) > 0, 'a create costs the daemon something');
  t.match(stdout, /^\| big write, fsync, MB\/s .*\n/m);
  t.match(stdout, /^\| create \+ 4K \+ close: each .*\n/m);
  const drawn = await readFile(svg, 'utf8');
  t.match(drawn, /<\/svg>\n$/);
  t.equal(report.command, 'npm run bench -- --tiny --images ' + join(folder, 'tmp') + ' --degraded --targets --subjects ostraka,null,ext4');
  const again = await bench(folder, '--from', join(folder, 'report.json'), '--targets', '--picture', svg);
  t.equal(again.stdout, stdout, 'the same again from the JSON');
  t.equal(await readFile(svg, 'utf8'), drawn);
  t.same(await leftovers(folder), []);
});

t.test('a step that fails', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const small = join(folder, 'small');
  await mkdir(small);
  t.teardown(() => run('umount', ['-l', small], { mayFail: true }));
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', small]);
  const { code, stdout } = await bench(folder, '--only', 'big,names', '--subjects', `small=${small}`);
  t.equal(code, 1);
  t.match(stdout, /^failed: small, big_write, round 1: write: No space left on device$/m);
  const { samples } = await reportOf(folder);
  t.match(samples, [
    { figure: 'big_write', error: /No space left/ },
    { figure: 'big_read_cold', error: 'left out: big_write failed' },
    { figure: 'big_copy', error: 'left out: big_write failed' },
    { figure: 'rename', value: Number },
    { figure: 'mkdir', value: Number },
  ]);
  t.same(await leftovers(folder), []);
});

t.test('words that it does not know, subjects that are not here', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  t.match(await bench(folder, '--only', 'nothing'), { code: 1, stderr: /no such group or figure: nothing/ });
  t.match(await bench(folder, '--subjects', 'ext5'), { code: 1, stderr: /no such subject: ext5/ });
  const missing = await bench(folder, '--only', 'names', '--subjects', 'nowhere=/nowhere/at/all');
  t.match(missing, { code: 0, stdout: /^left out: nowhere: \/nowhere\/at\/all is no folder$/m });
  t.same(await leftovers(folder), []);
});

t.test('killed, it leaves nothing behind', { skip: noRoot }, async (t) => {
  const folder = await place(t);
  const child = spawn(process.execPath, [...command(folder), '--only', 'fsync', '--rounds', '1000', '--subjects', 'ostraka,ext4'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, TMPDIR: join(folder, 'tmp') },
  });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  await until('it measures', async () => said.includes('fsync_16'), 120_000);
  t.not((await leftovers(folder)).length, 0);
  child.kill('SIGKILL');
  await until('all is gone', async () => (await leftovers(folder)).length === 0, 60_000);
});
