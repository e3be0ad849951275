/** statfs, and what belongs to the file system as a whole. */
import * as c from '../constants.js';
import { ALICE, ROOT } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';

interface Space {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly free: number;
  readonly available: number;
  readonly files: number;
  readonly filesFree: number;
  readonly nameBytes: number;
}

async function space(s: Sandbox, path = '.'): Promise<Space> {
  const buffer = (await s.expect(s.root.statfs(path), 0)).out[0] ?? Buffer.alloc(120);
  const at = (offset: number): number => Number(buffer.readBigUInt64LE(offset));
  return { blockBytes: at(8), blocks: at(16), free: at(24), available: at(32), files: at(40), filesFree: at(48), nameBytes: at(64) };
}

export const spaces: readonly Family[] = [
  family('statfs', (add) => {
    add('numbers that make sense', async (s) => {
      const { blockBytes, blocks, free, available, files, filesFree, nameBytes } = await space(s);
      s.true(blockBytes >= 512 && blockBytes <= 2 ** 20, `blocks of ${blockBytes} bytes`);
      s.true(blocks > 0 && free > 0 && free <= blocks && available <= free, `${blocks} blocks, ${free} free, ${available} available`);
      s.true(files > 0 && filesFree > 0 && filesFree <= files, `${files} files, ${filesFree} free`);
      s.same(nameBytes, c.NAME_MAX, 'bytes of the longest name');
    });
    add('the same by a file, a directory and a descriptor', async (s) => {
      await s.file('f');
      const [byFile, byDirectory] = [await space(s, 'f'), await space(s, '.')];
      s.same([byFile.blocks, byFile.nameBytes], [byDirectory.blocks, byDirectory.nameBytes], 'both');
      const fd = await s.value(s.root.open('f', c.O_RDONLY));
      await s.expect(s.root.call('fstatfs', `i${fd}`, 'o120'), 0);
    });
    add('EFAULT for a bad buffer', async (s) => {
      await s.expect(s.root.call('statfs', 's.', 'x'), 'EFAULT');
    });
    for (const who of [ROOT, ALICE])
      add(`syncfs, fsync of a directory and of a file by ${who.name}`, async (s) => {
        await s.file('f', 'content', s.user(who));
        const file = await s.value(s.user(who).open('f', c.O_RDONLY));
        const directory = await s.value(s.user(who).open('.', c.O_RDONLY));
        for (const fd of [file, directory])
          for (const call of ['fsync', 'fdatasync', 'syncfs'] as const) await s.expect(s.user(who).call(call, `i${fd}`), 0);
      });
    add('st_blocks follow the content once the file is closed, st_dev is one', async (s) => {
      const fd = await s.value(s.root.open('f', c.O_WRONLY | c.O_CREAT, 0o644));
      await s.expect(s.root.writePattern(fd, 1_000_000, 1), 1_000_000);
      await s.expect(s.root.fsync(fd), 0);
      await s.expect(s.root.close(fd), 0);
      const { blocks, size, dev } = await s.stat('f');
      s.same([size, dev], [1_000_000, (await s.stat('.')).dev], 'size and device');
      s.true(blocks * 512 >= 1_000_000 && blocks * 512 < 1_200_000, `${blocks} blocks`);
    });
    add('st_blocks of a file that is open and was written are not 0 (tar -S takes such a file for a hole)', async (s) => {
      await s.file('empty', '');
      for (const [path, flags] of [
        ['new', c.O_WRONLY | c.O_CREAT],
        ['empty', c.O_WRONLY | c.O_APPEND],
        ['empty', c.O_WRONLY | c.O_TRUNC],
      ] as const) {
        const fd = await s.value(s.root.open(path, flags, 0o644));
        await s.expect(s.root.writePattern(fd, 100_000, 1), 100_000);
        s.true((await s.stat(path)).blocks > 0, `${path}: blocks after a write`);
        await s.expect(s.root.fsync(fd), 0);
        s.true((await s.stat(path)).blocks > 0, `${path}: blocks after fsync`);
        await s.expect(s.root.close(fd), 0);
      }
    });
  }),
];
