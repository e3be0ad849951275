/**
 * Entries for durable replicas, read from a voter's log by whoever applies them: the leader only says where they are. Nothing of a file is believed: each record must
 * be intact and follow the one before it, and the last one must be the one that the leader means (I6).
 */
import { assert, must } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { Disk } from '../disk/disk.js';
import type { EntryTable } from './entry-table.js';
import { samePoint } from './point.js';
import { decodeRecord, followsPoint, recordLength, RECORD_HEADER_BYTES } from './record.js';
import type { LogEntry, LogPiece, LogPoint, LogRun } from './state-machine.js';
import { BLOCK_BYTES, compareFiles, logName, voterPath } from './voter-format.js';
import { closeQuietly } from './voter-reader.js';

/** The entries behind `from` up to position `to`, where the log of this table has them. */
export function runOf(disk: Disk, table: EntryTable, from: LogPoint, to: number): LogRun {
  assert(table.has(from.position + 1) && table.has(to), () => `the log has no entries ${from.position + 1} … ${to}`);
  const pieces: LogPiece[] = [];
  for (let first = from.position + 1; first <= to;) {
    const start = table.place(first);
    const last = lastOfFile(table, first, to);
    const end = table.place(last);
    pieces.push({ path: voterPath(logName(start.file)), offset: start.offset, bytes: end.offset + end.bytes - start.offset });
    first = last + 1;
  }
  return { from, to: must(table.pointAt(to), 'it has it'), disk, pieces };
}

/** Of the entries `first` … `to` the last one that is in the same file as the first. */
export function lastOfFile(table: EntryTable, first: number, to: number): number {
  const { file } = table.place(first);
  let low = first;
  for (let high = to; low < high;) {
    const middle = Math.ceil((low + high) / 2);
    if (compareFiles(table.place(middle).file, file) === 0) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Goes through the records of a run, as their bytes come. */
export class RunReader {
  readonly #to: LogPoint;
  #at: LogPoint;

  constructor(from: LogPoint, to: LogPoint) {
    this.#at = from;
    this.#to = to;
  }

  /**
   * Gives the entries of the records at the start of `bytes`, which lie at `offset` of a file; payloads and chains are views into `bytes`.
   * @param last nothing of this piece comes after these
   * @returns how many bytes that were: the rest is the beginning of a record
   * @throws OperatingError EBADMSG where there is no record that follows
   */
  take(bytes: Buffer, offset: number, last: boolean, visit: (entry: LogEntry) => void): number {
    let at = 0;
    while (at < bytes.length) {
      const rest = bytes.subarray(at);
      if (rest.length < RECORD_HEADER_BYTES && !last) break;
      const length = recordLength(rest);
      // The rest of a block that a write left unused is zeros.
      const needed = length ?? BLOCK_BYTES - ((offset + at) % BLOCK_BYTES);
      if (needed > rest.length) {
        if (last) throw this.#damaged();
        break;
      }
      if (length === undefined) {
        if (needed === BLOCK_BYTES || rest.subarray(0, needed).some((byte) => byte !== 0)) throw this.#damaged();
      } else {
        const record = decodeRecord(rest);
        if (record === undefined || !followsPoint(record, this.#at)) throw this.#damaged();
        this.#at = record.entry.point;
        visit(record.entry);
      }
      at += needed;
    }
    // The bytes are the caller's.
    this.#at = { ...this.#at, chain: Buffer.from(this.#at.chain) };
    return at;
  }

  /** @throws OperatingError EBADMSG where these were not all of them */
  end(): void {
    if (!samePoint(this.#at, this.#to)) throw this.#damaged();
  }

  #damaged(): OperatingError {
    return new OperatingError('EBADMSG', `the log is damaged behind entry ${this.#at.position}`);
  }
}

/** All of a run at once, for replicas in memory. @throws OperatingError EBADMSG where they are not there. */
export async function readRun(run: LogRun): Promise<LogEntry[]> {
  const reader = new RunReader(run.from, run.to);
  const entries: LogEntry[] = [];
  for (const { path, offset, bytes } of run.pieces) {
    const file = await run.disk.open(path);
    try {
      const read = await file.read(offset, bytes);
      reader.take(read, offset, true, (entry) => entries.push(entry));
    } catch (thrown) {
      throw asOperatingError(thrown, { disk: run.disk.directory, path });
    } finally {
      await closeQuietly(file);
    }
  }
  reader.end();
  return entries;
}
