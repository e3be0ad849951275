/** One at a time, first come first served. Free turns cost no promise; the number of those who wait is bounded. */
import { assert } from '../base/assert.js';
import { lastly, type Awaitable } from '../base/awaitable.js';
import { OperatingError } from '../base/errors.js';
import { INDEX_WAITERS_MAX } from '../base/limits.js';

export class Turns {
  #taken = false;
  /** In order of arrival from #next on; cut when it is empty, so that taking from the front moves nothing. */
  #waiting: (() => void)[] = [];
  #next = 0;
  readonly #end = (): void => {
    this.give();
  };

  /**
   * Takes the turn. undefined: it is the caller's now; otherwise once the promise resolves.
   * @param first goes before all who wait: for one who had the turn already and had to give it up.
   * @throws OperatingError EAGAIN when too many wait.
   */
  take(first = false): Promise<void> | undefined {
    if (!this.#taken) {
      this.#taken = true;
      return undefined;
    }
    if (!first && this.#waiting.length - this.#next >= INDEX_WAITERS_MAX)
      throw new OperatingError('EAGAIN', `${INDEX_WAITERS_MAX} transactions are waiting already`);
    return new Promise((resolve) => {
      if (!first) this.#waiting.push(resolve);
      else if (this.#next > 0) this.#waiting[--this.#next] = resolve;
      else this.#waiting.unshift(resolve);
    });
  }

  /**
   * Runs `action` in a turn.
   * @throws OperatingError EAGAIN when too many wait; what `action` throws
   */
  run<T>(action: () => Awaitable<T>): Awaitable<T> {
    const turn = this.take();
    return lastly(turn === undefined ? action : () => turn.then(action), this.#end);
  }

  /** Gives the turn to the next in line. */
  give(): void {
    assert(this.#taken, 'nobody has the turn');
    const next = this.#waiting[this.#next];
    if (next === undefined) {
      this.#taken = false;
      return;
    }
    this.#next++;
    if (this.#next === this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
    } else if (this.#next >= INDEX_WAITERS_MAX) {
      this.#waiting = this.#waiting.slice(this.#next);
      this.#next = 0;
    }
    next();
  }
}
