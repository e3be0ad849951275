/** Writing and reading files: round trips of all sizes and orders, what close and rename make visible, errors of write-back. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import type { Time } from '../../src/base/clock.js';
import type { AttributeChange } from '../../src/namespace/namespace.js';
import {
  codeOf,
  contentOf,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  openPool,
  pattern,
  until,
  readAll,
  root,
  ROOT,
  rowsByTable,
  writeFile,
} from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

const none = { noReplace: false, exchange: false };

t.test('files of many sizes read back, before and after the commit', async (test) => {
  const { namespace, storage } = await openPool(test);
  const max = storage.blobBytesMax;
  const sizes = [0, 1, 511, 513, 4095, 4096, 4097, 40_000, max - 1, max, max + 1, 3 * max + 77, 700_000];
  for (const [seed, bytes] of sizes.entries()) {
    const data = pattern(bytes, seed);
    const { attributes, handle } = await namespace.create(ROOT, `f${bytes}`, 0o644, O_RDWR, root);
    const { ino } = attributes;
    for (let at = 0; at < bytes; at += 30_000) await namespace.write(ino, handle, at, data.subarray(at, at + 30_000), root);
    test.ok((await readAll(namespace, ino, handle, 0, bytes + 10)).equals(data), `${bytes} bytes while dirty`);
    await namespace.flush(ino, handle);
    test.ok((await readAll(namespace, ino, handle, 0, bytes + 10)).equals(data), `${bytes} bytes after flush`);
    await namespace.release(ino, handle);
    test.ok((await contentOf(namespace, ino)).equals(data), `${bytes} bytes anew`);
    const stat = await namespace.getattr(ino);
    test.equal(stat.size, bytes);
    test.equal(stat.blocks, Math.max(1, Math.ceil(bytes / 512)), 'an empty file is told to take room, too');
  }
  test.equal(namespace.status().openHandles, 0);
  test.equal(namespace.status().dirtyBytes, 0, 'no memory is left behind');
});

t.test('writes in any order, holes, overwrites across windows', async (test) => {
  const { namespace } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const model = Buffer.alloc(300_000);
  const put = async (at: number, bytes: number, seed: number): Promise<void> => {
    const data = pattern(bytes, seed);
    data.copy(model, at);
    await namespace.write(ino, handle, at, data, root);
  };
  await put(200_000, 100_000, 1);
  await put(0, 10, 2);
  await put(65_530, 20, 3);
  await namespace.flush(ino, handle);
  test.ok((await readAll(namespace, ino, handle, 0, 300_000)).equals(model));
  await put(100, 150_000, 4);
  await put(199_999, 2, 5);
  test.ok((await readAll(namespace, ino, handle, 0, 300_000)).equals(model), 'over what is committed');
  await namespace.fsync(ino, handle);
  await put(64_000, 140_000, 6);
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(model));
});

t.test('memory is given back while a commit is under way, and new writes go on', async (test) => {
  const { namespace, storage } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const first = pattern(20_000, 1);
  const second = pattern(20_000, 2);
  await namespace.write(ino, handle, 0, first, root);
  storage.hold();
  const flushed = namespace.flush(ino, handle);
  await namespace.write(ino, handle, 10_000, second, root);
  const expected = Buffer.concat([first.subarray(0, 10_000), second]);
  test.ok((await readAll(namespace, ino, handle, 0, 99_999)).equals(expected), 'the new over the one being committed');
  storage.letGo();
  await flushed;
  test.ok((await readAll(namespace, ino, handle, 0, 99_999)).equals(expected), 'the new over the committed');
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(expected));
});

t.test('truncation down and up, with and without writers', async (test) => {
  const { namespace } = await openPool(test);
  const data = pattern(200_000, 7);
  const ino = await writeFile(namespace, ROOT, 'f', data);
  await namespace.setattr(ino, { size: 150_001 }, root);
  await namespace.setattr(ino, { size: 180_000 }, root);
  const cut = Buffer.alloc(180_000);
  data.copy(cut, 0, 0, 150_001);
  test.ok((await contentOf(namespace, ino)).equals(cut), 'what was cut off is zeros');
  const handle = await namespace.open(ino, O_RDWR, root);
  await namespace.write(ino, handle, 170_000, Buffer.from('hello'), root);
  await namespace.setattr(ino, { size: 3 }, root, handle);
  await namespace.setattr(ino, { size: 170_010 }, root, handle);
  const zeros = Buffer.alloc(170_010);
  data.copy(zeros, 0, 0, 3);
  test.ok((await readAll(namespace, ino, handle, 0, 200_000)).equals(zeros), 'before the commit');
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(zeros), 'after it');
});

t.test('O_TRUNC keeps the whole old file until the new one is closed', async (test) => {
  const { namespace, index } = await openPool(test);
  const old = pattern(100_000, 1);
  const ino = await writeFile(namespace, ROOT, 'f', old);
  const before = (await rowsByTable(index)).get('e')?.length;
  const handle = await namespace.open(ino, O_WRONLY | O_TRUNC, root);
  test.equal((await namespace.getattr(ino)).size, 0, 'everybody sees it empty');
  await namespace.write(ino, handle, 0, Buffer.from('new'), root);
  test.equal((await rowsByTable(index)).get('e')?.length, before, 'the index has the old one');
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  test.equal((await contentOf(namespace, ino)).toString(), 'new');
});

t.test('a failed store poisons: told once to each handle, the last version stands', async (test) => {
  const { namespace, storage, invalidated } = await openPool(test);
  const old = pattern(50_000, 1);
  const ino = await writeFile(namespace, ROOT, 'f', old);
  const one = await namespace.open(ino, O_RDWR, root);
  const two = await namespace.open(ino, O_RDONLY, root);
  const { mtime } = await namespace.getattr(ino);
  storage.failStores = { count: 1, code: 'EIO' };
  await namespace.write(ino, one, 0, pattern(200_000, 2), root);
  test.equal(await codeOf(() => namespace.flush(ino, one)), 'EIO');
  test.equal(await codeOf(() => namespace.flush(ino, one)), 'none', 'once');
  test.equal(await codeOf(() => namespace.fsync(ino, two, false)), 'EIO', 'the reader too');
  test.equal(await codeOf(() => namespace.fsync(ino, two, false)), 'none');
  test.ok((await readAll(namespace, ino, two, 0, 300_000)).equals(old));
  const stat = await namespace.getattr(ino);
  test.equal(stat.size, 50_000);
  test.same(stat.mtime, mtime);
  test.same(invalidated, [ino]);
  await namespace.write(ino, one, 0, Buffer.from('again'), root);
  await namespace.flush(ino, one);
  test.equal((await readAll(namespace, ino, two, 0, 5)).toString(), 'again');
  await namespace.release(ino, one);
  await namespace.release(ino, two);
  test.equal(namespace.status().dirtyBytes, 0);
});

t.test('a poisoned upload leaves nothing in the index but what the collector takes', async (test) => {
  const { namespace, storage, index } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  storage.failStores = { count: 0, code: 'ENOSPC' };
  for (let window = 0; window < 4; window++) await namespace.write(ino, handle, window * 65_536, pattern(65_536, window), root);
  await new Promise((resolve) => setTimeout(resolve, 20));
  storage.failStores = { count: 1, code: 'ENOSPC' };
  await namespace.write(ino, handle, 4 * 65_536, pattern(65_536, 4), root);
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'ENOSPC');
  await namespace.release(ino, handle);
  await namespace.close();
  const rows = await rowsByTable(index);
  for (const letter of ['u', 'p', 'b', 'r', 'e']) test.equal(rows.get(letter), undefined, `table ${letter} is empty`);
  test.equal(rows.get('f')?.length, 4, 'the stored parts wait to be freed');
});

t.test('a full pool refuses writes and opens', async (test) => {
  const storage = new MemoryStorage();
  storage.capacityBytes = 100_000;
  const { namespace } = await openPool(test, { storage });
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  await namespace.write(ino, handle, 0, pattern(60_000, 1), root);
  await namespace.flush(ino, handle);
  test.equal(await codeOf(() => namespace.write(ino, handle, 60_000, pattern(60_000, 1), root)), 'ENOSPC');
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'ENOSPC', 'a WRITE that failed is told at close');
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(pattern(60_000, 1)));
});

t.test('memory for dirty data is bounded: writers wait, everything arrives', async (test) => {
  const { namespace, storage } = await openPool(test, { settings: { uploadBytesMax: 512 * 1024 } });
  const files = 6;
  let mostBytes = 0;
  const write = async (number: number): Promise<void> => {
    const { attributes, handle } = await namespace.create(ROOT, `f${number}`, 0o644, O_RDWR, root);
    const data = pattern(400_000, number);
    for (let at = 0; at < data.length; at += 7_000) {
      await namespace.write(attributes.ino, handle, at, data.subarray(at, at + 7_000), root);
      mostBytes = Math.max(mostBytes, namespace.status().dirtyBytes);
    }
    await namespace.flush(attributes.ino, handle);
    await namespace.release(attributes.ino, handle);
  };
  await Promise.all(Array.from({ length: files }, (_, number) => write(number)));
  for (let number = 0; number < files; number++) {
    const { ino } = must(await namespace.lookup(ROOT, `f${number}`, root), 'the name is there');
    test.ok((await contentOf(namespace, ino)).equals(pattern(400_000, number)), `file ${number}`);
  }
  // Small requests may overdraw it, and each writer may bring one more, which may need one window, before it waits.
  test.ok(mostBytes <= 1.25 * 512 * 1024 + files * storage.blobBytesMax, `${mostBytes} bytes`);
  test.ok(storage.inFlightMax <= 4, `${storage.inFlightMax} stores at one time`);
  test.equal(namespace.status().dirtyBytes, 0);
});

t.test('the kernel sends times between write and flush; they stay', async (test) => {
  const { namespace } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const mtime = { seconds: 1_000_000_000, nanoseconds: 5 };
  const ctime = { seconds: 4_000_000_000, nanoseconds: 6 };
  await namespace.write(ino, handle, 0, Buffer.from('x'), root);
  test.same((await namespace.setattr(ino, { mtime, ctime }, root)).mtime, mtime);
  await namespace.write(ino, handle, 1, Buffer.from('late'), root);
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  const stat = await namespace.getattr(ino);
  test.same([stat.mtime, stat.ctime], [mtime, ctime]);
});

t.test('times that the kernel flushes late do not take back those of a change made meanwhile', async (test) => {
  const { namespace } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('content'));
  const at = (ms: number): Time => ({ seconds: 1_900_000_000, nanoseconds: ms * 1_000_000 });
  const times = async (): Promise<[Time, Time]> => {
    const { mtime, ctime } = await namespace.getattr(ino);
    return [mtime, ctime];
  };
  await namespace.setattr(ino, { mtime: at(100), ctime: at(100) }, root);
  await namespace.setattr(ino, { size: 3, mtime: at(108), ctime: at(108) }, root);
  await namespace.setattr(ino, { mtime: at(104), ctime: at(104) }, root);
  test.same(await times(), [at(108), at(108)], 'read before the truncate, sent behind it');
  await namespace.setattr(ino, { mtime: at(90), ctime: at(108) }, root);
  test.same(await times(), [at(90), at(108)], 'in the same tick');
  const touched = { seconds: 5, nanoseconds: 0 };
  await namespace.setattr(ino, { atime: touched, mtime: touched, ctime: at(106) }, root);
  test.same((await times())[0], touched, 'utimensat: under the lock of the file');
  const setBack = { seconds: 1_800_000_000, nanoseconds: 0 };
  await namespace.setattr(ino, { mtime: setBack, ctime: setBack }, root);
  test.same((await times())[0], setBack, 'somebody set the clock back');
  const { ino: folder } = await namespace.mkdir(ROOT, 'd', 0o755, root);
  test.equal(await codeOf(() => namespace.setattr(folder, { size: 3, mtime: at(8), ctime: at(8) }, root)), 'EISDIR');
  await namespace.setattr(folder, { mtime: at(4), ctime: at(4) }, root);
  test.same((await namespace.getattr(folder)).mtime, at(4), 'what failed has overtaken nothing');
});

t.test('attributes that are there already are not written again', async (test) => {
  const { namespace, log } = await openPool(test);
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('content'));
  await namespace.setxattr(ino, 'user.a', Buffer.from('b'), 0);
  const later = { seconds: 1_900_000_000, nanoseconds: 4 };
  await namespace.setattr(ino, { mode: 0o4755, uid: 5, gid: 6, mtime: later, ctime: later }, root);
  const written = async (change: AttributeChange): Promise<number> => {
    const { position } = log.head;
    await namespace.setattr(ino, change, root);
    return log.head.position - position;
  };
  const { mtime, ctime, atime } = await namespace.getattr(ino);
  for (const change of [
    { mtime, ctime },
    { mtime, ctime, atime },
    { mode: 0o4755, ctime },
  ])
    test.equal(await written(change), 0, JSON.stringify(change));
  test.equal(await written({ uid: 5, ctime }), 1, 'set-id bits go with an owner that is set');
  test.match(await namespace.getattr(ino), { mode: 0o100755, uid: 5, gid: 6, ctime });
  test.equal(await written({ uid: 5, gid: 6, ctime }), 0);
  const tick = { seconds: later.seconds, nanoseconds: 5 };
  for (const change of [{ mode: 0o755 }, { uid: 5 }, { gid: 6 }, { mtime }]) {
    test.equal(await written({ ...change, ctime: { ...tick, nanoseconds: ++tick.nanoseconds } }), 1, 'its change time is another one');
    test.equal((await namespace.getattr(ino)).ctime.nanoseconds, tick.nanoseconds);
  }
  test.equal(await written({ mode: 0o700, ctime: tick }), 1);
  test.equal(await written({ gid: 7, ctime: tick }), 1);
  test.equal(await written({ atime: tick, ctime: tick }), 1);
  test.match(await namespace.getattr(ino), { mode: 0o100700, uid: 5, gid: 7, atime: tick, mtime, ctime: tick });
});

t.test('times that are told stay, whatever our own clock has dated what is being committed', async (test) => {
  const { namespace, storage } = await openPool(test);
  // The clock of the pool is later.
  const told = (ms: number): Time => ({ seconds: 5, nanoseconds: ms * 1_000_000 });
  const times = async (ino: number): Promise<[Time, Time]> => {
    const { mtime, ctime } = await namespace.getattr(ino);
    return [mtime, ctime];
  };
  for (const end of ['flush', 'release'] as const)
    for (let steps = 0; steps < 12; steps++) {
      const { attributes, handle } = await namespace.create(ROOT, `${end}${steps}`, 0o644, O_RDWR, root);
      const { ino } = attributes;
      await namespace.setattr(ino, { mtime: told(1), ctime: told(1) }, root);
      await namespace.write(ino, handle, 0, pattern(10_000, steps), root);
      const truncated = namespace.setattr(ino, { size: 9000, mtime: told(8), ctime: told(8) }, root);
      for (let step = 0; step < steps; step++) await Promise.resolve();
      await Promise.all([truncated, namespace[end](ino, handle)]);
      if (end === 'flush') await namespace.release(ino, handle);
      test.same(
        [(await namespace.getattr(ino)).size, await times(ino)],
        [9000, [told(8), told(8)]],
        `a truncate, and ${steps} steps later a ${end}`,
      );
    }
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  await namespace.setattr(ino, { mtime: told(1), ctime: told(1) }, root);
  storage.hold();
  await namespace.write(ino, handle, 0, pattern(10_000, 1), root);
  const committed = namespace.flush(ino, handle);
  await until(() => storage.heldStores > 0);
  await namespace.setattr(ino, { mtime: told(4), ctime: told(9) }, root);
  storage.letGo();
  await committed;
  test.same(await times(ino), [told(4), told(9)], 'told while a commit was under way');
  await namespace.release(ino, handle);
  test.same(await times(ino), [told(4), told(9)], 'and committed');
});

t.test('what was written before a rename is behind the new name', async (test) => {
  const { namespace, log } = await openPool(test);
  await writeFile(namespace, ROOT, 'target', Buffer.from('old'));
  const { attributes, handle } = await namespace.create(ROOT, 'tmp', 0o644, O_RDWR, root);
  await namespace.write(attributes.ino, handle, 0, Buffer.from('new'), root);
  await namespace.rename(ROOT, 'tmp', ROOT, 'target', none, root);
  const crashed = await openPool(test, { entries: log.entries, epoch: 2 });
  const { ino } = must(await crashed.namespace.lookup(ROOT, 'target', root), 'the name is there');
  test.equal((await contentOf(crashed.namespace, ino)).toString(), 'new');
  await namespace.release(attributes.ino, handle);
});

t.test('a commit with more pieces than one transaction takes', async (test) => {
  const { namespace, log } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const model = Buffer.alloc(3000 * 100);
  for (let piece = 0; piece < 3000; piece++) {
    const data = pattern(60, piece);
    data.copy(model, piece * 100);
    await namespace.write(ino, handle, piece * 100, data, root);
  }
  await namespace.flush(ino, handle);
  test.ok((await readAll(namespace, ino, handle, 0, model.length)).equals(model.subarray(0, 2999 * 100 + 60)));
  const whole = pattern(model.length, 99);
  await namespace.write(ino, handle, 0, whole, root);
  await namespace.fsync(ino, handle, false);
  await namespace.release(ino, handle);
  test.ok((await contentOf(namespace, ino)).equals(whole), 'and overwriting them all');
  await namespace.setattr(ino, { size: 1 }, root);
  test.ok((await contentOf(namespace, ino)).equals(whole.subarray(0, 1)));
  test.ok(log.entries.every(({ payload }) => payload.length < 1 << 20));
});
