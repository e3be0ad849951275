/** What a reader asks of the index: a file of many extents is read right wherever it is read, and by few rows. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom } from '../../src/base/clock.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { over } from '../simulation/over.js';
import { openPool, O_RDWR, pattern, readAll, root, ROOT, type Pool, type Test } from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

const BLOCK = 4096;
/** Many times what is fetched at once. */
const BLOCKS = 2000;

interface Scans {
  count: number;
  rows: number;
}

/** The index, and what is asked of it outside of transactions. */
function counting(index: IndexStore, scans: Scans): IndexStore {
  return over(index, {
    scan: async (range) => {
      const rows = await index.scan(range);
      scans.count++;
      scans.rows += rows.length;
      return rows;
    },
  });
}

/** A file whose blocks each are an extent, but for every third, which is a hole. */
async function fragmented(test: Test): Promise<{ pool: Pool; scans: Scans; ino: number; handle: number; shadow: Buffer }> {
  const scans = { count: 0, rows: 0 };
  const pool = await openPool(test, { wrap: (index) => counting(index, scans) });
  const { namespace } = pool;
  const shadow = Buffer.alloc(BLOCKS * BLOCK);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  for (const turn of [0, 1])
    for (let block = turn; block < BLOCKS; block += 3) {
      pattern(BLOCK, block).copy(shadow, block * BLOCK);
      await namespace.write(attributes.ino, handle, block * BLOCK, shadow.subarray(block * BLOCK, (block + 1) * BLOCK), root);
      if (block % 300 === turn) await namespace.fsync(attributes.ino, handle, false);
    }
  await namespace.setattr(attributes.ino, { size: shadow.length }, root, handle);
  await namespace.fsync(attributes.ino, handle, false);
  return { pool, scans, ino: attributes.ino, handle, shadow };
}

t.test('one that jumps about asks for what it reads', async (test) => {
  const { pool, scans, ino, handle, shadow } = await fragmented(test);
  const random = seededRandom(3);
  await readAll(pool.namespace, ino, handle, BLOCK * 1000, BLOCK);
  Object.assign(scans, { count: 0, rows: 0 });
  const reads = 200;
  for (let n = 0; n < reads; n++) {
    const at = random.below(BLOCKS) * BLOCK;
    test.ok((await readAll(pool.namespace, ino, handle, at, BLOCK)).equals(shadow.subarray(at, at + BLOCK)), `block at ${at}`);
  }
  // In so small a file some are near each other by chance, as of one who reads on.
  test.ok(scans.rows <= reads * 10, `${scans.rows} rows for ${reads} reads`);
  test.ok(scans.count <= reads * 2, `${scans.count} scans`);
});

t.test('one that reads on asks once in many reads', async (test) => {
  const { pool, scans, ino, handle, shadow } = await fragmented(test);
  Object.assign(scans, { count: 0, rows: 0 });
  for (let at = 0; at < shadow.length; at += BLOCK)
    if (!(await readAll(pool.namespace, ino, handle, at, BLOCK)).equals(shadow.subarray(at, at + BLOCK))) test.fail(`block at ${at}`);
  test.ok(scans.count <= BLOCKS / 20, `${scans.count} scans for ${BLOCKS} reads`);
});

t.test('one that goes on from somewhere asks once in many reads, too', async (test) => {
  const { pool, scans, ino, handle, shadow } = await fragmented(test);
  await readAll(pool.namespace, ino, handle, BLOCK * 100, BLOCK);
  for (const from of [1500, 700]) {
    Object.assign(scans, { count: 0, rows: 0 });
    for (let block = from; block < from + 300; block++) {
      const got = await readAll(pool.namespace, ino, handle, block * BLOCK, BLOCK);
      if (!got.equals(shadow.subarray(block * BLOCK, (block + 1) * BLOCK))) test.fail(`block ${block}`);
    }
    test.ok(scans.count <= 30, `${scans.count} scans from ${from} on`);
  }
});

t.test('reads of any length anywhere, while the file changes', async (test) => {
  const { pool, ino, handle, shadow } = await fragmented(test);
  const { namespace } = pool;
  const random = seededRandom(4);
  for (let n = 0; n < 600; n++) {
    const at = random.below(shadow.length);
    const bytes = Math.min(shadow.length - at, 1 + random.below(random.below(2) === 0 ? 3 * BLOCK : 100 * BLOCK));
    if (random.below(4) > 0) {
      const got = await readAll(namespace, ino, handle, at, bytes);
      if (!got.equals(shadow.subarray(at, at + bytes))) test.fail(`${bytes} bytes at ${at}, step ${n}`);
      continue;
    }
    pattern(Math.min(bytes, 5 * BLOCK), n).copy(shadow, at);
    await namespace.write(ino, handle, at, shadow.subarray(at, at + Math.min(bytes, 5 * BLOCK)), root);
    if (random.below(2) === 0) await namespace.fsync(ino, handle, false);
  }
  test.ok((await readAll(namespace, ino, handle, 0, shadow.length)).equals(shadow), 'the whole of it');
});

