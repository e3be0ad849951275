/** What the main thread and a replica's thread say to each other, and how entries travel. */
import type { ErrnoName } from '../base/errors.js';
import type { LogPoint } from '../quorum/state-machine.js';

/** A part of a file that the thread reads. */
export interface FilePiece {
  /** Absolute. */
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Entries that the thread reads from a voter's log (quorum/log-run.ts). */
export interface RunFiles {
  readonly pieces: readonly FilePiece[];
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
  | { readonly kind: 'apply'; readonly path: string; readonly run: RunFiles }
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

/** What went wrong, in a form that crosses the border. `damaged`: what must not be trusted any more: the replica's own file, the copy's source, or the log. */
export interface JobFailure {
  readonly code: ErrnoName;
  readonly message: string;
  readonly damaged: 'none' | 'own' | 'source' | 'log';
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
