/** Which names new directories have: what is said not to be there is not there, whatever was added, and new files are made without a look into the index. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { KnownNames } from '../../src/namespace/known-names.js';
import { over } from '../simulation/over.js';
import { openPool, root, ROOT, writeFile } from './fixture.js';

const random = seededRandom(7);
const name = (): string => Array.from({ length: 1 + random.below(255) }, () => String.fromCharCode(1 + random.below(255))).join('');

t.test('what was added is never lacking', async (test) => {
  const known = new KnownNames();
  test.notOk(known.lacks(1, 'a'), 'a directory of before: who knows');
  known.add(1, 'a');
  test.notOk(known.lacks(1, 'b'));
  const directories = [2, 3, 4];
  for (const directory of directories) known.made(directory);
  for (const directory of directories) test.ok(known.lacks(directory, 'a'));
  const added = Array.from({ length: 20_000 }, () => [directories[random.below(3)] ?? 2, name()] as const);
  for (const [directory, text] of added) {
    known.add(directory, text);
    if (known.lacks(directory, text)) test.fail(`${text} is not known at once`);
  }
  test.same(
    added.filter(([directory, text]) => known.lacks(directory, text)),
    [],
  );
  const others = Array.from({ length: 20_000 }, () => `${name().slice(0, 200)}other`);
  test.ok(others.filter((text) => known.lacks(2, text)).length > 19_990, 'and nearly all else is');
});

t.test('what is given up is not lacking', async (test) => {
  const known = new KnownNames(1024, 64);
  known.made(1);
  known.add(1, 'first');
  for (let directory = 2; directory < 40; directory++) {
    known.made(directory);
    known.add(1, `n${directory}`);
  }
  test.ok(known.lacks(1, 'x') && !known.lacks(1, 'first') && !known.lacks(1, 'n2'), 'one that is used stays, with all its names');
  for (let directory = 40; directory < 200; directory++) known.made(directory);
  test.notOk(known.lacks(1, 'x'), 'too many directories since');
  test.ok(known.lacks(199, 'x'));

  for (let at = 0; at < 128; at++) known.add(199, `${at}`);
  test.ok(known.lacks(199, 'x') && !known.lacks(199, '0'));
  known.add(199, 'one more');
  test.notOk(known.lacks(199, 'x'), 'too many names');
  known.add(199, 'and more');
  test.notOk(known.lacks(199, 'x'));

  known.made(1000);
  known.add(1000, 'a');
  for (let directory = 1001; directory < 1020; directory++) {
    known.made(directory);
    for (let at = 0; at < 32; at++) known.add(directory, `${at}`);
  }
  test.notOk(known.lacks(1000, 'x'), 'too many names in all');
});

/** Counts reads of single rows. */
function counting(index: IndexStore, reads: { count: number }): IndexStore {
  return over(index, {
    get: (key) => {
      reads.count++;
      return index.get(key);
    },
  });
}

t.test('files in a new directory', async (test) => {
  const reads = { count: 0 };
  const pool = await openPool(test, { wrap: (index) => counting(index, reads) });
  const { namespace } = pool;
  const dir = (await namespace.mkdir(ROOT, 'dir', 0o755, root)).ino;
  reads.count = 0;
  const made = new Map<string, number>();
  // More than the cache of names has room for.
  for (let n = 0; n < 10_000; n++) {
    if ((await namespace.lookup(dir, `f${n}`, root)) !== undefined) test.fail('nothing is there');
    made.set(`f${n}`, (await namespace.mkdir(dir, `f${n}`, 0o755, root)).ino);
  }
  test.equal(reads.count, 0);
  const wrong = [];
  for (const [text, ino] of made) if ((await namespace.lookup(dir, text, root))?.ino !== ino) wrong.push(text);
  test.same(wrong, [], 'all are found again');
  test.ok(reads.count > 1000, 'those that no cache has, in the index');
});

t.test('names that come and go by other ways', async (test) => {
  const { namespace } = await openPool(test);
  const dir = (await namespace.mkdir(ROOT, 'dir', 0o755, root)).ino;
  const outside = await writeFile(namespace, ROOT, 'outside', Buffer.from('x'));
  const found = async (text: string): Promise<number | undefined> => (await namespace.lookup(dir, text, root))?.ino;
  test.equal(await found('moved'), undefined);
  await namespace.rename(ROOT, 'outside', dir, 'moved', { noReplace: false, exchange: false }, root);
  test.equal(await found('moved'), outside);
  await namespace.link(outside, dir, 'linked', root);
  test.equal(await found('linked'), outside);
  const other = await writeFile(namespace, ROOT, 'other', Buffer.from('y'));
  await namespace.rename(ROOT, 'other', dir, 'linked', { noReplace: false, exchange: true }, root);
  test.equal(await found('linked'), other);
  await namespace.unlink(dir, 'moved', root);
  test.equal(await found('moved'), undefined, 'gone');
  await namespace.symlink(dir, 'moved', Buffer.from('t'), root);
  test.not(await found('moved'), undefined, 'and there again');
});
