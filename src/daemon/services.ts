/**
 * What goes on in the background of a writable pool: once after an unclean stop the search for stranded records (I10); recording the damage that readers
 * find; starting heal, drain and the like when there is something for them to do (they run as jobs, see jobs.ts); and always collector and compactor. A disk that
 * comes or goes, a change of the membership and found damage wake it. Started when the pool is open, stopped before it closes.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { asOperatingError, type OperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { Membership } from '../disk/membership.js';
import { Collector } from '../durability/collector.js';
import { Drain, type DrainResult } from '../durability/drain.js';
import { Compactor } from '../durability/compaction.js';
import { Heal } from '../durability/heal.js';
import { freeStranded } from '../durability/orphans.js';
import { Rebalance } from '../durability/rebalance.js';
import { Scrub } from '../durability/scrub.js';
import { recordEndangered } from '../durability/survey.js';
import type { IndexStore } from '../index/index-store.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import type { DamageReport, Storage } from '../storage/storage.js';
import type { JobRunner } from './jobs.js';
import type { Log } from './logger.js';

/** Mounting and the first reads come first. */
const FIRST_PAUSE_MS = 3000;
/** What came meanwhile is handled together. */
const GATHER_MS = 1000;
/** How often a look is taken when nothing wakes it: changes of the membership have no listeners of ours. */
const LOOK_MS = 5000;
/** Endangered blobs that could be rebuilt are tried again so often when no disk came or went. */
const HEAL_RETRY_MS = 600_000;
/** While scrub runs, heal waits so long between two runs: each ends with a count of all blobs. */
const HEAL_IN_SCRUB_MS = 60_000;
/** The search for stranded records, if it failed, is tried again so often: it reads through all segments. */
const SWEEP_RETRY_MS = 600_000;
/** Damaged blobs that wait for being recorded. What does not fit is found by the next reader. */
const DAMAGED_BLOBS_MAX = 4096;

/** The record itself is bad, or cannot be read (a bad sector). Other codes say that the disk is, which takes it out as a whole. */
const BAD_RECORD: ReadonlySet<string> = new Set(['EBADMSG', 'ENODATA', 'EIO']);

export interface ServicesOptions {
  readonly index: IndexStore;
  readonly storage: Storage;
  readonly namespace: PoolNamespace;
  readonly diskSet: DiskSet;
  readonly jobs: JobRunner;
  readonly clock: Clock;
  readonly log: Log;
  /** The last session did not end cleanly. */
  readonly strandedPossible: boolean;
}

/** A service that failed and will try again. */
export interface Trouble {
  readonly service: string;
  readonly error: OperatingError;
}

