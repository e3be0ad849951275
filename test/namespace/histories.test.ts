/** Random histories: what processes see, what a crash at any commit leaves (I3, I4, I10), and that nothing is left when everything was deleted. */
import t from 'tap';
import { systemClock } from '../../src/base/clock.js';
import { Collector } from '../../src/durability/collector.js';
import { freeStranded } from '../../src/durability/orphans.js';
import { checkRows } from './check.js';
import { lateIndex } from '../index/late-index.js';
import { contentOf, openPool, rowsByTable, type Pool } from './fixture.js';
import { digestOf, History } from './history.js';
import { MemoryStorage } from './memory-storage.js';

const STEPS = 300;
const quiet = { clock: systemClock, log: () => undefined, stopped: () => false };

const smallStorage = (): MemoryStorage => new MemoryStorage(16 * 1024, 1024);

async function collectAll({ namespace, storage, index }: Pool): Promise<void> {
  const collector = new Collector({ namespace, storage, clock: systemClock, log: () => undefined });
  await index.durable();
  await collector.collect();
  await collector.stop();
}

/** More seeds for a long run: OSTRAKA_HISTORY_SEEDS=100-300. */
function moreSeeds(): number[] {
  const [from, to] = (process.env.OSTRAKA_HISTORY_SEEDS ?? '').split('-').map(Number);
  return from === undefined || to === undefined ? [] : Array.from({ length: to - from }, (_, at) => from + at);
}

/** Histories in which quotas are set and cleared. */
const withQuotas = (seed: number): boolean => seed > 1000 || seed % 10 === 7;

for (const seed of [1, 2, 3, 4, 5, 6, 7, 1002, ...moreSeeds()]) {
  t.test(`history ${seed} agrees with the model and leaves nothing behind`, async (test) => {
    // Every other one short of memory, and with commits of its own accord.
    const settings = seed % 2 === 0 ? { commitIntervalMs: 3, uploadBytesMax: 64 * 1024 } : {};
    const pool = await openPool(test, { storage: smallStorage(), settings, ...(seed % 4 >= 2 && { wrap: lateIndex }) });
    const history = new History(pool, seed, withQuotas(seed));
    for (let step = 0; step < STEPS; step++) {
      await history.step();
      if (step % 50 === 0) {
        await checkRows(pool.index);
        await collectAll(pool);
      }
    }
    await history.compare();
    await pool.namespace.syncAll();
    await history.compare();
    await checkRows(pool.index);
    await history.removeAll();
    await pool.namespace.packer.packAll();
    await pool.namespace.close();
    await collectAll(pool);
    const left = await checkRows(pool.index);
    test.same([...left.inodes.keys()], [1], 'the root is left');
    test.same([...(await rowsByTable(pool.index)).keys()].sort(), ['c', 'i'], 'and no row of anything else');
    test.equal(pool.storage.blobs.size, 0, 'no blob is left');
    const { usedBytes, dirtyBytes, openHandles, nodes, pinnedBlobs } = pool.namespace.status();
    test.same(
      { usedBytes, dirtyBytes, openHandles, nodes, pinnedBlobs },
      { usedBytes: 0, dirtyBytes: 0, openHandles: 0, nodes: 0, pinnedBlobs: 0 },
    );
  });
}

for (const seed of [11, 12, 13, 17]) {
  t.test(`history ${seed} may crash at any commit`, async (test) => {
    const pool = await openPool(test, { storage: smallStorage(), ...(seed % 2 === 0 && { wrap: lateIndex }) });
    const history = new History(pool, seed, withQuotas(seed));
    const versions = new Map<number, Set<string>>();
    for (let step = 0; step < STEPS; step++) {
      await history.step();
      for (const { ino, versions: known } of history.files.values()) versions.set(ino, known);
    }
    const promises = history.finish();
    test.ok(promises.length > 10, 'there are promises to keep');
    const { entries } = pool.log;
    for (let length = 1; length <= entries.length; length += 1 + (length % 7)) {
      const storage = pool.storage.copy();
      const crashed = await openPool(test, { storage, entries: entries.slice(0, length), epoch: 2 });
      // Waits for what the last session left.
      await crashed.namespace.idle();
      const { blobs, inodes } = await checkRows(crashed.index);
      const tables = await rowsByTable(crashed.index);
      for (const letter of ['u', 'p', 'z']) test.equal(tables.get(letter), undefined, `no row of the dead session in ${letter}`);
      for (const row of inodes.values()) {
        const known = versions.get(row.ino);
        if ((row.mode & 0o170000) !== 0o100000 || known === undefined) continue;
        const digest = digestOf(await contentOf(crashed.namespace, row.ino));
        if (!known.has(digest)) test.fail(`inode ${row.ino} after ${length} commits is no version that it had`);
      }
      for (const { ino, position, until, digest } of promises) {
        if (length < position || length >= until) continue;
        const row = inodes.get(ino);
        if (row === undefined) test.fail(`inode ${ino} was closed at ${position} and is not there after ${length} commits`);
        else if (digestOf(await contentOf(crashed.namespace, ino)) !== digest)
          test.fail(`inode ${ino}, closed at ${position}, is another after ${length} commits`);
      }
      await collectAll(crashed);
      await freeStranded({ index: crashed.index, storage, ...quiet });
      test.same([...storage.blobs.keys()].sort(), [...blobs].sort(), 'exactly the blobs that are referred to are left');
    }
  });
}
