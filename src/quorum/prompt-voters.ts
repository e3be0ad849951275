/**
 * Which voters are asked to write at once, and which a little later. A flush is durable when enough voters have it: the quickest ones are asked first. The
 * others follow a moment later, many flushes with one write and one sync, which leaves processors and disks to those who are waited for. Where a quick one is
 * late, all are asked.
 *
 * What is durable is on as many voters as ever, so the promise is the same; those that follow are as voters that are slow.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { VOTER_FOLLOW_MS, VOTER_PATIENCE_MS_MIN } from '../base/limits.js';
import { UsualDuration } from '../base/usual-duration.js';
import type { VoterSet } from './voter-set.js';

export class PromptVoters {
  readonly #clock: Clock;
  readonly #voters: VoterSet;
  readonly #atOnce: boolean;
  readonly #usual = new UsualDuration(VOTER_PATIENCE_MS_MIN);
  #startedMs: number | undefined;
  #cancelPatience: Cancel | undefined;
  #cancelFollow: Cancel | undefined;

  /** @param atOnce all voters are always asked */
  constructor(clock: Clock, voters: VoterSet, atOnce: boolean) {
    this.#clock = clock;
    this.#voters = voters;
    this.#atOnce = atOnce;
  }

  /** There is something for everybody. */
  askAll(): void {
    this.#cancelFollow?.();
    this.#cancelFollow = undefined;
    for (const link of this.#voters.all) link.kick();
  }

  /** A flush begins: somebody waits until enough voters have what was appended. */
  flush(): void {
    if (this.#atOnce) {
      this.askAll();
      return;
    }
    this.#startedMs = this.#clock.monotonicMs();
    for (const link of this.#voters.quickest()) link.kick();
    this.#cancelPatience = this.#clock.after(this.#usual.patienceMs, () => {
      this.#cancelPatience = undefined;
      this.askAll();
    });
    this.#cancelFollow ??= this.#clock.after(VOTER_FOLLOW_MS, () => {
      this.askAll();
    });
  }

  /** Enough have it, or it is given up. */
  flushed(): void {
    if (this.#startedMs !== undefined) this.#usual.note(this.#clock.monotonicMs() - this.#startedMs);
    this.#startedMs = undefined;
    this.#cancelPatience?.();
    this.#cancelPatience = undefined;
  }

  stop(): void {
    this.#cancelPatience?.();
    this.#cancelFollow?.();
  }
}
