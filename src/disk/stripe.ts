/**
 * Stripe I/O: erasure code, checksums and the parallel I/O of one blob's shard records, fused into one call so that
 * storing or fetching a blob costs one hop off the main thread.
 *
 * A record is a header block (RECORD_HEADER_BYTES) followed by the shard's frames (FRAME_BYTES each, the last one may be
 * shorter). Bytes 0 … RECORD_PREFIX_BYTES-1 of the header come from the caller (`prefix`); then follows the table of the
 * frames' CRC32C (little endian, zero-filled to the end), and in the last four bytes the CRC32C (seed 0) of everything before
 * them. Frame f's CRC is seeded with `frameSeed(seed, f)`.
 */
import type { DiskFile } from './disk.js';
import type { OperatingError } from '../base/errors.js';

/** The code of one blob. */
export interface StripeGeometry {
  readonly k: number;
  readonly m: number;
  /** Bytes of each shard, a multiple of SHARD_ALIGN_BYTES, at most RECORD_FRAMES_MAX × FRAME_BYTES. */
  readonly shardBytes: number;
}

/** One shard record to write or to read. */
export interface ShardRecord {
  /** 0 … k+m-1. */
  readonly shard: number;
  readonly file: DiskFile;
  /** Offset of the header in the file. */
  readonly offset: number;
  /** RECORD_PREFIX_BYTES that bind the record to its identity and place; must match on read. */
  readonly prefix: Uint8Array;
  /** CRC seed of this blob and shard, 32 bits. */
  readonly seed: number;
}

/** A record that could not be used, and why. EBADMSG: a checksum or the prefix did not match. ETIME: it was not waited for. */
export interface ShardFailure {
  readonly shard: number;
  readonly error: OperatingError;
}

/**
 * How long a fetch waits for disks that do not answer. Called with `hurry` when it begins; returns what is called when it has ended. Each call of
 * `hurry` makes the fetch go around the records that have not answered yet, if k others are left; they are then reported with ETIME.
 */
export type Patience = (hurry: () => void) => () => void;

/** What became of a remake. */
export interface Remade {
  /** Sources that were tried and are not good. */
  readonly sources: ShardFailure[];
  /** Targets that did not land. */
  readonly targets: ShardFailure[];
  /** false: fewer than k sources are good, and nothing was written. */
  readonly enough: boolean;
}

/** The good records at the start of a stretch. */
export interface Stretch {
  /** Bytes that were walked over. */
  readonly bytes: number;
  /** RECORD_PREFIX_BYTES of each record, in their order, one behind the other. */
  readonly prefixes: Buffer;
}

/** Where in a prefix a scan finds what it needs (storage/record.ts lays all of it out; native/io/format.h has the same numbers). */
export const SCAN_FIELDS = { magic: 'OSTKSHRD', identity: 16, identityBytes: 32, offset: 48, shardBytes: 72, seed: 76 } as const;

/** A store under way, as whoever watches it sees it. */
export interface StoreUnderWay {
  /** Shards that their disks were given, and that have neither landed nor failed yet. */
  late(): number[];
  /** These are not waited for any more, and reported with ETIME. Their disks may go on writing, and what they write then is of no use to anybody. */
  giveUp(shards: readonly number[]): void;
}

/** Called with a store when it begins; returns what is called when it has ended. */
export type StoreWatch = (store: StoreUnderWay) => () => void;

export interface StripeIo {
  /**
   * Encodes `data` (the blob's content, at most k × shardBytes; the rest is taken as zeros) and writes the records given, which
   * may be any subset of the k+m shards. Resolves with what failed (empty: all landed). `data` must not change until then.
   */
  store(geometry: StripeGeometry, data: Uint8Array, records: readonly ShardRecord[], watch?: StoreWatch): Promise<ShardFailure[]>;
  /**
   * Reads content bytes `offset` … `offset + out.length - 1` into `out`, verifying every frame used. Tries the data shards that hold the
   * range, and falls back to reconstruction from any k good ones of the records given, all in one call. Resolves with the records that
   * turned out unusable; rejects with EIO when fewer than k could be used for some part of the range (`out` is then undefined).
   */
  fetch(
    geometry: StripeGeometry,
    records: readonly ShardRecord[],
    offset: number,
    out: Uint8Array,
    patience?: Patience,
  ): Promise<ShardFailure[]>;
  /**
   * Writes the targets, whose shards are made of k good sources, without their content passing through here. Sources are tried in the order given and no
   * more of them read than are needed. A shard may be source and target: with k = 1 and shard 0 on both sides this is a verified copy.
   */
  remake(geometry: StripeGeometry, sources: readonly ShardRecord[], targets: readonly ShardRecord[]): Promise<Remade>;
  /**
   * Reads a stretch of a segment at once and walks from its start over blocks of zeros and over records, as far as those are good: header and frames match
   * their checksums, and bytes 16 … 47 of the prefix are `identity`, 48 … 55 the record's offset. It stops before whatever else it meets, or what does not lie
   * in the stretch as a whole, and leaves it to the caller to find out more. Where a shard's length and seed stand in the prefix: see SCAN_FIELDS.
   * @throws OperatingError when it cannot be read: nothing is known then
   */
  scan(file: DiskFile, offset: number, bytes: number, identity: Uint8Array): Promise<Stretch>;
  /** Reads every frame of each record given, and resolves with those that are not good. */
  verify(geometry: StripeGeometry, records: readonly ShardRecord[]): Promise<ShardFailure[]>;
}

/** CRC seed of frame `frame` of a shard: mixes so that neighbours differ in about half their bits. Same as in native/io. */
export function frameSeed(seed: number, frame: number): number {
  let x = (seed + Math.imul(frame + 1, 0x9e3779b1)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  return (x ^ (x >>> 13)) >>> 0;
}
