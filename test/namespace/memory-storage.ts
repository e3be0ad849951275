/**
 * A data plane in memory, for tests of what lies above it. Blobs are kept in a map as they were stored. Faults that callers must survive: stores that
 * fail (`failStores`), that wait (`hold`), that leave shards missing (`missing`), a full pool (`capacityBytes`); reads that fail (`failReads`).
 * What must not happen is an assertion: reading or freeing what is not there.
 */
import { assert, must } from '../../src/base/assert.js';
import { OperatingError, type ErrnoName } from '../../src/base/errors.js';
import { makeBlobId, makeSegmentId, segmentEpoch, type BlobId } from '../../src/base/ids.js';
import type { Location, ShardPlace } from '../../src/base/location.js';
import type { FoundRecord, PoolCapacity, ScannedRecord, SegmentUse, ShardDamage, Storage, StoredBlob } from '../../src/storage/storage.js';

interface Kept {
  readonly data: Buffer;
  /** Places that were not freed. */
  readonly places: Map<string, { shard: number; place: ShardPlace }>;
}

export class MemoryStorage implements Storage {
  readonly k = 4;
  readonly m = 2;
  readonly blobBytesMax: number;
  readonly smallBytesMax: number;
  readonly unsyncedBytes = 0;
  /** Disks are known to be out. */
  lacking = false;
  readonly blobs = new Map<BlobId, Kept>();
  epoch = 1;
  capacityBytes = 2 ** 40;
  /** The next so many stores fail with this. */
  failStores: { count: number; code: ErrnoName } = { count: 0, code: 'EIO' };
  failReads = 0;
  /** Shards that the next stores leave out. */
  missing: readonly number[] = [];
  /** Freed while a read on it was under way, or twice: callers must not. */
  reads = 0;
  stores = 0;
  inFlightMax = 0;
  #inFlight = 0;
  #counter = 0;
  #offset = 0;
  #held: (() => void)[] | undefined;
  #heldReads: (() => void)[] | undefined;

  constructor(blobBytesMax = 64 * 1024, smallBytesMax = 4096) {
    this.blobBytesMax = blobBytesMax;
    this.smallBytesMax = smallBytesMax;
  }

  /** The same blobs once more, as another life of the pool finds them. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage(this.blobBytesMax, this.smallBytesMax);
    for (const [blob, { data, places }] of this.blobs) copy.blobs.set(blob, { data, places: new Map(places) });
    copy.#offset = this.#offset;
    return copy;
  }

  get storesInFull(): boolean {
    return !this.lacking;
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const { data } of this.blobs.values()) bytes += data.length;
    return bytes;
  }

  /** Stores wait from now on, until `letGo`. */
  hold(): void {
    this.#held ??= [];
  }

  /** Stores that wait. */
  get heldStores(): number {
    return this.#held?.length ?? 0;
  }

  /** Reads wait from now on, until `letReadsGo`; they have found their blob and fetch its bytes then. */
  holdReads(): void {
    this.#heldReads ??= [];
  }

  get heldReadCount(): number {
    return this.#heldReads?.length ?? 0;
  }

