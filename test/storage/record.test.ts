/** Records, segment headers and locations: golden bytes, a reader written from the format page alone, and what decoders do with nonsense. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom } from '../../src/base/clock.js';
import { makeBlobId, makeSegmentId, type Uuid } from '../../src/base/ids.js';
import type { Location } from '../../src/base/location.js';
import { packageRoot } from '../../src/base/package-root.js';
import type { Disk } from '../../src/disk/disk.js';
import { openNativeDisk } from '../../src/disk/native-disk.js';
import { NativeStripeIo } from '../../src/disk/native-stripe.js';
import { crc32c } from '../../src/disk/reference-codec.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import type { StripeIo } from '../../src/disk/stripe.js';
import { decodeLocation, encodeLocation } from '../../src/storage/location-codec.js';
import { decodeHeader, encodePrefix, geometryOf, headerCrc, recordBytesOf, recordSeed } from '../../src/storage/record.js';
import { decodeSegmentHeader, encodeSegmentHeader, parseSegmentName, segmentPath } from '../../src/storage/segment-format.js';

const pool = '00112233445566778899aabbccddeeff' as Uuid;

/** 2+1, shards of two frames, content that is mostly zeros so that the golden file stays small. */
const location: Location = {
  blob: makeBlobId(3, 70_000),
  codec: 0,
  k: 2,
  m: 1,
  bytes: 40_001,
  shards: [
    { disk: 1, segment: makeSegmentId(3, 17), offset: 4096 },
    { disk: 300, segment: makeSegmentId(5, 0), offset: 2 ** 20 },
    { disk: 2, segment: makeSegmentId(3, 1_048_575), offset: 2 ** 30 },
  ],
};

function content(): Buffer {
  const data = Buffer.alloc(location.bytes);
  for (const at of [0, 16_380, 20_470, 36_870, 39_900]) for (let i = 0; i < 90; i++) data.writeUInt8((at + 7 * i) & 0xff, at + i);
  return data;
}

/** Lines of 32 bytes in hex behind their offset; lines of zeros are left out. */
function dump(bytes: Buffer): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 32) {
    const line = bytes.subarray(at, at + 32);
    if (line.some((byte) => byte !== 0)) lines.push(`${at.toString(16).padStart(6, '0')} ${line.toString('hex')}`);
  }
  return `${lines.join('\n')}\n`;
}

function undump(text: string, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const [at, hex] = line.split(' ');
    out.set(Buffer.from(must(hex, 'two columns'), 'hex'), parseInt(must(at, 'two columns'), 16));
  }
  return out;
}

const golden = async (name: string): Promise<string> => readFile(join(packageRoot, 'test', 'golden', name), 'utf8');

function simulatedDisk(): Disk {
  const machine = new SimulatedMachine(seededRandom(1));
  machine.addDisk('/d');
  return machine.open('/d');
}

async function makeRecords(disk = simulatedDisk(), stripeIo: StripeIo = new SimulatedStripeIo()): Promise<Buffer[]> {
  const files = await Promise.all(location.shards.map((_, shard) => disk.open(`shard${shard}`, { create: true, write: true })));
  const records = files.map((file, shard) => ({
    shard,
    file,
    offset: 0,
    prefix: encodePrefix(pool, location, shard),
    seed: recordSeed(pool, location.blob, shard),
  }));
  t.same(await stripeIo.store(geometryOf(location), content(), records), []);
  return Promise.all(files.map((file) => file.read(0, recordBytesOf(location.bytes, location.k))));
}

void t.test('whole records, byte by byte', async (t) => {
  const records = await makeRecords();
  for (const [shard, record] of records.entries()) t.equal(dump(record), await golden(`record-shard${shard}.txt`), `shard ${shard}`);
});

void t.test('native I/O writes the same bytes', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'ostraka-record-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const disk = await openNativeDisk(directory, async () => pool);
  const records = await makeRecords(disk, new NativeStripeIo());
  for (const [shard, record] of records.entries()) t.equal(dump(record), await golden(`record-shard${shard}.txt`), `shard ${shard}`);
  await disk.close();
});

