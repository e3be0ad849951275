/** Durable replicas read what they apply from a log: whatever is wrong with that, they stand where they stood. */
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { LOG_ENTRY_BYTES_MAX } from '../../src/base/limits.js';
import { encodeWrites, writeBytes, type Write } from '../../src/index/entry.js';
import { LogEntries } from '../../src/index/log-entries.js';
import { emptyPoint } from '../../src/index/point.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { packedEntries } from '../../src/index/worker-jobs.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import type { LogEntry, LogPoint, LogRun } from '../../src/quorum/state-machine.js';
import { silent, temporaryFolder } from './engines.js';
import { nextEntry } from './fake-log.js';
import { FolderDisk } from './folder-disk.js';
import { everything, Model, shown } from './model.js';
import { writtenRun } from './runs.js';
import { seededEntries } from './seeded-entries.js';

async function folderDisk(t: { teardown: (action: () => Promise<void>) => void }): Promise<FolderDisk> {
  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  return new FolderDisk(folder);
}

const fileOf = (run: LogRun): string => join(run.disk.directory, must(run.pieces[0], 'a piece').path);

function filled(from: LogPoint, sizes: readonly number[]): LogEntry[] {
  const entries: LogEntry[] = [];
  for (const [index, size] of sizes.entries()) {
    const write: Write = { key: Buffer.from([1, index]), value: Buffer.alloc(size, index) };
    const payload = encodeWrites([write], 1, writeBytes(2, size));
    entries.push(nextEntry(entries.at(-1)?.point ?? from, payload));
  }
  return entries;
}

t.test('entries longer and shorter than what is read at one time, in several files; the memory is used again', async (t) => {
  const disk = await folderDisk(t);
  const reader = new LogEntries();
  const most = LOG_ENTRY_BYTES_MAX - 100;
  for (const sizes of [[most, most, 10, most, most, most, 0, 7], [5, (2 * LOG_ENTRY_BYTES_MAX) / 3, 900_000, 900_000, 5], [1]]) {
    const entries = filled(emptyPoint, sizes);
    const half = Math.ceil(entries.length / 2);
    const first = writtenRun(disk, emptyPoint, entries.slice(0, half));
    const second = entries.length > half ? writtenRun(disk, first.to, entries.slice(half)) : { ...first, pieces: [] };
    const pieces = [...first.pieces, ...second.pieces].map((piece) => ({ ...piece, path: join(disk.directory, piece.path) }));
    const found = [...packedEntries(reader.read({ from: emptyPoint, to: second.to, pieces }, () => undefined))];
    t.equal(found.length, entries.length);
    for (const [index, { point, payload }] of entries.entries()) {
      t.equal(found[index]?.[0], point.position);
      t.ok(found[index]?.[1].equals(payload), `entry ${point.position} of ${payload.length} bytes`);
    }
    if (sizes.length === 5) reader.rest();
  }
});

t.test('where the log is damaged, cut short or gone, the replica stands and takes the right one next', async (t) => {
  const disk = await folderDisk(t);
  const replica = await new SqliteReplicaStore({ clock: systemClock, log: silent }).open(disk, 'voter');
  const before = seededEntries(emptyPoint, 50);
  await replica.apply(writtenRun(disk, emptyPoint, before));
  const from = must(replica.point, 'it applied');
  const after = seededEntries(from, 200);
  const damages: Record<string, (file: string) => void> = {
    'a bit': (file) => {
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4;
      writeFileSync(file, bytes);
    },
    'cut short': (file) => {
      truncateSync(file, 9000);
    },
    gone: (file) => {
      rmSync(file);
    },
    'a link': (file) => {
      renameSync(file, `${file}-there`);
      symlinkSync(`${file}-there`, file);
    },
    'a pipe': (file) => {
      rmSync(file);
      execFileSync('mkfifo', [file]);
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    const run = writtenRun(disk, from, after);
    damage(fileOf(run));
    const code = { gone: 'ENOENT', 'a link': 'EIO', 'a pipe': 'EIO' }[what] ?? 'EBADMSG';
    await t.rejects(replica.apply(run), { code, message: new RegExp(fileOf(run)) }, what);
    t.same(replica.point, from, 'it stands');
  }
  await replica.apply(writtenRun(disk, from, after));
  t.match(disk.health, { checksumErrors: 2, readErrors: 3, writeErrors: 0 });
  const model = new Model();
  for (const entry of [...before, ...after]) model.apply(entry);
  const working = await openWorkingReplica({ directory: join(disk.directory, 'state'), bootId: 'b', clock: systemClock, log: silent });
  await working.rebuildFrom(replica);
  t.same(shown(working.scan(everything)), shown(model.scan(everything)));
  await Promise.all([working.close(), replica.close()]);
});

t.test('what was made of a batch is not taken for another one of the same positions', async (t) => {
  const disk = await folderDisk(t);
  const store = new SqliteReplicaStore({ clock: systemClock, log: silent });
  const [one, two, three] = [await store.open(disk, 'one'), await store.open(disk, 'two'), await store.open(disk, 'three')];
  const these = filled(emptyPoint, [10, 20]);
  const others = filled(emptyPoint, [30, 40]);
  const [first, second] = [writtenRun(disk, emptyPoint, these), writtenRun(disk, emptyPoint, others)];
  // The third one's log is that of the first: nobody reads it again.
  await Promise.all([one.apply(first), three.apply(first), two.apply(second)]);
  const rows = async (replica: typeof one): Promise<string> => {
    const working = await openWorkingReplica({ directory: join(disk.directory, 'state'), bootId: 'b', clock: systemClock, log: silent });
    await working.rebuildFrom(replica);
    const found = shown(working.scan(everything)).join();
    await working.close();
    return found;
  };
  const modelOf = (entries: readonly LogEntry[]): string => {
    const model = new Model();
    for (const entry of entries) model.apply(entry);
    return shown(model.scan(everything)).join();
  };
  t.equal(await rows(one), modelOf(these));
  t.equal(await rows(three), modelOf(these));
  t.equal(await rows(two), modelOf(others));
  await Promise.all([one.close(), two.close(), three.close()]);
});
