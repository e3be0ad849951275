/** A job's surroundings without the daemon: a context that a test can pause, end and read, and disks that come, go and fail as it says. */
import { systemClock, type Clock } from '../../src/base/clock.js';
import type { SetMember } from '../../src/disk/disk-set.js';
import type { MemberState } from '../../src/disk/membership.js';
import { newUuid } from '../../src/base/ids.js';
import { seededRandom } from '../../src/base/clock.js';
import type { Disk } from '../../src/disk/disk.js';
import { JobEnded, type JobContext, type JobOptions } from '../../src/durability/job.js';
import { Progress } from '../../src/durability/progress.js';
import type { Disks } from '../../src/durability/survey.js';

export class TestContext implements JobContext {
  readonly progress: Progress;
  readonly saved: unknown[] = [];
  checkpoints = 0;
  /** Ends at this checkpoint. */
  endAt = Infinity;

  constructor(
    readonly cursor: unknown = undefined,
    readonly options: JobOptions = {},
    clock: Clock = systemClock,
  ) {
    this.progress = new Progress(clock);
  }

  async checkpoint(): Promise<void> {
    if (++this.checkpoints >= this.endAt) throw new JobEnded();
  }

  ending(): boolean {
    return this.checkpoints >= this.endAt;
  }

  async save(cursor: unknown): Promise<void> {
    this.saved.push(structuredClone(cursor));
  }
}

/** Nobody uses the pool. */
export const unused = { inFlight: 0, lastMs: -Infinity };

export class FakeDisks implements Disks {
  readonly out = new Set<number>();
  readonly states = new Map<number, MemberState>();
  readonly capacities = new Map<number, { totalBytes: number; freeBytes: number }>();

  constructor(readonly count = 6) {}

  members(): SetMember[] {
    return Array.from({ length: this.count }, (_, index): SetMember => {
      const number = index + 1;
      const state = this.states.get(number) ?? 'active';
      const capacity = async (): Promise<{ totalBytes: number; freeBytes: number }> =>
        this.capacities.get(number) ?? { totalBytes: 1e9, freeBytes: 1e9 };
      const disk = this.out.has(number) ? undefined : ({ capacity, directory: `/disk${number}` } as Partial<Disk> as Disk);
      const member = {
        number,
        id: newUuid(seededRandom(number)),
        role: 'data' as const,
        state,
        voter: true,
        zone: undefined,
        directory: `/disk${number}`,
      };
      return {
        member,
        state: disk === undefined ? 'offline' : 'online',
        disk,
        reason: undefined,
        errors: 0,
        returned: false,
        reservedBytes: 0,
      };
    });
  }
}
