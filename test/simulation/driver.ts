/**
 * Runs a history: a world, its clients, and what goes wrong, step by step, and checks what must hold after each crash, in each calm, and at the end.
 */
import { must } from '../../src/base/assert.js';
import { seededRandom } from '../../src/base/clock.js';
import { Client } from './client.js';
import { Faults } from './faults.js';
import { describeStep, type History, type Step } from './history.js';
import type { Mutation } from './mutations.js';
import { badShards, checkAccounting, strandedRecords } from './oracle.js';
import type { Rows } from './replicas.js';
import { expect, Violation } from './violation.js';
import { World } from './world.js';

/** A client that waits for a disk is left alone. */
const PATIENCE_MS = 100;
/** Everything that can be whole again is by then: heal tries again every ten minutes at the latest. */
const CALM_MS = 30 * 60_000;
const READ_ALL_MS = 10 * 60_000;

export interface Result {
  /** Two runs of one history have the same. */
  readonly digest: string;
  readonly counts: World['counts'] & { readonly answered: number; readonly failed: number; readonly events: number };
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
    error = thrown instanceof Error ? thrown : new Error(String(thrown));
  }
  const { world, clients, lines } = driver;
  const answered = clients.reduce((sum, client) => sum + client.answered, 0);
  const failed = clients.reduce((sum, client) => sum + client.failed, 0);
  return { digest: world.trace.digest(), counts: { ...world.counts, answered, failed, events: world.time.count }, error, lines };
}

class Driver {
  readonly world: World;
  readonly faults: Faults;
  readonly clients: Client[];
  readonly lines: string[] = [];
  /** Disks may have been out since the start of this process. */
  #strandedPossible = false;

  constructor(
    readonly history: History,
    mutation: Mutation,
  ) {
    this.world = new World(history.shape, history.seed, mutation);
    this.faults = new Faults(this.world);
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
    }
    await this.#end();
  }

  #say(text: string): void {
    this.lines.push(`${this.world.time.nowMs.toFixed(1).padStart(10)} ${text}`);
  }

  async #all(action: (client: Client) => Promise<void>): Promise<void> {
    const { world } = this;
    await world.within(Promise.all(this.clients.map(action)), READ_ALL_MS, 'what all clients do');
  }

  #checkClients(): void {
    for (const { failure } of this.clients) if (failure !== undefined) throw failure;
  }

  async #step(step: Step): Promise<void> {
    const { world } = this;
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
      case 'takeOver':
        this.#say(describeStep(step));
        return this.#takeOver(step.forMs);
      case 'restart':
        this.#say(describeStep(step));
        return this.#restart();
      case 'calm':
        this.#say(describeStep(step));
        return this.#calm();
    }
  }

  async #crash({ power, losses = [], again }: Extract<Step, { kind: 'crash' }>): Promise<void> {
    const { world } = this;
    world.checkReplicas();
    world.crash(power);
    for (const seed of losses) this.#say(this.faults.deal('leaves', seed) ?? 'no disk more may leave');
    for (const client of this.clients) client.disconnect();
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
    for (const client of this.clients) client.disconnect();
    await world.start();
    const { log } = must(world.process, 'it is open');
    expect(log?.writable === true, 'progress', () => `the pool stays read-only: ${log?.readOnlyReason ?? ''}`);
    const position = world.takeLeftPosition();
    await this.#all((client) => client.recover(position));
  }

  async #takeOver(forMs: number): Promise<void> {
    const { world } = this;
    const old = world.takeOver();
    for (const client of this.clients) client.disconnect();
    const { opening } = world.open();
    await world.within(opening, READ_ALL_MS, 'the takeover');
    const position = world.takeLeftPosition();
    await this.#all((client) => client.recover(position));
    await world.time.pass(forMs);
    world.endFenced(old);
    await checkAccounting(world);
  }

  async #restart(): Promise<void> {
    const { world } = this;
    await this.#idle();
    for (const client of this.clients) client.disconnect();
    try {
      await world.stop();
    } catch (error) {
      // What could not be made durable is told; then the process ends all the same.
      if (error instanceof Violation || world.counts.faults === 0) throw error;
      world.crash(false);
    }
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
    const untilMs = world.time.nowMs + CALM_MS;
    for (let pauseMs = 500; ; pauseMs = Math.min(2 * pauseMs, 60_000)) {
      const lacking = this.#lacking();
      if (lacking === undefined) break;
      expect(
        world.time.nowMs < untilMs,
        lacking.includes('stranded') ? 'I10 stranded space' : 'heal',
        () => `after ${CALM_MS / 60_000} minutes of calm: ${lacking}${world.describe()}`,
      );
      await world.time.pass(pauseMs);
    }
    await checkAccounting(world);
    for (const disk of faults.impaired) if (!faults.silent.has(disk)) faults.impaired.delete(disk);
    await this.#all((client) => client.compare());
  }

  /** What is not whole yet; undefined: all is. */
  #lacking(): string | undefined {
    const { world, faults } = this;
    const { pool, log, working } = must(world.process, 'a process');
    if (pool === undefined || log === undefined || working === undefined) return 'the pool is not open';
    for (const { member, disk, reason } of pool.diskSet.members())
      if (disk === undefined) return `disk ${member.number} is out: ${reason?.message ?? ''}`;
    for (const voter of log.voters())
      if (voter.state !== 'online' && !faults.silent.has(voter.number))
        return `voter ${voter.number} is ${voter.state}: ${voter.reason ?? ''}`;
    if (log.durablePosition < log.head.position - 1) return 'something is not durable';
    const rows = working.rows();
    const silent = faults.silent.size > 0;
    if (!silent) for (const table of ['m', 'f', 'g']) if (has(rows, table)) return `there are rows in table ${table}`;
    const bad = badShards(world, rows).filter(({ disk }) => !faults.silent.has(disk));
    const [first] = bad;
    if (first !== undefined && !silent)
      return `${bad.length} shards are not there: shard ${first.shard} of blob ${first.blob} on disk ${first.disk} ${first.why}`;
    // What was freed while a disk was out is found after the next start.
    const stranded = this.#strandedPossible ? [] : strandedRecords(world, rows);
    if (stranded.length > 0 && !silent) return `${stranded.length} records are stranded, such as ${stranded[0] ?? ''}`;
    return undefined;
  }

  async #end(): Promise<void> {
    const { world } = this;
    await this.#calm();
    await this.#all((client) => client.closeAll());
    await this.#all((client) => client.compare());
    await this.#restart();
    await this.#all((client) => client.removeAll());
    await this.#calm();
    await this.#restart();
    await this.#calm();
    if (this.faults.silent.size > 0) return;
    const rows = must(world.process?.working, 'it is open').rows();
    for (const table of ['b', 'e', 'r', 'p', 'u', 'z', 'x'])
      expect(!has(rows, table), 'I10 stranded space', `rows are left in table ${table}`);
    await world.stop();
  }
}

function has(rows: Rows, table: string): boolean {
  const prefix = Buffer.from(table).toString('hex');
  for (const key of rows.keys()) if (key.startsWith(prefix)) return true;
  return false;
}
