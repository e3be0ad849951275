/**
 * Where a blob's shards are. Known to the data plane, which makes and reads it, and kept by the metadata store as opaque
 * bytes; it stands on the lowest floor because both need the word.
 */
import type { BlobId, DiskNumber, SegmentId } from './ids.js';

/** One shard's place. `disk` 0: this shard is missing (the blob is endangered). */
export interface ShardPlace {
  readonly disk: DiskNumber;
  readonly segment: SegmentId;
  /** Byte offset of the record's header in the segment file; a multiple of SHARD_ALIGN_BYTES. */
  readonly offset: number;
}

/** Where a blob is: index i of `shards` holds shard i; the first k are data, the rest parity. */
export interface Location {
  readonly blob: BlobId;
  /** 0: plain. Room for compressed or encrypted blobs. */
  readonly codec: number;
  readonly k: number;
  readonly m: number;
  /** Length of the blob's content. Shards are ceil(bytes / k) rounded up to SHARD_ALIGN_BYTES. */
  readonly bytes: number;
  readonly shards: readonly ShardPlace[];
}
