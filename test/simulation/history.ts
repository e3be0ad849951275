/**
 * Histories: lists of steps made from a seed. Each step has a seed of its own, so that a history still means something when some of its steps are left out;
 * that is how a failing one is shrunk.
 */
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { operationWeights, type Operation } from './client.js';
import { faultWeights, type Fault } from './faults.js';
import type { DiskChangeName, JobName } from './operator.js';
import type { JobAction } from '../../src/daemon/jobs.js';
import type { Shape } from './world.js';

export type Step =
  /** One operation of a client; the next step comes `afterMs` later, answered or not. */
  | { readonly kind: 'operation'; readonly client: number; readonly operation: Operation; readonly seed: number; readonly afterMs: number }
  | { readonly kind: 'fault'; readonly fault: Fault; readonly seed: number }
  /** The daemon dies, or the power goes, and takes disks with it for a while; so it does again while it recovers, after so many ms each. */
  | {
      readonly kind: 'crash';
      readonly power: boolean;
      /** All disks lose what was not synced, while the machine goes on. */
      readonly enclosure?: boolean;
      /** In the moment in which everything is said to be durable, if that comes soon. */
      readonly onceDurable?: boolean;
      readonly losses?: readonly number[];
      readonly again: readonly { readonly afterMs: number; readonly power: boolean }[];
    }
  /** The operator starts a job, or pauses, resumes or cancels one. */
  | { readonly kind: 'job'; readonly job: JobName; readonly action: JobAction; readonly rate?: number; readonly afterMs: number }
  /** The operator changes the disks of the pool. */
  | { readonly kind: 'disks'; readonly change: DiskChangeName; readonly seed: number; readonly afterMs: number }
  /** What is left in sparse blobs and in many pieces is put in order, as it is now and then. */
  | { readonly kind: 'repack'; readonly afterMs: number }
  /** The pool is unmounted, checked and repaired, and mounted again. */
  | { readonly kind: 'repair' }
  /** Another host takes the pool over while the process here goes on for so long, in which somebody writes to it. */
  | { readonly kind: 'takeOver'; readonly forMs: number; readonly writes?: number }
  /** A stop and a start in order. */
  | { readonly kind: 'restart' }
  /** All disks are back; time passes until everything is whole. */
  | { readonly kind: 'calm' };

export interface History {
  readonly seed: number;
  readonly shape: Shape;
  readonly clients: number;
  readonly steps: readonly Step[];
}

export const STEPS = 120;

const jobWeights: readonly (readonly [JobName, number])[] = [
  ['scrub', 5],
  ['heal', 2],
  ['rebalance', 4],
  ['check', 3],
  ['snapshot', 2],
  ['drain', 1],
];

const actionWeights: readonly (readonly [JobAction, number])[] = [
  ['start', 6],
  ['pause', 1],
  ['resume', 1],
  ['cancel', 1],
];

const changeWeights: readonly (readonly [DiskChangeName, number])[] = [
  ['add', 4],
  ['drain', 4],
  ['cancelDrain', 1],
  ['replace', 4],
  ['remove', 3],
];

const shapes: readonly Pick<Shape, 'disks' | 'code'>[] = [
  { disks: 4, code: { k: 2, m: 1 } },
  { disks: 4, code: { k: 2, m: 2 } },
  { disks: 5, code: { k: 3, m: 2 } },
  { disks: 3, code: { k: 2, m: 1 } },
  { disks: 2, code: { k: 1, m: 1 } },
  { disks: 6, code: { k: 4, m: 2 } },
  { disks: 6, code: { k: 2, m: 2 } },
];

function weighted<T>(random: Random, choices: readonly (readonly [T, number])[]): T {
  let dice = random.below(choices.reduce((sum, [, weight]) => sum + weight, 0));
  for (const [choice, weight] of choices) {
    if (dice < weight) return choice;
    dice -= weight;
  }
  throw new RangeError('no choice');
}

/** The history of a seed. */
export function historyOf(seed: number, steps = STEPS): History {
  const random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x1234567);
  const shape = {
    ...must(shapes[random.below(shapes.length)], 'there are some'),
    durability: random.below(5) === 0 ? 'close' : 'interval',
    capacityMiB: random.below(3) === 0 ? 32 : 512,
  } as const;
  const clients = 1 + random.below(3);
  // Some histories are without faults of disks, some full of them; every third operation waits for nothing.
  const faultsIn100 = must([0, 2, 5, 10][random.below(4)], 'there are some');
  const crashesIn100 = must([0, 1, 3, 6][random.below(4)], 'there are some');
  const jobsIn100 = must([0, 2, 4][random.below(3)], 'there are some');
  const disksIn100 = must([0, 1, 3][random.below(3)], 'there are some');
  const kinds: readonly (readonly [Step['kind'], number])[] = [
    ['operation', 1000 - 10 * (faultsIn100 + crashesIn100 + jobsIn100 + disksIn100)],
    ['job', 10 * jobsIn100],
    ['disks', 10 * disksIn100],
    ['repair', jobsIn100],
    ['fault', 10 * faultsIn100],
    ['crash', 10 * crashesIn100],
    ['takeOver', crashesIn100],
    ['restart', 2 * crashesIn100],
    ['calm', 1 + crashesIn100 + faultsIn100],
  ];
  const made: Step[] = [];
  while (made.length < steps) {
    const next = step(random, weighted(random, kinds), clients);
    // What is committed and not durable is lost with the caches of disks: there shall be some.
    if (next.kind === 'crash' && next.enclosure === true)
      for (let client = 0; client < clients; client++)
        made.push({ kind: 'operation', client, operation: 'save', seed: random.below(2 ** 31), afterMs: 10 + random.below(50) });
    made.push(next);
  }
  return { seed, shape, clients, steps: withPieces(seed, withQuotas(seed, made)) };
}

