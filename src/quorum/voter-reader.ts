/**
 * Reads a voter's directory: which epoch it promised, how far it is marked as synced, and its log. Changes nothing. Used by recovery and when
 * a voter comes back.
 *
 * Files are read in the order of (epoch, sequence). An entry of a later file that differs from what is at its position replaces everything from
 * there on; the same entry again (a leader writes what lies above the mark anew) leaves what follows alone, so that a torn rewrite takes
 * nothing away. What does not fit (a torn tail, a file that does not connect) is left out, and then the mark decides: a log that does not hold
 * the marked point is broken, not behind.
 */
import { asOperatingError } from '../base/errors.js';
import { MiB } from '../base/limits.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import { EntryTable } from './entry-table.js';
import type { Mutations } from './mutations.js';
import { originPoint } from './point.js';
import { decodeRecord, followsPoint, recordLength, type LogRecord } from './record.js';
import type { LogPoint } from './state-machine.js';
import {
  BLOCK_BYTES,
  compareFiles,
  decodeLogHeader,
  decodeMark,
  decodePromise,
  highestEpoch,
  logName,
  markName,
  parseNames,
  promiseName,
  QUORUM_DIRECTORY,
  voterPath,
  type FileId,
  type LogFileHeader,
  type Mark,
  type VoterIdentity,
  type VoterNames,
} from './voter-format.js';

/** How much of a log file is read at a time. More than the longest record, so that one always fits. */
const READ_BYTES = 2 * MiB;
const zeros = Buffer.alloc(BLOCK_BYTES);

/** What a voter's directory holds. */
export interface VoterImage {
  readonly voter: number;
  readonly names: VoterNames;
  /** The highest epoch promised, by the names alone. */
  readonly promised: number;
  /** Why it does not count: damaged below the mark, or files that must be there are not. */
  readonly broken: string | undefined;
  readonly mark: Mark | undefined;
  /** What can be read of the log; where the voter is broken, up to the damage. */
  readonly table: EntryTable;
}

/**
 * The names in a voter's directory; undefined when there is no such directory.
 * @throws OperatingError when the disk cannot be read.
 */
