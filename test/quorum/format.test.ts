/** The formats of records and voters' files: held still by golden files, and no bytes from a disk do harm. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import { journalMemory, memoryJournal } from '../../src/quorum/journal.js';
import { originPoint } from '../../src/quorum/point.js';
import { decodeRecord, encodeRecord, followsPoint, recordLength } from '../../src/quorum/record.js';
import {
  decodeLogHeader,
  decodeMark,
  decodePromise,
  encodeLogHeader,
  encodeMark,
  encodePromise,
  highestEpoch,
  logName,
  markName,
  parseNames,
  promiseName,
} from '../../src/quorum/voter-format.js';
import { poolId } from './world.js';

const identity = { poolId, voter: 7 };
const data = encodeRecord(originPoint, 3, 'data', 0, Buffer.from('hello'));
const barrier = encodeRecord(data.entry.point, 3, 'barrier', 1, Buffer.alloc(0));
const lead = encodeRecord(barrier.entry.point, 4, 'lead', 2, Buffer.alloc(0));
const mark = { id: { epoch: 4, sequence: 2 }, version: 9, first: { epoch: 3, sequence: 1 }, point: lead.entry.point };
const header = { id: { epoch: 4, sequence: 2 }, base: barrier.entry.point };

/** Long structures are zeros between a front and the checksum. */
function brief(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return bytes.length <= 128 ? hex : hex.replace(/(00){32,}/g, (zeros) => `[${zeros.length / 2} zeros]`);
}

function journalBytes(): Buffer {
  const memory = journalMemory(4096);
  const journal = memoryJournal(memory, { poolId, bootId: 'boot' });
  journal.reset();
  journal.append(data.bytes);
  return Buffer.from(memory);
}

void t.test('formats are as released', (t) => {
  const golden = JSON.parse(readFileSync(join(packageRoot, 'test', 'golden', 'quorum.json'), 'utf8')) as Record<string, string>;
  const now = {
    'record data': brief(data.bytes),
    'record barrier': brief(barrier.bytes),
    'record lead': brief(lead.bytes),
    promise: brief(encodePromise(identity, 4)),
    mark: brief(encodeMark(identity, mark)),
    'log header': brief(encodeLogHeader(identity, header)),
    journal: brief(journalBytes()),
    names: [promiseName(4), markName(mark.id), logName(header.id)].join(' '),
  };
  if (process.env.SHOW_GOLDEN !== undefined) t.comment(JSON.stringify(now, undefined, 2));
  t.same(now, golden);
  t.end();
});

void t.test('what was written is read', (t) => {
  for (const record of [data, barrier, lead]) t.same(decodeRecord(Buffer.concat([record.bytes, Buffer.alloc(9, 1)])), record);
  t.ok(followsPoint(barrier, data.entry.point));
  t.notOk(followsPoint(lead, data.entry.point), 'leaves out one');
  t.notOk(followsPoint(barrier, { ...data.entry.point, chain: lead.entry.point.chain }), 'another history');
  t.notOk(followsPoint(barrier, { ...data.entry.point, epoch: 4 }), 'an epoch that goes back');
  t.equal(decodePromise(encodePromise(identity, 4), identity), 4);
  t.same(decodeMark(encodeMark(identity, mark), identity), mark);
  t.same(decodeLogHeader(encodeLogHeader(identity, header), identity), header);
  t.throws(() => decodePromise(encodePromise(identity, 4), { ...identity, voter: 8 }), /belongs to voter 7/);
  t.throws(() => decodePromise(encodePromise(identity, 4), { voter: 7, poolId: poolId.replace('0', 'f') }), /another pool/);
  t.throws(() => decodeMark(encodeLogHeader(identity, header), identity), /not OSTRAMRK/);
  t.end();
});

void t.test('names', (t) => {
  const names = parseNames([
    'log-0000010-00001',
    'promise-0000003',
    'log-0000002-00011',
    'log-0000002-00002',
    'mark-0000002-00001',
    'replica',
    'x',
  ]);
  t.same(names, {
    promises: [3],
    marks: [{ epoch: 2, sequence: 1 }],
    logs: [
      { epoch: 2, sequence: 2 },
      { epoch: 2, sequence: 11 },
      { epoch: 10, sequence: 1 },
    ],
  });
  t.equal(highestEpoch(names), 10);
  t.equal(highestEpoch(parseNames([])), 0);
  t.end();
});

void t.test('any change of a byte is found, any garbage is refused', (t) => {
  const random = seededRandom(4);
  let accepted = 0;
  for (let round = 0; round < 4000; round++) {
    const bytes = Buffer.from(data.bytes);
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    if (decodeRecord(bytes) !== undefined) accepted++;
    const garbage = Buffer.from(random.bytes(random.below(200)));
    if (round % 2 === 0 && garbage.length > 64) data.bytes.copy(garbage, 0, 0, random.below(64));
    recordLength(garbage);
    if (decodeRecord(garbage) !== undefined) accepted++;
  }
  t.equal(accepted, 0);
  for (const [whole, decode] of [
    [encodePromise(identity, 4), decodePromise],
    [encodeMark(identity, mark), decodeMark],
    [encodeLogHeader(identity, header), decodeLogHeader],
  ] as const)
    for (let round = 0; round < 500; round++) {
      const bytes = Buffer.from(whole);
      const at = random.below(2) === 0 ? random.below(128) : random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      let found: unknown;
      try {
        decode(bytes, identity);
      } catch (thrown) {
        found = thrown;
      }
      if (!(found instanceof DecodeError)) t.fail(`a change at ${at} was not found: ${String(found)}`);
    }
  t.end();
});
