/** Many at one time: replacing files while others read them, packing and collecting all the while. What is read is always one version, whole (I3, I5). */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock, seededRandom } from '../../src/base/clock.js';
import { Collector } from '../../src/durability/collector.js';
import { checkRows } from './check.js';
import { contentOf, O_RDONLY, O_RDWR, openPool, pattern, readAll, root, ROOT, writeFile } from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

const none = { noReplace: false, exchange: false };
const ROUNDS = 25;

/** A content that says what it must be. */
function version(seed: number): Buffer {
  const bytes = 8 + (((Math.imul(seed, 7919) % 50_000) + 50_000) % 50_000);
  const data = pattern(bytes, seed);
  data.writeUInt32LE(seed, 0);
  data.writeUInt32LE(bytes, 4);
  return data;
}

const isVersion = (data: Buffer): boolean => data.length >= 8 && version(data.readUInt32LE(0)).equals(data);

t.test('files are replaced while they are read, packed and collected', async (test) => {
  const { namespace, storage, index } = await openPool(test, {
    storage: new MemoryStorage(16 * 1024, 1024),
    settings: { uploadBytesMax: 96 * 1024, readCacheBytesMax: 64 * 1024, commitIntervalMs: 2 },
  });
  const collector = new Collector({ namespace, storage, clock: systemClock, log: () => undefined });
  const files = 5;
  let torn = 0;
  let readCount = 0;
  let running = true;
  for (let file = 0; file < files; file++) await writeFile(namespace, ROOT, `f${file}`, version(file));
  const write = async (file: number): Promise<void> => {
    for (let round = 1; round <= ROUNDS; round++) {
      await writeFile(namespace, ROOT, `tmp${file}`, version(file + round * 100));
      await namespace.rename(ROOT, `tmp${file}`, ROOT, `f${file}`, none, root);
    }
  };
  const read = async (seed: number): Promise<void> => {
    const random = seededRandom(seed);
    while (running) {
      const { ino } = must(await namespace.lookup(ROOT, `f${random.below(files)}`, root), 'the name is there');
      try {
        if (!isVersion(await contentOf(namespace, ino))) torn++;
        readCount++;
      } catch (error) {
        // Replaced between lookup and open.
        if ((error as { code?: string }).code !== 'ESTALE') throw error;
      }
      namespace.forget(ino, 1);
      await systemClock.yield();
    }
  };
  const tidy = async (): Promise<void> => {
    while (running) {
      await namespace.packer.packAll();
      await namespace.packer.repackAll();
      await index.durable();
      await collector.collect();
      await systemClock.yield();
    }
  };
  const others = [read(1), read(2), read(3), tidy()];
  await Promise.all(Array.from({ length: files }, (_, file) => write(file)));
  running = false;
  await Promise.all(others);
  test.equal(torn, 0, 'no reader saw a mixture');
  test.ok(readCount > 10, `${readCount} reads`);
  for (let file = 0; file < files; file++) {
    const { ino } = must(await namespace.lookup(ROOT, `f${file}`, root), 'the name is there');
    test.ok((await contentOf(namespace, ino)).equals(version(file + ROUNDS * 100)), `f${file} is the last one`);
  }
  await namespace.syncAll();
  await index.durable();
  await collector.collect();
  const { blobs } = await checkRows(index);
  test.same([...storage.blobs.keys()].sort(), [...blobs].sort(), 'only what is referred to is left');
  test.equal(namespace.status().pinnedBlobs, 0);
  test.equal(namespace.status().dirtyBytes, 0);
});

t.test('readers of a file that is rewritten in place see what was written', async (test) => {
  const storage = new MemoryStorage(16 * 1024, 1024);
  const { namespace, index } = await openPool(test, { storage, settings: { commitIntervalMs: 1, uploadBytesMax: 64 * 1024 } });
  const collector = new Collector({ namespace, storage, clock: systemClock, log: () => undefined });
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const blockBytes = 1000;
  const blocks = 120;
  const latest = new Array<number>(blocks).fill(0);
  for (let block = 0; block < blocks; block++) await namespace.write(ino, handle, block * blockBytes, Buffer.alloc(blockBytes, 0), root);
  const reader = await namespace.open(ino, O_RDONLY, root);
  let wrong = 0;
  let running = true;
  const read = async (): Promise<void> => {
    const random = seededRandom(5);
    while (running) {
      const block = random.below(blocks);
      const before = latest[block] ?? 0;
      const data = await readAll(namespace, ino, reader, block * blockBytes, blockBytes);
      const after = latest[block] ?? 0;
      // One of the values that the block had while it was read; they only grow.
      const seen = data[0] ?? 0;
      if (data.length !== blockBytes || !data.every((byte) => byte === seen) || seen < before || seen > after) wrong++;
      await index.durable();
      await collector.collect();
      // In memory, all of this may take no turn of the event loop at all.
      await systemClock.yield();
    }
  };
  const reading = [read(), read()];
  const random = seededRandom(9);
  for (let write = 0; write < 1500; write++) {
    const block = random.below(blocks);
    const value = (latest[block] ?? 0) + 1;
    if (value > 255) continue;
    latest[block] = value;
    await namespace.write(ino, handle, block * blockBytes, Buffer.alloc(blockBytes, value), root);
    if (write % 100 === 0) await namespace.fsync(ino, handle, false);
    if (write % 20 === 0) await systemClock.yield();
  }
  running = false;
  await Promise.all(reading);
  test.equal(wrong, 0);
  await namespace.release(ino, reader);
  await namespace.flush(ino, handle);
  await namespace.release(ino, handle);
  const content = await contentOf(namespace, ino);
  test.ok(latest.every((value, block) => content[block * blockBytes + 500] === value));
  await checkRows(index);
});

t.test('the pool fails now and then: everything is whole or told', async (test) => {
  const storage = new MemoryStorage(16 * 1024, 1024);
  const { namespace, index } = await openPool(test, { storage, settings: { commitIntervalMs: 2, uploadBytesMax: 96 * 1024 } });
  const random = seededRandom(77);
  const expected = new Map<string, Buffer>();
  let told = 0;
  const write = async (file: number): Promise<void> => {
    for (let round = 0; round < 20; round++) {
      if (random.below(3) === 0) storage.failStores = { count: 1 + random.below(2), code: random.below(2) === 0 ? 'EIO' : 'ENOSPC' };
      const name = `f${file}-${round}`;
      const data = version(file * 1000 + round);
      try {
        await writeFile(namespace, ROOT, name, data);
        expected.set(name, data);
      } catch (error) {
        if (!['EIO', 'ENOSPC'].includes((error as { code?: string }).code ?? '')) throw error;
        told++;
      }
    }
  };
  await Promise.all([0, 1, 2, 3].map(write));
  test.ok(told > 0, `${told} were told`);
  for (const [name, data] of expected) {
    const { ino } = must(await namespace.lookup(ROOT, name, root), 'the name is there');
    if (!(await contentOf(namespace, ino)).equals(data)) test.fail(`${name} is not what close accepted`);
  }
  await namespace.syncAll();
  await checkRows(index);
});
