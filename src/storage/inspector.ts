/**
 * Looks at records for their own sake: scrub reads whole disks through it, check and heal ask it about single blobs. It changes nothing and takes no
 * disk out because of a sector that cannot be read; a disk of which nothing can be read any more it reports.
 *
 * Keeps I6: frames and headers are verified by `StripeIo`, off the main thread. What is found bad is looked at once more, since a record may be freed, or
 * its blob moved, while it is being read (I5 protects readers of blobs, not us).
 */
import { asOperatingError, OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber, SegmentId } from '../base/ids.js';
import { RECORD_HEADER_BYTES, SCAN_VERIFIES_IN_FLIGHT_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import type { HeldFile } from './file-cache.js';
import { placeOf, presentShards, type Pool } from './pool.js';
import { encodePrefix, geometryOf, headerDamage, prefixOf, recordSeed, type RecordHeader } from './record.js';
import { SegmentWalk, type StrayBytes } from './scanner.js';
import { listSegments, readSegmentHeader } from './segment-list.js';
import { SEGMENT_HEADER_BYTES } from './segment-format.js';
import type { Shelf } from './shelf.js';
import type { RecordCursor, ScannedRecord, ScannedShard, ScannedStray, ScanOptions, ShardDamage } from './storage.js';

/** Reads that failed with no good record between them: some 40 MiB. Then it is the disk, not its sectors. */
const FAILED_READS_MAX = 64;

/** One disk's scan. */
interface Scan {
  readonly shelf: Shelf;
  readonly disk: Disk;
  readonly frames: boolean;
  failedReads: number;
}

export class Inspector {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** See `Storage.scanRecords`. */
  async *scan(number: DiskNumber, after?: RecordCursor, options: ScanOptions = {}): AsyncGenerator<ScannedRecord, void, undefined> {
    const shelf = this.#pool.shelf(number);
    const { disk } = shelf;
    if (!disk) throw gone(number);
    const scan: Scan = { shelf, disk, frames: options.frames ?? true, failedReads: 0 };
    const segments = await listSegments(disk);
    for (const [index, segment] of segments.entries()) {
      if (after && segment < after.segment) continue;
      const from = after?.segment === segment ? after.offset : 0;
      const bytes = yield* this.#scanSegment(scan, segment, from);
      if (bytes === undefined) continue;
      yield { kind: 'segment', disk: number, segment, index, count: segments.length, bytes, cursor: { segment: segment + 1, offset: 0 } };
    }
  }

  /** Resolves with the bytes of the file; undefined: it is gone, or not ours. */
  async *#scanSegment(scan: Scan, segment: SegmentId, from: number): AsyncGenerator<ScannedRecord, number | undefined, undefined> {
    const held = await this.#acquire(scan, segment);
    if (!held) return undefined;
    try {
      const header = await readSegmentHeader(this.#pool, scan.shelf.number, segment, held.file);
      if (header === 'foreign') return undefined;
      if (header !== 'good' && from < SEGMENT_HEADER_BYTES)
        yield stray(scan.shelf.number, segment, { offset: 0, bytes: SEGMENT_HEADER_BYTES, code: header });
      return yield* this.#scanFile(scan, segment, held.file, from);
    } finally {
      held.release();
    }
  }

  async #acquire(scan: Scan, segment: SegmentId): Promise<HeldFile | undefined> {
    this.#checkIn(scan);
    try {
      return await scan.shelf.acquire(segment);
    } catch (thrown) {
      const error = asOperatingError(thrown);
      // Unlinked since it was listed.
      if (error.code === 'ENOENT') return undefined;
      this.#readFailed(scan, error);
      return undefined;
    }
  }

  async *#scanFile(scan: Scan, segment: SegmentId, file: DiskFile, from: number): AsyncGenerator<ScannedRecord, number, undefined> {
    const { shelf } = scan;
    const own = shelf.own.get(segment);
    // Of a segment that grows: what is behind this is being written just now.
    const bounds = own ? { from, to: own.writtenEnd } : { from };
    const walk = new SegmentWalk(file, { pool: this.#pool.options.poolId, disk: shelf.number, segment }, bounds);
    const pending: Promise<ScannedShard | undefined>[] = [];
    const items = walk.items((error) => {
      this.#readFailed(scan, error);
    });
    try {
      for await (const item of items) {
        this.#checkIn(scan);
        if ('shardBytes' in item) {
          const verified = this.#verified(scan, file, item);
          // Whoever waits for it hears of it; if the reader goes away, nobody does.
          verified.catch(() => undefined);
          pending.push(verified);
          if (pending.length < SCAN_VERIFIES_IN_FLIGHT_MAX) continue;
          const record = await pending.shift();
          if (record) yield record;
          continue;
        }
        for (const record of await drained(pending)) yield record;
        yield stray(shelf.number, segment, item);
      }
      for (const record of await drained(pending)) yield record;
      return walk.sizeBytes;
    } finally {
      await Promise.allSettled(pending);
    }
  }

  /** The record as it is; undefined when it was freed meanwhile. Never rejects but for what `#readFailed` says of the disk. */
  async #verified(scan: Scan, file: DiskFile, header: RecordHeader): Promise<ScannedShard | undefined> {
    let code = scan.frames ? await this.#frames(file, header) : undefined;
    if (code !== undefined) {
      const again = await this.#stillThere(file, header);
      if (again === false) return undefined;
      code = await this.#frames(file, header);
      if (code !== undefined && (await this.#stillThere(file, header)) === false) return undefined;
    }
    this.#checkIn(scan);
    if (code === undefined) scan.failedReads = 0;
    else if (code !== 'EBADMSG' && code !== 'ENODATA') this.#readFailed(scan, new OperatingError(code, 'a record cannot be read'));
    return scanned(header, code);
  }

  /** Why the record is not good. */
  async #frames(file: DiskFile, header: RecordHeader): Promise<ErrnoName | undefined> {
    const { poolId, stripeIo } = this.#pool.options;
    const { k, m, shard, shardBytes, offset, blob } = header;
    const record = { shard, file, offset, prefix: prefixOf(poolId, header), seed: recordSeed(poolId, blob, shard) };
    const [failure] = await stripeIo.verify({ k, m, shardBytes }, [record]);
    return failure?.error.code;
  }

  /** Is the header that was read still in its place? What cannot be read is. */
  async #stillThere(file: DiskFile, header: RecordHeader): Promise<boolean> {
    try {
      const block = await file.read(header.offset, RECORD_HEADER_BYTES);
      // Freed: a hole now. Anything else in its place is damage.
      return !block.every((byte) => byte === 0);
    } catch {
      return true;
    }
  }

  #checkIn({ shelf, disk }: Scan): void {
    if (this.#pool.options.diskSet.disk(shelf.number) !== disk) throw gone(shelf.number);
  }

  /** A read failed: of a sector, unless the disk is out or nothing else ever succeeds. */
  #readFailed(scan: Scan, error: OperatingError): void {
    this.#checkIn(scan);
    if (error.code === 'EIO' && ++scan.failedReads < FAILED_READS_MAX) return;
    if (error.code === 'EIO') this.#pool.options.diskSet.reportFailure(scan.shelf.number, error);
    else this.#pool.ioFailed(scan.shelf.number, scan.disk, 'read', error);
    throw error;
  }

  /** See `Storage.inspect`. */
  async inspect(
    location: Location,
    depth: 'headers' | 'frames',
    shards: readonly number[] = presentShards(location),
  ): Promise<ShardDamage[]> {
    return this.#pool.pins.with(location.blob, async () => {
      const present = shards.filter((shard) => placeOf(location, shard).disk !== 0);
      const damage = await Promise.all(present.map((shard) => this.#inspectShard(location, shard, depth)));
      return damage.filter((each) => each !== undefined);
    });
  }

  async #inspectShard(location: Location, shard: number, depth: 'headers' | 'frames'): Promise<ShardDamage | undefined> {
    const { disk: number, segment, offset } = placeOf(location, shard);
    const { poolId, stripeIo, diskSet } = this.#pool.options;
    const shelf = this.#pool.shelf(number);
    const { disk } = shelf;
    if (!disk) return undefined;
    const prefix = encodePrefix(poolId, location, shard);
    let code: ErrnoName | undefined;
    try {
      const held = await shelf.acquire(segment);
      try {
        if (depth === 'headers') code = headerDamage(await held.file.read(offset, RECORD_HEADER_BYTES), prefix);
        else {
          const record = { shard, file: held.file, offset, prefix, seed: recordSeed(poolId, location.blob, shard) };
          code = (await stripeIo.verify(geometryOf(location), [record]))[0]?.error.code;
        }
      } finally {
        held.release();
      }
    } catch (thrown) {
      code = asOperatingError(thrown).code;
      if (code === 'ENOENT') code = 'ENODATA';
    }
    // What a disk that is out did not answer says nothing about the record.
    return code === undefined || diskSet.disk(number) !== disk ? undefined : { shard, code };
  }
}

async function drained(pending: Promise<ScannedShard | undefined>[]): Promise<ScannedShard[]> {
  const records = await Promise.all(pending);
  pending.length = 0;
  return records.filter((record) => record !== undefined);
}

function gone(number: DiskNumber): OperatingError {
  return new OperatingError('ENODEV', `disk ${number} is out`, { disk: String(number) });
}

function stray(disk: DiskNumber, segment: SegmentId, { offset, bytes, code }: StrayBytes): ScannedStray {
  return { kind: 'stray', disk, segment, offset, bytes, code, cursor: { segment, offset: offset + bytes } };
}

function scanned(header: RecordHeader, code: ErrnoName | undefined): ScannedShard {
  const { blob, shard, disk, segment, offset, shardBytes, codec, k, m, blobBytes } = header;
  const bytes = RECORD_HEADER_BYTES + shardBytes;
  const cursor = { segment, offset: offset + bytes };
  return {
    kind: 'record',
    state: code === undefined ? 'good' : 'bad',
    code,
    blob,
    shard,
    disk,
    segment,
    offset,
    bytes,
    codec,
    k,
    m,
    blobBytes,
    cursor,
  };
}
