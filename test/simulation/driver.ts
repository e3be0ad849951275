/**
 * Runs a history: a world, its clients, and what goes wrong, step by step, and checks what must hold after each crash, in each calm, and at the end.
 */
import { must } from '../../src/base/assert.js';
import { OperatingError } from '../../src/base/errors.js';
import { seededRandom } from '../../src/base/clock.js';
import type { CheckResult } from '../../src/daemon/check-job.js';
import { Calm } from './calm.js';
import { Client } from './client.js';
import { Faults } from './faults.js';
import { removeGhosts, writeOn } from './ghost.js';
import { describeStep, type History, type Step } from './history.js';
import type { Mutation } from './mutations.js';
import { Operator } from './operator.js';
import { checkAccounting, checkSnapshots } from './oracle.js';
import { has } from './replicas.js';
import { expect, Violation } from './violation.js';
import { World } from './world.js';

/** A client that waits for a disk is left alone. */
const PATIENCE_MS = 100;
/** Changes of members that a takeover may meet. */
const TAKEOVERS_MAX = 5;
const READ_ALL_MS = 10 * 60_000;

export interface Result {
  /** Two runs of one history have the same. */
  readonly digest: string;
  readonly counts: World['counts'] & { readonly answered: number; readonly failed: number; readonly events: number };
  /** How often each thing was done or happened. */
  readonly tally: ReadonlyMap<string, number>;
  readonly error: Error | undefined;
  /** What was done, for a report. */
  readonly lines: readonly string[];
}

/** Runs one history. Never rejects: what went wrong is in the result. */
export async function run(history: History, mutation: Mutation = {}): Promise<Result> {
  const driver = new Driver(history, mutation);
  let error: Error | undefined;
  try {
    await driver.run();
  } catch (thrown) {
    error = asError(thrown);
  }
  const { world, clients, lines } = driver;
  const answered = clients.reduce((sum, client) => sum + client.answered, 0);
  const failed = clients.reduce((sum, client) => sum + client.failed, 0);
  return {
    digest: world.trace.digest(),
    counts: { ...world.counts, answered, failed, events: world.time.count },
    tally: world.tally,
    error,
    lines,
  };
}

class Driver {
  readonly world: World;
  readonly faults: Faults;
  readonly operator: Operator;
  readonly clients: Client[];
  readonly lines: string[] = [];
  /** What went wrong in the background. */
  #failure: Error | undefined;
  readonly #calmer: Calm;
  #ghostFailure: unknown;
  /** Disks may have been out since the start of this process, or one that it took over from may have written after its search: the next start finds that. */
  #strandedPossible = false;

  constructor(
    readonly history: History,
    mutation: Mutation,
  ) {
    this.world = new World(history.shape, history.seed, mutation);
    this.faults = new Faults(this.world);
    this.operator = new Operator(this.world, this.faults);
    this.#calmer = new Calm(this.world, this.faults, this.operator, () => this.#restart());
    this.clients = Array.from({ length: history.clients }, (_, index) => new Client(this.world, `c${index}`));
  }

  async run(): Promise<void> {
    const { world } = this;
    await world.create();
    const pool = await world.start();
    world.takeLeftPosition();
    await this.#all((client) => client.enter());
    await world.within(pool.namespace.syncAll(), READ_ALL_MS, 'the first sync');
    for (const step of this.history.steps) {
      await this.#step(step);
      this.#checkClients();
      world.checkReplicas();
    }
    await this.#end();
    this.#checkClients();
  }

