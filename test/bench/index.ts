/**
 * What a transaction costs on the main thread: the metadata of a create, six reads and five writes, on the working replica in SQLite over a log double (so
 * without the journal's copy), and how fast a durable replica follows. Prints figures; run it by hand: node dist/test/bench/index.js [creates]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { keyOf } from '../../src/index/keys.js';
import { createIndexStore } from '../../src/index/log-index.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import { emptyPoint } from '../../src/index/point.js';
import type { LogEntry, LogRun } from '../../src/quorum/state-machine.js';
import { FakeLog } from '../index/fake-log.js';
import { FolderDisk } from '../index/folder-disk.js';
import { writtenRun } from '../index/runs.js';

const creates = Number(process.argv[2] ?? '20000');
const folder = await mkdtemp(join(tmpdir(), 'ostraka-bench-index-'));
const silent = (): void => undefined;

const ENTRY = 1;
const INODE = 2;
const UPLOAD = 3;
const DATA = 4;

const inode = (number: number): Buffer => keyOf(INODE).number(number).end();

function report(what: string, sinceMs: number, count: number): void {
  process.stdout.write(`${what.padEnd(48)} ${(((performance.now() - sinceMs) * 1000) / count).toFixed(1).padStart(8)} µs each\n`);
}

/** Five voters that follow in step, as those of a 4+2 pool do, in batches as the log gives them. */
async function five(entries: readonly LogEntry[], bytesMax: number): Promise<void> {
  const batches: LogEntry[][] = [];
  let bytes = bytesMax;
  for (const entry of entries) {
    if (bytes + entry.payload.length > bytesMax) batches.push([]);
    bytes = (bytes + entry.payload.length > bytesMax ? 0 : bytes) + entry.payload.length;
    must(batches.at(-1), 'there is one').push(entry);
  }
  const store = new SqliteReplicaStore({ clock: systemClock, log: silent });
  const replicas = await Promise.all(
    [1, 2, 3, 4, 5].map(async (number) => {
      const disk = new FolderDisk(join(folder, `${entries[0]?.payload.length ?? 0}-${bytesMax}-${number}`));
      const runs: LogRun[] = [];
      for (const batch of batches) runs.push(writtenRun(disk, runs.at(-1)?.to ?? emptyPoint, batch));
      return { replica: await store.open(disk, 'voter'), runs };
    }),
  );
  const start = performance.now();
  await Promise.all(
    replicas.map(async ({ replica, runs }) => {
      for (const run of runs) await replica.apply(run);
    }),
  );
  report(`five replicas, ${bytesMax / MiB} MiB at a time, each entry`, start, entries.length);
  await Promise.all(replicas.map(({ replica }) => replica.close()));
}

try {
  const working = await openWorkingReplica({ directory: join(folder, 'state'), bootId: 'b', clock: systemClock, log: silent });
  await working.rebuildFrom(undefined);
  const log = new FakeLog(working);
  const store = createIndexStore(log, working);
  const attributes = Buffer.alloc(120, 1);
  for (const dataBytes of [0, 4000]) {
    const data = Buffer.alloc(dataBytes, 3);
    log.entries.length = 0;
    const base = dataBytes * 1000;
    let start = performance.now();
    for (let i = 0; i < creates; i++) {
      const parent = 1 + (i % 50);
      const number = base + 1000 + i;
      const name = keyOf(ENTRY)
        .number(parent)
        .restText(`file-${(i * 7919) % creates}.${dataBytes}`)
        .end();
      await store.transact(async (tx) => {
        await tx.get(name);
        await tx.get(inode(parent));
        await tx.get(inode(number));
        await tx.get(keyOf(UPLOAD).number(number).end());
        await tx.get(keyOf(DATA).number(number).number(0).end());
        await tx.get(inode(parent));
        tx.put(name, Buffer.alloc(12, 1));
        tx.put(inode(number), attributes);
        tx.put(inode(parent), attributes);
        tx.put(keyOf(UPLOAD).number(number).end(), attributes);
        tx.put(keyOf(DATA).number(number).number(0).end(), data);
      });
      if (i % 50 === 0) await systemClock.yield();
    }
    report(`create, ${dataBytes} B of data in the row`, start, creates);
    start = performance.now();
    for (let i = 0; i < creates; i++) await store.get(inode(base + 1000 + ((i * 7919) % creates)));
    report('get', start, creates);
    start = performance.now();
    for (let i = 0; i < 1000; i++)
      await store.scan(
        keyOf(ENTRY)
          .number(1 + (i % 50))
          .range(100),
      );
    report('scan of 100 rows', start, 1000);
    // They follow nothing that a new replica has: they are numbered anew.
    const entries: LogEntry[] = log.entries.map((entry, i) => ({ ...entry, point: { ...entry.point, position: i + 1 } }));
    for (const bytesMax of [1 * MiB, 4 * MiB, 10 * MiB]) await five(entries, bytesMax);
  }
  await working.close();
} finally {
  await rm(folder, { recursive: true });
}
