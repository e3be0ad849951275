/** Stripes on real directories: the suite of all stripe I/O, and what only a real file system or a hanging disk can bring about. */
import t from 'tap';
import type { Test } from 'tap';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom } from '../../src/base/clock.js';
import type { Uuid } from '../../src/base/ids.js';
import { FRAME_BYTES, MiB, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES } from '../../src/base/limits.js';
import { nativeIo } from '../../src/base/native-io.js';
import { openNativeDisk, NativeFile } from '../../src/disk/native-disk.js';
import { NativeStripeIo } from '../../src/disk/native-stripe.js';
import { crc32c, encodeShard } from '../../src/disk/reference-codec.js';
import type { Disk, DiskFile } from '../../src/disk/disk.js';
import { frameSeed, type ShardRecord, type StripeGeometry } from '../../src/disk/stripe.js';
import { stripeConformance, type StripeSubject } from './stripe-conformance.js';

const id = '0123456789abcdef0123456789abcdef' as Uuid;

/** `count` files on as many disks in a new directory. */
async function subject(count: number, stallMs = 30_000): Promise<StripeSubject & { root: string; disks: Disk[] }> {
  const root = mkdtempSync(join(tmpdir(), 'ostraka-stripe-'));
  const disks: Disk[] = [];
  const files: DiskFile[] = [];
  let fifos = 0;
  for (let i = 0; i < count; i++) {
    const path = join(root, String(i));
    mkdirSync(path);
    const disk = await openNativeDisk(path, async () => id, { stallMs });
    disks.push(disk);
    files.push(await disk.open('segment', { create: true, write: true }));
  }
  return {
    io: new NativeStripeIo(),
    root,
    disks,
    files,
    damage: async (file, offset) => {
      const fd = openSync(join(file.disk.directory, file.path), 'r+');
      const byte = Buffer.alloc(1);
      readSync(fd, byte, 0, 1, offset);
      writeSync(fd, Buffer.of((byte[0] ?? 0) ^ 8), 0, 1, offset);
      closeSync(fd);
    },
    hold: async (file) => {
      if (!(file instanceof NativeFile)) throw new Error('native files');
      // One for each thread: the writer's open waits for its reader. Of two readers of one, that which comes late would wait for ever.
      const held = (['hangForTest', 'hangFetchesForTest'] as const).map((hang) => {
        const fifo = join(root, `fifo${++fifos}`);
        spawnSync('mkfifo', [fifo]);
        file.directory.call('hang', undefined, undefined, (native, disk) => native[hang](disk, fifo)).catch(() => undefined);
        return fifo;
      });
      return () => {
        for (const fifo of held) closeSync(openSync(fifo, 'w'));
      };
    },
    cleanUp: async () => {
      await Promise.all(disks.map((disk) => disk.close()));
      rmSync(root, { recursive: true });
    },
  };
}

type Subject = Awaited<ReturnType<typeof subject>>;

function recordsOf(files: readonly DiskFile[], seed: number, offset = 4096): ShardRecord[] {
  const random = seededRandom(seed);
  return files.map((file, shard) => ({ shard, file, offset, prefix: random.bytes(RECORD_PREFIX_BYTES), seed: random.below(2 ** 32) }));
}

function each(name: string, count: number, run: (t: Test, subject: Subject) => Promise<void>, stallMs?: number): void {
  void t.test(name, { timeout: 60_000 }, async (t) => {
    const made = await subject(count, stallMs);
    try {
      await run(t, made);
      t.equal(nativeIo().busyWord[0], 0, 'nothing is left in flight');
    } finally {
      await made.cleanUp();
    }
  });
}

void t.test('conformance', (t) => {
  stripeConformance(t, subject);
  t.end();
});

