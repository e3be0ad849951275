/**
 * Entries of a voter's log on the thread of the replicas: read in stretches, checked, and kept as bytes of their payloads alone. The memory is used again for the
 * next ones.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { LOG_ENTRY_BYTES_MAX } from '../base/limits.js';
import { OperatingError } from '../base/errors.js';
import { RunReader } from '../quorum/log-run.js';
import { errnoOf } from './sqlite-error.js';
import { putEntry, type FilePiece, type RunFiles } from './worker-jobs.js';

/** Read at one time: longer than every record. */
const READ_BYTES = 2 * LOG_ENTRY_BYTES_MAX;

/** A log that does not have what it should have, or that cannot be read. */
export class DamagedLogError extends OperatingError {}

export class LogEntries {
  #packed: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #used = 0;
  #chunk: Buffer<ArrayBufferLike> = Buffer.alloc(0);

  /**
   * The data entries of a run, packed (`putEntry`); valid until the next call.
   * @param alive called now and then
   * @throws DamagedLogError
   */
  read({ pieces, from, to }: RunFiles, alive: () => void): Buffer {
    this.#used = 0;
    const reader = new RunReader(from, to);
    // Records are longer than what is kept of them. Memory that is never written is never there.
    const most = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
    if (this.#packed.length < most) this.#packed = Buffer.allocUnsafeSlow(most);
    if (this.#chunk.length === 0) this.#chunk = Buffer.allocUnsafeSlow(READ_BYTES);
    let path = '';
    try {
      for (const piece of pieces) {
        ({ path } = piece);
        this.#readPiece(piece, reader, alive);
      }
      reader.end();
    } catch (error) {
      // What is neither damage nor a failed call is a bug.
      if (!(error instanceof OperatingError) && (error as { syscall?: unknown }).syscall === undefined) throw error;
      throw new DamagedLogError(errnoOf(error), `${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    return this.#packed.subarray(0, this.#used);
  }

  #readPiece({ path, offset, bytes }: FilePiece, reader: RunReader, alive: () => void): void {
    // It lies on a disk that anybody may have had: no link is followed, and a pipe is not waited for.
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const end = offset + bytes;
      for (let at = offset; at < end;) {
        const wanted = Math.min(this.#chunk.length, end - at);
        const read = readFully(file, this.#chunk.subarray(0, wanted), at);
        if (read === 0) throw new OperatingError('EBADMSG', `the log ends at ${at}`);
        const last = at + read === end || read < wanted;
        at += reader.take(this.#chunk.subarray(0, read), at, last, ({ kind, point, payload }) => {
          if (kind === 'data') this.#used = putEntry(this.#packed, this.#used, point.position, payload);
        });
        alive();
      }
    } finally {
      closeSync(file);
    }
  }

  /** Nothing more is read for now. */
  rest(): void {
    this.#packed = Buffer.alloc(0);
    this.#chunk = this.#packed;
    this.#used = 0;
  }
}

/** @returns fewer than asked for at the end of the file */
function readFully(file: number, into: Buffer, at: number): number {
  let read = 0;
  while (read < into.length) {
    const bytes = readSync(file, into, read, into.length - read, at + read);
    if (bytes === 0) break;
    read += bytes;
  }
  return read;
}
