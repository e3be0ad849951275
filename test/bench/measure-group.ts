/** Runs one group of steps on one subject: what each came to, what it cost its daemons, and which failed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../support/pool.js';
import { run } from '../support/run.js';
import { measure, type Measurement } from './client.js';
import type { Subject } from './subjects/subject.js';
import type { Tree } from './tree-input.js';
import { dropKernelCaches, freshFolder, valueOf, type Bench, type Group, type Sizes, type Step } from './workloads.js';

/** One step on one subject in one round. */
export interface Sample {
  readonly subject: string;
  readonly figure: string;
  readonly round: number;
  /** In the step's unit; absent: it failed. */
  readonly value?: number;
  readonly operations?: number;
  readonly seconds?: number;
  /** Processor seconds of the program that was measured with. */
  readonly clientSeconds?: number;
  /** … of the subject's daemons while it ran, */
  readonly daemonSeconds?: number;
  /** … and from its end until they were at rest: what was put off. */
  readonly afterSeconds?: number;
  /** It ran into the limit and did so much. */
  readonly partial?: string;
  readonly error?: string;
}

export interface Conditions {
  readonly client: string;
  readonly tree: Tree;
  readonly sizes: Sizes;
  readonly limitSeconds: number;
  readonly round: number;
  readonly say: (line: string) => void;
}

const REST_MS_MAX = 6000;
const REST_WINDOW_MS = 100;
/** Less processor time in that window is rest. */
const REST_SECONDS = 0.015;
/** linux: USER_HZ, in which /proc counts, is 100 for programs on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** User and system time of processes so far, by /proc. */
export async function processorSeconds(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    // Fields 14 and 15; the name before them may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Highest resident memory of processes, summed. */
export async function peakBytes(pids: readonly number[]): Promise<number> {
  let bytes = 0;
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    bytes += Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
  }
  return bytes;
}

/** Waits until processes are at rest, at least `leastMs`; for what they put off. */
export async function rest(pids: readonly number[], leastMs: number): Promise<void> {
  if (pids.length === 0 || leastMs === 0) return;
  const end = performance.now() + REST_MS_MAX;
  await sleep(leastMs);
  for (let before = await processorSeconds(pids); performance.now() < end;) {
    await sleep(REST_WINDOW_MS);
    const now = await processorSeconds(pids);
    if (now - before < REST_SECONDS) return;
    before = now;
  }
}

async function measureStep(step: Step, bench: Bench, conditions: Conditions): Promise<Omit<Sample, 'subject' | 'round' | 'figure'>> {
  const found = await step.run(bench);
  const pids = await bench.subject.pids();
  const atEnd = await processorSeconds(pids);
  if (step.settles === true) await rest(pids, bench.sizes.restMs);
  const afterSeconds = (await processorSeconds(pids)) - atEnd;
  const { seconds, clientSeconds, daemonSeconds, asked } = found;
  const operations = step.operations?.(bench) ?? found.operations;
  const cut = found.operations < asked && seconds > conditions.limitSeconds * 0.95;
  const sample = { value: valueOf(step, found), operations, seconds, clientSeconds, daemonSeconds, afterSeconds };
  return cut ? { ...sample, partial: `${found.operations} of ${asked}` } : sample;
}

/** The steps in turn; one that fails leaves out those that need it, and no others. */
export async function measureGroup(subject: Subject, group: Group, conditions: Conditions): Promise<Sample[]> {
  const { client, tree, sizes, limitSeconds, round, say } = conditions;
  const samples: Sample[] = [];
  const clientRun = async (args: readonly (string | number)[]): Promise<Measurement> =>
    measure(client, await subject.pids(), limitSeconds, args.map(String));
  const folder = join(subject.folder, `bench-${process.pid}`);
  const bench: Bench = {
    subject,
    folder,
    sizes,
    tree,
    client: (...args) => clientRun(args),
    program: (...command) => clientRun(['run', ...command]),
    cold: async () => {
      await dropKernelCaches();
      await subject.cool?.();
    },
  };
  try {
    await freshFolder(folder);
    for (const step of group.steps) {
      const failed = samples.find(({ figure, value }) => figure === step.needs && value === undefined);
      const outcome: Omit<Sample, 'subject' | 'round' | 'figure'> =
        failed === undefined
          ? await measureStep(step, bench, conditions).catch((thrown: unknown) => ({
              error: thrown instanceof Error ? thrown.message : String(thrown),
            }))
          : { error: `left out: ${failed.figure} failed` };
      samples.push({ subject: subject.name, figure: step.figure, round, ...outcome });
      const shown = outcome.value === undefined ? `FAILED: ${outcome.error ?? ''}` : `${outcome.value.toPrecision(4)} ${step.unit}`;
      say(`  ${subject.name.padEnd(12)} ${step.figure.padEnd(16)} ${shown}${outcome.partial === undefined ? '' : ` (${outcome.partial})`}`);
    }
  } catch (thrown) {
    // What every step of the group needs is not there.
    const error = thrown instanceof Error ? thrown.message : String(thrown);
    for (const { figure } of group.steps.slice(samples.length)) samples.push({ subject: subject.name, figure, round, error });
    say(`  ${subject.name}: ${error}`);
  }
  await run('rm', ['-rf', folder], { mayFail: true, limitMs: 300_000 }).catch(() => undefined);
  await rest(await subject.pids(), sizes.restMs);
  await subject.trim();
  return samples;
}
