/**
 * Recovery: going on where the pool's own index is not enough. From the most advanced survivor where the majority of voters is lost, from a snapshot or an
 * export where all are; and `index import`, which puts an export in the place of a sound index. One procedure:
 *
 *   source ─▶ whole and verified, beside the pool ─▶ said to the operator ─▶ (new voters, at a higher epoch than any seen) ─▶ rows replaced
 *          ─▶ blobs found again by their records ─▶ what is gone, by name ─▶ served again
 *
 * Until the operator agreed nothing of the pool is changed. From then on a mark in the index keeps it from being served until all is done; cut off, it is begun
 * again. Old logs are put aside on their disks, and records that no row knows are kept: nothing is ever freed here. Called by the command, which owns the
 * disks for that time (I9).
 */
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, must } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { segmentEpoch } from '../base/ids.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { Membership } from '../disk/membership.js';
import { openWatchedDiskSet } from '../disk/watched-disk-set.js';
import { filesOfBlobs } from '../durability/check/files.js';
import { isActive } from '../durability/progress.js';
import { relocate, type RelocateReport } from '../durability/recover/relocate.js';
import { discardUnknown, finishRestore, isRestoring, restoreRows } from '../durability/recover/restore.js';
import { listSnapshots, readSnapshot, type SnapshotFile } from '../durability/snapshots.js';
import { ExportReader, exportRows } from '../index/export.js';
import type { ExportAbout } from '../index/export-format.js';
import { highestEpochOn, initialiseVoters, setVoterAside } from '../quorum/open.js';
import { listSegments } from '../storage/segment-list.js';
import { nativeEnvironment, type PoolEnvironment } from './environment.js';
import { ensureFolder, type Folders } from './folders.js';
import { pathsByInode } from './inode-paths.js';
import type { Log } from './logger.js';
import { findMembership, openPool, type Pool } from './pool.js';
import type { PoolDefinition } from './pool-definition.js';
import { aboutView, writeFileDurably } from './snapshot-job.js';
import { nextVoterStep } from './voter-placement.js';

/**
 * survivor: the most advanced index that is left on a voter; latest: the newest whole snapshot on the disks; file: a snapshot or an export, as a file; import:
 * the same, also in the place of an index that is sound.
 */
export type RecoverySource = { readonly kind: 'survivor' | 'latest' } | { readonly kind: 'file' | 'import'; readonly path: string };

export interface RecoveryOptions {
  readonly folders: Folders;
  readonly definition: PoolDefinition;
  readonly source: RecoverySource;
  readonly log: Log;
  readonly progress: (text: string) => void;
}

/** What the operator is told before anything is changed. */
export interface RecoveryPlan {
  /** Where the index comes from, in words. */
  readonly from: string;
  readonly about: ExportAbout;
  readonly rows: number;
  /** Voters as they are: "disk /mnt/a: absent, its disk is not there". */
  readonly voters: readonly string[];
  /** New voters are made, and the old ones' logs put aside. */
  readonly newVoters: boolean;
}

