/**
 * The metadata store's public face: serializable transactions over an ordered key space. Keys and values are bytes; what they
 * mean is in `keys.ts` and `rows.ts`.
 */
import type { Awaitable } from '../base/awaitable.js';

/** A row as a scan returns it. */
export interface Row {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Keys from `start` (inclusive) to `end` (exclusive) in bytewise order. */
export interface Range {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  /** Rows at most. */
  readonly limit: number;
  readonly reverse?: boolean;
}

/** Reads see the state before the transaction plus its own writes. An engine that has its rows in memory or in a file of its own answers at once. */
export interface Transaction {
  get(key: Uint8Array): Awaitable<Buffer | undefined>;
  scan(range: Range): Awaitable<Row[]>;
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /** Bytes that the log entry would take as of now; it must stay below LOG_ENTRY_BYTES_MAX. */
  readonly entryBytes: number;
}

/** What a transaction returned, and the log position of its commit (0 when it wrote nothing). */
export interface Committed<T> {
  readonly value: T;
  readonly position: number;
}

/** The committed state as it was at one position of the log: what is committed later does not show. To be closed soon. */
export interface IndexView {
  /** Where in the log it stands. */
  readonly position: number;
  /** Epoch of the entry at that position. */
  readonly epoch: number;
  get(key: Uint8Array): Awaitable<Buffer | undefined>;
  scan(range: Range): Awaitable<Row[]>;
  close(): void;
}

export interface IndexStore {
  readonly writable: boolean;
  /** What changes are refused with while it is not: ENOSPC when it is for want of room on the voters' disks. */
  readonly refusalCode: 'EROFS' | 'ENOSPC';
  /**
   * Runs `body` and commits what it wrote as one log entry: visible and safe from the daemon's death when it returns, or when its promise resolves. Without
   * a promise where nothing has to be waited for: then nobody came in between.
   * Transactions run one after the other; `body` may await nothing but its transaction (an engine may run it again after a conflict, so
   * it must have no other effects). If it throws, nothing is written.
   * @throws OperatingError EROFS without a majority, EFBIG when the entry would be too large.
   */
  transact<T>(body: (tx: Transaction) => Awaitable<T>): Awaitable<Committed<T>>;
  /** Reads of the committed state. */
  get(key: Uint8Array): Awaitable<Buffer | undefined>;
  scan(range: Range): Awaitable<Row[]>;
  /**
   * The state as of now, for whoever reads all of it (check, export). Commits go on meanwhile, and take room until it is closed.
   * @throws OperatingError EBUSY from a read when too much was committed since; begin anew
   */
  view(): IndexView;
  /** Resolves when everything committed up to `position` (default: all so far) is durable. */
  durable(position?: number): Promise<void>;
  /** Position up to which everything is durable. */
  readonly durablePosition: number;
  /** Position of the last commit. */
  readonly headPosition: number;
}
