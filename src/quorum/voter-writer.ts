/**
 * Writes one voter's directory for one epoch: log files of its own, and the mark. Made by `VoterLink` after the voter was read; one call at
 * a time. Nothing that was synced is ever rewritten, but for zeros: each write starts at a new block, and after any error the writer is thrown
 * away and the next one starts a new file behind the mark (a failed sync is final).
 *
 *   append:  [new file, its name synced] ─▶ write, sync, list, in one call ─▶ the caller looks for promises in the list and acknowledges
 *   prepare: where appends are small, the space for the next ones is written with zeros and synced, so that their syncs change no metadata
 *   note:    the mark's slot is written and synced; now and then
 */
import { joined } from '../base/arena.js';
import { must } from '../base/assert.js';
import { asOperatingError } from '../base/errors.js';
import {
  LOG_BLANK_APPEND_BYTES_MAX,
  LOG_BLANK_APPENDS_MIN,
  LOG_BLANK_BYTES,
  LOG_BLANK_STAGGER,
  LOG_FILE_BYTES_MAX,
  LOG_PREALLOCATE_BYTES,
  LOG_WRITE_BYTES_MAX,
} from '../base/limits.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import type { EntryTable } from './entry-table.js';
import type { LogRecord } from './record.js';
import type { LogPoint } from './state-machine.js';
import {
  BLOCK_BYTES,
  compareFiles,
  encodeLogHeader,
  encodeMark,
  encodePromise,
  logName,
  markName,
  parseNames,
  promiseName,
  QUORUM_DIRECTORY,
  voterPath,
  type FileId,
  type LogFileHeader,
  type VoterIdentity,
} from './voter-format.js';
import { closeQuietly } from './voter-reader.js';

/** Creates a file with this content, synced; its name is durable only after `syncDirectory`. */
export async function createSynced(disk: Disk, name: string, content: Buffer): Promise<void> {
  const file = await disk.open(voterPath(name), { create: true, write: true });
  try {
    await file.write(0, [content]);
    await file.sync();
  } finally {
    await closeQuietly(file);
  }
}

/**
 * Promises an epoch on a voter, durably. Only one process can: the file must not be there.
 * @throws OperatingError EEXIST when someone else promised it.
 */
export async function writePromise(disk: Disk, identity: VoterIdentity, epoch: number): Promise<void> {
  await createSynced(disk, promiseName(epoch), encodePromise(identity, epoch));
  await disk.syncDirectory(QUORUM_DIRECTORY);
}

export interface WriterOptions {
  readonly disk: Disk;
  readonly identity: VoterIdentity;
  readonly epoch: number;
  /** The log to go on with, cut to what is right. New entries follow `base`. */
  readonly table: EntryTable;
  /** The point from which entries are written (anew); at or before the table's last. */
  readonly base: LogPoint;
  /** The file with which the log begins; undefined: with the first one that this writer makes. */
  readonly first: FileId | undefined;
  /** Number of this writer's mark file and of its first log file: above all of this epoch that are there. */
  readonly sequence: number;
  /** For a test that shows what the sync is for. */
  readonly skipSync: boolean;
}

/** Whole blocks that are written at one time. */
interface PackedWrite {
  readonly buffers: readonly Buffer[];
  readonly bytes: number;
}

/** What a run of records looks like in a file. */
interface PackedRecords {
  readonly writes: readonly PackedWrite[];
  /** Of each record, behind the start of the first write. */
  readonly places: readonly number[];
}

const blank = Buffer.alloc(LOG_BLANK_BYTES);

/** Records that lie in more places than so many are copied together. */
const WRITE_BUFFERS_MAX = 8;

const packs = new WeakMap<readonly LogRecord[], PackedRecords>();

