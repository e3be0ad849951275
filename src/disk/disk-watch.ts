/**
 * The watch over one member of a pool: its disk while it is in, why it is out, when to try again. Owned by watched-disk-set.ts.
 *
 *   offline ──check: opened, identified, locked──▶ online ──check: probe failed; takeOut: I/O error, stall──▶ offline
 *
 * An absent disk (not there, or something else in its place) is looked for at every check; one that failed waits longer each time. A new
 * life begins only when all calls of the last one have ended, so no failure of the last one can be taken for one of the new.
 */
import type { Clock } from '../base/clock.js';
import { OperatingError, asOperatingError, type ErrnoName } from '../base/errors.js';
import {
  DISK_PROBE_INTERVAL_MS,
  DISK_RETRY_MS_MAX,
  DISK_STALL_MS,
  DISK_STEADY_MS,
  DISK_SUSPECT_MS,
  DISK_SUSPICION_MS,
  LATE_RETRY_MS_MAX,
  LATE_STEADY_MS,
  TRIAL_MS,
} from '../base/limits.js';
import type { DiskHealth, Disk } from './disk.js';
import type { DiskState, SetMember } from './disk-set.js';
import type { Member } from './membership.js';
import { ReserveFile } from './reserve-file.js';
import { tryWriting } from './trial.js';

/** A probe may wait behind queued calls, each of which may take DISK_STALL_MS before the disk itself gives up. */
const PROBE_LIMIT_MS = 2 * DISK_STALL_MS;
const absentCodes: ReadonlySet<ErrnoName> = new Set(['ENOENT', 'ENOTDIR', 'ESTALE']);

/** The machine is short of something, not the disk: says nothing about the disk. */
export const shortageCodes: ReadonlySet<ErrnoName> = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE', 'EINTR']);

/** What the watch needs of its set. */
export interface WatchHost {
  readonly clock: Clock;
  /** Opens, identifies and locks the member's disk at `directory`; brings its superblock up to date. */
  open(member: Member, directory: string): Promise<Disk>;
  /** A change took effect. */
  changed(watch: DiskWatch): void;
  /** The disk is full: its reserve was let go; or there is room again. */
  reserved(watch: DiskWatch, held: boolean): void;
}

function sum(health: DiskHealth): number {
  return health.readErrors + health.writeErrors + health.syncErrors + health.checksumErrors + health.stalls;
}

export class DiskWatch implements SetMember {
  member: Member;
  /** Where it is looked for. */
  directory: string;
  /** Its reads come late. */
  slow = false;
  #disk: Disk | undefined;
  #reserve: ReserveFile | undefined;
  #reason: OperatingError | undefined;
  #earlierErrors = 0;
  #checking: Promise<void> | undefined;
  #closing: Promise<void> = Promise.resolve();
  #closed = false;
  #retryMs = DISK_PROBE_INTERVAL_MS;
  #retryAtMs = 0;
  #onlineSinceMs = 0;
  /** When the probe under way began. */
  #probingSinceMs: number | undefined;
  #suspectUntilMs = -Infinity;
  #failures = 0;
  #returned: boolean;
  readonly #host: WatchHost;

  /** @param returned it joins a set that is in use */
  constructor(host: WatchHost, member: Member, directory: string, returned = false) {
    this.#host = host;
    this.#returned = returned;
    this.member = member;
    this.directory = directory;
  }

  get disk(): Disk | undefined {
    return this.#disk;
  }

  get reservedBytes(): number {
    return this.#reserve?.heldBytes ?? 0;
  }

  /** Takes the reserve, or lets it go, as the disk's free space says. Never rejects. */
  async checkReserve(): Promise<void> {
    await this.#reserve?.check();
  }

