/** read, write and their kin; lengths; holes; copies between descriptors. */
import * as c from '../constants.js';
import { outcome, type Answer } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import type { User } from '../user.js';

/** Around pages and the sizes at which a file's content is stored in another way. */
const SIZES = [1, 511, 512, 4095, 4096, 4097, 16_384, 65_535, 65_536, 65_537, 131_072, 1_048_576, 1_048_577] as const;

/** What `writePattern` writes. */
function pattern(bytes: number, seed: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) buffer[i] = (i * 31 + seed) & 0xff;
  return buffer;
}

async function whole(s: Sandbox, path: string): Promise<Buffer> {
  const fd = await s.value(s.root.open(path, c.O_RDONLY));
  const { size } = await s.fstat(fd, s.root);
  const answer = await s.expect(s.root.pread(fd, size + 1, 0), size);
  await s.expect(s.root.close(fd), 0);
  return answer.out[0] ?? Buffer.alloc(0);
}

function sameBytes(s: Sandbox, got: Buffer, want: Buffer, what: string): void {
  if (got.equals(want)) return;
  const at = got.findIndex((byte, i) => byte !== want[i]);
  s.same([got.length, at], [want.length, -1], `${what}: length and first difference`);
}

const writing = family('read and write', (add) => {
  for (const size of SIZES) {
    add(`${size} bytes come back`, async (s) => {
      const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
      await s.expect(s.root.writePattern(fd, size, 7), size);
      await s.expect(s.root.close(fd), 0);
      s.same((await s.stat('f')).size, size, 'the size');
      sameBytes(s, await whole(s, 'f'), pattern(size, 7), 'the content');
    });
    add(`one byte in the middle of ${size} is overwritten`, async (s) => {
      const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
      await s.expect(s.root.writePattern(fd, size, 9), size);
      await s.expect(s.root.fsync(fd), 0);
      const at = Math.floor(size / 2);
      await s.expect(s.root.pwrite(fd, 'X', at), 1);
      await s.expect(s.root.close(fd), 0);
      const want = pattern(size, 9);
      want[at] = 0x58;
      sameBytes(s, await whole(s, 'f'), want, 'the content');
    });
    add(`truncate of ${size} bytes to half, and to twice, leaves zeros`, async (s) => {
      const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
      await s.expect(s.root.writePattern(fd, size, 3), size);
      await s.expect(s.root.close(fd), 0);
      const half = Math.floor(size / 2);
      await s.expect(s.root.truncate('f', half), 0);
      await s.expect(s.root.truncate('f', size * 2), 0);
      const want = Buffer.alloc(size * 2);
      pattern(size, 3).copy(want, 0, 0, half);
      sameBytes(s, await whole(s, 'f'), want, 'the content');
    });
  }
  add('read at and behind the end: 0 bytes', async (s) => {
    await s.file('f', '12345');
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    for (const [offset, want] of [
      [0, '12345'],
      [4, '5'],
      [5, ''],
      [6, ''],
      [2 ** 40, ''],
    ] as const)
      s.same(await s.text(s.root.pread(fd, 10, offset)), want, `at ${offset}`);
  });
  add('readv and writev in pieces', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.call('writev', `i${fd}`, 'v6162,,636465', 'i3'), 5);
    await s.expect(s.root.lseek(fd, 0, c.SEEK_SET), 0);
    s.same(await s.text(s.root.call('readv', `i${fd}`, 'V1,3,10', 'i3')), 'abcde', 'the content');
  });
  add('preadv2 and pwritev2 with RWF_APPEND', async (s) => {
    await s.file('f', 'one');
    const fd = await s.value(s.root.open('f', c.O_RDWR));
    await s.expect(s.root.call('pwritev2', `i${fd}`, 'v21', 'i1', 'i0', 'i0', `i${c.RWF_APPEND}`), 1);
    s.same(await s.content('f'), 'one!', 'the content');
  });
  for (const [name, call] of [
    ['pread', (u: User, fd: number) => u.pread(fd, 5, -1)],
    ['pwrite', (u: User, fd: number) => u.pwrite(fd, 'x', -1)],
    ['pwrite at 8 EiB - 1', (u: User, fd: number) => u.pwrite(fd, 'x', 2n ** 63n - 1n)],
    ['lseek', (u: User, fd: number) => u.lseek(fd, -1, c.SEEK_SET)],
    ['lseek with an unknown whence', (u: User, fd: number) => u.lseek(fd, 0, 9)],
    ['ftruncate', (u: User, fd: number) => u.ftruncate(fd, -1)],
    ['truncate', (u: User) => u.truncate('f', -1)],
    ['fallocate at a negative offset', (u: User, fd: number) => u.fallocate(fd, 0, -1, 10)],
    ['fallocate of nothing', (u: User, fd: number) => u.fallocate(fd, 0, 0, 0)],
    ['fallocate of a negative length', (u: User, fd: number) => u.fallocate(fd, 0, 0, -1)],
    ['readv of 1025 pieces', (u: User, fd: number) => u.call('readv', `i${fd}`, 'V1', 'i1025')],
  ] as const)
    add(`${name}: EINVAL`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', c.O_RDWR));
      await s.refused(() => call(s.root, fd), 'EINVAL');
    });
  for (const [name, call] of [
    ['read', (u: User, fd: number) => u.call('read', `i${fd}`, 'x', 'i5')],
    ['write', (u: User, fd: number) => u.call('write', `i${fd}`, 'x', 'i5')],
    ['readv', (u: User, fd: number) => u.call('readv', `i${fd}`, 'x', 'i1')],
    ['getxattr', (u: User) => u.call('getxattr', 'sf', 'x', 'r10', 'i10')],
  ] as const)
    add(`${name} with an address outside of memory: EFAULT`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', c.O_RDWR));
      await s.expect(call(s.root, fd), 'EFAULT');
      s.same(await s.content('f'), 'content', 'the content');
    });
  add('what one user writes, another reads at once', async (s) => {
    await s.file('f', '');
    await s.expect(s.root.chmod('f', 0o666), 0);
    const writer = await s.value(s.alice.open('f', c.O_WRONLY));
    const reader = await s.value(s.bob.open('f', c.O_RDONLY));
    for (let i = 0; i < 20; i++) {
      await s.expect(s.alice.write(writer, `line ${i}\n`), `line ${i}\n`.length);
      s.same(await s.text(s.bob.read(reader, 100)), `line ${i}\n`, 'what is read');
      s.same((await s.stat('f', s.bob)).size, (await s.fstat(writer, s.alice)).size, 'the sizes');
    }
  });
  add('O_SYNC and O_DSYNC writes come back', async (s) => {
    for (const [name, flag] of [
      ['s', c.O_SYNC],
      ['d', c.O_DSYNC],
    ] as const) {
      const fd = await s.value(s.root.open(name, c.O_RDWR | c.O_CREAT | flag, 0o644));
      await s.expect(s.root.write(fd, 'synced'), 6);
      s.same(await s.text(s.root.pread(fd, 10, 0)), 'synced', 'the content');
    }
  });
  add('O_DIRECT writes and reads whole pages, and both ways see the same', async (s) => {
    const plain = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(plain, 65_536, 5), 65_536);
    const direct = await s.value(s.root.open('f', c.O_RDWR | c.O_DIRECT));
    const address = await s.value(s.root.call('mmap', 'i0', 'i8192', 'i3', 'i34', 'i-1', 'i0'));
    await s.expect(s.root.call('pread64', `i${direct}`, `i${address}`, 'i8192', 'i4096'), 8192);
    const got = (await s.expect(s.root.peek(address, 8192), 'ok')).out[0] ?? Buffer.alloc(0);
    sameBytes(s, got, pattern(65_536, 5).subarray(4096, 12_288), 'what O_DIRECT read');
    await s.expect(s.root.poke(address, 'direct!!'), 'ok');
    await s.expect(s.root.call('pwrite64', `i${direct}`, `i${address}`, 'i4096', 'i8192'), 4096);
    s.same(await s.text(s.root.pread(plain, 8, 8192)), 'direct!!', 'what a plain read sees');
  });
});

