/**
 * Keeps a slow disk from slowing the pool. A read waits for a disk only as long as reads usually take, several times over; then it goes around it: what
 * the slow disk holds is made of the others (`StripeIo.fetch` with a patience). A disk that is late again and again is suspect: reads leave it out
 * from the start, new shards go elsewhere where they can, and now and then it is asked for a few bytes, until it answers in time again.
 *
 *   quick ──late LATE_READS_MAX (LATE_WRITES_MAX) times, as nobody else──▶ suspect ──PROBES_GOOD probes in time──▶ quick
 *
 * Going around costs k reads for one. When all disks are slow, because much is asked of them, that would make it worse; so only a share of all reads
 * may (HEDGE_SHARE), and more than m disks are never suspect at one time. Owned by pool.ts; reader.ts and writer.ts ask it.
 */
import type { Cancel, Clock } from '../base/clock.js';
import type { DiskNumber } from '../base/ids.js';
import { READ_PATIENCE_MS_MIN, SLOW_PROBE_INTERVAL_MS, TRIAL_MS } from '../base/limits.js';
import type { Patience } from '../disk/stripe.js';
import { UsualDuration } from '../base/usual-duration.js';

/** Reads that may go around a disk, as a share of all, and how many may do so in a row before that counts. */
const HEDGE_SHARE = 0.1;
const HEDGES_IN_ROW_MAX = 16;
const LATE_READS_MAX = 4;
/** Writes are fewer and larger, and each was waited for longer. */
const LATE_WRITES_MAX = 2;
/** What one read in time counts against late ones: one late read in ten is no habit. */
const IN_TIME_WEIGHT = 0.1;
const PROBES_GOOD = 3;

/** Reads a little of the disk; rejects when it cannot. */
export type Probe = () => Promise<void>;

interface Suspect {
  /** What to read, where reads would have gone to lately. */
  probe: Probe | undefined;
  /** Where writes were late: a disk that does not write may read well. */
  readonly writeProbe: Probe | undefined;
  good: number;
  cancel: Cancel;
}

export interface SlowDiskOptions {
  readonly clock: Clock;
  readonly m: number;
  /** A disk became suspect (how long a read of it took at least) or is quick again (0). */
  readonly report: (disk: DiskNumber, ms: number) => void;
}

/** One fetch under way. */
export interface TimedFetch {
  /** For `StripeIo.fetch`. */
  readonly patience: Patience;
  /** It went around somebody, or tried to. */
  readonly hurried: boolean;
  /**
   * It ended well.
   * @param asked disks whose answer it was to wait for at first
   * @param late those of them that did not answer in time, with what to probe them with
   */
  ended(asked: readonly DiskNumber[], late: ReadonlyMap<DiskNumber, Probe>): void;
}

export class SlowDisks {
  readonly #options: SlowDiskOptions;
  readonly #usual = new UsualDuration(READ_PATIENCE_MS_MIN);
  #hedges = HEDGES_IN_ROW_MAX;
  readonly #late = new Map<DiskNumber, number>();
  readonly #lateWrites = new Map<DiskNumber, number>();
  readonly #suspects = new Map<DiskNumber, Suspect>();

  constructor(options: SlowDiskOptions) {
    this.#options = options;
  }

  /** Is it better not to wait for this disk? */
  isSlow(disk: DiskNumber): boolean {
    return this.#suspects.has(disk);
  }

  get any(): boolean {
    return this.#suspects.size > 0;
  }

  /** How long a read waits for one disk. */
  get patienceMs(): number {
    return this.#usual.patienceMs;
  }