  get state(): DiskState {
    if (!this.#disk) return 'offline';
    const nowMs = this.#host.clock.monotonicMs();
    const late = this.#probingSinceMs !== undefined && nowMs - this.#probingSinceMs > DISK_SUSPECT_MS;
    return this.slow || late || nowMs < this.#suspectUntilMs ? 'suspect' : 'online';
  }

  get returned(): boolean {
    return this.#returned;
  }

  get reason(): OperatingError | undefined {
    return this.#reason;
  }

  get errors(): number {
    return this.#earlierErrors + (this.#disk ? sum(this.#disk.health) : 0);
  }

  /** Is it offline because nothing, or something else, is where it should be? */
  get absent(): boolean {
    return !this.#disk && this.#reason !== undefined && absentCodes.has(this.#reason.code);
  }

  /** Opens it for the first time. Rejects with EBUSY alone: another process owns the disk. Whatever else keeps it away is its `reason`. */
  async start(): Promise<void> {
    await this.#bringIn();
    if (this.#reason?.code === 'EBUSY') throw this.#reason;
  }

  /** Probes it or, when it is out and its time has come (`now`: in any case), tries to bring it in. Never rejects. */
  check(now = false): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#disk) this.#noteFailures(this.#disk);
    if (!this.#disk && !now && this.#host.clock.monotonicMs() < this.#retryAtMs) return Promise.resolve();
    this.#checking ??= (this.#disk ? this.#probe(this.#disk) : this.#bringIn()).finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Takes it out. Its open files fail from now on. */
  takeOut(error: OperatingError): void {
    const disk = this.#disk;
    if (!disk) return;
    const nowMs = this.#host.clock.monotonicMs();
    const steadyMs = error.code === 'ETIMEDOUT' ? LATE_STEADY_MS : DISK_STEADY_MS;
    if (nowMs - this.#onlineSinceMs >= steadyMs) this.#retryMs = DISK_PROBE_INTERVAL_MS;
    this.#earlierErrors = this.errors;
    this.#disk = undefined;
    this.#reserve?.end();
    this.#reserve = undefined;
    this.slow = false;
    this.#failed(error);
    this.#closing = this.#limit(disk.close(), 'closing it').catch(() => undefined);
    this.#host.changed(this);
  }

  /** Counts an error that the disk's own calls do not see. */
  count(kind: 'read' | 'write' | 'sync' | 'checksum'): void {
    if (this.#disk) this.#disk.health[`${kind}Errors`]++;
    else this.#earlierErrors++;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const disk = this.#disk;
    this.#earlierErrors = this.errors;
    this.#disk = undefined;
    this.#reserve?.end();
    if (disk) this.#closing = this.#limit(disk.close(), 'closing it').catch(() => undefined);
    await this.#checking;
    await this.#closing;
  }

  /** Calls that failed without taking it out make it suspect for a while. Writes fail on a disk that is merely full, too. */
  #noteFailures({ health }: Disk): void {
    const failures = health.readErrors + health.syncErrors + health.stalls;
    if (failures > this.#failures) this.#suspect();
    this.#failures = failures;
  }

  #suspect(): void {
    this.#suspectUntilMs = this.#host.clock.monotonicMs() + DISK_SUSPICION_MS;
  }

  #failed(error: OperatingError): void {
    this.#reason = error;
    const nowMs = this.#host.clock.monotonicMs();
    if (absentCodes.has(error.code)) this.#retryAtMs = nowMs;
    else {
      this.#retryAtMs = nowMs + this.#retryMs;
      this.#retryMs = Math.min(2 * this.#retryMs, error.code === 'ETIMEDOUT' ? LATE_RETRY_MS_MAX : DISK_RETRY_MS_MAX);
    }
  }

  async #bringIn(): Promise<void> {
    await this.#closing;
    let disk: Disk;
    try {
      disk = await this.#host.open(this.member, this.directory);
      if (this.#reason?.code === 'ETIMEDOUT') await this.#try(disk);
    } catch (thrown) {
      this.#failed(asOperatingError(thrown, { disk: this.directory }));
      return;
    }
    if (this.#closed) {
      this.#closing = this.#limit(disk.close(), 'closing it').catch(() => undefined);
      return;
    }
    // One that failed shall prove itself first; one that was merely away need not.
    if (this.#reason !== undefined && !this.absent) this.#suspect();
    this.#returned ||= this.#reason !== undefined;
    this.#failures = 0;
    this.#disk = disk;
    // Witnesses lie on disks that are not ours to fill.
    if (this.member.role === 'data')
      this.#reserve = new ReserveFile(disk, (held) => {
        this.#host.reserved(this, held);
      });
    this.#reason = undefined;
    this.#onlineSinceMs = this.#host.clock.monotonicMs();
    this.#host.changed(this);
  }

  /** One that was late shall show that it writes, and in time. */
  async #try(disk: Disk): Promise<void> {
    try {
      await this.#limit(tryWriting(disk), 'a trial', TRIAL_MS);
    } catch (error) {
      this.#closing = this.#limit(disk.close(), 'closing it').catch(() => undefined);
      throw error;
    }
  }

  async #probe(disk: Disk): Promise<void> {
    this.#probingSinceMs = this.#host.clock.monotonicMs();
    try {
      await this.#limit(disk.probe(), 'a probe');
    } catch (thrown) {
      const error = asOperatingError(thrown, { disk: this.directory });
      // Meanwhile it may have been taken out, and even be back.
      if (this.#disk === disk && !shortageCodes.has(error.code)) this.takeOut(error);
    } finally {
      this.#probingSinceMs = undefined;
    }
  }

  /** Gives up waiting after `limitMs`. */
  #limit(work: Promise<void>, what: string, limitMs = PROBE_LIMIT_MS): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.#host.clock.after(limitMs, () => {
        const message = `disk ${this.directory} stalled: ${what} has not come back for ${limitMs / 1000} s`;
        reject(new OperatingError('ETIMEDOUT', message, { disk: this.directory }));
      });
      work.then(resolve, reject).finally(cancel);
    });
  }
}