/** Records one after the other; each write ends with zeros up to a whole block. Made once for voters that follow in step. */
function packRecords(records: readonly LogRecord[]): PackedRecords {
  const known = packs.get(records);
  if (known !== undefined) return known;
  const places: number[] = [];
  const writes: PackedWrite[] = [];
  let batch: Buffer[] = [];
  let bytes = 0;
  let offset = 0;
  const flush = (): void => {
    const pad = (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES;
    const runs = joined(batch);
    const buffers = runs.length > WRITE_BUFFERS_MAX ? [Buffer.concat(runs, bytes)] : runs;
    writes.push({ buffers: pad === 0 ? buffers : [...buffers, blank.subarray(0, pad)], bytes: bytes + pad });
    offset += bytes + pad;
    batch = [];
    bytes = 0;
  };
  for (const record of records) {
    if (bytes > 0 && bytes + record.bytes.length > LOG_WRITE_BYTES_MAX) flush();
    places.push(offset + bytes);
    batch.push(record.bytes);
    bytes += record.bytes.length;
  }
  flush();
  const packed = { writes, places };
  packs.set(records, packed);
  return packed;
}

export class VoterWriter {
  readonly #options: WriterOptions;
  #first: FileId | undefined;
  /** The first file of this writer. */
  #ownFirst: FileId | undefined;
  #sequence: number;
  #file: DiskFile | undefined;
  #header: LogFileHeader | undefined;
  #offset = 0;
  #allocated = 0;
  /** Up to here the file was written with zeros that are synced. */
  #blank = 0;
  /** Small appends one after the other. */
  #smallAppends = 0;
  #written: LogPoint;
  #mark: DiskFile | undefined;
  #markVersion = 0;
  #marked = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#first = options.first;
    this.#sequence = options.sequence;
    this.#written = options.base;
  }

  get table(): EntryTable {
    return this.#options.table;
  }

  /** The last entry written and synced (or the base). */
  get written(): LogPoint {
    return this.#written;
  }

  /**
   * Writes the entries that follow `written` and syncs them.
   * @param records at least one
   * @returns the names in the voter's directory, listed after that; each with a slash behind it
   * @throws OperatingError; the writer must not be used any more then.
   */
  async append(records: readonly LogRecord[]): Promise<string> {
    const { disk } = this.#options;
    const last = must(records.at(-1), 'there is something to append');
    const startsFile = this.#file === undefined || this.#offset >= LOG_FILE_BYTES_MAX;
    if (startsFile) await this.#startFile();
    const file = must(this.#file, 'a log file is open');
    if (startsFile) await disk.syncDirectory(QUORUM_DIRECTORY);
    const { writes, places } = packRecords(records);
    const start = this.#offset;
    let names = '';
    for (const [index, { buffers, bytes }] of writes.entries()) {
      const at = this.#offset;
      this.#offset += bytes;
      if (this.#offset > this.#allocated) await this.#allocate(file, this.#offset);
      const ends = index === writes.length - 1;
      if (ends && !this.#options.skipSync) names = await file.writeSynced(at, buffers, QUORUM_DIRECTORY);
      else await file.write(at, buffers);
    }
    if (this.#options.skipSync) names = (await disk.list(QUORUM_DIRECTORY)).map((name) => `${name}/`).join('');
    this.#smallAppends = this.#offset - start <= LOG_BLANK_APPEND_BYTES_MAX ? this.#smallAppends + 1 : 0;
    if (startsFile) this.table.addFile(must(this.#header, 'a file was started'));
    for (const [index, record] of records.entries()) this.table.put(record, start + must(places[index], 'one place a record'));
    this.#written = last.entry.point;
    return names;
  }

  /**
   * Where appends are small and the blank space runs low, makes more: a sync of what was written once, and lies within the file's length, writes
   * nothing but the data. The voters do it at different times, so that a majority is always at hand.
   * @throws OperatingError as `append`
   */
  async prepare(): Promise<void> {
    const file = this.#file;
    const ahead = this.#blank - this.#offset;
    const low = LOG_BLANK_BYTES * (0.25 + 0.5 * ((this.#options.identity.voter % LOG_BLANK_STAGGER) / LOG_BLANK_STAGGER));
    if (file === undefined || this.#smallAppends < LOG_BLANK_APPENDS_MIN || ahead > low || this.#options.skipSync) return;
    const from = Math.max(this.#blank, this.#offset);
    await this.#allocate(file, from + LOG_BLANK_BYTES);
    await file.writeSynced(from, [blank]);
    this.#blank = from + LOG_BLANK_BYTES;
  }

  async #startFile(): Promise<void> {
    const { disk, identity, epoch } = this.#options;
    const old = this.#file;
    const id = { epoch, sequence: this.#sequence++ };
    const file = await disk.open(voterPath(logName(id)), { create: true, write: true });
    this.#file = file;
    this.#header = { id, base: this.#written };
    this.#ownFirst ??= id;
    this.#first ??= id;
    this.#offset = BLOCK_BYTES;
    if (old !== undefined) await closeQuietly(old);
    this.#allocated = 0;
    this.#blank = 0;
    await this.#allocate(file, BLOCK_BYTES);
    await file.write(0, [encodeLogHeader(identity, this.#header)]);
  }

  /** A full disk says so here, before anything is written; then it lets go of its reserve, and is asked once more. */
  async #allocate(file: DiskFile, end: number): Promise<void> {
    if (end <= this.#allocated) return;
    const bytes = Math.ceil((end - this.#allocated) / LOG_PREALLOCATE_BYTES) * LOG_PREALLOCATE_BYTES;
    try {
      await file.preallocate(this.#allocated, bytes);
    } catch (thrown) {
      const { onFull } = this.#options.disk;
      if (asOperatingError(thrown).code !== 'ENOSPC' || onFull === undefined) throw thrown;
      await onFull();
      await file.preallocate(this.#allocated, bytes);
    }
    this.#allocated += bytes;
  }

  /**
   * Makes this writer's mark file with what was written so far, durably: from now on the voter is as this writer made it. Then removes what
   * that makes superfluous: earlier marks and promises, log files of which nothing is in the log.
   */
  async createMark(): Promise<void> {
    const { disk, epoch, sequence } = this.#options;
    // A log that does not begin at the origin needs a file that says where it begins.
    if (this.#first === undefined && this.#written.position > 0) await this.#startEmptyFile();
    const id = { epoch, sequence };
    this.#mark = await disk.open(voterPath(markName(id)), { create: true, write: true });
    await this.note();
    await disk.syncDirectory(QUORUM_DIRECTORY);
    const names = parseNames(await disk.list(QUORUM_DIRECTORY));
    // A new leader may count on what is there.
    if (names.promises.some((promised) => promised > epoch)) return;
    const kept = new Set(this.table.files.map((file) => logName(file.id)));
    for (const old of names.marks) if (compareFiles(old, id) < 0) await disk.unlink(voterPath(markName(old)));
    if (names.promises.includes(epoch)) for (const old of names.promises) if (old < epoch) await disk.unlink(voterPath(promiseName(old)));
    for (const old of names.logs) if (old.epoch <= epoch && !kept.has(logName(old))) await disk.unlink(voterPath(logName(old)));
    await disk.syncDirectory(QUORUM_DIRECTORY);
  }

  async #startEmptyFile(): Promise<void> {
    await this.#startFile();
    await must(this.#file, 'just started').sync();
    await this.#options.disk.syncDirectory(QUORUM_DIRECTORY);
    this.table.addFile(must(this.#header, 'just started'));
  }

  /** Was more written than the mark tells of? */
  get markBehind(): boolean {
    return this.#marked < this.#written.position;
  }

  /** Writes the mark at `written`, durably. */
  async note(): Promise<void> {
    const { identity, epoch, sequence, skipSync } = this.#options;
    const file = must(this.#mark, 'the mark is open');
    const version = ++this.#markVersion;
    const mark = { id: { epoch, sequence }, version, first: this.#first ?? { epoch: 0, sequence: 0 }, point: this.#written };
    const at = (version % 2) * BLOCK_BYTES;
    const bytes = [encodeMark(identity, mark)];
    if (skipSync) await file.write(at, bytes);
    else await file.writeSynced(at, bytes);
    this.#marked = mark.point.position;
  }

  /** Removes log files that end at or before `position`; no more of them once somebody else leads, who may count on them (I9). */
  async trim(position: number): Promise<void> {
    if (this.#ownFirst === undefined) return;
    const dropped = this.table.dropFiles(position, this.#ownFirst);
    if (dropped.length === 0) return;
    this.#first = must(this.table.files[0], 'the last file stays').id;
    // Both slots, so that none names a file that is gone.
    await this.note();
    await this.note();
    // A new leader promises first and reads then: it finds either the mark that was just synced, or all files.
    const names = parseNames(await this.#options.disk.list(QUORUM_DIRECTORY));
    if (names.promises.some((promised) => promised > this.#options.epoch)) return;
    for (const id of dropped) await this.#options.disk.unlink(voterPath(logName(id)));
  }

  /** Closes the files. What was appended is synced already. */
  async close(): Promise<void> {
    if (this.#file !== undefined) await closeQuietly(this.#file);
    if (this.#mark !== undefined) await closeQuietly(this.#mark);
  }
}
