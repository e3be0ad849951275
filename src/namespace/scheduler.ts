/** Commits that nobody waits for: of files kept open, when `commitIntervalMs` have passed; of the oldest uploads, when memory is short. */
import type { Cancel, Clock } from '../base/clock.js';
import { COMMITS_IN_FLIGHT_MAX } from '../base/limits.js';
import { Slots } from '../base/slots.js';
import type { Background } from './background.js';
import type { Budget } from './budget.js';
import type { Committer } from './commits.js';
import type { Node } from './node.js';
import type { Uploads } from './uploads.js';
import type { NamespaceSettings } from './options.js';

export class CommitScheduler {
  readonly #uploads: Uploads;
  readonly #committer: Committer;
  readonly #budget: Budget;
  readonly #background: Background;
  readonly #clock: Clock;
  readonly #settings: Pick<NamespaceSettings, 'commitIntervalMs'>;
  readonly #slots = new Slots(COMMITS_IN_FLIGHT_MAX);
  /** On their way to a commit. */
  readonly #due = new Set<Node>();
  #timer: Cancel | undefined;
  #stopped = false;

  constructor(
    uploads: Uploads,
    committer: Committer,
    budget: Budget,
    background: Background,
    clock: Clock,
    settings: Pick<NamespaceSettings, 'commitIntervalMs'>,
  ) {
    this.#uploads = uploads;
    this.#committer = committer;
    this.#budget = budget;
    this.#background = background;
    this.#clock = clock;
    this.#settings = settings;
    budget.relieve = () => {
      this.#relieve();
    };
    uploads.onDirty = (node, urgent) => {
      if (urgent) this.#commit(node);
      this.#arm(settings.commitIntervalMs);
    };
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  #arm(delayMs: number): void {
    if (this.#stopped || this.#timer !== undefined) return;
    this.#timer = this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#tick();
    });
  }

  #tick(): void {
    const now = this.#clock.monotonicMs();
    const intervalMs = this.#settings.commitIntervalMs;
    let oldestMs = Infinity;
    for (const node of this.#uploads.dirty) {
      // Nobody will look for the content of a file without a name after a crash.
      if (node.row.links === 0 || node.current === undefined) continue;
      if (now - node.current.sinceMs >= intervalMs) this.#commit(node);
      else oldestMs = Math.min(oldestMs, node.current.sinceMs);
    }
    if (oldestMs < Infinity) this.#arm(Math.max(1, oldestMs + intervalMs - now));
    else if (this.#uploads.dirty.size > 0) this.#arm(intervalMs);
  }

  #relieve(): void {
    for (const node of this.#uploads.dirty) {
      if (this.#due.size >= COMMITS_IN_FLIGHT_MAX) return;
      this.#commit(node);
    }
  }

  #commit(node: Node): void {
    if (this.#due.has(node)) return;
    this.#due.add(node);
    this.#background.run(
      `commit of inode ${node.ino}`,
      // Not in this turn: whoever brought the memory to its limit is still writing to its layer.
      Promise.resolve()
        .then(() => this.#slots.run(async () => await this.#committer.commit(node)))
        .finally(() => {
          this.#due.delete(node);
          if (this.#budget.tight) this.#relieve();
        }),
    );
  }
}
