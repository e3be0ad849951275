/**
 * Makes the data plane out of its parts, and hands calls to them. Called by the daemon once the pool's leadership is won (the epoch is known).
 */
import { assert } from '../base/assert.js';
import { lastly } from '../base/awaitable.js';
import { makeBlobId, type DiskNumber } from '../base/ids.js';
import {
  BLOB_BYTES_MAX,
  BLOB_SHARDS_MAX,
  FRAME_BYTES,
  REBUILD_BYTES_MAX,
  RECORD_FRAMES_MAX,
  STORES_IN_FLIGHT_MAX,
  UNSYNCED_BYTES_MAX,
} from '../base/limits.js';
import type { Location } from '../base/location.js';
import { Slots } from '../base/slots.js';
import { Damaged } from './damaged.js';
import { Freeing } from './freeing.js';
import { Inspector } from './inspector.js';
import { MISSING, missingShards } from './location-codec.js';
import { Moves } from './moves.js';
import { Pool, presentShards, type StorageOptions } from './pool.js';
import { Reader } from './reader.js';
import { geometryOf, shardBytesOf } from './record.js';
import { Rebuilder } from './rebuilder.js';
import type {
  FoundRecord,
  PoolCapacity,
  RebuildOptions,
  RecordCursor,
  ScannedRecord,
  ScanOptions,
  SegmentUse,
  ShardDamage,
  Storage,
  StoredBlob,
} from './storage.js';
import { Syncer } from './sync.js';
import { Writer, type Fill } from './writer.js';

export type { StorageOptions } from './pool.js';

class BlobStorage implements Storage {
  readonly k: number;
  readonly m: number;
  readonly blobBytesMax: number;
  readonly smallBytesMax: number;
  readonly #pool: Pool;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #syncer: Syncer;
  readonly #freeing: Freeing;
  readonly #inspector: Inspector;
  readonly #damaged: Damaged;
  readonly #rebuilder: Rebuilder;
  readonly #moves = new Moves();
  readonly #slots = new Slots(STORES_IN_FLIGHT_MAX);
  readonly #rebuilds = new Slots(REBUILD_BYTES_MAX);
  #running = 0;
  /** Called when nothing is under way any more. */
  #idle: (() => void) | undefined;
  #tidying: Promise<void> | undefined;
  #blobs = 0;
  #closed = false;

