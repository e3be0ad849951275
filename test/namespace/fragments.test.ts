/** Files in many small pieces become whole again in the background: nothing of them changes, whatever happens meanwhile (I3, I5), and their space comes back. */
import t from 'tap';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import { FRAGMENTS_MIN, PACK_EXTENTS_MAX } from '../../src/base/limits.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { extentRange } from '../../src/index/schema/tables.js';
import { extentOfRow } from '../../src/namespace/content.js';
import { over } from '../simulation/over.js';
import { checkRows } from './check.js';
import { collect, contentOf, O_RDWR, openPool, pattern, root, ROOT, rowsByTable, writeFile, type Pool, type Test } from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

const WINDOW = 64 * 1024;
const WINDOWS = 4;
/** So small that it stays a row for good when it comes alone, and two steps of a transaction see only a part of a window. */
const PAGE = 128;
const NOTHING = { sparsePacks: 0, windows: 0, windowBytes: 0 };

interface File {
  readonly ino: number;
  readonly shadow: Buffer;
}

/** Writes a part of a file and commits it. */
async function overwrite({ namespace }: Pool, { ino, shadow }: File, parts: readonly { at: number; data: Buffer }[]): Promise<void> {
  const handle = await namespace.open(ino, O_RDWR, root);
  for (const { at, data } of parts) {
    data.copy(shadow, at);
    await namespace.write(ino, handle, at, data, root);
  }
  await namespace.fsync(ino, handle, false);
  await namespace.release(ino, handle);
}

/** A file of some windows, of which many pages were written anew in no order. */
async function fragmented(test: Test, settings: Parameters<typeof openPool>[1] = {}, rounds = 30): Promise<{ pool: Pool; file: File }> {
  const pool = await openPool(test, settings);
  const shadow = pattern(WINDOWS * WINDOW, 1);
  const file = { ino: await writeFile(pool.namespace, ROOT, 'f', shadow), shadow };
  const random = seededRandom(5);
  for (let round = 0; round < rounds; round++) {
    const parts = Array.from({ length: 60 }, (_, n) => ({
      at: random.below((WINDOWS * WINDOW) / PAGE) * PAGE,
      data: pattern(PAGE, 1000 * round + n),
    }));
    await overwrite(pool, file, parts);
  }
  await collect(pool);
  return { pool, file };
}

/** Lengths of a file's extents, in order. */
async function extentsOf({ index, namespace }: Pool, ino: number): Promise<number[]> {
  const { generation } = (await namespace.ledger.inode(ino)) ?? { generation: 0 };
  return (await index.scan(extentRange(ino, generation, 0, undefined, 10_000))).map((row) => extentOfRow(row).bytes);
}

t.test('a file whose pages were written anew is whole again, and takes only its own space', async (test) => {
  const { pool, file } = await fragmented(test);
  test.ok((await extentsOf(pool, file.ino)).length > 1000);
  const repacked = await pool.namespace.packer.repackAll();
  test.same({ windows: repacked.windows, windowBytes: repacked.windowBytes }, { windows: WINDOWS, windowBytes: WINDOWS * WINDOW });
  test.same(await extentsOf(pool, file.ino), new Array<number>(WINDOWS).fill(WINDOW), 'one extent for each window');
  await collect(pool);
  test.equal(pool.storage.usedBytes, WINDOWS * WINDOW);
  test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
  const { stores } = pool.storage;
  test.same(await pool.namespace.packer.repackAll(), NOTHING, 'nothing is left to do');
  test.equal(pool.storage.stores, stores);
});

t.test('what is appended in small pieces is one piece in each pack', async (test) => {
  const pool = await openPool(test);
  const file = { ino: await writeFile(pool.namespace, ROOT, 'log', Buffer.alloc(0)), shadow: Buffer.alloc(200 * 1024) };
  for (let n = 0; n < 200; n++) await overwrite(pool, file, [{ at: n * 1024, data: pattern(1024, n) }]);
  test.equal((await extentsOf(pool, file.ino)).length, 200);
  await pool.namespace.packer.packAll();
  test.same(await extentsOf(pool, file.ino), [WINDOW, WINDOW, WINDOW, 200 * 1024 - 3 * WINDOW], 'as many as fit into a blob, and the rest');
  test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
  await collect(pool);
  test.equal(pool.storage.usedBytes, 200 * 1024);
});

t.test('lines that are too small for packs, very many of them', async (test) => {
  const pool = await openPool(test);
  const file = { ino: await writeFile(pool.namespace, ROOT, 'log', Buffer.alloc(0)), shadow: Buffer.alloc(3000 * 20) };
  for (let n = 0; n < 3000; n++) await overwrite(pool, file, [{ at: n * 20, data: pattern(20, n) }]);
  test.equal((await extentsOf(pool, file.ino)).length, 3000);
  test.equal((await pool.namespace.packer.repackAll()).windows, 2);
  test.same(await extentsOf(pool, file.ino), [PACK_EXTENTS_MAX * 20, (3000 - PACK_EXTENTS_MAX) * 20]);
  test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
});

