/** One suite for the index store and its replicas, on every engine: random transactions against a plain model, replicas that follow, copy and come back. */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { decodeWrites, encodeWrites, writeBytes, type Write } from '../../src/index/entry.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { createIndexStore } from '../../src/index/log-index.js';
import { emptyPoint } from '../../src/index/point.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { engines } from './engines.js';
import { FakeLog, nextEntry } from './fake-log.js';
import { applyFrom } from './runs.js';
import { everything, Model, randomKey, randomRange, randomValue, shown } from './model.js';

class Abort extends Error {}

/** One random transaction on the store and the model; reads are compared as they happen. */
async function randomTransaction(t: Test, store: IndexStore, model: Model, random: Random): Promise<void> {
  const within = model.copy();
  const abort = random.below(8) === 0;
  const steps = 1 + random.below(20);
  try {
    await store.transact(async (tx) => {
      for (let i = 0; i < steps; i++) {
        const key = randomKey(random);
        const what = random.below(6);
        if (what <= 1) {
          const value = randomValue(random);
          tx.put(key, value);
          within.set(key, value);
        } else if (what === 2) {
          tx.delete(key);
          within.set(key, undefined);
        } else if (what === 3) {
          const [found, wanted] = [await tx.get(key), within.get(key)];
          if (!(found === undefined ? wanted === undefined : wanted?.equals(found) === true)) t.same(found, wanted, 'own read');
        } else {
          const range = randomRange(random);
          const [found, wanted] = [shown(await tx.scan(range)), shown(within.scan(range))];
          if (found.join() !== wanted.join()) t.same(found, wanted, `own scan ${JSON.stringify(range)}`);
        }
      }
      if (abort) throw new Abort();
    });
  } catch (error) {
    if (!(error instanceof Abort)) throw error;
    return;
  }
  for (const [name, value] of within.rows) model.rows.set(name, value);
  for (const name of model.rows.keys()) if (!within.rows.has(name)) model.rows.delete(name);
}

/** Entries of random writes, from the start of a history. */
function randomEntries(random: Random, count: number): LogEntry[] {
  const entries: LogEntry[] = [];
  let point = emptyPoint;
  for (let i = 0; i < count; i++) {
    const writes = new Map<string, Write>();
    for (let j = random.below(8); j >= 0; j--) {
      const key = randomKey(random);
      writes.set(key.toString('hex'), { key, value: random.below(3) === 0 ? undefined : randomValue(random) });
    }
    const sorted = [...writes.values()].sort((a, b) => Buffer.compare(a.key, b.key));
    const bytes = sorted.reduce((sum, { key, value }) => sum + writeBytes(key.length, value?.length), 0);
    const barrier = random.below(5) === 0;
    const payload = barrier ? Buffer.alloc(0) : encodeWrites(sorted, sorted.length, bytes);
    entries.push(nextEntry(point, payload, 1 + Math.floor(i / 50), barrier ? 'barrier' : 'data'));
    point = must(entries.at(-1), 'just pushed').point;
  }
  return entries;
}

