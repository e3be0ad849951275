/** Rows that are not written yet, against a map: whatever is asked in between, and whichever entries that has taken apart. */
import t from 'tap';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { encodeWrites, outlineOf, tableBit, writeBytes } from '../../src/index/entry.js';
import type { Range, Row } from '../../src/index/index-store.js';
import { compareKeys } from '../../src/index/keys.js';
import { netRows, UnwrittenRows } from '../../src/index/unwritten-rows.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';

/** Tables of which two have the same bit. */
const TABLES = [...Buffer.from('abAz')];
const chain = new Uint8Array(8);

interface Written {
  readonly key: Buffer;
  readonly position: number;
  readonly value: Buffer | null;
}

class Pool {
  readonly rows = new UnwrittenRows();
  readonly model = new Map<string, Written>();
  #position = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  key(): Buffer {
    return Buffer.from([TABLES[this.#random.below(TABLES.length)] ?? 0, this.#random.below(5)]);
  }

  /** Some writes to one or two tables. */
  write(): void {
    const random = this.#random;
    const position = ++this.#position;
    const tables = [this.key()[0], this.key()[0]];
    const keys = new Map<string, Buffer>();
    for (let count = random.below(5); count >= 0; count--) {
      const key = Buffer.from([tables[random.below(2)] ?? 0, random.below(5)]);
      keys.set(key.toString('hex'), key);
    }
    const writes = [...keys.values()]
      .sort(compareKeys)
      .map((key) => ({ key, value: random.below(4) === 0 ? undefined : Buffer.alloc(random.below(300), position) }));
    const bytes = writes.reduce((sum, { key, value }) => sum + writeBytes(key.length, value?.length), 0);
    const payload = Buffer.from(encodeWrites(writes, writes.length, bytes));
    for (const { key, value } of writes) this.model.set(key.toString('hex'), { key, position, value: value ?? null });
    const entry: LogEntry = { kind: 'data', point: { position, epoch: 1, chain }, payload };
    this.rows.apply(entry);
  }

  inOrder(): Written[] {
    return [...this.model.values()].sort((a, b) => compareKeys(a.key, b.key));
  }
}

function rangeOf(random: Random): Range {
  const [one = 0, other = 0] = [TABLES[random.below(TABLES.length)], TABLES[random.below(TABLES.length)]];
  const ranges = [
    [[one], [one + 1]],
    [
      [one, random.below(3)],
      [one, 3 + random.below(3)],
    ],
    [[Math.min(one, other)], [Math.max(one, other) + 1]],
    [
      [one, 1],
      [one + 1, 1],
    ],
  ] as const;
  const [start, end] = ranges[random.below(ranges.length)] ?? ranges[0];
  return { start: Buffer.from(start), end: Buffer.from(end), limit: 1000, reverse: random.below(2) === 0 };
}

function packedOf(rows: UnwrittenRows): Written[] {
  const found: Written[] = [];
  const packed = rows.pack((bytes) => new SharedArrayBuffer(bytes + 100));
  netRows(packed).forEach((key, { position, value }) =>
    found.push({ key: Buffer.from(key), position, value: value === undefined ? null : Buffer.from(value) }),
  );
  return found;
}

/** How often somebody asks: never, so seldom that most is packed whole, so often that all is taken apart. */
for (const [name, rarity] of Object.entries({ never: Infinity, seldom: 40, often: 3 }))
  t.test(`what is asked (${name}) and what is packed is the last write to each key`, async (test) => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      const pool = new Pool(random);
      const { rows, model } = pool;
      for (let step = 0; step < 150; step++) {
        pool.write();
        if (rarity === Infinity || random.below(rarity) > 0) continue;
        const key = pool.key();
        const expected = model.get(key.toString('hex'))?.value;
        if (!same(rows.get(key), expected)) test.fail(`seed ${seed} step ${step}: get`);
        const range = rangeOf(random);
        const inRange = ({ key: at }: { key: Buffer }): boolean => compareKeys(at, range.start) >= 0 && compareKeys(at, range.end) < 0;
        const below: Row[] = [{ key: Buffer.concat([range.start, Buffer.from([9])]), value: Buffer.from('below') }].filter(inRange);
        const found = rows.scan(range, () => below);
        const wanted = [...pool.inOrder().flatMap((row) => (row.value === null ? [] : [{ key: row.key, value: row.value }])), ...below]
          .filter(inRange)
          .sort((a, b) => compareKeys(a.key, b.key));
        if (range.reverse === true) wanted.reverse();
        test.same(found, wanted, `seed ${seed} step ${step}: scan`);
      }
      test.same(packedOf(rows), pool.inOrder(), `seed ${seed}: packed`);
      const held = rows.held();
      const before = pool.inOrder();
      pool.write();
      test.same(packedOf(held), before, 'later rows do not change what is held');
      test.ok(rows.size >= model.size, 'none is forgotten');
    }
  });

function same(found: Buffer | null | undefined, expected: Buffer | null | undefined): boolean {
  return found instanceof Buffer && expected instanceof Buffer ? found.equals(expected) : found === expected;
}

t.test('who asks for one table leaves the entries of others whole', async (test) => {
  const rows = new UnwrittenRows();
  const put = (position: number, key: string): void => {
    const write = { key: Buffer.from(key), value: Buffer.from('v') };
    const payload = Buffer.from(encodeWrites([write], 1, writeBytes(write.key.length, 1)));
    test.same(outlineOf(payload), { writes: 1, tables: tableBit(write.key) });
    rows.apply({ kind: 'data', point: { position, epoch: 1, chain }, payload });
  };
  put(1, 'a1');
  put(2, 'b1');
  const take = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
  test.equal(rows.get(Buffer.from('c1')), undefined);
  test.equal(rows.pack(take).rowBytes, 0, 'nobody has asked for theirs');
  test.equal(rows.get(Buffer.from('a2')), undefined);
  const packed = rows.pack(take);
  test.ok(packed.rowBytes > 0 && packed.entryBytes > 0, 'one was taken apart, one was not');
  for (let question = 0; question < 30; question++) {
    put(3 + question, 'a1');
    rows.get(Buffer.from('a1'));
  }
  test.equal(rows.pack(take).entryBytes, 0, 'who asks all the time has all taken apart');
});
