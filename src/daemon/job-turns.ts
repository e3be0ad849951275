/**
 * Whose turn it is among the jobs that move data: one at a time, the one with the highest number first, then first come first served. A job gives its turn
 * up at a checkpoint when somebody more important waits. Used by jobs.ts alone.
 */
interface Waiter {
  readonly turn: number;
  readonly wake: (got: boolean) => void;
}

export class JobTurns {
  #taken = false;
  /** Bounded by the number of kinds. */
  readonly #waiting: Waiter[] = [];

  /**
   * Resolves true with the turn, false when `abandon` was called before.
   * @param waits told that it is not free, with what gives up waiting
   */
  async take(turn: number, waits: (abandon: () => void) => void): Promise<boolean> {
    if (!this.#taken && this.#waiting.every((other) => other.turn <= turn)) {
      this.#taken = true;
      return true;
    }
    return new Promise((resolve) => {
      const waiter: Waiter = { turn, wake: resolve };
      this.#waiting.push(waiter);
      waits(() => {
        const at = this.#waiting.indexOf(waiter);
        if (at < 0) return;
        this.#waiting.splice(at, 1);
        resolve(false);
      });
    });
  }

  /** Does somebody more important wait? */
  isWantedBefore(turn: number): boolean {
    return this.#waiting.some((other) => other.turn > turn);
  }

  give(): void {
    let best: Waiter | undefined;
    for (const waiter of this.#waiting) if (best === undefined || waiter.turn > best.turn) best = waiter;
    if (best === undefined) {
      this.#taken = false;
      return;
    }
    // It goes straight to the next one, so that nobody slips in between.
    this.#waiting.splice(this.#waiting.indexOf(best), 1);
    best.wake(true);
  }
}