const appending = family('O_APPEND', (add) => {
  add('writes go to the end wherever the offset is', async (s) => {
    await s.file('f', 'start');
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_APPEND));
    await s.expect(s.root.lseek(fd, 0, c.SEEK_SET), 0);
    await s.expect(s.root.write(fd, ' and'), 4);
    await s.expect(s.root.lseek(fd, 1, c.SEEK_SET), 1);
    await s.expect(s.root.write(fd, ' end'), 4);
    s.same(await s.value(s.root.lseek(fd, 0, c.SEEK_CUR)), 13, 'the offset');
    s.same(await s.content('f'), 'start and end', 'the content');
  });
  add('pwrite appends too, on Linux', async (s) => {
    await s.file('f', 'start');
    const fd = await s.value(s.root.open('f', c.O_WRONLY | c.O_APPEND));
    await s.expect(s.root.pwrite(fd, '!', 0), 1);
    s.same(await s.content('f'), 'start!', 'the content');
  });
  add('several writers: no line is lost or torn', async (s) => {
    await s.file('f', '');
    await s.expect(s.root.chmod('f', 0o666), 0);
    const calls: Promise<Answer>[] = [];
    for (const user of [s.root, s.alice, s.bob]) {
      const fd = await s.value(user.open('f', c.O_WRONLY | c.O_APPEND));
      for (let i = 0; i < 200; i++) calls.push(user.write(fd, `${user.process.who.name} ${i}\n`));
    }
    for (const call of calls) await s.expect(call, 'ok');
    const lines = (await whole(s, 'f')).toString().split('\n').slice(0, -1);
    s.same(lines.length, 600, 'lines');
    for (const name of ['root', 'alice', 'bob'])
      s.same(
        lines.filter((line) => line.startsWith(name)),
        Array.from({ length: 200 }, (_, i) => `${name} ${i}`),
        `lines of ${name}`,
      );
  });
  add('one appends while another truncates', async (s) => {
    await s.file('f', 'x'.repeat(5000));
    const fd = await s.value(s.alice.open('f', c.O_RDONLY));
    const appender = await s.value(s.root.open('f', c.O_WRONLY | c.O_APPEND));
    await s.expect(s.root.truncate('f', 3), 0);
    await s.expect(s.root.write(appender, 'yz'), 2);
    s.same(await s.text(s.alice.pread(fd, 100, 0)), 'xxxyz', 'the content');
  });
});