  letReadsGo(): void {
    const held = this.#heldReads ?? [];
    this.#heldReads = undefined;
    for (const go of held) go();
  }

  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const go of held) go();
  }

  async store(data: Uint8Array): Promise<StoredBlob> {
    assert(data.length > 0 && data.length <= this.blobBytesMax, `blob of ${data.length} bytes`);
    this.stores++;
    this.#inFlight++;
    this.inFlightMax = Math.max(this.inFlightMax, this.#inFlight);
    const before = Buffer.from(data);
    try {
      const held = this.#held;
      if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
      else await new Promise((resolve) => setImmediate(resolve));
    } finally {
      this.#inFlight--;
    }
    assert(before.equals(data), 'data changed while it was stored');
    if (this.failStores.count > 0) {
      this.failStores.count--;
      throw new OperatingError(this.failStores.code, 'told to fail');
    }
    if (this.usedBytes + data.length > this.capacityBytes) throw new OperatingError('ENOSPC', 'full');
    const blob = makeBlobId(this.epoch, this.#counter++);
    const shards = Array.from({ length: this.k + this.m }, (_, shard) => (this.missing.includes(shard) ? nowhere : this.#place(shard)));
    const location: Location = { blob, codec: 0, k: this.k, m: this.m, bytes: data.length, shards };
    this.blobs.set(blob, { data: before, places: new Map() });
    this.#keep(location);
    return { location, missing: this.missing };
  }

  #place(shard: number): ShardPlace {
    return { disk: shard + 1, segment: makeSegmentId(this.epoch, 0), offset: (this.#offset += 4096) };
  }

  #keep({ blob, shards }: Location): void {
    const kept = must(this.blobs.get(blob), 'blob is there');
    shards.forEach((place, shard) => {
      if (place.disk !== 0) kept.places.set(placeName(place), { shard, place });
    });
  }

  async read(location: Location, offset: number, out: Uint8Array): Promise<void> {
    this.reads++;
    const find = (): Buffer => {
      const kept = must(this.blobs.get(location.blob), `blob ${location.blob} was freed`);
      const good = location.shards.filter((place) => kept.places.has(placeName(place))).length;
      assert(good >= this.k, `blob ${location.blob} has ${good} shards`);
      return kept.data;
    };
    find();
    const held = this.#heldReads;
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    else await new Promise((resolve) => setImmediate(resolve));
    if (this.failReads > 0) {
      this.failReads--;
      throw new OperatingError('EIO', 'told to fail');
    }
    const data = find();
    assert(offset + out.length <= data.length, 'read beyond the blob');
    out.set(data.subarray(offset, offset + out.length));
  }

  async verify(location: Location): Promise<boolean> {
    return this.blobs.has(location.blob);
  }

  async sync(): Promise<boolean> {
    return true;
  }

  current(location: Location): Location {
    return location;
  }

  passed(): Location[] {
    return [];
  }

  async free(location: Location): Promise<void> {
    for (const place of location.shards) this.#drop(location.blob, place);
  }

  leavesRecords = false;

  leave(): void {
    this.leavesRecords = true;
  }

  discard(location: Location): Promise<void> {
    return this.free(location);
  }

  #drop(blob: BlobId, place: ShardPlace): void {
    const kept = this.blobs.get(blob);
    kept?.places.delete(placeName(place));
    if (kept?.places.size === 0) this.blobs.delete(blob);
  }

  /** A shard is lost, as when its disk breaks. */
  lose(blob: BlobId, shard: number): void {
    for (const { place, shard: number } of this.blobs.get(blob)?.places.values() ?? []) if (number === shard) this.#drop(blob, place);
  }

  async rebuild(location: Location, shards: readonly number[]): Promise<StoredBlob> {
    const now = { ...location, shards: location.shards.map((place, shard) => (shards.includes(shard) ? this.#place(shard) : place)) };
    this.#keep(now);
    return { location: now, missing: now.shards.flatMap(({ disk }, shard) => (disk === 0 ? [shard] : [])) };
  }

  async inspect(location: Location): Promise<ShardDamage[]> {
    const kept = this.blobs.get(location.blob);
    return location.shards.flatMap((place, shard) =>
      place.disk === 0 || kept?.places.has(placeName(place)) ? [] : [{ shard, code: 'EBADMSG' as const }],
    );
  }

  async *scanRecords(disk: number): AsyncIterable<ScannedRecord> {
    for (const [blob, { data, places }] of [...this.blobs])
      for (const { shard, place } of [...places.values()])
        if (place.disk === disk) {
          const { k, m } = this;
          const cursor = { segment: place.segment, offset: place.offset + 4096 };
          const header = { codec: 0, k, m, blobBytes: data.length };
          yield { kind: 'record', state: 'good', code: undefined, blob, shard, ...place, bytes: 4096, ...header, cursor };
        }
  }

  async setAside(): Promise<boolean> {
    return true;
  }

  async survey(): Promise<void> {
    // There are no segments.
  }

  segments(): SegmentUse[] {
    return [];
  }

  async *scan(): AsyncIterable<FoundRecord> {
    for (const [blob, { places }] of [...this.blobs])
      for (const { shard, place } of [...places.values()])
        if (segmentEpoch(place.segment) < this.epoch) yield { blob, shard, ...place, bytes: 4096 };
  }

  async freeRecord({ blob, disk, segment, offset }: FoundRecord): Promise<void> {
    this.#drop(blob, { disk, segment, offset });
  }

  async capacity(): Promise<PoolCapacity> {
    const usableFreeBytes = Math.max(0, this.capacityBytes - this.usedBytes);
    return {
      usableBytes: this.capacityBytes,
      usableFreeBytes,
      rawTotalBytes: this.capacityBytes * 1.5,
      rawFreeBytes: usableFreeBytes * 1.5,
    };
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}

const nowhere: ShardPlace = { disk: 0, segment: 0, offset: 0 };

function placeName({ disk, segment, offset }: ShardPlace): string {
  return `${disk}/${segment}/${offset}`;
}
