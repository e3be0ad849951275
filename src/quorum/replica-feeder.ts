/**
 * Decides when durable replicas get what is durable: in whole stretches of the log, since a batch of few entries costs as much as one of thousands, and what comes
 * and goes within a batch is never written. Kept by `LeadingLog`.
 *
 *   resting ──a stretch is durable──▶ each that lacks it is fed to the end of a stretch ──all are done──▶ resting
 *      └──interval, the end──▶ each is fed as far as it can go
 */
import type { Cancel, Clock } from '../base/clock.js';
import { LOG_STRETCHES_BEHIND_MAX, REPLICA_INTERVAL_MS } from '../base/limits.js';
import type { History } from './history.js';
import type { VoterLink } from './voter-link.js';

/** What is asked of a voter. */
export type FedVoter = Pick<VoterLink, 'online' | 'applicable' | 'replicaBehind' | 'feedReplica'>;

export interface ReplicaFeederOptions {
  readonly clock: Clock;
  readonly history: Pick<History, 'lastStretchEnd' | 'stretchesBehind'>;
  readonly voters: {
    readonly all: readonly FedVoter[];
    /** The position that the replicas of a majority have. */
    replicasAt(): number;
  };
  /** A replica has more, perhaps. */
  readonly moved: () => void;
}

export class ReplicaFeeder {
  readonly #options: ReplicaFeederOptions;
  readonly #feeding = new Set<FedVoter>();
  /** What the replicas of a majority have; asked for with each append, and kept as it was at the last move. */
  #followed = 0;
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(options: ReplicaFeederOptions) {
    this.#options = options;
  }

  /** Nothing more should be appended before a majority has followed: what they are behind is in the logs, and is what a start has to catch up with. */
  get behind(): boolean {
    return this.#options.history.stretchesBehind(this.#followed) > LOG_STRETCHES_BEHIND_MAX;
  }

  /** A voter has more, came or went. Feeds at once where a stretch is durable; in any case after a while, with what else comes until then. */
  inTime(): void {
    this.#followed = this.#options.voters.replicasAt();
    for (const link of this.#idle()) this.#feed(link, this.#options.history.lastStretchEnd(link.applicable));
    this.#later();
  }

  #later(): void {
    if (this.#cancel !== undefined || this.#stopped) return;
    this.#cancel = this.#options.clock.after(REPLICA_INTERVAL_MS, () => {
      this.#cancel = undefined;
      for (const link of this.#idle()) this.#feed(link, Infinity);
    });
  }

  #idle(): FedVoter[] {
    return this.#options.voters.all.filter((link) => link.online && !this.#feeding.has(link));
  }

  #feed(link: FedVoter, end: number): void {
    if (!link.replicaBehind(end)) return;
    this.#feeding.add(link);
    void link.feedReplica(end).finally(() => {
      this.#feeding.delete(link);
      this.#followed = this.#options.voters.replicasAt();
      this.#options.moved();
      if (!this.#stopped && link.replicaBehind(Infinity)) this.inTime();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }
}