const holes = family('holes', (add) => {
  add('a write behind the end leaves zeros before it, and takes no space for them', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.pwrite(fd, 'end', 10_000_000), 3);
    await s.expect(s.root.fsync(fd), 0);
    s.same(await s.text(s.root.pread(fd, 8, 5_000_000)), '\0'.repeat(8), 'the hole');
    s.same(await s.text(s.root.pread(fd, 20, 9_999_995)), '\0\0\0\0\0end', 'the end');
    await s.expect(s.root.close(fd), 0);
    const { size, blocks } = await s.stat('f');
    s.same(size, 10_000_003, 'the size');
    s.true(blocks * 512 < 1_000_000, `${blocks} blocks are few`);
  });
  add('SEEK_DATA and SEEK_HOLE of a closed file', async (s) => {
    await sparse(s);
    const fd = await s.value(s.root.open('f', c.O_RDONLY));
    const seek = (offset: number, whence: number): Promise<number> => s.value(s.root.lseek(fd, offset, whence));
    s.same(await seek(0, c.SEEK_DATA), 0, 'data at the start');
    const hole = await seek(0, c.SEEK_HOLE);
    s.true(hole >= 65_536 && hole < 4_194_304, `a hole begins at ${hole}`);
    const data = await seek(hole, c.SEEK_DATA);
    s.true(data <= 4_194_304 && data > hole, `data begins at ${data}`);
    const end = await seek(data, c.SEEK_HOLE);
    s.true(end >= 4_194_304 + 65_536 && end < 8_388_608, `it ends at ${end}`);
    await s.expect(s.root.lseek(fd, end, c.SEEK_DATA), 'ENXIO');
    s.same(await seek(end, c.SEEK_HOLE), end, 'the hole at the end');
  });
  for (const [about, offset, whence, want] of [
    ['SEEK_DATA at the end', 5, c.SEEK_DATA, 'ENXIO'],
    ['SEEK_HOLE at the end', 5, c.SEEK_HOLE, 'ENXIO'],
    ['SEEK_DATA behind the end', 9, c.SEEK_DATA, 'ENXIO'],
    ['SEEK_DATA at a negative offset', -1, c.SEEK_DATA, 'ENXIO'],
    ['SEEK_HOLE at a negative offset', -1, c.SEEK_HOLE, 'ENXIO'],
    ['SEEK_HOLE without a hole is the end', 0, c.SEEK_HOLE, 5],
    ['SEEK_DATA in data stays', 3, c.SEEK_DATA, 3],
    ['SEEK_END', -2, c.SEEK_END, 3],
    ['SEEK_END beyond the end', 100, c.SEEK_END, 105],
    ['SEEK_CUR', 2, c.SEEK_CUR, 2],
  ] as const)
    add(`lseek ${about}: ${want}`, async (s) => {
      await s.file('f', '12345');
      const fd = await s.value(s.root.open('f', c.O_RDONLY));
      await s.expect(s.root.lseek(fd, offset, whence), want);
    });
  add('SEEK_DATA and SEEK_HOLE know the end of a file that was just written', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.write(fd, 'data'), 4);
    await s.expect(s.root.lseek(fd, 0, c.SEEK_DATA), 0);
    await s.expect(s.root.lseek(fd, 0, c.SEEK_HOLE), 4);
    await s.expect(s.root.pwrite(fd, 'more', 100_000), 4);
    await s.expect(s.root.lseek(fd, 100_001, c.SEEK_DATA), 100_001);
    await s.expect(s.root.lseek(fd, 100_001, c.SEEK_HOLE), 100_004);
    await s.expect(s.root.lseek(fd, 100_004, c.SEEK_DATA), 'ENXIO');
  });
  add('SEEK_DATA finds what was just written and not synced', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.ftruncate(fd, 10_000_000), 0);
    await s.expect(s.root.pwrite(fd, 'data', 5_000_000), 4);
    const found = await s.value(s.root.lseek(fd, 0, c.SEEK_DATA));
    s.true(found <= 5_000_000, `data at or before ${found}`);
  });
});

