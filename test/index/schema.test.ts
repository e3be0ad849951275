/** Rows and their keys: golden files hold the bytes still, everything reads back, and no bytes from a disk make a decoder do anything but throw. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import * as blob from '../../src/index/schema/blob-rows.js';
import * as dirent from '../../src/index/schema/dirent-row.js';
import { decodeExtent, encodeExtent, sliceExtent, type Extent } from '../../src/index/schema/extent-row.js';
import { decodeInode, encodeInode, type InodeRow } from '../../src/index/schema/inode-row.js';
import * as job from '../../src/index/schema/job-rows.js';
import * as pool from '../../src/index/schema/pool-rows.js';
import * as keys from '../../src/index/schema/tables.js';
import { decodeQuota, encodeQuota, type QuotaRow } from '../../src/index/schema/quota-row.js';
import * as work from '../../src/index/schema/work-rows.js';

const file: InodeRow = {
  ino: 300,
  mode: 0o100644,
  links: 2,
  uid: 1000,
  gid: 4_294_967_294,
  rdev: 0,
  size: 2 ** 40 + 5,
  allocatedBytes: 12_345,
  generation: 7,
  flags: 1,
  parent: 0,
  nextCookie: 0,
  atime: { seconds: 1_700_000_000, nanoseconds: 999_999_999 },
  mtime: { seconds: -1, nanoseconds: 1 },
  ctime: { seconds: 0, nanoseconds: 0 },
  btime: { seconds: 1_600_000_000, nanoseconds: 5 },
  quota: 0,
};
const directory: InodeRow = {
  ...file,
  ino: 1,
  mode: 0o040755,
  size: 3,
  allocatedBytes: 0,
  generation: 0,
  flags: 0,
  parent: 1,
  nextCookie: 6,
};
/** As pools made before have them. */
const old: InodeRow = { ...file, btime: undefined };
const inQuota: InodeRow = { ...file, quota: 70_000 };
const oldInQuota: InodeRow = { ...old, quota: 70_000 };
const quota: QuotaRow = { state: 'active', parent: 1, usedInodes: 301, usedBytes: 2 ** 41, inodesMax: undefined, bytesMax: 2 ** 42 };
const inline: Extent = { kind: 'inline', offset: 4096, bytes: 5, data: Buffer.from('hello') };
const inBlob: Extent = { kind: 'blob', offset: 8192, bytes: 1_000_000, blob: 2 ** 32 + 17, blobOffset: 65_536 };
const location = Buffer.from('0123456789abcdef', 'hex');

const underWay: job.JobRow = {
  paused: true,
  startedAt: 1_700_000_000,
  doneBytes: 2 ** 41,
  doneItems: 3,
  options: '{"rate":1}',
  cursor: '',
};
const ended: job.JobRunRow = {
  outcome: 'cancelled',
  startedAt: 1_700_000_000,
  finishedAt: 1_700_000_100,
  doneBytes: 4096,
  doneItems: 1,
  message: 'by the operator',
  result: '{"bad":0}',
};

/** One example of each table: key and value. */
const rows: Record<string, [Buffer, Buffer]> = {
  counters: [keys.countersKey(), work.encodeCounters({ inodes: 3, usedBytes: 2 ** 41, nextIno: 301 })],
  inodeOfFile: [keys.inodeKey(300), encodeInode(file)],
  inodeOfDirectory: [keys.inodeKey(1), encodeInode(directory)],
  inodeWithoutBirth: [keys.inodeKey(300), encodeInode(old)],
  inodeInQuota: [keys.inodeKey(300), encodeInode(inQuota)],
  inodeInQuotaWithoutBirth: [keys.inodeKey(300), encodeInode(oldInQuota)],
  quota: [keys.quotaKey(70_000), encodeQuota(quota)],
  quotaWalk: [keys.quotaWalkKey(70_000, 70_001), work.encodeNumber(256)],
  dirent: [keys.direntKey(1, 'n\xe4me'), dirent.encodeDirent({ ino: 300, type: 0o100000, cookie: 5 })],
  order: [keys.orderKey(1, 5), dirent.encodeOrder({ ino: 300, type: 0o100000, name: 'n\xe4me' })],
  symlink: [keys.symlinkKey(9), dirent.encodeBytes(Buffer.from('/target'))],
  xattr: [keys.xattrKey(300, 'user.a'), dirent.encodeBytes(Buffer.from('value'))],
  extentInline: [keys.extentKey(300, 7, 4096), encodeExtent(inline)],
  extentInBlob: [keys.extentKey(300, 7, 8192), encodeExtent(inBlob)],
  blob: [keys.blobKey(2 ** 32 + 17), blob.encodeLocationRow(location)],
  references: [keys.referencesKey(2 ** 32 + 17), blob.encodeReferences(2)],
  endangered: [keys.endangeredKey(2 ** 32 + 17), blob.encodeEndangered([1, 5])],
  free: [keys.freeKey(2 ** 32 + 17, 1), blob.encodeLocationRow(location)],
  upload: [keys.uploadKey(2 ** 33), work.encodeUpload({ session: 2, ino: 300 })],
  part: [keys.partKey(2 ** 33, 2 ** 32 + 17), work.encodeNumber(0)],
  orphan: [keys.orphanKey(300), work.encodeNumber(2)],
  garbage: [keys.garbageKey(300, 6), work.encodeNumber(8192)],
  packable: [keys.packableKey(300), work.encodeNumber(0)],
  job: [job.jobKey('scrub'), job.encodeJob(underWay)],
  jobRun: [job.jobKey('scrub', 7), job.encodeJobRun(ended)],
};

