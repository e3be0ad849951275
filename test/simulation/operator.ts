/**
 * The operator of a pool in simulation: starts, pauses and cancels jobs, and changes the disks, by the requests that the command makes. Answers may come
 * late, or never, when the daemon dies meanwhile; what was answered must stand from then on, whatever happens (I4, I7).
 */
import { seededRandom, type Random } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import type { DiskNumber } from '../../src/base/ids.js';
import { handleDiskRequest, type DiskAnswer, type DiskRequest } from '../../src/daemon/disk-requests.js';
import type { JobAction } from '../../src/daemon/jobs.js';
import type { Pool } from '../../src/daemon/pool.js';
import type { Member } from '../../src/disk/membership.js';
import type { Job } from '../../src/durability/progress.js';
import type { JobOptions } from '../../src/durability/job.js';
import type { Faults } from './faults.js';
import { expect } from './violation.js';
import type { World } from './world.js';

export type JobName = 'scrub' | 'heal' | 'rebalance' | 'check' | 'snapshot' | 'drain';
export type DiskChangeName = 'add' | 'drain' | 'cancelDrain' | 'replace' | 'remove';

/** A pool of more disks is not made larger. */
const DISKS_MAX = 9;
/** How much larger or smaller than the first ones a new disk is. */
const SIZES = [0.5, 1, 1.5, 2];
/** What an operator may be answered on a pool without faults: what is asked for makes no sense now. */
const refusals: ReadonlySet<string> = new Set(['EINVAL', 'EBUSY', 'ENOENT']);
/** … and on one with faults: nothing else that is wrong is more than a disk or the log. */
const excused: ReadonlySet<string> = new Set([
  ...refusals,
  'EIO',
  'ENOSPC',
  'EROFS',
  'ENODEV',
  'ETIMEDOUT',
  'ESTALE',
  'ENXIO',
  'EBADF',
  'EEXIST',
]);

/** What the last answer about a disk said of it. */
interface Promised {
  readonly member: boolean;
  /** It takes new shards; undefined: nothing was said. */
  readonly active?: boolean;
}

export class Operator {
  /** What went wrong with a request. */
  failure: Error | undefined;
  readonly #world: World;
  readonly #faults: Faults;
  readonly #promised = new Map<DiskNumber, Promised>();
  #life = 0;
  #waiting = 0;
  /** A change of the disks is under way. */
  #changing = false;

  constructor(world: World, faults: Faults) {
    this.#world = world;
    this.#faults = faults;
  }

  get busy(): boolean {
    return this.#waiting > 0;
  }

  /** The daemon is gone: nothing that is under way is answered. */
  disconnect(): void {
    this.#life++;
    this.#waiting = 0;
    this.#changing = false;
  }

