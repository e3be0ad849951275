/** Scrub: finds by count what was damaged, on all disks, both ways; hands it to heal; goes on where it was; never deletes. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock, type Clock } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import { JobUnfinished } from '../../src/durability/job.js';
import { Scrub, type ScrubResult } from '../../src/durability/scrub.js';
import { SeenBlobs } from '../../src/durability/seen-blobs.js';
import { countEndangered, recordEndangered } from '../../src/durability/survey.js';
import { segmentPath } from '../../src/storage/segment-format.js';
import { TestContext } from './job-context.js';
import { DurabilityRig } from './rig.js';

const shape = { disks: 6, k: 4, m: 2 };

interface Scrubbed {
  readonly scrub: Scrub;
  readonly repairs: string[];
  stranded: number;
}

/** Time that goes twenty times as fast. */
const hasty: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() * 20,
  sleep: (ms) => systemClock.sleep(ms / 20),
};

/** A scrub that repairs by itself when it waits for it. */
function scrubOf(rig: DurabilityRig, clock: Clock = hasty): Scrubbed {
  const repairs: string[] = [];
  let healing: Promise<unknown> | undefined;
  let done = false;
  const made: Scrubbed = {
    repairs,
    stranded: 0,
    scrub: new Scrub({
      ...rig.options,
      clock,
      disks: rig.disks,
      repair: async (blob, shard) => {
        repairs.push(`${blob}/${shard}`);
        await recordEndangered(rig.index, new Map([[blob, [shard]]]));
      },
      isRepairing: () => {
        healing ??= rig
          .heal()
          .run(new TestContext())
          .catch(() => undefined)
          .finally(() => (done = true));
        return !done;
      },
      onStranded: () => {
        made.stranded++;
      },
    }),
  };
  return made;
}

function flip(rig: DurabilityRig, location: Location, shard: number, within: number): string {
  const { disk, segment, offset } = must(location.shards[shard], 'a place');
  rig.pool.backend.medium(disk).flip(segmentPath(segment), offset + within);
  return `${location.blob}/${shard}`;
}

async function unfinished(run: Promise<ScrubResult>): Promise<{ message: string; result: ScrubResult }> {
  try {
    await run;
  } catch (error) {
    if (error instanceof JobUnfinished) return { message: error.message, result: error.result as ScrubResult };
    throw error;
  }
  throw new Error('it says that all is well');
}

t.test('nothing is wrong with a sound pool', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 20);
  const context = new TestContext();
  const { scrub, repairs } = scrubOf(rig);
  const result = await scrub.run(context);
  test.match(result, { disks: 6, records: 120, badRecords: 0, missingRecords: 0, unreferencedRecords: 0, strayBytes: 0, skippedDisks: [] });
  test.ok(result.segments >= 6);
  test.same(repairs, []);
  test.equal(context.progress.doneBytes, context.progress.totalBytes, 'progress ends at the whole');
  test.equal(context.progress.doneItems, 120);
});

t.test('frames and headers that rotted on two disks are found, each one, and healed', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 40);
  const locations = [...(await rig.locations()).values()];
  const damaged: string[] = [];
  let headers = 0;
  for (const [index, location] of locations.entries())
    for (const disk of [2, 5]) {
      if ((index + disk) % 3 === 0) continue;
      const shard = location.shards.findIndex((place) => place.disk === disk);
      // Every fourth in its header, whose record is then no record any more.
      const inHeader = index % 4 === 0;
      if (inHeader) headers++;
      damaged.push(flip(rig, location, shard, inHeader ? 20 : 4 * KiB + 777));
    }
  test.ok(damaged.length > 40 && headers > 5);
  const { scrub, repairs } = scrubOf(rig);
  const result = await scrub.run(new TestContext());
  test.same([...repairs].sort(), [...damaged].sort(), 'exactly those');
  test.match(result, { badRecords: damaged.length - headers, missingRecords: headers, repairedRecords: damaged.length });
  test.ok(result.strayBytes >= headers * 4 * KiB);
  test.equal(rig.disks.count(2, 'checksum') > 0 && rig.disks.count(5, 'checksum') > 0, true, 'the errors stand with their disks');
  test.equal(rig.disks.count(1), 0);
  test.equal(await countEndangered(rig.index, systemClock), 0);
  await rig.collect();
  const again = await scrubOf(rig).scrub.run(new TestContext());
  test.match(again, { badRecords: 0, missingRecords: 0 });
  rig.disks.takeOut(1);
  rig.disks.takeOut(3);
  test.same(await rig.differing(), []);
});

t.test('a segment that vanished: every row that names it is found', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 30);
  const locations = [...(await rig.locations()).values()];
  const place = must(
    locations[0]?.shards.find(({ disk }) => disk === 4),
    'a place',
  );
  const lost = locations.filter(({ shards }) => shards.some(({ disk, segment }) => disk === 4 && segment === place.segment)).length;
  const disk = must(rig.disks.disk(4), 'the disk');
  await disk.unlink(segmentPath(place.segment));
  // Handles on it would go on working.
  rig.disks.takeOut(4);
  await rig.disks.bringBack(4);
  const result = await scrubOf(rig).scrub.run(new TestContext());
  test.match(result, { badRecords: 0, missingRecords: lost, repairedRecords: lost });
  test.ok(lost > 0);
});