  #say(text: string): void {
    this.lines.push(`${this.world.time.nowMs.toFixed(1).padStart(10)} ${text}`);
  }

  async #all(action: (client: Client) => Promise<void>): Promise<void> {
    const { world } = this;
    await world.within(Promise.all(this.clients.map(action)), READ_ALL_MS, 'what all clients do');
  }

  #disconnect(): void {
    for (const client of this.clients) client.disconnect();
    this.operator.disconnect();
  }

  #checkClients(): void {
    if (this.#failure !== undefined) throw this.#failure;
    for (const { failure } of [this.world.watch, ...this.clients, this.operator]) if (failure !== undefined) throw failure;
  }

  async #step(step: Step): Promise<void> {
    const { world, operator } = this;
    if (step.kind !== 'operation') world.count(`step: ${nameOf(step)}`);
    switch (step.kind) {
      case 'operation': {
        const client = must(this.clients[step.client], 'a client of the history');
        if (client.busy !== undefined) await world.time.run(() => client.busy === undefined, PATIENCE_MS);
        if (client.busy !== undefined || world.process?.pool === undefined) return;
        this.#say(describeStep(step));
        client.start(step.operation, seededRandom(step.seed));
        await world.time.pass(step.afterMs);
        return;
      }
      case 'fault': {
        const done = this.faults.deal(step.fault, step.seed);
        this.#strandedPossible ||= done !== undefined;
        if (done !== undefined) this.#say(done);
        return;
      }
      case 'crash':
        this.#say(describeStep(step));
        return this.#crash(step);
      case 'job':
        this.#say(describeStep(step));
        operator.askJob(step.job, step.action, step.rate === undefined ? {} : { rate: step.rate });
        return world.time.pass(step.afterMs);
      case 'disks': {
        const asked = operator.askDisks(step.change, step.seed);
        if (asked === undefined) return;
        this.#say(`${asked}, then ${step.afterMs} ms`);
        return world.time.pass(step.afterMs);
      }
      case 'repack':
        this.#say(describeStep(step));
        this.#repack();
        return world.time.pass(step.afterMs);
      case 'repair':
        this.#say(describeStep(step));
        return this.#repair();
      case 'takeOver':
        this.#say(describeStep(step));
        return this.#takeOver(step);
      case 'restart':
        this.#say(describeStep(step));
        return this.#restart();
      case 'calm':
        this.#say(describeStep(step));
        return this.#calm();
    }
  }

  /** Begins it; whoever dies meanwhile leaves it half done. */
  #repack(): void {
    const packer = this.world.process?.pool?.namespace.packer;
    packer?.repackAll().then(
      ({ windows, sparsePacks }) => {
        this.world.count('windows of files put together', windows);
        this.world.count('sparse packs packed anew', sparsePacks);
      },
      (error: unknown) => {
        if (!(error instanceof OperatingError)) this.#failure ??= error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  async #crash({ power, enclosure = false, onceDurable, losses = [], again }: Extract<Step, { kind: 'crash' }>): Promise<void> {
    const { world } = this;
    const { log } = world.process ?? {};
    if (onceDurable === true && log !== undefined) await world.time.run(() => log.durablePosition >= log.head.position, PATIENCE_MS);
    world.checkReplicas();
    if (enclosure) this.faults.returnOld();
    world.crash(power, enclosure);
    for (const seed of losses) this.#say(this.faults.deal('leaves', seed) ?? 'no disk more may leave');
    this.#disconnect();
    for (const next of again) {
      const { opening } = world.open();
      // It may come to its end, or fail, before it is cut off.
      const ended = opening.then(
        () => undefined,
        (error: unknown) => error,
      );
      let failure: unknown;
      void ended.then((error) => (failure = error));
      await world.time.pass(next.afterMs);
      if (failure instanceof Error) throw failure;
      world.crash(next.power);
    }
    await this.#openAndCheck();
  }

  /** Opens the pool, and compares all that is there with what may be there. */
  async #openAndCheck(): Promise<void> {
    const { world } = this;
    await world.start();
    this.#strandedPossible = this.faults.impaired.size > 0;
    this.operator.checkMembers();
    const position = world.takeLeftPosition();
    await this.#all((client) => client.recover(position));
    await checkAccounting(world);
    if (!must(world.process?.log, 'it is open').writable) await this.#putRight();
  }

  /** Without a majority nothing goes on until disks are back. */
  async #putRight(): Promise<void> {
    const { world } = this;
    this.faults.end();
    const writable = await world.time.run(() => world.process?.log?.writable === true, READ_ALL_MS);
    if (writable && world.process?.pool !== undefined) return;
    world.crash(false);
    this.#disconnect();
    await world.start();
    const { log } = must(world.process, 'it is open');
    expect(log?.writable === true, 'progress', () => `the pool stays read-only: ${log?.readOnlyReason ?? ''}`);
    const position = world.takeLeftPosition();
    await this.#all((client) => client.recover(position));
  }

  async #takeOver({ forMs, writes = 0 }: Extract<Step, { kind: 'takeOver' }>): Promise<void> {
    const { world } = this;
    const old = world.takeOver();
    this.#disconnect();
    if (old.pool !== undefined)
      void writeOn(old.pool.namespace, String(world.time.count), writes, world.random).catch(
        (error: unknown) => (this.#ghostFailure = error),
      );
    await this.#openBesideRival();
    const position = world.takeLeftPosition();
    await this.#all((client) => client.recover(position));
    this.operator.checkMembers();
    await world.time.pass(forMs);
    world.endFenced(old);
    this.#strandedPossible = true;
    if (this.#ghostFailure !== undefined) throw asError(this.#ghostFailure);
    await checkAccounting(world);
  }

  /** While another process changes the members, opening is refused: whoever wants the pool tries again. */
  async #openBesideRival(): Promise<void> {
    const { world } = this;
    for (let tries = 0; ; tries++)
      try {
        await world.within(world.open().opening, READ_ALL_MS, 'the takeover');
        return;
      } catch (error) {
        if (!(error instanceof OperatingError) || error.code !== 'ESTALE' || tries === TAKEOVERS_MAX) throw error;
        world.count('a takeover that met a change of members');
      }
  }

  async #restart(): Promise<void> {
    await this.#stop();
    await this.#openAndCheck();
  }

  async #stop(): Promise<void> {
    const { world } = this;
    await this.#idle();
    this.#disconnect();
    try {
      await world.stop();
    } catch (error) {
      // What could not be made durable is told; then the process ends all the same.
      if (error instanceof Violation || world.counts.faults === 0) throw error;
      world.crash(false);
    }
  }

  /** As `ostraka check --repair` does: on a pool that nobody uses. Where nothing is damaged there is nothing to repair. */
  async #repair(): Promise<void> {
    const { world } = this;
    await this.#stop();
    const pool = await world.start(true);
    if (pool.log.writable) {
      await world.within(pool.jobs.start('check', { depth: 'frames', repair: true }), READ_ALL_MS, 'starting a repair');
      await world.time.run(() => !pool.jobs.isActive('check'), READ_ALL_MS);
      const { state, message, result } = pool.jobs.status('check');
      const done = state === 'done' ? (result as CheckResult) : undefined;
      expect(done !== undefined || world.counts.faults > 0, 'jobs', () => `a repair is ${state}: ${message ?? ''}${world.describe()}`);
      const { findings } = pool.check.findings('found', 0);
      expect(done === undefined || done.total === 0 || world.counts.faults > 0, 'rows', () => `check found ${findings[0]?.message ?? ''}`);
      if (done !== undefined) world.count(done.repaired > 0 ? 'repairs of something' : 'repairs of nothing');
    }
    await this.#stop();
    await this.#openAndCheck();
  }

  /** All operations under way are answered. */
  async #idle(): Promise<void> {
    const idle = await this.world.time.run(() => this.clients.every(({ busy }) => busy === undefined), READ_ALL_MS);
    this.#checkClients();
    expect(idle, 'progress', () => `operations have not come back${this.world.describe()}`);
  }

  /** Everything comes back; in its time everything is whole. */
  async #calm(): Promise<void> {
    const { world, faults } = this;
    faults.end();
    await this.#idle();
    if (world.process?.log?.writable !== true) await this.#putRight();
    await this.#calmer.reach(this.#strandedPossible);
    await checkAccounting(world);
    await this.#all((client) => client.compare());
  }

  async #end(): Promise<void> {
    const { world } = this;
    await this.#calm();
    world.count('snapshots of the index, compared', await checkSnapshots(world, (disk) => this.faults.wasDamaged(disk)));
    await this.#all((client) => client.closeAll());
    await this.#all((client) => client.compare());
    await this.#restart();
    await this.#all((client) => client.removeAll());
    await world.within(removeGhosts(must(world.process?.pool, 'it is open').namespace), READ_ALL_MS, 'deleting what ghosts left');
    await this.#calm();
    await this.#restart();
    await this.#calm();
    const rows = must(world.process?.working, 'it is open').rows();
    for (const table of ['b', 'e', 'r', 'p', 'u', 'z', 'x'])
      expect(!has(rows, table), 'I10 stranded space', `rows are left in table ${table}`);
    await this.#calmer.reachEmptiness();
    this.operator.countRuns();
    await world.stop();
  }
}

/** What a step counts as. */
function nameOf(step: Step): string {
  if (step.kind !== 'crash') return step.kind;
  if (step.power) return 'power cut';
  return step.enclosure === true ? 'death of the daemon, caches of all disks lost' : 'death of the daemon';
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
