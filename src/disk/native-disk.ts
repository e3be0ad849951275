/**
 * The real disk: a mounted directory, its files and its health, over native/io. `openNativeDirectory` opens and identifies the
 * directory; `openNativeDisk` adds the identity from the superblock (read by a function that is given to it) and the lock.
 *
 * Keeps: everything is resolved below the descriptor that was opened, never by a path that another file system might answer; a failed sync
 * poisons its file; a call that hangs longer than the stall limit takes the whole disk down with ETIMEDOUT and leaves the thread behind.
 * I9: the lock is an flock of a file on the disk, with the owner's pid in it.
 */
import { constants } from 'node:os';
import { join } from 'node:path';
import { assert, must } from '../base/assert.js';
import { systemClock, type Cancel, type Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { Uuid } from '../base/ids.js';
import { DISK_STALL_CHECK_MS, DISK_STALL_MS } from '../base/limits.js';
import { nativeIo, type DiskHandle, type FileHandle, type NativeIo, type Status } from '../base/native-io.js';
import type { Capacity, Disk, DiskFile, DiskHealth, OpenMode } from './disk.js';
import { nativeError } from './native-error.js';

/** Holds the lock and the owner's pid, in the disk's directory. */
export const LOCK_FILE = 'ostraka.lock';

export interface NativeDirectoryOptions {
  /** Drives the watch for stalls. */
  clock?: Clock;
  /** A call that takes longer takes the disk down. Default DISK_STALL_MS. */
  stallMs?: number;
}

/** How often a close looks whether the calls in flight have ended. */
const CLOSE_POLL_MS = 10;

/** Reads the disk's identity from its superblock; rejects when it has none or it cannot be read. */
export type Identify = (directory: NativeDirectory) => Promise<Uuid>;

type HealthCounter = keyof DiskHealth;

/** A directory that was opened and identified by device and inode, with its own threads. Not locked until `lock` resolved. */
export class NativeDirectory {
  readonly health: DiskHealth = { readErrors: 0, writeErrors: 0, syncErrors: 0, checksumErrors: 0, stalls: 0 };
  /** See `Disk.onFull`. */
  onFull: (() => Promise<void>) | undefined;
  readonly #io: NativeIo;
  readonly #handle: DiskHandle;
  readonly #clock: Clock;
  readonly #stallMs: number;
  #watch: Cancel | undefined;
  #fileSystem = '';
  /** Set when it can no longer be used: what every further call rejects with. */
  #ended: OperatingError | undefined;

  /** Use `openNativeDirectory`. */
  constructor(
    /** The directory as the operator named it. */
    readonly directory: string,
    options: NativeDirectoryOptions,
  ) {
    this.#io = nativeIo();
    this.#handle = this.#io.createDisk();
    this.#clock = options.clock ?? systemClock;
    this.#stallMs = options.stallMs ?? DISK_STALL_MS;
    this.#watchStalls();
  }

  /** Looks at the age of running calls. Twice before it acts: a process that was stopped finds all its calls old when it goes on. */
  #watchStalls(suspected = false): void {
    this.#watch = this.#clock.after(Math.min(DISK_STALL_CHECK_MS, this.#stallMs), () => {
      if (this.#ended !== undefined) return;
      const ageMs = this.#io.oldestAgeMs(this.#handle);
      const stalled = ageMs >= this.#stallMs;
      if (stalled && suspected) this.abandon(`a call has not come back for ${Math.round(ageMs / 1000)} s`);
      else this.#watchStalls(stalled);
    });
  }

  /** Fails all calls, now and later, with ETIMEDOUT, and leaves hanging threads behind. Only `close` is of use afterwards. */
  abandon(why: string): void {
    if (this.#ended !== undefined) return;
    this.health.stalls++;
    this.#end(
      new OperatingError('ETIMEDOUT', `disk ${this.directory} stalled: ${why}`, {
        disk: this.directory,
        hint: 'Check the cable, the power and the kernel log (dmesg) for this disk.',
      }),
    );
    this.#io.abandon(this.#handle);
  }

  #end(reason: OperatingError): void {
    this.#ended = reason;
    this.#watch?.();
  }

  /** Ms for which the oldest running call has been running, 0 when idle. */
  oldestAgeMs(): number {
    return this.#ended === undefined ? this.#io.oldestAgeMs(this.#handle) : 0;
  }

  /** Throws what ended this directory, if anything did. */
  checkUsable(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  /**
   * Counts and makes the error of a call that failed.
   * @param status negative errno
   */
  failure(status: Status, action: string, path: string | undefined, counter: HealthCounter | undefined): OperatingError {
    // The reason for ETIMEDOUT after a stall was already counted as one.
    if (counter !== undefined && this.#ended === undefined) this.health[counter]++;
    if (status === -constants.errno.ENOSPC) void this.onFull?.();
    return nativeError(status, action, this.directory, path);
  }

  /** Counts and makes the error of a shard record that a stripe call could not read or write. `errno` is positive. */
  stripeFailure(errno: number, action: 'read' | 'write', path: string): OperatingError {
    const mismatch = errno === constants.errno.EBADMSG || errno === constants.errno.ENODATA;
    return this.failure(
      -errno,
      `${action} a shard record of`,
      path,
      mismatch ? 'checksumErrors' : action === 'read' ? 'readErrors' : 'writeErrors',
    );
  }

  /** Runs one call on the disk and throws its error. */
  async call<T>(
    action: string,
    path: string | undefined,
    counter: HealthCounter | undefined,
    run: (io: NativeIo, disk: DiskHandle) => Promise<T | Status>,
  ): Promise<T> {
    this.checkUsable();
    const result = await run(this.#io, this.#handle);
    if (typeof result === 'number' && result < 0) throw this.failure(result, action, path, counter);
    return result as T;
  }

  /** Called once, before everything else. */
  async openDirectory(): Promise<void> {
    const identity = await this.call('open', undefined, undefined, (io, disk) => io.openDirectory(disk, this.directory));
    this.#fileSystem = identity.slice(0, identity.indexOf(':'));
  }

  /** Locks the directory for this process. Rejects with EBUSY, naming the owner's pid, when another one has it. */
  async lock(): Promise<void> {
    const owner = await this.call('lock', LOCK_FILE, 'writeErrors', (io, disk) => io.lock(disk, LOCK_FILE));
    if (owner === 0) return;
    throw new OperatingError('EBUSY', `disk ${this.directory} is in use by process ${owner}`, {
      disk: this.directory,
      path: join(this.directory, LOCK_FILE),
      hint:
        owner === process.pid
          ? 'This process has opened it already: is the same directory given twice?'
          : `Unmount the pool that uses it (process ${owner}) first, or give the disk's other name to that process.`,
    });
  }

  /** Resolves when `path` still leads to the directory that was opened; else rejects (ENOENT gone, ESTALE something else). */
  async identityStillAt(path: string): Promise<void> {
    await this.call('probe', path, 'readErrors', (io, disk) => io.identityStillAt(disk, path));
  }

  /** Opens a file. `owner` is the disk that the file says it belongs to. */
  async open(path: string, mode: OpenMode = {}, owner?: Disk): Promise<NativeFile> {
    const create = mode.create ?? false;
    const handle = await this.call(create ? 'create' : 'open', path, create ? 'writeErrors' : undefined, (io, disk) =>
      io.openFile(disk, path, create, mode.write ?? false),
    );
    return new NativeFile(this, this.#io, handle, path, owner);
  }

  async list(path: string): Promise<string[]> {
    return this.call('list', path, undefined, (io, disk) => io.list(disk, path));
  }

  async makeDirectory(path: string): Promise<void> {
    await this.call('make directory', path, 'writeErrors', (io, disk) => io.makeDirectory(disk, path));
  }

  async syncDirectory(path: string): Promise<void> {
    await this.call('sync directory', path, 'syncErrors', (io, disk) => io.syncDirectory(disk, path));
  }

  async unlink(path: string): Promise<void> {
    await this.call('unlink', path, undefined, (io, disk) => io.unlink(disk, path));
  }

  async rename(from: string, to: string): Promise<void> {
    await this.call('rename', from, 'writeErrors', (io, disk) => io.rename(disk, from, to));
  }

  async capacity(): Promise<Capacity> {
    const [totalBytes, freeBytes] = await this.call('ask the capacity', undefined, 'readErrors', (io, disk) => io.capacity(disk));
    return { totalBytes, freeBytes, fileSystem: this.#fileSystem };
  }

  async syncAll(): Promise<void> {
    await this.call('sync', undefined, 'syncErrors', (io, disk) => io.syncAll(disk));
  }

  async externalPath(path: string): Promise<string> {
    await this.call('find', path, undefined, (io, disk) => io.samePath(disk, this.directory, path));
    return join(this.directory, path);
  }

  /**
   * Releases the lock and all descriptors once the calls in flight have ended; those that take longer than the stall limit fail with ETIMEDOUT.
   * Closing twice, or after a stall, does nothing.
   */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#end(new OperatingError('EBADF', `disk ${this.directory} was closed`, { disk: this.directory }));
    // The watch is over, but a call that hangs must not hold up the close, nor whoever waits for the call.
    for (let ageMs = this.#io.oldestAgeMs(this.#handle); ageMs > 0; ageMs = this.#io.oldestAgeMs(this.#handle)) {
      if (ageMs >= this.#stallMs) {
        this.health.stalls++;
        this.#io.abandon(this.#handle);
        return;
      }
      await this.#clock.sleep(CLOSE_POLL_MS);
    }
    await this.#io.closeDisk(this.#handle);
  }
}

/** An open file of a native directory. */
export class NativeFile implements DiskFile {
  readonly #io: NativeIo;
  readonly #owner: Disk | undefined;
  #handle: FileHandle | undefined;
  #poisoned = false;

  /** Use `NativeDirectory.open`. */
  constructor(
    readonly directory: NativeDirectory,
    io: NativeIo,
    handle: FileHandle,
    readonly path: string,
    owner: Disk | undefined,
  ) {
    this.#io = io;
    this.#handle = handle;
    this.#owner = owner;
  }

  get disk(): Disk {
    return must(this.#owner, `${this.path} was opened before its disk had an identity`);
  }

  get poisoned(): boolean {
    return this.#poisoned;
  }

  /** For stripe calls, which go to several disks at once. Throws when the disk has ended. */
  usableHandle(): FileHandle {
    this.directory.checkUsable();
    assert(this.#handle !== undefined, `${this.path} is closed`);
    return this.#handle;
  }

  /** What a write on a poisoned file fails with. */
  poisonedError(action: string): OperatingError {
    return new OperatingError('EIO', `cannot ${action} ${this.path} on disk ${this.directory.directory}: an earlier sync of it failed`, {
      disk: this.directory.directory,
      path: this.path,
    });
  }

  async #call<T>(action: string, counter: HealthCounter, run: (file: FileHandle) => Promise<T | Status>): Promise<T> {
    const handle = this.usableHandle();
    return this.directory.call(action, this.path, counter, () => run(handle));
  }

  async write(offset: number, buffers: readonly Uint8Array[]): Promise<void> {
    if (this.#poisoned) throw this.poisonedError('write');
    await this.#call('write', 'writeErrors', (file) => this.#io.write(file, offset, buffers));
  }

  async writeSynced(offset: number, buffers: readonly Uint8Array[], directory = ''): Promise<string> {
    if (this.#poisoned) throw this.poisonedError('write');
    const result = await this.#io.writeSynced(this.usableHandle(), offset, buffers, directory);
    if (typeof result === 'string') return result;
    this.#poisoned = true;
    throw this.directory.failure(result, 'write and sync', this.path, 'syncErrors');
  }

  async read(offset: number, bytes: number): Promise<Buffer> {
    return this.#call('read', 'readErrors', (file) => this.#io.read(file, offset, bytes));
  }

  async sync(): Promise<void> {
    if (this.#poisoned) throw this.poisonedError('sync');
    try {
      await this.#call('sync', 'syncErrors', (file) => this.#io.sync(file));
    } catch (error) {
      this.#poisoned = true;
      throw error;
    }
  }

  async size(): Promise<number> {
    return this.#call<number>('stat', 'readErrors', (file) => this.#io.size(file));
  }

  async nextData(offset: number): Promise<number> {
    return this.#call<number>('seek in', 'readErrors', (file) => this.#io.nextData(file, offset));
  }

  async preallocate(offset: number, bytes: number): Promise<void> {
    await this.#call('preallocate', 'writeErrors', (file) => this.#io.preallocate(file, offset, bytes));
  }

  async punch(offset: number, bytes: number): Promise<void> {
    await this.#call('punch', 'writeErrors', (file) => this.#io.punch(file, offset, bytes));
  }

  /** Closing twice, or after the disk was closed, does nothing. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle === undefined) return;
    try {
      this.directory.checkUsable();
    } catch {
      return;
    }
    await this.#io.close(handle);
  }
}

/** A native directory whose identity is known and whose lock is ours. */
class NativeDisk implements Disk {
  readonly health: DiskHealth;

  constructor(
    readonly native: NativeDirectory,
    readonly id: Uuid,
    private readonly identify: Identify,
  ) {
    this.health = native.health;
  }

  get directory(): string {
    return this.native.directory;
  }

  get onFull(): (() => Promise<void>) | undefined {
    return this.native.onFull;
  }

  set onFull(action: (() => Promise<void>) | undefined) {
    this.native.onFull = action;
  }

  open(path: string, mode?: OpenMode): Promise<DiskFile> {
    return this.native.open(path, mode, this);
  }

  list(path: string): Promise<string[]> {
    return this.native.list(path);
  }

  makeDirectory(path: string): Promise<void> {
    return this.native.makeDirectory(path);
  }

  syncDirectory(path: string): Promise<void> {
    return this.native.syncDirectory(path);
  }

  unlink(path: string): Promise<void> {
    return this.native.unlink(path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.native.rename(from, to);
  }

  capacity(): Promise<Capacity> {
    return this.native.capacity();
  }

  syncAll(): Promise<void> {
    return this.native.syncAll();
  }

  async probe(): Promise<void> {
    await this.native.identityStillAt(this.directory);
    const id = await this.identify(this.native);
    if (id !== this.id)
      throw new OperatingError(
        'ESTALE',
        `disk ${this.directory} is not the one that was opened: it now calls itself ${id}, not ${this.id}`,
        {
          disk: this.directory,
          hint: 'Mount the disk that belongs here.',
        },
      );
  }

  externalPath(path: string): Promise<string> {
    return this.native.externalPath(path);
  }

  close(): Promise<void> {
    return this.native.close();
  }
}

/**
 * Opens a directory and starts its threads; does not lock it and writes nothing.
 * @throws OperatingError ENOENT, ENOTDIR, EACCES…
 */
export async function openNativeDirectory(path: string, options: NativeDirectoryOptions = {}): Promise<NativeDirectory> {
  const directory = new NativeDirectory(path, options);
  try {
    await directory.openDirectory();
  } catch (error) {
    await directory.close();
    throw error;
  }
  return directory;
}

/**
 * Opens a disk: its directory, its identity, its lock, in this order, so that nothing is written to a directory that is no disk of ours.
 * @param identify reads and checks the superblock; called again by each `probe`.
 * @throws OperatingError what `identify` rejects with; EBUSY when another process owns the disk.
 */
export async function openNativeDisk(path: string, identify: Identify, options: NativeDirectoryOptions = {}): Promise<Disk> {
  const directory = await openNativeDirectory(path, options);
  try {
    const id = await identify(directory);
    await directory.lock();
    return new NativeDisk(directory, id, identify);
  } catch (error) {
    await directory.close();
    throw error;
  }
}
