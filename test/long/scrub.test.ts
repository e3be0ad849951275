/**
 * 1 % of all frames on two of six disks are corrupted at random: scrub of the pool, which is not mounted, finds each record that has one, by count, has each repaired, and a second
 * one finds nothing. Afterwards two other disks may be lost (I6, I7, I8).
 */
import t from 'tap';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom, type Random } from '../../src/base/clock.js';
import type { ScrubResult } from '../../src/durability/scrub.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, digests, randomFile, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
const BLOCK_BYTES = 4096;
const FRAME_BYTES = 16_384;
/** Of a record's header (src/storage/README.md). */
const SHARD_BYTES_AT = 72;

interface Damage {
  records: number;
  frames: number;
  corrupted: number;
}

/** Flips a bit in one of a hundred frames of a disk. */
async function corruptFrames(disk: string, random: Random, damage: Damage): Promise<void> {
  const folder = join(disk, 'segments');
  for (const name of await readdir(folder)) {
    const file = await open(join(folder, name), 'r+');
    try {
      const { size } = await file.stat();
      const header = Buffer.alloc(BLOCK_BYTES);
      for (let at = BLOCK_BYTES; at < size;) {
        await file.read(header, 0, BLOCK_BYTES, at);
        if (header.toString('latin1', 0, 8) !== 'OSTKSHRD') {
          at += BLOCK_BYTES;
          continue;
        }
        const shardBytes = header.readUInt32LE(SHARD_BYTES_AT);
        let hit = false;
        for (let frame = 0; frame < shardBytes; frame += FRAME_BYTES) {
          damage.frames++;
          if (random.below(100) > 0) continue;
          const place = at + BLOCK_BYTES + frame + random.below(Math.min(FRAME_BYTES, shardBytes - frame));
          const byte = Buffer.alloc(1);
          await file.read(byte, 0, 1, place);
          byte[0] = (byte[0] ?? 0) ^ (1 << random.below(8));
          await file.write(byte, 0, 1, place);
          damage.corrupted++;
          hit = true;
        }
        if (hit) damage.records++;
        at += BLOCK_BYTES + shardBytes;
      }
    } finally {
      await file.close();
    }
  }
}

async function scrub(pool: TestPool): Promise<ScrubResult> {
  return ((await pool.json(['scrub', pool.name, '--watch'])) as { job: { result: ScrubResult } }).job.result;
}

t.test('1 % of the frames on two disks', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 400 * MiB });
  await pool.mount();
  await run('cp', ['-a', smallTree, pool.at('tree')]);
  for (let i = 0; i < 12; i++) await randomFile(pool.at(`f${i}`), 15 * MiB + i * 100_001);
  const want = await digests(pool.mountpoint);
  await pool.unmount();

  const random = seededRandom(11);
  const damage: Damage = { records: 0, frames: 0, corrupted: 0 };
  for (const i of [1, 4]) await corruptFrames(pool.disks[i] ?? '', random, damage);
  t.ok(
    damage.corrupted > damage.frames / 200,
    `${damage.corrupted} of ${damage.frames} frames are corrupted, in ${damage.records} records`,
  );

  const found = await scrub(pool);
  t.equal(found.badRecords, damage.records, 'each is found');
  t.equal(found.missingRecords, 0);
  t.equal(found.repairedRecords, damage.records, 'and repaired');
  const again = await scrub(pool);
  t.equal(again.badRecords, 0, 'a second scrub finds nothing');
  t.equal(again.missingRecords, 0);
  for (const i of [1, 4])
    t.ok((await readdir(join(pool.disks[i] ?? '', 'damaged'))).length > 0, `what was damaged on disk${i} is kept for a look`);

  for (const i of [0, 5]) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  t.same(differences(want, await digests(pool.mountpoint)), [], 'without two other disks all files read right');
  await pool.unmount();
});
