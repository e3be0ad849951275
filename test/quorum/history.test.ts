/** What is read of the window: the same array for those that follow in step, since what is made of it is made once. */
import t from 'tap';
import { History } from '../../src/quorum/history.js';
import { originPoint } from '../../src/quorum/point.js';
import { encodeRecord, type LogRecord } from '../../src/quorum/record.js';

function filled(count: number): History {
  const history = new History(originPoint);
  grow(history, count);
  return history;
}

function grow(history: History, count: number): void {
  for (let i = 0; i < count; i++) history.push(encodeRecord(history.head, 1, 'data', 0, Buffer.alloc(100, i)));
}

const positions = (records: readonly LogRecord[] | undefined): number[] | undefined => records?.map(({ entry }) => entry.point.position);

t.test("who applies and who logs do not take each other's place", async (test) => {
  const history = filled(10);
  const applied = await history.read(1, 8, 4000, true);
  test.same(positions(applied), [1, 2, 3, 4, 5, 6, 7, 8]);
  const logged = history.readNow(9, 10, 1000);
  test.equal(await history.read(1, 8, 4000, true), applied, 'after another one has read for its log');
  test.equal(history.readNow(9, 10, 1000), logged);
});

t.test('a shared read is what the first one was given, as far as that may be read', async (test) => {
  const history = filled(10);
  const first = await history.read(1, 6, 4000, true);
  grow(history, 5);
  test.equal(await history.read(1, 15, 4000, true), first, 'though there is more by now');
  test.same(positions(await history.read(1, 4, 4000, true)), [1, 2, 3, 4], 'not beyond what its reader may have');
  test.same(positions(await history.read(7, 15, 4000, true)), [7, 8, 9, 10, 11, 12, 13, 14, 15]);
  test.same(
    positions(await history.read(1, 15, 4000)),
    Array.from({ length: 15 }, (_, at) => at + 1),
    'who does not share gets all',
  );
});

t.test('what is evicted is not read again', async (test) => {
  const history = filled(4);
  await history.read(1, 4, 4000, true);
  history.evict(2);
  test.equal(history.readNow(1, 4, 4000), undefined);
  test.same(positions(history.readNow(3, 4, 4000)), [3, 4]);
});