t.test('small pieces of a large file are packed, however many, and those that come later, too', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const shadow = pattern(3000 * 2048, 1);
  const file = { ino: await writeFile(namespace, ROOT, 'f', shadow), shadow };
  const inline = async (): Promise<number> => {
    const { generation } = (await namespace.ledger.inode(file.ino)) ?? { generation: 0 };
    const rows = await pool.index.scan(extentRange(file.ino, generation, 0, undefined, 10_000));
    return rows.filter((row) => extentOfRow(row).kind === 'inline').length;
  };
  const write = async (from: number, count: number): Promise<void> => {
    for (let n = from; n < from + count; n += 5)
      await overwrite(
        pool,
        file,
        [0, 1, 2, 3, 4].map((m) => ({ at: (((n + m) * 7) % 3000) * 2048 + 512, data: pattern(700, n + m) })),
      );
  };
  await write(0, 1000);
  test.equal(await inline(), 1000);
  await namespace.packer.packAll();
  test.equal(await inline(), 0);
  // Now the packer knows the file, and is told.
  await write(1000, 1200);
  const handle = await namespace.open(file.ino, O_RDWR, root);
  await namespace.write(file.ino, handle, 1_000_000, pattern(10, 1), root);
  pattern(10, 1).copy(shadow, 1_000_000);
  await namespace.packer.packAll();
  test.equal(await inline(), 0, 'although something else is on the way');
  await namespace.flush(file.ino, handle);
  await namespace.release(file.ino, handle);
  test.ok((await contentOf(namespace, file.ino)).equals(shadow));
  await checkRows(pool.index);
});

t.test('pieces in a part of many packs, and holes between them', async (test) => {
  const pool = await openPool(test);
  const shadow = Buffer.alloc(WINDOW);
  const file = { ino: await writeFile(pool.namespace, ROOT, 'f', Buffer.alloc(0)), shadow };
  // Two stretches with a hole before, between and behind them, in pieces that the packer puts beside those of other files.
  const places = [...Array(30).keys()].flatMap((n) => [4096 + n * 600, 40_000 + n * 600]);
  for (const [n, at] of places.entries()) {
    await overwrite(pool, file, [{ at, data: pattern(600, n) }]);
    await writeFile(pool.namespace, ROOT, `other${n}`, pattern(900, n));
    if (n % 4 === 0) await pool.namespace.packer.packAll();
  }
  await pool.namespace.setattr(file.ino, { size: WINDOW }, root);
  const repacked = await pool.namespace.packer.repackAll();
  test.equal(repacked.windows, 1);
  test.same(await extentsOf(pool, file.ino), [18_000, 18_000], 'holes are holes');
  test.ok((await contentOf(pool.namespace, file.ino)).equals(shadow));
  await checkRows(pool.index);
});

t.test('what is shared with a copy, what is in few pieces and what is spread thinly are left alone', async (test) => {
  const { pool, file } = await fragmented(test, {}, 10);
  const { namespace, storage } = pool;
  const source = await namespace.open(file.ino, O_RDWR, root);
  const copy = await namespace.create(ROOT, 'copy', 0o644, O_RDWR, root);
  for (let offset = 0; offset < WINDOWS * WINDOW;)
    offset += await namespace.copyRange(
      { ino: file.ino, handle: source, offset },
      { ino: copy.attributes.ino, handle: copy.handle, offset },
      WINDOWS * WINDOW - offset,
      root,
    );
  await namespace.fsync(copy.attributes.ino, copy.handle, false);
  const few = { ino: await writeFile(namespace, ROOT, 'few', pattern(WINDOW, 7)), shadow: pattern(WINDOW, 7) };
  for (let n = 0; n < FRAGMENTS_MIN / 2 - 1; n++) await overwrite(pool, few, [{ at: 8192 * n + 4096, data: pattern(PAGE, n) }]);
  const thin = { ino: await writeFile(namespace, ROOT, 'thin', Buffer.alloc(0)), shadow: Buffer.alloc(WINDOW) };
  await overwrite(
    pool,
    thin,
    [...Array(30).keys()].map((n) => ({ at: n * 2048, data: pattern(600, n) })),
  );
  const { stores } = storage;
  test.same(await namespace.packer.repackAll(), NOTHING);
  test.equal(storage.stores, stores);
  for (const { ino, shadow } of [file, few]) test.ok((await contentOf(namespace, ino)).equals(shadow));
});

