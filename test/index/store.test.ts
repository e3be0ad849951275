/** The index store over a log double and replicas in memory: order of transactions, room in the journal, errors. */
import t from 'tap';
import { OperatingError } from '../../src/base/errors.js';
import { LOG_ENTRY_BYTES_MAX } from '../../src/base/limits.js';
import { decodeWrites } from '../../src/index/entry.js';
import { keyOf } from '../../src/index/keys.js';
import { createFakeIndex } from './fake-log.js';

const key = (number: number): Buffer => keyOf(1).number(number).end();
const text = (value: Buffer | undefined): string | undefined => value?.toString();

t.test('a transaction is one log entry; one that only reads is none', async (t) => {
  const { store, log } = createFakeIndex();
  const first = await store.transact(async (tx) => {
    tx.put(key(2), Buffer.from('two'));
    tx.put(key(1), Buffer.from('one'));
    tx.delete(key(3));
    t.equal(text(await tx.get(key(2))), 'two', 'sees its own write');
    t.equal(await store.get(key(2)), undefined, 'others do not');
    return 'done';
  });
  t.same(first, { value: 'done', position: 1 });
  const read = await store.transact(async (tx) => text(await tx.get(key(1))));
  t.same(read, { value: 'one', position: 0 });
  t.equal(log.entries.length, 1);
  const writes = decodeWrites(log.entries[0]?.payload ?? Buffer.alloc(0));
  t.same(
    writes.map((write) => [write.key.toString('hex'), text(write.value)]),
    [
      [key(1).toString('hex'), 'one'],
      [key(2).toString('hex'), 'two'],
      [key(3).toString('hex'), undefined],
    ],
  );
});

t.test('nothing is written when the body throws, and the next one runs', async (t) => {
  const { store, log } = createFakeIndex();
  await t.rejects(
    async () =>
      store.transact(async (tx) => {
        tx.put(key(1), Buffer.from('x'));
        throw new OperatingError('ENOENT', 'no such thing');
      }),
    { code: 'ENOENT' },
  );
  t.equal(log.entries.length, 0);
  t.equal(await store.get(key(1)), undefined);
  t.equal((await store.transact(async (tx) => tx.put(key(1), Buffer.from('y')))).position, 1);
});

t.test('transactions run one after the other, in order', async (t) => {
  const { store, log } = createFakeIndex();
  const order: number[] = [];
  const count = async (number: number): Promise<void> => {
    await store.transact(async (tx) => {
      order.push(number);
      const before = Number(text(await tx.get(key(0))) ?? '0');
      await Promise.resolve();
      tx.put(key(0), Buffer.from(String(before + 1)));
    });
  };
  await Promise.all(Array.from({ length: 100 }, (_, number) => count(number)));
  t.equal(text(await store.get(key(0))), '100');
  t.same(
    order,
    [...order].sort((a, b) => a - b),
  );
  t.equal(log.entries.length, 100);
});

t.test('a full journal: waits, lets others commit, and runs again on what they wrote', async (t) => {
  const { store, log } = createFakeIndex();
  log.room = false;
  let runs = 0;
  const increment = async (): Promise<number> =>
    (
      await store.transact(async (tx) => {
        runs++;
        tx.put(key(0), Buffer.from(String(Number(text(await tx.get(key(0))) ?? '0') + 1)));
      })
    ).position;
  const both = [increment(), increment(), increment()];
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(log.entries.length, 0);
  t.equal((await store.transact((tx) => tx.get(key(0)))).value, undefined, 'readers still get their turn');
  log.room = true;
  t.same((await Promise.all(both)).sort(), [1, 2, 3]);
  t.equal(text(await store.get(key(0))), '3', 'no update is lost');
  t.ok(runs > 3, 'bodies ran again');
});

t.test('without a majority: EROFS with the reason; reads go on', async (t) => {
  const { store, log } = createFakeIndex();
  await store.transact(async (tx) => tx.put(key(1), Buffer.from('one')));
  log.writable = false;
  log.readOnlyReason = 'attach disk 3';
  t.notOk(store.writable);
  await t.rejects(async () => store.transact(async (tx) => tx.put(key(1), Buffer.from('two'))), { code: 'EROFS', hint: 'attach disk 3' });
  t.equal((await store.transact(async (tx) => text(await tx.get(key(1))))).value, 'one');
});

t.test('an entry that is too large is refused whole', async (t) => {
  const { store, log } = createFakeIndex();
  await t.rejects(
    async () =>
      store.transact(async (tx) => {
        for (let i = 0; tx.entryBytes <= LOG_ENTRY_BYTES_MAX; i++) tx.put(key(i), Buffer.alloc(64 * 1024));
      }),
    { code: 'EFBIG' },
  );
  t.equal(log.entries.length, 0);
  const { position } = await store.transact(async (tx) => {
    for (let i = 0; i < 15; i++) tx.put(key(i), Buffer.alloc(64 * 1024, i));
    // Written again: only the last value counts.
    for (let i = 0; i < 15; i++) tx.put(key(i), Buffer.alloc(64 * 1024, i + 1));
    t.ok(tx.entryBytes < LOG_ENTRY_BYTES_MAX);
  });
  t.equal(position, 1);
  t.same(await store.get(key(14)), Buffer.alloc(64 * 1024, 15));
});

t.test('durable waits for the flush', async (t) => {
  const { store, log } = createFakeIndex();
  log.flushAtOnce = false;
  const { position } = await store.transact(async (tx) => tx.put(key(1), Buffer.from('one')));
  t.equal(store.headPosition, position);
  let durable = false;
  const waiting = store.durable().then(() => (durable = true));
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(durable);
  log.flush();
  await waiting;
  t.equal(store.durablePosition, position);
});

t.test('a transaction that escapes its body is a bug', async (t) => {
  const { store } = createFakeIndex();
  const { value: escaped } = await store.transact(async (tx) => ({ tx }));
  t.throws(() => escaped.tx.put(key(1), Buffer.from('x')), { name: 'AssertionError' });
});
