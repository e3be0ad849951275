/**
 * The packer gathers small data: inline extents, which every voter's log and replica carries in full, become ranges of coded blobs, neighbours
 * together. Files made one after the other have neighbouring numbers, so the order of inodes is the order of a directory's files.
 *
 * What was committed a moment ago is packed from memory (`fresh-files.ts`): its rows are replaced before the durable replicas ever see them. All else is
 * found by a queue in the index.
 *
 * While disks are out small data waits: every voter has all of it, and a blob that lacks shards would be less.
 *
 * What deleting and writing here and there leaves behind is put in order in between (`repacker.ts`).
 */
import type { Awaitable } from '../base/awaitable.js';
import type { Cancel, Clock } from '../base/clock.js';
import {
  BACKGROUND_INTERVAL_MS,
  CHANGE_STEP_ROWS,
  PACK_BYTES_MAX,
  PACK_EXTENT_BYTES_MIN,
  PACK_EXTENTS_MAX,
  PACK_FILE_EXTENTS_MAX,
  PACK_IDLE_MS,
  PACK_LACKING_BYTES_MIN,
  PACK_WAITING_BYTES_MIN,
  PACKS_AT_A_TIME_MAX,
  REPACK_BUSY_INTERVAL_MS,
  REPACK_DROPS_MIN,
  REPACK_DROPS_SHARE,
  REPACK_INTERVAL_MS,
} from '../base/limits.js';
import type { Storage } from '../storage/storage.js';
import type { Row } from '../index/index-store.js';
import { keyAfter } from '../index/keys.js';
import { Turns } from '../index/turns.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { extentKey, extentRange, packableKey, parseExtentKey, parseNumberKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Background } from './background.js';
import type { BlobWriter } from './blob-writer.js';
import { extentOfRow } from './content.js';
import { FreshFiles, type FreshFile } from './fresh-files.js';
import type { Ledger } from './ledger.js';
import type { Nodes } from './nodes.js';
import { packedRow, PackStore, type Packed } from './pack-store.js';
import type { Pins } from './pins.js';
import { Repacker, type Repacked } from './repacker.js';
import { SmallExtents } from './small-extents.js';
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

/** An inline extent that is worth packing. */
interface Inline {
  readonly row: Row;
  readonly data: Buffer;
}