/** 64 KiB of data, a hole, 64 KiB of data at 4 MiB, a hole to 8 MiB. */
async function sparse(s: Sandbox): Promise<void> {
  const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
  await s.expect(s.root.writePattern(fd, 65_536, 1), 65_536);
  await s.expect(s.root.lseek(fd, 4_194_304, c.SEEK_SET), 4_194_304);
  await s.expect(s.root.writePattern(fd, 65_536, 2), 65_536);
  await s.expect(s.root.ftruncate(fd, 8_388_608), 0);
  await s.expect(s.root.fsync(fd), 0);
  await s.expect(s.root.close(fd), 0);
}

const { FALLOC_FL_KEEP_SIZE: KEEP, FALLOC_FL_PUNCH_HOLE: PUNCH, FALLOC_FL_ZERO_RANGE: ZERO } = c;

const allocating = family('fallocate', (add) => {
  for (const [about, mode, offset, bytes, size] of [
    ['reserves and makes longer', 0, 0, 100_000, 100_000],
    ['reserves behind the end and makes longer', 0, 50_000, 50_000, 100_000],
    ['reserves within', 0, 0, 10_000, 65_536],
    ['keeps the size', KEEP, 0, 1_000_000, 65_536],
    ['punches within', PUNCH | KEEP, 8192, 8192, 65_536],
    ['punches what is no page', PUNCH | KEEP, 1000, 5000, 65_536],
    ['punches over the end', PUNCH | KEEP, 60_000, 1_000_000, 65_536],
    ['punches behind the end', PUNCH | KEEP, 1_000_000, 10, 65_536],
    ['punches all', PUNCH | KEEP, 0, 65_536, 65_536],
    ['zeroes within', ZERO, 8192, 8192, 65_536],
    ['zeroes what is no page', ZERO, 1000, 5000, 65_536],
    ['zeroes over the end and makes longer', ZERO, 60_000, 40_000, 100_000],
    ['zeroes over the end and keeps the size', ZERO | KEEP, 60_000, 40_000, 65_536],
  ] as const)
    for (const synced of [false, true])
      add(`${about}, ${synced ? 'synced before' : 'just written'}`, async (s) => {
        const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
        await s.expect(s.root.writePattern(fd, 65_536, 4), 65_536);
        if (synced) await s.expect(s.root.fsync(fd), 0);
        await s.expect(s.root.fallocate(fd, mode, offset, bytes), 0);
        await s.expect(s.root.close(fd), 0);
        s.same((await s.stat('f')).size, size, 'the size');
        const want = Buffer.alloc(size);
        pattern(65_536, 4).copy(want);
        if ((mode & (PUNCH | ZERO)) !== 0) want.fill(0, Math.min(offset, size), Math.min(offset + bytes, size));
        sameBytes(s, await whole(s, 'f'), want, 'the content');
      });
  add('a punched hole gives its space back', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(fd, 1_048_576, 4), 1_048_576);
    await s.expect(s.root.fsync(fd), 0);
    const before = (await s.fstat(fd, s.root)).blocks;
    await s.expect(s.root.fallocate(fd, PUNCH | KEEP, 0, 524_288), 0);
    await s.expect(s.root.fsync(fd), 0);
    const after = (await s.fstat(fd, s.root)).blocks;
    s.true(before - after >= 1000, `${before} blocks became ${after}`);
    s.true((await s.value(s.root.lseek(fd, 0, c.SEEK_DATA))) <= 524_288, 'data follows the hole');
  });
  for (const [about, mode, want] of [
    ['PUNCH_HOLE without KEEP_SIZE', PUNCH, 'EOPNOTSUPP'],
    ['PUNCH_HOLE and ZERO_RANGE', PUNCH | ZERO | KEEP, 'EOPNOTSUPP'],
    ['an unknown mode', 0x400, 'EOPNOTSUPP'],
  ] as const)
    add(`${about}: ${want}`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', c.O_RDWR));
      await s.refused(() => s.root.fallocate(fd, mode, 0, 4096), want);
    });
  add('COLLAPSE_RANGE takes a range out', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(fd, 65_536, 4), 65_536);
    await s.expect(s.root.fallocate(fd, c.FALLOC_FL_COLLAPSE_RANGE, 8192, 8192), 0);
    const all = pattern(65_536, 4);
    sameBytes(s, await whole(s, 'f'), Buffer.concat([all.subarray(0, 8192), all.subarray(16_384)]), 'the content');
  });
  add('INSERT_RANGE puts a hole in', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(fd, 65_536, 4), 65_536);
    await s.expect(s.root.fallocate(fd, c.FALLOC_FL_INSERT_RANGE, 8192, 8192), 0);
    const all = pattern(65_536, 4);
    sameBytes(s, await whole(s, 'f'), Buffer.concat([all.subarray(0, 8192), Buffer.alloc(8192), all.subarray(8192)]), 'the content');
  });
  add('of a fifo: ESPIPE; of a directory: EBADF', async (s) => {
    await s.expect(s.root.mknod('p', c.S_IFIFO | 0o644), 0);
    const fifo = await s.value(s.root.open('p', c.O_RDWR | c.O_NONBLOCK));
    await s.expect(s.root.fallocate(fifo, 0, 0, 10), 'ESPIPE');
    await s.expect(s.root.lseek(fifo, 0, c.SEEK_CUR), 'ESPIPE');
    await s.expect(s.root.pread(fifo, 1, 0), 'ESPIPE');
    const directory = await s.value(s.root.open('.', c.O_RDONLY));
    await s.expect(s.root.fallocate(directory, 0, 0, 10), 'EBADF');
  });
});