/** Reads a record knowing nothing but the page in src/storage/README.md. */
function readByThePage(record: Buffer): { fields: Record<string, number | string>; shard: Buffer } {
  const crc = (bytes: Buffer, seed: number): number => {
    let register = seed;
    for (const byte of bytes) {
      register ^= byte;
      for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0x82f63b78 : register >>> 1;
    }
    return register >>> 0;
  };
  const mix = (a: number, b: number): number => {
    let x = (a ^ b) >>> 0;
    x = Number((BigInt(x ^ (x >>> 16)) * 0x85ebca6bn) & 0xffffffffn);
    x = Number((BigInt((x ^ (x >>> 13)) >>> 0) * 0xc2b2ae35n) & 0xffffffffn);
    return (x ^ (x >>> 16)) >>> 0;
  };
  const frameSeed = (seed: number, frame: number): number => {
    let x = Number((BigInt(seed) + BigInt(frame + 1) * 0x9e3779b1n) & 0xffffffffn);
    x = Number((BigInt((x ^ (x >>> 16)) >>> 0) * 0x85ebca6bn) & 0xffffffffn);
    return (x ^ (x >>> 13)) >>> 0;
  };
  t.equal(record.toString('latin1', 0, 8), 'OSTKSHRD');
  t.equal(crc(record.subarray(0, 4092), 0), record.readUInt32LE(4092), 'CRC of the header');
  let seed = 0;
  for (const at of [16, 20, 24, 28, 56, 60]) seed = mix(seed, record.readUInt32LE(at));
  seed = mix(seed, record.readUInt8(13));
  const shardBytes = record.readUInt32LE(72);
  const shard = record.subarray(4096, 4096 + shardBytes);
  for (let frame = 0; frame * 16_384 < shardBytes; frame++)
    t.equal(
      crc(shard.subarray(frame * 16_384, (frame + 1) * 16_384), frameSeed(seed, frame)),
      record.readUInt32LE(256 + 4 * frame),
      'CRC of a frame',
    );
  const fields = {
    version: record.readUInt16LE(8),
    codec: record.readUInt8(10),
    k: record.readUInt8(11),
    m: record.readUInt8(12),
    shard: record.readUInt8(13),
    pool: record.toString('hex', 16, 32),
    disk: record.readUInt32LE(32),
    epoch: record.readUInt32LE(36),
    segment: Number(record.readBigUInt64LE(40)),
    offset: Number(record.readBigUInt64LE(48)),
    blob: Number(record.readBigUInt64LE(56)),
    blobBytes: Number(record.readBigUInt64LE(64)),
    shardBytes,
    seed: record.readUInt32LE(76),
  };
  t.equal(fields.seed, seed, 'seed as the page says');
  return { fields, shard };
}

void t.test('a reader written from the page reads the golden records', async (t) => {
  const expected = content();
  const shards: Buffer[] = [];
  for (const [number, { disk, segment, offset }] of location.shards.entries()) {
    const record = undump(await golden(`record-shard${number}.txt`), recordBytesOf(location.bytes, location.k));
    const { fields, shard } = readByThePage(record);
    const { blob, k, m, codec, bytes } = location;
    const epoch = [3, 5, 3][number];
    const { seed, ...rest } = fields;
    t.type(seed, 'number');
    t.same(rest, {
      version: 1,
      codec,
      k,
      m,
      shard: number,
      pool,
      disk,
      epoch,
      segment,
      offset,
      blob,
      blobBytes: bytes,
      shardBytes: 20_480,
    });
    shards.push(shard);
  }
  t.ok(Buffer.concat(shards.slice(0, 2)).subarray(0, location.bytes).equals(expected), 'data shards one after the other are the content');
});

void t.test('headers decode to what was encoded, and to nothing when any bit differs', async (t) => {
  const [record] = await makeRecords();
  const block = must(record, 'record').subarray(0, 4096);
  const { blob, k, m, codec } = location;
  const place = must(location.shards[0], 'shard');
  t.same(decodeHeader(block), { codec, k, m, shard: 0, pool, epoch: 3, ...place, blob, blobBytes: location.bytes, shardBytes: 20_480 });
  for (let bit = 0; bit < 8 * 4096; bit += 5) {
    const bad = Buffer.from(block);
    bad.writeUInt8(bad.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    if (!throwsDecodeError(() => decodeHeader(bad))) t.fail(`bit ${bit} flipped and not seen`);
  }
  t.throws(() => decodeHeader(block.subarray(1)), DecodeError);
});

function throwsDecodeError(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof DecodeError) return true;
    throw error;
  }
}

void t.test('impossible headers with a right checksum', async (t) => {
  const [record] = await makeRecords();
  const block = must(record, 'record').subarray(0, 4096);
  const sealed = (change: (header: Buffer) => void): Buffer => {
    const header = Buffer.from(block);
    change(header);
    header.writeUInt32LE(headerCrc(header), 4092);
    return header;
  };
  t.ok(decodeHeader(sealed(() => undefined)));
  const changes: [string, (header: Buffer) => void][] = [
    ['version', (h) => h.writeUInt16LE(2, 8)],
    ['k 0', (h) => h.writeUInt8(0, 11)],
    ['too many shards', (h) => h.writeUInt8(31, 12)],
    ['shard beyond k+m', (h) => h.writeUInt8(3, 13)],
    ['reserved', (h) => h.writeUInt8(1, 15)],
    ['reserved at the end', (h) => h.writeUInt8(1, 255)],
    ['disk 0', (h) => h.writeUInt32LE(0, 32)],
    ['epoch of another segment', (h) => h.writeUInt32LE(4, 36)],
    ['offset between blocks', (h) => h.writeUInt32LE(4097, 48)],
    ['offset of the segment header', (h) => h.writeUInt32LE(0, 48)],
    ['number beyond 2^53', (h) => h.writeUInt8(0xff, 63)],
    ['empty blob', (h) => h.writeBigUInt64LE(0n, 64)],
    ['shard of another length', (h) => h.writeUInt32LE(24_576, 72)],
    ['other seed', (h) => h.writeUInt32LE(1, 76)],
  ];
  for (const [what, change] of changes)
    t.ok(
      throwsDecodeError(() => decodeHeader(sealed(change))),
      what,
    );
});

