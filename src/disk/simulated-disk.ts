/**
 * The simulated twin of a disk: `Disk` and `DiskFile` over a `SimulatedMedium`. Each call is handed to the machine's `schedule` and takes effect
 * and completes when that runs it, so a test chooses the order of all completions. The faults are listed in simulated-machine.ts.
 */
import { OperatingError, type ErrnoName } from '../base/errors.js';
import type { Uuid } from '../base/ids.js';
import type { Identify } from './disk-opener.js';
import type { Capacity, Disk, DiskFile, DiskHealth, OpenMode } from './disk.js';
import { BLOCK_BYTES, type SimulatedFile, type Survival } from './simulated-file.js';
import type { SimulatedMachine } from './simulated-machine.js';
import type { SimulatedMedium } from './simulated-medium.js';

export type OperationKind =
  | 'open'
  | 'close'
  | 'read'
  | 'write'
  | 'sync'
  | 'size'
  | 'preallocate'
  | 'punch'
  | 'list'
  | 'makeDirectory'
  | 'syncDirectory'
  | 'unlink'
  | 'rename'
  | 'capacity'
  | 'syncAll'
  | 'probe';

/** One call, as `schedule` sees it. */
export interface SimulatedOperation {
  /** Directory of the disk. */
  readonly disk: string;
  readonly kind: OperationKind;
  /** Within the disk; of a rename the old one. */
  readonly path: string;
}

/** Runs `run` at once, later, or never (only before a crash): the call takes effect and completes then. */
export type Schedule = (operation: SimulatedOperation, run: () => void) => void;

interface InFlight {
  readonly operation: SimulatedOperation;
  /** Does the first `units` of it, without completing it. */
  readonly effect: (units: number) => unknown;
  readonly units: number;
  readonly reject: (error: OperatingError) => void;
  readonly start: () => void;
  stalled: boolean;
}

const changing: ReadonlySet<OperationKind> = new Set([
  'write',
  'punch',
  'makeDirectory',
  'unlink',
  'rename',
  'sync',
  'syncDirectory',
  'syncAll',
]);

interface Extras {
  /** Parts that a crash or an error may leave undone (pages of a write); 1 unless given. */
  readonly units?: number;
  /** What an injected error does nevertheless. */
  readonly onFault?: () => void;
}

export class SimulatedDisk implements Disk {
  readonly directory: string;
  readonly medium: SimulatedMedium;
  readonly health: DiskHealth = { readErrors: 0, writeErrors: 0, syncErrors: 0, checksumErrors: 0, stalls: 0 };
  onFull: (() => Promise<void>) | undefined;
  readonly #machine: SimulatedMachine;
  readonly #inFlight = new Set<InFlight>();
  #dead: ErrnoName | undefined;
  /** Its process is gone: nobody is left to be told. */
  #silent = false;
  #locked = false;
  #id: Uuid;
  #identify: Identify | undefined;

  /** For SimulatedMachine.open alone. */
  constructor(
    machine: SimulatedMachine,
    medium: SimulatedMedium,
    directory: string,
    readonly host: number,
  ) {
    this.#machine = machine;
    this.medium = medium;
    this.directory = directory;
    this.#id = medium.id;
  }

  get id(): Uuid {
    return this.#id;
  }

  get locked(): boolean {
    return this.#locked;
  }

