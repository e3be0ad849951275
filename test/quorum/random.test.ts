/**
 * Random histories from seeds, deeper than the exhaustive check goes: voters leave and return, calls fail, disks are full, voters are wiped and
 * damaged, replicas too, data of unacknowledged entries is lost, processes die and the power goes in the midst of anything. After every recovery
 * the promises must hold. A failing seed is in the name of its test: `SEED=n node …/random.test.js` runs it alone.
 */
import t from 'tap';
import { assert, must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import type { QuorumLog } from '../../src/quorum/quorum-log.js';
import { settle, World } from './world.js';

const ACTIONS = 60;

class History {
  readonly world: World;
  readonly random: Random;
  log: QuorumLog | undefined;
  appended: string[] = [];
  acknowledged = 0;
  /** The log was opened with a majority. */
  led = false;
  /** Entries of these are not on the data disks. */
  readonly lostData = new Set<string>();
  /** Voters that are damaged, until they are seen online again. */
  readonly damaged = new Set<number>();
  readonly absent = new Set<number>();
  readonly did: string[] = [];
  counter = 0;
  recoveries = 0;

  constructor(world: World, random: Random) {
    this.world = world;
    this.random = random;
  }

  say(what: string): void {
    this.did.push(what);
  }

  demand(condition: boolean, what: string): void {
    assert(condition, `${what}\n${this.did.join('; ')}\n${this.world.messages.join('\n')}`);
  }

  /** Completes calls in random order: `count` of them, or all. */
  async work(count = Infinity): Promise<void> {
    for (let done = 0; done < count; done++) {
      await settle();
      const { pending } = this.world;
      if (pending.length === 0) return;
      must(pending.splice(this.random.below(pending.length), 1)[0], 'in range').run();
    }
  }

  async open(): Promise<void> {
    const missing = [...this.absent];
    this.world.held = true;
    const opening = this.world.open({ missing, lostData: this.lostData });
    let opened: QuorumLog | undefined;
    let failed = false;
    let died = false;
    const out = new Set([...missing, ...this.damaged]);
    void opening.then(
      ({ log }) => (opened = log),
      (thrown: unknown) => {
        failed = true;
        this.demand(died || out.size > this.world.losses, `not opened: ${String(thrown)}`);
      },
    );
    if (this.random.below(6) === 0) {
      // It dies again on the way.
      await this.work(this.random.below(60));
      if (opened === undefined) {
        died = true;
        this.crash();
        return this.open();
      }
    }
    await this.work();
    if (failed) {
      for (const voter of missing) this.toggleAbsent(voter);
      this.crash();
      return this.open();
    }
    const log = must(opened, `the log did not open: ${this.did.join('; ')}`);
    this.log = log;
    this.recoveries++;
    const found = this.world.working.state.data;
    const text = `found [${brief(found)}] of [${brief(this.appended)}], ${this.acknowledged} acknowledged`;
    if (out.size <= this.world.losses) this.demand(log.writable, `read-only without ${[...out].join(',')}: ${log.readOnlyReason ?? ''}`);
    this.demand(
      found.every((each, index) => each === this.appended[index]),
      `no prefix: ${text}`,
    );
    this.led = log.writable;
    if (!log.writable) return;
    this.demand(found.length >= this.acknowledged, `lost what was acknowledged: ${text}`);
    this.appended = [...found];
    this.acknowledged = found.length;
    this.lostData.clear();
    this.noteOnline();
  }

  noteOnline(): void {
    for (const { number, state } of this.log?.voters() ?? []) if (state === 'online') this.damaged.delete(number);
  }

  /** May one more voter be lost? */
  get spare(): boolean {
    const out = new Set([...this.absent, ...this.damaged]);
    for (const { number, state } of this.log?.voters() ?? []) if (state !== 'online') out.add(number);
    return out.size < this.world.losses;
  }

  crash(): void {
    const power = this.random.below(2) === 0;
    this.say(power ? 'power' : 'death');
    this.log = undefined;
    this.world.crash(power);
    if (power)
      // Data of what was not acknowledged may be gone.
      for (const each of this.appended.slice(this.acknowledged)) if (this.random.below(8) === 0) this.lostData.add(each);
  }

  async act(): Promise<void> {
    const { world, random } = this;
    const voter = random.below(world.voterCount) + 1;
    const log = this.log;
    if (log === undefined) return this.open();
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return this.append(log);
      case 4:
      case 5:
        return this.durable(log, true);
      case 6:
        return this.durable(log, false);
      case 7:
        world.clock.advance([100, 1000, 6000][random.below(3)] ?? 0);
        this.say('time');
        return this.work(random.below(2) === 0 ? random.below(20) : Infinity);
      case 8:
        return this.leaveOrReturn(log, voter);
      case 9: {
        const kind = (['write', 'sync', 'syncDirectory', 'preallocate', 'open', 'unlink'] as const)[random.below(6)] ?? 'write';
        if (this.spare) world.medium(voter).failNext(kind, random.below(2) === 0 ? 'EIO' : 'ENOSPC');
        this.say(`${kind} of ${voter} fails`);
        return;
      }
      case 10:
        return this.damage(voter);
      case 11:
        if (random.below(3) > 0) return;
        this.say('close');
        void log.close();
        await this.work();
        this.demand(!log.writable || log.durablePosition === log.head.position, 'closed and not durable');
        world.crash(random.below(2) === 0);
        this.log = undefined;
        return;
      default:
        return this.work(random.below(12));
      case 13:
        await this.work(random.below(12));
        for (const each of world.voters) world.medium(each).clearFaults();
        this.crash();
        if (random.below(3) === 0) this.toggleAbsent(voter);
        return this.open();
    }
  }

  append(log: QuorumLog): void {
    const text = `${++this.counter}${'.'.repeat(this.random.below(3) === 0 ? this.random.below(6000) : 0)}`;
    if (!log.writable || log.reserve(text.length) !== undefined) return;
    this.say(`append ${this.counter}`);
    log.append(Buffer.from(text));
    this.appended.push(text);
  }

  async durable(log: QuorumLog, wait: boolean): Promise<void> {
    // What a log that was opened read-only shows may be less than what was appended.
    const count = this.led ? this.appended.length : 0;
    this.say('durable');
    let ended = false;
    void log.durable(log.head.position).then(
      () => {
        ended = true;
        if (this.log === log) this.acknowledged = Math.max(this.acknowledged, count);
        else assert(count <= this.acknowledged || this.log === undefined, 'acknowledged late');
      },
      () => (ended = true),
    );
    await this.work(wait ? Infinity : this.random.below(8));
    await settle();
    if (wait) this.demand(ended, 'durable() neither resolved nor rejected');
  }

  leaveOrReturn(log: QuorumLog, voter: number): void {
    if (this.absent.has(voter)) {
      this.absent.delete(voter);
      this.say(`${voter} returns`);
      if (this.world.medium(voter).gone) this.world.machine.comeBack(this.world.medium(voter));
      log.setVoterDisk(voter, this.world.openDisk(voter));
    } else if (this.spare || this.random.below(4) === 0) {
      this.absent.add(voter);
      this.say(`${voter} leaves`);
      if (this.random.below(2) === 0) this.world.machine.vanish(this.world.medium(voter));
      log.setVoterDisk(voter, undefined);
    }
  }

  toggleAbsent(voter: number): void {
    if (this.absent.delete(voter)) {
      if (this.world.medium(voter).gone) this.world.machine.comeBack(this.world.medium(voter));
    } else if (this.spare) this.absent.add(voter);
  }

  damage(voter: number): void {
    const { world, random } = this;
    if (!this.spare || this.damaged.size > 0 || this.absent.has(voter)) return;
    const medium = world.medium(voter);
    const logs = medium.paths().filter((path) => path.includes('/log-') && medium.file(path).size > 4200);
    this.damaged.add(voter);
    const how = random.below(4);
    this.say(`damage ${how} to ${voter}`);
    if (how === 0) {
      medium.wipe();
      world.replicas.forget(medium.id);
    } else if (how === 1) world.replicas.damage(medium.id);
    else if (how === 2) {
      const path = logs[random.below(logs.length)];
      if (path !== undefined) medium.flip(path, random.below(Math.min(9000, medium.file(path).size)), random.below(8));
    } else for (const path of medium.paths()) if (random.below(2) === 0) medium.unlink(path);
  }
}

