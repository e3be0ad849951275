/** Compaction: what many small files took comes back when most of them go, the files that are left are whole, and nothing else is touched. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { MiB } from '../../src/base/limits.js';
import { Compactor, worthEmptying } from '../../src/durability/compaction.js';
import { parseSegmentName } from '../../src/storage/segment-format.js';
import { DurabilityRig } from './rig.js';

const shape = { disks: 6, k: 4, m: 2, segmentBytesMax: 1 * MiB };

const usedBytes = (rig: DurabilityRig): number[] => [1, 2, 3, 4, 5, 6].map((disk) => rig.pool.backend.medium(disk).usedBytes());

async function segmentCounts(rig: DurabilityRig): Promise<number[]> {
  const counts: number[] = [];
  for (const { disk } of rig.disks.members())
    counts.push(((await disk?.list('segments')) ?? []).filter((name) => parseSegmentName(name) !== undefined).length);
  return counts;
}

/** The collector gives back what is durably nobody's. */
async function givenBack(rig: DurabilityRig): Promise<void> {
  for (let round = 0; round < 3; round++) {
    await rig.collect();
    await rig.index.durable();
  }
}

/** Compacts until there is nothing left to move, and has the old places given back. */
async function compactAll(rig: DurabilityRig): Promise<number> {
  let records = 0;
  for (let round = 0; round < 20; round++) {
    const report = await new Compactor(rig.options).compact();
    await givenBack(rig);
    if (report.records === 0) return records;
    records += report.records;
  }
  throw new Error('it does not come to an end');
}

t.test('many files, most of them deleted: space and files come back', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('first', 1);
  await givenBack(rig);
  const before = usedBytes(rig);
  await rig.writeMany('f', 260);
  await givenBack(rig);
  const full = usedBytes(rig);
  for (const name of [...rig.files.keys()]) if (name.startsWith('f') && !/0$/.test(name) && name !== 'first0') await rig.remove(name);
  await givenBack(rig);
  const punched = usedBytes(rig);
  const many = await segmentCounts(rig);
  test.ok(many.every((count) => count >= 6));
  const live = rig.files.size;
  test.ok(live >= 26 && live < 30);
  const moved = await compactAll(rig);
  test.ok(moved >= 26, `${moved} records moved`);
  const few = await segmentCounts(rig);
  test.ok(
    few.every((count, disk) => count <= 3 && count < (many[disk] ?? 0)),
    `${many.join()} segments became ${few.join()}`,
  );
  const after = usedBytes(rig);
  for (let disk = 0; disk < 6; disk++) {
    const base = must(before[disk], 'used');
    const grown = must(full[disk], 'used') - base;
    // A tenth is live; what is allocated ahead for the current segment comes on top.
    test.ok(must(after[disk], 'used') - base < grown / 4 + MiB, `disk ${disk + 1}: ${after[disk]} after ${full[disk]}, ${punched[disk]}`);
  }
  test.same(await rig.differing(), []);
  for (const disk of [2, 5]) rig.disks.takeOut(disk);
  test.same(await rig.differing(), [], 'whole, not just readable');
});

t.test('records that no row names stay where they are', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 60);
  const orphan = await rig.storage.store(Buffer.alloc(100_000, 7));
  await rig.writeMany('g', 60);
  for (const name of [...rig.files.keys()]) await rig.remove(name);
  await givenBack(rig);
  test.equal(await compactAll(rig), 0);
  const out = Buffer.alloc(100_000);
  await rig.storage.read(orphan.location, 0, out);
  test.ok(out.equals(Buffer.alloc(100_000, 7)));
});

t.test('which segments are worth it', async (test) => {
  const use = (segment: number, bytes: number, liveBytes: number, liveRecords = 3): Parameters<typeof worthEmptying>[0][number] => ({
    disk: 1,
    segment,
    bytes,
    liveBytes,
    liveRecords,
  });
  const full = use(1, 1024 * MiB, 1000 * MiB);
  const half = use(2, 1024 * MiB, 500 * MiB);
  const sparse = use(3, 1024 * MiB, 200 * MiB);
  const sparser = use(4, 1024 * MiB, 100 * MiB);
  test.same(worthEmptying([full, half, sparse, sparser, use(5, 1024 * MiB, 0, 0)]), [sparser, sparse]);
  const small = Array.from({ length: 65 }, (_, index) => use(10 + index, 4 * MiB, 3 * MiB - index));
  test.same(worthEmptying(small.slice(0, 64)), [], 'a few small ones do no harm');
  test.equal(worthEmptying(small).length, 33);
});
