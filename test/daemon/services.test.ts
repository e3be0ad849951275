/** Background services fail closed and loud (I8): an error stops them, nothing is given back on suspicion, the operator reads of it, and they try again. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { KiB } from '../../src/base/limits.js';
import { OperatingError } from '../../src/base/errors.js';
import { JobRunner } from '../../src/daemon/jobs.js';
import { Services } from '../../src/daemon/services.js';
import { systemClock } from '../../src/base/clock.js';
import { countEndangered, recordEndangered } from '../../src/durability/survey.js';
import { DurabilityRig } from '../durability/rig.js';
import { ManualClock, settle } from '../disk/manual-clock.js';

interface Running {
  readonly rig: DurabilityRig;
  readonly services: Services;
  readonly jobs: JobRunner;
  readonly clock: ManualClock;
  readonly logged: string[];
  /** Lets time pass; the services' steps do real work in between. */
  readonly pass: (ms: number) => Promise<void>;
}

async function running(test: Tap, strandedPossible: boolean): Promise<Running> {
  const rig = await DurabilityRig.create(test, { disks: 6, k: 4, m: 2 });
  const clock = new ManualClock();
  const logged: string[] = [];
  const { index, storage, namespace } = rig;
  const log = (level: string, message: string): void => {
    if (level === 'warn') logged.push(message);
  };
  const jobs = new JobRunner({ index, clock, log, readOnly: false });
  const services = new Services({ index, storage, namespace, diskSet: rig.disks, jobs, clock, log, strandedPossible });
  test.teardown(() => services.stop());
  services.start();
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 500) {
      await clock.advance(Math.min(500, ms - at));
      for (let turn = 0; turn < 5; turn++) await settle();
    }
  };
  return { rig, services, jobs, clock, logged, pass };
}
type Tap = Parameters<typeof DurabilityRig.create>[0];

t.test('the search for stranded records: a disk that cannot be listed is said, and searched later', async (test) => {
  const { rig, services, logged, pass } = await running(test, true);
  const medium = rig.pool.backend.medium(2);
  medium.failNext('list', 'EIO', 1, 'segments');
  await pass(4000);
  test.match(services.troubles(), [{ service: 'the search for stranded records', error: { code: 'EIO' } }]);
  test.equal(services.strandedPossible, true, 'a stop now is not a clean one');
  test.equal(logged.filter((line) => line.startsWith('the search for stranded records stopped')).length, 1);
  await pass(60_000);
  test.equal(services.troubles().length, 1, 'not tried again at once');
  await pass(600_000);
  test.same(services.troubles(), []);
  test.equal(services.strandedPossible, false);
});

t.test('the collector: a disk that gives nothing back, and an index that cannot be read', async (test) => {
  const { rig, services, pass } = await running(test, false);
  await rig.write('f', 100 * KiB);
  await rig.index.durable();
  const blob = must([...(await rig.locations()).keys()][0], 'a blob');
  const medium = rig.pool.backend.medium(5);
  medium.failNext('punch', 'ENOSPC', 3);
  await rig.remove('f');
  await rig.index.durable();
  await pass(2000);
  test.match(services.troubles(), [{ service: 'giving back the space of 1 deleted blobs', error: { code: 'ENOSPC' } }]);
  await pass(30_000);
  test.same(services.troubles(), []);
  for await (const found of rig.storage.scanRecords(5, undefined, { frames: false }))
    if (found.kind === 'record') test.not(found.blob, blob, 'all of it is given back');
  const scan = rig.index.scan.bind(rig.index);
  rig.index.scan = () => Promise.reject(new OperatingError('EIO', 'the index cannot be read'));
  await pass(2000);
  test.match(services.troubles(), [{ service: 'collection of freed space', error: { code: 'EIO' } }]);
  rig.index.scan = scan;
  await pass(10_000);
  test.same(services.troubles(), []);
});

t.test('compaction: a segment that cannot be read stops it on that disk, and it is said', async (test) => {
  const { rig, services, pass } = await running(test, false);
  const survey = rig.storage.survey.bind(rig.storage);
  const surveyed: number[] = [];
  rig.storage.survey = (disk, count) => {
    surveyed.push(disk);
    return disk === 3 ? Promise.reject(new OperatingError('EIO', 'a segment cannot be read')) : survey(disk, count);
  };
  await pass(11_000);
  test.match(services.troubles(), [{ service: 'compaction', error: { code: 'EIO' } }]);
  test.same(surveyed, [1, 2, 3, 4, 5, 6], 'the other disks are gone over');
  rig.storage.survey = survey;
  await pass(30_000);
  test.same(services.troubles(), []);
});

t.test('what was called bad while its disks went is looked at again when they are back', async (test) => {
  const { rig, pass, jobs } = await running(test, false);
  await rig.write('f', 100 * KiB);
  await rig.index.durable();
  const [blob] = must([...(await rig.locations())][0], 'a blob');
  await pass(10_000);
  // A reader is told that files are gone, a moment before it is known that the disks are.
  for (const shard of [0, 2, 5]) await recordEndangered(rig.index, new Map([[blob, [shard]]]));
  for (const disk of [1, 2, 3]) rig.disks.takeOut(disk);
  await pass(10_000);
  test.equal(await countEndangered(rig.index, systemClock), 1);
  await rig.disks.bringBack(1);
  await pass(3000);
  test.equal(await countEndangered(rig.index, systemClock), 1, 'too few are back');
  for (const disk of [2, 3]) await rig.disks.bringBack(disk);
  await pass(10_000);
  test.equal(await countEndangered(rig.index, systemClock), 0);
  test.match(jobs.lastResult('heal'), { result: { whole: true, healedBlobs: 1 } });
});
