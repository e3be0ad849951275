/** Holes, zeros, shared copies and files without names: against a plain buffer, in random order, with and without commits in between. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { CHANGE_STEP_ROWS } from '../../src/base/limits.js';
import type { Namespace } from '../../src/namespace/namespace.js';
import { turnsDuring } from '../support/event-loop.js';
import { checkRows } from './check.js';
import {
  codeOf,
  contentOf,
  countScanned,
  O_RDONLY,
  O_RDWR,
  openPool,
  pattern,
  readAll,
  root,
  ROOT,
  rowsByTable,
  writeFile,
  type Pool,
} from './fixture.js';

const punch = { keepSize: true, punch: true, zero: false };
const zero = { keepSize: false, punch: false, zero: true };
const reserve = { keepSize: false, punch: false, zero: false };

/** One open file beside what should be in it. */
interface Pair {
  readonly ino: number;
  readonly handle: number;
  model: Buffer;
}

async function makePair(namespace: Namespace, name: string): Promise<Pair> {
  const { attributes, handle } = await namespace.create(ROOT, name, 0o644, O_RDWR, root);
  return { ino: attributes.ino, handle, model: Buffer.alloc(0) };
}

function resized(model: Buffer, size: number): Buffer {
  return size <= model.length ? Buffer.from(model.subarray(0, size)) : Buffer.concat([model, Buffer.alloc(size - model.length)]);
}

/** One random step on one of two files. */
async function step(
  namespace: Namespace,
  pairs: readonly [Pair, Pair],
  random: ReturnType<typeof seededRandom>,
  max: number,
): Promise<void> {
  const [a, b] = random.below(2) === 0 ? pairs : ([pairs[1], pairs[0]] as const);
  const offset = random.below(max);
  const bytes = 1 + random.below(random.below(3) === 0 ? max : 3000);
  switch (random.below(8)) {
    case 0:
    case 1: {
      const data = pattern(bytes, random.below(1000));
      a.model = resized(a.model, Math.max(a.model.length, offset + bytes));
      data.copy(a.model, offset);
      await namespace.write(a.ino, a.handle, offset, data, root);
      return;
    }
    case 2: {
      await namespace.allocate(a.ino, a.handle, offset, bytes, punch, root);
      if (offset < a.model.length) a.model.fill(0, offset, Math.min(a.model.length, offset + bytes));
      return;
    }
    case 3: {
      await namespace.allocate(a.ino, a.handle, offset, bytes, zero, root);
      a.model = resized(a.model, Math.max(a.model.length, offset + bytes));
      a.model.fill(0, offset, offset + bytes);
      return;
    }
    case 4: {
      await namespace.setattr(a.ino, { size: offset }, root);
      a.model = resized(a.model, offset);
      return;
    }
    case 5: {
      const to = random.below(max);
      const copied = await namespace.copyRange({ ...a, offset }, { ...b, offset: to }, bytes, root);
      if (copied > 0) b.model = resized(b.model, Math.max(b.model.length, to + copied));
      Buffer.from(a.model.subarray(offset, offset + copied)).copy(b.model, to);
      return;
    }
    case 6:
      return namespace.flush(a.ino, a.handle);
    default: {
      const at = random.below(max);
      const found = await readAll(namespace as Pool['namespace'], a.ino, a.handle, at, bytes);
      if (!found.equals(a.model.subarray(at, at + bytes))) throw new Error(`read of ${bytes} at ${at} differs`);
    }
  }
}

t.test('random operations on two files agree with two buffers', async (test) => {
  for (let seed = 1; seed <= 25; seed++) {
    const { namespace, storage, index } = await openPool(test);
    const random = seededRandom(seed);
    const pairs = [await makePair(namespace, 'a'), await makePair(namespace, 'b')] as const;
    for (let n = 0; n < 80; n++) {
      await step(namespace, pairs, random, 2 * storage.blobBytesMax);
      if (n % 20 === 19) await checkRows(index);
    }
    for (const { ino, handle, model } of pairs) {
      await namespace.flush(ino, handle);
      await namespace.release(ino, handle);
      test.equal((await namespace.getattr(ino)).size, model.length, `seed ${seed}: size`);
      test.ok((await contentOf(namespace, ino)).equals(model), `seed ${seed}: content`);
    }
    await checkRows(index);
    await namespace.unlink(ROOT, 'a', root);
    await namespace.unlink(ROOT, 'b', root);
    await checkRows(index);
    test.equal((await rowsByTable(index)).get('b')?.length ?? 0, 0, `seed ${seed}: no blob is referred to any more`);
  }
});