each('the bytes of a record are those of the format', 3, async (t, { io, files }) => {
  const geometry = { k: 2, m: 1, shardBytes: FRAME_BYTES + 8192 };
  const records = recordsOf(files, 1);
  const data = Buffer.from(seededRandom(2).bytes(geometry.shardBytes + 5000));
  const copy = Buffer.from(data);
  t.same(await io.store(geometry, data, records), []);
  t.ok(data.equals(copy), 'the caller keeps his data as it was');
  const padded = Buffer.concat([data, Buffer.alloc(2 * geometry.shardBytes - data.length)]);
  const shards = [padded.subarray(0, geometry.shardBytes), padded.subarray(geometry.shardBytes)];
  const all = [...shards, Buffer.from(encodeShard(shards, 2))];
  for (const [i, record] of records.entries()) {
    const bytes = readFileSync(join(record.file.disk.directory, 'segment')).subarray(4096);
    const content = all[i] ?? Buffer.alloc(0);
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    header.set(record.prefix);
    for (const frame of [0, 1])
      header.writeUInt32LE(
        crc32c(content.subarray(frame * FRAME_BYTES, (frame + 1) * FRAME_BYTES), frameSeed(record.seed, frame)),
        256 + 4 * frame,
      );
    header.writeUInt32LE(crc32c(header.subarray(0, 4092), 0), 4092);
    t.ok(bytes.subarray(0, RECORD_HEADER_BYTES).equals(header), `header of shard ${i}`);
    t.ok(bytes.subarray(RECORD_HEADER_BYTES).equals(content), `frames of shard ${i}`);
  }
});

each('8 MiB blobs: random ranges with every disk, with two missing, and with one broken', 6, async (t, { io, files, damage, disks }) => {
  const geometry = { k: 4, m: 2, shardBytes: 2 * MiB };
  const records = recordsOf(files, 3, 8192);
  const data = Buffer.alloc(8 * MiB - 99);
  const random = seededRandom(4);
  for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(random.below(2 ** 32), Math.min(at, data.length - 4));
  t.same(await io.store(geometry, data, records), []);
  const ranges = async (given: readonly ShardRecord[], what: string): Promise<void> => {
    const wrong = await Promise.all(
      Array.from({ length: 12 }, async (_, round) => {
        const offset = random.below(data.length);
        const out = Buffer.alloc(round === 0 ? data.length : 1 + random.below(data.length - offset));
        await io.fetch(geometry, given, round === 0 ? 0 : offset, out);
        return out.equals(data.subarray(round === 0 ? 0 : offset, (round === 0 ? 0 : offset) + out.length)) ? 0 : 1;
      }),
    );
    t.same(
      wrong.filter((is) => is > 0),
      [],
      what,
    );
  };
  await ranges(records, 'all there');
  await ranges(records.slice(2), 'two data shards missing');
  await ranges(
    records.filter(({ shard }) => shard !== 1 && shard !== 5),
    'one data and one parity shard missing',
  );
  const broken = records[2];
  if (broken) await damage(broken.file, broken.offset + RECORD_HEADER_BYTES + MiB);
  await ranges(
    records.filter(({ shard }) => shard !== 0),
    'one missing, one damaged',
  );
  t.ok((disks[2]?.health.checksumErrors ?? 0) > 0);
});

