/** Keys: bytewise order is the order of elements, every key comes apart again, golden bytes, a fuzzed reader. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import { compareKeys, keyAfter, KeyReader, keyOf, prefixEnd } from '../../src/index/keys.js';

type Tuple = [tag: number, number: number, bytes: Buffer, second: number, rest: Buffer];

function randomBytes(random: Random): Buffer {
  const bytes = [0, 1, 2, 0x61, 0xfe, 0xff];
  return Buffer.from(Array.from({ length: random.below(5) }, () => bytes[random.below(bytes.length)] ?? 0));
}

function randomNumber(random: Random): number {
  return [0, 1, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER, random.below(1000)][random.below(10)] ?? 0;
}

const build = ([tag, number, bytes, second, rest]: Tuple): Buffer => keyOf(tag).number(number).bytes(bytes).number(second).rest(rest).end();

function compareTuples(a: Tuple, b: Tuple): number {
  return a[0] - b[0] || a[1] - b[1] || Buffer.compare(a[2], b[2]) || a[3] - b[3] || Buffer.compare(a[4], b[4]);
}

t.test('order of keys is order of elements; keys come apart again', async (t) => {
  const random = seededRandom(1);
  const tuple = (): Tuple => [random.below(3), randomNumber(random), randomBytes(random), randomNumber(random), randomBytes(random)];
  for (let i = 0; i < 20_000; i++) {
    const [a, b] = [tuple(), tuple()];
    const [keyA, keyB] = [build(a), build(b)];
    const order = Math.sign(compareTuples(a, b));
    if (Math.sign(Buffer.compare(keyA, keyB)) !== order || Math.sign(compareKeys(keyA, keyB)) !== order)
      t.same([a, keyA], [b, keyB], 'order');
    const reader = new KeyReader(keyA);
    const back = [reader.tag, reader.number(), reader.bytes(), reader.number(), reader.rest()];
    reader.end();
    if (JSON.stringify(back) !== JSON.stringify(a)) t.same(back, a);
  }
  t.pass('20,000 pairs');
});

t.test('strings of one character a byte build the same keys', async (t) => {
  const name = Buffer.from([0x61, 0x00, 0xff, 0xc3]).toString('latin1');
  t.same(keyOf(3).text(name).end(), keyOf(3).bytes(Buffer.from(name, 'latin1')).end());
  t.same(keyOf(3).number(9).restText(name).end(), keyOf(3).number(9).rest(Buffer.from(name, 'latin1')).end());
  t.equal(new KeyReader(keyOf(3).text(name).end()).text(), name);
  t.equal(new KeyReader(keyOf(3).restText(name).end()).restText(), name);
  t.throws(() => keyOf(3).text('Ω'), { name: 'AssertionError' });
});

t.test('ranges: a prefix holds exactly the keys that begin with it', async (t) => {
  const random = seededRandom(2);
  for (let i = 0; i < 5000; i++) {
    const prefix = keyOf(random.below(2)).number(randomNumber(random)).rest(randomBytes(random)).end();
    const end = prefixEnd(prefix);
    const key = Buffer.concat([random.below(2) === 0 ? prefix : prefix.subarray(0, 2), randomBytes(random)]);
    const within = compareKeys(key, prefix) >= 0 && compareKeys(key, end) < 0;
    if (within !== key.subarray(0, prefix.length).equals(prefix)) t.same(key, prefix);
    if (compareKeys(keyAfter(key), key) <= 0) t.fail('not after');
  }
  const { start, end, limit, reverse } = keyOf(4).number(7).range(10, true);
  t.same([start, end, limit, reverse], [Buffer.from([4, 1, 7]), Buffer.from([4, 1, 8]), 10, true]);
  t.same(prefixEnd(Buffer.from([4, 0xff, 0xff])), Buffer.from([5]));
  t.throws(() => prefixEnd(Buffer.from([0xff])), { name: 'AssertionError' });
});

t.test('what no key can hold is a bug', async (t) => {
  for (const number of [-1, 0.5, 2 ** 53, Number.NaN]) t.throws(() => keyOf(1).number(number), { name: 'AssertionError' });
  t.throws(() => keyOf(255), { name: 'AssertionError' });
  t.throws(() => keyOf(1).rest(Buffer.alloc(1024)), { name: 'AssertionError' });
  t.equal(keyOf(1).rest(Buffer.alloc(1023)).end().length, 1024);
});

t.test('golden keys', async (t) => {
  const golden = JSON.parse(readFileSync(join(packageRoot, 'test/golden/index-keys.json'), 'utf8')) as Record<string, string>;
  t.same(
    {
      'tag 1': keyOf(1).end().toString('hex'),
      'tag 2, number 0': keyOf(2).number(0).end().toString('hex'),
      'tag 2, number 255, number 256': keyOf(2).number(255).number(256).end().toString('hex'),
      'tag 2, number 2^53-1': keyOf(2).number(Number.MAX_SAFE_INTEGER).end().toString('hex'),
      'tag 3, number 1, rest "name"': keyOf(3).number(1).restText('name').end().toString('hex'),
      'tag 4, bytes 61 00 62, number 5': keyOf(4)
        .bytes(Buffer.from([0x61, 0, 0x62]))
        .number(5)
        .end()
        .toString('hex'),
    },
    golden,
  );
});

t.test('the reader survives any bytes', async (t) => {
  const random = seededRandom(3);
  for (let i = 0; i < 20_000; i++) {
    try {
      const reader = new KeyReader(Buffer.from(random.bytes(random.below(12))).map((byte) => (byte < 128 ? byte % 9 : byte)));
      while (random.below(5) > 0)
        if (random.below(2) === 0) reader.number();
        else reader.bytes();
      reader.end();
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
  }
  for (const bad of ['', '0108', '010100', '01027f', '010061', '0107ffffffffffffff']) {
    t.throws(() => {
      const reader = new KeyReader(Buffer.from(bad, 'hex'));
      reader.number();
      reader.end();
    }, DecodeError);
  }
  t.throws(() => new KeyReader(Buffer.from('01610062', 'hex')).bytes(), DecodeError, 'bad escape');
});
