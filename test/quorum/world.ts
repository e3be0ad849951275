/**
 * A pool's voters on simulated disks for tests of the quorum log: opens logs over them, lets the test choose the order in which calls
 * complete, crashes, and copies the state of the disks so that one crash can be recovered from in many ways.
 */
import { assert, must } from '../../src/base/assert.js';
import { checksum } from '../../src/base/checksums.js';
import { seededRandom, type Clock } from '../../src/base/clock.js';
import type { Uuid } from '../../src/base/ids.js';
import type { SimulatedDisk, SimulatedOperation } from '../../src/disk/simulated-disk.js';
import type { Survival } from '../../src/disk/simulated-file.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import type { SimulatedMedium } from '../../src/disk/simulated-medium.js';
import { acknowledgementsFor } from '../../src/quorum/acknowledgements.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import { initialiseVoters } from '../../src/quorum/open.js';
import type { OpenedLog, QuorumLog, QuorumOptions } from '../../src/quorum/quorum-log.js';
import { openWithMutations } from '../../src/quorum/recovery.js';
import { MemoryReplicas, MemoryWorking } from './memory-machine.js';

export const poolId = '0123456789abcdef0123456789abcdef' as Uuid;
export const JOURNAL_BYTES = 2 ** 15;

/** Lets promises run until nothing moves without I/O. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Appends an entry; there must be room. */
export function put(log: QuorumLog, text: string): number {
  assert(log.reserve(text.length) === undefined, 'there is room');
  return log.append(Buffer.from(text));
}

/** Lets promises and calls on disks run until all is quiet. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await settle();
}

/** A clock whose timers run only when the test says so. */
export class ManualClock implements Clock {
  ms = 0;
  #timers: { at: number; action: () => void }[] = [];

  monotonicMs(): number {
    return this.ms;
  }

  now(): { seconds: number; nanoseconds: number } {
    return { seconds: 0, nanoseconds: 0 };
  }

