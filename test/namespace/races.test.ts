/** Orders of events that random tests hit too rarely, each forced by holding a store, a read or the index back. */
import t from 'tap';
import { systemClock } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { Collector } from '../../src/durability/collector.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { TABLES } from '../../src/index/schema/tables.js';
import { lateIndex } from '../index/late-index.js';
import { checkRows } from './check.js';
import { codeOf, contentOf, O_RDONLY, O_RDWR, openPool, pattern, readAll, root, ROOT, rowsByTable, until, writeFile } from './fixture.js';

const quiet = { clock: systemClock, log: () => undefined };

t.test('I5: a blob that a read in flight wants is not freed', async (test) => {
  const { namespace, storage, index } = await openPool(test);
  const collector = new Collector({ namespace, storage, ...quiet });
  const old = pattern(50_000, 1);
  const ino = await writeFile(namespace, ROOT, 'f', old);
  const [blob] = [...storage.blobs.keys()];
  const handle = await namespace.open(ino, O_RDONLY, root);
  storage.holdReads();
  const reading = readAll(namespace, ino, handle, 0, 50_000);
  await until(() => storage.heldReadCount === 1);
  await namespace.setattr(ino, { size: 0 }, root);
  await namespace.release(ino, handle);
  await index.durable();
  await collector.collect();
  test.same([...storage.blobs.keys()], [blob], 'still there');
  storage.letReadsGo();
  test.ok((await reading).equals(old));
  await collector.collect();
  test.equal(storage.blobs.size, 0, 'gone when the read is over');
});

t.test('I5: space is given back only when the drop is durable', async (test) => {
  const { namespace, storage, index, log } = await openPool(test);
  const collector = new Collector({ namespace, storage, ...quiet });
  await writeFile(namespace, ROOT, 'f', pattern(50_000, 1));
  await index.durable();
  log.flushAtOnce = false;
  await namespace.unlink(ROOT, 'f', root);
  await collector.collect();
  test.equal(storage.blobs.size, 1);
  log.flush();
  await collector.collect();
  test.equal(storage.blobs.size, 0);
  test.equal((await rowsByTable(index)).get('f'), undefined);
  log.flushAtOnce = true;
});