t.test('nothing is left of a window when its turn comes', async (test) => {
  let scans = 0;
  let act = (): Promise<void> => Promise.resolve();
  const wrap = (index: IndexStore): IndexStore =>
    over(index, {
      scan: async (range) => {
        // The first ones count what there is.
        const rows = await index.scan(range);
        if (++scans === 1) await act();
        // One that looks for ever would let nobody else have a turn.
        if (scans > 1000) throw new Error('it looks for ever');
        return rows;
      },
    });
  const { pool, file } = await fragmented(test, { wrap }, 10);
  const { namespace } = pool;
  scans = 0;
  act = async () => {
    const handle = await namespace.open(file.ino, O_RDWR, root);
    await namespace.allocate(file.ino, handle, 0, WINDOW, { keepSize: true, punch: true, zero: false }, root);
    await namespace.release(file.ino, handle);
    file.shadow.fill(0, 0, WINDOW);
  };
  const { windows } = await namespace.packer.repackAll();
  test.equal(windows, WINDOWS - 1);
  test.ok((await contentOf(namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
});

t.test('a file that is deleted in steps is not put together meanwhile', async (test) => {
  const { pool } = await fragmented(test, {}, 10);
  await pool.namespace.unlink(ROOT, 'f', root);
  test.ok(((await rowsByTable(pool.index)).get('e') ?? []).length > 500, 'it is still there');
  const { stores } = pool.storage;
  test.equal((await pool.namespace.packer.repackAll()).windows, 0);
  test.equal(pool.storage.stores, stores);
  await collect(pool);
  test.equal(pool.storage.usedBytes, 0);
});

t.test('a pool without room for both is left as it is, and a pass goes on where the one before had done enough', async (test) => {
  const storage = new MemoryStorage();
  const { pool, file } = await fragmented(test, { storage }, 10);
  const { namespace } = pool;
  const windowsWithRoom = async (windows: number): Promise<number> => {
    storage.capacityBytes = storage.usedBytes + windows * WINDOW;
    await namespace.space.refresh(true);
    return (await namespace.packer.repackAll()).windows;
  };
  const { stores } = storage;
  test.equal(await windowsWithRoom(3), 0, 'a quarter of it is not one');
  test.equal(storage.stores, stores);
  test.equal(await windowsWithRoom(6), 1);
  test.equal((await extentsOf(pool, file.ino))[0], WINDOW);
  // It is written to all the time.
  await overwrite(
    pool,
    file,
    [...Array(30).keys()].map((n) => ({ at: n * 1024, data: pattern(PAGE, n) })),
  );
  for (let n = 1; n < WINDOWS; n++) test.equal(await windowsWithRoom(6), 1);
  const extents = await extentsOf(pool, file.ino);
  test.same(
    extents.slice(-WINDOWS),
    [WINDOW - 29 * 1024 - PAGE, ...new Array<number>(WINDOWS - 1).fill(WINDOW)],
    'the others had their turn',
  );
  test.equal(await windowsWithRoom(6), 1);
  test.same(await extentsOf(pool, file.ino), new Array<number>(WINDOWS).fill(WINDOW));
  test.equal(await windowsWithRoom(6), 0);
  test.ok((await contentOf(namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
});

t.test('writes between any two steps stay', async (test) => {
  let fired = 0;
  // So many pauses lie between the beginning and the end of one window.
  for (let after = 1; after <= 12; after++) {
    let left = Infinity;
    let act = (): Promise<void> => Promise.resolve();
    const clock = over(systemClock, {
      yield: async () => {
        if (--left === 0) await act();
        await systemClock.yield();
      },
    });
    const { pool, file } = await fragmented(test, { clock });
    act = async () => {
      fired++;
      const data = pattern(300, after);
      // Over the beginning, where pieces are one already or not yet, and over places further on.
      const places = [64, WINDOW / 4 + 100, WINDOW / 2 + 100, WINDOW - 500, WINDOW + 10];
      await overwrite(
        pool,
        file,
        places.map((at) => ({ at, data })),
      );
    };
    left = after;
    await pool.namespace.packer.repackAll();
    test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow), `at pause ${after}`);
    await checkRows(pool.index);
    await pool.namespace.packer.repackAll();
    await collect(pool);
    test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
    await checkRows(pool.index);
  }
  test.equal(fired, 12);
});

t.test('a blob that cannot be read stays what it is', async (test) => {
  const { pool, file } = await fragmented(test);
  pool.storage.failReads = 3;
  await pool.namespace.packer.repackAll();
  test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
  await checkRows(pool.index);
  await pool.namespace.packer.repackAll();
  await collect(pool);
  test.ok((await contentOf(pool.namespace, file.ino)).equals(file.shadow));
});
