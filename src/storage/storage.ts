/** The data plane's public face: immutable blobs in, verified bytes out. README.md beside this file has the formats. */
import type { BlobId, DiskNumber, SegmentId } from '../base/ids.js';
import type { Location } from '../base/location.js';

/** A stored blob. `missing`: shard numbers that did not land (recorded as disk 0 in the location); the caller records it as endangered. */
export interface StoredBlob {
  readonly location: Location;
  readonly missing: readonly number[];
}

/** A data shard's record as the background scan of segments sees it. */
export interface FoundRecord {
  readonly blob: BlobId;
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  readonly offset: number;
  /** Header and frames. */
  readonly bytes: number;
}

/** Pool space in bytes. */
export interface PoolCapacity {
  /** Raw free bytes of the disks that are in. */
  readonly rawFreeBytes: number;
  readonly rawTotalBytes: number;
  /** User data that all disks together can hold under the code, and what is left of it. */
  readonly usableBytes: number;
  readonly usableFreeBytes: number;
}

/** A reader found a bad or unreachable shard. */
export interface DamageReport {
  readonly blob: BlobId;
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly code: string;
}

export interface Storage {
  /** The pool's code for new blobs. */
  readonly k: number;
  readonly m: number;
  /** Largest blob under this code. */
  readonly blobBytesMax: number;
  /** Smaller data is better kept as a row and packed (k × FRAME_BYTES). */
  readonly smallBytesMax: number;
  /**
   * Encodes, places and writes `data` as a new blob. Resolves when a shard was written (not synced) on every chosen disk that is in, at
   * least k. `data` must not change until then. A disk that fails meanwhile is declared out first and another one tried.
   * @throws OperatingError ENOSPC: no k+m… disks with room; EIO: fewer than k shards could be written.
   */
  store(data: Uint8Array): Promise<StoredBlob>;
  /** Reads `out.length` bytes at `offset` of a blob, verified, reconstructing where needed. @throws EIO when fewer than k shards are good. */
  read(location: Location, offset: number, out: Uint8Array): Promise<void>;
  /** Are at least k shards there and good? For recovery. */
  verify(location: Location): Promise<boolean>;
  /**
   * Makes everything written so far durable. Resolves false when a sync failed and shards were moved (via `onMoved`), so ask again.
   * @throws EIO while something that was written can neither be synced nor read back; what `onMoved` and `onDiskOut` threw.
   */
  sync(): Promise<boolean>;
  /** Bytes written since the last sync began. */
  readonly unsyncedBytes: number;
  /**
   * Where the shards are now, if some were moved after a failed sync since this location was made (else the same object). Whoever writes a location
   * into the index takes it through here, in the same turn as the transaction: the blob may have been moved before the index knew it. For locations
   * of whole blobs alone: of what `replacedShards` says it would give the shards that are alive.
   */
  current(location: Location): Location;
  /** Gives a blob's space back now. The caller vouches for I5; waits for reads in flight on it itself. */
  free(location: Location): Promise<void>;
  /**
   * Writes missing or bad shards anew (on other disks where needed), and resolves with the new location; the old one stays valid. `missing` names those
   * that found no place; one of them that had a place keeps it.
   * @throws OperatingError EIO: fewer than k shards are good, or no disk is there for any of them; ENOSPC: none has room.
   */
  rebuild(location: Location, shards: readonly number[]): Promise<StoredBlob>;
  /** All records of segments made before this leadership, disk by disk; for finding what nothing references. */
  scan(): AsyncIterable<FoundRecord>;
  /** Gives one unreferenced record's space back. */
  freeRecord(record: FoundRecord): Promise<void>;
  capacity(): Promise<PoolCapacity>;
  close(): Promise<void>;
}
