/**
 * Decides when durable replicas get what is durable: as late as the log's memory allows, since a batch of few entries costs as much as one of hundreds, and what
 * comes and goes within a batch is never written. Kept by `LeadingLog`.
 *
 *   resting ──half of what may be ahead is──▶ feeding those that are nearly as far as each other ──all are done──▶ resting
 *      └──three quarters, interval, somebody waits──▶ feeding each as far as it can
 */
import type { Cancel, Clock } from '../base/clock.js';
import { LOG_AHEAD_BYTES_MAX, REPLICA_INTERVAL_MS } from '../base/limits.js';
import type { History } from './history.js';
import type { VoterLink } from './voter-link.js';

/** What is asked of a voter. */
export type FedVoter = Pick<VoterLink, 'online' | 'applicable' | 'replicaBehind' | 'feedReplica'>;

export interface ReplicaFeederOptions {
  readonly clock: Clock;
  readonly history: Pick<History, 'windowBase' | 'windowBytes'>;
  readonly voters: { readonly all: readonly FedVoter[] };
  /** A replica has more, perhaps. */
  readonly moved: () => void;
}

export class ReplicaFeeder {
  readonly #options: ReplicaFeederOptions;
  readonly #feeding = new Set<FedVoter>();
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(options: ReplicaFeederOptions) {
    this.#options = options;
  }

  /** At once when much of what may be ahead of them is; in any case after a while, with what else comes until then. */
  inTime(): void {
    if (this.#options.history.windowBytes > LOG_AHEAD_BYTES_MAX / 2) this.now();
    this.later();
  }

  later(): void {
    if (this.#cancel !== undefined || this.#stopped) return;
    this.#cancel = this.#options.clock.after(REPLICA_INTERVAL_MS, () => {
      this.#cancel = undefined;
      this.now(true);
    });
  }

  /**
   * What comes meanwhile is for the next time, and so is who is ready before the others: together they are given the same entries.
   * @param pressed somebody waits or will soon, or it is time: each goes as far as it can, and waits for no other one
   */
  now(pressed = this.#options.history.windowBytes > (LOG_AHEAD_BYTES_MAX / 4) * 3): void {
    if (this.#feeding.size > 0 && !pressed) return;
    const { voters, moved } = this.#options;
    const links = voters.all.filter((link) => link.online && !this.#feeding.has(link) && link.replicaBehind(Infinity));
    const end = pressed ? Infinity : this.#endFor(links);
    for (const link of links) {
      if (!link.replicaBehind(end)) continue;
      this.#feeding.add(link);
      void link.feedReplica(end).finally(() => {
        this.#feeding.delete(link);
        moved();
        if (!this.#stopped && link.replicaBehind(Infinity)) this.inTime();
      });
    }
  }

  /** As far as those go that are not far behind: what is made of the entries is made once, and none has to read what memory let go of. */
  #endFor(links: readonly FedVoter[]): number {
    const { windowBase } = this.#options.history;
    const ends = links.map((link) => link.applicable - windowBase);
    const least = Math.min(...ends);
    return least >= Math.max(...ends) / 2 ? windowBase + least : Infinity;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }
}