  constructor(options: StorageOptions) {
    const { k, m } = options;
    assert(k > 0 && m >= 0 && k + m <= BLOB_SHARDS_MAX, `code ${k}+${m}`);
    this.k = k;
    this.m = m;
    this.blobBytesMax = Math.min(options.blobBytesMax ?? BLOB_BYTES_MAX, k * RECORD_FRAMES_MAX * FRAME_BYTES);
    this.smallBytesMax = k * FRAME_BYTES;
    this.#pool = new Pool(options);
    this.#reader = new Reader(this.#pool);
    this.#writer = new Writer(this.#pool, (bytes) => {
      this.#syncer.writtenBytes += bytes;
    });
    this.#freeing = new Freeing(this.#pool);
    this.#inspector = new Inspector(this.#pool);
    this.#damaged = new Damaged(this.#pool);
    this.#rebuilder = new Rebuilder({
      pool: this.#pool,
      reader: this.#reader,
      writer: this.#writer,
      damaged: this.#damaged,
      freeing: this.#freeing,
    });
    this.#syncer = new Syncer(this.#pool, this.#reader, this.#writer, this.#moves, this.#freeing);
  }

  get storesInFull(): boolean {
    return this.#pool.storesInFull;
  }

  get unsyncedBytes(): number {
    return this.#syncer.writtenBytes;
  }

  /** Keeps `close` from pulling the ground away. */
  #run<T>(work: () => Promise<T>): Promise<T> {
    assert(!this.#closed, 'the storage is closed');
    this.#running++;
    return lastly(work, this.#ended);
  }

  readonly #ended = (): void => {
    if (--this.#running === 0) this.#idle?.();
  };

  store(data: Uint8Array): Promise<StoredBlob> {
    assert(data.length > 0 && data.length <= this.blobBytesMax, `blob of ${data.length} bytes`);
    return this.#run(async () => {
      await this.#boundUnsynced();
      return this.#slots.run(async () => {
        const { k, m } = this;
        const blob = makeBlobId(this.#pool.options.epoch, this.#blobs++);
        const shards = Array.from({ length: k + m }, (_, shard) => shard);
        const location: Location = { blob, codec: 0, k, m, bytes: data.length, shards: shards.map(() => MISSING) };
        const { stripeIo } = this.#pool.options;
        const fill: Fill = (records, watch) => stripeIo.store(geometryOf(location), data, records, watch);
        const result = await this.#writer.write({ purpose: 'store', location, shards, fill });
        return stored(result.blob.location);
      });
    });
  }

  /** A crash may cost so much and no more; usually a flush comes long before. */
  async #boundUnsynced(): Promise<void> {
    while (this.#pool.tally.unsyncedBytes >= UNSYNCED_BYTES_MAX) await this.sync();
  }

  read(location: Location, offset: number, out: Uint8Array): Promise<void> {
    return this.#run(() => this.#reader.read(location, offset, out));
  }

  verify(location: Location): Promise<boolean> {
    return this.#run(async () => (await this.#reader.goodShards(location, presentShards(location))).length >= location.k);
  }

  async sync(): Promise<boolean> {
    try {
      // What rides in the log alone asks for this with each of its flushes.
      return this.#syncer.clean || (await this.#run(() => this.#syncer.sync()));
    } finally {
      // Nobody waits for it: one disk may be slow.
      if (!this.#closed && this.#tidying === undefined)
        this.#tidying = this.#run(() => this.#tidy()).finally(() => {
          this.#tidying = undefined;
        });
    }
  }

  async #tidy(): Promise<void> {
    await this.#freeing.retry();
    await this.#freeing.sweep();
  }

  current(location: Location): Location {
    return this.#moves.current(location);
  }

  passed(location: Location): Location[] {
    return this.#moves.passed(location);
  }

  free(location: Location): Promise<void> {
    return this.#run(async () => {
      this.#syncer.forget(location);
      await this.#freeing.free(location);
      // Not before: whoever asks again has to know where shards went.
      if (missingShards(location).length === 0) this.#moves.forget(location.blob);
    });
  }

  discard(location: Location): Promise<void> {
    return this.#run(async () => {
      this.#syncer.forget(location);
      await this.#freeing.discard(location);
    });
  }

  get leavesRecords(): boolean {
    return this.#freeing.leavesRecords;
  }

  leave(): void {
    this.#pool.leavesRecords = true;
  }

  rebuild(location: Location, shards: readonly number[], options?: RebuildOptions): Promise<StoredBlob> {
    const bytes = (location.k + shards.length) * shardBytesOf(location.bytes, location.k);
    return this.#run(() => this.#rebuilds.run(() => this.#rebuilder.rebuild(location, shards, options), bytes));
  }

  inspect(location: Location, depth: 'headers' | 'frames', shards?: readonly number[]): Promise<ShardDamage[]> {
    return this.#run(() => this.#inspector.inspect(location, depth, shards));
  }

  scanRecords(disk: DiskNumber, after?: RecordCursor, options?: ScanOptions): AsyncIterable<ScannedRecord> {
    return this.#inspector.scan(disk, after, options);
  }

  setAside(record: Pick<FoundRecord, 'disk' | 'segment' | 'offset' | 'bytes'>): Promise<boolean> {
    return this.#run(() => this.#damaged.setAside(record));
  }

  survey(disk: DiskNumber, count: number): Promise<void> {
    return this.#run(() => this.#freeing.survey(disk, count));
  }

  segments(disk: DiskNumber): SegmentUse[] {
    return this.#freeing.segments(disk);
  }

  scan(): AsyncIterable<FoundRecord> {
    return this.#freeing.scan();
  }

  freeRecord(record: FoundRecord): Promise<void> {
    return this.#run(() => this.#freeing.freeRecord(record));
  }

  capacity(anew = false): Promise<PoolCapacity> {
    return this.#run(() => this.#pool.space.capacity(this.k, this.m, anew));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.slowDisks.close();
    if (this.#running > 0)
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    for (const shelf of this.#pool.shelves()) await shelf.retireAll();
    await this.#freeing.retry();
    await this.#freeing.sweep();
    for (const shelf of this.#pool.shelves()) shelf.close();
  }
}

function stored(location: Location): StoredBlob {
  return { location, missing: missingShards(location) };
}

/** Opens the data plane. Nothing is read or written until it is asked to. */
export async function createStorage(options: StorageOptions): Promise<Storage> {
  return new BlobStorage(options);
}
