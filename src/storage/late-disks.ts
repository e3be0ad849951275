/**
 * Keeps a disk that is late with a write or a sync from holding up the pool. Whoever waits for several disks at one time (a store, the space for it, a sync)
 * has it watched. At every tick of the watch:
 *
 *   a disk left meanwhile                                       ─▶ it is not waited for any more
 *   at most m disks are late, and others can take over          ─▶ gone around at once (slow-disks.ts counts that: the disk becomes suspect)
 *   at most m disks are late, and nobody can take over          ─▶ waited for, on account: a disk that the pool has waited LATE_BUDGET_MS for, alone, is put out; much sooner where other disks hold whole blobs without it
 *
 * An account shrinks with time (LATE_LEAK), so that only a disk which costs more than this share of the time ever gets there; one that was busy for a moment does
 * not. More than m late disks are the load. Nobody is put out where new data would have no redundancy left, or the voters no majority: redundancy
 * comes before speed, and a call that hangs for DISK_STALL_MS ends in any case. Owned by pool.ts.
 */
import type { Cancel, Clock } from '../base/clock.js';
import type { DiskNumber } from '../base/ids.js';
import { LATE_LEAK, LATE_TICK_MS, WRITE_PATIENCE_MS_MIN } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import { UsualDuration } from '../base/usual-duration.js';

/** A disk that was asked for something. */
export interface Asked {
  readonly disk: DiskNumber;
  /** As it was then. */
  readonly object: Disk | undefined;
}

/** What is waited for. */
export interface Awaited {
  /** Disks that have not answered yet. */
  pending(): readonly Asked[];
  /** These are not waited for any more. */
  giveUp(disks: readonly DiskNumber[]): void;
  /** Can others take over from these? */
  spare?(late: readonly DiskNumber[]): boolean;
  /** How long after its beginning a disk counts as late; undefined: nobody is, however long it takes. */
  lateAfterMs(): number | undefined;
  /** It is a store like any other: its duration counts for what is usual. */
  readonly usual?: boolean;
}

export interface LateDisksOptions {
  readonly clock: Clock;
  readonly m: number;
  readonly isIn: (asked: Asked) => boolean;
  /** How long it may be waited for before it is put out. */
  readonly budgetMs: (disk: DiskNumber) => number;
  /** The pool has waited for it alone for so long: it is to be put out. */
  readonly tooLate: (disk: DiskNumber, ms: number) => void;
  /** Others took over from it. */
  readonly wentAround: (disk: DiskNumber) => void;
}

/** How long a disk was waited for. */
interface Account {
  ms: number;
  atMs: number;
}

export class LateDisks {
  readonly #options: LateDisksOptions;
  readonly #accounts = new Map<DiskNumber, Account>();
  readonly #usual = new UsualDuration(WRITE_PATIENCE_MS_MIN);

  constructor(options: LateDisksOptions) {
    this.#options = options;
  }

  /** How long the disks of a store are waited for before one is late. */
  get patienceMs(): number {
    return this.#usual.patienceMs;
  }

  /**
   * Watches something that begins now.
   * @returns what is called when it has ended
   */
  watch(work: Awaited): () => void {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    let cancel: Cancel = () => undefined;
    let late = false;
    const wait = (): void => {
      cancel = clock.after(LATE_TICK_MS, () => {
        wait();
        late = this.#look(work, clock.monotonicMs() - startedMs) || late;
      });
    };
    wait();
    return () => {
      cancel();
      // What waited for one disk alone says nothing of the others.
      if (work.usual === true && !late) this.#usual.note(clock.monotonicMs() - startedMs);
    };
  }

  /**
   * Waits for all of these, whose `done` never rejects.
   * @returns disks that were given up
   */
  async all(
    asked: readonly (Asked & { readonly done: Promise<unknown> })[],
    rules: Pick<Awaited, 'spare' | 'lateAfterMs'>,
  ): Promise<Set<DiskNumber>> {
    const pending = new Map(asked.map((each) => [each.disk, each]));
    const givenUp = new Set<DiskNumber>();
    await new Promise<void>((resolve) => {
      const ended = (disk: DiskNumber): void => {
        if (!pending.delete(disk) || pending.size > 0) return;
        stop();
        resolve();
      };
      const stop = this.watch({
        ...rules,
        pending: () => [...pending.values()],
        giveUp: (disks) => {
          for (const disk of disks) givenUp.add(disk);
          for (const disk of disks) ended(disk);
        },
      });
      for (const { disk, done } of asked)
        void done.then(() => {
          ended(disk);
        });
      if (asked.length > 0) return;
      stop();
      resolve();
    });
    return givenUp;
  }

  /** Nothing is held against it any more. */
  forget(disk: DiskNumber): void {
    this.#accounts.delete(disk);
  }

  /** Returns whether a disk is late, and the others are not. */
  #look(work: Awaited, ms: number): boolean {
    const { m, isIn, budgetMs, tooLate, wentAround } = this.#options;
    const left = work.pending().filter((asked) => !isIn(asked));
    if (left.length > 0) work.giveUp(left.map(({ disk }) => disk));
    const pending = work.pending();
    const afterMs = work.lateAfterMs();
    if (pending.length === 0 || pending.length > m || afterMs === undefined || ms < afterMs) return left.length > 0;
    const late = pending.map(({ disk }) => disk);
    if (work.spare?.(late) === true) {
      for (const disk of late) wentAround(disk);
      work.giveUp(late);
      return true;
    }
    for (const disk of late) {
      const waitedMs = this.#charge(disk);
      if (waitedMs < budgetMs(disk)) continue;
      tooLate(disk, waitedMs);
      work.giveUp([disk]);
    }
    return true;
  }

  /** Another tick was spent on waiting for this disk, however many wait. */
  #charge(disk: DiskNumber): number {
    const nowMs = this.#options.clock.monotonicMs();
    const account = this.#accounts.get(disk) ?? { ms: 0, atMs: nowMs - LATE_TICK_MS };
    const passedMs = nowMs - account.atMs;
    // No more than two ticks: when this process did not run, its calls could not end either.
    account.ms = Math.max(0, account.ms - LATE_LEAK * passedMs) + Math.min(passedMs, 2 * LATE_TICK_MS);
    account.atMs = nowMs;
    this.#accounts.set(disk, account);
    return account.ms;
  }
}
