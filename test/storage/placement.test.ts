/** Placement and capacity, as properties over many random pools. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { shardBytesThatFit } from '../../src/storage/capacity.js';
import { choosePlaces, rotate, shardsThatFit, zoneKey, zoneLimit, type Candidate } from '../../src/storage/placement.js';
import { reserveBytes } from '../../src/storage/space.js';
import { codeOf, simulatedRig } from './rig.js';

function randomDisks(random: Random, count: number): Candidate[] {
  const zones = random.below(3) === 0 ? 0 : 1 + random.below(count);
  return Array.from({ length: count }, (_, index) => ({
    disk: index + 1,
    zone: zones === 0 || random.below(4) === 0 ? undefined : `z${random.below(zones)}`,
    freeBytes: 1 + random.below(2 ** 30),
  }));
}

void t.test('distinct disks, zones within their limit, as many as possible', (t) => {
  const random = seededRandom(3);
  for (let n = 0; n < 3000; n++) {
    const disks = randomDisks(random, 1 + random.below(20));
    const m = random.below(4);
    const k = 1 + random.below(8);
    const limit = zoneLimit(disks, k, m);
    const taken = disks.filter(() => random.below(5) === 0).slice(0, k);
    const candidates = disks.filter((disk) => !taken.includes(disk));
    const chosen = choosePlaces(candidates, k + m, limit, taken, random);
    const problem = ((): string | undefined => {
      if (new Set(chosen).size !== chosen.length) return 'a disk twice';
      if (chosen.some((disk) => !candidates.some((candidate) => candidate.disk === disk))) return 'not a candidate';
      if (chosen.length !== Math.min(k + m, shardsThatFit(candidates, limit, taken))) return `${chosen.length} chosen`;
      const zones = new Map<string, number>();
      for (const { disk, zone } of [...disks.filter(({ disk }) => chosen.includes(disk)), ...taken]) {
        const key = zoneKey({ disk, zone });
        zones.set(key, (zones.get(key) ?? 0) + 1);
      }
      for (const [zone, count] of zones) {
        const before = taken.filter((disk) => zoneKey(disk) === zone).length;
        if (count > Math.max(limit, before)) return `${count} in ${zone}, ${limit} allowed`;
      }
      return undefined;
    })();
    if (problem !== undefined) t.fail(`pool ${n}: ${problem}`);
  }
  t.end();
});

void t.test('the limit of a zone is m, or what makes a blob possible at all', (t) => {
  const zoned = (...zones: (string | undefined)[]): { disk: number; zone: string | undefined }[] =>
    zones.map((zone, index) => ({ disk: index + 1, zone }));
  t.equal(zoneLimit(zoned('a', 'a', 'b', 'b', 'c', 'c'), 4, 2), 2);
  t.equal(zoneLimit(zoned('a', 'a', 'a', 'a', 'b', 'b', 'b', 'b'), 4, 2), 3, 'two zones only: as even as can be');
  t.equal(zoneLimit(zoned(undefined, undefined), 1, 1), 1);
  t.equal(zoneLimit(zoned(undefined), 1, 0), 1);
  t.end();
});

void t.test('disks are chosen in proportion to their free space', (t) => {
  const random = seededRandom(4);
  const free = [100, 100, 100, 100, 200, 200, 400, 800];
  const candidates = free.map((freeBytes, index) => ({ disk: index + 1, zone: undefined, freeBytes }));
  const counts = free.map(() => 0);
  const rounds = 20_000;
  for (let n = 0; n < rounds; n++)
    for (const disk of choosePlaces(candidates, 3, 1, [], random)) counts[disk - 1] = must(counts[disk - 1], 'disk') + 1;
  // 800 of 2000 for 3 shards would be 1.2: it is in each blob, the other two shards are spread over the rest.
  const expected = free.map((bytes) => (bytes === 800 ? 1 : (2 * bytes) / 1200));
  counts.forEach((count, index) => {
    const share = count / rounds;
    t.ok(Math.abs(share - must(expected[index], 'disk')) < 0.02, `disk ${index + 1}: ${share} of ${expected[index]}`);
  });
  t.end();
});

void t.test('disks of different sizes fill together', (t) => {
  const random = seededRandom(6);
  const sizes = [1000, 1000, 1000, 2000, 2000, 3000];
  const free = [...sizes];
  for (let blob = 0; ; blob++) {
    const candidates = free.flatMap((freeBytes, index) => (freeBytes >= 1 ? [{ disk: index + 1, zone: undefined, freeBytes }] : []));
    const chosen = choosePlaces(candidates, 3, 1, [], random);
    if (chosen.length < 3) {
      // What the capacity says can be stored is nearly what was stored.
      const disks = sizes.map((bytes, index) => ({ disk: index + 1, zone: undefined, bytes }));
      const possible = shardBytesThatFit(disks, 3, 1);
      t.ok(blob > 0.97 * possible && blob <= possible, `${blob} of ${possible} blobs fitted`);
      break;
    }
    for (const disk of chosen) free[disk - 1] = must(free[disk - 1], 'disk') - 1;
  }
  t.end();
});

void t.test('all disks take data and parity in turn', (t) => {
  const seen = new Map<string, number>();
  for (let blob = 0; blob < 60; blob++)
    rotate([5, 3, 1, 2, 6, 4], blob).forEach((disk, shard) => seen.set(`${disk}/${shard}`, (seen.get(`${disk}/${shard}`) ?? 0) + 1));
  t.equal(seen.size, 36);
  t.ok([...seen.values()].every((count) => count === 10));
  t.end();
});

/** Stripes that fit when placed greedily onto the emptiest disks, which is optimal; for small numbers. */
function greedy(sizes: readonly number[], shards: number): number {
  const free = [...sizes];
  for (let stripes = 0; ; stripes++) {
    const order = free.map((_, index) => index).sort((a, b) => must(free[b], 'disk') - must(free[a], 'disk'));
    const chosen = order.slice(0, shards).filter((index) => must(free[index], 'disk') > 0);
    if (chosen.length < shards) return stripes;
    for (const index of chosen) free[index] = must(free[index], 'disk') - 1;
  }
}