t.test('a copy shares blobs, and outlives its source', async (test) => {
  const { namespace, storage, index } = await openPool(test);
  const data = pattern(3 * storage.blobBytesMax + 100, 1);
  const ino = await writeFile(namespace, ROOT, 'source', data);
  const blobs = async (): Promise<number> => (await rowsByTable(index)).get('b')?.length ?? 0;
  const before = await blobs();
  const source = await namespace.open(ino, O_RDWR, root);
  const target = await makePair(namespace, 'target');
  const at = 5000;
  let copied = 0;
  for (let n = -1; n !== 0; copied += n)
    n = await namespace.copyRange({ ino, handle: source, offset: copied }, { ...target, offset: at + copied }, data.length - copied, root);
  test.equal(copied, data.length);
  test.equal(await blobs(), before, 'no blob was stored');
  await namespace.release(ino, source);
  await namespace.unlink(ROOT, 'source', root);
  await namespace.release(target.ino, target.handle);
  test.ok((await contentOf(namespace, target.ino)).equals(Buffer.concat([Buffer.alloc(at), data])));
  await checkRows(index);
});

t.test('a copy into a file keeps the length that a late write-back does not know of', async (test) => {
  const { namespace, storage } = await openPool(test);
  const data = pattern(storage.blobBytesMax, 2);
  const ino = await writeFile(namespace, ROOT, 'source', data);
  const source = await namespace.open(ino, O_RDWR, root);
  const target = await makePair(namespace, 'target');
  const copying = namespace.copyRange({ ino, handle: source, offset: 0 }, { ...target, offset: 0 }, data.length, root);
  await namespace.write(target.ino, target.handle, 0, Buffer.from('late'), root);
  test.equal(await copying, data.length);
  await namespace.flush(target.ino, target.handle);
  test.equal((await namespace.getattr(target.ino)).size, data.length);
  await namespace.release(ino, source);
  await namespace.release(target.ino, target.handle);
  test.ok((await contentOf(namespace, target.ino)).subarray(4).equals(data.subarray(4)));
});

t.test('where data and holes are', async (test) => {
  const { namespace } = await openPool(test);
  const { ino, handle } = await makePair(namespace, 'f');
  await namespace.write(ino, handle, 10_000, pattern(500, 1), root);
  await namespace.write(ino, handle, 10_500, pattern(500, 2), root);
  await namespace.write(ino, handle, 50_000, pattern(10, 3), root);
  await namespace.setattr(ino, { size: 60_000 }, root);
  const writer = (at: number, whence: 'data' | 'hole'): Promise<number> => namespace.seek(ino, handle, at, whence);
  test.equal(await writer(0, 'data'), 0, 'while somebody writes, the kernel may know of more');
  test.equal(await writer(0, 'hole'), 60_000);
  test.equal(await codeOf(() => writer(60_000, 'hole')), 'ENXIO');
  await namespace.release(ino, handle);
  const reader = await namespace.open(ino, O_RDONLY, root);
  const seek = (at: number, whence: 'data' | 'hole'): Promise<number> => namespace.seek(ino, reader, at, whence);
  test.equal(await seek(0, 'data'), 10_000);
  test.equal(await seek(10_200, 'data'), 10_200);
  test.equal(await seek(11_000, 'data'), 50_000);
  test.equal(await codeOf(() => seek(50_010, 'data')), 'ENXIO');
  test.equal(await seek(0, 'hole'), 0);
  test.equal(await seek(10_001, 'hole'), 11_000, 'extents that touch are one');
  test.equal(await seek(50_005, 'hole'), 50_010);
  test.equal(await codeOf(() => seek(60_000, 'hole')), 'ENXIO');
  await namespace.allocate(ino, reader, 10_100, 100, punch, root);
  test.equal(await seek(10_000, 'hole'), 10_100);
  test.equal(await seek(10_100, 'data'), 10_200);
  await namespace.allocate(ino, reader, 60_000, 4000, reserve, root);
  test.equal((await namespace.getattr(ino)).size, 64_000);
  test.equal((await namespace.getattr(ino)).blocks, Math.ceil(910 / 512), 'holes take no space');
  await namespace.release(ino, reader);
});

