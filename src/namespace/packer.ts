/**
 * The packer gathers small data: inline extents, which every voter's log and replica carries in full, become ranges of coded blobs, neighbours
 * together. Files made one after the other have neighbouring numbers, so the order of inodes is the order of a directory's files.
 *
 * A pack is an upload without a file. The blob is stored and held by a part row; then, in bounded steps, each extent that is still the same row is
 * replaced by its range of the blob; then the part goes, and with it the blob if nothing was the same any more. A crash at any point loses nothing
 * and strands nothing: content and length of files never change here.
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
} from '../base/limits.js';
import type { Storage } from '../storage/storage.js';
import type { Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { encodeExtent } from '../index/schema/extent-row.js';
import { extentKey, extentRange, packableKey, parseExtentKey, parseNumberKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Background } from './background.js';
import type { BlobWriter } from './blob-writer.js';
import { extentOfRow } from './content.js';
import type { Ledger } from './ledger.js';
import type { Nodes } from './nodes.js';
import { dropParts, putPart } from './parts.js';

/** One inline extent that goes into the pack. */
interface Packed {
  readonly row: Row;
  readonly data: Buffer;
  readonly blobOffset: number;
}

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
}

export class Packer {
  readonly #options: PackerOptions;
  /** About: what commits of this session brought. After a start, more than nothing, to look once. */
  #waitingBytes = 1;
  #lastMs: number;
  #timer: Cancel | undefined;
  #running = false;
  #stopped = false;

  constructor(options: PackerOptions) {
    this.#options = options;
    this.#lastMs = options.clock.monotonicMs();
  }

  start(): void {
    this.#timer = this.#options.clock.after(BACKGROUND_INTERVAL_MS, () => {
      if (this.#stopped) return;
      const idle = this.#options.clock.monotonicMs() - this.#lastMs >= PACK_IDLE_MS;
      if (!this.#running && (this.#waitingBytes >= PACK_WAITING_BYTES_MIN || (this.#waitingBytes > 0 && idle)))
        this.#options.background.run('packing of small files', this.packAll());
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  /** A commit brought so many bytes that a pack could hold. */
  note(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#lastMs = this.#options.clock.monotonicMs();
  }

  /** Packs what is worth it, blob by blob. */
  async packAll(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.#waitingBytes = 0;
    try {
      for (let from: Buffer | undefined; !this.#stopped;) {
        const pack = await this.#collect(from);
        // A blob with less in it costs more than it saves; it waits for company.
        if (pack.bytes >= this.#options.storage.smallBytesMax) await this.#store(pack);
        else if (pack.extents.length === 0) await this.#forget(pack.files);
        if (pack.next === undefined) return;
        from = pack.next;
        await this.#options.clock.yield();
      }
    } finally {
      this.#running = false;
    }
  }

  /** Looks for inline extents, file by file from the queue. */
  async #collect(from: Buffer | undefined): Promise<Pack> {
    const { index } = this.#options.ledger;
    const bytesMax = Math.min(PACK_BYTES_MAX, this.#options.storage.blobBytesMax);
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
          extents.push({ row, data, blobOffset: bytes });
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

  async #store(pack: Pack): Promise<void> {
    const { ledger, writer, epoch, nodes } = this.#options;
    const { blob } = (await writer.gather(pack.extents.map(({ data }) => data))).location;
    const upload = this.#options.newUpload();
    await ledger.change(async (change) => {
      putPart(change, upload, epoch, 0, blob);
    });
    for (let at = 0; at < pack.extents.length; at += CHANGE_STEP_ROWS) {
      const step = pack.extents.slice(at, at + CHANGE_STEP_ROWS);
      await ledger.change(async (change) => {
        for (const { row, data, blobOffset } of step) {
          const now = await change.tx.get(row.key);
          if (now === undefined || !now.equals(row.value)) continue;
          const { ino, generation, offset } = parseExtentKey(row.key);
          change.tx.put(extentKey(ino, generation, offset), encodeExtent({ kind: 'blob', offset, bytes: data.length, blob, blobOffset }));
          change.addReferences(blob, 1);
          change.afterwards(() => {
            const node = nodes.get(ino);
            if (node !== undefined) node.contentVersion++;
          });
        }
      });
      await this.#options.clock.yield();
    }
    await this.#forget(pack.files);
    await ledger.change((change) => dropParts(change, upload));
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