const FAR = 2 ** 43;

const lengths = family('long files', (add) => {
  add('8 TiB and a byte', async (s) => {
    await s.expect(s.root.open('f', c.O_WRONLY | c.O_CREAT, 0o644), 'ok');
    await s.expect(s.root.truncate('f', FAR + 1), 0);
    s.same((await s.stat('f')).size, FAR + 1, 'the size');
    const fd = await s.value(s.root.open('f', c.O_RDWR));
    await s.expect(s.root.pwrite(fd, '!', FAR), 1);
    s.same(await s.text(s.root.pread(fd, 10, FAR - 2)), '\0\0!', 'the end');
    await s.expect(s.root.truncate('f', 0), 0);
    s.same(await s.text(s.root.pread(fd, 10, 0)), '', 'what is left');
  });
  for (const [about, call] of [
    ['ftruncate to 8 EiB - 1', (u: User, fd: number) => u.ftruncate(fd, 2n ** 63n - 1n)],
    ['truncate to 8 EiB - 1', (u: User) => u.truncate('f', 2n ** 63n - 1n)],
    ['fallocate to 8 EiB - 1', (u: User, fd: number) => u.fallocate(fd, 0, 0, 2n ** 63n - 1n)],
    ['fallocate beyond 8 EiB', (u: User, fd: number) => u.fallocate(fd, 0, 4096, 2n ** 63n - 1n)],
  ] as const)
    add(`${about}: EFBIG`, async (s) => {
      await s.file('f');
      const fd = await s.value(s.root.open('f', c.O_RDWR));
      await s.expect(call(s.root, fd), 'EFBIG');
      s.same([(await s.stat('f')).size, await s.content('f')], [7, 'content'], 'size and content');
    });
  add('pwrite at 1 EiB: EFBIG', async (s) => {
    const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o644));
    const outcomes = [outcome(await s.root.pwrite(fd, 'x', 2n ** 60n)), outcome(await s.root.fsync(fd))];
    // What failed to be written back is told to the first who syncs the whole file system, too.
    await s.root.call('syncfs', `i${fd}`);
    await s.expect(s.root.unlink('f'), 0);
    s.same(outcomes, ['EFBIG', 'ok'], 'write and fsync');
  });
  add('RLIMIT_FSIZE: EFBIG, and what fits is written', async (s) => {
    await s.file('f', '12345678');
    const fd = await s.value(s.bob.open('f', c.O_RDONLY));
    await s.expect(s.root.chmod('f', 0o666), 0);
    const writer = await s.value(s.bob.open('f', c.O_WRONLY));
    const limit = Buffer.alloc(16, 0xff);
    limit.writeBigUInt64LE(10n, 0);
    await s.expect(s.bob.call('prlimit64', 'i0', 'i1', `h${limit.toString('hex')}`, 'n'), 0);
    await s.expect(s.bob.pwrite(writer, 'abcdef', 8), 2);
    await s.expect(s.bob.pwrite(writer, 'x', 10), 'EFBIG');
    await s.expect(s.bob.ftruncate(writer, 11), 'EFBIG');
    limit.fill(0xff);
    await s.expect(s.bob.call('prlimit64', 'i0', 'i1', `h${limit.toString('hex')}`, 'n'), 0);
    s.same(await s.text(s.bob.pread(fd, 20, 0)), '12345678ab', 'the content');
  });
});

