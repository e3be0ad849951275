/**
 * Stripe I/O in plain TypeScript over any `DiskFile`s: the simulated twin of native-stripe.ts, with the same bytes on disk.
 * Slow and clear; keeps I6: no byte is handed out before its frame matched its seeded CRC and its header the expected prefix.
 */
import { assert } from '../base/assert.js';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { FRAME_BYTES, RECORD_FRAMES_MAX, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES } from '../base/limits.js';
import { crc32c, encodeShard, reconstructShard } from './reference-codec.js';
import type { DiskFile } from './disk.js';
import {
  frameSeed,
  SCAN_FIELDS,
  type Patience,
  type Remade,
  type ShardFailure,
  type ShardRecord,
  type StoreWatch,
  type Stretch,
  type StripeGeometry,
  type StripeIo,
} from './stripe.js';

const HEADER_CRC_OFFSET = RECORD_HEADER_BYTES - 4;

const framesOf = (shardBytes: number): number => Math.ceil(shardBytes / FRAME_BYTES);

function bad(record: ShardRecord, message: string): OperatingError {
  return new OperatingError('EBADMSG', message, { disk: record.file.disk.directory, path: record.file.path });
}

function encodeHeader(record: ShardRecord, shard: Uint8Array): Buffer {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header.set(record.prefix, 0);
  for (let frame = 0; frame < framesOf(shard.length); frame++) {
    const bytes = shard.subarray(frame * FRAME_BYTES, (frame + 1) * FRAME_BYTES);
    header.writeUInt32LE(crc32c(bytes, frameSeed(record.seed, frame)), RECORD_PREFIX_BYTES + 4 * frame);
  }
  header.writeUInt32LE(crc32c(header.subarray(0, HEADER_CRC_OFFSET)), HEADER_CRC_OFFSET);
  return header;
}

/** Reads frames of one record, each at most once, and remembers why the record is not good. */
class RecordReader {
  failure: OperatingError | undefined;
  readonly #record: ShardRecord;
  readonly #shardBytes: number;
  #header: Promise<Buffer | undefined> | undefined;
  readonly #frames = new Map<number, Promise<Buffer | undefined>>();

  constructor(record: ShardRecord, shardBytes: number) {
    this.#record = record;
    this.#shardBytes = shardBytes;
  }

  get shard(): number {
    return this.#record.shard;
  }

  /** It was not waited for. */
  late(): void {
    const { file } = this.#record;
    this.failure ??= new OperatingError('ETIME', 'a record was not read in time', { disk: file.disk.directory, path: file.path });
  }

  /** The verified frame, or undefined. */
  frame(index: number): Promise<Buffer | undefined> {
    const known = this.#frames.get(index);
    if (known) return known;
    const reading = this.#guard(() => this.#readFrame(index));
    this.#frames.set(index, reading);
    return reading;
  }

