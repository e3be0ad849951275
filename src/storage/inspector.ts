/**
 * Looks at records for their own sake: scrub reads whole disks through it, check and heal ask it about single blobs. It changes nothing and takes no
 * disk out because of a sector that cannot be read; a disk of which nothing can be read any more it reports.
 *
 * Keeps I6: frames and headers are verified by `StripeIo`, off the main thread. What is found bad is looked at once more, since a record may be freed, or
 * its blob moved, while it is being read (I5 protects readers of blobs, not us).
 */
import { AssertionError } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import { asOperatingError, OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber, SegmentId } from '../base/ids.js';
import { RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES, SCAN_STRETCH_BYTES, SCAN_VERIFIES_IN_FLIGHT_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import type { Stretch } from '../disk/stripe.js';
import type { HeldFile } from './file-cache.js';
import { placeOf, presentShards, type Pool } from './pool.js';
import {
  decodePrefix,
  encodePrefix,
  geometryOf,
  headerDamage,
  prefixOf,
  recordSeed,
  segmentIdentity,
  type RecordHeader,
} from './record.js';
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

  /**
   * Stretches of good small records are read and verified at once; what stops such a stretch (a large record, damage, something unreadable) is looked at
   * by itself, until small records follow again.
   */
  async *#scanFile(scan: Scan, segment: SegmentId, file: DiskFile, from: number): AsyncGenerator<ScannedRecord, number, undefined> {
    const own = scan.shelf.own.get(segment);
    const sizeBytes = await file.size();
    // Of a segment that grows: what is behind this is being written just now.
    const to = Math.min(sizeBytes, own?.writtenEnd ?? sizeBytes);
    for (let at = Math.max(from, SEGMENT_HEADER_BYTES); at < to;) {
      if (scan.frames) at = yield* this.#scanStretches(scan, segment, file, at, to);
      if (at < to) at = yield* this.#scanEach(scan, segment, file, at, to);
    }
    return sizeBytes;
  }

  /** Good records, as far as they follow on each other. Returns where that ends. */
  async *#scanStretches(
    scan: Scan,
    segment: SegmentId,
    file: DiskFile,
    from: number,
    to: number,
  ): AsyncGenerator<ScannedRecord, number, undefined> {
    const { poolId, stripeIo } = this.#pool.options;
    const identity = segmentIdentity(poolId, scan.shelf.number, segment);
    const read = async (at: number): Promise<Stretch | undefined> => {
      if (at >= to) return undefined;
      // What cannot be read is found out about block by block.
      return stripeIo.scan(file, at, Math.min(SCAN_STRETCH_BYTES, to - at), identity).catch((error: unknown) => {
        if (error instanceof AssertionError) throw error;
        return undefined;
      });
    };
    let at = from;
    let next = read(at);
    try {
      for (;;) {
        const stretch = await next;
        this.#checkIn(scan);
        if (stretch === undefined || stretch.bytes === 0) return at;
        const end = at + stretch.bytes;
        next = read(end);
        for (const header of headersOf(stretch.prefixes)) {
          if (header === undefined) return at;
          scan.failedReads = 0;
          at = header.offset + RECORD_HEADER_BYTES + header.shardBytes;
          yield scanned(header, undefined);
          this.#checkIn(scan);
        }
        at = end;
      }
    } finally {
      await next;
    }
  }

  /** One by one: until small records follow again, or to the end. Returns where that is. */
  async *#scanEach(
    scan: Scan,
    segment: SegmentId,
    file: DiskFile,
    from: number,
    to: number,
  ): AsyncGenerator<ScannedRecord, number, undefined> {
    const { shelf } = scan;
    const walk = new SegmentWalk(file, { pool: this.#pool.options.poolId, disk: shelf.number, segment }, { from, to });
    const pending: Promise<ScannedShard | undefined>[] = [];
    const items = walk.items((error) => {
      this.#readFailed(scan, error);
    });
    try {
      for await (const item of items) {
        this.#checkIn(scan);
        let end = to;
        if ('shardBytes' in item) {
          const verified = this.#verified(scan, file, item);
          // Whoever waits for it hears of it; if the reader goes away, nobody does.
          verified.catch(() => undefined);
          pending.push(verified);
          const alone = !scan.frames || item.shardBytes >= SCAN_STRETCH_BYTES / 4;
          if (alone && pending.length < SCAN_VERIFIES_IN_FLIGHT_MAX) continue;
          if (alone) {
            const record = await pending.shift();
            if (record) yield record;
            continue;
          }
          end = item.offset + RECORD_HEADER_BYTES + item.shardBytes;
        } else end = item.offset + item.bytes;
        for (const record of await drained(pending)) yield record;
        if (!('shardBytes' in item)) yield stray(shelf.number, segment, item);
        if (scan.frames) return end;
      }
      for (const record of await drained(pending)) yield record;
      return to;
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

/** Undefined: a header that says impossible things under a good checksum, which ends it. */
function* headersOf(prefixes: Buffer): Generator<RecordHeader | undefined, void> {
  for (let at = 0; at < prefixes.length; at += RECORD_PREFIX_BYTES) {
    try {
      yield decodePrefix(prefixes.subarray(at, at + RECORD_PREFIX_BYTES));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      yield undefined;
      return;
    }
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
