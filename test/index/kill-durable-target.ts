/** A process to be killed: applies seeded entries to a durable replica in a folder, 100 to a batch, for ever. Says each position that became durable. */
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { silent } from './engines.js';
import { FolderDisk } from './folder-disk.js';
import { applyFrom } from './runs.js';
import { seededEntries } from './seeded-entries.js';

const disk = new FolderDisk(must(process.argv[2], 'folder'));
const replica = await new SqliteReplicaStore({ clock: systemClock, log: silent }).open(disk, 'voter');
for (;;) {
  const point = must(replica.point, 'a kill does not damage it');
  process.stdout.write(`durable ${point.position}\n`);
  await applyFrom(disk, replica, seededEntries(point, 100));
}
