/** The reference code and the simulated stripes. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { RECORD_HEADER_BYTES } from '../../src/base/limits.js';
import { crc32c, encodeShard, reconstructShard } from '../../src/disk/reference-codec.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import { stripeConformance } from './stripe-conformance.js';

void t.test('known values', async (t) => {
  t.equal(~crc32c(Buffer.from('123456789'), 0xffffffff) >>> 0, 0xe3069283, 'the check value of CRC-32C');
  const ab = Buffer.from('chained');
  t.equal(crc32c(ab.subarray(3), crc32c(ab.subarray(0, 3), 5)), crc32c(ab, 5));
  // One byte a shard: parity row i of a Cauchy matrix is 1/(i^0), 1/(i^1)…; 1/2 and 1/3 in this field are 0x8e and 0xf4.
  t.same(encodeShard([Buffer.from([1]), Buffer.from([0])], 2), Uint8Array.of(0x8e));
  t.same(encodeShard([Buffer.from([0]), Buffer.from([1])], 2), Uint8Array.of(0xf4));
});

void t.test('any k of k+m give back all, up to 32 shards', async (t) => {
  const random = seededRandom(3);
  for (const [k, m] of [
    [1, 1],
    [2, 2],
    [6, 3],
    [8, 4],
    [16, 16],
    [28, 4],
  ] as const) {
    const data = Array.from({ length: k }, () => random.bytes(64));
    const all = [...data, ...Array.from({ length: m }, (_, i) => encodeShard(data, k + i))];
    for (let round = 0; round < 10; round++) {
      const numbers = all.map((_, shard) => shard);
      while (numbers.length > k) numbers.splice(random.below(numbers.length), 1);
      const good = new Map(numbers.map((shard) => [shard, all[shard] ?? new Uint8Array()]));
      const wrong = all.filter((shard, number) => Buffer.compare(reconstructShard(k, good, number), shard) !== 0);
      t.equal(wrong.length, 0, `${k}+${m} from ${numbers.join(',')}`);
    }
  }
});

void t.test('conformance', (t) => {
  stripeConformance(t, async (count) => {
    const machine = new SimulatedMachine(seededRandom(4));
    const files = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        machine.addDisk(`/d${i}`);
        return machine.open(`/d${i}`).open('segment', { create: true, write: true });
      }),
    );
    return {
      io: new SimulatedStripeIo(),
      files,
      damage: async (file, offset) => {
        machine.medium(file.disk.directory).flip(file.path, offset, 3);
      },
      hold: async (file) => {
        const medium = machine.medium(file.disk.directory);
        medium.stalledPath = '';
        return () => {
          machine.release(medium);
        };
      },
      cleanUp: async () => undefined,
    };
  });
  t.end();
});

void t.test('a disk that fails is reported, the other records land', async (t) => {
  const machine = new SimulatedMachine(seededRandom(4));
  const io = new SimulatedStripeIo();
  const geometry = { k: 2, m: 1, shardBytes: 4096 };
  const records = await Promise.all(
    [0, 1, 2].map(async (shard) => {
      machine.addDisk(`/d${shard}`);
      const file = await machine.open(`/d${shard}`).open('s', { create: true, write: true });
      return { shard, file, offset: 0, prefix: new Uint8Array(256).fill(shard), seed: shard };
    }),
  );
  machine.medium('/d1').failNext('write', 'EIO');
  const data = Buffer.alloc(8192, 'x');
  const failures = await io.store(geometry, data, records);
  t.match(failures, [{ shard: 1, error: { code: 'EIO', disk: '/d1' } }]);
  t.equal(failures.length, 1);
  machine.medium('/d0').failNext('read', 'EIO');
  const out = Buffer.alloc(8192);
  await t.rejects(io.fetch(geometry, records, 0, out), { code: 'EIO' }, 'one good record of two is not enough');
  t.match(await io.fetch(geometry, records, 0, out), [{ shard: 1 }]);
  t.same(out, data);
  t.equal(await records[0]?.file.size(), RECORD_HEADER_BYTES + 4096);
});
