/** What sequential readers have fetched ahead: what of it stays, and that the disks read everything once. */
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { MiB, READ_CACHE_BYTES_MAX, READ_CACHE_REST_MS, UPLOAD_BYTES_MAX } from '../../src/base/limits.js';
import { BufferPool } from '../../src/base/buffers.js';
import { ReadCache, type CachedRange } from '../../src/namespace/read-cache.js';
import { ManualClock } from '../disk/manual-clock.js';
import { over } from '../simulation/over.js';
import { openPool, O_RDONLY, pattern, readAll, root, ROOT, writeFile, type Pool, type Test } from './fixture.js';
import { MemoryStorage } from './memory-storage.js';

const FILE_BYTES = 40 * MiB;

/** What the storage was asked for. */
interface Read {
  readonly offset: number;
  readonly bytes: number;
}

interface Reader {
  readonly ino: number;
  readonly handle: number;
  readonly content: Buffer;
  at: number;
}

/** A pool with blobs of the usual size, whose storage notes what is read of it, and so many files. */
async function open(test: Test, files: number): Promise<{ pool: Pool; readers: Reader[]; reads: Read[] }> {
  const reads: Read[] = [];
  const inner = new MemoryStorage(8 * MiB, 128 * 1024);
  const storage = over<MemoryStorage>(inner, {
    read: (location, offset, out) => {
      reads.push({ offset, bytes: out.length });
      return inner.read(location, offset, out);
    },
  });
  const pool = await openPool(test, { storage, settings: { uploadBytesMax: UPLOAD_BYTES_MAX, readCacheBytesMax: READ_CACHE_BYTES_MAX } });
  const readers: Reader[] = [];
  for (let n = 0; n < files; n++) {
    const content = pattern(FILE_BYTES, n + 1);
    const ino = await writeFile(pool.namespace, ROOT, `file ${n}`, content);
    readers.push({ ino, handle: await pool.namespace.open(ino, O_RDONLY, root), content, at: 0 });
  }
  return { pool, readers, reads };
}

async function step({ namespace }: Pool, reader: Reader, bytes = MiB): Promise<boolean> {
  const part = await readAll(namespace, reader.ino, reader.handle, reader.at, bytes);
  const right = part.equals(reader.content.subarray(reader.at, reader.at + bytes));
  reader.at += part.length;
  await setImmediate();
  return right;
}

function bytesOf(reads: readonly Read[]): number {
  return reads.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function close({ namespace }: Pool, readers: readonly Reader[]): Promise<void> {
  for (const { ino, handle } of readers) await namespace.release(ino, handle);
}

t.test('one reader: everything is read once, in halves of blobs, before it is asked for', async (t) => {
  const { pool, readers, reads } = await open(t, 1);
  const [reader] = readers;
  if (reader === undefined) throw new Error('there is one');
  t.ok(await step(pool, reader));
  t.same(
    reads,
    [0, 4, 0, 4].map((offset) => ({ offset: offset * MiB, bytes: 4 * MiB })),
    'the unit that it is in and three behind it',
  );
  let right = true;
  // Reads of an odd length lie across the units' borders.
  while (reader.at < FILE_BYTES) right = (await step(pool, reader, 700_000)) && right;
  t.ok(right, 'every byte');
  t.equal(bytesOf(reads), FILE_BYTES, 'no byte twice');
  await close(pool, readers);
});

t.test('two readers in turn do not make the disks read more', async (t) => {
  const { pool, readers, reads } = await open(t, 2);
  let right = true;
  while (readers.some(({ at }) => at < FILE_BYTES)) for (const reader of readers) right = (await step(pool, reader)) && right;
  t.ok(right, 'every byte');
  t.equal(bytesOf(reads), 2 * FILE_BYTES, 'no byte twice');
  await close(pool, readers);
});

t.test('a reader that gave up does not keep others from reading ahead for ever', async (t) => {
  const { pool, readers, reads } = await open(t, 4);
  const last = readers.pop();
  if (last === undefined) throw new Error('there are four');
  for (const reader of readers) t.ok(await step(pool, reader));
  let right = true;
  while (last.at < FILE_BYTES) right = (await step(pool, last, 128 * 1024)) && right;
  t.ok(right, 'every byte');
  t.equal(reads.at(-1)?.bytes, 4 * MiB, 'by units in the end');
  await close(pool, [...readers, last]);
});

t.test('the cache lets go of what nobody will come to, the longest unused first', async (t) => {
  const cache = new ReadCache(() => 3, new ManualClock());
  const pool = new BufferPool(1, { keepMax: 3 });
  const loaded: string[] = [];
  const take = async (key: string, wanted: boolean): Promise<string> => {
    const entry = cache.acquire(key, { pool, bytes: 1, wanted, load: () => Promise.resolve(void loaded.push(key)) });
    if (entry === undefined) return 'no room';
    await entry.ready;
    cache.release(entry);
    return key;
  };
  t.same([await take('a', true), await take('b', false), await take('c', false)], ['a', 'b', 'c']);
  t.equal(await take('b', false), 'b');
  t.equal(await take('d', true), 'd');
  t.same(
    ['a', 'b', 'c', 'd'].map((key) => cache.has(key)),
    [true, true, false, true],
  );
  t.equal(await take('e', true), 'e');
  t.equal(await take('f', true), 'no room', 'all that is there is wanted');
  const d = cache.acquire('d', { pool, bytes: 1, wanted: true, load: () => Promise.reject(new Error('it is there')) });
  if (d === undefined) throw new Error('it is there');
  d.wanted = false;
  t.equal(await take('f', true), 'no room', 'somebody reads from it');
  cache.release(d);
  t.equal(await take('f', true), 'f');
  t.same(loaded, ['a', 'b', 'c', 'd', 'e', 'f']);
  for (let n = 0; n < 128; n++) await take('f', true);
  t.equal(await take('g', true), 'g', 'given up');
  t.notOk(cache.has('a'));
  t.ok(cache.has('f'));
});

t.test('what nobody asks for goes by the clock', async (t) => {
  const clock = new ManualClock();
  const cache = new ReadCache(() => 4, clock);
  const pool = new BufferPool(1, { keepMax: 0 });
  const acquire = (key: string): CachedRange =>
    must(cache.acquire(key, { pool, bytes: 1, wanted: true, load: () => Promise.resolve() }), 'there is room');
  const held = acquire('held');
  for (const key of ['a', 'b']) cache.release(acquire(key));
  const there = (): string[] => ['held', 'a', 'b'].filter((key) => cache.has(key));
  await clock.advance(READ_CACHE_REST_MS - 1);
  t.same(there(), ['held', 'a', 'b']);
  await clock.advance(1);
  t.same(there(), ['held', 'a', 'b'], 'they came after the last look');
  cache.release(acquire('a'));
  await clock.advance(READ_CACHE_REST_MS);
  t.same(there(), ['held', 'a']);
  t.equal(pool.taken, 2);
  cache.release(held);
  await clock.advance(READ_CACHE_REST_MS);
  t.same(there(), []);
  t.equal(pool.taken, 0, 'their memory is back');
});