for (const { name, make } of engines) {
  t.test(`${name}: random transactions agree with a sorted map`, async (t) => {
    const engine = await make();
    t.teardown(() => engine.remove());
    const random = seededRandom(7);
    let working = await engine.working();
    t.equal(working.point, undefined, 'nothing there after a boot');
    await working.rebuildFrom(undefined);
    t.same(working.point, emptyPoint);
    let log = new FakeLog(working);
    let store = createIndexStore(log, working);
    const model = new Model();
    for (let round = 0; round < 400; round++) {
      await randomTransaction(t, store, model, random);
      const range = randomRange(random);
      const [found, wanted] = [shown(await store.scan(range)), shown(model.scan(range))];
      if (found.join() !== wanted.join()) t.same(found, wanted, `scan after ${round}`);
      const key = randomKey(random);
      t.same(await store.get(key), model.get(key));
      if (name === 'sqlite' && round % 100 === 99) {
        const { head } = log;
        await working.close();
        working = await engine.working();
        t.same(working.point, head, 'reopens where it was');
        log = new FakeLog(working);
        store = createIndexStore(log, working);
      }
    }
    t.same(shown(await store.scan(everything)), shown(model.scan(everything)));
    t.same(shown(await store.scan({ ...everything, reverse: true })), shown(model.scan({ ...everything, reverse: true })));
    await working.close();
  });

  t.test(`${name}: a view stays as it was while commits go on`, async (t) => {
    const engine = await make();
    t.teardown(() => engine.remove());
    const random = seededRandom(23);
    const working = await engine.working();
    await working.rebuildFrom(undefined);
    const log = new FakeLog(working);
    const store = createIndexStore(log, working);
    const model = new Model();
    for (let i = 0; i < 100; i++) await randomTransaction(t, store, model, random);
    const before = model.copy();
    const view = store.view();
    t.equal(view.position, store.headPosition);
    t.equal(view.epoch, log.head.epoch);
    // Far more than the thread's checkpoints and the write-ahead file's restarts need.
    for (let i = 0; i < 2000; i++) await randomTransaction(t, store, model, random);
    t.not(shown(model.scan(everything)).join(), shown(before.scan(everything)).join(), 'the store went on');
    t.same(shown(await view.scan(everything)), shown(before.scan(everything)));
    for (const [key, value] of before.rows) t.same(await view.get(Buffer.from(key, 'hex')), value);
    view.close();
    const next = store.view();
    t.same(shown(await next.scan(everything)), shown(model.scan(everything)));
    next.close();
    await working.close();
  });

  t.test(`${name}: durable replicas follow in batches, come back, and are copied`, async (t) => {
    const engine = await make();
    t.teardown(() => engine.remove());
    const random = seededRandom(11);
    const entries = randomEntries(random, 300);
    const [first, second] = [engine.disk(), engine.disk()];
    let replica = await engine.replicas.open(first, 'voter');
    t.same(replica.point, emptyPoint, 'a new one is empty');
    const model = new Model();
    for (let at = 0; at < entries.length;) {
      const batch = entries.slice(at, at + 1 + random.below(40));
      await applyFrom(first, replica, batch);
      for (const entry of batch) model.apply(entry);
      at += batch.length;
      t.same(replica.point, must(batch.at(-1), 'a batch').point);
      if (random.below(4) > 0) continue;
      await replica.close();
      replica = await engine.replicas.open(first, 'voter');
      t.same(replica.point, must(batch.at(-1), 'a batch').point, 'comes back where it was');
    }
    const copy = await engine.replicas.open(second, 'voter');
    await applyFrom(second, copy, entries.slice(0, 10));
    await copy.rebuildFrom(replica);
    t.same(copy.point, replica.point);
    const working = await engine.working();
    await working.rebuildFrom(copy);
    t.same(working.point, replica.point);
    t.same(shown(working.scan(everything)), shown(model.scan(everything)), 'the copy of the copy holds what the model holds');
    const next = nextEntry(
      must(working.point, 'it was rebuilt'),
      entries.find(({ kind }) => kind === 'data')?.payload ?? Buffer.alloc(0),
      9,
    );
    working.apply(next);
    await applyFrom(second, copy, [next]);
    model.apply(next);
    t.same(shown(working.scan(everything)), shown(model.scan(everything)), 'and follows');
    await copy.reset();
    t.same(copy.point, emptyPoint);
    await working.rebuildFrom(copy);
    t.same(working.scan(everything), []);
    await working.close();
    await Promise.all([replica.close(), copy.close()]);
  });

  t.test(`${name}: values of 64 KiB and more, keys of 1 KiB, empty values`, async (t) => {
    const engine = await make();
    t.teardown(() => engine.remove());
    const working = await engine.working();
    await working.rebuildFrom(undefined);
    const log = new FakeLog(working);
    const store = createIndexStore(log, working);
    const rows = [0, 1, 4096, 16_384, 65_536, 500_000].map((bytes, i) => ({
      key: Buffer.alloc(1024, i + 1),
      value: Buffer.alloc(bytes, bytes % 251),
    }));
    for (const { key, value } of rows) await store.transact(async (tx) => tx.put(key, value));
    for (const { key, value } of rows) t.ok((await store.get(key))?.equals(value));
    const disk = engine.disk();
    const replica = await engine.replicas.open(disk, 'voter');
    await applyFrom(disk, replica, log.entries);
    await working.rebuildFrom(replica);
    for (const { key, value } of rows) t.ok((await store.get(key))?.equals(value), 'after the way through a durable replica');
    t.equal(decodeWrites(must(log.entries[5], 'six entries').payload)[0]?.value?.length, 500_000);
    await working.close();
    await replica.close();
  });

  t.test(`${name}: entries out of order are a bug`, async (t) => {
    const engine = await make();
    t.teardown(() => engine.remove());
    const [first, second] = randomEntries(seededRandom(3), 2);
    const working = await engine.working();
    t.throws(() => working.apply(must(first, 'entry')), { name: 'AssertionError' }, 'not before it was rebuilt');
    await working.rebuildFrom(undefined);
    t.throws(() => working.apply(must(second, 'entry')), { name: 'AssertionError' });
    const disk = engine.disk();
    const replica = await engine.replicas.open(disk, 'voter');
    await t.rejects(applyFrom(disk, replica, [must(second, 'entry')]), { name: 'AssertionError' });
    await applyFrom(disk, replica, [must(first, 'entry')]);
    await t.rejects(applyFrom(disk, replica, [must(first, 'entry')]), { name: 'AssertionError' });
    await working.close();
    await replica.close();
  });
}
