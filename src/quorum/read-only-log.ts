/**
 * The quorum log without a majority: the working replica shows the most advanced survivor, appends are refused. Nothing is written on any
 * disk. It stays read-only until the pool is opened anew (all floors above would need a new epoch).
 */
import { OperatingError } from '../base/errors.js';
import type { Disk } from '../disk/disk.js';
import { originPoint } from './point.js';
import type { QuorumLog, VoterStatus } from './quorum-log.js';
import type { LogPoint } from './state-machine.js';

export interface ReadOnlyState {
  readonly reason: string;
  /** The highest epoch seen. */
  readonly epoch: number;
  readonly head: LogPoint | undefined;
  readonly durablePosition: number;
  readonly voters: readonly VoterStatus[];
}

export class ReadOnlyLog implements QuorumLog {
  readonly writable = false;
  readonly readOnlyReason: string;
  readonly epoch: number;
  readonly head: LogPoint;
  readonly durablePosition: number;
  readonly refusalCode = 'EROFS';
  #voters: VoterStatus[];

  constructor(state: ReadOnlyState) {
    this.readOnlyReason = state.reason;
    this.epoch = state.epoch;
    this.head = state.head ?? originPoint;
    this.durablePosition = state.durablePosition;
    this.#voters = [...state.voters];
  }

  reserve(): undefined {
    return undefined;
  }

  append(): number {
    throw this.#error();
  }

  durable(position: number): Promise<void> {
    return position <= this.durablePosition ? Promise.resolve() : Promise.reject(this.#error());
  }

  setVoterDisk(number: number, disk: Disk | undefined): void {
    const state = disk === undefined ? 'absent' : 'behind';
    const reason = disk === undefined ? 'its disk is not there' : 'its disk is back: unmount the pool and mount it again';
    this.#voters = this.#voters.map((voter) => (voter.number === number ? { ...voter, state, reason } : voter));
  }

  voters(): VoterStatus[] {
    return [...this.#voters];
  }

  addLearner(): Promise<void> {
    return Promise.reject(this.#error());
  }

  dropLearner(): Promise<void> {
    return Promise.resolve();
  }

  changeVoters(): Promise<void> {
    return Promise.reject(this.#error());
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #error(): OperatingError {
    return new OperatingError('EROFS', 'the pool is read-only', { hint: this.readOnlyReason });
  }
}
