/**
 * `npm run bench [-- --quick] [--rounds N]`: Ostraka (4+2 on six folders) beside bindfs over one folder of the same disk, alternating in one
 * run. Prints medians and ratios, and writes bench-results/bench.json. No target stops it: it reports what it measured.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../src/base/package-root.js';
import { TestPool, until } from '../support/pool.js';
import { run } from '../support/run.js';
import { realTrees } from '../support/tree.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, rounds: { type: 'string' } } });
const quick = values.quick;
const rounds = Number(values.rounds ?? (quick ? 1 : 3));
const bigMiB = quick ? 128 : 1024;
const files = quick ? 500 : 5000;
const workload = fileURLToPath(new URL('./workload.js', import.meta.url));

type Figures = Map<string, number[]>;

async function step(name: string, folder: string, amount: number): Promise<number> {
  const result = await run(process.execPath, [workload, name, folder, String(amount)], { limitMs: 600_000 });
  return (JSON.parse(result.stdout) as { seconds: number }).seconds;
}

async function cold(): Promise<void> {
  await run('sync', []);
  await writeFile('/proc/sys/vm/drop_caches', '3');
}

/** One round of everything in `folder`, below a mount. Rates are per second, `_s` are seconds. */
async function round(folder: string, archive: string, figures: Figures): Promise<void> {
  const add = (name: string, value: number): void => {
    figures.set(name, [...(figures.get(name) ?? []), value]);
  };
  const place = join(folder, 'bench');
  await mkdir(place);
  add('write_MBps', (bigMiB * 1.048576) / (await step('write', place, bigMiB)));
  await cold();
  add('read_cold_MBps', (bigMiB * 1.048576) / (await step('read', place, bigMiB)));
  await rm(join(place, 'big'));
  const start = performance.now();
  await run('tar', ['-C', place, '-xf', archive], { limitMs: 600_000 });
  add('untar_s', (performance.now() - start) / 1000);
  add('create_4K_per_s', files / (await step('create', place, files)));
  await cold();
  add('stat_cold_per_s', files / (await step('stat', place, files)));
  add('unlink_per_s', files / (await step('unlink', place, files)));
  await run('rm', ['-rf', place], { limitMs: 600_000 });
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

async function withBindfs(root: string, work: (mountpoint: string) => Promise<void>): Promise<boolean> {
  const from = join(root, 'bindfs-disk');
  const to = join(root, 'bindfs');
  await mkdir(from, { recursive: true });
  await mkdir(to, { recursive: true });
  const daemon = spawn('bindfs', ['-f', from, to], { stdio: 'ignore' });
  let failed = false;
  daemon.on('error', () => (failed = true));
  try {
    await until('bindfs is mounted', async () => failed || (await run('mountpoint', ['-q', to], { mayFail: true })).code === 0);
    if (!failed) await work(to);
    return !failed;
  } finally {
    await run('umount', ['-l', to], { mayFail: true });
    daemon.kill();
  }
}

async function main(teardowns: (() => Promise<void> | void)[]): Promise<void> {
  const pool = await TestPool.create({ teardown: (action) => void teardowns.push(action) });
  await pool.mount();
  const archive = join(pool.root, 'tree.tar');
  const trees = quick ? realTrees.slice(1) : realTrees;
  await run('tar', ['-cf', archive, ...trees.flatMap((tree) => ['-C', join(tree, '..'), tree.slice(tree.lastIndexOf('/') + 1)])]);
  const ostraka: Figures = new Map();
  const bindfs: Figures = new Map();
  let peer = true;
  for (let i = 0; i < rounds; i++) {
    process.stderr.write(`round ${i + 1} of ${rounds}\n`);
    await round(pool.mountpoint, archive, ostraka);
    peer = peer && (await withBindfs(pool.root, (mountpoint) => round(mountpoint, archive, bindfs)));
  }
  const memory = await pool.memory();
  await pool.unmount();
  const rows = [...ostraka.keys()].map((name) => {
    const ours = median(ostraka.get(name) ?? []);
    const theirs = peer ? median(bindfs.get(name) ?? []) : null;
    const ratio = theirs === null ? null : name.endsWith('_s') && !name.endsWith('per_s') ? theirs / ours : ours / theirs;
    return { name, ostraka: ours, bindfs: theirs, ratio, all: { ostraka: ostraka.get(name), bindfs: bindfs.get(name) } };
  });
  const show = (value: number | null): string => (value === null ? '–' : value.toPrecision(4)).padStart(12);
  process.stdout.write(`${'figure'.padEnd(20)}${'ostraka 4+2'.padStart(12)}${'bindfs'.padStart(12)}${'better by'.padStart(12)}\n`);
  for (const row of rows) process.stdout.write(`${row.name.padEnd(20)}${show(row.ostraka)}${show(row.bindfs)}${show(row.ratio)}\n`);
  process.stdout.write(`peak resident memory of the daemon: ${Math.round(memory.peakBytes / 1024 ** 2)} MiB\n`);
  if (!peer) process.stdout.write('bindfs is not installed: no figures beside ours (apt-get install bindfs)\n');
  const results = join(packageRoot, 'bench-results');
  await mkdir(results, { recursive: true });
  const report = { when: new Date().toISOString(), quick, rounds, bigMiB, files, rows, peakBytes: memory.peakBytes };
  await writeFile(join(results, 'bench.json'), JSON.stringify(report, null, 1) + '\n');
}

const teardowns: (() => Promise<void> | void)[] = [];
try {
  await main(teardowns);
} finally {
  for (const teardown of teardowns) await teardown();
}
