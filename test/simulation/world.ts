/**
 * A machine with a pool on it: simulated disks, what outlives a process and what outlives a boot, and the processes that own the pool, one after the
 * other. A process runs the real `openPool` over an environment in which nothing is real. Recovery is checked against the trace here (I4); everything
 * that users see is checked by model.ts.
 */
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { newUuid, type DiskNumber } from '../../src/base/ids.js';
import { KiB, MiB } from '../../src/base/limits.js';
import { formatCode, planVoters, type Code } from '../../src/daemon/code.js';
import type { Floors, PoolEnvironment } from '../../src/daemon/environment.js';
import { initialisePool } from '../../src/daemon/initialise-pool.js';
import { openPool, type Pool } from '../../src/daemon/pool.js';
import { following, type PoolDefinition } from '../../src/daemon/pool-definition.js';
import type { Membership } from '../../src/disk/membership.js';
import type { SimulatedDisk, SimulatedOperation } from '../../src/disk/simulated-disk.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import type { SimulatedMedium } from '../../src/disk/simulated-medium.js';
import { simulatedOpener } from '../../src/disk/simulated-opener.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import { createNamespace } from '../../src/namespace/pool-namespace.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import { openQuorumLog } from '../../src/quorum/open.js';
import type { OpenedLog, QuorumLog, QuorumOptions } from '../../src/quorum/quorum-log.js';
import { createStorage } from '../../src/storage/create-storage.js';
import { lateIndex } from '../index/late-index.js';
import type { Mutation } from './mutations.js';
import { has, SimulatedReplicas, SimulatedWorking, type ReplicaState, type Rows } from './replicas.js';
import { difference, Trace } from './trace.js';
import { expect, Violation } from './violation.js';
import { Watch } from './watch.js';
import { ProcessClock, VirtualTime } from './virtual-time.js';

export interface Shape {
  readonly disks: number;
  readonly code: Code;
  readonly durability: 'interval' | 'close';
  /** Of each disk; of those that are added later about as much. */
  readonly capacityMiB?: number;
}

/** Small, so that it fills up; the longest entry takes a quarter of it. */
const JOURNAL_RING_BYTES = 1 * MiB;
const SEGMENT_BYTES_MAX = 512 * KiB;
/** Of blobs as large as they become here. */
export const SHARD_BYTES_MAX = 32 * KiB;
/** Room for a few hundred of the histories' files on each disk. */
const CAPACITY_MIB = 512;
/** Opening takes seconds even with stalling disks; more than this is a hang. */
const OPEN_LIMIT_MS = 30 * 60_000;

const directoryOf = (number: DiskNumber): string => `/disk${number}`;

/** One process that owns, or believes to own, the pool. */
export class PoolProcess {
  readonly disks = new Set<SimulatedDisk>();
  readonly clock: ProcessClock;
  working: SimulatedWorking | undefined;
  log: QuorumLog | undefined;
  pool: Pool | undefined;
  /** What it said. */
  readonly messages: string[] = [];
  /** Another one has taken over. */
  fenced = false;
  /** How much of the log that one found: what is behind it is gone. */
  leftPosition = Infinity;

  constructor(
    time: VirtualTime,
    /** Shared memory of its boot. */
    readonly journal: ArrayBuffer,
    readonly bootId: string,
    readonly host: number,
  ) {
    this.clock = new ProcessClock(time);
  }
}

export class World {
  readonly time = new VirtualTime();
  readonly trace = new Trace();
  readonly machine: SimulatedMachine;
  readonly replicas = new SimulatedReplicas();
  readonly watch = new Watch();
  readonly random: Random;
  membership: Membership;
  definition: PoolDefinition;
  /** The one that users talk to. */
  process: PoolProcess | undefined;
  /** What must not be lost by the death of the daemon; what must not be lost by a power cut. */
  committedPosition = 0;
  durablePosition = 0;
  /** How much of what users did is left by the recoveries since they were last asked. */
  #leftPosition = Infinity;
  readonly counts = { crashes: 0, powerCuts: 0, faults: 0, calls: 0, recoveries: 0, cuts: 0 };
  /** How often each thing was done or happened. */
  readonly tally = new Map<string, number>();
  /** Directories of all disks that ever belonged to the pool. */
  readonly #directories = new Map<DiskNumber, string>();
  #newDirectories = 0;
  #boot = 1;
  /** Somebody set a quota in this history: a refusal, or a write that is lost later, may be due to it. */
  quotas = false;
  #thin = false;
  /** Where the next process runs. */
  #host = 1;
  #journal = journalMemory(JOURNAL_RING_BYTES);
  #workingLeft: ReplicaState | undefined;
  #unfinishedRecoveries = 0;
  /** Goes on until the next one leads. */
  #rival: PoolProcess | undefined;

