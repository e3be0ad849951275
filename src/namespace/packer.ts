/**
 * The packer gathers small data: inline extents, which every voter's log and replica carries in full, become ranges of coded blobs, neighbours
 * together. Files made one after the other have neighbouring numbers, so the order of inodes is the order of a directory's files.
 *
 * What was committed a moment ago is packed from memory (`fresh-files.ts`): its rows are replaced before the durable replicas ever see them. All else is
 * found by a queue in the index.
 *
 * What deleting and writing here and there leaves behind is put in order in between (`repacker.ts`).
 */
import type { Cancel, Clock } from '../base/clock.js';
import {
  BACKGROUND_INTERVAL_MS,
  CHANGE_STEP_ROWS,
  PACK_BYTES_MAX,
  PACK_EXTENT_BYTES_MIN,
  PACK_EXTENTS_MAX,
  PACK_FILE_EXTENTS_MAX,
  PACK_IDLE_MS,
  PACK_WAITING_BYTES_MIN,
  REPACK_BUSY_INTERVAL_MS,
  REPACK_DROPS_MIN,
  REPACK_DROPS_SHARE,
  REPACK_INTERVAL_MS,
} from '../base/limits.js';
import type { Storage } from '../storage/storage.js';
import type { Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { Turns } from '../index/turns.js';
import { extentKey, extentRange, packableKey, parseNumberKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Background } from './background.js';
import type { BlobWriter } from './blob-writer.js';
import { extentOfRow } from './content.js';
import { FreshFiles, type FreshFile } from './fresh-files.js';
import type { Ledger } from './ledger.js';
import type { Nodes } from './nodes.js';
import { packedRow, PackStore, type Packed } from './pack-store.js';
import type { Pins } from './pins.js';
import { Repacker, type Repacked } from './repacker.js';
import type { Space } from './space.js';

/** What one pack will hold. */
interface Pack {
  readonly extents: Packed[];
  readonly bytes: number;
  /** Files with nothing left to pack once this pack is done. */
  readonly files: number[];
  /** Where the next search begins. */
  readonly next: Buffer | undefined;
}

export interface PackerOptions {
  readonly ledger: Ledger;
  readonly storage: Storage;
  readonly writer: BlobWriter;
  readonly nodes: Nodes;
  readonly clock: Clock;
  readonly background: Background;
  readonly epoch: number;
  readonly newUpload: () => number;
  readonly pins: Pins;
  readonly space: Space;
}

export class Packer {
  readonly #options: PackerOptions;
  readonly #packs: PackStore;
  readonly #repacker: Repacker;
  readonly #fresh = new FreshFiles();
  /** About: what commits of this session brought. After a start, more than nothing, to look once. */
  #waitingBytes = 1;
  #lastMs: number;
  #repackedMs: number;
  #timer: Cancel | undefined;
  readonly #turns = new Turns();
  #running = false;
  #stopped = false;

  constructor(options: PackerOptions) {
    this.#options = options;
    this.#lastMs = options.clock.monotonicMs();
    this.#repackedMs = this.#lastMs;
    // What was found in the index is not packed from memory once more.
    this.#packs = new PackStore({ ...options, onPacked: (ino) => this.#fresh.forget(ino) });
    this.#repacker = new Repacker({
      ...options,
      packs: this.#packs,
      stopped: () => this.#stopped,
      // A pass may take minutes, and new files have only so much memory.
      between: () => this.#packWaiting(this.#packBytesMax),
    });
    // What went before the start nobody counted.
    options.ledger.partialDrops = REPACK_DROPS_MIN;
    options.ledger.onContent = (ino) => {
      this.#waitingBytes += this.#fresh.forget(ino);
    };
  }

  start(): void {
    this.#timer = this.#options.clock.after(BACKGROUND_INTERVAL_MS, () => {
      if (this.#stopped) return;
      const idle = this.#options.clock.monotonicMs() - this.#lastMs >= PACK_IDLE_MS;
      if (!this.#running && idle && this.#fresh.bytes >= this.#options.storage.smallBytesMax)
        this.#packFresh(this.#options.storage.smallBytesMax);
      else if (!this.#running && (this.#waitingBytes >= PACK_WAITING_BYTES_MIN || (this.#waitingBytes > 0 && idle)))
        this.#options.background.run('packing of small files', this.packAll());
      else if (!this.#running && this.#repackDue(idle)) this.#options.background.run('packing of sparse packs', this.repackAll());
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  /** A commit brought so many bytes that a pack could hold. Call it among its effects when it says all that there is of a file. */
  note(bytes: number, file?: FreshFile): void {
    this.#lastMs = this.#options.clock.monotonicMs();
    if (file === undefined || !this.#fresh.add(file)) this.#waitingBytes += bytes;
    else if (!this.#running && !this.#stopped && this.#fresh.bytes >= this.#packBytesMax) this.#packFresh(this.#packBytesMax);
  }

  get #packBytesMax(): number {
    return Math.min(PACK_BYTES_MAX, this.#options.storage.blobBytesMax);
  }

  /** One at a time. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turns.take();
    if (turn !== undefined) await turn;
    this.#running = true;
    try {
      return await work();
    } finally {
      this.#running = false;
      this.#turns.give();
    }
  }

  #packFresh(bytesMin: number): void {
    this.#options.background.run(
      'packing of new files',
      this.#alone(() => this.#packWaiting(bytesMin)),
    );
  }

  /** Packs from memory as long as so much waits there. */
  async #packWaiting(bytesMin: number): Promise<void> {
    const fresh = this.#fresh;
    while (!this.#stopped && fresh.bytes >= bytesMin) {
      const files = fresh.take(this.#packBytesMax, PACK_EXTENTS_MAX);
      const extents: Packed[] = [];
      let bytes = 0;
      for (const file of files)
        for (const { offset, data } of file.extents) {
          const key = extentKey(file.ino, file.generation, offset);
          const last = data === file.extents.at(-1)?.data;
          extents.push({ key, data, blobOffset: bytes, same: () => fresh.holds(file), last });
          bytes += data.length;
        }
      try {
        await this.#packs.store(extents);
      } catch (error) {
        // The queue finds them again.
        this.#waitingBytes += bytes;
        throw error;
      } finally {
        fresh.done(files);
      }
      await this.#options.clock.yield();
    }
  }

  /** Packs what is worth it, blob by blob. */
  packAll(): Promise<void> {
    return this.#alone(async () => {
      this.#waitingBytes = 0;
      await this.#packWaiting(this.#options.storage.smallBytesMax);
      for (let from: Buffer | undefined; !this.#stopped;) {
        const pack = await this.#collect(from);
        // A blob with less in it costs more than it saves; it waits for company.
        if (pack.bytes >= this.#options.storage.smallBytesMax) await this.#packs.store(pack.extents, () => this.#forget(pack.files));
        else if (pack.extents.length === 0) await this.#forget(pack.files);
        if (pack.next === undefined) return;
        from = pack.next;
        await this.#options.clock.yield();
      }
    });
  }

  /** @param idle nothing small was written for a moment; what is written to all the time has its turn later */
  #repackDue(idle: boolean): boolean {
    const { clock, ledger } = this.#options;
    if (clock.monotonicMs() - this.#repackedMs < (idle ? REPACK_INTERVAL_MS : REPACK_BUSY_INTERVAL_MS)) return false;
    return ledger.partialDrops >= Math.max(REPACK_DROPS_MIN, ledger.counters.inodes * REPACK_DROPS_SHARE);
  }

  /** Puts in order what is left in sparse blobs, and files in many pieces. */
  repackAll(): Promise<Repacked> {
    return this.#alone(async () => {
      const { ledger, clock } = this.#options;
      try {
        ledger.partialDrops = 0;
        return await this.#repacker.run();
      } finally {
        this.#repackedMs = clock.monotonicMs();
      }
    });
  }

  /** Looks for inline extents, file by file from the queue. */
  async #collect(from: Buffer | undefined): Promise<Pack> {
    const { index } = this.#options.ledger;
    const bytesMax = this.#packBytesMax;
    const extents: Packed[] = [];
    const files: number[] = [];
    let bytes = 0;
    let range = tableRange(TABLES.packable, CHANGE_STEP_ROWS);
    if (from !== undefined) range = { ...range, start: from };
    for (;;) {
      const queue = await index.scan(range);
      for (const { key } of queue) {
        const ino = parseNumberKey(key);
        // Its content is about to change.
        if (this.#options.nodes.get(ino)?.top !== undefined) continue;
        const found = await this.#inlineExtents(ino);
        for (const row of found.rows) {
          const { data } = found.data(row);
          if (extents.length >= PACK_EXTENTS_MAX || bytes + data.length > bytesMax) return { extents, bytes, files, next: key };
          extents.push(packedRow(row, data, bytes));
          bytes += data.length;
        }
        if (found.complete) files.push(ino);
      }
      const last = queue.at(-1);
      if (last === undefined || queue.length < CHANGE_STEP_ROWS) return { extents, bytes, files, next: undefined };
      if (files.length >= PACK_EXTENTS_MAX) return { extents, bytes, files, next: keyAfter(last.key) };
      range = { ...range, start: keyAfter(last.key) };
      await this.#options.clock.yield();
    }
  }

  async #inlineExtents(ino: number): Promise<{ rows: Row[]; complete: boolean; data: (row: Row) => { data: Buffer } }> {
    const data = (row: Row): { data: Buffer } => {
      const extent = extentOfRow(row);
      return { data: extent.kind === 'inline' ? extent.data : Buffer.alloc(0) };
    };
    const inode = await this.#options.ledger.inode(ino);
    const rows: Row[] = [];
    if (inode === undefined) return { rows, complete: true, data };
    let range = extentRange(ino, inode.generation, 0, undefined, CHANGE_STEP_ROWS);
    for (;;) {
      const some = await this.#options.ledger.index.scan(range);
      for (const row of some) if (data(row).data.length > PACK_EXTENT_BYTES_MIN) rows.push(row);
      const last = some.at(-1);
      if (last === undefined || some.length < CHANGE_STEP_ROWS) return { rows, complete: true, data };
      if (rows.length >= PACK_FILE_EXTENTS_MAX) return { rows: rows.slice(0, PACK_FILE_EXTENTS_MAX), complete: false, data };
      range = { ...range, start: keyAfter(last.key) };
      await this.#options.clock.yield();
    }
  }

  /** Takes files off the queue, unless something small was written to them meanwhile. */
  async #forget(files: readonly number[]): Promise<void> {
    for (let at = 0; at < files.length; at += CHANGE_STEP_ROWS) {
      const step = files.slice(at, at + CHANGE_STEP_ROWS);
      await this.#options.ledger.change(async (change) => {
        for (const ino of step) if (!(await this.#hasSmall(change.tx.scan.bind(change.tx), ino))) change.tx.delete(packableKey(ino));
      });
      await this.#options.clock.yield();
    }
  }

  /** Has this file an inline extent worth packing among its first ones? */
  async #hasSmall(scan: (range: ReturnType<typeof extentRange>) => Promise<Row[]>, ino: number): Promise<boolean> {
    const inode = this.#options.ledger.cachedInode(ino) ?? (await this.#options.ledger.inode(ino));
    if (inode === undefined) return false;
    for (const row of await scan(extentRange(ino, inode.generation, 0, undefined, PACK_FILE_EXTENTS_MAX))) {
      const extent = extentOfRow(row);
      if (extent.kind === 'inline' && extent.bytes > PACK_EXTENT_BYTES_MIN) return true;
    }
    return false;
  }
}
