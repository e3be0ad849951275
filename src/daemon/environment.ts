/**
 * Everything real that a pool stands on: clock, randomness, disks, stripes, replicas, journal, and who owns what is new. `openPool` takes it from
 * here alone, so that the same pool runs on a machine (`nativeEnvironment`, what the daemon and the command use) and in simulation, from one seed
 * (test/simulation).
 */
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock, systemRandom, type Clock, type Random } from '../base/clock.js';
import type { DiskNumber } from '../base/ids.js';
import { JOURNAL_BYTES, KiB } from '../base/limits.js';
import type { DiskOpener } from '../disk/disk-opener.js';
import { NativeStripeIo } from '../disk/native-stripe.js';
import { nativeOpener } from '../disk/open-disk-set.js';
import type { StripeIo } from '../disk/stripe.js';
import { createIndexStore } from '../index/log-index.js';
import type { ReadableReplica } from '../index/readable-replica.js';
import { ReplicaThreads } from '../index/replica-threads.js';
import { SqliteReplicaStore } from '../index/sqlite-durable.js';
import { currentBootId, openWorkingReplica } from '../index/sqlite-working.js';
import { createNamespace } from '../namespace/pool-namespace.js';
import { openSharedJournal } from '../quorum/journal.js';
import { openQuorumLog } from '../quorum/open.js';
import type { Journal, OpenQuorumLog } from '../quorum/quorum-log.js';
import type { ReplicaStore } from '../quorum/state-machine.js';
import { createStorage } from '../storage/create-storage.js';
import { ensureFolder, journalFolder, poolPaths, type Folders } from './folders.js';
import type { Log } from './logger.js';
import type { PoolDefinition } from './pool-definition.js';

/** Beside the ring (src/quorum/README.md). */
const JOURNAL_HEADER_BYTES = 4 * KiB;

/** Who a process runs as. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

export interface PoolEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  /** How the directories of disks are opened. */
  readonly opener: DiskOpener;
  readonly stripeIo: StripeIo;
  /** Opens the voters' durable replicas. */
  readonly replicas: ReplicaStore;
  /** Who mounts a pool first owns its root directory. */
  readonly owner: Owner;
  /** Opens the replica that serves reads, as an earlier process of this boot left it; of another boot it has no point. */
  openWorkingReplica(): Promise<ReadableReplica>;
  /** Opens the journal; `recover` gives what an earlier process of this boot left in it. */
  openJournal(): Promise<Journal>;
  /** Makes an empty directory for a witness beside those of the disks; undefined: there is no place for one. */
  readonly makeWitness: ((number: DiskNumber) => Promise<string>) | undefined;
  /** The journal was closed, and the disks have all that is in it: its memory is given back. */
  removeJournal(): Promise<void>;
  /** Simulation puts something between the floors here, or makes them smaller; each defaults to the real one. */
  readonly floors?: Partial<Floors>;
}

/** How the floors of a pool are made. */
export interface Floors {
  readonly openQuorumLog: OpenQuorumLog;
  readonly createIndexStore: typeof createIndexStore;
  readonly createStorage: typeof createStorage;
  readonly createNamespace: typeof createNamespace;
}

/** The floors of this environment. */
export function floorsOf({ floors }: PoolEnvironment): Floors {
  return { openQuorumLog, createIndexStore, createStorage, createNamespace, ...floors };
}

/** The part of it that making a pool needs. */
export type MakingEnvironment = Pick<PoolEnvironment, 'clock' | 'random' | 'opener' | 'replicas'>;

/** This machine, for making a pool. */
export function makingEnvironment(log: Log, threads = new ReplicaThreads(systemClock)): MakingEnvironment {
  return {
    clock: systemClock,
    random: systemRandom,
    opener: nativeOpener(systemClock),
    replicas: new SqliteReplicaStore({ clock: systemClock, log, threads }),
  };
}

/** This machine, for one pool. */
export function nativeEnvironment(folders: Folders, { name, poolId }: PoolDefinition, log: Log): PoolEnvironment {
  const journalPath = async (): Promise<string> => join(await journalFolder(folders), journalName(poolId));
  const threads = new ReplicaThreads(systemClock);
  return {
    ...makingEnvironment(log, threads),
    stripeIo: new NativeStripeIo(),
    owner: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid },
    async makeWitness(number) {
      const directory = `${poolPaths(folders, name).witness}-${number}`;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      return directory;
    },
    async openWorkingReplica() {
      await ensureFolder(folders.state, false);
      const directory = join(poolPaths(folders, name).working, poolId);
      return openWorkingReplica({ directory, bootId: await currentBootId(), clock: systemClock, log });
    },
    async openJournal() {
      // A daemon of another version may have died with a journal of another size: what is in it counts.
      const found = await stat(await journalPath()).catch(() => undefined);
      const foundBytes = (found?.size ?? 0) - JOURNAL_HEADER_BYTES;
      const bytes = foundBytes > 0 && Number.isInteger(Math.log2(foundBytes)) ? foundBytes : JOURNAL_BYTES;
      return openSharedJournal({ directory: await journalFolder(folders), poolId, bootId: await currentBootId(), bytes });
    },
    async removeJournal() {
      await rm(await journalPath(), { force: true });
    },
  };
}

/** As `openSharedJournal` names its file. */
function journalName(poolId: string): string {
  return `journal-${poolId}`;
}
