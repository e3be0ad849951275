/**
 * The disks of one pool, watched: `DiskSet` over any `DiskOpener`. See disk-set.ts for what it promises and disk-watch.ts for one disk's
 * states. Opened by the daemon before anything else of the pool, closed after everything else.
 *
 * Keeps I9: all disks that are there are locked before any is used, and one that another process owns refuses the whole pool. Missing is
 * not new: what is not identified by its superblock is never written to.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { must } from '../base/assert.js';
import { asOperatingError, OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber, Uuid } from '../base/ids.js';
import { DISK_PROBE_INTERVAL_MS, DISK_SEARCH_INTERVAL_MS, MEMBERSHIP_TRIES_MAX } from '../base/limits.js';
import type { Disk } from './disk.js';
import { forEachBounded, withDirectory, type DiskOpener, type OpenDirectory } from './disk-opener.js';
import type { DiskChange, DiskSet, DiskState, SetMember } from './disk-set.js';
import { DiskWatch, shortageCodes, type WatchHost } from './disk-watch.js';
import { makeDisk } from './initialise-disks.js';
import { isNewer, type Member, type Membership } from './membership.js';
import { MembershipWriter, type Fence } from './membership-writer.js';
import { readSuperblock, updateSuperblock } from './superblock-file.js';
import type { Superblock } from './superblock.js';

export interface WatchedDiskSetOptions {
  readonly opener: DiskOpener;
  readonly clock: Clock;
  /** As last known; a newer one on a disk of the pool takes its place. */
  readonly membership: Membership;
  /** Where disks may be beside the directories that the membership names. */
  readonly searchDirectories?: readonly string[];
  readonly log: (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;
}

/** Failures for other reasons than the disk's: a full disk, a bad record, our own doing. */
const harmlessCodes: ReadonlySet<ErrnoName> = new Set(['ENOSPC', 'EDQUOT', 'EBADMSG', 'ENODATA', 'EEXIST', 'EBADF']);

export class WatchedDiskSet implements DiskSet, WatchHost {
  readonly clock: Clock;
  readonly #writer: MembershipWriter;
  readonly #options: WatchedDiskSetOptions;
  readonly #watches = new Map<DiskNumber, DiskWatch>();
  readonly #listeners: DiskChange[] = [];
  #tick: Cancel | undefined;
  #searching = false;
  #searchedAtMs = 0;
  #started = false;
  #closed = false;
  /** A membership that a disk had and that is newer than the one in force. */
  #newerSeen: Membership | undefined;
  #changing: Promise<unknown> = Promise.resolve();

