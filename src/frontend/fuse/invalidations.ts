/**
 * Telling the kernel that what it has cached of inodes is not true any more. Each call is a thread that may wait for the kernel, which may wait for us; so
 * there are few at a time, and an inode that is named often is told about once more, not once for each time.
 */

/** Calls under way at one time. */
const IN_FLIGHT_MAX = 4;

export class Invalidations {
  readonly #send: (ino: number) => Promise<void>;
  /** In the order in which they came; bounded by the inodes that are open. */
  readonly #waiting = new Set<number>();
  readonly #running = new Set<number>();
  #idle: (() => void)[] = [];

  /** @param send never rejects */
  constructor(send: (ino: number) => Promise<void>) {
    this.#send = send;
  }

  add(ino: number): void {
    this.#waiting.add(ino);
    this.#next();
  }

  /** Resolves when nothing waits and nothing runs. */
  idle(): Promise<void> {
    if (this.#waiting.size + this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #next(): void {
    for (const ino of this.#waiting) {
      if (this.#running.size >= IN_FLIGHT_MAX) return;
      // What came while it runs is told again afterwards.
      if (this.#running.has(ino)) continue;
      this.#waiting.delete(ino);
      this.#running.add(ino);
      void this.#send(ino).finally(() => {
        this.#running.delete(ino);
        this.#next();
      });
    }
    if (this.#waiting.size + this.#running.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