export interface RecoveryReport extends RelocateReport {
  readonly rows: number;
  /** Of files of which data is gone, one character a byte. */
  readonly lostFiles: readonly string[];
  /** Where old logs are now. */
  readonly setAside: readonly string[];
}

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #environment: PoolEnvironment;
  /** The source: a file beside the pool, or the operator's own. */
  readonly #path: string;
  #plan: RecoveryPlan | undefined;

  constructor(options: RecoveryOptions) {
    const { folders, definition, source, log } = options;
    this.#options = options;
    this.#environment = nativeEnvironment(folders, definition, log);
    this.#path = 'path' in source ? source.path : join(folders.state, `recover-${definition.name}.ostraka`);
  }

  /**
   * Finds the source, and verifies all of it. Changes nothing.
   * @throws OperatingError EALREADY: the pool needs no recovery; EBUSY: it is in use; EIO, ENOENT, EBADMSG: there is no such source, or it is damaged
   */
  async plan(): Promise<RecoveryPlan> {
    const { source, folders } = this.#options;
    await ensureFolder(folders.state, false);
    const opened = await this.#look();
    const from = source.kind === 'latest' ? await this.#stageLatest() : (opened.from ?? `the file ${this.#path}`);
    const { about, rows } = await this.#verify();
    if (about.poolId !== this.#options.definition.poolId)
      throw new OperatingError('EINVAL', `this is the index of another pool ("${about.poolName}", ${about.poolId})`, { path: this.#path });
    this.#plan = { from, about, rows, voters: opened.voters, newVoters: opened.newVoters };
    return this.#plan;
  }

  /** Removes what `plan` put beside the pool. */
  async forget(): Promise<void> {
    if (!('path' in this.#options.source)) await rm(this.#path, { force: true });
  }

  /** Looks at the pool as its voters have it; takes the survivor's index aside where that is the source. */
  async #look(): Promise<{ from?: string; voters: string[]; newVoters: boolean }> {
    const { source, progress } = this.#options;
    let pool: Pool;
    try {
      pool = await this.#open();
    } catch (error) {
      const { code } = asOperatingError(error);
      // Not one voter is left. Anything else (disks that are not there, or in use) is no matter of recovery.
      if (code !== 'EIO') throw error;
      if (source.kind !== 'survivor') return { voters: ['not one can be read'], newVoters: true };
      throw new OperatingError('EIO', `no voter is left to go on from: ${asOperatingError(error).message}`, {
        hint: 'Bring back more disks, or go back to a snapshot: --from-snapshot latest.',
      });
    }
    try {
      const voters = pool.log.voters().map(({ number, state, reason }) => {
        const member = pool.diskSet.members().find((each) => each.member.number === number);
        return `${member?.member.directory ?? `disk ${number}`}: ${state}${reason === undefined ? '' : `, ${reason}`}`;
      });
      const cutOff = await isRestoring(pool.index);
      if (pool.log.writable && !cutOff && source.kind !== 'import')
        throw new OperatingError('EALREADY', 'a majority of the voters is there: the pool needs no recovery', {
          hint: 'Mount it. To put an export in the place of its index: ostraka index import.',
        });
      const newVoters = !pool.log.writable;
      if (source.kind !== 'survivor') return { voters, newVoters };
      if (cutOff) {
        if (await exists(this.#path)) return { from: 'the copy that the recovery that was cut off had made', voters, newVoters };
        throw new OperatingError('EIO', 'a recovery was cut off, and the copy that it had made is gone', {
          hint: 'Use the file it was from, or a snapshot: --from-snapshot latest.',
        });
      }
      progress('Taking the most advanced index aside…');
      const view = pool.index.view();
      try {
        await writeFileDurably(
          this.#path,
          exportRows(view, aboutView(view, pool.diskSet, this.#environment.clock), () => Promise.resolve()),
        );
      } finally {
        view.close();
      }
      return { from: 'the most advanced voter that is left', voters, newVoters };
    } finally {
      await pool.close();
    }
  }

  #open(): Promise<Pool> {
    const { definition, log, progress } = this.#options;
    const environment = this.#environment;
    return openPool({ environment, definition, readOnly: true, restoring: true, log, progress, onInvalidate: () => undefined });
  }

  /** Copies the newest snapshot that is whole aside. */
  async #stageLatest(): Promise<string> {
    const { log, progress } = this.#options;
    const { clock } = this.#environment;
    progress('Looking for the newest snapshot on the disks…');
    const diskSet = await this.#openDisks(await this.#membership());
    try {
      const found: { file: SnapshotFile; disk: NonNullable<ReturnType<DiskSet['disk']>> }[] = [];
      for (const { disk } of diskSet.members())
        if (disk !== undefined) for (const file of await listSnapshots(disk)) found.push({ file, disk });
      found.sort((a, b) => b.file.seconds - a.file.seconds || b.file.position - a.file.position);
      for (const { file, disk } of found)
        try {
          await writeFileDurably(this.#path, readSnapshot(disk, file.name));
          await (await ExportReader.open(createReadStream(this.#path), file.name)).verify(clock);
          return `the snapshot ${file.name} on ${disk.directory}`;
        } catch (error) {
          log('warn', `a snapshot cannot be used: ${asOperatingError(error).message}`, { name: file.name, disk: disk.directory });
        }
      throw new OperatingError('ENOENT', `none of ${found.length} snapshots on the disks can be used`, {
        hint: 'Bring back more disks of the pool, or give a file: --from-snapshot FILE.',
      });
    } finally {
      await diskSet.close();
    }
  }

  async #verify(): Promise<{ about: ExportAbout; rows: number }> {
    this.#options.progress('Verifying it…');
    const reader = await this.#reader();
    return { about: reader.about, rows: await reader.verify(this.#environment.clock) };
  }

  async #reader(): Promise<ExportReader> {
    try {
      return await ExportReader.open(createReadStream(this.#path), this.#path);
    } catch (error) {
      throw asOperatingError(error, { path: this.#path });
    }
  }

  #membership(): Promise<Membership> {
    return findMembership(this.#environment.opener, this.#options.definition);
  }

  #openDisks(membership: Membership): Promise<DiskSet> {
    const { opener, clock } = this.#environment;
    const { log, definition } = this.#options;
    const searchDirectories = definition.members.map(({ directory }) => directory);
    return openWatchedDiskSet({ opener, clock, membership, searchDirectories, log });
  }

  /** After `plan`, and the operator's consent. @throws OperatingError; begun again, it does all of it once more */
  async carryOut(): Promise<RecoveryReport> {
    const { about, newVoters } = must(this.#plan, 'it was planned');
    const { progress, source } = this.#options;
    const { clock } = this.#environment;
    const setAside = newVoters ? await this.#renewVoters(about.epoch) : [];
    const pool = await this.#open();
    try {
      const { index, storage, diskSet, log: quorum } = pool;
      if (!quorum.writable) throw new OperatingError('EROFS', `the pool is still read-only: ${quorum.readOnlyReason ?? ''}`);
      if (source.kind === 'import' && !(await isRestoring(index))) await this.#snapshotBefore(pool);
      const rows = await restoreRows({ index, clock, progress: (count) => progress(`Putting rows in: ${count}`) }, await this.#reader());
      const found = await relocate({
        index,
        storage,
        diskSet,
        clock,
        progress: (what, done) => progress(`Finding data again: ${what}, ${done}`),
      });
      const lostFiles = await this.#filesOf(pool, found.lostBlobs);
      await finishRestore(index, quorum.epoch);
      return { ...found, rows, lostFiles, setAside };
    } finally {
      await pool.close();
    }
  }

  /** So that an import can be taken back. */
  async #snapshotBefore(pool: Pool): Promise<void> {
    await pool.jobs.start('snapshot');
    while (isActive(pool.jobs.status('snapshot'))) await this.#environment.clock.sleep(20);
    const { state, message } = pool.jobs.status('snapshot');
    if (state !== 'done') throw new OperatingError('EIO', `no snapshot of the present index could be taken: ${message ?? state}`);
  }

  /**
   * Makes voters of disks that are there, at an epoch above all that was ever seen; what had voted before is put aside. Voters that are away are voters no more:
   * when they return they follow.
   */
  async #renewVoters(sourceEpoch: number): Promise<string[]> {
    this.#options.progress('Making new voters…');
    const before = await this.#membership();
    let diskSet = await this.#openDisks(before);
    const setAside: string[] = [];
    try {
      let epoch = Math.max(before.epoch, sourceEpoch);
      for (const { disk } of diskSet.members()) {
        if (disk === undefined) continue;
        epoch = Math.max(epoch, await highestEpochOn(disk), ...(await listSegments(disk)).map(segmentEpoch));
      }
      const present = new Set(diskSet.members().flatMap(({ member, disk }) => (disk === undefined ? [] : [member.number])));
      const membership = withVoters({ ...before, epoch: epoch + 1, version: before.version + 1 }, present);
      await diskSet.close();
      // Opening brings the superblocks of all disks that are there up to date.
      diskSet = await this.#openDisks(membership);
      const voters = diskSet
        .members()
        .flatMap(({ member, disk }) => (member.voter && disk !== undefined ? [{ number: member.number, disk }] : []));
      assert(voters.length > 0, 'a disk is there');
      for (const { disk } of diskSet.members()) {
        const aside = disk === undefined ? undefined : await setVoterAside(disk, epoch + 1);
        if (aside !== undefined) setAside.push(join(must(disk, 'just used').directory, aside));
      }
      await initialiseVoters({ poolId: membership.poolId, voters, replicas: this.#environment.replicas, epoch });
      await this.#environment.removeJournal();
      return setAside;
    } finally {
      await diskSet.close();
    }
  }

  async #filesOf({ index }: Pool, blobs: readonly number[]): Promise<string[]> {
    const { clock } = this.#environment;
    const files = await filesOfBlobs({ view: index, pause: () => clock.yield() }, new Set(blobs));
    const inos = [...new Set([...files.values()].flat())];
    const paths = await pathsByInode(index, clock, inos);
    return inos.map((ino) => paths.get(ino) ?? `inode ${ino}, which has no name`).sort();
  }
}

/** Those that are away vote no more; of the others as many as a pool of this code has. */
function withVoters(membership: Membership, present: ReadonlySet<number>): Membership {
  let members = membership.members.map((member) => ({ ...member, voter: member.voter && present.has(member.number) }));
  for (;;) {
    const step = nextVoterStep({ ...membership, members }, (number) => present.has(number));
    if (step === undefined || 'witness' in step) return { ...membership, members };
    const [number, voter] = 'add' in step ? [step.add, true] : [step.remove, false];
    members = members.map((member) => (member.number === number ? { ...member, voter } : member));
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Gives up what a recovery kept although no row knows it. True when there was something. @throws OperatingError EROFS without a majority */
export async function giveUpUnknown({ folders, definition, log, progress }: Omit<RecoveryOptions, 'source'>): Promise<boolean> {
  const environment = nativeEnvironment(folders, definition, log);
  const pool = await openPool({ environment, definition, readOnly: true, log, progress, onInvalidate: () => undefined });
  try {
    return await discardUnknown(pool.index);
  } finally {
    await pool.close();
  }
}