  /** Asks for something about a job. */
  askJob(name: JobName, action: JobAction, options: JobOptions = {}): void {
    const pool = this.#world.process?.pool;
    if (pool === undefined) return;
    this.#ask(`${name} ${action}`, async () => {
      await pool.jobs.request(name, action, options);
    });
  }

  /** Asks for a change of the disks; one at a time. @returns what was asked, undefined: nothing */
  askDisks(change: DiskChangeName, seed: number): string | undefined {
    const pool = this.#world.process?.pool;
    if (pool === undefined || this.#changing) return undefined;
    const request = this.#diskRequest(pool, change, seededRandom(seed));
    return request === undefined ? undefined : this.#askRequest(pool, request);
  }

  /** Has a disk that will not come back replaced; a witness goes. */
  giveUp({ number, role, state }: Member): void {
    const pool = this.#world.process?.pool;
    if (pool === undefined || this.#changing) return;
    const disk = String(number);
    if (role === 'witness') this.#askRequest(pool, { verb: 'disk-remove', disk, force: true });
    else if (state === 'active') this.#askRequest(pool, { verb: 'disk-replace', disk, directory: this.#world.newDisk(1), force: false });
    else if (state === 'draining') this.#askRequest(pool, { verb: 'disk-remove', disk, force: true });
  }

  remove(number: DiskNumber): void {
    const pool = this.#world.process?.pool;
    if (pool !== undefined && !this.#changing) this.#askRequest(pool, { verb: 'disk-remove', disk: String(number), force: false });
  }

  #diskRequest(pool: Pool, change: DiskChangeName, random: Random): DiskRequest | undefined {
    const { members } = pool.diskSet.membership;
    const data = members.filter(({ role }) => role === 'data');
    const pick = (some: readonly Member[]): string | undefined => some[random.below(some.length)]?.number.toString();
    const active = data.filter(({ state }) => state === 'active');
    const draining = data.filter(({ state }) => state === 'draining');
    const out = active.filter(({ number }) => pool.diskSet.disk(number) === undefined);
    const times = SIZES[random.below(SIZES.length)] ?? 1;
    switch (change) {
      case 'add':
        return data.length >= DISKS_MAX ? undefined : { verb: 'disk-add', directory: this.#world.newDisk(times), zone: null };
      case 'drain':
      case 'cancelDrain': {
        const disk = pick(change === 'drain' ? active : draining);
        return disk === undefined ? undefined : { verb: 'disk-drain', disk, on: change === 'drain' };
      }
      case 'replace': {
        const disk = pick(out.length > 0 ? out : active);
        if (disk === undefined || data.length >= DISKS_MAX) return undefined;
        // An empty one is in the place of the old one already, or it is put elsewhere.
        const directory = this.#faults.takeEmptyPlace(Number(disk)) ?? this.#world.newDisk(times);
        return { verb: 'disk-replace', disk, directory, force: false };
      }
      case 'remove': {
        const disk = pick(draining.length > 0 ? draining : data);
        return disk === undefined ? undefined : { verb: 'disk-remove', disk, force: random.below(2) === 0 };
      }
    }
  }

  #askRequest(pool: Pool, request: DiskRequest): string {
    const named = 'disk' in request ? Number(request.disk) : undefined;
    const where = 'directory' in request ? [request.directory] : [];
    const what = [request.verb, ...(named === undefined ? [] : [named]), ...where].join(' ');
    this.#changing = true;
    // Until it is answered it may have been done or not.
    if (named !== undefined) this.#promised.delete(named);
    const ground = { clock: this.#world.clockOf(pool), checkNew: async () => [] };
    this.#ask(
      what,
      async () => {
        const answer = await handleDiskRequest(pool, request, ground);
        this.#learn(request, named, answer);
      },
      () => (this.#changing = false),
    );
    return what;
  }

  #learn(request: DiskRequest, named: DiskNumber | undefined, { disk, gone }: DiskAnswer): void {
    switch (request.verb) {
      case 'disk-add':
        this.#promised.set(disk.number, { member: true });
        return;
      case 'disk-replace':
        this.#promised.set(disk.number, { member: true });
        return;
      case 'disk-drain':
        if (named !== undefined) this.#promised.set(named, { member: true, active: !request.on });
        return;
      case 'disk-remove':
        if (named !== undefined && gone) this.#promised.set(named, { member: false });
    }
  }

  #ask(what: string, work: () => Promise<void>, done: () => void = () => undefined): void {
    const life = this.#life;
    const world = this.#world;
    this.#waiting++;
    world.count(
      `asked: ${what
        .split(' ')
        .slice(0, what.startsWith('disk-') ? 1 : 2)
        .join(' ')}`,
    );
    world.trace.note(`operator ${what}`);
    work()
      .catch((error: unknown) => {
        if (life !== this.#life) return;
        if (!(error instanceof OperatingError)) this.failure ??= error instanceof Error ? error : new Error(String(error));
        else if (!(world.counts.faults > 0 ? excused : refusals).has(error.code))
          this.failure ??= new Error(`${what}: ${error.code} ${error.message}${world.describe()}`);
        else world.count(`refused: ${what.split(' ')[0] ?? ''} ${error.code}`);
      })
      .finally(() => {
        if (life !== this.#life) return;
        this.#waiting--;
        done();
      });
  }

  /** What was answered stands. */
  checkMembers(): void {
    const { members } = this.#world.membership;
    for (const [number, { member, active }] of this.#promised) {
      const found = members.find((each) => each.number === number);
      const says = `disk ${number} was said to be ${member ? (active === false ? 'draining' : 'a member') : 'gone'}`;
      expect((found !== undefined) === member, 'members', () => `${says} and is ${found?.state ?? 'no member'}`);
      if (active === undefined || found === undefined) continue;
      expect((found.state === 'active') === active, 'members', () => `${says} and is ${found.state}`);
    }
  }

  /** Counts how the runs that are remembered ended, and which of them had something to do. */
  countRuns(): void {
    const { jobs } = this.#world.process?.pool ?? {};
    for (const { kind } of jobs?.all() ?? [])
      for (const { outcome, result } of jobs?.history(kind) ?? []) {
        this.#world.count(`runs: ${kind} ${outcome}`);
        const { movedShards = 0, repairedRecords = 0, healedBlobs = 0 } = (result ?? {}) as Readonly<Record<string, number>>;
        if (movedShards + repairedRecords + healedBlobs > 0) this.#world.count(`runs with something to do: ${kind}`);
      }
  }

  /** A job under way; undefined: none is. */
  underWay(): Job | undefined {
    return this.#world.process?.pool?.jobs.all().find(({ kind }) => this.#world.process?.pool?.jobs.isActive(kind) === true);
  }
}
