/** What the main thread and a replica's thread say to each other, and how entries travel. */
import { assert } from '../base/assert.js';
import type { ErrnoName } from '../base/errors.js';
import type { LogEntry, LogPoint } from '../quorum/state-machine.js';

/** Entries as one run of shared memory: no copy at the border, and voters that follow in step share it. */
export interface PackedEntries {
  /** Names this batch within the process. */
  readonly batch: number;
  /** The data entries (`putEntry`), in the first `bytes` bytes. */
  readonly memory: SharedArrayBuffer;
  readonly bytes: number;
  /** Where a replica stands before and behind these entries. */
  readonly from: LogPoint;
  readonly to: LogPoint;
}

/** Rows on their way to a file, in memory that a thread can read: such as are in order of their keys, and entries in theirs (`unwritten-rows.ts`). */
export interface PackedRows {
  readonly memory: SharedArrayBuffer;
  readonly rowBytes: number;
  readonly entryBytes: number;
}

/** One request. A thread serves all replicas, one request at a time, and keeps the last file open. */
export type Job =
  /** Opens the durable replica; `create`: a new one. Answers with its point, or undefined when it is damaged. */
  | { readonly kind: 'open'; readonly path: string; readonly create: boolean }
  /** Applies entries to a durable replica in one transaction. */
  | { readonly kind: 'apply'; readonly path: string; readonly entries: PackedEntries }
  /** Lets go of the file, so that it can be removed or replaced; without a path of any. */
  | { readonly kind: 'close'; readonly path?: string }
  /** Nothing more comes for now: lets go of the last batch. */
  | { readonly kind: 'rest' }
  /** Copies a durable replica's file and verifies the copy. Answers with its point. */
  | { readonly kind: 'copy'; readonly from: string; readonly to: string }
  /** Verifies a working replica's file that an earlier process left. Answers with its point, or undefined when it is damaged. */
  | { readonly kind: 'check'; readonly path: string }
  /** Opens a working replica's file for writing; `create`: an empty one. Answers with its point. */
  | { readonly kind: 'stand'; readonly path: string; readonly create: boolean }
  /** Writes rows of a working replica in one transaction that brings it to `point`. Answers with the bytes of its write-ahead file. */
  | { readonly kind: 'write'; readonly path: string; readonly rows: PackedRows; readonly point: LogPoint };

export interface JobAnswers {
  open: LogPoint | undefined;
  apply: undefined;
  close: undefined;
  rest: undefined;
  copy: LogPoint;
  check: LogPoint | undefined;
  stand: LogPoint;
  write: number;
}

/** Request as posted. */
export interface Request {
  readonly id: number;
  readonly job: Job;
}

/** What went wrong, in a form that crosses the border. `damaged`: the file that must not be trusted any more: the replica's own or the copy's source. */
export interface JobFailure {
  readonly code: ErrnoName;
  readonly message: string;
  readonly damaged: 'none' | 'own' | 'source';
  /** A bug of ours: ends the process. */
  readonly bug: boolean;
}

/** alive: still at it. */
export type Reply =
  | { readonly id: number; readonly type: 'alive' }
  | { readonly id: number; readonly type: 'done'; readonly answer: unknown }
  | { readonly id: number; readonly type: 'failed'; readonly failure: JobFailure };

/** Before each packed entry: position (f64), payload's length (u32), both little endian. */
export const ENTRY_HEADER_BYTES = 12;

let batches = 0;

/** Packs entries that follow `from`; `take` finds memory of so many bytes at least. */
export function packEntries(from: LogPoint, entries: readonly LogEntry[], take: (bytes: number) => SharedArrayBuffer): PackedEntries {
  let bytes = 0;
  let to = from;
  for (const entry of entries) {
    assert(entry.point.position === to.position + 1, `entry ${entry.point.position} after ${to.position}`);
    assert(entry.point.epoch >= to.epoch, `entry of epoch ${entry.point.epoch} after epoch ${to.epoch}`);
    to = entry.point;
    if (entry.kind === 'data') bytes += ENTRY_HEADER_BYTES + entry.payload.length;
  }
  const memory = take(bytes);
  const packed = Buffer.from(memory, 0, bytes);
  let at = 0;
  for (const { kind, point, payload } of entries) if (kind === 'data') at = putEntry(packed, at, point.position, payload);
  return { batch: ++batches, memory, bytes, from: clonePoint(from), to: clonePoint(to) };
}

/** Puts an entry at `at`; returns where it ends. */
export function putEntry(packed: Buffer, at: number, position: number, payload: Uint8Array): number {
  packed.writeDoubleLE(position, at);
  packed.writeUInt32LE(payload.length, at + 8);
  packed.set(payload, at + ENTRY_HEADER_BYTES);
  return at + ENTRY_HEADER_BYTES + payload.length;
}

/** The entries that were put. Payloads are views. */
export function* packedEntries(packed: Buffer): Generator<[position: number, payload: Buffer]> {
  for (let at = 0; at < packed.length;) {
    const position = packed.readDoubleLE(at);
    const bytes = packed.readUInt32LE(at + 8);
    at += ENTRY_HEADER_BYTES;
    yield [position, packed.subarray(at, at + bytes)];
    at += bytes;
  }
}

/** The chain may be a view into a large buffer, all of which would be cloned when it is posted. */
export function clonePoint({ position, epoch, chain }: LogPoint): LogPoint {
  return { position, epoch, chain: Uint8Array.from(chain) };
}
