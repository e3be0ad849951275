/**
 * SQLite on the mount, in WAL and rollback mode, with several processes that write to one database at a time: locks and shared memory between them work, a writer may be
 * killed (-9) while the others go on, and so may our daemon under all of them. What was committed is there, and integrity_check finds nothing.
 */
import t from 'tap';
import Database from 'better-sqlite3';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Place, lacking } from '../support/place.js';
import { sleep, until, type Teardown } from '../support/pool.js';

const WRITERS = 4;
/** Transactions of each. */
const COUNT = 25;
const KILLS = 2;
const ACCOUNTS = 10;
const target = fileURLToPath(new URL('./sqlite-target.js', import.meta.url));

/** A process with a connection of its own. */
class Writer {
  /** Committed, as far as it said so. */
  readonly committed: number[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  errors = '';

  constructor(
    t: Teardown,
    file: string,
    mode: string,
    readonly name: number,
    count: number,
  ) {
    const child = spawn(process.execPath, [target, file, mode, String(name), String(count)], { stdio: ['ignore', 'pipe', 'pipe'] });
    t.teardown(() => void child.kill('SIGKILL'));
    createInterface({ input: child.stdout }).on('line', (line) => this.committed.push(Number(line)));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.errors += text));
    this.#child = child;
    this.#ended = once(child, 'close').then(() => child.exitCode);
  }

  /** Its exit code; null: killed. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  kill9(): void {
    this.#child.kill('SIGKILL');
  }
}

function create(file: string, mode: string): void {
  const database = new Database(file);
  database.pragma(`journal_mode = ${mode}`);
  database.exec(`CREATE TABLE log (writer TEXT, sequence INTEGER, content TEXT, PRIMARY KEY (writer, sequence));
    CREATE INDEX by_content ON log (content);
    CREATE TABLE total (count INTEGER, bytes INTEGER); INSERT INTO total VALUES (0, 0);
    CREATE TABLE accounts (number INTEGER PRIMARY KEY, balance INTEGER)`);
  for (let number = 0; number < ACCOUNTS; number++) database.prepare('INSERT INTO accounts VALUES (?, 0)').run(number);
  database.close();
}

interface Row {
  readonly writer: string;
  readonly sequence: number;
  readonly content: string;
}

type Checks = Pick<typeof t, 'ok' | 'equal' | 'same'>;

/** Holds a database against what its writers were told. Returns the number of transactions in it. */
function isWell(t: Checks, file: string, writers: readonly Writer[]): number {
  const database = new Database(file, { timeout: 60_000 });
  t.same(database.pragma('integrity_check'), [{ integrity_check: 'ok' }]);
  const rows = database.prepare<[], Row>('SELECT writer, sequence, content FROM log ORDER BY writer, sequence').all();
  const found = new Map<string, number>();
  for (const { writer, sequence, content } of rows) {
    if (sequence !== (found.get(writer) ?? 0) + 1) t.equal(sequence, (found.get(writer) ?? 0) + 1, `no gap in what ${writer} wrote`);
    if (content !== `${writer}-${sequence} `.repeat(1 + ((sequence * 37) % 300))) t.equal(content, '', `${writer} ${sequence}`);
    found.set(writer, sequence);
  }
  const missing = writers.flatMap(({ name, committed }) => committed.filter((sequence) => sequence > (found.get(String(name)) ?? 0)));
  t.same(missing, [], 'nothing that was committed is missing');
  const bytes = rows.reduce((sum, { content }) => sum + content.length, 0);
  t.same(database.prepare('SELECT count, bytes FROM total').get(), { count: rows.length, bytes }, 'transactions are whole');
  t.same(database.prepare('SELECT sum(balance) AS sum FROM accounts').get(), { sum: 0 });
  database.close();
  return rows.length;
}

const skip = await lacking();

for (const mode of ['wal', 'delete'])
  t.test(`journal_mode=${mode}`, { skip }, async (t) => {
    const place = await Place.create(t, 256 * 1024 ** 2);
    const file = place.at('database');
    create(file, mode);
    const start = (count: number): Writer[] => Array.from({ length: WRITERS }, (_, i) => new Writer(t, file, mode, i, count));
    const all: Writer[] = [];

    await t.test('writers at a time', async (t) => {
      const writers = start(COUNT);
      all.push(...writers);
      for (const writer of writers) t.equal(await writer.ended(), 0, writer.errors);
      t.equal(isWell(t, file, all), WRITERS * COUNT);
    });

    await t.test('one of them is killed in the middle of it', async (t) => {
      const writers = start(COUNT);
      all.push(...writers);
      await until('all of them write', async () => writers.every(({ committed }) => committed.length >= 5), 60_000, 10);
      writers[0]?.kill9();
      for (const writer of writers.slice(1)) t.equal(await writer.ended(), 0, writer.errors);
      isWell(t, file, all);
    });

    await t.test('the daemon is killed under them', { skip: place.cannotCrash }, async (t) => {
      for (let round = 0; round < KILLS; round++) {
        const writers = start(1_000_000);
        all.push(...writers);
        await until('all of them write', async () => writers.every(({ committed }) => committed.length >= 5), 60_000, 10);
        await sleep(200 + 100 * round);
        await place.crash(async () => {
          for (const writer of writers) {
            t.not(await writer.ended(), 0, 'a writer cannot go on');
            t.match(writer.errors, /SqliteError/);
          }
        });
        isWell(t, file, all);
      }
    });

    await t.test('from the disks', async (t) => {
      await place.fresh();
      isWell(t, file, all);
      // A journal that was begun when its writer died, and has nothing in it, stays until somebody writes (`hasHotJournal` in SQLite's pager.c).
      const journal = await readFile(place.at('database-journal')).catch(() => Buffer.alloc(0));
      t.equal(journal[0] ?? 0, 0, 'none that would have to be rolled back');
      t.same(
        (await readdir(place.root)).filter((name) => name !== 'database-journal'),
        ['database'],
      );
    });
  });
