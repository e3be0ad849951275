/**
 * `npm run bench:durability [-- --quick] [--heal-only]`: what users notice of a scrub (99th percentile of 4 KiB reads that reach the daemon, and of creating a file of
 * 4 KiB, with a scrub and without, in turns), and how quickly a lost disk is rebuilt beside what one disk can write (heal.ts). Six folders of one real disk.
 * Prints figures and writes bench-results/durability.json.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../src/base/package-root.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { healRounds, medianOf } from './heal.js';
import { load, percentile, type Sample } from './user.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, 'heal-only': { type: 'boolean', default: false } } });
const MiB = 1024 ** 2;
const bigMiB = values.quick ? 512 : 2048;
const turns = values['heal-only'] ? 0 : values.quick ? 3 : 6;
const TURN_MS = 5000;
async function dataOf(pool: TestPool, verb: string): Promise<{ state: string; done_bytes: number }> {
  const { stdout } = await pool.ostraka([verb, pool.name, '--status', '--json'], { limitMs: 60_000 });
  return (JSON.parse(stdout) as { job: { state: string; done_bytes: number } }).job;
}

async function main(teardowns: (() => Promise<void> | void)[]): Promise<void> {
  const pool = await TestPool.create({ teardown: (action) => void teardowns.push(action) });
  await pool.mount();
  await run('dd', ['if=/dev/urandom', `of=${pool.at('big')}`, 'bs=1M', `count=${bigMiB}`, 'conv=fsync', 'status=none'], {
    limitMs: 600_000,
  });
  const without: Sample = { readMs: [], createMs: [] };
  const under: Sample = { readMs: [], createMs: [] };
  let scrubbedBytes = 0;
  for (let turn = 0; turn < turns; turn++) {
    process.stderr.write(`turn ${turn + 1} of ${turns}\n`);
    await load(pool, without, `a${turn}`, TURN_MS);
    await pool.ostraka(['scrub', pool.name], { limitMs: 60_000 });
    const before = await dataOf(pool, 'scrub');
    await load(pool, under, `b${turn}`, TURN_MS);
    const after = await dataOf(pool, 'scrub');
    scrubbedBytes += after.done_bytes - before.done_bytes;
    await pool.ostraka(['scrub', pool.name, '--cancel'], { limitMs: 60_000, mayFail: true });
  }
  const p99 = {
    read: { without: percentile(without.readMs, 0.99), under: percentile(under.readMs, 0.99) },
    create: { without: percentile(without.createMs, 0.99), under: percentile(under.createMs, 0.99) },
  };
  const idle = performance.now();
  await pool.ostraka(['scrub', pool.name, '--watch'], { limitMs: 600_000 });
  const idleSeconds = (performance.now() - idle) / 1000;

  const heals = await healRounds(pool, values.quick ? 2 : 4);
  await pool.unmount();

  const rate = (bytes: number, seconds: number): number => bytes / 1e6 / seconds;
  const line = (name: string, value: number): string => `${name.padEnd(44)}${value.toPrecision(3).padStart(10)}\n`;
  process.stdout.write(
    line('read 4 KiB, p99 ms, no scrub', p99.read.without) +
      line('read 4 KiB, p99 ms, scrub', p99.read.under) +
      line('  ratio', p99.read.under / p99.read.without) +
      line('create 4 KiB, p99 ms, no scrub', p99.create.without) +
      line('create 4 KiB, p99 ms, scrub', p99.create.under) +
      line('  ratio', p99.create.under / p99.create.without) +
      line('scrub while used, MB/s', rate(scrubbedBytes, (turns * TURN_MS) / 1000)) +
      line('scrub of everything while idle, MB/s', rate(bigMiB * MiB * 1.5, idleSeconds)) +
      line(
        'heal while idle, MB/s written, median',
        medianOf(heals, ({ healMBps }) => healMBps),
      ) +
      line(
        'one file written and synced, MB/s, median',
        medianOf(heals, ({ plainMBps }) => plainMBps),
      ) +
      line(
        '  ratio, median of the rounds',
        medianOf(heals, ({ healMBps, plainMBps }) => healMBps / plainMBps),
      ) +
      line(
        'replaced, healed and counted, s, median',
        medianOf(heals, ({ wholeSeconds }) => wholeSeconds),
      ),
  );
  const results = join(packageRoot, 'bench-results');
  await mkdir(results, { recursive: true });
  const report = { when: new Date().toISOString(), bigMiB, turns, p99, samples: without.readMs.length, idleSeconds, heals };
  await writeFile(join(results, 'durability.json'), JSON.stringify(report, null, 1) + '\n');
}

const teardowns: (() => Promise<void> | void)[] = [];
try {
  await main(teardowns);
} finally {
  for (const teardown of teardowns) await teardown();
}
