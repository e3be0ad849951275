/** What must hold on simulated and on real disks alike. */
import type { Test } from 'tap';
import { must } from '../../src/base/assert.js';
import { FRAME_BYTES, KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { codeOf, type PoolShape, type Rig } from './rig.js';

type Make = (shape: PoolShape) => Promise<Rig>;

/** Every pair out of `count`. */
export function pairs(count: number): [number, number][] {
  const found: [number, number][] = [];
  for (let a = 1; a <= count; a++) for (let b = a + 1; b <= count; b++) found.push([a, b]);
  return found;
}

export function storageSuite(t: Test, make: Make): void {
  const within = async (t: Test, shape: PoolShape, body: (rig: Rig) => Promise<void>): Promise<void> => {
    const rig = await make(shape);
    t.teardown(() => rig.cleanUp());
    await body(rig);
    await rig.stop();
  };

  void t.test('blobs of all sizes come back, in ranges of all alignments', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      for (const bytes of [1, 4095, 4096, 4 * FRAME_BYTES, 4 * FRAME_BYTES + 1, 300 * KiB + 7]) {
        const data = rig.content(bytes);
        const location = await rig.put(data);
        t.same(new Set(location.shards.map(({ disk }) => disk)).size, 6, 'six disks');
        t.ok((await rig.get(location)).equals(data), `${bytes} bytes`);
        for (let n = 0; n < 30; n++) {
          const offset = rig.random.below(bytes);
          const length = 1 + rig.random.below(bytes - offset);
          t.ok((await rig.get(location, offset, length)).equals(data.subarray(offset, offset + length)), `${offset}+${length} of ${bytes}`);
        }
      }
      t.ok(rig.storage.unsyncedBytes > 0);
      t.ok(await rig.storage.sync());
      t.equal(rig.storage.unsyncedBytes, 0);
      t.same(rig.damage, []);
    }),
  );

  void t.test('whether there is a disk for each shard', (t) =>
    within(t, { disks: 7, k: 4, m: 2 }, async (rig) => {
      t.equal(rig.storage.storesInFull, true);
      rig.diskSet.takeOut(3);
      t.equal(rig.storage.storesInFull, true, 'six are left');
      rig.diskSet.takeOut(6);
      t.equal(rig.storage.storesInFull, false);
      t.equal((await rig.storage.store(rig.content(100_000))).missing.length, 1);
      await rig.diskSet.bringBack(3);
      t.equal(rig.storage.storesInFull, true);
      t.same((await rig.storage.store(rig.content(100_000))).missing, []);
    }),
  );

  void t.test('codes with one disk, without parity, with mirrors, with many disks', async (t) => {
    for (const [k, m] of [
      [1, 0],
      [1, 1],
      [2, 1],
      [8, 4],
    ] as const) {
      const rig = await make({ disks: k + m, k, m });
      t.teardown(() => rig.cleanUp());
      const data = rig.content(200_000);
      const location = await rig.put(data);
      for (let lost = 1; lost <= m; lost++) rig.diskSet.takeOut(lost);
      t.ok((await rig.get(location)).equals(data), `${k}+${m}`);
      rig.diskSet.takeOut(m + 1);
      t.equal(await codeOf(rig.get(location)), 'EIO', `${k}+${m} with ${m + 1} lost`);
      await rig.stop();
    }
  });

  void t.test('every pair of six disks may be lost', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      const blobs: [Location, Uint8Array][] = [];
      for (let n = 0; n < 7; n++) {
        const data = rig.content(50_000 + rig.random.below(200_000));
        blobs.push([await rig.put(data), data]);
      }
      await rig.syncAll();
      for (const [a, b] of pairs(6)) {
        rig.diskSet.takeOut(a);
        rig.diskSet.takeOut(b);
        for (const [location, data] of blobs) {
          t.ok((await rig.get(location)).equals(data), `without ${a} and ${b}`);
          t.ok(await rig.storage.verify(location));
        }
        const third = [1, 2, 3, 4, 5, 6].find((disk) => disk !== a && disk !== b) ?? 0;
        rig.diskSet.takeOut(third);
        for (const [location, data] of blobs) {
          t.equal(await rig.storage.verify(location), false);
          const out = Buffer.alloc(data.length);
          const code = await codeOf(rig.storage.read(location, 0, out));
          t.equal(code, 'EIO', 'three lost');
        }
        for (const disk of [a, b, third]) await rig.diskSet.bringBack(disk);
      }
      for (const [location, data] of blobs) t.ok((await rig.get(location)).equals(data), 'all back');
      t.same(rig.damage, [], 'absent is not damaged');
    }),
  );

  void t.test('degraded writes, and what heal makes of them', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      rig.diskSet.takeOut(2);
      rig.diskSet.takeOut(5);
      const data = rig.content(100_000);
      const stored = await rig.storage.store(data);
      t.equal(stored.missing.length, 2);
      t.same([...rig.declaredOut].sort(), [2, 5], 'declared out first');
      for (const shard of stored.missing) t.equal(stored.location.shards[shard]?.disk, 0);
      t.ok((await rig.get(stored.location)).equals(data));
      t.equal(await codeOf(rig.storage.rebuild(stored.location, stored.missing)), 'EIO', 'nowhere to go yet');
      await rig.diskSet.bringBack(2);
      await rig.diskSet.bringBack(5);
      const healed = await rig.storage.rebuild(stored.location, stored.missing);
      t.same(healed.missing, []);
      t.same([...healed.location.shards.map(({ disk }) => disk)].sort(), [1, 2, 3, 4, 5, 6]);
      t.ok(await rig.storage.sync());
      rig.diskSet.takeOut(1);
      rig.diskSet.takeOut(3);
      t.ok((await rig.get(healed.location)).equals(data), 'as good as new');
    }),
  );

  void t.test('too few disks for a blob: EIO', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      for (const disk of [1, 2, 3]) rig.diskSet.takeOut(disk);
      t.equal(await codeOf(rig.storage.store(rig.content(1000))), 'EIO');
    }),
  );

  void t.test('freed blobs give their space back; the next leadership finds what nothing points to', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      const kept: [Location, Uint8Array][] = [];
      const freed: Location[] = [];
      for (let n = 0; n < 12; n++) {
        const data = rig.content(10_000 + rig.random.below(200_000));
        const location = await rig.put(data);
        if (n % 3 === 0) freed.push(location);
        else kept.push([location, data]);
      }
      await rig.syncAll();
      for (const location of freed) await rig.storage.free(location);
      for (const location of freed) t.equal(await codeOf(rig.get(location)), 'EIO', 'gone');
      const [orphan] = must(kept.pop(), 'kept some');
      await rig.stop();
      await rig.start();
      const expected = new Set<string>();
      for (const { blob, shards } of [...kept.map(([location]) => location), orphan])
        shards.forEach(({ disk, segment, offset }, shard) => expected.add([blob, shard, disk, segment, offset].join()));
      const seen = new Set<string>();
      for await (const found of rig.storage.scan()) {
        seen.add([found.blob, found.shard, found.disk, found.segment, found.offset].join());
        t.equal(found.bytes % 4096, 0);
        if (found.blob === orphan.blob) await rig.storage.freeRecord(found);
      }
      t.same(seen, expected, 'exactly the live and the orphaned');
      t.not(await codeOf(rig.get(orphan)), 'resolved');
      for (const [location, data] of kept) t.ok((await rig.get(location)).equals(data), 'kept');
      for (const [location] of kept) await rig.storage.free(location);
      for (const { disk } of rig.diskSet.members()) t.same(await disk?.list('segments'), [], 'segments without records are unlinked');
    }),
  );

  void t.test('an unused epoch leaves no files behind, nor one whose blobs are all freed', (t) =>
    within(t, { disks: 6, k: 4, m: 2 }, async (rig) => {
      await rig.stop();
      await rig.start();
      const location = await rig.put(rig.content(70_000));
      await rig.syncAll();
      await rig.storage.free(location);
      await rig.storage.close();
      for (const { disk } of rig.diskSet.members()) t.same(await disk?.list('segments'), []);
    }),
  );

  void t.test('concurrent stores, reads and frees against a map', (t) =>
    within(t, { disks: 7, k: 4, m: 2, seed: 7 }, async (rig) => {
      const model = new Map<Location, Uint8Array>();
      const worker = async (): Promise<void> => {
        for (let n = 0; n < 25; n++) {
          const what = rig.random.below(10);
          const known = [...model.keys()];
          const one = known[rig.random.below(Math.max(1, known.length))];
          if (what < 5 || !one) {
            const data = rig.content(1 + rig.random.below(150_000));
            model.set(await rig.put(data), data);
          } else if (what < 8) {
            const data = model.get(one) ?? Buffer.alloc(0);
            const offset = rig.random.below(one.bytes);
            const bytes = 1 + rig.random.below(one.bytes - offset);
            // Its space may be given back by another worker once the read has begun, not before.
            t.ok((await rig.get(one, offset, bytes)).equals(data.subarray(offset, offset + bytes)));
          } else if (what === 8) t.ok(await rig.storage.sync());
          else {
            model.delete(one);
            await rig.storage.free(one);
          }
        }
      };
      await Promise.all([worker(), worker(), worker(), worker(), worker(), worker()]);
      for (const [location, data] of model) t.ok((await rig.get(location)).equals(data));
      t.same(rig.damage, []);
    }),
  );

  t.end();
}