export class Services {
  readonly #options: ServicesOptions;
  readonly #collector: Collector;
  readonly #compactor: Compactor;
  readonly #heal: Heal;
  readonly #drain: Drain;
  readonly #damaged = new Map<BlobId, Set<number>>();
  #membership: Membership;
  #strandedPossible: boolean;
  /** A disk left in this session: what was freed meanwhile lies in segments of this epoch, which only the next one searches. */
  #diskLeft = false;
  /** The search for stranded records shall run again, not before this time. */
  #sweepWanted: boolean;
  #sweepFromMs = -Infinity;
  /** What failed when it was last tried, by name. */
  readonly #failures = new Map<string, OperatingError>();
  #healWanted = true;
  /** How often that was said: a disk may come back while it is looked whether there is something to heal. */
  #healWishes = 0;
  /** Also what was found bad so often that a rebuild takes luck. */
  #doubtsWanted = true;
  /** Also where the table of endangered blobs does not ask for it: all blobs have to be looked at. */
  #countWanted: boolean;
  #healTriedMs = -Infinity;
  #drainWanted = true;
  /** Scrub has come to its end and waits for the repair of what it found. */
  #scrubWaits = false;
  #stopped = false;
  #loop: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(options: ServicesOptions) {
    const { diskSet, namespace, jobs } = options;
    this.#options = options;
    this.#strandedPossible = options.strandedPossible;
    this.#sweepWanted = options.strandedPossible;
    this.#membership = diskSet.membership;
    this.#countWanted = this.#membership.members.some(({ state }) => state === 'failed');
    this.#collector = new Collector(options);
    this.#compactor = new Compactor({ ...options, disks: diskSet, usage: namespace.activity });
    this.#heal = new Heal({ ...options, disks: diskSet, usage: namespace.activity });
    jobs.register(this.#heal);
    const movers = { ...options, disks: diskSet, usage: namespace.activity };
    this.#drain = new Drain(movers);
    jobs.register(this.#drain);
    jobs.register(new Rebalance(movers));
    jobs.register(this.#newScrub());
    diskSet.onChange((_, disk) => {
      // What was freed while a disk was out still lies on it.
      this.#strandedPossible = true;
      this.#diskLeft ||= disk === undefined;
      if (disk === undefined) return;
      this.#sweepWanted = true;
      this.#sweepFromMs = -Infinity;
      this.#wantHeal();
      // What was not there when it was read, a moment before the disk was known to be out, counts as bad until somebody looks again.
      this.#doubtsWanted = true;
      this.#drainWanted = true;
      this.#wake();
    });
  }

  #newScrub(): Scrub {
    const { diskSet, namespace, jobs } = this.#options;
    return new Scrub({
      ...this.#options,
      disks: diskSet,
      usage: namespace.activity,
      repair: async (blob, shard) => {
        await recordEndangered(this.#options.index, new Map([[blob, [shard]]]));
        this.#scrubWaits = false;
        this.#wantHeal();
      },
      isRepairing: () => {
        if (!this.#scrubWaits) this.#wake();
        this.#scrubWaits = true;
        return this.#healWanted || jobs.isActive('heal');
      },
      onStranded: () => {
        this.#strandedPossible = true;
        this.#sweepWanted = true;
      },
    });
  }

  start(): void {
    this.#collector.start();
    this.#options.namespace.space.reclaimer = () => this.#collector.reclaim();
    this.#compactor.start();
    this.#loop = this.#run();
  }

  /** A reader or scrub found a bad shard. */
  damaged({ blob, shard, code }: Pick<DamageReport, 'blob' | 'shard' | 'code'>): void {
    if (!BAD_RECORD.has(code)) return;
    const shards = this.#damaged.get(blob);
    if (shards !== undefined) shards.add(shard);
    else if (this.#damaged.size < DAMAGED_BLOBS_MAX) this.#damaged.set(blob, new Set([shard]));
    this.#wake();
  }

  /** Stops after the steps under way; jobs go on with the next process. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#options.jobs.stop();
    await this.#compactor.stop();
    await this.#collector.stop();
    await this.#loop;
  }

  /** May there be records on the disks that nothing knows of? */
  get strandedPossible(): boolean {
    return this.#strandedPossible || this.#diskLeft || this.#options.storage.leavesRecords || this.#offline() > 0;
  }

  /** What does not go on as it should, for the operator (I8). */
  troubles(): Trouble[] {
    const found = [...this.#failures].map(([service, error]) => ({ service, error }));
    const { failure, waitingBlobs } = this.#collector.status();
    const collection = waitingBlobs > 0 ? `giving back the space of ${waitingBlobs} deleted blobs` : 'collection of freed space';
    if (failure !== undefined) found.push({ service: collection, error: failure });
    if (this.#compactor.failure !== undefined) found.push({ service: 'compaction', error: this.#compactor.failure });
    return found;
  }

  #offline(): number {
    return this.#options.diskSet.members().filter(({ member, disk }) => member.role === 'data' && disk === undefined).length;
  }

  async #run(): Promise<void> {
    await this.#pause(FIRST_PAUSE_MS);
    while (!this.#stopped) {
      if (this.#sweepWanted && this.#options.clock.monotonicMs() >= this.#sweepFromMs)
        await this.#attempt('the search for stranded records', () => this.#sweep());
      await this.#attempt('recording damage', () => this.#recordDamage());
      this.#lookAtMembership();
      await this.#attempt('starting heal', () => this.#startHeal());
      await this.#attempt('starting drain', () => this.#startDrain());
      if (this.#damaged.size === 0) await this.#pause(LOOK_MS);
      // Reports and disks come in bursts.
      await this.#pause(GATHER_MS);
    }
  }

  /** Waits until something happens, at most so long. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      let cancel: Cancel = () => undefined;
      const done = (): void => {
        cancel();
        resolve();
      };
      this.#wake = done;
      if (this.#stopped) resolve();
      else cancel = this.#options.clock.after(ms, done);
    });
  }

  /** A service that fails says so, and is tried again in its time. */
  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#stopped) return;
    try {
      await work();
      this.#failures.delete(what);
    } catch (thrown) {
      const error = asOperatingError(thrown);
      this.#options.log('warn', `${what} stopped: ${error.message}`, { code: error.code });
      this.#failures.set(what, error);
    }
  }

  async #sweep(): Promise<void> {
    const { diskSet } = this.#options;
    this.#sweepWanted = false;
    const before = diskSet.members().map(({ disk }) => disk);
    try {
      await freeStranded({ ...this.#options, stopped: () => this.#stopped });
    } catch (error) {
      // Fails closed: what was not seen is not judged. A disk that comes back makes it begin at once.
      this.#sweepWanted = true;
      this.#sweepFromMs = this.#options.clock.monotonicMs() + SWEEP_RETRY_MS;
      throw error;
    }
    const same = diskSet.members().every(({ disk }, index) => disk !== undefined && disk === before[index]);
    if (!this.#stopped && same) this.#strandedPossible = false;
  }

  async #recordDamage(): Promise<void> {
    if (this.#damaged.size === 0) return;
    const found = new Map(this.#damaged);
    this.#damaged.clear();
    await recordEndangered(this.#options.index, found);
    this.#wantHeal();
  }

  /** Disks that were declared failed, or removed, take shards with them that no row speaks of yet. */
  #lookAtMembership(): void {
    const { membership } = this.#options.diskSet;
    if (membership === this.#membership) return;
    const staying = (number: number): boolean => membership.members.some((now) => now.number === number && now.state !== 'failed');
    this.#countWanted ||= this.#membership.members.some(
      ({ number, role, state }) => role === 'data' && state !== 'failed' && !staying(number),
    );
    this.#wantHeal();
    this.#drainWanted = true;
    this.#membership = membership;
  }

  async #startHeal(): Promise<void> {
    const { jobs, clock } = this.#options;
    const triedMs = clock.monotonicMs() - this.#healTriedMs;
    const late = triedMs >= HEAL_RETRY_MS;
    if (jobs.isActive('scrub') && !this.#scrubWaits && triedMs < HEAL_IN_SCRUB_MS) return;
    if (jobs.isActive('heal') || !(this.#healWanted || this.#countWanted || late)) return;
    this.#healTriedMs = clock.monotonicMs();
    const wishes = this.#healWishes;
    const wanted = this.#countWanted || (await this.#heal.canHelp(this.#doubtsWanted));
    if (wanted && !this.#stopped) await jobs.start('heal');
    if (wishes === this.#healWishes) this.#healWanted = this.#countWanted = this.#doubtsWanted = false;
  }

  #wantHeal(): void {
    this.#healWanted = true;
    this.#healWishes++;
  }

  /** Where disks shall be emptied that are not said to be empty. */
  async #startDrain(): Promise<void> {
    const { jobs } = this.#options;
    if (!this.#drainWanted || jobs.isActive('drain')) return;
    this.#drainWanted = false;
    const empty = new Set((jobs.lastResult('drain')?.result as DrainResult | undefined)?.emptyDisks);
    if ([...this.#drain.draining()].some((disk) => !empty.has(disk))) await jobs.start('drain');
  }
}
