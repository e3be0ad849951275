/**
 * A process to be killed: opens the working replica in a folder and applies seeded entries for ever, from where the replica stands. Says the position before
 * which everything is committed. Run by sqlite-working.test.ts.
 */
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import { silent } from './engines.js';
import { seededEntry } from './seeded-entries.js';

const replica = await openWorkingReplica({
  directory: must(process.argv[2], 'folder'),
  bootId: must(process.argv[3], 'boot'),
  clock: systemClock,
  log: silent,
});
if (replica.point === undefined) await replica.rebuildFrom(undefined);
process.stdout.write(`open ${replica.point?.position ?? -1}\n`);
for (let round = 0; ; round++) {
  for (let i = 0; i < 50; i++) replica.apply(seededEntry(must(replica.point, 'it follows')));
  if (round % 4 === 3) {
    await replica.flush();
    process.stdout.write(`committed ${must(replica.point, 'it follows').position}\n`);
  }
  await systemClock.yield();
}