export async function surveyVoter(disk: Disk): Promise<VoterNames | undefined> {
  try {
    return parseNames(await disk.list(QUORUM_DIRECTORY));
  } catch (thrown) {
    const error = asOperatingError(thrown);
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/**
 * Reads a voter.
 * @param mutations rules to leave out, for tests alone
 * @throws OperatingError when the disk has gone; damage of files makes the image broken instead.
 */
export async function readVoter(disk: Disk, identity: VoterIdentity, mutations: Mutations = {}): Promise<VoterImage> {
  const names = (await surveyVoter(disk)) ?? { promises: [], marks: [], logs: [] };
  const promised = highestEpoch({ ...names, marks: [], logs: [] });
  const reader = new ImageReader(disk, identity, names, mutations);
  await reader.read();
  const broken = mutations.ignoreMark === true ? reader.missing : reader.broken;
  return { voter: identity.voter, names, promised, broken, mark: reader.mark, table: reader.table };
}

class ImageReader {
  table = new EntryTable(originPoint);
  mark: Mark | undefined;
  /** Files are missing that must be there. */
  missing: string | undefined;
  #damage: string | undefined;

  constructor(
    readonly disk: Disk,
    readonly identity: VoterIdentity,
    readonly names: VoterNames,
    readonly mutations: Mutations,
  ) {}

  get broken(): string | undefined {
    return this.missing ?? this.#damage;
  }

  async read(): Promise<void> {
    if (!(await this.#anyPromise())) this.missing ??= 'it has no promise: its quorum files are gone or damaged';
    this.mark = await this.#readMark();
    if (this.mark === undefined) this.missing ??= 'it has no mark: its quorum files are gone or damaged';
    const first = this.mark?.first ?? { epoch: 0, sequence: 0 };
    const files = this.names.logs.filter((id) => compareFiles(id, first) >= 0);
    const firstThere = files[0];
    if (first.epoch > 0 && (firstThere === undefined || compareFiles(firstThere, first) !== 0))
      this.#damage ??= `its log file ${logName(first)} is gone`;
    let checked = false;
    let started = first.epoch === 0;
    for (const id of files) {
      // What later epochs wrote may replace entries that an earlier one had synced.
      if (!checked && this.mark !== undefined && id.epoch > this.mark.id.epoch) checked = this.#checkMark(this.mark);
      const fits = await this.#readFile(id, started);
      if (!fits && !started) this.#damage ??= `its log file ${logName(id)} is damaged`;
      started = started || fits;
    }
    if (!checked && this.mark !== undefined) this.#checkMark(this.mark);
  }

  #checkMark(mark: Mark): true {
    if (!this.table.holds(mark.point))
      this.#damage ??= `its log is damaged: synced up to ${mark.point.position}, readable up to ${this.table.lastPosition}`;
    return true;
  }

  async #anyPromise(): Promise<boolean> {
    for (const epoch of [...this.names.promises].reverse()) {
      const bytes = await this.#readAll(promiseName(epoch), 512);
      if (bytes !== undefined && this.#decode(() => decodePromise(bytes, this.identity)) === epoch) return true;
    }
    return false;
  }

  /** The mark of the last writer that has an intact one: a file that was being made at a crash has none yet. */
  async #readMark(): Promise<Mark | undefined> {
    for (const id of [...this.names.marks].reverse()) {
      const bytes = (await this.#readAll(markName(id), 2 * BLOCK_BYTES)) ?? Buffer.alloc(0);
      let best: Mark | undefined;
      for (const at of [0, BLOCK_BYTES]) {
        const mark = this.#decode(() => decodeMark(bytes.subarray(at, at + BLOCK_BYTES), this.identity));
        if (mark !== undefined && compareFiles(mark.id, id) === 0 && mark.version > (best?.version ?? 0)) best = mark;
      }
      if (best !== undefined) return best;
    }
    return undefined;
  }

  /** Adds a file's entries. False where it does not connect to what was read before. */
  async #readFile(id: FileId, started: boolean): Promise<boolean> {
    const file = await this.#open(logName(id));
    if (file === undefined) return false;
    try {
      const scan = new LogFileScan(file);
      const block = await scan.header();
      const header = this.#decode(() => decodeLogHeader(block, this.identity));
      if (header === undefined || compareFiles(header.id, id) !== 0) return false;
      if (!started) this.table = new EntryTable(header.base);
      else if (!this.table.holds(header.base)) return false;
      await this.#readEntries(scan, header);
      return true;
    } catch (thrown) {
      this.#failed(thrown);
      return true;
    } finally {
      await closeQuietly(file);
    }
  }

  async #readEntries(scan: LogFileScan, header: LogFileHeader): Promise<void> {
    this.table.addFile(header);
    let before: LogPoint = header.base;
    for (;;) {
      const found = await scan.next();
      if (found === undefined || !followsPoint(found.record, before)) return;
      if (this.mutations.cutOnRewrite === true) this.table.cut(before.position);
      this.table.put(found.record, found.offset);
      before = found.record.entry.point;
    }
  }

  async #open(name: string): Promise<DiskFile | undefined> {
    try {
      return await this.disk.open(voterPath(name));
    } catch (thrown) {
      this.#failed(thrown);
      return undefined;
    }
  }

  async #readAll(name: string, bytes: number): Promise<Buffer | undefined> {
    const file = await this.#open(name);
    if (file === undefined) return undefined;
    try {
      return await file.read(0, bytes);
    } catch (thrown) {
      this.#failed(thrown);
      return undefined;
    } finally {
      await closeQuietly(file);
    }
  }

  /** A file that cannot be read is damage of the voter; a disk that cannot be reached is not. */
  #failed(thrown: unknown): void {
    const error = asOperatingError(thrown);
    if (error.code !== 'EIO' && error.code !== 'ENOENT' && error.code !== 'EBADMSG') throw error;
    this.#damage ??= `its files cannot be read: ${error.message}`;
  }

  #decode<T>(decode: () => T): T | undefined {
    try {
      return decode();
    } catch {
      return undefined;
    }
  }
}

