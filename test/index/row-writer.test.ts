/** Rows written in groups, against a map: new ones, old ones and both in one group; what the file says that it holds is what it does hold. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { RowWriter } from '../../src/index/row-writer.js';
import { DamagedFileError } from '../../src/index/sqlite-error.js';
import { GROUP_ROWS, rowChecksum, SqliteFile, type NewRow } from '../../src/index/sqlite-file.js';
import { temporaryFolder } from './engines.js';

const TABLES = [...Buffer.from('abc')];
const KEYS = 400;

const point = (position: number): { position: number; epoch: number; chain: Uint8Array } => ({
  position,
  epoch: 1,
  chain: new Uint8Array(16),
});

function keyOf(number: number): Buffer {
  return Buffer.from([TABLES[number % TABLES.length] ?? 0, number >>> 8, number & 0xff]);
}

function rowOf(key: Buffer, position: number, value: Buffer): NewRow {
  return { key, position, checksum: rowChecksum(key, position, value), value };
}

async function newFile(test: Test): Promise<{ path: string; file: SqliteFile }> {
  const folder = await temporaryFolder();
  const path = join(folder, 'rows.sqlite');
  const file = new SqliteFile(path, 'durable', true);
  test.teardown(async () => {
    file.close();
    await rm(folder, { recursive: true });
  });
  return { path, file };
}

/** Writes a batch in one transaction: rows and removals in order of their keys, as a net effect comes. */
function write(file: SqliteFile, position: number, batch: ReadonlyMap<number, Buffer | undefined>): void {
  file.begin();
  const { contents = { rows: 0, sum: 0 } } = file.meta();
  const writer = new RowWriter(file, contents);
  const keys = [...batch].map(([number, value]) => ({ key: keyOf(number), value })).sort((a, b) => Buffer.compare(a.key, b.key));
  for (const { key, value } of keys)
    if (value === undefined) writer.delete(key);
    else writer.write(rowOf(key, position, value));
  writer.flush();
  file.setMeta(point(position), contents);
  file.commit();
}

function everything(file: SqliteFile): string[] {
  return file
    .scan(Buffer.from([0]), Buffer.from([0xff]), 10 * KEYS, false)
    .map(({ key, value }) => `${key.toString('hex')} ${value.toString('hex')}`);
}

function shown(model: ReadonlyMap<number, Buffer>): string[] {
  return [...model].map(([number, value]) => `${keyOf(number).toString('hex')} ${value.toString('hex')}`).sort();
}

t.test('what is in the file is the last of what was written, and it knows how much that is', async (test) => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = seededRandom(seed);
    const { file } = await newFile(test);
    const model = new Map<number, Buffer>();
    let next = 0;
    for (let position = 1; position <= 25; position++) {
      const batch = new Map<number, Buffer | undefined>();
      const value = (): Buffer => Buffer.alloc([0, 3, 40, 700][random.below(4)] ?? 0, position);
      // Rows that never were, one after the other; old ones anywhere; removals of what is there and what is not; any number of each.
      for (let count = random.below(3 * GROUP_ROWS); count > 0; count--) batch.set(next++ % KEYS, value());
      for (let count = random.below([1, 4, 40][random.below(3)] ?? 1); count > 0; count--) batch.set(random.below(KEYS), value());
      for (let count = random.below([1, 3, 40][random.below(3)] ?? 1); count > 0; count--) batch.set(random.below(KEYS), undefined);
      write(file, position, batch);
      for (const [number, written] of batch)
        if (written === undefined) model.delete(number);
        else model.set(number, written);
    }
    file.verify(() => undefined);
    test.same(everything(file), shown(model), `seed ${seed}`);
    test.equal(file.meta().contents?.rows, model.size, 'rows are counted');
  }
});

t.test('a group of new rows with one that is there, each place in turn', async (test) => {
  const { file } = await newFile(test);
  const model = new Map<number, Buffer>();
  const batch = (numbers: readonly number[], fill: number): Map<number, Buffer> =>
    new Map(numbers.map((number) => [number * TABLES.length, Buffer.alloc(9, fill)]));
  const put = (position: number, rows: Map<number, Buffer>): void => {
    write(file, position, rows);
    for (const [number, value] of rows) model.set(number, value);
  };
  // The table grows from here on.
  const numbers = Array.from({ length: GROUP_ROWS }, (_, at) => at);
  put(1, batch(numbers, 1));
  for (let old = 0; old < GROUP_ROWS; old++) {
    const from = (old + 1) * GROUP_ROWS;
    const rows = numbers.map((at) => (at === old ? from - GROUP_ROWS + at : from + at));
    put(2 + old, batch(rows, 2 + old));
    file.verify(() => undefined);
  }
  test.same(everything(file), shown(model));
});

/** Rows as a file says that it has them, whatever is in its pages. */
async function damagedFile(test: Test, damage: (path: string) => void): Promise<{ file: SqliteFile; numbers: number[] }> {
  const { path, file } = await newFile(test);
  const numbers = Array.from({ length: 2 * GROUP_ROWS }, (_, at) => at * TABLES.length);
  write(file, 1, new Map(numbers.map((number) => [number, Buffer.alloc(3, number)])));
  file.close();
  damage(path);
  const damaged = new SqliteFile(path, 'durable', false);
  test.teardown(() => {
    damaged.close();
  });
  return { file: damaged, numbers };
}

for (const [name, checksum] of Object.entries({ 'no number': Buffer.alloc(9, 1), negative: -1 }))
  t.test(`a row whose checksum is ${name} is damage, not a sum that is wrong`, async (test) => {
    const { file, numbers } = await damagedFile(test, (path) => {
      const db = new Database(path);
      db.prepare('UPDATE kv SET checksum = ? WHERE rowid = 5').run(checksum);
      db.close();
    });
    for (const value of [Buffer.alloc(4, 7), undefined]) {
      test.throws(() => {
        write(file, 2, new Map(numbers.map((number) => [number, value])));
      }, DamagedFileError);
      file.rollback();
    }
  });
