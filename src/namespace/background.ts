/** Work that nobody waits for, except `close`. Its failures are logged here, never lost. */
import { asOperatingError } from '../base/errors.js';
import type { Log } from './options.js';

export class Background {
  readonly #running = new Set<Promise<unknown>>();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Lets `idle` wait for work that handles its own errors. */
  track(work: Promise<unknown>): void {
    this.#running.add(work);
    work.then(
      () => this.#running.delete(work),
      () => this.#running.delete(work),
    );
  }

  run(what: string, work: Promise<unknown>): void {
    this.track(
      work.catch((error: unknown) => {
        const { code, message } = asOperatingError(error);
        this.#log('warn', `${what} failed: ${message}`, { code });
      }),
    );
  }

  /** Resolves when nothing is running. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }
}
