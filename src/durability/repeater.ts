/**
 * Repeats a piece of background work until it is stopped: collection, compaction. A round begins so long after the last one ended; after one that failed the
 * pause doubles, up to REPEAT_PAUSE_MS_MAX, until a round ends well. What went wrong is said once for each series of failures, and kept for the operator.
 *
 *   start ─▶ pause ─▶ round ─▶ pause ─▶ …       stop: ends the pause, or waits for the round, which asks `stopped` between its steps
 */
import { asOperatingError, type OperatingError } from '../base/errors.js';
import type { Cancel, Clock } from '../base/clock.js';
import { REPEAT_PAUSE_MS_MAX } from '../base/limits.js';
import type { Log } from '../namespace/options.js';

export interface RepeaterOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** For messages. */
  readonly what: string;
  readonly intervalMs: number;
  readonly round: () => Promise<void>;
}

export class Repeater {
  readonly #options: RepeaterOptions;
  #pauseMs: number;
  #cancel: Cancel | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #failure: OperatingError | undefined;

  constructor(options: RepeaterOptions) {
    this.#options = options;
    this.#pauseMs = options.intervalMs;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** What the last round failed with; undefined when it ended well. */
  get failure(): OperatingError | undefined {
    return this.#failure;
  }

  /** The first round begins after a pause. */
  start(): void {
    this.#cancel = this.#options.clock.after(this.#pauseMs, () => {
      if (this.#stopped) return;
      this.#running = this.#round().finally(() => {
        if (!this.#stopped) this.start();
      });
    });
  }

  /** Stops after the step under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  async #round(): Promise<void> {
    const { what, intervalMs, log, round } = this.#options;
    try {
      await round();
      this.#failure = undefined;
      this.#pauseMs = intervalMs;
    } catch (thrown) {
      const error = asOperatingError(thrown);
      if (this.#failure === undefined) log('warn', `${what} stopped: ${error.message}`, { code: error.code });
      this.#failure = error;
      this.#pauseMs = Math.max(intervalMs, Math.min(this.#pauseMs * 2, REPEAT_PAUSE_MS_MAX));
    }
  }
}