  /** A read begins. */
  begin(): TimedFetch {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const timed = {
      hurried: false,
      patience: (hurry: () => void): (() => void) => {
        let cancel: Cancel = () => undefined;
        const wait = (): void => {
          cancel = clock.after(this.patienceMs, () => {
            if (!timed.hurried && this.#hedges < 1) return;
            if (!timed.hurried) this.#hedges--;
            timed.hurried = true;
            hurry();
            wait();
          });
        };
        wait();
        return () => {
          cancel();
        };
      },
      ended: (asked: readonly DiskNumber[], late: ReadonlyMap<DiskNumber, Probe>): void => {
        this.#ended(clock.monotonicMs() - startedMs, asked, late);
      },
    };
    return timed;
  }

  #ended(ms: number, asked: readonly DiskNumber[], late: ReadonlyMap<DiskNumber, Probe>): void {
    this.#hedges = Math.min(HEDGES_IN_ROW_MAX, this.#hedges + HEDGE_SHARE);
    // If the others took as long again, it was not worth it: all are busy, and this is how long reads take now.
    const worth = late.size > 0 && ms < 2 * this.patienceMs;
    if (!worth) this.#usual.note(ms);
    for (const disk of asked) {
      if (worth && late.has(disk)) continue;
      const before = this.#late.get(disk);
      if (before !== undefined && before > IN_TIME_WEIGHT) this.#late.set(disk, before - IN_TIME_WEIGHT);
      else if (before !== undefined) this.#late.delete(disk);
    }
    if (!worth) return;
    for (const [disk, probe] of late) {
      const count = (this.#late.get(disk) ?? 0) + 1;
      this.#late.set(disk, count);
      if (count >= LATE_READS_MAX) this.#suspect(disk, probe);
    }
  }

  /** A write went around it. @param probe writes a little */
  lateWrite(disk: DiskNumber, ms: number, probe: Probe): void {
    const count = (this.#lateWrites.get(disk) ?? 0) + 1;
    this.#lateWrites.set(disk, count);
    if (count >= LATE_WRITES_MAX) this.#suspect(disk, undefined, { ms, probe });
  }

  /** A write to these ended in time. */
  wrote(disks: readonly DiskNumber[]): void {
    for (const disk of this.#lateWrites.size > 0 ? disks : []) {
      const left = (this.#lateWrites.get(disk) ?? 0) - IN_TIME_WEIGHT;
      if (left > 0) this.#lateWrites.set(disk, left);
      else this.#lateWrites.delete(disk);
    }
  }

  #suspect(disk: DiskNumber, probe: Probe | undefined, write?: { readonly ms: number; readonly probe: Probe }): void {
    if (this.#suspects.has(disk)) return;
    // So many are not slow: it is the load, or the machine.
    if (this.#suspects.size >= Math.max(1, this.#options.m)) return;
    const suspect: Suspect = { probe, writeProbe: write?.probe, good: 0, cancel: () => undefined };
    this.#suspects.set(disk, suspect);
    this.#options.report(disk, write?.ms ?? this.patienceMs);
    this.#arm(disk, suspect);
  }

  #arm(disk: DiskNumber, suspect: Suspect): void {
    suspect.cancel = this.#options.clock.after(SLOW_PROBE_INTERVAL_MS, () => {
      void this.#ask(disk, suspect);
    });
  }

  /** Never rejects. */
  async #ask(disk: DiskNumber, suspect: Suspect): Promise<void> {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    try {
      await suspect.probe?.();
      let inTime = clock.monotonicMs() - startedMs <= this.patienceMs;
      await suspect.writeProbe?.();
      inTime &&= clock.monotonicMs() - startedMs <= TRIAL_MS;
      suspect.good = inTime ? suspect.good + 1 : 0;
    } catch {
      suspect.good = 0;
    }
    if (this.#suspects.get(disk) !== suspect) return;
    if (suspect.good >= PROBES_GOOD) this.forget(disk);
    else this.#arm(disk, suspect);
  }

  /** A read left it out: this is what it would have read. */
  leftOut(disk: DiskNumber, probe: Probe): void {
    const suspect = this.#suspects.get(disk);
    if (suspect) suspect.probe = probe;
  }

  /** Nothing is held against it any more: it answers in time, or left. */
  forget(disk: DiskNumber): void {
    this.#late.delete(disk);
    this.#lateWrites.delete(disk);
    const suspect = this.#suspects.get(disk);
    if (!suspect) return;
    suspect.cancel();
    this.#suspects.delete(disk);
    this.#options.report(disk, 0);
  }

  /** No more probes. */
  close(): void {
    for (const { cancel } of this.#suspects.values()) cancel();
    this.#suspects.clear();
  }
}