/** Goes through the records of one log file. */
class LogFileScan {
  readonly #file: DiskFile;
  #buffer: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  /** Offset of the buffer in the file. */
  #start = 0;
  #at = BLOCK_BYTES;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  async header(): Promise<Buffer> {
    return Buffer.from((await this.#view(0, BLOCK_BYTES)).subarray(0, BLOCK_BYTES));
  }

  /** The next intact record and its offset; undefined at the end, or where it is damaged or torn. */
  async next(): Promise<{ record: LogRecord; offset: number } | undefined> {
    const record = await this.#recordAt(this.#at);
    if (record !== undefined) return this.#step(record, this.#at);
    // The rest of a block that a write left unused is zeros.
    const boundary = Math.ceil(this.#at / BLOCK_BYTES) * BLOCK_BYTES;
    if (boundary === this.#at) return undefined;
    const rest = (await this.#view(this.#at, boundary - this.#at)).subarray(0, boundary - this.#at);
    if (!rest.equals(zeros.subarray(0, rest.length))) return undefined;
    const next = await this.#recordAt(boundary);
    return next === undefined ? undefined : this.#step(next, boundary);
  }

  #step(record: LogRecord, offset: number): { record: LogRecord; offset: number } {
    this.#at = offset + record.bytes.length;
    return { record, offset };
  }

  async #recordAt(offset: number): Promise<LogRecord | undefined> {
    const length = recordLength(await this.#view(offset, BLOCK_BYTES));
    return length === undefined ? undefined : decodeRecord(await this.#view(offset, length));
  }

  /** The file from `offset` on, `bytes` of it at least unless it ends before. */
  async #view(offset: number, bytes: number): Promise<Buffer> {
    if (offset < this.#start || offset + bytes > this.#start + this.#buffer.length) {
      const atEnd = this.#buffer.length > 0 && this.#buffer.length < READ_BYTES && offset >= this.#start;
      if (!atEnd) {
        this.#buffer = await this.#file.read(offset, READ_BYTES);
        this.#start = offset;
      }
    }
    return this.#buffer.subarray(Math.min(offset - this.#start, this.#buffer.length));
  }
}

/**
 * Reads records `from`, `from` + 1, … of a log, up to `to` and about `bytesMax` (at least one record).
 * @throws OperatingError EIO where a record is not what the table says (damage since it was read).
 */
export async function readRecords(disk: Disk, table: EntryTable, from: number, to: number, bytesMax: number): Promise<LogRecord[]> {
  const first = table.place(from);
  const places = [first];
  // One read: as far as the records lie in order in the same file.
  let end = first.offset + first.bytes;
  for (let position = from + 1; position <= to && table.has(position); position++) {
    const place = table.place(position);
    if (compareFiles(place.file, first.file) !== 0 || place.offset < end) break;
    if (place.offset + place.bytes - first.offset > bytesMax) break;
    end = place.offset + place.bytes;
    places.push(place);
  }
  const path = voterPath(logName(first.file));
  const file = await disk.open(path);
  let bytes: Buffer<ArrayBufferLike>;
  try {
    bytes = await file.read(first.offset, end - first.offset);
  } finally {
    await closeQuietly(file);
  }
  return places.map((place, index) => {
    const at = place.offset - first.offset;
    const record = decodeRecord(bytes.subarray(at, at + place.bytes));
    if (record === undefined || !table.holds(record.entry.point) || record.entry.point.position !== from + index)
      throw asOperatingError(new Error(`log entry ${from + index} is damaged`), { disk: disk.directory, path });
    return record;
  });
}

/** Nothing depends on a close that fails. */
export async function closeQuietly(file: { close(): Promise<void> }): Promise<void> {
  try {
    await file.close();
  } catch {
    // The disk may have gone.
  }
}
