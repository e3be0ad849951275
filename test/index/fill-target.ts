/**
 * A process that fills a working replica with 100,000 rows of 1000 bytes through the index store and reads them back, and says how much its memory grew and
 * how long its write-ahead file became. Run by sqlite-working.test.ts.
 */
import { statSync } from 'node:fs';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { keyOf } from '../../src/index/keys.js';
import { createIndexStore } from '../../src/index/log-index.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import { silent } from './engines.js';
import { FakeLog } from './fake-log.js';

const ROWS = 100_000;
const replica = await openWorkingReplica({ directory: must(process.argv[2], 'folder'), bootId: 'b', clock: systemClock, log: silent });
await replica.rebuildFrom(undefined);
const log = new FakeLog(replica);
const store = createIndexStore(log, replica);
const key = (row: number): Buffer =>
  keyOf(1)
    .number((row * 7919) % ROWS)
    .end();
const before = process.memoryUsage().rss;
let walBytes = 0;
let peak = 0;
for (let row = 0; row < ROWS; row += 10) {
  await store.transact(async (tx) => {
    for (let i = row; i < row + 10; i++) tx.put(key(i), Buffer.alloc(1000, i));
  });
  log.entries.length = 0;
  if (row % 500 === 0) await systemClock.yield();
  if (row % 5000 === 0) {
    walBytes = Math.max(walBytes, statSync(`${replica.path}-wal`).size);
    peak = Math.max(peak, process.memoryUsage().rss);
  }
}
let wrong = 0;
for (let row = 0; row < ROWS; row++) if ((await store.get(key(row)))?.equals(Buffer.alloc(1000, row)) !== true) wrong++;
peak = Math.max(peak, process.memoryUsage().rss);
await replica.close();
process.stdout.write(JSON.stringify({ wrong, grownMiB: Math.round((peak - before) / MiB), walMiB: Math.round(walBytes / MiB) }));