  async #guard(read: () => Promise<Buffer | undefined>): Promise<Buffer | undefined> {
    try {
      return await read();
    } catch (thrown) {
      const disk = this.#record.file.disk;
      const error = asOperatingError(thrown, { disk: disk.directory, path: this.#record.file.path });
      if (!this.failure && error.code === 'EBADMSG') disk.health.checksumErrors++;
      this.failure ??= error;
      return undefined;
    }
  }

  async #readHeader(): Promise<Buffer | undefined> {
    const { file, offset, prefix } = this.#record;
    const header = await file.read(offset, RECORD_HEADER_BYTES);
    if (header.length < RECORD_HEADER_BYTES) throw bad(this.#record, 'record header ends early');
    if (header.readUInt32LE(HEADER_CRC_OFFSET) !== crc32c(header.subarray(0, HEADER_CRC_OFFSET)))
      throw bad(this.#record, 'record header is damaged');
    if (Buffer.compare(header.subarray(0, RECORD_PREFIX_BYTES), prefix) !== 0)
      throw bad(this.#record, 'record header belongs to something else');
    return header;
  }

  async #readFrame(index: number): Promise<Buffer | undefined> {
    this.#header ??= this.#guard(() => this.#readHeader());
    const header = await this.#header;
    if (!header) return undefined;
    const from = index * FRAME_BYTES;
    const bytes = Math.min(FRAME_BYTES, this.#shardBytes - from);
    const frame = await this.#record.file.read(this.#record.offset + RECORD_HEADER_BYTES + from, bytes);
    const expected = header.readUInt32LE(RECORD_PREFIX_BYTES + 4 * index);
    if (frame.length < bytes || crc32c(frame, frameSeed(this.#record.seed, index)) !== expected)
      throw bad(this.#record, `frame ${index} is damaged`);
    return frame;
  }
}

/** Whether a fetch still waits for everything. */
class Haste {
  #begin: () => void = () => undefined;
  readonly #begun = new Promise<'late'>((resolve) => {
    this.#begin = (): void => {
      resolve('late');
    };
  });

  begin(): void {
    this.#begin();
  }

  /** The frame, undefined if it is not good, or `late` if it is not there when there is haste. */
  async frame(reader: RecordReader, index: number): Promise<Buffer | undefined | 'late'> {
    return Promise.race([reader.frame(index), this.#begun]);
  }
}

/** Asks all and waits until k are good, or all have answered; marks those that were not waited for. */
async function firstGood(k: number, readers: readonly RecordReader[], frame: number, good: Map<number, Uint8Array>): Promise<void> {
  const waiting = new Set(readers);
  await new Promise<void>((resolve) => {
    for (const reader of readers)
      void reader.frame(frame).then((bytes) => {
        waiting.delete(reader);
        if (bytes && good.size < k) good.set(reader.shard, bytes);
        if (good.size === k || waiting.size === 0) resolve();
      });
  });
  for (const reader of waiting) reader.late();
}

function failuresOf(readers: Iterable<RecordReader>): ShardFailure[] {
  const failures: ShardFailure[] = [];
  for (const { shard, failure } of readers) if (failure) failures.push({ shard, error: failure });
  return failures;
}

function check(geometry: StripeGeometry, records: readonly ShardRecord[]): void {
  const { k, m, shardBytes } = geometry;
  assert(k > 0 && m >= 0 && shardBytes > 0 && framesOf(shardBytes) <= RECORD_FRAMES_MAX, 'geometry within bounds');
  for (const { shard, prefix } of records)
    assert(shard >= 0 && shard < k + m && prefix.length === RECORD_PREFIX_BYTES, 'record fits the geometry');
}

/** Does the block say that it is a record of this segment at this place? */
function isRecordOf(header: Buffer, identity: Uint8Array, place: number): boolean {
  const { magic, identityBytes } = SCAN_FIELDS;
  const own = header.subarray(SCAN_FIELDS.identity, SCAN_FIELDS.identity + identityBytes);
  return (
    header.toString('latin1', 0, magic.length) === magic &&
    own.equals(identity) &&
    header.readBigUInt64LE(SCAN_FIELDS.offset) === BigInt(place)
  );
}

export class SimulatedStripeIo implements StripeIo {
  async store(geometry: StripeGeometry, data: Uint8Array, records: readonly ShardRecord[], watch?: StoreWatch): Promise<ShardFailure[]> {
    check(geometry, records);
    const { k, shardBytes } = geometry;
    assert(data.length <= k * shardBytes, 'data fits the stripe');
    const padded = Buffer.alloc(k * shardBytes);
    padded.set(data);
    const dataShards = Array.from({ length: k }, (_, i) => padded.subarray(i * shardBytes, (i + 1) * shardBytes));
    const failures: ShardFailure[] = [];
    const late = new Map<number, () => void>();
    const writes = records.map(async (record) => {
      const shard = dataShards[record.shard] ?? encodeShard(dataShards, record.shard);
      const { disk, path } = record.file;
      const givenUp = new Promise<never>((_, reject) => {
        late.set(record.shard, () => {
          reject(new OperatingError('ETIME', 'a record was not written in time', { disk: disk.directory, path }));
        });
      });
      try {
        await Promise.race([record.file.write(record.offset, [encodeHeader(record, shard), shard]), givenUp]);
      } catch (thrown) {
        failures.push({ shard: record.shard, error: asOperatingError(thrown, { disk: disk.directory }) });
      }
      late.delete(record.shard);
    });
    const ended = watch?.({
      late: () => [...late.keys()],
      giveUp: (shards) => {
        for (const shard of shards) late.get(shard)?.();
      },
    });
    await Promise.all(writes);
    ended?.();
    return failures;
  }

  async fetch(
    geometry: StripeGeometry,
    records: readonly ShardRecord[],
    offset: number,
    out: Uint8Array,
    patience?: Patience,
  ): Promise<ShardFailure[]> {
    const haste = new Haste();
    const ended = patience?.(() => {
      haste.begin();
    });
    try {
      return await this.#fetch(geometry, records, offset, out, haste);
    } finally {
      ended?.();
    }
  }

  async #fetch(
    geometry: StripeGeometry,
    records: readonly ShardRecord[],
    offset: number,
    out: Uint8Array,
    haste: Haste,
  ): Promise<ShardFailure[]> {
    check(geometry, records);
    const { k, shardBytes } = geometry;
    assert(offset >= 0 && offset + out.length <= k * shardBytes, 'range lies within the stripe');
    const readers = new Map(records.map((record) => [record.shard, new RecordReader(record, shardBytes)]));
    const pieces: Promise<void>[] = [];
    for (let position = offset; position < offset + out.length;) {
      const shard = Math.floor(position / shardBytes);
      const within = position - shard * shardBytes;
      const frame = Math.floor(within / FRAME_BYTES);
      const from = within - frame * FRAME_BYTES;
      const frameBytes = Math.min(FRAME_BYTES, shardBytes - frame * FRAME_BYTES);
      const bytes = Math.min(frameBytes - from, offset + out.length - position);
      const target = position - offset;
      pieces.push(
        this.#piece(k, readers, shard, frame, haste).then((content) => {
          out.set(content.subarray(from, from + bytes), target);
        }),
      );
      position += bytes;
    }
    // All must have ended before `out` is the caller's again.
    for (const piece of await Promise.allSettled(pieces)) if (piece.status === 'rejected') throw asOperatingError(piece.reason);
    return failuresOf(readers.values());
  }

  async remake(geometry: StripeGeometry, sources: readonly ShardRecord[], targets: readonly ShardRecord[]): Promise<Remade> {
    check(geometry, sources);
    check(geometry, targets);
    const { k, shardBytes } = geometry;
    const good = new Map<number, Uint8Array>();
    const failed: ShardFailure[] = [];
    for (const record of sources) {
      if (good.size === k) break;
      const reader = new RecordReader(record, shardBytes);
      const frames: Uint8Array[] = [];
      for (let frame = 0; frame < framesOf(shardBytes); frame++) frames.push((await reader.frame(frame)) ?? Buffer.alloc(0));
      if (reader.failure) failed.push({ shard: record.shard, error: reader.failure });
      else good.set(record.shard, Buffer.concat(frames));
    }
    if (good.size < k) return { sources: failed, targets: [], enough: false };
    const failures: ShardFailure[] = [];
    await Promise.all(
      targets.map(async (record) => {
        const shard = good.get(record.shard) ?? reconstructShard(k, good, record.shard);
        try {
          await record.file.write(record.offset, [encodeHeader(record, shard), shard]);
        } catch (thrown) {
          failures.push({ shard: record.shard, error: asOperatingError(thrown, { disk: record.file.disk.directory }) });
        }
      }),
    );
    return { sources: failed, targets: failures, enough: true };
  }

  async scan(file: DiskFile, offset: number, bytes: number, identity: Uint8Array): Promise<Stretch> {
    const content = await file.read(offset, bytes);
    const prefixes: Buffer[] = [];
    let at = 0;
    while (at + RECORD_HEADER_BYTES <= content.length) {
      const header = content.subarray(at, at + RECORD_HEADER_BYTES);
      if (header.every((byte) => byte === 0)) {
        at += RECORD_HEADER_BYTES;
        continue;
      }
      const shardBytes = header.readUInt32LE(SCAN_FIELDS.shardBytes);
      const frames = content.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + shardBytes);
      if (!isRecordOf(header, identity, offset + at) || shardBytes === 0 || frames.length !== shardBytes) break;
      const seed = header.readUInt32LE(SCAN_FIELDS.seed);
      const again = encodeHeader({ file, shard: 0, offset, prefix: header.subarray(0, RECORD_PREFIX_BYTES), seed }, frames);
      if (!again.equals(header)) break;
      prefixes.push(header.subarray(0, RECORD_PREFIX_BYTES));
      at += RECORD_HEADER_BYTES + shardBytes;
    }
    return { bytes: at, prefixes: Buffer.concat(prefixes) };
  }

  async verify(geometry: StripeGeometry, records: readonly ShardRecord[]): Promise<ShardFailure[]> {
    check(geometry, records);
    const readers = records.map((record) => new RecordReader(record, geometry.shardBytes));
    const frames = Array.from({ length: framesOf(geometry.shardBytes) }, (_, frame) => frame);
    await Promise.all(readers.flatMap((reader) => frames.map((frame) => reader.frame(frame))));
    return failuresOf(readers);
  }

  /** One frame of a data shard, read or reconstructed from the same frame of any k others. */
  async #piece(k: number, readers: ReadonlyMap<number, RecordReader>, shard: number, frame: number, haste: Haste): Promise<Uint8Array> {
    const own = readers.get(shard);
    const direct = own && (await haste.frame(own, frame));
    if (Buffer.isBuffer(direct)) return direct;
    const good = new Map<number, Uint8Array>();
    for (const reader of readers.values()) {
      if (good.size === k) break;
      const bytes = await haste.frame(reader, frame);
      if (bytes === 'late') {
        await firstGood(k, [...readers.values()], frame, good);
        break;
      }
      if (bytes) good.set(reader.shard, bytes);
    }
    const arrived = good.get(shard);
    if (arrived) return arrived;
    if (good.size < k) {
      const causes = failuresOf(readers.values()).map((failure) => `shard ${failure.shard}: ${failure.error.message}`);
      throw new OperatingError('EIO', `${good.size} of ${k} shards can be read (${causes.join('; ')})`);
    }
    return reconstructShard(k, good, shard);
  }
}