t.test('I10: a blob that no transaction would take is left to the next start', async (test) => {
  let refusing = false;
  const wrap = (index: IndexStore): IndexStore =>
    new Proxy(index, {
      get: (target, name) => {
        if (name === 'transact' && refusing) return () => Promise.reject(new OperatingError('EROFS', 'no majority'));
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  const { namespace, storage } = await openPool(test, { wrap });
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  await namespace.write(ino, handle, 0, pattern(200_000, 1), root);
  test.equal(storage.leavesRecords, false);
  refusing = true;
  test.equal(await codeOf(() => namespace.flush(ino, handle)), 'EROFS');
  test.ok(storage.blobs.size > 0, 'it was stored');
  test.equal(storage.leavesRecords, true);
  refusing = false;
  await namespace.release(ino, handle);
});

t.test('a commit between two looks at the manifest', async (test) => {
  let hold: { reached: () => void; go: Promise<void> } | undefined;
  const wrap = (index: IndexStore): IndexStore => ({
    get writable() {
      return index.writable;
    },
    get refusalCode() {
      return index.refusalCode;
    },
    get durablePosition() {
      return index.durablePosition;
    },
    get headPosition() {
      return index.headPosition;
    },
    transact: (body) => index.transact(body),
    get: (key) => index.get(key),
    durable: (position) => index.durable(position),
    view: () => index.view(),
    async scan(range) {
      const rows = await index.scan(range);
      if (hold !== undefined && range.start[0] === TABLES.extent && range.reverse === true) {
        const { reached, go } = hold;
        hold = undefined;
        reached();
        await go;
      }
      return rows;
    },
  });
  const { namespace } = await openPool(test, { wrap });
  // Two small pieces with a hole between them: two rows with their bytes in them.
  const write = async (value: number): Promise<void> => {
    for (const at of [0, 600]) await namespace.write(ino, writer, at, Buffer.alloc(500, value), root);
    await namespace.flush(ino, writer);
  };
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.alloc(0));
  const reader = await namespace.open(ino, O_RDONLY, root);
  const writer = await namespace.open(ino, O_RDWR, root);
  await write(1);
  let letGo = (): void => undefined;
  const go = new Promise<void>((resolve) => (letGo = resolve));
  const reached = new Promise<void>((resolve) => (hold = { reached: resolve, go }));
  const reading = readAll(namespace, ino, reader, 1, 40_000);
  await reached;
  await write(2);
  letGo();
  const seen = await reading;
  test.equal(seen[0], seen[599], 'one version');
  await namespace.release(ino, reader);
  await namespace.release(ino, writer);
});

t.test('a file that changes while it is being packed keeps the change', async (test) => {
  const { namespace, storage, index } = await openPool(test);
  const inos: number[] = [];
  for (let file = 0; file < 10; file++) inos.push(await writeFile(namespace, ROOT, `f${file}`, pattern(2000, file)));
  storage.hold();
  const packing = namespace.packer.packAll();
  await until(() => storage.heldStores === 1);
  await writeFile(namespace, ROOT, 'new', Buffer.from('x'));
  const handle = await namespace.open(inos[3] ?? 0, O_RDWR, root);
  await namespace.write(inos[3] ?? 0, handle, 0, pattern(2000, 99), root);
  const flushed = namespace.flush(inos[3] ?? 0, handle);
  await flushed;
  await namespace.unlink(ROOT, 'f5', root);
  storage.letGo();
  await packing;
  test.equal(storage.blobs.size, 1);
  for (const [file, ino] of inos.entries()) {
    if (file === 5) continue;
    test.ok((await contentOf(namespace, ino)).equals(pattern(2000, file === 3 ? 99 : file)), `file ${file}`);
  }
  await namespace.release(inos[3] ?? 0, handle);
  const { blobs } = await checkRows(index);
  test.equal(blobs.size, 1);
  const tables = await rowsByTable(index);
  test.equal(tables.get('r')?.length, 1, 'one blob with several references');
  test.equal(tables.get('k')?.length, 1, 'the changed file waits for the next pack');
});

for (const moment of ['while it is stored', 'while its row waits']) {
  t.test(`an upload is poisoned ${moment}: the part is nobody’s`, async (test) => {
    let laterMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + laterMs };
    const { namespace, storage, index } = await openPool(test, { clock });
    const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
    const { ino } = attributes;
    storage.hold();
    await namespace.write(ino, handle, 0, pattern(65_536, 1), root);
    await until(() => storage.heldStores === 1);
    let letGo = (): void => undefined;
    if (moment === 'while its row waits') {
      void namespace.ledger.exclusively(() => new Promise<void>((resolve) => (letGo = resolve)));
      storage.letGo();
      await until(() => storage.blobs.size === 1);
      await systemClock.yield();
    }
    storage.capacityBytes = 0;
    laterMs = 2000;
    await namespace.statfs();
    test.equal(await codeOf(() => namespace.write(ino, handle, 70_000, Buffer.from('x'), root)), 'ENOSPC');
    storage.capacityBytes = 2 ** 40;
    storage.letGo();
    letGo();
    test.equal(await codeOf(() => namespace.flush(ino, handle)), 'ENOSPC');
    await namespace.release(ino, handle);
    await namespace.close();
    const tables = await rowsByTable(index);
    for (const letter of ['u', 'p', 'b', 'e']) test.equal(tables.get(letter), undefined, `table ${letter} is empty`);
    test.equal(tables.get('f')?.length, 1, 'it waits to be freed');
    test.equal((await namespace.getattr(ino)).size, 0);
  });
}

t.test('an unlinked open file lives until its last close, and not over a crash', async (test) => {
  const { namespace, index, log } = await openPool(test);
  const data = pattern(100_000, 1);
  const ino = await writeFile(namespace, ROOT, 'f', data);
  const handle = await namespace.open(ino, O_RDWR, root);
  await namespace.unlink(ROOT, 'f', root);
  test.equal((await namespace.getattr(ino)).links, 0);
  test.ok((await readAll(namespace, ino, handle, 0, 200_000)).equals(data));
  await namespace.write(ino, handle, 5, Buffer.from('more'), root);
  await namespace.flush(ino, handle);
  await checkRows(index);
  const crashed = await openPool(test, { entries: log.entries, epoch: 2 });
  await crashed.namespace.idle();
  test.equal((await checkRows(crashed.index)).inodes.size, 1, 'only the root after a crash');
  test.equal((await readAll(namespace, ino, handle, 5, 4)).toString(), 'more');
  await namespace.release(ino, handle);
  test.equal((await checkRows(index)).inodes.size, 1);
  test.equal((await namespace.getattr(ino)).links, 0, 'the kernel still knows it');
  namespace.forget(ino, 1);
  test.equal(await codeOf(() => namespace.getattr(ino)), 'ESTALE');
});

t.test('removal and opening at one time', async (test) => {
  const { namespace, index } = await openPool(test, { wrap: lateIndex });
  for (let round = 0; round < 50; round++) {
    const data = pattern(3000, round);
    const ino = await writeFile(namespace, ROOT, 'f', data);
    const unlinking = namespace.unlink(ROOT, 'f', root);
    for (let turn = 0; turn < round % 13; turn++) await Promise.resolve();
    const opening = (async (): Promise<number> => namespace.open(ino, O_RDONLY, root))().then(
      async (handle) => {
        const read = await readAll(namespace, ino, handle, 0, 5000);
        await namespace.release(ino, handle);
        return read.equals(data);
      },
      (error: unknown) => (error as { code?: string }).code === 'ESTALE',
    );
    await unlinking;
    test.ok(await opening, 'whole, or not at all');
  }
  test.equal((await checkRows(index)).inodes.size, 1);
});
