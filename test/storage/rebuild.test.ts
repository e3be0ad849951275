/** Rebuilding and moving of shards: what is lost is made of the others, what is good is copied, what is corrupt is kept for inspection. */
import t, { type Test } from 'tap';
import { must } from '../../src/base/assert.js';
import type { DiskNumber } from '../../src/base/ids.js';
import { FRAME_BYTES, KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import type { MemberState } from '../../src/disk/membership.js';
import { recordBytesOf } from '../../src/storage/record.js';
import { segmentPath } from '../../src/storage/segment-format.js';
import { codeOf, nativeRig, simulatedRig, type PoolShape, type Rig, type SimulatedBackend } from './rig.js';

const shape = { disks: 8, k: 4, m: 2 };
type Simulated = Rig & { readonly backend: SimulatedBackend };

function setState(rig: Rig, number: DiskNumber, state: MemberState): void {
  const { membership } = rig.diskSet;
  const members = membership.members.map((member) => (member.number === number ? { ...member, state } : member));
  rig.diskSet.membership = { ...membership, members };
}

const disksOf = ({ shards }: Location): DiskNumber[] => shards.map(({ disk }) => disk);

async function within(
  t: Test,
  make: (shape: PoolShape) => Promise<Rig>,
  body: (rig: Rig) => Promise<void>,
  other: PoolShape = shape,
): Promise<void> {
  const rig = await make(other);
  t.teardown(() => rig.cleanUp());
  await body(rig);
  await rig.stop();
}

for (const [name, make] of [
  ['simulated', simulatedRig],
  ['native', nativeRig],
] as const) {
  void t.test(`${name}: good shards move to other disks, data and parity, and both places hold until one is freed`, (t) =>
    within(t, make, async (rig) => {
      const data = rig.content(4 * FRAME_BYTES * 2 + 5000);
      const old = await rig.put(data);
      let now = old;
      for (let shard = 0; shard < 6; shard++) {
        const from = must(now.shards[shard], 'shard').disk;
        const moved = await rig.storage.rebuild(now, [shard], { avoid: new Set([from]) });
        t.same(moved.missing, []);
        t.not(moved.location.shards[shard]?.disk, from, 'elsewhere');
        t.equal(new Set(disksOf(moved.location)).size, 6);
        t.same(
          moved.location.shards.filter((place, other) => other !== shard && place !== now.shards[other]),
          [],
          'nothing else moved',
        );
        now = moved.location;
      }
      t.same(await rig.storage.inspect(now, 'frames'), []);
      t.same(await rig.storage.inspect(old, 'frames'), [], 'the old places are still good');
      await rig.storage.free(old);
      t.ok((await rig.get(now)).equals(data));
      // From parity alone as far as that goes.
      for (const disk of disksOf(now).slice(0, 2)) rig.diskSet.takeOut(disk);
      t.ok((await rig.get(now)).equals(data));
      for (const { member } of rig.diskSet.members()) await rig.diskSet.bringBack(member.number);
      const compacted = await rig.storage.rebuild(now, [0, 1, 2, 3, 4, 5]);
      t.same(compacted.missing, []);
      for (let shard = 0; shard < 6; shard++) t.notSame(compacted.location.shards[shard], now.shards[shard], 'all of them elsewhere');
      t.ok((await rig.get(compacted.location)).equals(data));
    }),
  );

  void t.test(`${name}: a corrupt record is set aside before it is rebuilt`, (t) =>
    within(t, make, async (rig) => {
      const data = rig.content(100_000);
      const location = await rig.put(data);
      await rig.syncAll();
      const { disk, segment, offset } = must(location.shards[1], 'shard');
      const object = must(rig.diskSet.disk(disk), 'in');
      const file = await object.open(segmentPath(segment), { write: true });
      await file.write(offset + 5000, [Buffer.from('rot')]);
      const bytes = recordBytesOf(location.bytes, 4);
      const corrupt = await file.read(offset, bytes);
      await file.close();
      const healed = await rig.storage.rebuild(location, [1]);
      t.same(healed.missing, []);
      t.notSame(healed.location.shards[1], location.shards[1]);
      await rig.storage.free({ ...location, shards: location.shards.map((place, shard) => (shard === 1 ? place : { ...place, disk: 0 })) });
      t.ok((await rig.get(healed.location)).equals(data));
      const [kept, ...more] = await object.list('damaged');
      t.same(more, []);
      const copy = await object.open(`damaged/${must(kept, 'kept')}`);
      t.ok((await copy.read(0, 1 << 20)).equals(corrupt), 'byte for byte');
      await copy.close();
      const avoided = await rig.storage.rebuild(healed.location, [1], { avoid: new Set([disk]) });
      t.equal((await object.list('damaged')).length, 1, 'good records are not kept');
      t.ok((await rig.get(avoided.location)).equals(data));
    }),
  );
}

void t.test('a move reads the one record, not k others', (t) =>
  within(t, simulatedRig, async (rig) => {
    const location = await rig.put(rig.content(300 * KiB));
    const read = new Set<string>();
    (rig as Simulated).backend.machine.schedule = (operation, run) => {
      if (operation.kind === 'read') read.add(operation.disk);
      queueMicrotask(run);
    };
    const { disk } = must(location.shards[2], 'shard');
    await rig.storage.rebuild(location, [2], { avoid: new Set([disk]) });
    t.same([...read], [`/disk${disk}`]);
  }),
);

void t.test('a bad record that should move is made of the others', (t) =>
  within(t, simulatedRig, async (rig) => {
    const data = rig.content(100 * KiB);
    const location = await rig.put(data);
    const { disk, segment, offset } = must(location.shards[2], 'shard');
    (rig as Simulated).backend.medium(disk).flip(segmentPath(segment), offset + 4096 + 7);
    const moved = await rig.storage.rebuild(location, [2], { avoid: new Set([disk]) });
    t.same(moved.missing, []);
    t.not(moved.location.shards[2]?.disk, disk);
    t.same(await rig.storage.inspect(moved.location, 'frames'), []);
    t.equal((await rig.diskSet.disk(disk)?.list('damaged'))?.length, 1);
  }),
);

void t.test('draining disks get no shards and give theirs away; failed ones hold nothing', (t) =>
  within(t, simulatedRig, async (rig) => {
    const before: Location[] = [];
    for (let n = 0; n < 12; n++) before.push(await rig.put(rig.content(50 * KiB)));
    setState(rig, 2, 'draining');
    for (let n = 0; n < 12; n++) t.notOk(disksOf(await rig.put(rig.content(50 * KiB))).includes(2));
    for (const location of before) {
      const shard = disksOf(location).indexOf(2);
      if (shard < 0) continue;
      const moved = await rig.storage.rebuild(location, [shard]);
      t.same(moved.missing, []);
      t.notOk(disksOf(moved.location).includes(2));
    }
    setState(rig, 3, 'failed');
    rig.diskSet.takeOut(3);
    const location = must(
      before.find((each) => disksOf(each).includes(3) && !disksOf(each).includes(2)),
      'one',
    );
    const healed = await rig.storage.rebuild(location, [disksOf(location).indexOf(3)]);
    t.same(healed.missing, []);
    t.notOk(disksOf(healed.location).includes(2), 'nor does heal go to the draining one');
    t.same(rig.declaredOut, [], 'a failed disk was declared long ago');
    // With too few others a draining disk is better than none, a failed one is not.
    setState(rig, 4, 'draining');
    const { location: crowded, missing } = await rig.storage.store(rig.content(50 * KiB));
    t.same(missing, []);
    t.ok(disksOf(crowded).includes(2) || disksOf(crowded).includes(4));
    t.equal((await rig.storage.capacity()).rawTotalBytes, 5 * 128 * 1024 * KiB, 'space of active disks');
    await rig.diskSet.bringBack(3);
    t.notOk(disksOf(await rig.put(rig.content(50 * KiB))).includes(3), 'also when it is there');
  }),
);

void t.test('a move that finds no place leaves everything as it was', (t) =>
  within(
    t,
    simulatedRig,
    async (rig) => {
      const data = rig.content(50 * KiB);
      const location = await rig.put(data);
      const { disk } = must(location.shards[0], 'shard');
      t.equal(await codeOf(rig.storage.rebuild(location, [0], { avoid: new Set([disk]) })), 'EIO');
      // With a lost shard beside it, that one is rebuilt, and the other stays.
      rig.diskSet.takeOut(must(location.shards[1], 'shard').disk);
      await rig.diskSet.bringBack(must(location.shards[1], 'shard').disk);
      const lost = { ...location, shards: location.shards.map((place, shard) => (shard === 1 ? { ...place, disk: 0 } : place)) };
      const rebuilt = await rig.storage.rebuild(lost, [0, 1], { avoid: new Set([disk]) });
      t.same(rebuilt.missing, []);
      t.same(rebuilt.location.shards[0], location.shards[0]);
      t.not(rebuilt.location.shards[1]?.disk, 0);
      t.ok((await rig.get(rebuilt.location)).equals(data));
    },
    { disks: 6, k: 4, m: 2 },
  ),
);
