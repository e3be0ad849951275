/**
 * An open pool without its mount: the one place where the floors are put on top of each other. The daemon opens it, mounts its namespace, and
 * closes it; tests use it as it is.
 *
 *   disks found, locked, synced ─▶ log recovered (entries whose data is not there are cut) ─▶ index ─▶ data plane ─▶ namespace
 *
 * Closing goes the same way back. Keeps I9 by the locks of the disks, taken first and released last; I2 by declaring disks out in the index before
 * the data plane leaves a shard out; I8 by passing on every change of a disk.
 */
import { must } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { OperatingError, asOperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import type { Location } from '../base/location.js';
import type { DiskOpener } from '../disk/disk-opener.js';
import type { DiskSet } from '../disk/disk-set.js';
import { findPools } from '../disk/find-pools.js';
import type { Membership } from '../disk/membership.js';
import { clearMark } from '../disk/unfinished.js';
import { openWatchedDiskSet } from '../disk/watched-disk-set.js';
import { blobsThatNeed, namesDisk } from '../durability/disk-use.js';
import { isRestoring } from '../durability/recover/restore.js';
import { recordEndangered } from '../durability/survey.js';
import type { IndexStore } from '../index/index-store.js';
import type { ReadableReplica } from '../index/readable-replica.js';
import { inodeKey } from '../index/schema/tables.js';
import type { NamespaceOptions } from '../namespace/options.js';
import type { PoolNamespace } from '../namespace/pool-namespace.js';
import { votersOf } from '../quorum/change-membership.js';
import type { Journal, OpenedLog, QuorumLog, Voter } from '../quorum/quorum-log.js';
import type { Storage, StoredBlob } from '../storage/storage.js';
import { CheckJob } from './check-job.js';
import { markCleanStop, takeCleanStop } from './clean-stop.js';
import { floorsOf, type Floors, type PoolEnvironment } from './environment.js';
import { DiskContents } from './disk-contents.js';
import { JobRunner } from './jobs.js';
import type { Log } from './logger.js';
import { OutDisks } from './out-disks.js';
import type { PoolDefinition } from './pool-definition.js';
import { storeInIndex, storedInIndex } from './pool-settings.js';
import { openRecoveredData, type RecoveredData } from './recovered-data.js';
import { MembershipChanger } from './membership-changer.js';
import { Services } from './services.js';
import { SnapshotJobs } from './snapshot-job.js';
import { effectiveSettings, settingKeys, type SettingKey, type Settings, type StoredSettings } from './settings.js';

const ROOT_INO = 1;
/** What an empty journal says is not free. */
const EMPTY_JOURNAL_BYTES = 64;

export interface PoolOptions {
  /** What is real in it: this machine (`nativeEnvironment`), or a simulated one. */
  readonly environment: PoolEnvironment;
  readonly definition: PoolDefinition;
  /** Change nothing that users can see, and say EROFS. */
  readonly readOnly: boolean;
  readonly log: Log;
  /** Told of each step that may take longer. */
  readonly progress: (text: string) => void;
  /** What the kernel has cached of this inode is not true any more. */
  readonly onInvalidate: (ino: number) => void;
  /** By recovery alone: also a pool whose index is being restored. */
  readonly restoring?: boolean;
  /** Who belongs to the pool: told when it is open, and after each change. */
  readonly membershipChanged?: (membership: Membership) => Promise<void>;
}

/** What stands, in the order in which it is closed. */
type Closing = () => Promise<void> | void;

export class Pool {
  readonly diskSet: DiskSet;
  readonly log: QuorumLog;
  readonly index: IndexStore;
  readonly storage: Storage;
  readonly namespace: PoolNamespace;
  readonly jobs: JobRunner;
  readonly contents: DiskContents;
  readonly check: CheckJob;
  /** Undefined while the pool is read-only. */
  readonly services: Services | undefined;
  /** Undefined while the pool is read-only. */
  readonly members: MembershipChanger | undefined;
  /** In force now. */
  settings: Settings;
  /** A row that must be read before anything is changed cannot be: the pool can only be read, until a check has repaired that. */
  readonly damage: string | undefined;
  readonly #closing: readonly Closing[];

  constructor(parts: Omit<Pool, 'changeSettings' | 'close' | 'readOnlyReason'>, closing: readonly Closing[]) {
    this.diskSet = parts.diskSet;
    this.log = parts.log;
    this.index = parts.index;
    this.storage = parts.storage;
    this.namespace = parts.namespace;
    this.jobs = parts.jobs;
    this.contents = parts.contents;
    this.check = parts.check;
    this.services = parts.services;
    this.members = parts.members;
    this.settings = parts.settings;
    this.damage = parts.damage;
    this.#closing = closing;
  }

  /** Why nothing can be changed, beside the operator's own wish. */
  get readOnlyReason(): string | undefined {
    return this.log.writable ? this.damage : (this.log.readOnlyReason ?? 'there is no majority of voters');
  }

  /** Stores changed settings in the index and puts those in force that can change now. Returns the others. */
  async changeSettings(changed: StoredSettings): Promise<SettingKey[]> {
    await storeInIndex(this.index, changed);
    const differing = settingKeys.filter(({ field }) => changed[field] !== undefined && changed[field] !== this.settings[field]);
    for (const { field } of differing.filter(({ live }) => live)) this.settings = { ...this.settings, [field]: changed[field] };
    return differing.filter(({ live }) => !live);
  }

  /** Makes everything durable and lets go of the disks. @throws OperatingError what was committed could not be made durable. */
  async close(): Promise<void> {
    await closeAll(this.#closing);
  }
}

/** Closes the last opened first, all of them, and throws the first error at the end. */
async function closeAll(closing: readonly Closing[]): Promise<void> {
  const errors: unknown[] = [];
  for (const close of [...closing].reverse())
    try {
      await close();
    } catch (error) {
      errors.push(error);
    }
  if (errors.length > 0) throw errors[0];
}

/**
 * Opens a pool: what a crash left is recovered on the way.
 * @throws OperatingError ENXIO no disk of it can be found; EBUSY another process owns it; EIO nothing is left to recover from.
 */
export async function openPool(options: PoolOptions): Promise<Pool> {
  const closing: Closing[] = [];
  try {
    return await new Opening(options, closing).open();
  } catch (error) {
    // What fails now is told by what failed first.
    await closeAll(closing).catch(() => undefined);
    throw error;
  }
}

/** What the changer of members stands on. */
interface MembersGround {
  readonly quorum: QuorumLog;
  readonly diskSet: DiskSet;
  readonly index: IndexStore;
  readonly namespace: PoolNamespace;
  readonly outDisks: OutDisks;
}

/** A voter's disk that is gone or hangs is out for the data plane too; what else is wrong with it (its own files, a full disk) a probe may tell. */
function voterFailed(diskSet: DiskSet, number: DiskNumber, error: OperatingError): void {
  if (['ENODEV', 'ENXIO', 'ESTALE', 'ETIMEDOUT', 'ENOTCONN'].includes(error.code)) diskSet.reportFailure(number, error);
  else void diskSet.probeNow();
}

/** An index of which half is old and half is new is not served. */
function cutOff(name: string): OperatingError {
  return new OperatingError('EIO', `the index of pool "${name}" was being restored, and that was cut off`, {
    hint: `Do it again: ostraka recover ${name}, or the import that was under way. Nothing on the disks was freed.`,
  });
}

/** What the log's recovery leaves to those above. */
interface Recovered {
  readonly quorum: QuorumLog;
  readonly working: ReadableReplica;
  /** Shards that nobody can vouch for. */
  readonly doubtful: ReturnType<RecoveredData['doubtful']>;
}

/** One opening of a pool: its steps in order. */
class Opening {
  readonly #options: PoolOptions;
  readonly #closing: Closing[];
  readonly #floors: Floors;

  constructor(options: PoolOptions, closing: Closing[]) {
    this.#options = options;
    this.#floors = floorsOf(options.environment);
    this.#closing = closing;
  }

  async open(): Promise<Pool> {
    const { definition, environment, log, readOnly } = this.#options;
    const { clock, random, stripeIo } = environment;
    const diskSet = await this.#openDisks();
    const wires = new Wires(diskSet);
    const { quorum, working, doubtful } = await this.#openLog(diskSet, wires);
    const index = this.#floors.createIndexStore(quorum, working);
    if (this.#options.restoring !== true && (await isRestoring(index))) throw cutOff(definition.name);
    // Before anything else is appended: the next barrier says that nobody need look at these again.
    if (quorum.writable && doubtful.size > 0) {
      await recordEndangered(index, doubtful);
      log('info', `${doubtful.size} blobs lack shards that were not synced`, { blobs: doubtful.size });
    }
    const settings = await this.#settle(index);
    const lastStop = await takeCleanStop(index, readOnly);
    const outDisks = new OutDisks(index, quorum.epoch, clock, log);
    await outDisks.recover((disk) => diskSet.disk(disk) !== undefined);
    const { k, m } = diskSet.membership;
    const storage = await this.#floors.createStorage({
      poolId: definition.poolId,
      epoch: quorum.epoch,
      k,
      m,
      diskSet,
      stripeIo,
      clock,
      random,
      log,
      onDiskOut: (disk) => outDisks.declare(disk),
      onMoved: (old, now) => wires.moved(old, now),
      onDamage: (report) => {
        log('warn', `shard ${report.shard} of blob ${report.blob} on disk ${report.disk} cannot be used`, { ...report });
        wires.services?.damaged(report);
      },
    });
    wires.storage = storage;
    diskSet.onChange((number, disk) => {
      if (disk !== undefined) void outDisks.returned(number);
    });
    const inForce = (): Settings => wires.pool?.settings ?? settings;
    const { namespace, damage } = await this.#openNamespace(index, storage, quorum, inForce, readOnly || !quorum.writable);
    /** Nothing is changed, by nobody. */
    const still = readOnly || !quorum.writable || damage !== undefined;
    wires.namespace = namespace;
    // After the namespace has written its last: see `cleanStopKey`.
    this.#closing.push(() => markCleanStop(wires.services, index, lastStop));
    this.#closing.push(() => namespace.close());
    const jobs = new JobRunner({ index, clock, log, readOnly: readOnly || damage !== undefined });
    const snapshots = new SnapshotJobs({ index, diskSet, clock, log, settings: inForce });
    const snapshot = (): Promise<unknown> => snapshots.take();
    const check = new CheckJob({ index, storage, ledger: namespace.ledger, diskSet, clock, log, snapshot, quiet: readOnly });
    for (const kind of [check.kind, ...snapshots.kinds]) jobs.register(kind);
    if (!still) {
      const services = new Services({ index, storage, namespace, diskSet, jobs, clock, log, strandedPossible: lastStop !== 'clean' });
      wires.services = services;
      this.#closing.push(() => services.stop());
      services.start();
      this.#closing.push(() => {
        snapshots.stop();
      });
      snapshots.start(jobs);
    }
    // They end before the services and the namespace do.
    this.#closing.push(() => jobs.stop());
    await jobs.begin();
    const members = still ? undefined : await this.#openMembers({ quorum, diskSet, index, namespace, outDisks });
    const { services } = wires;
    const contents = new DiskContents(index, clock, log);
    this.#closing.push(() => contents.stop());
    const parts = { diskSet, log: quorum, index, storage, namespace, jobs, contents, services, members, check, settings, damage };
    wires.pool = new Pool(parts, this.#closing);
    return wires.pool;
  }

  async #openMembers({ quorum, diskSet, index, namespace, outDisks }: MembersGround): Promise<MembershipChanger> {
    const { environment, log, membershipChanged } = this.#options;
    const { clock, random, makeWitness } = environment;
    const members = new MembershipChanger({
      quorum,
      diskSet,
      clock,
      random,
      log,
      makeWitness,
      // What was stored before the disk took no more shards is in the index then.
      namesDisk: async (disk) => {
        await namespace.syncAll();
        return namesDisk(index, clock, disk);
      },
      blobsThatNeed: async (disk) => {
        await namespace.syncAll();
        const usable = (other: number): boolean =>
          diskSet.members().some(({ member, disk: there }) => member.number === other && member.state !== 'failed' && there !== undefined);
        return blobsThatNeed(index, clock, disk, usable);
      },
      changed: (membership) => membershipChanged?.(membership) ?? Promise.resolve(),
      left: (disk) => outDisks.returned(disk),
    });
    this.#closing.push(() => members.stop());
    await members.start();
    return members;
  }

  /** Finds who belongs to the pool, locks what is there, and syncs it: what recovery reads must not be lost by a later power cut. */
  async #openDisks(): Promise<DiskSet> {
    const { definition, environment, log, progress } = this.#options;
    const { clock, opener } = environment;
    progress(`Looking for the disks of pool "${definition.name}"…`);
    const diskSet = await openWatchedDiskSet({
      opener,
      clock,
      membership: await findMembership(opener, definition),
      searchDirectories: definition.members.map(({ directory }) => directory),
      log,
    });
    this.#closing.push(() => diskSet.close());
    await Promise.all(
      diskSet.members().map(async ({ member, disk }) => {
        try {
          await disk?.syncAll();
          if (disk !== undefined) await clearMark(disk);
        } catch (error) {
          diskSet.reportFailure(member.number, asOperatingError(error));
        }
      }),
    );
    // A mark that is left is of a disk that was away when its pool was made to the end.
    diskSet.onChange((number, disk) => {
      if (disk === undefined) return;
      clearMark(disk).catch((error: unknown) => {
        diskSet.reportFailure(number, asOperatingError(error));
      });
    });
    return diskSet;
  }

  async #openLog(diskSet: DiskSet, wires: Wires): Promise<Recovered> {
    const { environment, definition, log, progress } = this.#options;
    const working = await environment.openWorkingReplica();
    this.#closing.push(() => working.close());
    const journal = await environment.openJournal();
    this.#closing.push(() => {
      journal.close();
    });
    const data = await openRecoveredData(diskSet, environment, log);
    try {
      progress('Recovering the index…');
      const voters: Voter[] = diskSet
        .members()
        .filter(({ member }) => member.voter)
        .map(({ member, disk }) => ({ number: member.number, disk }));
      const opened = await this.#floors.openQuorumLog({
        membershipStands: () => diskSet.membershipStands(),
        voterFailed: (number, error) => {
          voterFailed(diskSet, number, error);
        },
        poolId: definition.poolId,
        clock: environment.clock,
        voters,
        acknowledgements: votersOf(diskSet.membership).acknowledgements,
        working,
        replicas: environment.replicas,
        journal,
        get commitIntervalMs() {
          return (wires.pool?.settings ?? effectiveSettings(definition.settings)).commitIntervalMs;
        },
        syncData: () => wires.sync(),
        verifyEntry: (entry) => data.verifyEntry(entry),
        log,
      });
      // The log is closed before the data plane, since its last flush syncs the data.
      this.#closing.push(() => wires.storage?.close());
      this.#closing.push(() => this.#closeLog(opened.log, journal));
      this.#report(opened);
      wires.follow(opened.log, voters);
      return { quorum: opened.log, working, doubtful: data.doubtful() };
    } finally {
      await data.close();
    }
  }

  #report({ cutEntries, journalEntries, log: quorum }: OpenedLog): void {
    const { log } = this.#options;
    const { position } = quorum.head;
    log('info', 'the log is open', { epoch: quorum.epoch, position, writable: quorum.writable, journalEntries, cutEntries });
    if (cutEntries > 0)
      log('warn', `${cutEntries} changes that were not durable are gone: their data was not on the disks`, { cutEntries });
    if (!quorum.writable) log('warn', `the pool is read-only: ${quorum.readOnlyReason ?? ''}`);
  }

  /** Closes the log; the journal's memory is given back when nothing is in it that the disks do not have. */
  async #closeLog(quorum: QuorumLog, journal: Journal): Promise<void> {
    const { writable } = quorum;
    await quorum.close();
    if (!writable || journal.capacityBytes - journal.freeBytes() > EMPTY_JOURNAL_BYTES) return;
    await this.#options.environment.removeJournal();
  }

  /** The definition's settings and the index's, each of which gets what it lacks. */
  async #settle(index: IndexStore): Promise<Settings> {
    const stored: StoredSettings = { ...(await storedInIndex(index, this.#options.log)), ...this.#options.definition.settings };
    if (index.writable) await storeInIndex(index, stored);
    return effectiveSettings(stored);
  }

  async #openNamespace(
    index: IndexStore,
    storage: Storage,
    quorum: QuorumLog,
    inForce: () => Settings,
    readOnly: boolean,
  ): Promise<{ namespace: PoolNamespace; damage: string | undefined }> {
    const { log } = this.#options;
    const { clock, owner, random } = this.#options.environment;
    const settings = inForce();
    const fresh = (await index.get(inodeKey(ROOT_INO))) === undefined;
    const options: NamespaceOptions = {
      index,
      storage,
      clock,
      random,
      log,
      settings: {
        get commitIntervalMs() {
          return inForce().commitIntervalMs;
        },
        get durability() {
          return inForce().durability;
        },
        uploadBytesMax: settings.uploadMemoryBytes,
        get readCacheBytesMax() {
          return inForce().readCacheBytes;
        },
      },
      epoch: quorum.epoch,
      readOnly,
      onInvalidate: this.#options.onInvalidate,
    };
    try {
      const namespace = await this.#floors.createNamespace(options);
      const { uid, gid, pid } = owner;
      // Who mounts a pool first can write to it.
      if (fresh && !readOnly && uid !== 0) await namespace.setattr(ROOT_INO, { uid, gid }, { uid: 0, gid: 0, pid });
      return { namespace, damage: undefined };
    } catch (error) {
      if (readOnly || !(error instanceof DecodeError)) throw error;
      const damage = `a row of the index is damaged (${error.message}): "ostraka check --repair" puts it right once the pool is unmounted`;
      log('error', `the pool is read-only: ${damage}`);
      return { namespace: await this.#floors.createNamespace({ ...options, readOnly: true }), damage };
    }
  }
}

/** What the log asks and tells while the floors above it are not there yet, and from then on. */
class Wires {
  storage: Storage | undefined;
  namespace: PoolNamespace | undefined;
  services: Services | undefined;
  pool: Pool | undefined;
  readonly #diskSet: DiskSet;

  constructor(diskSet: DiskSet) {
    this.#diskSet = diskSet;
  }

  /** Before there is a data plane nothing is unsynced: all disks were synced at the start. */
  async sync(): Promise<boolean> {
    return this.storage === undefined || this.storage.sync();
  }

  async moved(old: Location, now: StoredBlob): Promise<void> {
    await must(this.namespace, 'data moves only after the namespace wrote it').moved(old, now);
  }

  /** Tells the log of disks that come and go. @param known what it was told when it was opened. */
  follow(quorum: QuorumLog, known: readonly Voter[]): void {
    this.#diskSet.onChange((number, disk) => {
      quorum.setVoterDisk(number, disk);
    });
    // What changed while it was opened.
    for (const { number, disk } of known) if (this.#diskSet.disk(number) !== disk) quorum.setVoterDisk(number, this.#diskSet.disk(number));
  }
}

/** The newest membership on the disks that are there. */
export async function findMembership(opener: DiskOpener, definition: PoolDefinition): Promise<Membership> {
  const directories = definition.members.map(({ directory }) => directory);
  const { pools, failures } = await findPools(opener, directories);
  const found = pools.find(({ membership }) => membership.poolId === definition.poolId);
  if (found !== undefined) return found.membership;
  throw new OperatingError('ENXIO', `none of the ${directories.length} disks of pool "${definition.name}" can be found`, {
    path: directories[0],
    hint: `Mount them, or take the pool over from where they are now: ostraka import --disk DIR…${failures[0] === undefined ? '' : ` (${failures[0].error.message})`}`,
  });
}
