/**
 * A writer of programs-sqlite.test.ts: transactions on a database that others write to as well, each printed when it is committed. `sqlite-target.js FILE MODE WRITER
 * COUNT`: the mode is `wal` or `delete`, with synchronous=FULL, so that what was printed has to be there whatever is killed.
 */
import Database from 'better-sqlite3';
import { writeSync } from 'node:fs';
import { argv } from 'node:process';

const [, , file = '', mode = '', writer = '', count = ''] = argv;
const BUSY_MS = 120_000;

const database = new Database(file, { timeout: BUSY_MS });
database.pragma(`journal_mode = ${mode}`);
database.pragma('synchronous = FULL');
// Small, so that checkpoints come often.
database.pragma('wal_autocheckpoint = 20');
const next = database.prepare<[string], { sequence: number }>(
  'SELECT coalesce(max(sequence), 0) + 1 AS sequence FROM log WHERE writer = ?',
);
const log = database.prepare('INSERT INTO log (writer, sequence, content) VALUES (?, ?, ?)');
const add = database.prepare('UPDATE total SET count = count + 1, bytes = bytes + ?');
const move = database.prepare('UPDATE accounts SET balance = balance + ? WHERE number = ?');

const transaction = database.transaction((amount: number): number => {
  const sequence = next.get(writer)?.sequence ?? 0;
  const content = `${writer}-${sequence} `.repeat(1 + ((sequence * 37) % 300));
  log.run(writer, sequence, content);
  add.run(content.length);
  move.run(-amount, sequence % 10);
  move.run(amount, (sequence + Number(writer) + 1) % 10);
  return sequence;
});

for (let i = 0; i < Number(count); i++) writeSync(1, `${transaction.immediate(i)}\n`);
database.close();