  constructor(
    readonly shape: Shape,
    readonly seed: number,
    readonly mutation: Mutation = {},
  ) {
    this.random = seededRandom(seed ^ 0x2545f491);
    this.machine = new SimulatedMachine(seededRandom(seed ^ 0x5eed), (operation, run) => {
      this.#schedule(operation, run);
    });
    const ids = seededRandom(seed);
    const { disks, code } = shape;
    const plan = planVoters(
      code,
      Array.from({ length: disks }, () => undefined),
      0,
    );
    const members = Array.from({ length: disks + (plan.ownWitness ? 1 : 0) }, (_, index) => ({
      number: index + 1,
      id: newUuid(ids),
      role: index < disks ? ('data' as const) : ('witness' as const),
      state: 'active' as const,
      voter: index >= disks || plan.data.includes(index),
      zone: undefined,
      directory: directoryOf(index + 1),
    }));
    this.membership = {
      epoch: 0,
      version: 1,
      poolId: newUuid(ids),
      poolName: 'p',
      k: code.k,
      m: code.m,
      lastNumber: members.length,
      members,
    };
    this.definition = {
      version: 1,
      name: 'p',
      poolId: this.membership.poolId,
      code: formatCode(code),
      members: members.map(({ number, id, role, directory }) => ({ number, id, role, directory })),
      settings: { durability: shape.durability },
      lastMountpoint: null,
    };
    this.#follow(this.membership);
  }

  /** Something was done, or happened. */
  count(what: string, times = 1): void {
    if (times > 0) this.tally.set(what, (this.tally.get(what) ?? 0) + times);
  }

