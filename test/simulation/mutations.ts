/**
 * Ways to break a pool on purpose, to see that the simulation finds them: each leaves a rule out, or puts something between two floors that lies.
 */
import type { LogEntry } from '../../src/quorum/state-machine.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import type { StripeIo } from '../../src/disk/stripe.js';
import type { IndexStore } from '../../src/index/index-store.js';
import type { OpenQuorumLog, QuorumOptions } from '../../src/quorum/quorum-log.js';
import type { Storage } from '../../src/storage/storage.js';
import type { Trace } from './trace.js';

/** What is put in the place of which part. */
export interface Mutation {
  readonly opener?: (opener: DiskOpener) => DiskOpener;
  readonly stripeIo?: StripeIo;
  readonly openQuorumLog?: OpenQuorumLog;
  readonly quorumOptions?: (options: QuorumOptions) => QuorumOptions;
  /** What a durable replica is told to apply. */
  readonly replicated?: (entries: readonly LogEntry[], trace: Trace) => readonly LogEntry[];
  readonly storage?: (storage: Storage) => Storage;
  readonly index?: (index: IndexStore) => IndexStore;
}
