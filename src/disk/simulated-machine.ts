/**
 * A machine with simulated disks: which disk is mounted on which directory, when calls take effect, crashes and power cuts. Driven by one
 * `Random`; no real time and no real I/O. For tests of everything above disk/.
 *
 * Faults that must be survived (whoever builds on disks runs against them):
 *   power cut               what was not synced is gone, kept, or torn at sectors; names and contents independently
 *   death of the daemon     calls in flight took effect or not; everything else stays
 *   a disk vanishes         ENODEV, its unsynced writes are gone, it may return (with old handles dead)
 *   a directory is moved, or another file system lies over it: open handles work, `probe` and `open` tell
 *   EIO, EROFS, ENOSPC…     of any call; a sync that failed once, after which its pages count as clean
 *   silent damage           flipped bits, lost writes, misdirected writes
 *   bad sectors             reads of a range of a file fail with EIO for good
 *   a stall                 calls do not complete until released
 *   another host            does not see the locks of this one: a process may go on that was taken over
 *   any order               concurrent calls complete in the order that `schedule` chooses
 */
import { assert, must } from '../base/assert.js';
import type { Random } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { newUuid, type Uuid } from '../base/ids.js';
import { SimulatedDisk, type Schedule } from './simulated-disk.js';
import type { Survival } from './simulated-file.js';
import { SimulatedMedium, randomSurvival } from './simulated-medium.js';

export interface CrashOptions {
  /** True: power is cut. False: the daemon dies, the kernel goes on. */
  readonly power: boolean;
  /** What of the unsynced (and of calls in flight) survives; by default the machine's Random decides. */
  readonly survival?: Survival;
  /**
   * The handles of one process alone (by default all). What is left of a process that died runs no further: its calls never come back, instead of
   * failing.
   */
  readonly process?: ReadonlySet<SimulatedDisk>;
}

export class SimulatedMachine {
  readonly random: Random;
  /** Called once a call with the action that makes it take effect and complete. May be replaced at any time. */
  schedule: Schedule;
  readonly #mounted = new Map<string, SimulatedMedium>();
  readonly #media = new Set<SimulatedMedium>();
  #open = new Set<SimulatedDisk>();

  constructor(random: Random, schedule?: Schedule) {
    this.random = random;
    this.schedule =
      schedule ??
      ((_operation, run) => {
        queueMicrotask(run);
      });
  }

  /** A new empty disk mounted on `directory`. */
  addDisk(directory: string, options: { capacityBytes?: number; id?: Uuid } = {}): SimulatedMedium {
    const medium = new SimulatedMedium(this.random, { ...options, id: options.id ?? newUuid(this.random) });
    this.mount(directory, medium);
    return medium;
  }

  /** What is mounted on `directory` now. */
  medium(directory: string): SimulatedMedium {
    return must(this.#mounted.get(directory), `no simulated disk at ${directory}`);
  }

  /** What is mounted on `directory` now, if anything. */
  mounted(directory: string): SimulatedMedium | undefined {
    return this.#mounted.get(directory);
  }

  /** Mounts over whatever is there. */
  mount(directory: string, medium: SimulatedMedium): void {
    this.#media.add(medium);
    this.#mounted.set(directory, medium);
  }

  /** As if the disk were not mounted: an empty directory stands in its place. Returns the disk. */
  unmount(directory: string): SimulatedMedium {
    const medium = this.medium(directory);
    this.addDisk(directory);
    return medium;
  }

  /** Moves a disk's directory; handles go on working. */
  move(from: string, to: string): void {
    const medium = this.medium(from);
    this.#mounted.delete(from);
    this.mount(to, medium);
  }

  /** Removes what is at `directory`; handles go on working. */
  remove(directory: string): void {
    this.#mounted.delete(directory);
  }

  /**
   * Opens the disk mounted on `directory`. Unless `lock` is false takes its lock (I9).
   * @param host one does not see the locks of another, as if the disks were mounted by both: the process that goes on there is a stale one
   * @throws OperatingError ENOENT nothing there, ENODEV vanished, EBUSY locked.
   */
  open(directory: string, lock = true, host = 0): SimulatedDisk {
    const medium = this.#mounted.get(directory);
    if (!medium) throw new OperatingError('ENOENT', 'no such directory', { disk: directory });
    if (medium.gone) throw new OperatingError('ENODEV', 'the disk is gone', { disk: directory });
    const disk = new SimulatedDisk(this, medium, directory, host);
    if (lock) disk.lock();
    this.#open.add(disk);
    return disk;
  }

  /** All calls in flight on the medium, and its handles, end with ETIMEDOUT: as a real disk gives up on one that hangs. */
  timeOut(medium: SimulatedMedium): void {
    for (const disk of [...this.#open]) if (disk.medium === medium) disk.die('ETIMEDOUT', randomSurvival(this.random));
    this.#forgetDead();
  }

  /** Does someone of this host hold the disk's lock? */
  isLocked(medium: SimulatedMedium, host = 0): boolean {
    for (const disk of this.#open) if (disk.medium === medium && disk.host === host && disk.locked) return true;
    return false;
  }

  /** Called by a disk when it closes. */
  forget(disk: SimulatedDisk): void {
    this.#open.delete(disk);
  }

  /** The disk is pulled out: its unsynced writes survive or not, all calls fail until `comeBack`, handles stay dead. */
  vanish(medium: SimulatedMedium, survival: Survival = randomSurvival(this.random)): void {
    assert(!medium.gone, 'vanished already');
    for (const disk of [...this.#open]) if (disk.medium === medium) disk.die('ENODEV', survival);
    this.#forgetDead();
    medium.settle(survival, this.#directoryOf(medium));
    medium.gone = true;
  }

  comeBack(medium: SimulatedMedium): void {
    medium.gone = false;
  }

  /** Lets stalled calls go on (those of one disk, or all). */
  release(medium?: SimulatedMedium): void {
    for (const each of this.#media) if (!medium || each === medium) each.stalledPath = undefined;
    for (const disk of this.#open) if (!medium || disk.medium === medium) disk.releaseStalled();
  }

  /** All handles are dead (EIO) and all locks gone; calls in flight and, without power, unsynced changes survive or not. */
  crash(options: CrashOptions): void {
    const survival = options.survival ?? randomSurvival(this.random);
    for (const disk of options.process ?? this.#open) disk.die('EIO', survival, options.process !== undefined);
    this.#forgetDead();
    for (const medium of this.#media) {
      medium.stalledPath = undefined;
      if (options.power && !medium.gone) medium.settle(survival, this.#directoryOf(medium));
    }
  }

  #forgetDead(): void {
    this.#open = new Set([...this.#open].filter((disk) => disk.alive));
  }

  #directoryOf(medium: SimulatedMedium): string {
    for (const [directory, each] of this.#mounted) if (each === medium) return directory;
    return '';
  }
}
