/**
 * Explores what can become of a scenario on simulated voters: every order in which calls that change disks complete (orders that lead to the
 * same state, or to one that differs only in which voter is which, count once), and in each state every kind of crash, followed by a recovery
 * with every set of up to m voters missing. What must hold after each recovery is in `check`.
 *
 * Calls that change nothing complete at once: with one process they commute with all others.
 */
import { assert, must } from '../../src/base/assert.js';
import { checksum } from '../../src/base/checksums.js';
import type { OperationKind, SimulatedOperation } from '../../src/disk/simulated-disk.js';
import type { Survival } from '../../src/disk/simulated-file.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import type { QuorumLog } from '../../src/quorum/quorum-log.js';
import type { World } from './world.js';
import { settle, subsets, type OpenChoices, type Pending } from './world.js';

/** The log broke a promise. */
export class Violation extends Error {}

function demand(condition: boolean, message: () => string): void {
  if (!condition) throw new Violation(message());
}

/** What was appended and acknowledged so far. */
export interface Promised {
  readonly appended: readonly string[];
  /** The first so many of them were acknowledged as durable. */
  readonly acknowledged: number;
  /** The first so many of them must survive the death of the daemon. */
  readonly committed: number;
}

/** A scenario in progress. */
export class Run {
  readonly appended: string[];
  acknowledged: number;
  committed: number;
  log: QuorumLog | undefined;
  /** While false, calls complete in the order of their making and nothing is checked. */
  exploring = true;

  constructor(
    readonly world: World,
    before: Promised,
    readonly mutations: Mutations,
  ) {
    this.appended = [...before.appended];
    this.acknowledged = before.acknowledged;
    this.committed = before.committed;
  }

  async open(choices: OpenChoices = {}): Promise<QuorumLog> {
    const { log } = await this.world.open({ mutations: this.mutations, ...choices });
    this.log = log;
    return log;
  }

  /** Recovers what an earlier run left: all that is found is durable from then on. */
  async recover(choices: OpenChoices = {}): Promise<void> {
    await this.open(choices);
    const found = this.world.working.state.data;
    this.appended.splice(0, this.appended.length, ...found);
    this.acknowledged = found.length;
    this.committed = found.length;
  }

  append(text: string): void {
    must(this.log, 'open first').append(Buffer.from(text));
    this.appended.push(text);
    this.committed = this.appended.length;
  }

  async durable(): Promise<void> {
    const log = must(this.log, 'open first');
    const count = this.appended.length;
    await log.durable(log.head.position);
    this.acknowledged = Math.max(this.acknowledged, count);
  }
}

export const nothing: Promised = { appended: [], acknowledged: 0, committed: 0 };

export type Scenario = (run: Run) => Promise<void>;

export interface Exploration {
  readonly base: World;
  readonly before: Promised;
  readonly scenario: Scenario;
  readonly mutations?: Mutations;
  /** all: every order; first: calls complete in the order of their making. */
  readonly orders: 'all' | 'first';
  /** Calls on paths that contain this, or that it says so of, complete at once, too. */
  readonly atOnce?: string | ((operation: SimulatedOperation) => boolean);
  /** Missing voters that differ only in what they hold are one case. */
  readonly forgetMissing?: boolean;
  /** Ways in which one voter's unsynced changes may end; each dirty voter has each. */
  readonly survivals: readonly SurvivalName[];
  /** All voters end in the same way. */
  readonly alike?: boolean;
  /** Called with each state after a crash that was not seen before, for explorations that go on from there. */
  readonly crashed?: (world: World, promised: Promised) => void;
}

export interface Counts {
  states: number;
  crashes: number;
  recoveries: number;
}

const changing: ReadonlySet<OperationKind> = new Set(['write', 'sync', 'syncDirectory', 'makeDirectory', 'unlink', 'rename']);

export type SurvivalName = 'none' | 'all' | 'block' | 'torn' | 'holes';

/** What of one voter's unsynced changes survives a power cut. */
const survivals: Readonly<Record<SurvivalName, Survival>> = {
  none: () => () => false,
  all: () => () => true,
  /** The first block of each write: whole headers and small batches, the front of large ones. */
  block:
    ({ kind }) =>
    (sector) =>
      kind !== 'write' || sector < 8,
  /** The first sector of each write: no header survives. */
  torn:
    ({ kind }) =>
    (sector) =>
      kind !== 'write' || sector < 1,
  /** All but the first sector. */
  holes:
    ({ kind }) =>
    (sector) =>
      kind !== 'write' || sector > 0,
};

