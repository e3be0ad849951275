/**
 * A voter's durable replica with a lock: while it is copied from, nothing is applied to it. Held by `VoterLink`.
 */
import type { Disk } from '../disk/disk.js';
import type { DurableReplica, LogPoint, ReplicaStore } from './state-machine.js';
import { REPLICA_DIRECTORY } from './voter-format.js';
import { closeQuietly } from './voter-reader.js';

export class ReplicaHolder {
  readonly replica: DurableReplica;
  #last: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(replica: DurableReplica) {
    this.replica = replica;
  }

  static async open(store: ReplicaStore, disk: Disk): Promise<ReplicaHolder> {
    return new ReplicaHolder(await store.open(disk, REPLICA_DIRECTORY));
  }

  get point(): LogPoint | undefined {
    return this.replica.point;
  }

  /** Runs `task` after all that was given before it. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /**
   * Makes this replica a copy of another one, which stands still meanwhile. Only ever from one that is further on, so that no two wait
   * for each other.
   */
  copyFrom(source: ReplicaHolder): Promise<void> {
    return this.run(() => source.run(() => this.replica.rebuildFrom(source.replica)));
  }

  close(): Promise<void> {
    this.#closed ??= this.run(() => closeQuietly(this.replica));
    return this.#closed;
  }
}