t.test('unreadable sectors are repaired as well, and do not stop it', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 12);
  const [location] = [...(await rig.locations()).values()];
  const { disk, segment, offset } = must(location?.shards[1], 'a place');
  rig.pool.backend.medium(disk).damageSectors(segmentPath(segment), offset + 8 * KiB, 512);
  const result = await scrubOf(rig).scrub.run(new TestContext());
  test.match(result, { badRecords: 1, repairedRecords: 1, records: 72 });
});

t.test('what cannot be repaired is said', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 3);
  const [location] = [...(await rig.locations()).values()];
  for (const shard of [0, 1, 2]) flip(rig, must(location, 'a blob'), shard, 5 * KiB);
  const { message, result } = await unfinished(scrubOf(rig).scrub.run(new TestContext()));
  test.match(result, { badRecords: 3, repairedRecords: 0 });
  test.match(message, /3 damaged records could not be repaired/);
});

t.test('a disk that is out, or leaves, is left out and named; the others are read', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 5);
  rig.disks.takeOut(3);
  const { message, result } = await unfinished(scrubOf(rig).scrub.run(new TestContext()));
  test.match(message, /disk 3 was left out/);
  test.match(result, { disks: 5, records: 25, skippedDisks: [{ disk: 3 }] });
});

t.test('records that nothing names are counted after a second look, and stay', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 3);
  const { location } = await rig.storage.store(rig.pool.content(100_000));
  const made = scrubOf(rig);
  const result = await made.scrub.run(new TestContext());
  test.match(result, { unreferencedRecords: 6, badRecords: 0, missingRecords: 0 });
  test.equal(made.stranded, 6, 'each disk asks for the search');
  test.ok(await rig.storage.verify(location), 'nothing was deleted');
});

t.test('space that is about to be given back is not left over', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 3);
  await rig.remove('f1');
  const result = await scrubOf(rig).scrub.run(new TestContext());
  test.match(result, { unreferencedRecords: 0 });
});

t.test('an index that cannot answer ends it: nothing is judged without it', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 3);
  const { index } = rig.namespace.ledger;
  const get = index.get.bind(index);
  index.get = async () => {
    throw new OperatingError('EIO', 'the index is damaged');
  };
  const made = scrubOf(rig);
  await test.rejects(made.scrub.run(new TestContext()), { message: 'the index is damaged' });
  index.get = get;
  test.same(made.repairs, []);
  test.equal(made.stranded, 0);
});

t.test('a scrub that is ended goes on where it was, and finds the same', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 40);
  const locations = [...(await rig.locations()).values()];
  const damaged = locations.map((location, index) => flip(rig, location, index % 6, index % 5 === 0 ? 30 : 6 * KiB));
  const repairs: string[] = [];
  let cursor: unknown;
  let runs = 0;
  let result: ScrubResult | undefined;
  const records: number[] = [];
  while (result === undefined) {
    const made = scrubOf(rig);
    const context = new TestContext(cursor);
    // Twice in the midst of the scan; then later than four disks need to look at what was seen before the restart, a step for each that is saved at its end.
    context.endAt = runs < 2 ? 60 : 200;
    try {
      result = await made.scrub.run(context);
    } catch (error) {
      test.equal((error as Error).name, 'JobEnded');
      cursor = must(context.saved.at(-1), 'something was saved');
    }
    records.push(context.progress.doneItems);
    repairs.push(...made.repairs);
    test.ok(++runs < 20);
  }
  test.ok(runs >= 3, `${runs} runs`);
  test.same([...new Set(repairs)].sort(), [...damaged].sort());
  test.equal(repairs.length, damaged.length, 'none twice');
  test.equal(result.records, 240 - damaged.filter((_, index) => index % 5 === 0).length);
  test.same(
    [...records].sort((a, b) => a - b),
    records,
    'and progress only grows',
  );
});

t.test('writing goes on meanwhile', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('before', 20);
  const made = scrubOf(rig);
  const context = new TestContext();
  const run = made.scrub.run(context);
  for (let file = 0; file < 30; file++) {
    await rig.write(`during${file}`, 90_000);
    if (file % 3 === 0) await rig.remove(`before${file / 3}`);
    await systemClock.sleep(1);
    if (file % 10 === 0) await rig.collect();
  }
  test.match(await run, { badRecords: 0, missingRecords: 0, unreferencedRecords: 0, skippedDisks: [] });
  test.same(made.repairs, []);
});

t.test('a bound on the rate holds for all disks together', async (test) => {
  const rig = await DurabilityRig.create(test, shape);
  await rig.writeMany('f', 10);
  const { scrub } = scrubOf(rig, systemClock);
  const begin = systemClock.monotonicMs();
  const context = new TestContext(undefined, { rate: 2_000_000 });
  const { bytes } = await scrub.run(context);
  const tookMs = systemClock.monotonicMs() - begin;
  test.ok(tookMs >= (bytes / 2_000_000) * 1000 - 500, `${bytes} bytes took ${tookMs} ms`);
  test.throws(
    () => {
      scrub.check({ rate: -5 });
    },
    { code: 'EINVAL' },
  );
});

t.test('the set of seen blobs is exact, and bounded', (test) => {
  const seen = new SeenBlobs(2);
  const epoch = 2 ** 32;
  for (let blob = 0; blob < 3000; blob += 3) seen.add(3 * epoch + blob);
  const wrong: number[] = [];
  for (let blob = 0; blob < 3000; blob++) if (seen.has(3 * epoch + blob) !== (blob % 3 === 0)) wrong.push(blob);
  test.same(wrong, []);
  seen.add(9 * epoch);
  test.notOk(seen.has(9 * epoch), 'what does not fit is not remembered');
  test.notOk(seen.has(4 * epoch));
  test.end();
});
