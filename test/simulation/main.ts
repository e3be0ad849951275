/** `npm run simulate`: histories from seeds, until the time is over or one fails. README.md says how to read what it prints. */
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { run, type Result } from './driver.js';
import { describeStep, historyOf, STEPS, type History } from './history.js';
import { shrink } from './shrink.js';
import { runAll } from './workers.js';

const HELP = `npm run simulate -- [--seed S | --seeds A-B | --fresh N] [--steps N] [--minutes M] [--processes N] [--verbose] [--keep-going] [--no-shrink]

  --seed S       the history of one seed
  --seeds A-B    those of all seeds from A to B
  --fresh N      N new seeds (1 by default; with --minutes as many as fit)
  --steps N      steps of each history (${STEPS})
  --minutes M    no new history is begun after so long
  --processes N  so many histories at the same time (1)
  --verbose      says each step
  --keep-going   a history that fails does not end the run
  --no-shrink    a history that fails is not made shorter

Example: npm run simulate -- --minutes 10
`;

const { values } = parseArgs({
  allowNegative: true,
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    fresh: { type: 'string' },
    steps: { type: 'string' },
    minutes: { type: 'string' },
    processes: { type: 'string' },
    verbose: { type: 'boolean' },
    'keep-going': { type: 'boolean' },
    shrink: { type: 'boolean', default: true },
    help: { type: 'boolean' },
  },
});

const steps = Number(values.steps ?? STEPS);
const totals = new Map<string, number>();
const tallied = new Map<string, number>();

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function add({ counts, tally }: Result): void {
  for (const [name, count] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + count);
  for (const [name, count] of tally) tallied.set(name, (tallied.get(name) ?? 0) + count);
}

/** How often each thing happened, a line a kind. */
function printTally(): void {
  const kinds = new Map<string, string[]>();
  for (const [name, count] of [...tallied].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [kind = '', what] = name.includes(': ') ? name.split(': ') : ['also', name];
    kinds.set(kind, [...(kinds.get(kind) ?? []), `${count} ${what ?? ''}`]);
  }
  for (const [kind, counts] of kinds) print(`${kind}: ${counts.join(', ')}`);
}

async function report(history: History, { error, lines }: Result): Promise<void> {
  const { seed, shape, clients } = history;
  const { code, disks, durability } = shape;
  print(`\nseed ${seed} fails: ${error?.stack ?? ''}`);
  if (values.verbose === true) for (const line of lines) print(line);
  print(`\n${disks} disks, ${code.k}+${code.m}, durability=${durability}, ${clients} clients`);
  if (error === undefined || !values.shrink) return;
  const shrunk = await shrink(history, error);
  print('Shrunk history:');
  for (const step of shrunk.history.steps) print(`  ${describeStep(step)}`);
  print(`which fails with: ${shrunk.error.message}`);
  print(`again: npm run simulate -- --seed ${seed}${values.steps === undefined ? '' : ` --steps ${values.steps}`}`);
}

/** The seeds to run, and whether they are said one by one. */
function* seeds(): Generator<number> {
  const range = /^(\d+)-(\d+)$/.exec(values.seeds ?? '');
  if (values.seed !== undefined) yield Number(values.seed);
  else if (range !== null) for (let seed = Number(range[1]); seed <= Number(range[2]); seed++) yield seed;
  else {
    const count = values.fresh ?? (values.minutes === undefined ? '1' : 'Infinity');
    for (let at = 0; at < Number(count); at++) yield randomBytes(4).readUInt32LE(0);
  }
}

/** The histories to run, as long as there is time. */
function* histories(startMs: number): Generator<History> {
  for (const seed of seeds()) {
    if (values.minutes !== undefined && performance.now() - startMs > Number(values.minutes) * 60_000) return;
    if (values.seeds === undefined) print(`seed ${seed}`);
    yield historyOf(seed, steps);
  }
}

async function main(): Promise<number> {
  const startMs = performance.now();
  let done = 0;
  let failed = 0;
  for await (const { history, result } of runAll(histories(startMs), Number(values.processes ?? 1))) {
    add(result);
    done++;
    if (result.error !== undefined) {
      failed++;
      await report(history, await run(history));
      if (values['keep-going'] !== true) return 1;
    }
    if (values.verbose === true) for (const line of result.lines) print(line);
  }
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  print(`${done} histories in ${seconds} s: ${[...totals].map(([name, count]) => `${count} ${name}`).join(', ')}`);
  printTally();
  if (failed > 0) print(`${failed} of them failed`);
  return failed > 0 ? 1 : 0;
}

if (values.help === true) print(HELP);
else process.exitCode = await main();