const copying = family('copy_file_range, sendfile, splice', (add) => {
  const pair = async (s: Sandbox): Promise<{ from: number; to: number }> => {
    const from = await s.value(s.root.open('a', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.writePattern(from, 200_000, 6), 200_000);
    return { from, to: await s.value(s.root.open('b', c.O_RDWR | c.O_CREAT, 0o644)) };
  };
  for (const [about, fromOffset, toOffset, bytes, copied] of [
    ['all', 0, 0, 200_000, 200_000],
    ['more than there is', 0, 0, 300_000, 200_000],
    ['a part to another place', 1000, 70_000, 50_000, 50_000],
    ['behind the end of the source', 200_000, 0, 10, 0],
    ['nothing', 0, 0, 0, 0],
    ['pages', 4096, 8192, 65_536, 65_536],
  ] as const)
    for (const synced of [false, true])
      add(`copy_file_range of ${about}, ${synced ? 'synced before' : 'just written'}`, async (s) => {
        const { from, to } = await pair(s);
        if (synced) await s.expect(s.root.fsync(from), 0);
        let done = 0;
        while (done < copied) {
          const step = await s.value(s.root.copyRange(from, fromOffset + done, to, toOffset + done, bytes - done));
          s.true(step > 0, 'it goes on');
          done += step;
        }
        if (copied === 0) await s.expect(s.root.copyRange(from, fromOffset, to, toOffset, bytes), 0);
        s.same(done, copied, 'bytes copied');
        const want = Buffer.alloc(copied === 0 ? 0 : toOffset + copied);
        pattern(200_000, 6).copy(want, toOffset, fromOffset, fromOffset + copied);
        sameBytes(s, await whole(s, 'b'), want, 'the content');
        await s.expect(s.root.pwrite(from, 'changed', 0), 7);
        sameBytes(s, await whole(s, 'b'), want, 'the copy after the source changed');
      });
  add('copy_file_range within one file', async (s) => {
    const { from } = await pair(s);
    await s.expect(s.root.copyRange(from, 0, from, 100_000, 50_000), 50_000);
    const want = pattern(200_000, 6);
    want.copyWithin(100_000, 0, 50_000);
    sameBytes(s, await whole(s, 'a'), want, 'the content');
  });
  add('copy_file_range onto itself: EINVAL', async (s) => {
    const { from } = await pair(s);
    await s.refused(() => s.root.copyRange(from, 0, from, 1000, 5000), 'EINVAL');
  });
  add('copy_file_range with flags: EINVAL', async (s) => {
    const { from, to } = await pair(s);
    await s.refused(() => s.root.copyRange(from, 0, to, 0, 100, 1), 'EINVAL');
  });
  add('copy_file_range from what may only be written, to what may only be read: EBADF', async (s) => {
    await pair(s);
    const reader = await s.value(s.root.open('a', c.O_RDONLY));
    const writer = await s.value(s.root.open('b', c.O_WRONLY));
    await s.refused(() => s.root.copyRange(writer, 0, writer, 0, 10), 'EBADF');
    await s.refused(() => s.root.copyRange(reader, 0, reader, 500, 10), 'EBADF');
    const appender = await s.value(s.root.open('b', c.O_WRONLY | c.O_APPEND));
    await s.refused(() => s.root.copyRange(reader, 0, appender, 0, 10), 'EBADF');
  });
  add('copy_file_range from a directory: EISDIR', async (s) => {
    const { to } = await pair(s);
    const directory = await s.value(s.root.open('.', c.O_RDONLY));
    await s.refused(() => s.root.copyRange(directory, 0, to, 0, 10), 'EISDIR');
  });
  add('sendfile from file to file', async (s) => {
    const { from, to } = await pair(s);
    let left = 200_000;
    await s.expect(s.root.lseek(from, 0, c.SEEK_SET), 0);
    while (left > 0) left -= await s.value(s.root.call('sendfile', `i${to}`, `i${from}`, 'n', `i${left}`));
    sameBytes(s, await whole(s, 'b'), pattern(200_000, 6), 'the content');
  });
  add('splice through a pipe', async (s) => {
    const { from, to } = await pair(s);
    const { out } = await s.expect(s.root.call('pipe2', 'o8', 'i0'), 0);
    const [reader, writer] = [out[0]?.readInt32LE(0) ?? -1, out[0]?.readInt32LE(4) ?? -1];
    await s.expect(s.root.lseek(from, 0, c.SEEK_SET), 0);
    for (let left = 200_000; left > 0;) {
      const moved = await s.value(s.root.call('splice', `i${from}`, 'n', `i${writer}`, 'n', `i${Math.min(left, 65_536)}`, 'i0'));
      for (let inside = moved; inside > 0;)
        inside -= await s.value(s.root.call('splice', `i${reader}`, 'n', `i${to}`, 'n', `i${inside}`, 'i0'));
      left -= moved;
    }
    sameBytes(s, await whole(s, 'b'), pattern(200_000, 6), 'the content');
  });
});

export const content: readonly Family[] = [writing, appending, holes, allocating, lengths, copying];
