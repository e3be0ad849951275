/**
 * What every `Disk` must do, whether real or simulated. `diskConformance` is run by simulated.test.ts and by the native disk's test.
 */
import type { Test } from 'tap';
import { OperatingError } from '../../src/base/errors.js';
import type { Disk } from '../../src/disk/disk.js';

export interface ConformanceSubject {
  /** An empty, opened and locked disk. */
  readonly disk: Disk;
  /** Opens the same directory once more while it is locked; must reject. */
  readonly openAgain: () => Promise<Disk>;
  /** Opens it after `disk` was closed. */
  readonly reopen: () => Promise<Disk>;
  readonly cleanUp: () => Promise<void>;
}

async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'resolved';
  } catch (error) {
    return error instanceof OperatingError ? error.code : `not an operating error: ${String(error)}`;
  }
}

async function contents(t: Test, disk: Disk): Promise<void> {
  const file = await disk.open('a', { create: true, write: true });
  t.equal(file.path, 'a');
  t.equal(file.disk, disk);
  t.equal(await file.size(), 0);
  t.same(await file.read(0, 10), Buffer.alloc(0), 'an empty file reads as nothing');
  await file.write(0, [Buffer.from('hello '), Buffer.alloc(0), Buffer.from('world')]);
  t.equal(String(await file.read(0, 100)), 'hello world', 'buffers are written one after the other, a read ends at the end');
  t.equal(String(await file.read(6, 3)), 'wor');
  t.same(await file.read(11, 5), Buffer.alloc(0), 'nothing behind the end');
  await file.write(5000, [Buffer.from('far')]);
  t.equal(await file.size(), 5003);
  t.same(await file.read(11, 4989), Buffer.alloc(4989), 'a gap reads as zeros');
  await file.write(0, [Buffer.from('J')]);
  t.equal(String(await file.read(0, 5)), 'Jello', 'a part can be written over');
  await file.sync();
  t.equal(file.poisoned, false);
  await file.close();
  await file.close();

  const many = Array.from({ length: 300 }, (_, i) => Buffer.alloc(700, i));
  const wide = await disk.open('wide', { create: true, write: true });
  await wide.write(1, many);
  t.same(await wide.read(1, 300 * 700), Buffer.concat(many), 'many buffers in one call');
  const parts = await Promise.all(Array.from({ length: 40 }, (_, i) => wide.read(1 + i * 700, 700)));
  t.same(parts, many.slice(0, 40), 'reads at the same time do not mix');
  await wide.close();
}

async function modes(t: Test, disk: Disk): Promise<void> {
  t.equal(await code(disk.open('missing')), 'ENOENT');
  t.equal(await code(disk.open('missing', { write: true })), 'ENOENT');
  await (await disk.open('there', { create: true, write: true })).close();
  t.equal(await code(disk.open('there', { create: true, write: true })), 'EEXIST', 'create never opens what is there');
  const reader = await disk.open('there');
  t.equal(await code(reader.write(0, [Buffer.from('x')])), 'EBADF', 'not opened for writing');
  await reader.close();
  t.equal(await code(disk.open('none/file', { create: true, write: true })), 'ENOENT', 'no such directory');
  t.equal(await code(disk.open('there/file')), 'ENOTDIR');
}

async function names(t: Test, disk: Disk): Promise<void> {
  await disk.makeDirectory('d');
  await disk.makeDirectory('d');
  await disk.makeDirectory('d/e');
  t.equal(await code(disk.makeDirectory('x/y')), 'ENOENT');
  const file = await disk.open('d/one', { create: true, write: true });
  await file.write(0, [Buffer.from('1')]);
  await (await disk.open('d/two', { create: true, write: true })).close();
  t.same((await disk.list('d')).sort(), ['e', 'one', 'two']);
  t.equal(await code(disk.list('nowhere')), 'ENOENT');
  await disk.rename('d/one', 'd/two');
  t.same((await disk.list('d')).sort(), ['e', 'two'], 'rename replaces');
  t.equal(String(await file.read(0, 1)), '1', 'an open file stays open under its new name');
  const renamed = await disk.open('d/two');
  t.equal(String(await renamed.read(0, 1)), '1');
  await renamed.close();
  await disk.unlink('d/two');
  t.equal(String(await file.read(0, 1)), '1', 'and when it has none');
  await file.close();
  t.equal(await code(disk.unlink('d/two')), 'ENOENT');
  t.equal(await code(disk.rename('d/two', 'd/three')), 'ENOENT');
  await disk.syncDirectory('d');
  await disk.syncDirectory('');
  await disk.syncAll();
}

