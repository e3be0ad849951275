/** The journal: what the next process of the same boot finds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom } from '../../src/base/clock.js';
import { journalMemory, memoryJournal, openSharedJournal } from '../../src/quorum/journal.js';
import { originPoint } from '../../src/quorum/point.js';
import type { Journal } from '../../src/quorum/quorum-log.js';
import { decodeRecord, encodeRecord, type LogRecord } from '../../src/quorum/record.js';
import { poolId } from './world.js';

const identity = { poolId, bootId: 'boot' };
const BYTES = 4096;

class Writer {
  last = originPoint;

  next(payloadBytes: number): LogRecord {
    const record = encodeRecord(this.last, 1, 'data', 0, Buffer.alloc(payloadBytes, this.last.position));
    this.last = record.entry.point;
    return record;
  }
}

const positions = (journal: Journal): number[] =>
  journal.recover().map((bytes) => must(decodeRecord(Buffer.from(bytes)), 'a record').entry.point.position);

void t.test('what was appended and not trimmed is found, also around the end of the ring', (t) => {
  const memory = journalMemory(BYTES);
  const journal = memoryJournal(memory, identity);
  t.same(positions(journal), [], 'nothing before the first reset');
  journal.reset();
  const writer = new Writer();
  const random = seededRandom(1);
  let oldest = 1;
  for (let step = 0; step < 2000; step++) {
    const record = writer.next(random.below(700));
    while (journal.freeBytes() < record.bytes.length) journal.trim(oldest++);
    journal.append(record.bytes);
    if (step % 50 === 0) {
      const found = positions(memoryJournal(memory, identity));
      t.equal(found[0], oldest);
      t.equal(found.at(-1), writer.last.position);
      t.equal(found.length, writer.last.position - oldest + 1);
    }
  }
  journal.trim(writer.last.position);
  t.same(positions(memoryJournal(memory, identity)), []);
  t.end();
});

void t.test('free space is what one append may take, to the byte', (t) => {
  const memory = journalMemory(BYTES);
  const journal = memoryJournal(memory, identity);
  journal.reset();
  const writer = new Writer();
  journal.append(writer.next(1).bytes);
  const free = journal.freeBytes();
  journal.append(writer.next(free - 64).bytes);
  t.ok(journal.freeBytes() < 64);
  t.same(positions(memoryJournal(memory, identity)), [1, 2]);
  t.throws(() => journal.append(writer.next(1).bytes), /no room/);
  t.end();
});

void t.test('another boot, another pool, another size: nothing is found', (t) => {
  const memory = journalMemory(BYTES);
  const journal = memoryJournal(memory, identity);
  journal.reset();
  journal.append(new Writer().next(5).bytes);
  t.same(positions(memoryJournal(memory, identity)), [1]);
  t.same(positions(memoryJournal(memory, { ...identity, bootId: 'another' })), []);
  t.same(positions(memoryJournal(memory, { ...identity, poolId: poolId.replace('0', 'f') })), []);
  const larger = journalMemory(2 * BYTES);
  Buffer.from(larger).set(new Uint8Array(memory));
  t.same(positions(memoryJournal(larger, identity)), []);
  t.end();
});

void t.test('damage anywhere leaves a prefix', (t) => {
  const memory = journalMemory(BYTES);
  const journal = memoryJournal(memory, identity);
  journal.reset();
  const writer = new Writer();
  for (let count = 0; count < 10; count++) journal.append(writer.next(100).bytes);
  const random = seededRandom(2);
  let shortest = 10;
  for (let round = 0; round < 2000; round++) {
    const copy = memory.slice(0);
    const bytes = Buffer.from(copy);
    const at = random.below(bytes.length);
    bytes[at] = random.below(256);
    const found = positions(memoryJournal(copy, identity));
    t.same(
      found,
      found.map((_, index) => index + (found[0] ?? 1)),
    );
    shortest = Math.min(shortest, found.length);
  }
  t.equal(shortest, 0);
  t.end();
});

void t.test('shared memory outlives the mapping', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'journal-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const options = { ...identity, directory, bytes: 2 ** 16 };
  const first = openSharedJournal(options);
  first.reset();
  const writer = new Writer();
  first.append(writer.next(10).bytes);
  first.append(writer.next(20).bytes);
  const second = openSharedJournal(options);
  t.same(positions(second), [1, 2], 'without the first being closed');
  first.close();
  first.close();
  t.throws(() => first.append(writer.next(1).bytes), /closed/);
  t.same(positions(second), [1, 2]);
  second.close();
  t.throws(() => openSharedJournal({ ...options, bytes: 2 ** 17 }), { code: 'EINVAL' });
  t.end();
});
