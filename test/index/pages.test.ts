/** A walk over many rows: each once and in order, whatever happens to rows meanwhile, and never more in memory than a page. */
import t from 'tap';
import type { Range, Row } from '../../src/index/index-store.js';
import { pages } from '../../src/index/pages.js';

const keyOf = (number: number): Buffer => Buffer.from([number]);

/** Rows by number, and the scans that were made. */
function table(count: number): { rows: Set<number>; scans: number; scan: (range: Range) => Promise<Row[]> } {
  const made = {
    rows: new Set(Array.from({ length: count }, (_, number) => number)),
    scans: 0,
    scan: async ({ start, end, limit }: Range): Promise<Row[]> => {
      made.scans++;
      const within = [...made.rows]
        .sort((a, b) => a - b)
        .filter((number) => keyOf(number).compare(start) >= 0 && keyOf(number).compare(end) < 0);
      return within.slice(0, limit).map((number) => ({ key: keyOf(number), value: keyOf(number) }));
    },
  };
  return made;
}

const all = { start: keyOf(0), end: Buffer.from([0xff]), limit: 10 };

t.test('each row once, in order, and no empty page', async (test) => {
  for (const count of [0, 1, 9, 10, 11, 20, 35]) {
    const from = table(count);
    const seen: number[] = [];
    for await (const rows of pages(from, all)) {
      test.ok(rows.length > 0 && rows.length <= 10);
      seen.push(...rows.map(({ key }) => key[0] ?? -1));
    }
    test.same(seen, [...Array(count).keys()], `${count} rows`);
    test.equal(from.scans, Math.floor(count / 10) + 1);
  }
});

t.test('rows come and go meanwhile', async (test) => {
  const from = table(30);
  const seen: number[] = [];
  let turns = 0;
  const clock = { yield: async () => void turns++ };
  for await (const rows of pages(from, all, clock)) {
    for (const { key } of rows) {
      seen.push(key[0] ?? -1);
      // What it has seen goes, as of a reader that deletes what it has done.
      from.rows.delete(key[0] ?? -1);
    }
    if (seen.length === 10) {
      from.rows.delete(15);
      from.rows.add(40);
    }
  }
  test.same(
    seen,
    [...Array(30).keys(), 40].filter((number) => number !== 15),
  );
  test.equal(turns, 3, 'others had their turn in between');
});

t.test('who has enough stops', async (test) => {
  const from = table(35);
  for await (const rows of pages(from, all)) {
    test.equal(rows.length, 10);
    break;
  }
  test.equal(from.scans, 1);
});