  /** Use `openWatchedDiskSet`. */
  constructor(options: WatchedDiskSetOptions) {
    this.clock = options.clock;
    this.#options = options;
    this.#writer = new MembershipWriter(options.membership, {
      disk: (number) => this.disk(number),
      failed: (number, error) => {
        options.log('warn', `the superblock of disk ${number} could not be brought up to date: ${error.message}`, { disk: number });
      },
    });
  }

  get membership(): Membership {
    return this.#writer.current;
  }

  members(): readonly SetMember[] {
    return [...this.#watches.values()];
  }

  disk(number: DiskNumber): Disk | undefined {
    return this.#watches.get(number)?.disk;
  }

  state(number: DiskNumber): DiskState {
    return this.#watches.get(number)?.state ?? 'offline';
  }

  reportFailure(number: DiskNumber, error: OperatingError): void {
    const watch = this.#watches.get(number);
    // A file that is missing may mean that the whole directory was deleted: the probe tells.
    if (error.code === 'ENOENT') void watch?.check();
    else if (!harmlessCodes.has(error.code) && !shortageCodes.has(error.code)) watch?.takeOut(error);
  }

  countError(number: DiskNumber, kind: 'read' | 'write' | 'sync' | 'checksum'): void {
    this.#watches.get(number)?.count(kind);
  }

  reportSlow(number: DiskNumber, ms: number): void {
    const watch = this.#watches.get(number);
    if (!watch?.disk || watch.slow === ms > 0) return;
    watch.slow = ms > 0;
    if (ms > 0)
      this.#options.log('warn', `disk ${number} is slow: reads that took over ${Math.round(ms)} ms go around it`, describe(watch));
    else this.#options.log('info', `disk ${number} answers in time again`, describe(watch));
  }

  onChange(listener: DiskChange): void {
    this.#listeners.push(listener);
  }

  async probeNow(): Promise<void> {
    if ([...this.#watches.values()].some((watch) => watch.absent)) await this.#search();
    await Promise.all([...this.#watches.values()].map((watch) => watch.check(true)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#tick?.();
    await this.#changing;
    await this.#closeAll();
  }

  async #closeAll(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
    if (!this.#closed) this.#watches.clear();
  }

  async #openAll(): Promise<void> {
    const found = await this.#look(this.#candidates());
    for (const { superblock } of found.values())
      if (isNewer(superblock.membership, this.membership)) this.#writer.adopt(superblock.membership);
    for (const member of this.membership.members)
      this.#watches.set(member.number, new DiskWatch(this, member, found.get(member.id)?.directory ?? member.directory));
    const outcomes = await Promise.allSettled([...this.#watches.values()].map((watch) => watch.start()));
    const refused = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!refused) return;
    await this.close();
    throw refused.reason;
  }

  async membershipStands(): Promise<boolean> {
    const stands = await Promise.all(
      [...this.#watches.values()].map(async (watch) => {
        if (watch.disk === undefined) return true;
        try {
          return !isNewer((await readSuperblock(watch.disk)).membership, this.membership);
        } catch (thrown) {
          // It does not count for anything then.
          watch.takeOut(asOperatingError(thrown, { disk: watch.directory }));
          return true;
        }
      }),
    );
    return stands.every(Boolean);
  }

  changeMembership(next: Membership, fence: Fence): Promise<Membership> {
    const changed = this.#changing.then(() => this.#change(next, fence));
    this.#changing = changed.catch(() => undefined);
    return changed;
  }

  /** For openWatchedDiskSet alone. @throws OperatingError EBUSY: another process owns a disk of the pool. */
  async start(): Promise<void> {
    for (let tries = 0; ; tries++) {
      await this.#openAll();
      // Read under the locks: nobody else changes them from here on.
      const newer = this.#newerSeen;
      if (newer === undefined) break;
      this.#newerSeen = undefined;
      await this.#closeAll();
      if (tries >= MEMBERSHIP_TRIES_MAX)
        throw new OperatingError('ESTALE', `the members of pool "${newer.poolName}" change while it is opened`, { hint: 'Try again.' });
      this.#writer.adopt(newer);
    }
    for (const watch of this.#watches.values())
      if (watch.reason) this.#options.log('warn', `disk ${watch.member.number} is absent: ${watch.reason.message}`, describe(watch));
    this.#started = true;
    this.#arm();
  }

  // What the watches ask

  async open(member: Member, directory: string): Promise<Disk> {
    if (member.state === 'failed' && !member.voter)
      throw new OperatingError('ENODEV', `disk ${member.number} was given up by "ostraka disk replace" or "disk remove --force"`, {
        disk: directory,
      });
    const disk = await this.#options.opener.openDisk(directory, async (opened) => {
      const superblock = await readSuperblock(opened);
      this.#checkIdentity(member, directory, superblock);
      return superblock.diskId;
    });
    try {
      // Under the lock, so that nobody changes it any more.
      const { membership: seen } = await readSuperblock(disk);
      this.#writer.saw(seen);
      if (isNewer(seen, this.membership)) {
        // Of a change that never came into force. Once the log is led, the next change puts it right: see `#change`.
        if (isNewer(seen, this.#newerSeen)) this.#newerSeen = seen;
      } else if (isNewer(this.membership, seen)) await updateSuperblock(disk, this.membership);
      return disk;
    } catch (error) {
      // A full disk can be read from; it gets the newer membership when there is room again.
      if (error instanceof OperatingError && error.code === 'ENOSPC') return disk;
      await disk.close();
      throw error;
    }
  }

  changed(watch: DiskWatch): void {
    if (!this.#started || this.#closed) return;
    const { number } = watch.member;
    if (watch.disk) this.#options.log('info', `disk ${number} is in: ${watch.directory}`, describe(watch));
    else this.#options.log('warn', `disk ${number} is out: ${watch.reason?.message ?? ''}`, describe(watch));
    for (const listener of this.#listeners) listener(number, watch.disk, watch.reason);
  }

  reserved(watch: DiskWatch, held: boolean): void {
    const { number } = watch.member;
    if (held) this.#options.log('info', `disk ${number} has its reserve`, describe(watch));
    else this.#options.log('warn', `disk ${number} is full: its reserve is let go, so that files can be deleted`, describe(watch));
  }

  // Changing the membership

  async #change(next: Membership, fence: Fence): Promise<Membership> {
    const created: OpenDirectory[] = [];
    try {
      const changed = await this.#writer.change(next, fence, async (stamped) => {
        for (const member of stamped.members) if (!this.#watches.has(member.number)) created.push(await this.#makeDisk(member, stamped));
      });
      // The watches lock the new ones again.
      for (const directory of created.splice(0)) await directory.close();
      await this.#watchMembers();
      return changed;
    } finally {
      for (const directory of created) await directory.close();
    }
  }

  /** A directory becomes a disk of this pool. It stays locked until the change is written. */
  async #makeDisk(member: Member, membership: Membership): Promise<OpenDirectory> {
    const other = this.members().find(({ disk }) => disk !== undefined)?.disk;
    const { settings } = await readSuperblock(must(other, 'a pool that is led has a disk'));
    const { seconds } = this.clock.now();
    const created = new Date(seconds * 1000).toISOString();
    return makeDisk(this.#options.opener, member.directory, {
      diskId: member.id,
      diskNumber: member.number,
      created,
      settings,
      membership,
    });
  }

  /** Brings the watches into line with the membership. */
  async #watchMembers(): Promise<void> {
    const { members, poolName } = this.membership;
    for (const [number, watch] of [...this.#watches]) {
      const member = members.find((each) => each.number === number);
      if (member !== undefined) watch.member = member;
      if (member !== undefined && (member.state !== 'failed' || member.voter)) continue;
      watch.takeOut(new OperatingError('ENODEV', `disk ${number} is no longer a disk of pool "${poolName}"`, { disk: watch.directory }));
      if (member !== undefined) continue;
      this.#watches.delete(number);
      await watch.close();
    }
    for (const member of members)
      if (!this.#watches.has(member.number)) {
        const watch = new DiskWatch(this, member, member.directory, true);
        this.#watches.set(member.number, watch);
        await watch.start();
      }
  }

  #checkIdentity(member: Member, directory: string, found: Superblock): void {
    if (found.diskId === member.id && found.membership.poolId === this.membership.poolId) return;
    const who = `disk ${found.diskNumber} of pool "${found.membership.poolName}" (${found.diskId})`;
    throw new OperatingError('ESTALE', `${directory} holds ${who}, not disk ${member.number} of "${this.membership.poolName}"`, {
      disk: directory,
      hint: 'Mount the disk that belongs there.',
    });
  }

  #arm(): void {
    this.#tick = this.clock.after(DISK_PROBE_INTERVAL_MS, () => {
      if (this.#closed) return;
      this.#arm();
      for (const watch of this.#watches.values()) {
        void watch.check();
        void watch.checkReserve();
      }
      const due = this.clock.monotonicMs() - this.#searchedAtMs >= DISK_SEARCH_INTERVAL_MS;
      if (due && [...this.#watches.values()].some((watch) => watch.absent)) void this.#search();
    });
  }

  // Looking for disks in other places than where they were last seen

  #candidates(): string[] {
    const directories = new Set(this.#options.searchDirectories ?? []);
    for (const member of this.membership.members) directories.add(member.directory);
    for (const watch of this.#watches.values()) directories.add(watch.directory);
    for (const watch of this.#watches.values()) if (watch.disk) directories.delete(watch.directory);
    return [...directories];
  }

  async #look(directories: readonly string[]): Promise<Map<Uuid, { directory: string; superblock: Superblock }>> {
    const found = new Map<Uuid, { directory: string; superblock: Superblock }>();
    await forEachBounded(directories, async (directory) => {
      try {
        const superblock = await withDirectory(this.#options.opener, directory, readSuperblock);
        if (superblock.membership.poolId === this.membership.poolId) found.set(superblock.diskId, { directory, superblock });
      } catch (error) {
        // What is wrong with a place shows when the disk that belongs there is opened.
        if (!(error instanceof OperatingError)) throw error;
      }
    });
    return found;
  }

  async #search(): Promise<void> {
    if (this.#searching) return;
    this.#searching = true;
    this.#searchedAtMs = this.clock.monotonicMs();
    try {
      const found = await this.#look(this.#candidates());
      for (const watch of this.#watches.values()) {
        const place = found.get(watch.member.id);
        if (watch.absent && place) watch.directory = place.directory;
        else if (watch.absent) watch.directory = watch.member.directory;
      }
    } finally {
      this.#searching = false;
    }
  }
}

function describe(watch: DiskWatch): Record<string, unknown> {
  return { disk: watch.member.number, id: watch.member.id, directory: watch.directory, code: watch.reason?.code };
}

/**
 * Finds, identifies and locks the pool's disks, and watches over them from then on.
 * @throws OperatingError EBUSY: another process owns one of them (its pid is in the message).
 */
export async function openWatchedDiskSet(options: WatchedDiskSetOptions): Promise<WatchedDiskSet> {
  const set = new WatchedDiskSet(options);
  await set.start();
  return set;
}
