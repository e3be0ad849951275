/**
 * Two processes on the same voters without locks: the old leader is stopped in every state of a flush, a new one takes over and serves, then
 * the old one goes on with its calls. What either acknowledged must be in the history that is found in the end (I4, I9).
 */
import { must } from '../../src/base/assert.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import { MemoryWorking } from './memory-machine.js';
import { nothing, Run, Violation } from './explorer.js';
import { poolId, settle, subsets, World, type Pending } from './world.js';

export interface Fencing {
  readonly voterCount: number;
  readonly mutations: Mutations;
}

export interface FenceCounts {
  takeovers: number;
  oldAcknowledged: number;
}

/** @throws Violation */
export async function fence({ voterCount, mutations }: Fencing): Promise<FenceCounts> {
  const counts: FenceCounts = { takeovers: 0, oldAcknowledged: 0 };
  const base = await World.fresh(voterCount);
  for (const missing of [[], ...subsets(base.voters, base.losses)])
    for (const pick of [0, 1, 2])
      for (let steps = 0; ; steps++) if (!(await takeOver(base.copy(), missing, pick, steps, mutations, counts))) break;
  return counts;
}

/** False when the old leader has nothing left to do after `steps` calls. */
async function takeOver(
  world: World,
  missing: readonly number[],
  pick: number,
  steps: number,
  mutations: Mutations,
  counts: FenceCounts,
): Promise<boolean> {
  const old = new Run(world, nothing, mutations);
  await old.open();
  world.held = true;
  old.append('old 1');
  const acknowledging = old.durable().catch(() => undefined);
  for (let step = 0; step < steps; step++) {
    const next = await choose(world, pick + step);
    if (next === undefined) break;
    next.run();
  }
  await settle();
  const left = world.pending;
  world.pending = [];
  if (left.length === 0) return false;

  // The new one has its own memory, and does not know of the other.
  world.held = false;
  const working = new MemoryWorking();
  const journal = memoryJournal(journalMemory(2 ** 13), { poolId, bootId: 'elsewhere' });
  const fresh = new Run(world, nothing, mutations);
  const log = await fresh.open({ missing, options: { working, journal } });
  counts.takeovers++;
  if (!log.writable) throw new Violation(`the new leader is read-only: ${log.readOnlyReason ?? ''}`);
  const found = working.state.data;
  fresh.append('new 1');
  await fresh.durable();

  // The old one wakes up.
  for (const each of left) each.run();
  await settle();
  await acknowledging;
  try {
    old.append('old 2');
    await old.durable();
  } catch {
    // It was told.
  }
  counts.oldAcknowledged += old.acknowledged;
  fresh.append('new 2');
  await fresh.durable();
  world.crash(true, () => () => false);
  await world.open({ mutations });
  const end = world.working.state.data;
  const text = `found [${end.join(', ')}], the old leader had ${old.acknowledged} acknowledged, the new one began with [${found.join(', ')}]`;
  const where = `after ${steps} calls (${pick}) without [${missing.join(',')}]: ${text}`;
  for (let index = 0; index < old.acknowledged; index++)
    if (end[index] !== `old ${index + 1}`) throw new Violation(`lost what the old leader acknowledged ${where}`);
  if (end.join() !== [...found, 'new 1', 'new 2'].join()) throw new Violation(`lost what the new leader acknowledged ${where}`);
  world.crash(true);
  return true;
}

async function choose(world: World, by: number): Promise<Pending | undefined> {
  await settle();
  if (world.pending.length === 0) return undefined;
  return must(world.pending.splice(by % world.pending.length, 1)[0], 'in range');
}
