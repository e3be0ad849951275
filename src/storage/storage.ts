/** The data plane's public face: immutable blobs in, verified bytes out. README.md beside this file has the formats. */
import type { BlobId, DiskNumber, SegmentId } from '../base/ids.js';
import type { ErrnoName } from '../base/errors.js';
import type { Location } from '../base/location.js';

/** A stored blob. `missing`: shard numbers that did not land (recorded as disk 0 in the location); the caller records it as endangered. */
export interface StoredBlob {
  readonly location: Location;
  readonly missing: readonly number[];
}

/** A shard's record as the background scan of segments sees it. */
export interface FoundRecord {
  readonly blob: BlobId;
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  readonly offset: number;
  /** Header and frames. */
  readonly bytes: number;
}

/** How far a scan of one disk has come: everything in front of it was seen. Segments go by their numbers. */
export interface RecordCursor {
  readonly segment: SegmentId;
  /** Where in the segment file the scan goes on. */
  readonly offset: number;
}

/** A record whose header is whole. bad: a frame does not match its checksum, or cannot be read (`code` says which). */
export interface ScannedShard extends FoundRecord {
  readonly kind: 'record';
  readonly state: 'good' | 'bad';
  /** Why it is bad: EBADMSG, ENODATA (the file ends early) or the error of the read. */
  readonly code: ErrnoName | undefined;
  /** What the header says of its blob; enough to put locations together again without an index. */
  readonly codec: number;
  readonly k: number;
  readonly m: number;
  readonly blobBytes: number;
  readonly cursor: RecordCursor;
}

/** Bytes that are neither zeros nor a record: a damaged header, a torn tail, something unreadable. What they were only the index can tell. */
export interface ScannedStray {
  readonly kind: 'stray';
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  readonly offset: number;
  readonly bytes: number;
  /** EBADMSG, or the error of the read. */
  readonly code: ErrnoName;
  readonly cursor: RecordCursor;
}

/** A segment was seen to its end. */
export interface ScannedSegment {
  readonly kind: 'segment';
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  /** This is the `index`th (from 0) of `count` segments of the disk. */
  readonly index: number;
  readonly count: number;
  /** Length of the file. */
  readonly bytes: number;
  readonly cursor: RecordCursor;
}

/** What a scan of a disk yields. */
export type ScannedRecord = ScannedShard | ScannedStray | ScannedSegment;

export interface ScanOptions {
  /** false: only headers are read and checked, and every record with a whole one is called good. Default true. */
  readonly frames?: boolean;
}

/** A shard that is not as its location says. */
export interface ShardDamage {
  readonly shard: number;
  readonly code: ErrnoName;
}

export interface RebuildOptions {
  /** Disks that get none of the shards. Draining and failed ones never do. */
  readonly avoid?: ReadonlySet<DiskNumber>;
}

/** One segment file of a disk. */
export interface SegmentUse {
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  /** From its start to behind its last record. */
  readonly bytes: number;
  /** Of records that were not freed. */
  readonly liveBytes: number;
  readonly liveRecords: number;
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
  /** Are as many disks in as a new blob has shards? If not, it is stored with fewer. */
  readonly storesInFull: boolean;
  /** Bytes written since the last sync began. */
  readonly unsyncedBytes: number;
  /**
   * Where the shards are now, if some were moved after a failed sync since this location was made (else the same object). Whoever writes a location
   * into the index takes it through here, in the same turn as the transaction: the blob may have been moved before the index knew it. For locations
   * of whole blobs alone: of what `replacedShards` says it would give the shards that are alive.
   */
  current(location: Location): Location;
  /**
   * Where shards were between this location and the current one, if they were moved more than once: what `free` takes. No row may ever have named these
   * places: moves of a blob whose row is gone are told to nobody. As `current`, for locations of whole blobs alone.
   */
  passed(location: Location): Location[];
  /**
   * Gives a blob's space back now. The caller vouches for I5; waits for reads in flight on it itself. What lies on disks that are out stays until they
   * are searched (`scan`).
   * @throws OperatingError a disk that stays in refused for one of the shards; the others were given back. To be asked again, for the same location
   */
  free(location: Location): Promise<void>;
  /** The same for what was stored in this leadership and no row ever spoke of. Never rejects for a disk: what is refused is tried again by itself. */
  discard(location: Location): Promise<void>;
  /** Is something left behind that only a later leadership's `scan` finds? */
  readonly leavesRecords: boolean;
  /** A blob stays behind that no row ever spoke of. */
  leave(): void;
  /**
   * Writes the shards anew, in other places (on other disks where needed), and resolves with the new location; the old one stays valid. What is good
   * where it is is copied, and keeps its place if there is no other; what is missing, bad, or on a disk that is out is made of the others. `missing`
   * names those of them that found no place; one that had a place keeps it. A corrupt record is set aside on the way (see `setAside`).
   * @throws OperatingError EIO: fewer than k shards are good, or no disk is there for any of them; ENOSPC: none has room.
   */
  rebuild(location: Location, shards: readonly number[], options?: RebuildOptions): Promise<StoredBlob>;
  /**
   * Which of the shards that have a place are not there, on disks that are in? `headers` looks whether each record is in its place; `frames` reads
   * and verifies all of it. Reports nothing to `onDamage`.
   * @param shards only these
   */
  inspect(location: Location, depth: 'headers' | 'frames', shards?: readonly number[]): Promise<ShardDamage[]>;
  /**
   * Everything on one disk that is in, in the order of the disk: segments of all epochs, those that grow as far as they were written when the scan
   * came to them. Every frame is verified, off the main thread; what cannot be read is reported and stepped over. The reader sets the pace:
   * little is read ahead of it. A record that is freed meanwhile is not damage.
   * @param after goes on behind this
   * @throws OperatingError ENODEV: the disk is out, or leaves; its own error when nothing on it can be read
   */
  scanRecords(disk: DiskNumber, after?: RecordCursor, options?: ScanOptions): AsyncIterable<ScannedRecord>;
  /**
   * Keeps a copy of a corrupt record (or of stray bytes) for inspection, in `damaged/` on its disk. Bounded; the oldest go. True when it is kept now,
   * false when it could not be: the disk has no room, or is out.
   */
  setAside(record: Pick<FoundRecord, 'disk' | 'segment' | 'offset' | 'bytes'>): Promise<boolean>;
  /**
   * Looks into segments of earlier epochs on a disk that no scan has seen since the start: small ones, and those in which something was freed. Those
   * in which nothing is left go. At most `count` of them; the next call goes on.
   * @throws OperatingError something could not be listed or read, and the disk is still in
   */
  survey(disk: DiskNumber, count: number): Promise<void>;
  /** Segments of earlier epochs on a disk that were scanned since the start (see `scan` and `survey`), and those of this epoch that take no more records. */
  segments(disk: DiskNumber): SegmentUse[];
  /**
   * All records of segments made before this leadership, disk by disk; for finding what nothing references.
   * @throws OperatingError at its end: of some disk that is in not all was seen. Such a disk is left with its first error, the others are seen
   */
  scan(): AsyncIterable<FoundRecord>;
  /** Gives one unreferenced record's space back. @throws OperatingError it cannot be read, or its disk refused, and is still in */
  freeRecord(record: FoundRecord): Promise<void>;
  /** A second old at most, but for what was stored and given back since; `anew`: as the disks say now. */
  capacity(anew?: boolean): Promise<PoolCapacity>;
  close(): Promise<void>;
}