t.test('golden rows', async (test) => {
  const golden = JSON.parse(readFileSync(join(packageRoot, 'test/golden/schema-rows.json'), 'utf8')) as Record<string, string[]>;
  const found = Object.fromEntries(Object.entries(rows).map(([name, parts]) => [name, parts.map((part) => part.toString('hex'))]));
  test.same(found, golden);
});

t.test('every row reads back', async (test) => {
  const value = (name: string): Buffer => rows[name]?.[1] ?? Buffer.alloc(0);
  test.same(decodeInode(300, value('inodeOfFile')), file);
  test.same(decodeInode(1, value('inodeOfDirectory')), directory);
  test.same(decodeInode(300, value('inodeWithoutBirth')), old);
  test.same(decodeInode(300, value('inodeInQuota')), inQuota);
  test.same(decodeInode(300, value('inodeInQuotaWithoutBirth')), oldInQuota);
  test.same(decodeQuota(value('quota')), quota);
  const unlimited: QuotaRow = { ...quota, state: 'clearing', inodesMax: 0, bytesMax: undefined };
  test.same(decodeQuota(encodeQuota(unlimited)), unlimited, 'no room is another limit than none');
  test.same(dirent.decodeDirent(value('dirent')), { ino: 300, type: 0o100000, cookie: 5 });
  test.same(dirent.decodeOrder(value('order')), { ino: 300, type: 0o100000, name: 'n\xe4me' });
  test.equal(dirent.decodeBytes(value('symlink'), 'symlink').toString(), '/target');
  test.same(decodeExtent(4096, value('extentInline')), inline);
  test.same(decodeExtent(8192, value('extentInBlob')), inBlob);
  test.same(blob.decodeLocationRow(value('blob')), location);
  test.equal(blob.decodeReferences(value('references')), 2);
  test.same(blob.decodeEndangered(value('endangered')), [1, 5]);
  test.same(work.decodeUpload(value('upload')), { session: 2, ino: 300 });
  test.equal(work.decodeNumber(value('garbage')), 8192);
  test.same(job.decodeJob(value('job')), underWay);
  test.same(job.decodeJobRun(value('jobRun')), ended);
  test.same(work.decodeCounters(value('counters')), { inodes: 3, usedBytes: 2 ** 41, nextIno: 301 });
});