function packable(row: Row): Inline | undefined {
  const extent = extentOfRow(row);
  return extent.kind === 'inline' && extent.bytes > PACK_EXTENT_BYTES_MIN ? { row, data: extent.data } : undefined;
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
  readonly #small = new SmallExtents();
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
      stopped: () => this.#stopped || !options.storage.storesInFull,
      between: () => this.#keepUp(),
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
      if (!this.#running) this.#begin();
      this.start();
    });
  }

  /** What is most urgent. */
  #begin(): void {
    const { clock, storage, background } = this.#options;
    const idle = clock.monotonicMs() - this.#lastMs >= PACK_IDLE_MS;
    if (idle && this.#fresh.bytes >= storage.smallBytesMax) this.#packFresh(storage.smallBytesMax);
    else if (this.#waitingBytes >= (idle ? 1 : PACK_WAITING_BYTES_MIN)) this.#packQueue();
    else if (this.#repackDue(idle)) background.run('packing of sparse packs', this.repackAll());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  /** A commit brought so many bytes that a pack could hold. Call it among its effects when it says all that there is of a file. */
  note(bytes: number, file?: FreshFile): void {
    this.#lastMs = this.#options.clock.monotonicMs();
    // Where blobs are small, one commit may bring more than goes into one.
    const isFresh = file !== undefined && file.bytes <= this.#packBytesMax && this.#fresh.add(file);
    if (!isFresh) this.#waitingBytes += bytes;
    if (this.#running || this.#stopped) return;
    // At once: what is packed soon enough the durable replicas never see.
    if (isFresh && this.#fresh.bytes >= this.#packBytesMax) this.#packFresh(this.#packBytesMax);
    else if (this.#waitingBytes >= PACK_WAITING_BYTES_MIN) this.#packQueue();
  }

  /** A commit put inline extents of a file there. Call it among its effects. */
  noteExtents(ino: number, offsets: Iterable<number>): void {
    this.#small.note(ino, offsets);
  }

  /** Extents came from another file, some of them such that a pack could hold so many bytes of them. */
  noteCopied(ino: number, bytes: number): void {
    this.#small.forget(ino);
    this.note(bytes);
  }

  get #packBytesMax(): number {
    return Math.min(PACK_BYTES_MAX, this.#options.storage.blobBytesMax);
  }

  /** One at a time; who closes the namespace waits for it. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#inTurn(work);
    this.#options.background.track(running);
    return running;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
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

  /** Until disks are back, or too much waits. */
  get #waitsForDisks(): boolean {
    return !this.#options.storage.storesInFull && this.#waitingBytes < PACK_LACKING_BYTES_MIN;
  }

  #packFresh(bytesMin: number): void {
    this.#options.background.run(
      'packing of new files',
      this.#alone(() => this.#packWaiting(bytesMin)),
    );
  }

  #packQueue(): void {
    if (!this.#waitsForDisks) this.#options.background.run('packing of small files', this.packAll());
  }

  /** Packs from memory as long as so much waits there. What is not packed now, or while disks are out, is for the queue. */
  async #packWaiting(bytesMin: number): Promise<void> {
    const fresh = this.#fresh;
    while (!this.#stopped && fresh.bytes >= bytesMin) {
      if (!this.#options.storage.storesInFull) {
        this.#waitingBytes += fresh.clear();
        return;
      }
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
      let stored = false;
      try {
        stored = await this.#packs.store(extents);
      } finally {
        if (!stored) this.#waitingBytes += bytes;
        fresh.done(files);
      }
      await this.#options.clock.yield();
    }
  }

  /** Packs what is worth it, blob by blob. */
  packAll(): Promise<void> {
    return this.#alone(() => this.#packAll());
  }

  async #packAll(): Promise<void> {
    const { storage } = this.#options;
    // It goes by the queue alone.
    if (!storage.storesInFull) this.#waitingBytes += this.#fresh.clear();
    if (this.#waitsForDisks) return;
    const mayLack = !storage.storesInFull;
    this.#waitingBytes = 0;
    await this.#packWaiting(storage.smallBytesMax);
    let from: Buffer | undefined;
    for (let packs = 0; !this.#stopped; packs++) {
      // What is written anew while it is being packed would keep this going for ever.
      if (packs === PACKS_AT_A_TIME_MAX) {
        this.#waitingBytes += PACK_WAITING_BYTES_MIN;
        return;
      }
      const pack = await this.#collect(from);
      const worthIt = pack.bytes >= storage.smallBytesMax;
      if (worthIt) {
        if (!(await this.#storeFound(pack, mayLack))) return;
      } else if (pack.extents.length === 0) await this.#forget(pack.files);
      // A blob with less in it costs more than it saves; it waits for company.
      else this.#giveBack(pack.extents);
      if (pack.next === undefined) return;
      from = worthIt || pack.extents.length === 0 ? pack.next : keyAfter(pack.next);
      await this.#options.clock.yield();
    }
  }

  /** While something else goes on that may take minutes: new files have only so much memory, and what a database writes shall not pile up in the index. */
  async #keepUp(): Promise<void> {
    if (this.#waitingBytes >= PACK_WAITING_BYTES_MIN) await this.#packAll();
    else await this.#packWaiting(this.#packBytesMax);
  }

  /** False: disks went out. */
  async #storeFound({ extents, files, bytes }: Pack, mayLack: boolean): Promise<boolean> {
    let stored = false;
    try {
      stored = await this.#packs.store(extents, { mayLack, settled: () => this.#forget(files) });
    } finally {
      if (!stored) this.#giveBack(extents);
    }
    if (!stored) this.#waitingBytes += bytes;
    return stored;
  }

  /** @param idle nothing small was written for a moment; what is written to all the time has its turn later */
  #repackDue(idle: boolean): boolean {
    const { clock, ledger, storage } = this.#options;
    if (!storage.storesInFull || clock.monotonicMs() - this.#repackedMs < (idle ? REPACK_INTERVAL_MS : REPACK_BUSY_INTERVAL_MS))
      return false;
    return ledger.partialDrops >= Math.max(REPACK_DROPS_MIN, ledger.counters.inodes * REPACK_DROPS_SHARE);
  }

  /** Puts in order what is left in sparse blobs, and files in many pieces. */
  repackAll(): Promise<Repacked> {
    return this.#alone(async () => {
      const { ledger, clock, storage } = this.#options;
      const drops = ledger.partialDrops;
      try {
        ledger.partialDrops = 0;
        return await this.#repacker.run();
      } finally {
        if (!storage.storesInFull) ledger.partialDrops += drops;
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
        if (this.#isChanging(ino)) {
          this.#waitingBytes ||= 1;
          continue;
        }
        const { found, complete } = await this.#inlineExtents(ino);
        for (const [at, { row, data }] of found.entries()) {
          if (extents.length >= PACK_EXTENTS_MAX || bytes + data.length > bytesMax) {
            this.#giveBack(found.slice(at).map((inline) => inline.row));
            return { extents, bytes, files, next: key };
          }
          extents.push(packedRow(row, data, bytes));
          bytes += data.length;
        }
        if (!complete) return { extents, bytes, files, next: key };
        files.push(ino);
      }
      const last = queue.at(-1);
      if (last === undefined || queue.length < CHANGE_STEP_ROWS) return { extents, bytes, files, next: undefined };
      if (files.length >= PACK_EXTENTS_MAX) return { extents, bytes, files, next: keyAfter(last.key) };
      range = { ...range, start: keyAfter(last.key) };
      await this.#options.clock.yield();
    }
  }

  /** All of it may be replaced in a moment. Not of a large file: a database is always about to change. */
  #isChanging(ino: number): boolean {
    const node = this.#options.nodes.get(ino);
    return node?.top !== undefined && node.row.size < this.#options.storage.blobBytesMax;
  }

  /** The first inline extents of a file that are worth packing. `complete`: there are no more. */
  async #inlineExtents(ino: number): Promise<{ found: Inline[]; complete: boolean }> {
    const { ledger } = this.#options;
    const inode = await ledger.inode(ino);
    if (inode === undefined) return { found: [], complete: true };
    if (this.#small.count(ino) === undefined) {
      const looked = await this.#lookThrough(inode);
      if (this.#small.count(ino) === undefined) return looked;
    }
    const found: Inline[] = [];
    for (const offset of this.#small.take(ino, PACK_FILE_EXTENTS_MAX)) {
      const key = extentKey(ino, inode.generation, offset);
      const value = await ledger.index.get(key);
      const inline = value === undefined ? undefined : packable({ key, value });
      if (inline !== undefined) found.push(inline);
    }
    return { found, complete: this.#small.count(ino) === 0 };
  }

  /** Looks at all extents of a file; with many it is known from then on where the small ones are, otherwise the first of them are returned. */
  async #lookThrough({ ino, generation }: InodeRow): Promise<{ found: Inline[]; complete: boolean }> {
    const { ledger, clock } = this.#options;
    const found: Inline[] = [];
    let range = extentRange(ino, generation, 0, undefined, CHANGE_STEP_ROWS);
    for (let first = true; ; first = false) {
      const rows = await ledger.index.scan(range);
      const last = rows.at(-1);
      const ended = last === undefined || rows.length < CHANGE_STEP_ROWS;
      // What is committed meanwhile is noted.
      if (first && !ended) this.#small.learn(ino);
      const some = rows.flatMap((row) => packable(row) ?? []);
      this.#small.note(
        ino,
        some.map(({ row }) => parseExtentKey(row.key).offset),
      );
      if (found.length < PACK_FILE_EXTENTS_MAX) found.push(...some);
      if (ended) return { found, complete: true };
      if (this.#small.count(ino) === undefined && found.length >= PACK_FILE_EXTENTS_MAX)
        return { found: found.slice(0, PACK_FILE_EXTENTS_MAX), complete: false };
      range = { ...range, start: keyAfter(last.key) };
      await clock.yield();
    }
  }

  /** They were not packed after all. */
  #giveBack(extents: readonly { readonly key: Buffer }[]): void {
    for (const { key } of extents) {
      const { ino, offset } = parseExtentKey(key);
      this.#small.note(ino, [offset]);
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
  async #hasSmall(scan: (range: ReturnType<typeof extentRange>) => Awaitable<Row[]>, ino: number): Promise<boolean> {
    const inode = this.#options.ledger.cachedInode(ino) ?? (await this.#options.ledger.inode(ino));
    if (inode === undefined) return false;
    const known = this.#small.count(ino);
    if (known !== undefined) return known > 0;
    const first = await scan(extentRange(ino, inode.generation, 0, undefined, PACK_FILE_EXTENTS_MAX));
    return first.some((row) => packable(row) !== undefined);
  }
}
