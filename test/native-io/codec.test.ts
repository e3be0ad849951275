/** The native codec against the plain one in TypeScript, and its checks of arguments. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { FRAME_BYTES } from '../../src/base/limits.js';
import { nativeIo } from '../../src/base/native-io.js';
import { crc32c, encodeShard } from '../../src/disk/reference-codec.js';
import { frameSeed } from '../../src/disk/stripe.js';

const io = nativeIo();
const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined);

function shards(k: number, m: number, bytes: number, seed: number): { data: Uint8Array[]; parity: Uint8Array[] } {
  const random = seededRandom(seed);
  const data = Array.from({ length: k }, () => random.bytes(bytes));
  const parity = Array.from({ length: m }, () => new Uint8Array(bytes));
  io.rebuild(k, m, [...data, ...none(m)], [...none(k), ...parity]);
  return { data, parity };
}

const codes: readonly (readonly [number, number])[] = [
  [1, 0],
  [1, 1],
  [2, 1],
  [2, 2],
  [4, 2],
  [8, 4],
  [28, 4],
  [1, 31],
  [16, 16],
];

void t.test('encoding agrees with the reference, whatever the length', async (t) => {
  for (const [k, m] of codes) {
    for (const bytes of [1, 31, 64, 333, 4096]) {
      const { data, parity } = shards(k, m, bytes, k * 100 + m + bytes);
      const wrong = parity.filter((shard, i) => Buffer.compare(shard, encodeShard(data, k + i)) !== 0);
      t.equal(wrong.length, 0, `${k}+${m} × ${bytes}`);
    }
  }
});

void t.test('any subset of the parity shards', async (t) => {
  const { data, parity } = shards(8, 4, 500, 1);
  for (let mask = 0; mask < 16; mask++) {
    const wanted = parity.map((shard, i) => ((mask & (1 << i)) === 0 ? undefined : new Uint8Array(shard.length)));
    io.rebuild(8, 4, [...data, ...none(4)], [...none(8), ...wanted]);
    for (const [i, shard] of wanted.entries()) if (shard) t.same(shard, parity[i]);
  }
});

void t.test('every erasure pattern of 4+2, and random ones of the others', async (t) => {
  const random = seededRandom(2);
  for (const [k, m] of codes) {
    const { data, parity } = shards(k, m, 200, 7);
    const all = [...data, ...parity];
    const patterns =
      k + m <= 6
        ? Array.from({ length: 2 ** (k + m) }, (_, mask) => all.map((_, i) => (mask & (1 << i)) !== 0))
        : Array.from({ length: 40 }, () => {
            const lost = all.map(() => false);
            for (let i = 0; i < m; i++) lost[random.below(k + m)] = true;
            return lost;
          });
    for (const lost of patterns) {
      const sources = all.map((shard, i) => (lost[i] ? undefined : shard));
      const targets = all.map((shard, i) => (lost[i] ? new Uint8Array(shard.length) : undefined));
      if (sources.filter((shard) => shard).length < k) {
        t.throws(() => io.rebuild(k, m, sources, targets), TypeError);
        continue;
      }
      io.rebuild(k, m, sources, targets);
      const wrong = targets.filter((shard, i) => shard && Buffer.compare(shard, all[i] ?? shard) !== 0);
      t.equal(wrong.length, 0, `${k}+${m} without ${lost.flatMap((is, i) => (is ? [i] : [])).join(',')}`);
    }
  }
});

void t.test('checksums', async (t) => {
  const bytes = seededRandom(4).bytes(3 * FRAME_BYTES + 4096);
  for (const length of [0, 1, 7, 4096, bytes.length])
    t.equal(io.crc32c(bytes.subarray(0, length), 0xdeadbeef), crc32c(bytes.subarray(0, length), 0xdeadbeef));
  const random = seededRandom(5);
  for (let round = 0; round < 1000; round++) {
    const [seed, frame] = [random.below(2 ** 32), random.below(512)];
    t.equal(io.frameSeed(seed, frame), frameSeed(seed, frame));
  }
  const crcs = [0, 1, 2, 3].map((i) => crc32c(bytes.subarray(i * FRAME_BYTES, (i + 1) * FRAME_BYTES), frameSeed(99, 5 + i)));
  t.same([...io.frameCrcs(bytes, 99, 5)], crcs);
  t.same([...io.frameCrcs(new Uint8Array(0), 99, 5)], []);
});

void t.test('arguments that cannot be', async (t) => {
  const four = Array.from({ length: 4 }, () => new Uint8Array(16));
  const bad: [string, () => unknown][] = [
    ['k of 0', () => io.rebuild(0, 2, none(2), none(2))],
    ['33 shards', () => io.rebuild(31, 2, none(33), none(33))],
    ['k is not whole', () => io.rebuild(1.5, 2, none(3), none(3))],
    ['k is not a number', () => io.rebuild(NaN, 2, none(3), none(3))],
    ['too few places', () => io.rebuild(2, 2, four.slice(1), four)],
    ['too many places', () => io.rebuild(2, 1, four, four)],
    ['lengths differ', () => io.rebuild(2, 2, [...four.slice(1), new Uint8Array(15)], four)],
    ['not bytes', () => io.rebuild(2, 2, [...four.slice(1), new Float64Array(2) as unknown as Uint8Array], four)],
    ['not an array', () => io.rebuild(2, 2, 'x' as unknown as [], four)],
    ['a negative seed', () => io.crc32c(four[0] ?? new Uint8Array(), -1)],
    ['a seed of 33 bits', () => io.crc32c(four[0] ?? new Uint8Array(), 2 ** 32)],
    ['no arguments', () => (io.rebuild as () => void)()],
  ];
  for (const [what, call] of bad) t.throws(call, TypeError, what);
});
