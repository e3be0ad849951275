/** rename and renameat2: every kind of file over every other, with every flag; loops; what happens to links and to what is open. */
import * as c from '../constants.js';
import type { Kind, Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';

const SOURCES: readonly Kind[] = [
  'file',
  'directory',
  'link to a file',
  'dangling link',
  'fifo',
  'socket',
  'character device',
  'block device',
];

function overwriting(source: Kind, target: Kind): string {
  if (source === 'directory') return target === 'directory' ? 'ok' : 'ENOTDIR';
  return target === 'directory' ? 'EISDIR' : 'ok';
}

async function links(s: Sandbox, ...paths: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (const path of paths) found.push((await s.stat(path)).links);
  return found;
}

const kinds = family('rename of kinds', (add) => {
  for (const source of SOURCES) {
    add(`a ${source} to a new name`, async (s) => {
      await s.kind(source, 'a');
      const before = await s.stat('a');
      await s.expect(s.root.rename('a', 'b'), 0);
      const after = await s.stat('b');
      s.same([after.ino, after.mode, after.links, after.mtime], [before.ino, before.mode, before.links, before.mtime], 'what moved');
      await s.gone('a');
    });
    add(`a ${source} to another directory`, async (s) => {
      await s.dir('d');
      await s.dir('e');
      await s.kind(source, 'd/a');
      const before = await s.stat('d/a');
      await s.expect(s.root.rename('d/a', 'e/b'), 0);
      s.same((await s.stat('e/b')).ino, before.ino, 'the inode');
      await s.gone('d/a');
      s.same(await links(s, 'd', 'e'), source === 'directory' ? [2, 3] : [2, 2], 'links of the directories');
    });
    add(`a ${source} onto itself changes nothing`, async (s) => {
      await s.kind(source, 'a');
      const before = await s.describe();
      await s.expect(s.root.rename('a', 'a'), 0);
      s.unchanged(await s.describe(), before, 'everything');
    });
    for (const target of SOURCES) {
      const want = overwriting(source, target);
      add(`a ${source} over a ${target}: ${want}`, async (s) => {
        await s.kind(source, 'a');
        await s.kind(target, 'b');
        if (want !== 'ok') {
          await s.refused(() => s.root.rename('a', 'b'), want);
          return;
        }
        const before = await s.stat('a');
        await s.expect(s.root.rename('a', 'b'), 0);
        s.same((await s.stat('b')).ino, before.ino, 'the inode');
        await s.gone('a');
      });
      add(`RENAME_NOREPLACE of a ${source} over a ${target}: EEXIST`, async (s) => {
        await s.kind(source, 'a');
        await s.kind(target, 'b');
        await s.refused(() => s.root.rename('a', 'b', c.RENAME_NOREPLACE), 'EEXIST');
      });
      add(`RENAME_EXCHANGE of a ${source} and a ${target}`, async (s) => {
        await s.dir('d');
        await s.dir('e');
        await s.kind(source, 'd/a');
        await s.kind(target, 'e/b');
        const [a, b] = [await s.stat('d/a'), await s.stat('e/b')];
        await s.expect(s.root.rename('d/a', 'e/b', c.RENAME_EXCHANGE), 0);
        s.same([(await s.stat('d/a')).ino, (await s.stat('e/b')).ino], [b.ino, a.ino], 'the inodes');
        s.same([(await s.stat('d/a')).links, (await s.stat('e/b')).links], [b.links, a.links], 'their links');
        s.same(await links(s, 'd', 'e'), [target === 'directory' ? 3 : 2, source === 'directory' ? 3 : 2], 'links of the directories');
      });
    }
  }
});

const behaviour = family('rename', (add) => {
  for (const [from, to, flags, want] of [
    ['a', 'a/b', 0, 'EINVAL'],
    ['a', 'a/b/c', 0, 'EINVAL'],
    ['a', 'a/b/new', 0, 'EINVAL'],
    ['a/b', 'a', 0, 'ENOTEMPTY'],
    ['a/b/c', 'a', 0, 'ENOTEMPTY'],
    ['a', 'a/b', c.RENAME_EXCHANGE, 'EINVAL'],
    ['a/b', 'a', c.RENAME_EXCHANGE, 'EINVAL'],
    ['a/b/c', 'a', c.RENAME_EXCHANGE, 'EINVAL'],
    ['a', 'a/b/new', c.RENAME_NOREPLACE, 'EINVAL'],
  ] as const)
    add(`a directory does not go below itself: ${from} to ${to}, flags ${flags}: ${want}`, async (s) => {
      await s.dir('a');
      await s.dir('a/b');
      await s.dir('a/b/c');
      await s.refused(() => s.root.rename(from, to, flags), want);
    });
  for (const [path, other] of [
    ['.', 'x'],
    ['..', 'x'],
    ['x', '.'],
    ['x', '..'],
    ['d/.', 'x'],
    ['x', 'd/..'],
  ] as const)
    add(`EBUSY for ${path} to ${other}`, async (s) => {
      await s.dir('d');
      await s.dir('x');
      await s.refused(() => s.root.rename(path, other), 'EBUSY');
    });
  for (const flags of [c.RENAME_NOREPLACE | c.RENAME_EXCHANGE, c.RENAME_WHITEOUT | c.RENAME_EXCHANGE, 8, 0x100])
    add(`EINVAL for flags ${flags}`, async (s) => {
      await s.file('a');
      await s.file('b');
      await s.refused(() => s.root.rename('a', 'b', flags), 'EINVAL');
    });
  add('RENAME_EXCHANGE with what is not there: ENOENT', async (s) => {
    await s.file('a');
    await s.refused(() => s.root.rename('a', 'b', c.RENAME_EXCHANGE), 'ENOENT');
  });
  add('RENAME_NOREPLACE to a new name', async (s) => {
    await s.file('a', 'A');
    await s.expect(s.root.rename('a', 'b', c.RENAME_NOREPLACE), 0);
    s.same([await s.list('.'), await s.content('b')], [['b'], 'A'], 'what is there');
  });
  add('RENAME_WHITEOUT leaves a device 0:0 behind', async (s) => {
    await s.file('a', 'A');
    await s.expect(s.root.rename('a', 'b', c.RENAME_WHITEOUT), 0);
    const { mode, rdev } = await s.stat('a');
    s.same([mode & c.S_IFMT, rdev], [c.S_IFCHR, [0, 0]], 'what is left');
  });
  add('EXDEV to another file system', async (s) => {
    await s.file('a');
    await s.refused(() => s.root.rename('a', '/dev/shm/ostraka-posix-never'), 'EXDEV');
  });
  add('two names of one file: nothing happens', async (s) => {
    await s.file('a');
    await s.expect(s.root.link('a', 'b'), 0);
    const before = await s.describe();
    await s.expect(s.root.rename('a', 'b'), 0);
    s.unchanged(await s.describe(), before, 'everything');
  });
  add('a replaced file with another name loses one link', async (s) => {
    await s.file('a', 'A');
    await s.file('b', 'B');
    await s.expect(s.root.link('b', 'c'), 0);
    await s.expect(s.root.rename('a', 'b'), 0);
    s.same([await s.content('b'), await s.content('c'), ...(await links(s, 'c'))], ['A', 'B', 1], 'contents and links');
  });
  add('a replaced file that is open lives on', async (s) => {
    await s.file('a', 'A');
    await s.file('b', 'B');
    const fd = await s.value(s.root.open('b', c.O_RDWR));
    await s.expect(s.root.rename('a', 'b'), 0);
    s.same([await s.text(s.root.pread(fd, 5, 0)), await s.content('b')], ['B', 'A'], 'both contents');
    s.same((await s.fstat(fd, s.root)).links, 0, 'its links');
    await s.expect(s.root.pwrite(fd, 'still', 0), 5);
    s.same(await s.text(s.root.pread(fd, 9, 0)), 'still', 'what was written');
  });
  add('a file that is open and renamed is written on', async (s) => {
    const fd = await s.value(s.root.open('a', c.O_RDWR | c.O_CREAT, 0o644));
    await s.expect(s.root.write(fd, 'one '), 4);
    await s.expect(s.root.rename('a', 'b'), 0);
    await s.expect(s.root.write(fd, 'two'), 3);
    s.same(await s.content('b'), 'one two', 'the content');
    await s.expect(s.root.close(fd), 0);
    s.same(await s.content('b'), 'one two', 'the content after close');
  });
  add('a directory that is a working directory moves with its user', async (s) => {
    await s.dir('a');
    await s.dir('d');
    await s.file('a/f', 'here');
    await s.expect(s.alice.chdir('a'), 0);
    await s.expect(s.root.rename('a', 'd/b'), 0);
    s.same(await s.content('f', s.alice), 'here', 'the content');
    s.same((await s.stat('..', s.alice, 0)).ino, (await s.stat('d')).ino, 'its parent');
  });
  add('an empty directory replaces an empty one; links are right', async (s) => {
    await s.dir('d');
    await s.dir('d/a');
    await s.dir('e');
    await s.dir('e/b');
    await s.expect(s.root.rename('d/a', 'e/b'), 0);
    s.same(await links(s, 'd', 'e', 'e/b'), [2, 3, 2], 'links');
  });
  add('a tree moves as a whole', async (s) => {
    await s.dir('a');
    for (const path of ['a/b', 'a/b/c']) await s.dir(path);
    await s.file('a/b/c/f', 'deep');
    await s.dir('t');
    await s.expect(s.root.rename('a/b', 't/moved'), 0);
    s.same([await s.content('t/moved/c/f'), await links(s, 'a', 't', 't/moved')], ['deep', [2, 3, 3]], 'the tree');
    s.same((await s.stat('t/moved/..')).ino, (await s.stat('t')).ino, 'its parent');
  });
  add('a directory with a slash behind its new name', async (s) => {
    await s.dir('a');
    await s.expect(s.root.rename('a', 'b/'), 0);
    s.same(await s.list('.'), ['b'], 'what is there');
  });
  add('a file with a slash behind its new name: ENOTDIR', async (s) => {
    await s.file('a');
    await s.refused(() => s.root.rename('a', 'b/'), 'ENOTDIR');
  });
  add('over a long name and back', async (s) => {
    await s.file('a', 'A');
    await s.expect(s.root.rename('a', 'n'.repeat(255)), 0);
    await s.expect(s.root.rename('n'.repeat(255), 'a'), 0);
    s.same(await s.content('a'), 'A', 'the content');
  });
  add('a directory exchanged with its nephew', async (s) => {
    await s.dir('a');
    await s.dir('b');
    await s.dir('b/c');
    await s.file('a/f', 'A');
    await s.expect(s.root.rename('a', 'b/c', c.RENAME_EXCHANGE), 0);
    s.same([await s.content('b/c/f'), await s.list('a'), await links(s, 'b', 'b/c', 'a')], ['A', [], [3, 2, 2]], 'the tree');
    s.same((await s.stat('b/c/..')).ino, (await s.stat('b')).ino, 'its parent');
  });
});

export const renames: readonly Family[] = [kinds, behaviour];