void t.test('the header checksum is the one of stripe I/O', (t) => {
  const random = seededRandom(5);
  for (let n = 0; n < 50; n++) {
    const block = random.bytes(4096);
    t.equal(headerCrc(block), crc32c(block.subarray(0, 4092)));
  }
  t.equal(headerCrc(new Uint8Array(4096)), 0);
  t.end();
});

void t.test('seeds differ by pool, blob and shard', (t) => {
  const seeds = new Set<number>();
  const other = 'ffeeddccbbaa99887766554433221100' as Uuid;
  for (const id of [pool, other])
    for (const blob of [makeBlobId(1, 0), makeBlobId(1, 1), makeBlobId(2, 0)])
      for (let shard = 0; shard < 32; shard++) seeds.add(recordSeed(id, blob, shard));
  t.equal(seeds.size, 2 * 3 * 32);
  t.end();
});

void t.test('segment names and headers', async (t) => {
  const segment = makeSegmentId(77, 1234);
  t.equal(segmentPath(segment), 'segments/77-1234.seg');
  t.equal(parseSegmentName('77-1234.seg'), segment);
  for (const name of ['0-1.seg', '01-1.seg', '1-01.seg', '1-1048576.seg', '1048576-1.seg', '1-1.seg~', '-1.seg', '1.seg', 'lost+found', ''])
    t.equal(parseSegmentName(name), undefined, name);
  const block = encodeSegmentHeader({ pool, disk: 300, segment });
  t.equal(dump(block), await golden('storage-segment.txt'));
  t.same(decodeSegmentHeader(block), { pool, disk: 300, segment });
  for (let bit = 0; bit < 8 * 4096; bit += 3) {
    const bad = Buffer.from(block);
    bad.writeUInt8(bad.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    if (!throwsDecodeError(() => decodeSegmentHeader(bad))) t.fail(`bit ${bit} flipped and not seen`);
  }
});

void t.test('locations', async (t) => {
  const missing: Location = {
    ...location,
    shards: location.shards.map((place, i) => (i === 1 ? { disk: 0, segment: 0, offset: 0 } : place)),
  };
  const expected = JSON.parse(await golden('storage-locations.json')) as { whole: string; missing: string };
  t.equal(encodeLocation(location).toString('hex'), expected.whole);
  t.equal(encodeLocation(missing).toString('hex'), expected.missing);
  t.same(decodeLocation(Buffer.from(expected.whole, 'hex')), location);
  t.same(decodeLocation(Buffer.from(expected.missing, 'hex')), missing);
  const random = seededRandom(9);
  for (let n = 0; n < 300; n++) {
    const k = 1 + random.below(16);
    const m = random.below(17);
    const epoch = 1 + random.below(2 ** 20 - 1);
    const made: Location = {
      blob: makeBlobId(epoch, random.below(2 ** 32)),
      codec: random.below(256),
      k,
      m,
      bytes: 1 + random.below(8 * 2 ** 20),
      shards: Array.from({ length: k + m }, () =>
        random.below(10) === 0
          ? { disk: 0, segment: 0, offset: 0 }
          : {
              disk: 1 + random.below(65_535),
              segment: makeSegmentId(1 + random.below(2 ** 20 - 1), random.below(2 ** 20)),
              offset: 4096 * random.below(2 ** 20),
            },
      ),
    };
    t.same(decodeLocation(encodeLocation(made)), made);
  }
  const typical = { ...location, k: 4, m: 2, shards: Array.from({ length: 6 }, () => must(location.shards[0], 'shard')) };
  t.ok(encodeLocation(typical).length <= 56, `${encodeLocation(typical).length} bytes`);
});

void t.test('fuzz: decoders of locations and headers throw DecodeError and nothing else', (t) => {
  const random = seededRandom(11);
  const whole = encodeLocation(location);
  let decoded = 0;
  for (let n = 0; n < 20_000; n++) {
    const bytes =
      n % 3 === 0 ? Buffer.from(random.bytes(random.below(60))) : Buffer.from(whole.subarray(0, random.below(whole.length + 1)));
    for (let flips = random.below(4); flips > 0 && bytes.length > 0; flips--) {
      const at = random.below(bytes.length);
      bytes.writeUInt8(random.below(256), at);
    }
    if (!throwsDecodeError(() => decodeLocation(bytes))) decoded++;
  }
  t.ok(decoded > 100, `${decoded} of them happen to be locations`);
  for (let n = 0; n < 500; n++) {
    const block = Buffer.from(random.bytes(4096));
    block.write('OSTKSHRD', 0, 'latin1');
    block.writeUInt16LE(1, 8);
    block.writeUInt32LE(headerCrc(block), 4092);
    t.ok(throwsDecodeError(() => decodeHeader(block)));
  }
  t.end();
});