  /** As the daemon keeps the pool's definition. */
  #follow(membership: Membership): void {
    this.membership = membership;
    this.definition = following(this.definition, membership);
    for (const { number, directory } of membership.members) this.#directories.set(number, directory);
  }

  /** A disk that hangs keeps what it was asked; others answer in their own time. */
  #schedule({ disk, kind, path }: SimulatedOperation, run: () => void): void {
    this.counts.calls++;
    const { random } = this;
    const slow = random.below(64) === 0 ? 20 : 1;
    const delayMs = slow * (kind.startsWith('sync') ? 0.5 + random.below(6000) / 1000 : 0.02 + random.below(600) / 1000);
    this.time.after(delayMs, () => {
      this.trace.note(`${this.time.nowMs} ${disk} ${kind} ${path}`);
      run();
    });
  }

  medium(number: DiskNumber): SimulatedMedium {
    return this.machine.medium(this.directory(number));
  }

  directory(number: DiskNumber): string {
    return must(this.#directories.get(number), `disk ${number}`);
  }

  /** An empty disk, so many times as large as those that the pool began with. Returns its directory. */
  newDisk(times: number): string {
    const directory = `/new${++this.#newDirectories}`;
    this.machine.addDisk(directory, { capacityBytes: Math.floor(this.#capacityBytes * times) });
    return directory;
  }

  get #capacityBytes(): number {
    return (this.shape.capacityMiB ?? CAPACITY_MIB) * MiB;
  }

  /** The clock of the process that has this pool open. */
  clockOf(pool: Pool): ProcessClock {
    return must(this.process?.pool === pool ? this.process : this.#rival, 'it is open in one').clock;
  }

  /** Makes the pool. */
  async create(): Promise<void> {
    for (const { directory, id } of this.membership.members) this.machine.addDisk(directory, { capacityBytes: this.#capacityBytes, id });
    const process = new PoolProcess(this.time, this.#journal, 'init', this.#host);
    const { clock, random, opener, replicas } = this.#environment(process);
    await this.within(
      initialisePool({ clock, random, opener, replicas }, this.membership, () => undefined),
      OPEN_LIMIT_MS,
      'making the pool',
    );
    process.clock.die();
  }

  /** Begins to open the pool; the promise is settled by letting time pass. */
  open(readOnly = false): { readonly process: PoolProcess; readonly opening: Promise<Pool> } {
    const process = new PoolProcess(this.time, this.#journal, `boot ${this.#boot}`, this.#host);
    this.process = process;
    this.counts.recoveries++;
    this.#unfinishedRecoveries++;
    const environment = this.#environment(process);
    const opening = openPool({
      environment,
      definition: this.definition,
      readOnly,
      log: (level, message) => {
        process.messages.push(`${this.time.nowMs.toFixed(1)} ${level}: ${message}`);
        this.trace.note(message);
      },
      progress: () => undefined,
      onInvalidate: () => undefined,
      membershipChanged: async (membership) => {
        if (!process.fenced) this.#follow(membership);
      },
    }).then((pool) => {
      process.pool = pool;
      if (!process.fenced) this.#follow(pool.diskSet.membership);
      return pool;
    });
    return { process, opening };
  }

  /** Opens the pool and waits for it. */
  async start(readOnly = false): Promise<Pool> {
    return this.within(this.open(readOnly).opening, OPEN_LIMIT_MS, 'opening the pool');
  }

  /** The process ends without a word; with `power` so does everything that is not synced; with `enclosure` what is not synced on disks alone. */
  crash(power: boolean, enclosure = false): void {
    const { process } = this;
    this.counts.crashes++;
    if (power) this.counts.powerCuts++;
    if (process !== undefined) {
      this.#remember(process);
      process.clock.die();
      this.#workingLeft = process.working?.kept ?? this.#workingLeft;
    }
    this.machine.crash({ power, process: process?.disks ?? new Set() });
    this.process = undefined;
    if (enclosure) this.#loseCaches();
    this.#thin ||= enclosure;
    if (power) this.#reboot();
    if (power || enclosure) this.committedPosition = this.durablePosition;
  }

  /**
   * Did all disks lose what was not synced, and are there entries that recovery kept with fewer shards than they should have? Until these are healed no more
   * is promised to survive.
   */
  get thin(): boolean {
    const rows = this.process?.pool === undefined ? undefined : this.process.working?.rows();
    if (rows !== undefined && !has(rows, 'm')) this.#thin = false;
    return this.#thin;
  }

  /** All disks are without power for a moment, while the machine goes on: more of them than the code allows lose what was not synced. */
  #loseCaches(): void {
    for (const { number } of this.membership.members) {
      const medium = this.medium(number);
      if (medium.gone) continue;
      this.machine.vanish(medium);
      this.machine.comeBack(medium);
    }
  }

  /** Closes the pool in order. */
  async stop(): Promise<void> {
    const process = must(this.process, 'a running process');
    await this.within(must(process.pool, 'an open pool').close(), OPEN_LIMIT_MS, 'closing the pool');
    this.#remember(process);
    process.clock.die();
    this.#workingLeft = process.working?.kept;
    this.process = undefined;
  }

  /** Another host takes the pool over, while the process here goes on and does not know. Its clients' calls are nobody's from now on. */
  takeOver(): PoolProcess {
    const process = must(this.process, 'a running process');
    this.#host++;
    this.process = undefined;
    this.#rival = process;
    // A step of a replica that is under way may disturb the next one for a while.
    this.counts.faults++;
    this.#reboot();
    this.committedPosition = this.durablePosition;
    return process;
  }

  /** Ends a process that was taken over. */
  endFenced(process: PoolProcess): void {
    const { log, leftPosition } = process;
    const durable = log?.durablePosition ?? 0;
    expect(
      durable <= leftPosition,
      'I9 one owner',
      () => `a fenced process made ${durable} entries durable, its successor found ${leftPosition}`,
    );
    process.clock.die();
    this.machine.crash({ power: false, process: process.disks });
    if (this.#rival === process) this.#rival = undefined;
  }

  #reboot(): void {
    this.#boot++;
    this.#journal = journalMemory(JOURNAL_RING_BYTES);
    this.#workingLeft = undefined;
  }

  /** What the process had told its users. */
  #remember(process: PoolProcess): void {
    const { log, fenced } = process;
    if (log === undefined || fenced) return;
    this.durablePosition = Math.max(this.durablePosition, log.durablePosition);
    if (log.writable && process !== this.#rival) this.committedPosition = Math.max(this.committedPosition, log.head.position);
  }

  /** Lets time pass until `work` settles. */
  async within<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
    let outcome: { value: T } | { error: unknown } | undefined;
    work.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error }),
    );
    await this.time.run(() => outcome !== undefined, limitMs);
    const settled = outcome;
    expect(settled !== undefined, 'progress', () => `${what} has not come back for ${limitMs / 1000} s${this.describe()}`);
    if ('error' in settled) throw settled.error;
    return settled.value;
  }

  /** The position up to which the log kept what users did before the crashes that came since this was asked last. */
  takeLeftPosition(): number {
    const position = this.#leftPosition;
    this.#leftPosition = Infinity;
    return position;
  }

  /** The last words of the process, for a report. */
  describe(): string {
    return `\n  ${(this.process?.messages ?? []).slice(-12).join('\n  ')}`;
  }

  #environment(process: PoolProcess): PoolEnvironment {
    const { clock } = process;
    const opener = simulatedOpener({
      open: (directory, lock) => {
        const disk = this.machine.open(directory, lock, process.host);
        process.disks.add(disk);
        return disk;
      },
    });
    return {
      clock,
      random: seededRandom(this.random.below(2 ** 31)),
      opener: this.mutation.opener?.(this.watch.opener(opener, process)) ?? this.watch.opener(opener, process),
      stripeIo: this.mutation.stripeIo ?? new SimulatedStripeIo(),
      replicas: this.replicas.store(),
      owner: { uid: 0, gid: 0, pid: 1 },
      openWorkingReplica: async () => {
        process.working = new SimulatedWorking(this.#workingLeft);
        return process.working;
      },
      openJournal: async () => {
        const journal = memoryJournal(process.journal, { poolId: this.membership.poolId, bootId: process.bootId });
        return this.trace.journal(journal, (entry) => {
          if (process.fenced) return;
          this.trace.append(entry);
          this.watch.appended(entry, process, () => this.trace.rows(entry.point.position));
        });
      },
      makeWitness: async () => this.newDisk(1),
      removeJournal: async () => {
        // The next one begins with `reset`.
      },
      floors: this.#floors(process),
    };
  }

  #floors(process: PoolProcess): Partial<Floors> {
    const { mutation } = this;
    return {
      openQuorumLog: async (options: QuorumOptions) => {
        const opened = await (mutation.openQuorumLog ?? openQuorumLog)(mutation.quorumOptions?.(options) ?? options);
        this.#recovered(process, opened);
        return opened;
      },
      createStorage: async (options) => {
        const { k } = this.shape.code;
        const small = { ...options, segmentBytesMax: SEGMENT_BYTES_MAX, blobBytesMax: k * SHARD_BYTES_MAX };
        const storage = await createStorage(mutation.storageOptions?.(small) ?? small);
        return mutation.storage?.(storage, small) ?? storage;
      },
      createNamespace: async (options) => {
        const index = mutation.index?.(options.index) ?? options.index;
        const namespace = await createNamespace({
          ...options,
          // In every other history nothing comes at once: then others come in between.
          index: this.seed % 2 === 1 ? lateIndex(index) : index,
          settings: {
            commitIntervalMs: options.settings.commitIntervalMs,
            get durability() {
              return options.settings.durability;
            },
            uploadBytesMax: 512 * KiB,
            readCacheBytesMax: 256 * KiB,
          },
        });
        return mutation.namespace?.(namespace) ?? namespace;
      },
    };
  }

  /** The log is open: what it recovered must be a prefix of the history that holds everything that was promised (I4). */
  #recovered(process: PoolProcess, { log, cutEntries }: OpenedLog): void {
    process.log = log;
    this.counts.cuts += cutEntries;
    if (cutEntries > 0) this.count('recoveries that cut entries');
    if (this.#unfinishedRecoveries > 1) this.count('recoveries after one that was cut off');
    for (const { state } of log.voters()) if (state === 'broken') this.count('voters found broken by a recovery');
    const working = must(process.working, 'it was opened');
    // Until now a rival may have made something durable, and told its users; from now on it may not.
    if (this.#rival !== undefined) this.#remember(this.#rival);
    expect(log.writable, 'I7 m losses', () => `the pool is read-only: ${log.readOnlyReason ?? ''}${this.describe()}`);
    // The first entry of the epoch comes behind what was recovered.
    const end = log.head.position - 1;
    const position = this.#prefixThatIs(working.rows(), end);
    expect(position >= this.durablePosition, 'I4 durable', `recovered ${position} entries, ${this.durablePosition} were durable`);
    expect(position >= this.committedPosition, 'I4 committed', `recovered ${position} entries, ${this.committedPosition} were committed`);
    this.#leftPosition = Math.min(this.#leftPosition, position);
    this.trace.cut(position);
    while (this.trace.position <= end) this.trace.lead();
    if (this.#rival !== undefined) {
      this.#rival.fenced = true;
      this.#rival.leftPosition = position;
    }
    this.#rival = undefined;
    this.#unfinishedRecoveries = 0;
    this.committedPosition = this.durablePosition = log.durablePosition;
  }

  /** The longest prefix of the history that has these rows. Recoveries that did not come to their end may have left their first entries behind it. */
  #prefixThatIs(rows: Rows, end: number): number {
    let differing: string | undefined;
    for (let position = Math.min(end, this.trace.position); position >= end - this.#unfinishedRecoveries && position >= 0; position--) {
      const found = difference(this.trace.rows(position), rows);
      if (found === undefined) return position;
      differing ??= found;
    }
    throw new Violation('I4 prefix', `recovered ${end} entries of ${this.trace.position}: ${differing ?? 'more than there were'}`);
  }

  /** No durable replica is ahead of what is durable, and each is a state of the history. */
  checkReplicas(): void {
    const log = this.process?.log;
    for (const { number, id } of this.membership.members) {
      const state = this.replicas.states.get(id);
      if (state === undefined || state === 'damaged') continue;
      const { position } = state.point;
      const durable = log?.writable === true ? log.durablePosition : this.trace.position;
      if (position > durable) throw new Violation('I4 durable', `the replica of voter ${number} is at ${position}, durable is ${durable}`);
    }
  }
}