t.test('one that jumps about in a file of large extents soon asks no more', async (test) => {
  const scans = { count: 0, rows: 0 };
  const storage = new MemoryStorage(4 * 1024 * 1024);
  const { namespace } = await openPool(test, { storage, wrap: (index) => counting(index, scans) });
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const large = pattern(2 * 1024 * 1024, 7);
  await namespace.write(ino, handle, 0, large, root);
  await namespace.fsync(ino, handle, false);
  // The same blob again and again, and a hole as long before each.
  const extents = 300;
  for (let n = 1; n < extents; n++)
    await namespace.copyRange({ ino, handle, offset: 0 }, { ino, handle, offset: 2 * n * large.length }, large.length, root);
  await namespace.fsync(ino, handle, false);
  const random = seededRandom(5);
  const jump = async (reads: number): Promise<void> => {
    for (let n = 0; n < reads; n++) {
      const at = random.below(2 * extents * large.length - BLOCK);
      const got = await readAll(namespace, ino, handle, at, BLOCK);
      const expected = Buffer.alloc(BLOCK, 0);
      for (let i = 0; i < BLOCK; i++) if (Math.floor((at + i) / large.length) % 2 === 0) expected[i] = large[(at + i) % large.length] ?? 0;
      if (!got.equals(expected)) test.fail(`at ${at}`);
    }
  };
  await jump(200);
  Object.assign(scans, { count: 0, rows: 0 });
  await jump(300);
  test.equal(scans.count, 0, 'all of it is known');
  // A write changes the file: of the few reads before the next one none asks for many extents.
  for (let n = 0; n < 20; n++) {
    await namespace.write(ino, handle, 3 * large.length + n * BLOCK, Buffer.alloc(BLOCK), root);
    await namespace.fsync(ino, handle, false);
    Object.assign(scans, { count: 0, rows: 0 });
    await jump(3);
    test.ok(scans.rows <= 3 * 8, `${scans.rows} rows for 3 reads`);
  }
});

t.test('the hole in front of many extents is asked for once', async (test) => {
  const scans = { count: 0, rows: 0 };
  const { namespace } = await openPool(test, { wrap: (index) => counting(index, scans) });
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  for (let block = 1000; block < 1400; block += 2) await namespace.write(ino, handle, block * BLOCK, pattern(BLOCK, block), root);
  await namespace.fsync(ino, handle, false);
  // It jumps about, so that it is not taken to want what follows.
  for (const block of [1200, 500]) await readAll(namespace, ino, handle, block * BLOCK, BLOCK);
  Object.assign(scans, { count: 0, rows: 0 });
  const random = seededRandom(6);
  for (let n = 0; n < 50; n++)
    if (!(await readAll(namespace, ino, handle, random.below(500) * BLOCK, BLOCK)).equals(Buffer.alloc(BLOCK))) test.fail('not a hole');
  test.equal(scans.count, 0);
  test.ok((await readAll(namespace, ino, handle, 1200 * BLOCK, BLOCK)).equals(pattern(BLOCK, 1200)));
});

t.test('what is known of files is bounded, however it grew', async (test) => {
  const scans = { count: 0, rows: 0 };
  const { namespace } = await openPool(test, { wrap: (index) => counting(index, scans) });
  const blocks = 256;
  // Small enough to lie in the index, with its bytes.
  const small = BLOCK - 96;
  const files: { ino: number; handle: number }[] = [];
  for (let n = 0; n < 8; n++) {
    const { attributes, handle } = await namespace.create(ROOT, `f${n}`, 0o644, O_RDWR, root);
    files.push({ ino: attributes.ino, handle });
    for (let block = 0; block < blocks; block++) {
      await namespace.write(attributes.ino, handle, 2 * block * BLOCK, pattern(small, n * blocks + block), root);
      if (block % 4 === 3) await namespace.fsync(attributes.ino, handle, false);
    }
  }
  // More than a MiB of each is in memory then, a stretch at a time.
  const read = async (n: number): Promise<number> => {
    const { ino, handle } = must(files[n], 'made');
    scans.count = 0;
    for (let block = 0; block < blocks; block++)
      if (!(await readAll(namespace, ino, handle, 2 * block * BLOCK, small)).equals(pattern(small, n * blocks + block)))
        test.fail(`block ${block} of file ${n}`);
    return scans.count;
  };
  for (let n = 0; n < 8; n++) test.not(await read(n), 0);
  test.equal(await read(7), 0, 'the last one is known');
  test.not(await read(0), 0, 'the first one is not any more');
});
