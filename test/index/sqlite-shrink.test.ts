/** Replicas give the space of deleted rows back to the file system, in steps, and keep some for the rows to come. */
import { statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import { systemClock } from '../../src/base/clock.js';
import { INDEX_FREE_BYTES_MIN, INDEX_PAGE_BYTES, MiB } from '../../src/base/limits.js';
import { encodeWrites, writeBytes, type Write } from '../../src/index/entry.js';
import { emptyPoint } from '../../src/index/point.js';
import { TABLES } from '../../src/index/schema/tables.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import type { LogEntry, LogPoint } from '../../src/quorum/state-machine.js';
import { silent, temporaryFolder } from './engines.js';
import { nextEntry } from './fake-log.js';
import { FolderDisk } from './folder-disk.js';
import { applyFrom } from './runs.js';
import { everything, Model, shown } from './model.js';

const ROWS = 5000;
const PER_ENTRY = 100;
const VALUE_BYTES = 4000;
/** Those that stay. */
const KEPT_EVERY = 500;
/** What may be left: free pages that are kept, the rows that stay, and what their pages hold beside them. */
const SMALL_BYTES = 4 * MiB + INDEX_FREE_BYTES_MIN;

/** In the table of extents, whose rows are those that get shorter. */
function key(number: number): Buffer {
  const bytes = Buffer.alloc(5, TABLES.extent);
  bytes.writeUInt32BE(number, 1);
  return bytes;
}

/** Entries that give each row in turn what `value` says. */
function entries(from: LogPoint, value: (row: number) => Buffer | undefined, rows = ROWS): LogEntry[] {
  const made: LogEntry[] = [];
  let point = from;
  for (let at = 0; at < rows; at += PER_ENTRY) {
    const writes: Write[] = [];
    for (let row = at; row < at + PER_ENTRY; row++)
      if (value(row) !== undefined || row % KEPT_EVERY !== 0) writes.push({ key: key(row), value: value(row) });
    const bytes = writes.reduce((sum, write) => sum + writeBytes(write.key.length, write.value?.length), 0);
    const entry = nextEntry(point, encodeWrites(writes, writes.length, bytes));
    made.push(entry);
    point = entry.point;
  }
  return made;
}

const written = (row: number): Buffer => Buffer.alloc(VALUE_BYTES, row % 251);
const gone = (): undefined => undefined;

function modelOf(all: readonly LogEntry[]): Model {
  const model = new Model();
  for (const entry of all) model.apply(entry);
  return model;
}

function rowsOf(file: string): { key: Buffer; value: Buffer }[] {
  const db = new Database(file, { readonly: true });
  try {
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    return db.prepare<[], { key: Buffer; value: Buffer }>('SELECT key, value FROM kv ORDER BY key').all();
  } finally {
    db.close();
  }
}

async function replicaPlace(t: { teardown: (action: () => Promise<void>) => void }): Promise<{
  readonly file: string;
  readonly disk: FolderDisk;
  readonly open: () => ReturnType<SqliteReplicaStore['open']>;
}> {
  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  const store = new SqliteReplicaStore({ clock: systemClock, log: silent });
  const disk = new FolderDisk(folder);
  return { file: join(folder, 'voter', 'replica.sqlite'), disk, open: () => store.open(disk, 'voter') };
}

t.test('a durable replica shrinks behind the batches that delete', async (t) => {
  const { file, disk, open } = await replicaPlace(t);
  const replica = await open();
  const filling = entries(emptyPoint, written);
  await applyFrom(disk, replica, filling);
  const full = statSync(file).size;
  t.ok(full > ROWS * VALUE_BYTES, `${full} bytes when it is full`);
  const deleting = entries(filling.at(-1)?.point ?? emptyPoint, gone);
  await applyFrom(disk, replica, deleting.slice(0, 25));
  const half = statSync(file).size;
  t.ok(half < full, `${half} bytes after half of them went`);
  await applyFrom(disk, replica, deleting.slice(25));
  t.ok(statSync(file).size < SMALL_BYTES, `${statSync(file).size} bytes in the end`);
  t.same(shown(rowsOf(file)), shown(modelOf([...filling, ...deleting]).scan(everything)), 'the others are all there');
  await replica.close();
  const again = await open();
  t.same(again.point, deleting.at(-1)?.point, 'and it passes its verification');
  await again.close();
});

t.test('one that an earlier version made is written anew when it is opened', async (t) => {
  const { file, disk, open } = await replicaPlace(t);
  const replica = await open();
  const filling = entries(emptyPoint, written);
  await applyFrom(disk, replica, filling);
  await replica.close();
  const db = new Database(file);
  db.pragma('auto_vacuum = NONE');
  db.pragma(`page_size = ${4 * INDEX_PAGE_BYTES}`);
  db.exec('VACUUM');
  t.equal(db.pragma('auto_vacuum', { simple: true }), 0);
  db.close();
  const again = await open();
  const now = new Database(file, { readonly: true });
  t.equal(now.pragma('page_size', { simple: true }), INDEX_PAGE_BYTES);
  now.close();
  const last = filling.at(-1)?.point ?? emptyPoint;
  t.same(again.point, last);
  const deleting = entries(last, gone);
  await applyFrom(disk, again, deleting);
  t.ok(statSync(file).size < SMALL_BYTES + 2 * MiB, `${statSync(file).size} bytes in the end`);
  t.same(shown(rowsOf(file)), shown(modelOf([...filling, ...deleting]).scan(everything)));
  await again.close();
});

t.test('the working replica shrinks a little with each commit', async (t) => {
  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  const open = (): ReturnType<typeof openWorkingReplica> =>
    openWorkingReplica({ directory: folder, bootId: 'b', clock: systemClock, log: silent });
  const replica = await open();
  await replica.rebuildFrom(undefined);
  const filling = entries(emptyPoint, written);
  const deleting = entries(filling.at(-1)?.point ?? emptyPoint, gone);
  for (const entry of filling) replica.apply(entry);
  await replica.flush();
  const pages = (): number => {
    const db = new Database(replica.path, { readonly: true });
    try {
      return Number(db.pragma('page_count', { simple: true }));
    } finally {
      db.close();
    }
  };
  const full = pages();
  for (const entry of deleting) replica.apply(entry);
  await replica.flush();
  // What is still free goes with what comes next.
  let point = deleting.at(-1)?.point ?? emptyPoint;
  const more: LogEntry[] = [];
  for (let i = 0; i < 200; i++) {
    const [entry] = entries(point, (row) => Buffer.from([row % 251, i]), PER_ENTRY);
    if (entry === undefined) break;
    more.push(entry);
    replica.apply(entry);
    await replica.flush();
    point = entry.point;
  }
  t.ok(full > (ROWS * VALUE_BYTES) / INDEX_PAGE_BYTES, `${full} pages when it was full`);
  t.ok(pages() < SMALL_BYTES / INDEX_PAGE_BYTES, `${pages()} in the end`);
  t.same(shown(replica.scan(everything)), shown(modelOf([...filling, ...deleting, ...more]).scan(everything)));
  await replica.close();
  const again = await open();
  t.same(again.point, point);
  await again.close();
});

/** Contents of small files, which go somewhere else: long values, of which only some fit into a page, and short ones in their place. */
const long = (row: number): Buffer => Buffer.alloc(row % 2 === 0 ? 1200 : 6000, row % 251);
const short = (row: number): Buffer => Buffer.alloc(20, row % 251);
const SHORT_BYTES = 1 * MiB;

function bytesInUse(file: string): number {
  const db = new Database(file, { readonly: true });
  try {
    const [pages, free, bytes] = ['page_count', 'freelist_count', 'page_size'].map((name) => Number(db.pragma(name, { simple: true })));
    return ((pages ?? 0) - (free ?? 0)) * (bytes ?? 0);
  } finally {
    db.close();
  }
}

t.test('what was long and is short now leaves nothing behind', async (t) => {
  const { file, disk, open } = await replicaPlace(t);
  const longOnes = entries(emptyPoint, long);
  const shortOnes = entries(longOnes.at(-1)?.point ?? emptyPoint, short);
  const wanted = shown(modelOf([...longOnes, ...shortOnes]).scan(everything));
  const durable = await open();
  for (const each of [longOnes, shortOnes]) await applyFrom(disk, durable, each);
  t.ok(bytesInUse(file) < SHORT_BYTES, `${bytesInUse(file)} bytes of a durable replica are in use`);
  t.same(shown(rowsOf(file)), wanted);
  await durable.close();

  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  const working = await openWorkingReplica({ directory: folder, bootId: 'b', clock: systemClock, log: silent });
  await working.rebuildFrom(undefined);
  for (const each of [longOnes, shortOnes]) {
    for (const entry of each) working.apply(entry);
    await working.flush();
  }
  t.ok(bytesInUse(working.path) < SHORT_BYTES, `${bytesInUse(working.path)} bytes of the working one`);
  t.same(shown(working.scan(everything)), wanted);
  await working.close();
});