t.test('a file without a name', async (test) => {
  const { namespace, index } = await openPool(test);
  const given = await namespace.createUnnamed(ROOT, 0o600, O_RDWR, root);
  const lost = await namespace.createUnnamed(ROOT, 0o600, O_RDWR, root);
  for (const { attributes, handle } of [given, lost]) {
    test.equal(attributes.links, 0);
    await namespace.write(attributes.ino, handle, 0, pattern(3000, 1), root);
  }
  await checkRows(index);
  const named = await namespace.link(given.attributes.ino, ROOT, 'now', root);
  test.equal(named.links, 1);
  test.equal(named.size, 3000);
  for (const { attributes, handle } of [given, lost]) {
    await namespace.flush(attributes.ino, handle);
    await namespace.release(attributes.ino, handle);
  }
  test.ok((await contentOf(namespace, given.attributes.ino)).equals(pattern(3000, 1)));
  test.equal(await codeOf(() => namespace.open(lost.attributes.ino, O_RDWR, root)), 'ESTALE');
  const second = await namespace.open(given.attributes.ino, O_RDWR, root);
  await namespace.unlink(ROOT, 'now', root);
  test.equal(await codeOf(() => namespace.link(given.attributes.ino, ROOT, 'again', root)), 'ENOENT', 'what lost its name gets no other');
  await namespace.release(given.attributes.ino, second);
  test.equal(await codeOf(() => namespace.link(lost.attributes.ino, ROOT, 'late', root)), 'ENOENT');
  test.same(
    [...(await checkRows(index)).inodes.keys()].sort((a, b) => a - b),
    [ROOT],
  );
});

t.test('SEEK_DATA and SEEK_HOLE in a file of many pieces: each looks at a few, and passes over all that touch', async (test) => {
  const { namespace, working } = await openPool(test);
  const pieces = 300;
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const write = async (at: number): Promise<void> => {
    await namespace.write(ino, handle, at, pattern(10, at), root);
    await namespace.flush(ino, handle);
  };
  for (let piece = 0; piece < pieces; piece++) await write(piece * 100);
  // Touching, each from a commit of its own.
  const touching = pieces * 100;
  for (let piece = 0; piece < pieces; piece++) await write(touching + piece * 10);
  const end = touching + pieces * 10;
  await namespace.release(ino, handle);
  const reader = await namespace.open(ino, O_RDONLY, root);
  const scanned = countScanned(working);
  for (let piece = 0, at = 0; piece < pieces; piece++) {
    at = await namespace.seek(ino, reader, at, 'data');
    test.equal(at, piece * 100);
    at = await namespace.seek(ino, reader, at, 'hole');
    test.equal(at, piece * 100 + 10);
  }
  test.ok(scanned.rows <= 2 * pieces * 6, `${scanned.rows} rows for ${2 * pieces} calls`);
  scanned.rows = 0;
  test.equal(await namespace.seek(ino, reader, touching, 'hole'), end);
  test.ok(scanned.rows >= pieces && scanned.rows < pieces + 30, `${scanned.rows} rows for ${pieces} that touch`);
  await namespace.release(ino, reader);
});

t.test('what takes many steps lets others have their turn', async (test) => {
  const { namespace } = await openPool(test);
  const { attributes, handle } = await namespace.create(ROOT, 'f', 0o644, O_RDWR, root);
  const { ino } = attributes;
  const pieces = 10 * CHANGE_STEP_ROWS;
  for (let piece = 0; piece < pieces; piece++) await namespace.write(ino, handle, piece * 100, pattern(10, piece), root);
  // Four times as many extents in a step as are cut in one.
  const written = await turnsDuring(() => namespace.flush(ino, handle));
  test.ok(written >= 2, `${written} turns for a commit`);
  await namespace.release(ino, handle);
  const cut = await turnsDuring(() => namespace.setattr(ino, { size: pieces * 10 }, root));
  test.ok(cut >= 8, `${cut} turns for a cut`);
  const content = await contentOf(namespace, ino);
  test.equal(content.length, pieces * 10);
  for (let piece = 0; piece < pieces / 10; piece++)
    test.ok(content.subarray(piece * 100, piece * 100 + 10).equals(pattern(10, piece)), `piece ${piece} is there`);
});
