/** mmap: shared and private, beside read and write, at the end of a file, after its name is gone. */
import * as c from '../constants.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import type { User } from '../user.js';

async function open(s: Sandbox, bytes = 8192): Promise<number> {
  const fd = await s.value(s.root.open('f', c.O_RDWR | c.O_CREAT, 0o666));
  await s.expect(s.root.write(fd, 'a'.repeat(bytes)), bytes);
  return fd;
}

const map = (s: Sandbox, user: User, fd: number, protection: number, flags: number, bytes = 8192): Promise<number> =>
  s.value(user.mmap(fd, bytes, protection, flags));
const RW = c.PROT_READ | c.PROT_WRITE;

export const mapping: readonly Family[] = [
  family('mmap', (add) => {
    add('MAP_SHARED shows the content', async (s) => {
      const address = await map(s, s.root, await open(s), c.PROT_READ, c.MAP_SHARED);
      s.same(await s.text(s.root.peek(address + 4090, 10)), 'a'.repeat(10), 'memory');
    });
    add('a write to shared memory is read by read, at once', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.poke(address + 100, 'mapped'), 'ok');
      s.same(await s.text(s.root.pread(fd, 6, 100)), 'mapped', 'what is read');
    });
    add('a write by write is seen in shared memory, at once', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, c.PROT_READ, c.MAP_SHARED);
      s.same(await s.text(s.root.peek(address, 3)), 'aaa', 'memory before');
      await s.expect(s.root.pwrite(fd, 'xyz', 0), 3);
      s.same(await s.text(s.root.peek(address, 3)), 'xyz', 'memory after');
    });
    add('two users see each other’s shared memory', async (s) => {
      const mine = await map(s, s.root, await open(s), RW, c.MAP_SHARED);
      const other = await s.value(s.bob.open('f', c.O_RDWR));
      const theirs = await map(s, s.bob, other, RW, c.MAP_SHARED);
      await s.expect(s.root.poke(mine + 5000, 'root'), 'ok');
      s.same(await s.text(s.bob.peek(theirs + 5000, 4)), 'root', 'what bob sees');
      await s.expect(s.bob.poke(theirs, 'bob'), 'ok');
      s.same(await s.text(s.root.peek(mine, 3)), 'bob', 'what root sees');
    });
    add('MAP_PRIVATE keeps its writes to itself', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_PRIVATE);
      await s.expect(s.root.poke(address, 'private'), 'ok');
      s.same(await s.text(s.root.peek(address, 7)), 'private', 'memory');
      s.same(await s.text(s.root.pread(fd, 7, 0)), 'aaaaaaa', 'what is read');
    });
    add('MAP_PRIVATE for writing needs a descriptor for reading alone', async (s) => {
      await open(s);
      const fd = await s.value(s.root.open('f', c.O_RDONLY));
      const address = await map(s, s.root, fd, RW, c.MAP_PRIVATE);
      await s.expect(s.root.poke(address, 'private'), 'ok');
    });
    add('MAP_SHARED for writing of a descriptor for reading: EACCES', async (s) => {
      await open(s);
      const fd = await s.value(s.root.open('f', c.O_RDONLY));
      await s.expect(s.root.mmap(fd, 4096, RW, c.MAP_SHARED), 'EACCES');
    });
    add('of a descriptor for writing: EACCES', async (s) => {
      await open(s);
      const fd = await s.value(s.root.open('f', c.O_WRONLY));
      await s.expect(s.root.mmap(fd, 4096, c.PROT_READ, c.MAP_SHARED), 'EACCES');
    });
    add('of a directory: ENODEV', async (s) => {
      const fd = await s.value(s.root.open('.', c.O_RDONLY));
      await s.expect(s.root.mmap(fd, 4096, c.PROT_READ, c.MAP_SHARED), 'ENODEV');
    });
    add('behind the last page: SIGBUS; within it: zeros', async (s) => {
      const fd = await open(s, 5000);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED, 12_288);
      s.same(await s.text(s.root.peek(address + 4998, 4)), 'aa\0\0', 'memory at the end');
      await s.expect(s.root.peek(address + 8192, 1), 'SIGBUS');
      await s.expect(s.root.poke(address + 8192, 'x'), 'SIGBUS');
    });
    add('what is written behind the end within the last page does not get into the file', async (s) => {
      const fd = await open(s, 5000);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.poke(address + 5000, 'lost'), 'ok');
      await s.expect(s.root.msync(address, 8192), 0);
      s.same((await s.stat('f')).size, 5000, 'the size');
      await s.expect(s.root.ftruncate(fd, 6000), 0);
      s.same(await s.text(s.root.pread(fd, 4, 5000)), '\0\0\0\0', 'what is read');
    });
    add('truncation under a mapping: SIGBUS, and zeros when it grows again', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      s.same(await s.text(s.root.peek(address + 4096, 2)), 'aa', 'memory before');
      await s.expect(s.root.ftruncate(fd, 100), 0);
      await s.expect(s.root.peek(address + 4096, 1), 'SIGBUS');
      await s.expect(s.root.ftruncate(fd, 8192), 0);
      s.same(await s.text(s.root.peek(address + 99, 3)), 'a\0\0', 'memory after');
    });
    add('a punched hole is zeros in memory', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      s.same(await s.text(s.root.peek(address, 2)), 'aa', 'memory before');
      await s.expect(s.root.fallocate(fd, 3, 0, 4096), 0);
      s.same(await s.text(s.root.peek(address + 4095, 2)), '\0a', 'memory after');
    });
    add('a range that was copied is in memory', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      s.same(await s.text(s.root.peek(address, 2)), 'aa', 'memory before');
      await s.expect(s.root.pwrite(fd, 'source', 4096), 6);
      await s.expect(s.root.copyRange(fd, 4096, fd, 0, 6), 6);
      s.same(await s.text(s.root.peek(address, 8)), 'sourceaa', 'memory after');
    });
    add('a mapping outlives its descriptor and its name, and is written back', async (s) => {
      const fd = await open(s);
      await s.expect(s.root.link('f', 'g'), 0);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.close(fd), 0);
      await s.expect(s.root.unlink('f'), 0);
      await s.expect(s.root.poke(address, 'late'), 'ok');
      await s.expect(s.root.msync(address, 4096), 0);
      await s.expect(s.root.munmap(address, 8192), 0);
      s.same((await s.content('g')).slice(0, 5), 'latea', 'the content');
    });
    add('a mapping of an unlinked file works', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.close(fd), 0);
      await s.expect(s.root.unlink('f'), 0);
      await s.expect(s.root.poke(address + 4096, 'still'), 'ok');
      s.same(await s.text(s.root.peek(address + 4095, 6)), 'astill', 'memory');
      await s.expect(s.root.msync(address, 8192), 0);
      await s.expect(s.root.munmap(address, 8192), 0);
      await s.gone('f');
    });
    add('a write to memory moves mtime and ctime', async (s) => {
      const fd = await open(s);
      await s.expect(s.root.fsync(fd), 0);
      const before = await s.stat('f');
      await new Promise((resolve) => setTimeout(resolve, 15));
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.poke(address, 'x'), 'ok');
      await s.expect(s.root.msync(address, 4096), 0);
      const after = await s.stat('f');
      s.true(after.mtime > before.mtime && after.ctime > before.ctime, 'both moved on');
    });
    for (const [about, offset, bytes] of [
      ['an offset that is no page', 100, 4096],
      ['no length', 0, 0],
    ] as const)
      add(`${about}: EINVAL`, async (s) => {
        const fd = await open(s);
        await s.expect(s.root.mmap(fd, bytes, c.PROT_READ, c.MAP_SHARED, offset), 'EINVAL');
      });
    add('msync of memory that is not mapped: ENOMEM', async (s) => {
      const fd = await open(s);
      const address = await map(s, s.root, fd, RW, c.MAP_SHARED);
      await s.expect(s.root.munmap(address, 8192), 0);
      await s.expect(s.root.msync(address, 8192), 'ENOMEM');
    });
  }),
];
