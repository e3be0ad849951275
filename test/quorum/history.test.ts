/** What is read of the window: the same array for those that follow in step, since what is made of it is made once. And where stretches end. */
import t from 'tap';
import { LOG_STRETCH_BYTES, LOG_STRETCH_ENTRY_BYTES, MiB } from '../../src/base/limits.js';
import { History } from '../../src/quorum/history.js';
import { originPoint } from '../../src/quorum/point.js';
import { encodeRecord, RECORD_HEADER_BYTES, type LogRecord } from '../../src/quorum/record.js';

function filled(count: number): History {
  const history = new History(originPoint);
  grow(history, count);
  return history;
}

function grow(history: History, count: number): void {
  for (let i = 0; i < count; i++) history.push(encodeRecord(history.head, 1, 'data', 0, Buffer.alloc(100, i)));
}

const positions = (records: readonly LogRecord[] | undefined): number[] | undefined => records?.map(({ entry }) => entry.point.position);

t.test('who follows in step is given the same array', (test) => {
  const history = filled(10);
  const first = history.readNow(1, 8, 4000);
  test.same(positions(first), [1, 2, 3, 4, 5, 6, 7, 8]);
  test.equal(history.readNow(1, 8, 4000), first);
  grow(history, 1);
  test.same(
    positions(history.readNow(1, 11, 4000)),
    Array.from({ length: 11 }, (_, at) => at + 1),
    'who may have more is given more',
  );
  test.same(positions(history.readNow(1, 4, 4000)), [1, 2, 3, 4], 'not beyond what its reader may have');
  const full = history.readNow(1, 11, 400);
  test.same(positions(full), [1, 2], 'as much as fits');
  grow(history, 1);
  test.equal(history.readNow(1, 12, 400), full, 'of which nothing more comes');
  test.end();
});

t.test('what is evicted is not read again', (test) => {
  const history = filled(4);
  history.readNow(1, 4, 4000);
  history.evict(2);
  test.equal(history.readNow(1, 4, 4000), undefined);
  test.same(positions(history.readNow(3, 4, 4000)), [3, 4]);
  test.end();
});

t.test('stretches end where enough was appended, for all in the same places', (test) => {
  const history = new History(originPoint);
  const payload = Buffer.alloc(MiB / 2);
  const perEntry = payload.length + RECORD_HEADER_BYTES + LOG_STRETCH_ENTRY_BYTES;
  const each = Math.ceil(LOG_STRETCH_BYTES / perEntry);
  for (let i = 0; i < 2 * each + 1; i++) history.push(encodeRecord(history.head, 1, 'data', 0, payload));
  test.equal(history.stretchEnd(0), each);
  test.equal(history.stretchEnd(each - 1), each);
  test.equal(history.stretchEnd(each), 2 * each);
  test.equal(history.stretchEnd(2 * each), undefined, 'this one grows');
  test.same(
    [0, each - 1, each, 2 * each].map((position) => history.stretchesBehind(position)),
    [2, 2, 1, 0],
  );
  test.same(
    [each - 1, each, 2 * each - 1, 2 * each + 1].map((position) => history.lastStretchEnd(position)),
    [0, each, each, 2 * each],
  );
  history.evict(history.head.position);
  test.equal(history.stretchEnd(0), each, 'whatever is in memory');
  const recovered = new History(history.head);
  for (let i = 0; i < each; i++) recovered.push(encodeRecord(recovered.head, 1, 'data', 0, payload));
  test.equal(recovered.stretchEnd(history.head.position), recovered.head.position);
  test.equal(recovered.stretchEnd(history.head.position - 1), undefined, 'what was there before has ends that nobody knows');
  test.end();
});