  /** Takes the disk's lock (I9). Throws EBUSY when someone has it. */
  lock(): void {
    if (this.#dead) throw this.#deadError('');
    if (this.#machine.isLocked(this.medium, this.host))
      throw new OperatingError('EBUSY', `disk ${this.directory} is in use by process 1`, { disk: this.directory });
    this.#locked = true;
  }

  /** From now on `probe` asks `identify` too, as a real disk does. */
  identifiedAs(id: Uuid, identify: Identify): void {
    this.#id = id;
    this.#identify = identify;
  }

  get alive(): boolean {
    return this.#dead === undefined;
  }

  /** Calls that have not completed; for tests. */
  get operationsInFlight(): readonly SimulatedOperation[] {
    return [...this.#inFlight].map((each) => each.operation);
  }

  /** Crash or loss of the disk: calls in flight take effect or not, and all fail, or never come back. For SimulatedMachine alone. */
  die(code: ErrnoName, survival: Survival, silent = false): void {
    if (this.#dead !== undefined) {
      this.#silent ||= silent;
      return;
    }
    this.#dead = code;
    this.#silent = silent;
    for (const call of [...this.#inFlight]) {
      const { kind, path } = call.operation;
      if (changing.has(kind)) {
        const survives = survival({ kind: 'in-flight', disk: this.directory, path, sectors: call.units });
        let units = 0;
        while (units < call.units && survives(units)) units++;
        try {
          if (units > 0) call.effect(units);
        } catch {
          // It failed, as it would have.
        }
      }
      if (!silent) call.reject(this.#deadError(path));
    }
    this.#inFlight.clear();
  }

  /** For SimulatedMachine alone. */
  releaseStalled(): void {
    for (const call of [...this.#inFlight])
      if (call.stalled) {
        call.stalled = false;
        call.start();
      }
  }

  /** Hands one call to the scheduler. For this file alone. */
  submit<T>(kind: OperationKind, path: string, effect: (units: number) => T, { units = 1, onFault }: Extras = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#dead) {
        if (!this.#silent) reject(this.#deadError(path));
        return;
      }
      const operation: SimulatedOperation = { disk: this.directory, kind, path };
      const run = (): void => {
        if (!this.#inFlight.delete(call)) return;
        try {
          try {
            this.medium.checkFault(kind, path);
          } catch (fault) {
            if (!this.medium.gone) onFault?.();
            throw fault;
          }
          resolve(effect(units));
        } catch (thrown) {
          reject(this.#failed(kind, path, thrown));
        }
      };
      const start = (): void => {
        this.#machine.schedule(operation, run);
      };
      const stalledPath = this.medium.stalledPath;
      const call: InFlight = { operation, effect, units, reject, start, stalled: stalledPath !== undefined && path.includes(stalledPath) };
      this.#inFlight.add(call);
      if (!call.stalled) start();
    });
  }

  open(path: string, mode: OpenMode = {}): Promise<DiskFile> {
    return this.submit('open', path, () => {
      const file = mode.create === true ? this.medium.create(path) : this.medium.file(path);
      return new SimulatedDiskFile(this, path, file, mode.write === true || mode.create === true);
    });
  }

  list(path: string): Promise<string[]> {
    return this.submit('list', path, () => this.medium.list(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.submit('makeDirectory', path, () => {
      this.medium.makeDirectory(path);
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.submit('syncDirectory', path, () => {
      this.medium.syncDirectory(path);
    });
  }

  unlink(path: string): Promise<void> {
    return this.submit('unlink', path, () => {
      this.medium.unlink(path);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.submit('rename', from, () => {
      this.medium.rename(from, to);
    });
  }

  capacity(): Promise<Capacity> {
    return this.submit('capacity', '', () => {
      const totalBytes = this.medium.capacityBytes;
      return { totalBytes, freeBytes: Math.max(0, totalBytes - this.medium.usedBytes()) };
    });
  }

  syncAll(): Promise<void> {
    return this.submit('syncAll', '', () => {
      this.medium.syncAll();
    });
  }

  async probe(): Promise<void> {
    await this.submit('probe', '', () => {
      const there = this.#machine.mounted(this.directory);
      if (there === this.medium) return;
      if (!there) throw new OperatingError('ENOENT', 'the directory is gone', { disk: this.directory });
      throw new OperatingError('ESTALE', 'something else is in the place of the disk', { disk: this.directory });
    });
    if (this.#identify && (await this.#identify(this)) !== this.#id)
      throw new OperatingError('ESTALE', 'the disk has another identity now', { disk: this.directory });
  }

  externalPath(path: string): Promise<string> {
    return Promise.reject(new OperatingError('ENOTSUP', 'a simulated disk has no paths', { disk: this.directory, path }));
  }

  async close(): Promise<void> {
    if (this.#dead) return;
    this.die('EBADF', () => () => true);
    this.#machine.forget(this);
  }

  #failed(kind: OperationKind, path: string, thrown: unknown): OperatingError {
    // Assertions are bugs of the caller or of the simulation: they must not look like a bad disk.
    if (!(thrown instanceof OperatingError)) throw thrown;
    if (kind === 'read') this.health.readErrors++;
    else if (kind === 'write') this.health.writeErrors++;
    else if (kind === 'sync' || kind === 'syncAll') this.health.syncErrors++;
    if (thrown.code === 'ENOSPC') void this.onFull?.();
    return new OperatingError(thrown.code, thrown.message, { disk: this.directory, path, cause: thrown });
  }

  #deadError(path: string): OperatingError {
    const code = this.#dead ?? 'EIO';
    const message = code === 'EIO' ? 'crashed' : code === 'EBADF' ? 'the disk was closed' : 'the disk is gone';
    return new OperatingError(code, message, { disk: this.directory, path });
  }
}

class SimulatedDiskFile implements DiskFile {
  readonly disk: SimulatedDisk;
  readonly path: string;
  readonly #file: SimulatedFile;
  readonly #writable: boolean;
  #poisoned = false;
  #closed = false;

  constructor(disk: SimulatedDisk, path: string, file: SimulatedFile, writable: boolean) {
    this.disk = disk;
    this.path = path;
    this.#file = file;
    this.#writable = writable;
  }

  get poisoned(): boolean {
    return this.#poisoned;
  }

  write(offset: number, buffers: readonly Uint8Array[]): Promise<void> {
    let bytes = 0;
    for (const buffer of buffers) bytes += buffer.length;
    const units = Math.max(1, Math.ceil(bytes / BLOCK_BYTES));
    const effect = (done: number): void => {
      this.#mayWrite();
      const parts = done === units ? buffers : [Buffer.concat(buffers).subarray(0, done * BLOCK_BYTES)];
      this.disk.medium.write(this.#file, this.path, offset, parts);
    };
    // A write that fails may have been done in part.
    return this.#submit('write', effect, {
      units,
      onFault: () => {
        const done = this.disk.medium.random.below(units + 1);
        if (done > 0 && this.#writable && !this.#poisoned) effect(done);
      },
    });
  }

  read(offset: number, bytes: number): Promise<Buffer> {
    return this.#submit('read', () => {
      this.disk.medium.checkSectors(this.path, offset, bytes);
      return this.#file.read(offset, bytes);
    });
  }

  async sync(): Promise<void> {
    try {
      await this.#submit(
        'sync',
        () => {
          this.#notPoisoned();
          this.#file.sync();
        },
        {
          onFault: () => {
            if (!this.#poisoned) this.disk.medium.failSync(this.#file, this.path);
            this.#poisoned = true;
          },
        },
      );
    } catch (error) {
      this.#poisoned = true;
      throw error;
    }
  }

  /** Three steps, so that a crash may come between them. */
  async writeSynced(offset: number, buffers: readonly Uint8Array[], directory?: string): Promise<string> {
    try {
      await this.write(offset, buffers);
      await this.sync();
      if (directory === undefined) return '';
      const names = await this.disk.list(directory);
      return names.map((name) => `${name}/`).join('');
    } catch (error) {
      this.#poisoned = true;
      throw error;
    }
  }

  size(): Promise<number> {
    return this.#submit('size', () => this.#file.size);
  }

  nextData(offset: number): Promise<number> {
    return this.#submit('size', () => this.#file.nextData(offset));
  }

  preallocate(offset: number, bytes: number): Promise<void> {
    return this.#submit('preallocate', () => {
      this.disk.medium.preallocate(this.#file, this.path, offset, bytes);
    });
  }

  punch(offset: number, bytes: number): Promise<void> {
    return this.#submit('punch', () => {
      this.#mayWrite();
      this.#file.punch(offset, bytes);
    });
  }

  async close(): Promise<void> {
    if (this.#closed || !this.disk.alive) return;
    await this.#submit('close', () => undefined);
    this.#closed = true;
  }

  #submit<T>(kind: OperationKind, effect: (units: number) => T, extras?: Extras): Promise<T> {
    const checked = (units: number): T => {
      if (this.#closed) throw new OperatingError('EBADF', 'the file was closed', { path: this.path });
      return effect(units);
    };
    return this.disk.submit(kind, this.path, checked, extras);
  }

  #notPoisoned(): void {
    if (this.#poisoned) throw new OperatingError('EIO', 'a sync of this file failed before', { path: this.path });
  }

  #mayWrite(): void {
    this.#notPoisoned();
    if (!this.#writable) throw new OperatingError('EBADF', 'not opened for writing', { path: this.path });
  }
}