t.test('every key reads back, and lies in its ranges', async (test) => {
  test.same(keys.parseOrderKey(keys.orderKey(1, 5)), { parent: 1, cookie: 5 });
  test.same(keys.parseExtentKey(keys.extentKey(300, 7, 2 ** 45)), { ino: 300, generation: 7, offset: 2 ** 45 });
  test.same(keys.parseXattrKey(keys.xattrKey(300, 'user.\xff')), { ino: 300, name: 'user.\xff' });
  test.same(keys.parsePartKey(keys.partKey(2 ** 33, 5)), { upload: 2 ** 33, blob: 5 });
  test.same(keys.parseFreeKey(keys.freeKey(5, 6)), { blob: 5, serial: 6 });
  test.same(keys.parseQuotaWalkKey(keys.quotaWalkKey(5, 6)), { quota: 5, ino: 6 });
  test.equal(keys.parseNumberKey(keys.quotaKey(70_000)), 70_000);
  test.same(keys.parseGarbageKey(keys.garbageKey(5, 6)), { ino: 5, generation: 6 });
  test.same(job.parseJobKey(job.jobKey('scrub', 7)), { kind: 'scrub', run: 7 });
  test.equal(keys.parseNumberKey(keys.inodeKey(2 ** 50)), 2 ** 50);
  const within = ({ start, end }: { start: Uint8Array; end: Uint8Array }, key: Buffer): boolean =>
    Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0;
  test.ok(within(keys.orderRange(1, 4, 1), keys.orderKey(1, 5)));
  test.notOk(within(keys.orderRange(1, 5, 1), keys.orderKey(1, 5)));
  test.notOk(within(keys.orderRange(1, 5, 1), keys.orderKey(2, 9)));
  test.ok(within(keys.extentRange(3, 0, 10, 20, 1), keys.extentKey(3, 0, 10)));
  test.notOk(within(keys.extentRange(3, 0, 10, 20, 1), keys.extentKey(3, 0, 20)));
  test.ok(within(keys.extentRange(3, 0, 10, undefined, 1), keys.extentKey(3, 0, 2 ** 52)));
  test.notOk(within(keys.extentRange(3, 0, 0, undefined, 1), keys.extentKey(3, 1, 0)));
  test.ok(within(keys.direntRange(256, 1), keys.direntKey(256, '\xff')));
  test.notOk(within(keys.direntRange(256, 1), keys.direntKey(257, 'a')));
  const tags = Object.values(keys.TABLES);
  test.equal(new Set(tags).size, tags.length, 'no tag twice');
});

t.test('extents slice', async (test) => {
  test.same(sliceExtent(inline, 4097, 4099), { kind: 'inline', offset: 4097, bytes: 2, data: Buffer.from('el') });
  test.same(sliceExtent(inBlob, 8200, 9000), { ...inBlob, offset: 8200, bytes: 800, blobOffset: 65_544 });
});

t.test('only rows of the table blob point to data', async (test) => {
  for (const [name, [key, value]] of Object.entries(rows)) {
    const pointed = blob.pointedLocation(key, value);
    if (name === 'blob') test.same(pointed, location);
    else test.equal(pointed, undefined, name);
  }
});

t.test('decoders throw DecodeError on bytes that are not theirs', async (test) => {
  const random = seededRandom(42);
  const decoders: ((value: Buffer) => unknown)[] = [
    (value) => decodeInode(1, value),
    decodeQuota,
    dirent.decodeDirent,
    dirent.decodeOrder,
    (value) => dirent.decodeBytes(value, 'x'),
    (value) => decodeExtent(0, value),
    blob.decodeLocationRow,
    blob.decodeReferences,
    blob.decodeEndangered,
    work.decodeUpload,
    work.decodeNumber,
    work.decodeCounters,
    job.decodeJob,
    job.decodeJobRun,
    (value) => job.parseJobKey(value),
    (value) => keys.parseOrderKey(value),
    (value) => keys.parseExtentKey(value),
    (value) => keys.parsePartKey(value),
    (value) => keys.parseXattrKey(value),
    (value) => keys.parseQuotaWalkKey(value),
    (value) => keys.parseNumberKey(value),
  ];
  const samples = Object.values(rows).flat();
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const sample = Buffer.from(samples[random.below(samples.length)] ?? []);
    const bytes = random.below(3) === 0 ? Buffer.from(random.bytes(random.below(40))) : sample.subarray(0, random.below(sample.length + 1));
    if (bytes.length > 0 && random.below(2) === 0) bytes[random.below(bytes.length)] = random.below(256);
    for (const decode of decoders) {
      try {
        decode(bytes);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        refused++;
      }
    }
  }
  test.ok(refused > 1000);
});

t.test('rows about the pool read back, byte for byte as they were', (t) => {
  t.equal(pool.encodeDiskOut({ epoch: 300, seconds: 1_700_000_000 }).toString('hex'), '01ac0280e2cfaa06');
  t.same(pool.decodeDiskOut(Buffer.from('01ac0280e2cfaa06', 'hex')), { epoch: 300, seconds: 1_700_000_000 });
  t.equal(pool.encodeSetting('1s').toString('hex'), '01023173');
  t.equal(pool.decodeSetting(Buffer.from('01023173', 'hex')), '1s');
  t.throws(() => pool.decodeDiskOut(Buffer.from('02ac0280e2cfaa06', 'hex')), DecodeError);
  t.throws(() => pool.decodeDiskOut(Buffer.from('01ac02', 'hex')), DecodeError);
  t.end();
});
