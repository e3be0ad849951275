/**
 * `npm run bench:latency [-- --quick] [--json FILE]`: what a user who waits for each answer notices of what else the pool does: 99th percentiles of a 4 KiB read and of
 * a new file of 4 KiB under nothing else, a big write, a scrub, a heal and a collection, in turns; and how long the daemon's event loop was busy at a
 * stretch meanwhile, by the histogram that `status --verbose` shows. Six folders of one real disk. Prints figures and writes bench-results/latency.json.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { must } from '../../src/base/assert.js';
import { packageRoot } from '../../src/base/package-root.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { load, percentile } from './user.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } } });
const bigMiB = values.quick ? 256 : 2048;
const turns = values.quick ? 1 : 4;
const TURN_MS = values.quick ? 1500 : 8000;

/** Something that a pool does beside its user: begins, and is over when `end` has resolved. `goesOn`: the turn ends with it. */
interface Burden {
  readonly goesOn?: () => boolean;
  end(): Promise<void>;
}

const nothing: Burden = { end: () => Promise.resolve() };

async function dd(pool: TestPool, name: string, mib: number): Promise<void> {
  await run('dd', ['if=/dev/urandom', `of=${pool.at(name)}`, 'bs=1M', `count=${mib}`, 'conv=fsync', 'status=none'], { limitMs: 600_000 });
}

function bigWrite(pool: TestPool): Burden {
  let writer: ChildProcess | undefined;
  let over = false;
  const write = async (): Promise<void> => {
    while (!over) {
      const args = ['if=/dev/zero', `of=${pool.at('written')}`, 'bs=1M', `count=${bigMiB}`, 'conv=fsync', 'status=none'];
      writer = spawn('dd', args, { stdio: 'ignore' });
      await once(writer, 'exit');
    }
  };
  const writing = write();
  return {
    end: async () => {
      over = true;
      writer?.kill();
      await writing;
      await rm(pool.at('written'), { force: true });
    },
  };
}

async function scrub(pool: TestPool): Promise<Burden> {
  await pool.ostraka(['scrub', pool.name], { limitMs: 60_000 });
  return {
    end: async () => {
      await pool.ostraka(['scrub', pool.name, '--cancel'], { limitMs: 60_000, mayFail: true });
    },
  };
}

/** A disk goes for good and another one comes: lasts until what it held is rebuilt. */
async function heal(pool: TestPool, turn: number): Promise<Burden> {
  const lost = must(pool.disks[turn], 'a disk a turn');
  const spare = join(pool.root, `spare${turn}`);
  await mkdir(spare);
  await rename(lost, `${lost}.gone`);
  await pool.ostraka(['disk', 'replace', pool.name, String(turn + 1), spare, '--force'], { limitMs: 300_000 });
  let over = false;
  const healing = pool.ostraka(['heal', pool.name, '--watch'], { limitMs: 900_000 }).finally(() => {
    over = true;
  });
  return {
    goesOn: () => !over,
    end: async () => {
      await healing;
      await rm(`${lost}.gone`, { recursive: true });
    },
  };
}

/** A large file and many small ones are removed, and what they took is given back. */
async function collection(pool: TestPool): Promise<Burden> {
  await dd(pool, 'old', bigMiB / 2);
  const folder = pool.at('many');
  await mkdir(folder);
  for (let n = 0; n < bigMiB; n++) await writeFile(join(folder, String(n)), Buffer.alloc(8192, n));
  const removing = run('rm', ['-r', folder, pool.at('old')], { limitMs: 600_000 });
  return {
    end: async () => {
      await removing;
    },
  };
}

const burdens: Record<string, (pool: TestPool, turn: number) => Burden | Promise<Burden>> = {
  'nothing else': () => nothing,
  'a big write': bigWrite,
  'a scrub': scrub,
  'a heal': heal,
  'a collection': collection,
};

/** How many looks at the event loop found it busy for less than 2^i µs. */
async function loopDelays(pool: TestPool): Promise<number[]> {
  const { stdout } = await pool.ostraka(['status', pool.name, '--json'], { limitMs: 60_000 });
  return (JSON.parse(stdout) as { front_end: { loop_delay: { histogram: number[] } } }).front_end.loop_delay.histogram;
}

/** In milliseconds, to a factor of two: within which all but a hundredth of these looks were, and all. */
function delaysOf(buckets: readonly number[]): { p99: number; max: number; looks: number } {
  const looks = buckets.reduce((sum, count) => sum + count, 0);
  let left = looks * 0.99;
  const p99 = buckets.findIndex((count) => (left -= count) <= 0);
  return { p99: 2 ** p99 / 1000, max: 2 ** buckets.findLastIndex((count) => count > 0) / 1000, looks };
}

async function main(teardowns: (() => Promise<void> | void)[]): Promise<void> {
  const pool = await TestPool.create({ teardown: (action) => void teardowns.push(action) });
  await pool.mount();
  await dd(pool, 'big', bigMiB);
  const found = new Map(Object.keys(burdens).map((name) => [name, { sample: { readMs: [], createMs: [] }, loop: [] as number[] }]));
  for (let turn = 0; turn < turns; turn++)
    for (const [name, begin] of Object.entries(burdens)) {
      process.stderr.write(`turn ${turn + 1} of ${turns}: ${name}\n`);
      const { sample, loop } = must(found.get(name), 'made above');
      const burden = await begin(pool, turn);
      const before = await loopDelays(pool);
      await load(pool, sample, `turn-${name}-${turn}`, TURN_MS, burden.goesOn);
      const after = await loopDelays(pool);
      await burden.end();
      for (const [bucket, count] of after.entries()) loop[bucket] = (loop[bucket] ?? 0) + count - (before[bucket] ?? 0);
    }
  await pool.unmount();
  const rows = [...found].map(([under, { sample, loop }]) => ({
    under,
    samples: sample.readMs.length,
    readMs: { p50: percentile(sample.readMs, 0.5), p99: percentile(sample.readMs, 0.99) },
    createMs: { p50: percentile(sample.createMs, 0.5), p99: percentile(sample.createMs, 0.99) },
    loopMs: delaysOf(loop),
  }));
  process.stdout.write(
    '| under | read 4 KiB, ms: p50 | p99 | create 4 KiB, ms: p50 | p99 | event loop busy, ms: p99 | longest | samples |\n' +
      '| --- | --- | --- | --- | --- | --- | --- | --- |\n',
  );
  for (const { under, samples, readMs, createMs, loopMs } of rows) {
    const cells = [readMs.p50, readMs.p99, createMs.p50, createMs.p99].map((ms) => ms.toFixed(2));
    process.stdout.write(
      `| ${[under, ...cells, `< ${loopMs.p99.toPrecision(2)}`, `< ${loopMs.max.toPrecision(2)}`, samples].join(' | ')} |\n`,
    );
  }
  const results = values.json ?? join(packageRoot, 'bench-results', 'latency.json');
  await mkdir(dirname(results), { recursive: true });
  await writeFile(results, JSON.stringify({ when: new Date().toISOString(), bigMiB, turns, rows }, null, 1) + '\n');
}

const teardowns: (() => Promise<void> | void)[] = [];
try {
  await main(teardowns);
} finally {
  for (const teardown of teardowns) await teardown();
}