async function together(t: Test, disk: Disk): Promise<void> {
  await disk.makeDirectory('d');
  await (await disk.open('d/other', { create: true, write: true })).close();
  const file = await disk.open('d/log', { create: true, write: true });
  t.equal(await file.writeSynced(4096, [Buffer.from('one '), Buffer.from('two')]), '', 'without a directory no names');
  const names = await file.writeSynced(4099, [Buffer.from('-')], 'd');
  t.same(names.split('/').sort(), ['', 'log', 'other']);
  t.equal(String(await file.read(4096, 99)), 'one-two');
  t.equal(file.poisoned, false);
  t.equal(await code(file.writeSynced(0, [Buffer.from('x')], 'nowhere')), 'ENOENT');
  t.equal(file.poisoned, true, 'whatever failed of it');
  t.equal(await code(file.writeSynced(0, [Buffer.from('x')])), 'EIO');
  t.equal(await code(file.write(0, [Buffer.from('x')])), 'EIO');
  await file.close();
}

async function space(t: Test, disk: Disk): Promise<void> {
  const before = await disk.capacity();
  t.ok(before.totalBytes > 0 && before.freeBytes > 0 && before.freeBytes <= before.totalBytes);
  const file = await disk.open('space', { create: true, write: true });
  await file.preallocate(0, 1 << 20);
  t.equal(await file.size(), 0, 'preallocation does not change the size');
  await file.write(0, [Buffer.alloc(64 << 10, 7)]);
  await file.punch(16 << 10, 16 << 10);
  t.equal(await file.size(), 64 << 10, 'a hole does not change the size');
  t.equal(await file.nextData(100), 100);
  t.equal(await file.nextData(20 << 10), 32 << 10, 'a hole is seen');
  t.equal(await file.nextData(64 << 10), 64 << 10, 'nothing follows');
  const expected = Buffer.alloc(64 << 10, 7).fill(0, 16 << 10, 32 << 10);
  t.same(await file.read(0, 64 << 10), expected, 'a hole reads as zeros, and nothing else does');
  await file.write(20 << 10, [Buffer.from('again')]);
  t.equal(String(await file.read(20 << 10, 5)), 'again');
  await file.close();
}

/** Adds the suite's tests to `t`, each on a disk of its own. */
export function diskConformance(t: Test, make: () => Promise<ConformanceSubject>): void {
  const each = (name: string, run: (t: Test, subject: ConformanceSubject) => Promise<void>): void => {
    void t.test(name, async (t) => {
      const subject = await make();
      try {
        await run(t, subject);
      } finally {
        await subject.disk.close();
        await subject.cleanUp();
      }
    });
  };
  each('contents of files', (t, { disk }) => contents(t, disk));
  each('modes of opening', (t, { disk }) => modes(t, disk));
  each('a write, a sync and a list in one call', (t, { disk }) => together(t, disk));
  each('names', (t, { disk }) => names(t, disk));
  each('space', (t, { disk }) => space(t, disk));
  each('nothing went wrong, so nothing was counted', async (t, { disk }) => {
    t.equal(await code(disk.open('missing')), 'ENOENT');
    await disk.probe();
    t.same({ ...disk.health }, { readErrors: 0, writeErrors: 0, syncErrors: 0, checksumErrors: 0, stalls: 0 });
  });
  each('I9: one owner', async (t, { disk, openAgain, reopen }) => {
    t.equal(await code(openAgain()), 'EBUSY');
    const file = await disk.open('kept', { create: true, write: true });
    await file.write(0, [Buffer.from('kept')]);
    await disk.close();
    t.equal(await code(disk.open('kept')), 'EBADF', 'a closed disk does nothing');
    t.equal(await code(file.read(0, 4)), 'EBADF', 'nor do its files');
    const again = await reopen();
    const kept = await again.open('kept');
    t.equal(String(await kept.read(0, 9)), 'kept');
    t.equal(again.id, disk.id);
    await again.close();
  });
}