const brief = (texts: readonly string[]): string => texts.map((text) => text.slice(0, 8)).join(' ');

async function run(seed: number): Promise<History> {
  const random = seededRandom(seed);
  const world = await World.fresh([1, 2, 3, 3, 5][random.below(5)] ?? 3, seed);
  const history = new History(world, random);
  for (let action = 0; action < ACTIONS; action++) await history.act();
  // In the end all is well again.
  for (const voter of world.voters) {
    world.medium(voter).clearFaults();
    if (world.medium(voter).gone) world.machine.comeBack(world.medium(voter));
  }
  history.absent.clear();
  history.crash();
  await history.open();
  history.demand(must(history.log, 'open').writable, 'read-only in the end');
  await history.work();
  for (const status of history.log?.voters() ?? [])
    history.demand(status.state === 'online', `voter ${status.number} is ${status.state} in the end: ${status.reason ?? ''}`);
  world.crash(true);
  return history;
}

const only = process.env.SEED;
const seeds = only === undefined ? Array.from({ length: Number(process.env.SEEDS ?? 150) }, (_, index) => index + 1) : [Number(only)];

void t.test('random histories', async (t) => {
  let recoveries = 0;
  for (const seed of seeds)
    try {
      recoveries += (await run(seed)).recoveries;
    } catch (thrown) {
      t.fail(`seed ${seed}: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`);
      return;
    }
  t.comment(`${seeds.length} seeds, ${recoveries} recoveries`);
  t.pass('all promises held');
});
