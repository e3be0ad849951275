/** What the index store needs of a working replica beside what the log drives: synchronous reads of the applied state. */
import type { Range, Row } from './index-store.js';
import { assert } from '../base/assert.js';
import { INDEX_SCAN_ROWS_MAX } from '../base/limits.js';
import type { LogPoint, WorkingReplica } from '../quorum/state-machine.js';

/** A replica as it was at a point. */
export interface ReplicaView {
  readonly point: LogPoint;
  /** @throws OperatingError EBUSY when it had to be given up; otherwise as the replica's. */
  get(key: Uint8Array): Buffer | undefined;
  scan(range: Range): Row[];
  close(): void;
}

export interface ReadableReplica extends WorkingReplica {
  /** The value of a row, in memory that the caller may keep. @throws OperatingError EIO when the replica turns out damaged. */
  get(key: Uint8Array): Buffer | undefined;
  /** Rows of a range in order, at most `range.limit`. @throws as `get`. */
  scan(range: Range): Row[];
  /** What was applied so far, held still. @throws as `get`. */
  view(): ReplicaView;
  /** Makes what was applied so far survive the end of the process, and lets go of all files and threads. */
  close(): Promise<void>;
}

/** Asserts that a range is one that an engine may be asked for. */
export function checkRange({ limit }: Range): void {
  assert(Number.isInteger(limit) && limit >= 1 && limit <= INDEX_SCAN_ROWS_MAX, `scan of ${limit} rows; 1 … ${INDEX_SCAN_ROWS_MAX}`);
}
