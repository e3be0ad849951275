/** Log entries: golden bytes, a strict decoder, fuzz. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import { decodeWrites, encodeWrites, outlineOf, tableBit, writeBytes, type Write } from '../../src/index/entry.js';

function encode(writes: readonly Write[]): Buffer {
  return encodeWrites(
    writes,
    writes.length,
    writes.reduce((sum, { key, value }) => sum + writeBytes(key.length, value?.length), 0),
  );
}

const sample: readonly Write[] = [
  { key: Buffer.from('a'), value: Buffer.from('first') },
  { key: Buffer.from('b'), value: undefined },
  { key: Buffer.from('ba'), value: Buffer.alloc(0) },
  { key: Buffer.alloc(200, 0x63), value: Buffer.alloc(300, 0x64) },
];

t.test('golden entry', async (t) => {
  const golden = readFileSync(join(packageRoot, 'test/golden/index-entry.hex'), 'utf8').replace(/\s/g, '');
  t.equal(encode(sample).toString('hex'), golden);
  t.same(decodeWrites(Buffer.from(golden, 'hex')), sample);
});

t.test('at a glance: how many writes, to which tables', async (t) => {
  const payload = Buffer.from(encode(sample));
  const tables = sample.reduce((bits, { key }) => bits | tableBit(key), 0);
  t.same(outlineOf(payload), { writes: sample.length, tables });
  t.not(tables & tableBit(Buffer.from('c')), 0);
  t.equal(tables & tableBit(Buffer.from('d')), 0);
  for (let length = 0; length < payload.length; length++)
    t.throws(() => outlineOf(payload.subarray(0, length)), DecodeError, `${length} bytes of ${payload.length}`);
  payload[0] = 9;
  t.throws(() => outlineOf(payload), DecodeError, 'another version');
});

t.test('random write sets come back', async (t) => {
  const random = seededRandom(1);
  for (let i = 0; i < 300; i++) {
    const keys = new Set(Array.from({ length: random.below(30) }, () => Buffer.from(random.bytes(1 + random.below(20))).toString('hex')));
    const writes = [...keys].sort().map((key) => ({
      key: Buffer.from(key, 'hex'),
      value: random.below(3) === 0 ? undefined : Buffer.from(random.bytes(random.below(random.below(20) === 0 ? 70_000 : 300))),
    }));
    const back = decodeWrites(encode(writes));
    t.equal(back.length, writes.length);
    if (
      !back.every(
        ({ key, value }, at) =>
          key.equals(writes[at]?.key ?? Buffer.alloc(0)) &&
          Buffer.compare(value ?? Buffer.from('x'), writes[at]?.value ?? Buffer.from('x')) === 0,
      )
    )
      t.fail('a write set came back different');
  }
});

t.test('nothing but what the encoder makes is taken', async (t) => {
  const bad: Record<string, string> = {
    empty: '',
    'no count': '01',
    'unknown version': '0200',
    'longer than its writes': '010000',
    'fewer writes than counted': '0102016100',
    'empty key': '01010000',
    'the same key twice': '0102016100016100',
    'keys descend': '0102016200016100',
    'key past the end': '0101056100',
    'value past the end': '010101610a00',
    'count written long': '01810001610100',
    'length written long': '010181006101',
    'huge count': '01ffffffffffffff0f',
    'key longer than keys are': `01018108${'61'.repeat(1025)}00`,
  };
  for (const [what, hex] of Object.entries(bad)) t.throws(() => decodeWrites(Buffer.from(hex, 'hex')), DecodeError, what);
  t.same(decodeWrites(Buffer.from('0100', 'hex')), []);
});

t.test('every cut and every flipped byte is either refused or another canonical entry', async (t) => {
  const good = encode(sample);
  for (let cut = 0; cut < good.length; cut++) t.throws(() => decodeWrites(good.subarray(0, cut)), DecodeError);
  const random = seededRandom(2);
  for (let i = 0; i < 20_000; i++) {
    const bad = Buffer.from(good);
    for (let flips = 1 + random.below(3); flips > 0; flips--) bad[random.below(24)] = random.below(256);
    let writes: Write[];
    try {
      writes = decodeWrites(bad);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      continue;
    }
    if (!encode(writes).equals(bad)) t.fail(`taken, but not canonical: ${bad.toString('hex')}`);
  }
});