each('records that are cut off, of another blob, or without a file', 3, async (t, { io, files, disks }) => {
  const geometry = { k: 2, m: 1, shardBytes: 4 * FRAME_BYTES };
  const records = recordsOf(files, 5);
  const others = recordsOf(files, 6, 4096 + RECORD_HEADER_BYTES + geometry.shardBytes);
  const data = Buffer.alloc(2 * geometry.shardBytes, 'data');
  const otherData = Buffer.alloc(2 * geometry.shardBytes, 'other');
  await Promise.all([io.store(geometry, data, records), io.store(geometry, otherData, others)]);
  const out = Buffer.alloc(data.length);
  const [zero, one, two] = records;
  const wrongPlace = others[0];
  if (!zero || !one || !two || !wrongPlace) throw new Error('three records');
  t.match(await io.fetch(geometry, [{ ...zero, offset: wrongPlace.offset }, one, two], 0, out), [{ shard: 0, error: { code: 'EBADMSG' } }]);
  t.ok(out.equals(data));
  t.match(await io.verify(geometry, [{ ...zero, prefix: wrongPlace.prefix }]), [{ shard: 0, error: { code: 'EBADMSG' } }]);

  truncateSync(join(disks[1]?.directory ?? '', 'segment'), 4096 + RECORD_HEADER_BYTES + 3 * FRAME_BYTES);
  out.fill(0);
  t.match(await io.fetch(geometry, records, 0, out), [
    { shard: 1, error: { code: 'ENODATA', disk: disks[1]?.directory, path: 'segment' } },
  ]);
  t.ok(out.equals(data), 'a record that is cut off is a missing one');
  t.same(await io.fetch(geometry, records, geometry.shardBytes, out.subarray(0, FRAME_BYTES)), [], 'what is there of it is good');
  t.match(await io.fetch(geometry, others, 0, out), [{ shard: 1, error: { code: 'ENODATA' } }]);
  t.ok(out.equals(otherData));

  await disks[2]?.close();
  await t.rejects(io.fetch(geometry, records, 0, out), { code: 'EIO', message: /2 good shards.*shard 2.*was closed.*|shard 1/ });
  const failures = await io.store(geometry, data, recordsOf(files, 7, 1 << 20));
  t.match(failures, [{ shard: 2, error: { code: 'EBADF', disk: disks[2]?.directory } }]);
});

each('short tails: ISA-L hands columns under 64 bytes to functions that crash within node', 6, async (t, { io, files }) => {
  const geometry = { k: 4, m: 2, shardBytes: 4096 };
  const random = seededRandom(12);
  let offset = 0;
  for (const bytes of [1, 5, 63, 64, 65, 4097, 3 * 4096 + 1, 4 * 4096 - 1]) {
    const records = recordsOf(files, 11, (offset += 8192));
    const data = Buffer.from(random.bytes(bytes));
    t.same(await io.store(geometry, data, records), []);
    const out = Buffer.alloc(bytes);
    t.same(await io.fetch(geometry, records.slice(2), 0, out), []);
    t.ok(out.equals(data), `${bytes} bytes`);
    const last = Buffer.alloc(1);
    t.same(await io.fetch(geometry, records.slice(2), bytes - 1, last), []);
    t.equal(last[0], data[bytes - 1]);
  }
});

each('a file without write access fails its shard alone', 2, async (t, { io, files, disks }) => {
  const geometry = { k: 1, m: 1, shardBytes: 4096 };
  const readOnly = await disks[1]?.open('segment');
  const [first] = files;
  if (!first || !readOnly) throw new Error('two files');
  t.match(await io.store(geometry, Buffer.alloc(10, 1), recordsOf([first, readOnly], 8)), [{ shard: 1, error: { code: 'EBADF' } }]);
  t.equal(disks[1]?.health.writeErrors, 1);
  t.equal(disks[0]?.health.writeErrors, 0);
});

each(
  'a disk that hangs: the shard fails, the others land, reads go round it',
  3,
  async (t, { io, files, disks, root }) => {
    const geometry = { k: 2, m: 1, shardBytes: 4 * FRAME_BYTES };
    const records = recordsOf(files, 9);
    const data = Buffer.alloc(2 * geometry.shardBytes, 'steady');
    t.same(await io.store(geometry, data, records), []);
    const fifo = join(root, 'fifo');
    spawnSync('mkfifo', [fifo]);
    const [slow] = files;
    if (!(slow instanceof NativeFile)) throw new Error('native files');
    const hung = (['hangForTest', 'hangFetchesForTest'] as const).map((hang) =>
      t.rejects(
        slow.directory.call('hang', undefined, undefined, (native, disk) => native[hang](disk, fifo)),
        { code: 'ETIMEDOUT' },
      ),
    );
    const out = Buffer.alloc(data.length);
    const [failures, stored] = await Promise.all([
      io.fetch(geometry, records, 0, out),
      io.store(geometry, data, recordsOf(files, 10, MiB)),
      ...hung,
    ]);
    t.match(failures, [{ shard: 0, error: { code: 'ETIMEDOUT', disk: disks[0]?.directory } }]);
    t.match(stored, [{ shard: 0, error: { code: 'ETIMEDOUT' } }]);
    t.equal(failures.length + stored.length, 2);
    t.ok(out.equals(data));
    t.match(await io.fetch(geometry, recordsOf(files, 10, MiB), 0, out.fill(0)), [{ shard: 0 }]);
    t.ok(out.equals(data));
    closeSync(openSync(fifo, 'w'));
  },
  300,
);