void t.test('capacity: what fits, against placing it', (t) => {
  const random = seededRandom(8);
  for (let n = 0; n < 500; n++) {
    const count = 1 + random.below(8);
    const sizes = Array.from({ length: count }, () => random.below(60));
    const shards = 1 + random.below(count);
    const disks = sizes.map((bytes, index) => ({ disk: index + 1, zone: undefined, bytes }));
    const fit = shardBytesThatFit(disks, shards, 1);
    if (Math.floor(fit + 1e-6) !== greedy(sizes, shards)) t.fail(`${sizes.join()} with ${shards}: ${fit}, greedy ${greedy(sizes, shards)}`);
  }
  const two = [1, 2, 3, 4].map((disk) => ({ disk, zone: disk < 4 ? 'a' : 'b', bytes: 100 }));
  t.equal(Math.round(shardBytesThatFit(two, 2, 1)), 100, 'one shard in each zone: the small zone decides');
  t.equal(Math.round(shardBytesThatFit(two, 2, 2)), 200);
  t.end();
});

void t.test('the reserve scales with the disk', (t) => {
  t.equal(reserveBytes(64 * MiB), 8 * MiB);
  t.equal(reserveBytes(2048 * MiB), 64 * MiB);
  t.equal(reserveBytes(10_240 * MiB), Math.floor((10_240 * MiB) / 50));
  t.equal(reserveBytes(2 ** 42), 1024 * MiB);
  t.end();
});

void t.test('capacity of a pool, and writing until it is full', async (t) => {
  const sizes = [24, 24, 24, 24, 24, 24, 48].map((size) => size * MiB);
  const rig = await simulatedRig({ disks: 7, k: 4, m: 2, capacityBytes: sizes });
  const before = await rig.storage.capacity();
  t.equal(before.rawTotalBytes, 192 * MiB);
  // T of each shard: 6 × 21 + T = 6 × T, so 25.2 MiB, of which the headers take a little; the large disk cannot be used up.
  t.ok(Math.abs(before.usableBytes - 4 * 25.2 * MiB) < MiB, `${before.usableBytes / MiB} MiB usable`);
  t.ok(before.usableFreeBytes <= before.usableBytes);
  const data = Buffer.alloc(MiB, 'x');
  let stored = 0;
  for (;;) {
    const code = await codeOf(rig.put(data));
    if (code === 'ENOSPC') break;
    t.equal(code, 'resolved');
    stored += data.length;
    if (stored % (16 * MiB) === 0) await rig.syncAll();
    await rig.clock.advance(1000);
    if (stored > 200 * MiB) break;
  }
  t.ok(
    stored > 0.9 * before.usableFreeBytes && stored <= before.usableFreeBytes + 2 * MiB,
    `${stored / MiB} of ${before.usableFreeBytes / MiB} MiB`,
  );
  await rig.clock.advance(2000);
  const full = await rig.storage.capacity();
  t.ok(full.usableFreeBytes < 8 * MiB, `${full.usableFreeBytes / MiB} MiB left`);
  for (const { shards } of rig.locations.values())
    t.ok(
      shards.every(({ disk }) => disk !== 0),
      'no shard was left out for lack of room',
    );
  t.equal(await codeOf(rig.storage.store(data)), 'ENOSPC');
  for (const location of rig.locations.values()) await rig.storage.free(location);
  await rig.clock.advance(2000);
  t.equal(await codeOf(rig.storage.store(data)), 'resolved', 'room again');
});

void t.test('directories that share a file system share its space', async (t) => {
  const rig = await simulatedRig({ disks: 6, k: 4, m: 2, capacityBytes: 96 * MiB });
  const alone = await rig.storage.capacity();
  for (const { disk } of rig.diskSet.members()) {
    const one = must(disk, 'in');
    const ask = one.capacity.bind(one);
    one.capacity = async () => ({ ...(await ask()), fileSystem: 'the same' });
  }
  await rig.clock.advance(2000);
  const shared = await rig.storage.capacity();
  t.equal(shared.rawTotalBytes * 6, alone.rawTotalBytes);
  t.ok(Math.abs(shared.usableBytes * 6 - alone.usableBytes) < MiB);
});
