/** Where a voter's entries are, against a plain list of them: as the log grows, loses its first files, is cut, and gets other entries instead. */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { EntryTable } from '../../src/quorum/entry-table.js';
import { originPoint } from '../../src/quorum/point.js';
import { encodeRecord, type LogRecord } from '../../src/quorum/record.js';
import type { FileId } from '../../src/quorum/voter-format.js';

interface Known {
  readonly record: LogRecord;
  readonly file: FileId;
  readonly offset: number;
}

/** A table and what must be in it; files of 900 entries, so that no piece of the table ends where a file does. */
class Log {
  readonly table = new EntryTable(originPoint);
  known: Known[] = [];
  base = originPoint;
  #sequence = 0;
  #inFile = 900;
  #offset = 0;

  put(count: number, epoch: number): void {
    for (let i = 0; i < count; i++, this.#inFile++) {
      const before = this.known.at(-1)?.record.entry.point ?? this.base;
      if (this.#inFile >= 900) {
        this.table.addFile({ id: { epoch: 1, sequence: ++this.#sequence }, base: before });
        this.#inFile = 0;
        this.#offset = 4096;
      }
      const kind = before.position % 7 === 6 ? 'barrier' : 'data';
      const record = encodeRecord(
        before,
        epoch,
        kind,
        kind === 'barrier' ? before.position - 3 : 0,
        Buffer.alloc(kind === 'data' ? before.position % 50 : 0, 7),
      );
      this.table.put(record, this.#offset);
      this.known.push({ record, file: { epoch: 1, sequence: this.#sequence }, offset: this.#offset });
      this.#offset += record.bytes.length;
    }
  }

  drop(position: number): number {
    const dropped = this.table.dropFiles(position, { epoch: 1, sequence: 1 }).length;
    const first = must(this.table.files[0], 'the last file stays');
    this.known = this.known.filter(({ record }) => record.entry.point.position > first.base.position);
    this.base = first.base;
    return dropped;
  }

  cut(position: number): void {
    this.table.cut(position);
    this.known = this.known.filter(({ record }) => record.entry.point.position <= position);
  }

  /** What the table says of each entry, beside what is true. */
  check(t: Test, what: string): void {
    const { table, known } = this;
    const told = known.map(({ record }) => {
      const { position } = record.entry.point;
      return {
        point: table.pointAt(position),
        kind: table.kindAt(position),
        place: table.place(position),
        holds: table.holds(record.entry.point),
      };
    });
    const right = known.map(({ record, file, offset }) => {
      const { position, epoch, chain } = record.entry.point;
      return {
        point: { position, epoch, chain: Buffer.from(chain) },
        kind: record.entry.kind,
        place: { file, bytes: record.bytes.length, offset },
        holds: true,
      };
    });
    t.same(told, right, what);
    const last = known.at(-1)?.record.entry.point ?? this.base;
    t.equal(table.lastPosition, last.position);
    t.same(table.base.position, this.base.position);
    t.notOk(table.has(last.position + 1) || table.has(this.base.position), 'nothing around it');
    const barrier = known.findLast(({ record }) => record.entry.kind === 'barrier');
    t.equal(table.covered(last.position), barrier?.record.covers ?? 0);
  }
}

t.test('long logs', (t) => {
  const log = new Log();
  log.put(3, 1);
  log.check(t, 'a few');
  log.put(5000, 1);
  log.check(t, 'more than fit into one piece');
  t.equal(log.drop(899), 0, 'its first file is needed');
  t.equal(log.drop(2000), 2);
  log.check(t, 'behind dropped files');
  log.put(1500, 1);
  t.equal(log.drop(4800), 3);
  log.check(t, 'behind more of them');
  log.cut(5100);
  log.check(t, 'cut');
  log.put(2000, 2);
  log.check(t, 'other entries, of a later epoch');
  log.cut(log.base.position);
  log.check(t, 'empty');
  log.put(1100, 3);
  log.check(t, 'from there on');
  t.end();
});

t.test('an entry that is there already takes a new place, another one cuts what follows', (t) => {
  const log = new Log();
  log.put(3000, 1);
  const { record } = must(log.known[1999], 'it was put');
  log.table.put(record, 123_456);
  t.equal(log.table.place(2000).offset, 123_456);
  t.equal(log.table.lastPosition, 3000, 'what follows stays');
  const before = must(log.known[1998], 'it was put').record.entry.point;
  const other = encodeRecord(before, 2, 'lead', 0, Buffer.alloc(0));
  log.table.put(other, 77);
  t.equal(log.table.lastPosition, 2000);
  t.same(log.table.last, { ...other.entry.point, chain: Buffer.from(other.entry.point.chain) });
  t.notOk(log.table.holds(record.entry.point));
  t.end();
});