export class Explorer {
  readonly counts: Counts = { states: 0, crashes: 0, recoveries: 0 };
  readonly #seenStates = new Set<string>();
  readonly #seenRecoveries = new Set<string>();

  /** Visits every state of the exploration. @throws Violation */
  async explore(exploration: Exploration): Promise<void> {
    const prefixes: number[][] = [[]];
    for (let prefix = prefixes.pop(); prefix !== undefined; prefix = prefixes.pop()) {
      const more = await this.#follow(exploration, prefix);
      prefixes.push(...more);
    }
  }

  /** Runs the scenario along `prefix` and on along the first choice of each new state; returns the other choices. */
  async #follow(exploration: Exploration, prefix: readonly number[]): Promise<number[][]> {
    const world = exploration.base.copy();
    const run = new Run(world, exploration.before, exploration.mutations ?? {});
    world.held = true;
    let failure: unknown;
    void exploration.scenario(run).catch((thrown: unknown) => (failure = thrown));
    const others: number[][] = [];
    const path: number[] = [];
    for (;;) {
      const pending = await quiesce(world, exploration.atOnce);
      if (failure instanceof Error) throw failure;
      let choice = prefix[path.length];
      if (choice === undefined) {
        // Of several orders another one goes on from a state that was seen.
        if (run.exploring && !(await this.#visit(exploration, run, pending)) && exploration.orders === 'all') break;
        if (pending.length === 0) break;
        choice = 0;
        if (exploration.orders === 'all' && run.exploring)
          for (const other of distinct(world, pending)) if (other !== 0) others.push([...path, other]);
      }
      path.push(choice);
      const next = must(pending[choice], 'the choice is there');
      world.pending.splice(world.pending.indexOf(next), 1);
      next.run();
    }
    world.crash(true);
    await settle();
    return others;
  }

  /** Checks all crashes in this state; false when it was seen before. */
  async #visit(exploration: Exploration, run: Run, pending: readonly Pending[]): Promise<boolean> {
    const { world } = run;
    const voters = world.voters.map((voter) => voterKey(world, voter, pending)).sort();
    const key = [...voters, run.acknowledged, run.committed, run.appended.length, run.log?.durablePosition, run.log?.head.position].join(
      '|',
    );
    if (this.#seenStates.has(key)) return false;
    this.#seenStates.add(key);
    this.counts.states++;
    const promised: Promised = { appended: [...run.appended], acknowledged: run.acknowledged, committed: run.committed };
    const death = world.copy();
    death.crash(false);
    await this.#recoverAll(exploration, death, promised, false);
    for (const modes of combinations(world, exploration)) {
      const after = world.copy();
      after.crash(true, (change) => survivals[must(modes[Number(change.disk.slice(1)) - 1], 'one a voter')](change));
      await this.#recoverAll(exploration, after, promised, true);
    }
    return true;
  }

  async #recoverAll(exploration: Exploration, crashed: World, promised: Promised, power: boolean): Promise<void> {
    const prints = crashed.voters.map((voter) => crashed.fingerprint(voter, !power));
    let fresh = false;
    for (let count = 0; count <= crashed.losses; count++)
      for (const missing of subsets(crashed.voters, count)) {
        const there = prints.filter((_, index) => !missing.includes(index + 1)).sort();
        const rest = prints.filter((_, index) => missing.includes(index + 1)).sort();
        const memory = power ? '' : checksum(Buffer.from(crashed.journal)).toString('hex');
        const key = [
          ...there,
          '-',
          ...(exploration.forgetMissing === true ? [] : rest),
          memory,
          promised.acknowledged,
          promised.committed,
          promised.appended.length,
        ].join('|');
        if (this.#seenRecoveries.has(key)) continue;
        this.#seenRecoveries.add(key);
        if (count === 0) this.counts.crashes++;
        this.counts.recoveries++;
        fresh = true;
        const copy = crashed.copy();
        try {
          await check(copy, missing, promised, power, exploration.mutations ?? {});
        } catch (thrown) {
          if (thrown instanceof Violation) thrown.message += `\n${copy.messages.join('\n')}`;
          throw thrown;
        }
      }
    // What a power cut took was committed, but need not come back.
    if (fresh) exploration.crashed?.(crashed, power ? { ...promised, committed: promised.acknowledged } : promised);
  }
}

/**
 * Recovers and demands: writable with up to m voters missing; what was acknowledged is there (I4, I7); the history is a prefix of what was
 * appended; after the death of the daemon alone, all of it. Then goes on, loses power and other voters, and recovers again: the same.
 */
export async function check(
  world: World,
  missing: readonly number[],
  promised: Promised,
  power: boolean,
  mutations: Mutations,
): Promise<void> {
  const where = `${power ? 'power cut' : 'death'}, without [${missing.join(',')}], ${promised.acknowledged} of ${promised.appended.length} acknowledged`;
  const run = new Run(world, nothing, mutations);
  const log = await run.open({ missing });
  demand(log.writable, () => `${where}: read-only: ${log.readOnlyReason ?? ''}`);
  const found = world.working.state.data;
  const text = (): string => `${where}: found [${brief(found)}] of [${brief(promised.appended)}]`;
  demand(
    found.length <= promised.appended.length && found.every((each, index) => each === promised.appended[index]),
    () => `no prefix: ${text()}`,
  );
  demand(found.length >= promised.acknowledged, () => `lost what was acknowledged: ${text()}`);
  demand(power || found.length >= promised.committed, () => `lost what was committed: ${text()}`);
  demand(log.durablePosition === log.head.position, () => `not all durable after recovery: ${text()}`);
  for (const status of log.voters())
    demand(
      missing.includes(status.number) || status.state === 'online',
      () => `voter ${status.number} is ${status.state}: ${status.reason ?? ''}`,
    );
  run.append('then');
  await run.durable();
  world.crash(true, survivals.none);
  const others = world.voters.filter((voter) => !missing.includes(voter)).slice(0, world.losses);
  const second = await run.open({ missing: others });
  demand(second.writable, () => `read-only after the second recovery: ${second.readOnlyReason ?? ''}`);
  const again = world.working.state.data;
  demand(again.join(' ') === [...found, 'then'].join(' '), () => `the second recovery found [${brief(again)}] after ${text()}`);
  await second.close();
  world.crash(true);
}

const brief = (texts: readonly string[]): string => texts.map((text) => text.slice(0, 8)).join(' ');

/** Runs what changes nothing; the calls that do are left. */
async function quiesce(world: World, atOnce: Exploration['atOnce']): Promise<Pending[]> {
  const now = (operation: SimulatedOperation): boolean => {
    if (typeof atOnce === 'function') return atOnce(operation);
    return atOnce !== undefined && operation.path.includes(atOnce);
  };
  const waits = ({ operation }: Pending): boolean => changing.has(operation.kind) && !now(operation);
  for (;;) {
    await settle();
    const harmless = world.pending.filter((each) => !waits(each));
    if (harmless.length === 0) return [...world.pending];
    world.pending = world.pending.filter(waits);
    for (const each of harmless) each.run();
  }
}

function voterKey(world: World, voter: number, pending: readonly Pending[]): string {
  const calls = pending.filter((each) => each.voter === voter).map((each) => `${each.operation.kind} ${each.operation.path}`);
  return `${world.fingerprint(voter, true)} ${calls.sort().join(',')}`;
}

/** One of each kind of choice: calls of voters in the same state are the same choice. */
function distinct(world: World, pending: readonly Pending[]): number[] {
  const seen = new Set<string>();
  const found: number[] = [];
  for (const [index, { voter, operation }] of pending.entries()) {
    const key = `${voterKey(world, voter, pending)} ${operation.kind} ${operation.path}`;
    if (seen.has(key)) continue;
    seen.add(key);
    found.push(index);
  }
  return found;
}

/** Each way to give each dirty voter one of the modes; voters with nothing unsynced need none. */
function combinations(world: World, { survivals: modes, alike }: Exploration): SurvivalName[][] {
  if (alike === true) return modes.map((mode) => world.voters.map(() => mode));
  let all: SurvivalName[][] = [[]];
  for (const voter of world.voters) {
    const medium = world.medium(voter);
    const dirty = medium.copy();
    dirty.settle(survivals.none, '');
    const same = dirty.paths().join() === medium.paths().join() && !medium.paths().some((path) => medium.file(path).dirty);
    const choices = same ? (['all'] as const) : modes;
    all = all.flatMap((before) => choices.map((mode) => [...before, mode]));
  }
  assert(all.length <= 4096, 'too many combinations');
  return all;
}