/** In some histories quotas are set and cleared instead of some operations. What else is in a history does not depend on it. */
function withQuotas(seed: number, steps: readonly Step[]): readonly Step[] {
  const random = seededRandom(Math.imul(seed, 0x85ebca6b) ^ 0x51ed270b);
  if (random.below(4) !== 0) return steps;
  return steps.map((each) => (each.kind === 'operation' && random.below(12) === 0 ? { ...each, operation: 'quota' } : each));
}

/** In some histories files are written in many small pieces instead of some operations, and put in order while the others go on. */
function withPieces(seed: number, steps: readonly Step[]): readonly Step[] {
  const random = seededRandom(Math.imul(seed, 0xc2b2ae35) ^ 0x27d4eb2f);
  if (random.below(3) !== 0) return steps;
  return steps.flatMap((each): readonly Step[] => {
    if (each.kind !== 'operation') return [each];
    const dice = random.below(20);
    // By the same seed the same file is written to before and meanwhile.
    if (dice === 0)
      return [
        { ...each, operation: 'scatter', afterMs: random.below(50) },
        { kind: 'repack', afterMs: random.below(6) },
        { ...each, operation: random.below(2) === 0 ? 'overwrite' : 'truncate', afterMs: random.below(4) },
        each,
      ];
    return [dice < 4 ? { ...each, operation: 'scatter' } : each];
  });
}

function step(random: Random, kind: Step['kind'], clients: number): Step {
  const seed = random.below(2 ** 31);
  switch (kind) {
    case 'operation': {
      const client = random.below(clients);
      const afterMs = weighted<number>(random, [
        [0, 4],
        [random.below(10), 8],
        [random.below(200), 3],
        [random.below(4000), 1],
      ]);
      return { kind, client, operation: weighted(random, operationWeights), seed, afterMs };
    }
    case 'fault':
      return { kind, fault: weighted(random, faultWeights), seed };
    case 'crash': {
      const power = random.below(2) === 0;
      const again = Array.from(
        {
          length: weighted<number>(random, [
            [0, 5],
            [1, 3],
            [2, 1],
          ]),
        },
        () => ({
          afterMs: random.below(random.below(2) === 0 ? 40 : 400),
          power: random.below(2) === 0,
        }),
      );
      const losses = Array.from(
        {
          length: weighted<number>(random, [
            [0, 4],
            [1, 2],
            [2, 2],
          ]),
        },
        () => random.below(2 ** 31),
      );
      return { kind, power, enclosure: !power && random.below(3) === 0, losses, again };
    }
    case 'job': {
      const job = weighted(random, jobWeights);
      const rate = random.below(3) === 0 ? { rate: 50_000 + random.below(1_000_000) } : {};
      return { kind, job, action: weighted(random, actionWeights), ...rate, afterMs: pause(random) };
    }
    case 'disks':
      return { kind, change: weighted(random, changeWeights), seed, afterMs: pause(random) };
    case 'takeOver':
      return { kind, forMs: random.below(3000), writes: random.below(20) };
    case 'repack':
      return { kind, afterMs: pause(random) };
    case 'repair':
    case 'restart':
    case 'calm':
      return { kind };
  }
}

function pause(random: Random): number {
  return weighted<number>(random, [
    [random.below(20), 2],
    [random.below(1000), 2],
    [random.below(20_000), 1],
  ]);
}

/** A step in words. */
export function describeStep(step: Step): string {
  switch (step.kind) {
    case 'operation':
      return `client ${step.client}: ${step.operation} (${step.seed}), then ${step.afterMs} ms`;
    case 'fault':
      return `fault: ${step.fault} (${step.seed})`;
    case 'crash':
      return [
        (step.onceDurable === true ? 'once all is durable: ' : '') + (step.power ? 'power cut' : 'the daemon dies'),
        ...(step.enclosure === true ? ['all disks lose what was not synced'] : []),
        ...(step.losses ?? []).map((seed) => `a disk leaves with it (${seed})`),
        ...step.again.map(({ afterMs, power }) => `${power ? 'power cut' : 'death'} ${afterMs} ms into recovery`),
      ].join(', ');
    case 'job':
      return `${step.action} ${step.job}${step.rate === undefined ? '' : ` at ${step.rate} bytes/s`}, then ${step.afterMs} ms`;
    case 'disks':
      return `disks: ${step.change} (${step.seed}), then ${step.afterMs} ms`;
    case 'repack':
      return `what is in pieces is put in order, then ${step.afterMs} ms`;
    case 'repair':
      return 'stop, check and repair, start';
    case 'takeOver':
      return `another host takes over, the process here goes on for ${step.forMs} ms and ${step.writes ?? 0} writes`;
    case 'restart':
      return 'stop and start';
    case 'calm':
      return 'all disks back, until everything is whole';
  }
}