each('arguments that cannot be are refused before anything starts', 2, async (t, { files, disks }) => {
  const io = nativeIo();
  const [file] = files;
  if (!(file instanceof NativeFile)) throw new Error('native files');
  const handle = file.usableHandle();
  const prefix = new Uint8Array(RECORD_PREFIX_BYTES);
  const row = (...numbers: number[]): Float64Array => Float64Array.from(numbers);
  const good = row(0, handle, 0, 1);
  const geometry: StripeGeometry = { k: 1, m: 1, shardBytes: 4096 };
  const attempts: [string, () => unknown][] = [
    ['an unaligned shard', () => io.verify(1, 1, 4097, good, prefix)],
    ['no shard', () => io.verify(1, 1, 0, good, prefix)],
    ['too large a shard', () => io.verify(1, 1, 512 * FRAME_BYTES + 4096, good, prefix)],
    ['a shard behind the code', () => io.verify(1, 1, 4096, row(2, handle, 0, 1), prefix)],
    ['a negative shard', () => io.verify(1, 1, 4096, row(-1, handle, 0, 1), prefix)],
    ['a shard twice', () => io.verify(1, 1, 4096, row(0, handle, 0, 1, 0, handle, 0, 1), new Uint8Array(512))],
    ['an unknown file', () => io.verify(1, 1, 4096, row(0, 999_999, 0, 1), prefix)],
    ['a disk for a file', () => io.verify(1, 1, 4096, row(0, NaN, 0, 1), prefix)],
    ['a huge offset', () => io.verify(1, 1, 4096, row(0, handle, 2 ** 53, 1), prefix)],
    ['a fraction of an offset', () => io.verify(1, 1, 4096, row(0, handle, 0.5, 1), prefix)],
    ['a wide seed', () => io.verify(1, 1, 4096, row(0, handle, 0, 2 ** 32), prefix)],
    ['half a row', () => io.verify(1, 1, 4096, good.subarray(0, 3), prefix)],
    ['a short prefix', () => io.verify(1, 1, 4096, good, prefix.subarray(1))],
    ['too much data', () => io.store(1, 1, 4096, good, prefix, new Uint8Array(4097), 0)],
    ['a range behind the end', () => io.fetch(1, 1, 4096, good, prefix, 1, new Uint8Array(4096), 0)],
    ['an offset behind the end', () => io.fetch(1, 1, 4096, good, prefix, 4097, new Uint8Array(0), 0)],
    ['a negative offset', () => io.fetch(1, 1, 4096, good, prefix, -1, new Uint8Array(1), 0)],
    ['text for bytes', () => io.store(1, 1, 4096, good, prefix, 'x' as unknown as Uint8Array, 0)],
  ];
  for (const [what, attempt] of attempts) t.throws(attempt, TypeError, what);
  t.same(await new NativeStripeIo().fetch(geometry, recordsOf(files, 1), 5, new Uint8Array(0)), [], 'nothing of something is fine');
  await t.rejects(new NativeStripeIo().fetch(geometry, [], 0, new Uint8Array(1)), { code: 'EIO' });
  t.same(disks[0]?.health.readErrors, 0);
});