  after(delayMs: number, action: () => void): () => void {
    const timer = { at: this.ms + delayMs, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  yield(): Promise<void> {
    return Promise.resolve();
  }

  /** Time passes; what is due runs. */
  advance(ms: number): void {
    this.ms += ms;
    const due = this.#timers.filter((timer) => timer.at <= this.ms);
    this.#timers = this.#timers.filter((timer) => timer.at > this.ms);
    for (const timer of due) timer.action();
  }
}

/** A call that waits to be completed. */
export interface Pending {
  readonly voter: number;
  readonly operation: SimulatedOperation;
  readonly run: () => void;
}

export interface OpenChoices {
  /** Voters that are not there. */
  readonly missing?: readonly number[];
  readonly mutations?: Mutations;
  /** Payloads whose data is not there. */
  readonly lostData?: ReadonlySet<string>;
  readonly options?: Partial<QuorumOptions>;
}

export class World {
  readonly machine: SimulatedMachine;
  clock = new ManualClock();
  replicas = new MemoryReplicas();
  /** Shared memory: a power cut replaces it. */
  journal = journalMemory(JOURNAL_BYTES);
  working = new MemoryWorking();
  pending: Pending[] = [];
  /** False: calls complete at once in the order of their making; true: they wait in `pending`. */
  held = false;
  boot = 1;
  messages: string[] = [];

  constructor(
    readonly voterCount: number,
    seed = 1,
  ) {
    this.machine = new SimulatedMachine(seededRandom(seed), (operation, run) => {
      if (this.held) this.pending.push({ voter: Number(operation.disk.slice(1)), operation, run });
      else queueMicrotask(run);
    });
    for (let voter = 1; voter <= voterCount; voter++)
      this.machine.addDisk(directory(voter), { id: String(voter).padStart(32, '0') as Uuid });
  }

  /** A world with fresh voters. */
  static async fresh(voterCount: number, seed = 1): Promise<World> {
    const world = new World(voterCount, seed);
    const voters = world.voters.map((number) => ({ number, disk: world.openDisk(number) }));
    await initialiseVoters({ poolId, voters, replicas: world.replicas });
    for (const { disk } of voters) await disk.close();
    return world;
  }

  get voters(): number[] {
    return Array.from({ length: this.voterCount }, (_, index) => index + 1);
  }

  /** How many may be lost. */
  get losses(): number {
    return Math.floor((this.voterCount - 1) / 2);
  }

  medium(voter: number): SimulatedMedium {
    return this.machine.medium(directory(voter));
  }

  openDisk(voter: number): SimulatedDisk {
    return this.machine.open(directory(voter), false);
  }

  options({ missing = [], lostData, options = {} }: OpenChoices = {}): QuorumOptions {
    return {
      poolId,
      clock: this.clock,
      voters: this.voters.map((number) => ({ number, disk: missing.includes(number) ? undefined : this.openDisk(number) })),
      acknowledgements: acknowledgementsFor(this.voterCount, this.losses),
      working: this.working,
      replicas: this.replicas,
      journal: memoryJournal(this.journal, { poolId, bootId: String(this.boot) }),
      commitIntervalMs: 1000,
      markIntervalMs: 0,
      allVotersAtOnce: true,
      syncData: () => Promise.resolve(true),
      verifyEntry: (entry) => Promise.resolve(lostData?.has(Buffer.from(entry.payload).toString('utf8')) !== true),
      log: (level, message) => {
        this.messages.push(`${level}: ${message}`);
        if (this.messages.length > 200) this.messages.shift();
      },
      ...options,
    };
  }

  open(choices: OpenChoices = {}): Promise<OpenedLog> {
    return openWithMutations(this.options(choices), choices.mutations ?? {});
  }

  /** The daemon dies, or the power goes; a new working replica then, and an empty journal. */
  crash(power: boolean, survival?: Survival): void {
    this.machine.crash(survival === undefined ? { power } : { power, survival });
    // Timers of the dead process do not run.
    this.clock = new ManualClock();
    this.pending = [];
    this.held = false;
    if (!power) return;
    this.boot++;
    this.journal = journalMemory(JOURNAL_BYTES);
    this.working = new MemoryWorking();
  }

  /** Completes held calls of one voter, or of all, until none is left or `until` says so. */
  async drive(voter: number | undefined, until: (pending: readonly Pending[]) => boolean = () => false): Promise<void> {
    for (;;) {
      await settle();
      const index = this.pending.findIndex((each) => voter === undefined || each.voter === voter);
      if (index < 0 || until(this.pending)) return;
      this.pending.splice(index, 1)[0]?.run();
    }
  }

  /** The same disks, shared memory and working replica once more, without open handles. */
  copy(): World {
    return this.copyInto(new World(this.voterCount));
  }

  protected copyInto<W extends World>(copy: W): W {
    for (const voter of this.voters) copy.machine.mount(directory(voter), this.medium(voter).copy());
    copy.replicas = this.replicas.copy();
    copy.boot = this.boot;
    copy.journal = this.journal.slice(0);
    copy.working.state = { ...this.working.state };
    return copy;
  }

  /** What a voter holds, by content, without what tells it from other voters: equal ones are interchangeable. */
  fingerprint(voter: number, durable = false): string {
    const medium = this.medium(voter);
    const parts: Buffer[] = [];
    for (const path of medium.paths().filter((each) => each.startsWith('quorum/'))) {
      const file = medium.file(path);
      parts.push(Buffer.from(`${path}\n`), masked(file.read(0, 2 ** 30)));
      if (durable) parts.push(masked(file.readDurable(0, 2 ** 30)), Buffer.from(file.dirty ? 'dirty' : 'clean'));
    }
    const replica = this.replicas.of(medium.id).point;
    parts.push(Buffer.from(`${replica?.position ?? -1}`), Buffer.from(replica?.chain ?? []));
    return checksum(...parts).toString('hex');
  }
}

export const directory = (voter: number): string => `v${voter}`;

/** Without the voter's number and the checksums over it (offsets: src/quorum/README.md). */
function masked(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let at = 0; at + 512 <= copy.length; at += 4096) {
    if (copy.subarray(at, at + 5).toString('latin1') !== 'OSTRA') continue;
    copy.fill(0, at + 12, at + 16);
    const end = Math.min(at + 4096, copy.length);
    copy.fill(0, end - 16, end);
  }
  return copy;
}

/** All ways to choose `count` of `from`. */
export function subsets<T>(from: readonly T[], count: number): T[][] {
  if (count === 0) return [[]];
  if (from.length < count) return [];
  const [first, ...rest] = from;
  return [...subsets(rest, count - 1).map((some) => [must(first, 'not empty'), ...some]), ...subsets(rest, count)];
}
