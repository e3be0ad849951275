/**
 * What goes on in the background of a writable pool, one thing after the other: once after an unclean stop the search for stranded records (I10); healing
 * when shards are missing and disks are there to take them; and always the collector. Started when the pool is open, stopped before it closes.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import type { DiskSet } from '../disk/disk-set.js';
import { Collector } from '../durability/collector.js';
import { countEndangered, heal, recordEndangered } from '../durability/heal.js';
import { freeStranded } from '../durability/orphans.js';
import type { IndexStore } from '../index/index-store.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import type { DamageReport, Storage } from '../storage/storage.js';
import type { JobRunner } from './jobs.js';
import type { Log } from './logger.js';

/** Mounting and the first reads come first. */
const FIRST_PAUSE_MS = 3000;
/** What came meanwhile is handled together. */
const GATHER_MS = 1000;
/** Endangered blobs are tried again so often when no disk came or went. */
const HEAL_RETRY_MS = 600_000;
/** Damaged blobs that wait for being recorded. What does not fit is found by the next reader. */
const DAMAGED_BLOBS_MAX = 4096;

/** The record itself is bad. Other codes say that the disk is, which takes it out as a whole. */
const BAD_RECORD: ReadonlySet<string> = new Set(['EBADMSG', 'ENODATA']);

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

export class Services {
  readonly #options: ServicesOptions;
  readonly #collector: Collector;
  readonly #damaged = new Map<BlobId, Set<number>>();
  #strandedPossible: boolean;
  #healWanted = true;
  #stopped = false;
  #loop: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#strandedPossible = options.strandedPossible;
    this.#collector = new Collector(options);
    options.diskSet.onChange((_, disk) => {
      // What was freed while a disk was out still lies on it.
      this.#strandedPossible = true;
      if (disk === undefined) return;
      this.#healWanted = true;
      this.#wake();
    });
  }

  start(): void {
    this.#collector.start();
    this.#loop = this.#run();
  }

  /** A reader found a bad shard. */
  damaged({ blob, shard, code }: DamageReport): void {
    if (!BAD_RECORD.has(code)) return;
    const shards = this.#damaged.get(blob);
    if (shards !== undefined) shards.add(shard);
    else if (this.#damaged.size < DAMAGED_BLOBS_MAX) this.#damaged.set(blob, new Set([shard]));
    this.#wake();
  }

  /** Stops after the steps under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#collector.stop();
    await this.#loop;
  }

  /** May there be records on the disks that nothing knows of? */
  get strandedPossible(): boolean {
    return this.#strandedPossible || this.#offline() > 0;
  }

  #offline(): number {
    return this.#options.diskSet.members().filter(({ member, disk }) => member.role === 'data' && disk === undefined).length;
  }

  async #run(): Promise<void> {
    await this.#pause(FIRST_PAUSE_MS);
    if (this.#strandedPossible) await this.#attempt('the search for stranded records', () => this.#sweep());
    while (!this.#stopped) {
      await this.#attempt('recording damage', () => this.#recordDamage());
      if (this.#healWanted) await this.#attempt('healing', () => this.#heal());
      const idle = this.#damaged.size === 0 && !this.#healWanted;
      if (idle) await this.#pause(HEAL_RETRY_MS);
      // Reports and disks come in bursts.
      await this.#pause(GATHER_MS);
      this.#healWanted ||= this.#damaged.size === 0;
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
    } catch (thrown) {
      const { code, message } = asOperatingError(thrown);
      this.#options.log('warn', `${what} stopped: ${message}`, { code });
    }
  }

  async #sweep(): Promise<void> {
    const { diskSet } = this.#options;
    const before = diskSet.members().map(({ disk }) => disk);
    await freeStranded({ ...this.#options, stopped: () => this.#stopped });
    const same = diskSet.members().every(({ disk }, index) => disk !== undefined && disk === before[index]);
    if (!this.#stopped && same) this.#strandedPossible = false;
  }

  async #recordDamage(): Promise<void> {
    const { ledger } = this.#options.namespace;
    for (const [blob, shards] of [...this.#damaged]) {
      this.#damaged.delete(blob);
      await recordEndangered(ledger, blob, [...shards]);
      this.#healWanted = true;
    }
  }

  async #heal(): Promise<void> {
    const { namespace, storage, log } = this.#options;
    this.#healWanted = false;
    const { members } = this.#options.diskSet.membership;
    const online = members.filter(({ role }) => role === 'data').length - this.#offline();
    if (online < storage.k + storage.m || (await countEndangered(namespace.ledger)) === 0) return;
    const { healedBlobs, endangeredBlobs } = await heal({ ...this.#options, stopped: () => this.#stopped });
    if (healedBlobs + endangeredBlobs > 0)
      log('info', `healed ${healedBlobs} blobs, ${endangeredBlobs} are left`, { healedBlobs, endangeredBlobs });
  }
}
