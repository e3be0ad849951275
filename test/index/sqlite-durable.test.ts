/** Durable replicas in SQLite: net effect of batches, damage of every kind, atomic copies, a disk that fails, is full or hangs. */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'better-sqlite3';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom, systemClock, type Clock } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { INDEX_PAGE_BYTES, REPLICA_PATIENCE_MS, REPLICA_STALL_MS } from '../../src/base/limits.js';
import { encodeWrites, writeBytes, type Write } from '../../src/index/entry.js';
import { emptyPoint } from '../../src/index/point.js';
import { ReplicaThreads } from '../../src/index/replica-threads.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import type { LogEntry, LogPoint } from '../../src/quorum/state-machine.js';
import { silent, temporaryFolder } from './engines.js';
import { nextEntry } from './fake-log.js';
import { FolderDisk } from './folder-disk.js';
import { applyFrom } from './runs.js';
import { everything, Model, shown } from './model.js';
import { seededEntries } from './seeded-entries.js';

const DIRECTORY = 'voter';

function data(before: LogPoint, ...writes: readonly Write[]): LogEntry {
  const bytes = writes.reduce((sum, { key, value }) => sum + writeBytes(key.length, value?.length), 0);
  return nextEntry(before, encodeWrites(writes, writes.length, bytes));
}

const key = (number: number): Buffer => {
  const bytes = Buffer.alloc(5, 1);
  bytes.writeUInt32BE(number, 1);
  return bytes;
};

/** 40 bytes, like no other row's. */
function valueOf(number: number): Buffer {
  const value = Buffer.alloc(40, 0xa5);
  value.writeUInt32BE(number, 18);
  return value;
}

/** Flips one bit wherever these bytes are in the file: in the row, and in what SQLite moved and left behind. */
function flipBit(file: Buffer, bytes: Buffer, bit: number): Buffer {
  const bad = Buffer.from(file);
  for (let spot = bad.indexOf(bytes); spot >= 0; spot = bad.indexOf(bytes)) bad[spot + bit] = (bad[spot + bit] ?? 0) ^ (1 << (bit % 8));
  return bad;
}

/** Entries that write `rows` rows of 40 bytes, 20 to an entry. */
function filling(rows: number): LogEntry[] {
  const entries: LogEntry[] = [];
  let point = emptyPoint;
  for (let at = 0; at < rows; at += 20) {
    const entry = data(point, ...Array.from({ length: 20 }, (_, i) => ({ key: key(at + i), value: valueOf(at + i) })));
    entries.push(entry);
    point = entry.point;
  }
  return entries;
}

interface Place {
  readonly store: SqliteReplicaStore;
  readonly threads: ReplicaThreads;
  readonly folder: string;
  readonly file: string;
  readonly disk: FolderDisk;
}

async function place(t: { teardown: (action: () => Promise<void>) => void }, clock: Clock = systemClock): Promise<Place> {
  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  const threads = new ReplicaThreads(clock);
  return {
    store: new SqliteReplicaStore({ clock, log: silent, threads }),
    threads,
    folder,
    disk: new FolderDisk(folder),
    file: join(folder, DIRECTORY, 'replica.sqlite'),
  };
}

/** What is in the file, past all of our code. */
function stored(file: string): { key: Buffer; position: number; value: Buffer }[] {
  const db = new Database(file, { readonly: true });
  try {
    return db.prepare<[], { key: Buffer; position: number; value: Buffer }>('SELECT key, position, value FROM kv ORDER BY key').all();
  } finally {
    db.close();
  }
}

t.test('rows that are new and rows that replace others alternate, and all are counted', async (t) => {
  const { store, disk, file } = await place(t);
  let replica = await store.open(disk, DIRECTORY);
  const rows = (from: number, step: number, value: string): Write[] =>
    Array.from({ length: 20 }, (_, i) => ({ key: key(from + i * step), value: Buffer.from(value) }));
  const first = data(emptyPoint, ...rows(0, 2, 'first'));
  await applyFrom(disk, replica, [first]);
  // Every other row is there already: the first one that is written is new, the last one too.
  const second = data(first.point, ...rows(1, 1, 'second'), ...rows(100, 1, 'second'));
  await applyFrom(disk, replica, [second]);
  const expected = new Map<number, string>();
  for (const { key, value } of [...rows(0, 2, 'first'), ...rows(1, 1, 'second'), ...rows(100, 1, 'second')])
    expected.set(Buffer.from(key).readUInt32BE(1), String(value));
  t.same(
    stored(file).map(({ key, value }) => [key.readUInt32BE(1), String(value)]),
    [...expected].sort(([a], [b]) => a - b),
  );
  // Opened anew it is read as a whole, and their number and sum are what the replica counted.
  await replica.close();
  replica = await store.open(disk, DIRECTORY);
  t.same(replica.point, second.point);
  await replica.close();
});

t.test('a batch of more rows than the thread has memory for at once', async (t) => {
  const { store, disk, file } = await place(t);
  const [first, second] = [await store.open(disk, DIRECTORY), await store.open(disk, 'voter2')];
  // Removals are the shortest entries for the rows that they are of. A few rows are written by the first entry and the last.
  const entries: LogEntry[] = [];
  let point = emptyPoint;
  for (let at = 0, rows = 40_000; at < 600_000; at += rows) {
    const removed = Array.from({ length: rows }, (_, i): Write => ({ key: key(1000 + at + i), value: undefined }));
    const edge = at === 0 ? 'first' : at + rows >= 600_000 ? 'last' : undefined;
    const written = edge === undefined ? [] : [{ key: key(edge === 'first' ? 1 : 2), value: Buffer.from(edge) }];
    const both = { key: key(3), value: Buffer.from(String(at)) };
    const entry = data(point, ...written, both, ...removed);
    entries.push(entry);
    point = entry.point;
  }
  await Promise.all([applyFrom(disk, first, entries), applyFrom(disk, second, entries)]);
  const rows = [
    { key: key(1), position: 1, value: Buffer.from('first') },
    { key: key(2), position: entries.length, value: Buffer.from('last') },
    { key: key(3), position: entries.length, value: Buffer.from('560000') },
  ];
  t.same([first.point, second.point], [point, point]);
  t.same(stored(file), rows);
  t.same(stored(file.replace(DIRECTORY, 'voter2')), rows);
  await Promise.all([first.close(), second.close()]);
});

t.test('a batch has its net effect alone; each row carries the position that wrote it', async (t) => {
  const { store, disk, file } = await place(t);
  const replica = await store.open(disk, DIRECTORY);
  const first = data(emptyPoint, { key: key(1), value: Buffer.from('a') }, { key: key(2), value: Buffer.alloc(300_000) });
  const second = data(
    first.point,
    { key: key(1), value: Buffer.from('b') },
    { key: key(2), value: undefined },
    { key: key(3), value: Buffer.from('c') },
  );
  const third = data(second.point, { key: key(3), value: undefined }, { key: key(4), value: Buffer.from('d') });
  const barrier = nextEntry(third.point, Buffer.alloc(0), 2, 'barrier');
  await applyFrom(disk, replica, [first, second, third, barrier]);
  t.same(replica.point, barrier.point);
  t.same(stored(file), [
    { key: key(1), position: 2, value: Buffer.from('b') },
    { key: key(4), position: 3, value: Buffer.from('d') },
  ]);
  t.ok(statSync(file).size < 300_000, 'a row that came and went never reached the file');
  const fourth = data(barrier.point, { key: key(1), value: undefined }, { key: key(5), value: undefined });
  await applyFrom(disk, replica, [fourth]);
  t.same(
    stored(file).map(({ position }) => position),
    [3],
  );
  await replica.close();
});

/** Opens what a damage has left; its point, or 'damaged'. Nothing else may come out. */
async function reopened(store: SqliteReplicaStore, disk: FolderDisk): Promise<LogPoint | 'damaged'> {
  const replica = await store.open(disk, DIRECTORY);
  const { point } = replica;
  await replica.close();
  return point ?? 'damaged';
}

t.test('a damaged file opens without a point, whatever the damage', async (t) => {
  const { store, disk, file } = await place(t);
  const entries = filling(4000);
  let replica = await store.open(disk, DIRECTORY);
  await applyFrom(disk, replica, entries);
  const { point } = replica;
  await replica.close();
  const good = readFileSync(file);
  const random = seededRandom(5);
  let missed = 0;
  const spots = [0, 20, 100, ...Array.from({ length: 30 }, () => random.below(good.length - 512))];
  for (const spot of spots) {
    const bad = Buffer.from(good);
    for (let i = 0; i < 512; i++) bad[spot + i] = (bad[spot + i] ?? 0) ^ 0x5a;
    writeFileSync(file, bad);
    const found = await reopened(store, disk);
    // A hit in free space within a page changes nothing that is ever read.
    if (found !== 'damaged') {
      missed++;
      t.same(found, point);
    }
  }
  t.ok(missed <= spots.length / 4, `${missed} of ${spots.length} hits were in free space`);
  for (const bit of [1, 2, 3, 4, 5]) {
    writeFileSync(file, flipBit(good, valueOf(bit * 700), bit * 7));
    t.equal(await reopened(store, disk), 'damaged', 'one flipped bit in a value');
  }
  writeFileSync(file, good);
  truncateSync(file, good.length - INDEX_PAGE_BYTES);
  t.equal(await reopened(store, disk), 'damaged', 'cut short');
  writeFileSync(file, '');
  t.equal(await reopened(store, disk), 'damaged', 'emptied');
  writeFileSync(file, 'this is a text');
  t.equal(await reopened(store, disk), 'damaged', 'something else');
  t.ok(disk.health.checksumErrors > 0, 'the disk is charged with it');
  writeFileSync(file, good);
  t.same(await reopened(store, disk), point, 'the undamaged one is taken again');
  writeFileSync(file, 'garbage');
  replica = await store.open(disk, DIRECTORY);
  await t.rejects(applyFrom(disk, replica, entries), { code: 'EIO' });
  await replica.reset();
  await applyFrom(disk, replica, entries);
  t.same(replica.point, point, 'reset makes it usable');
  await replica.close();
});

t.test('a page that came from an older time is noticed', async (t) => {
  const { store, disk, file } = await place(t);
  const entries = filling(2000);
  const last = must(entries.at(-1), 'entries');
  const replica = await store.open(disk, DIRECTORY);
  await applyFrom(disk, replica, entries);
  const before = readFileSync(file);
  await applyFrom(disk, replica, [data(last.point, { key: key(77), value: Buffer.alloc(40, 0xee) })]);
  await replica.close();
  const after = readFileSync(file);
  t.equal(after.length, before.length);
  let changed = 0;
  for (let page = 0; page < after.length; page += INDEX_PAGE_BYTES) {
    if (before.subarray(page, page + INDEX_PAGE_BYTES).equals(after.subarray(page, page + INDEX_PAGE_BYTES))) continue;
    changed++;
    const stale = Buffer.from(after);
    before.copy(stale, page, page, page + INDEX_PAGE_BYTES);
    // The first page has counters alone, which may be old.
    if (page > 0) {
      writeFileSync(file, stale);
      t.equal(await reopened(store, disk), 'damaged', `page ${page / INDEX_PAGE_BYTES} was lost`);
    }
  }
  t.ok(changed >= 2, 'the row and the point are on pages of their own');
});

t.test('a copy replaces the replica in an order that a crash cannot tear', async (t) => {
  const { store, disk, folder } = await place(t);
  const one = new FolderDisk(join(folder, 'one'));
  const two = new FolderDisk(join(folder, 'two'));
  const entries = filling(200);
  const source = await store.open(one, DIRECTORY);
  const target = await store.open(two, DIRECTORY);
  await applyFrom(disk, source, entries);
  await applyFrom(disk, target, entries.slice(0, 3));
  two.calls.length = 0;
  await target.rebuildFrom(source);
  t.same(
    two.calls.filter((call) => !call.startsWith('list')),
    [
      'open voter/replica.sqlite.new',
      'sync voter/replica.sqlite.new',
      'unlink voter/replica.sqlite',
      'unlink voter/replica.sqlite-journal',
      'syncdir voter',
      'rename voter/replica.sqlite.new voter/replica.sqlite',
      'syncdir voter',
    ],
  );
  t.same(stored(join(folder, 'two', DIRECTORY, 'replica.sqlite')), stored(join(folder, 'one', DIRECTORY, 'replica.sqlite')));
  await target.close();
  for (const stop of ['sync', 'unlink', 'syncdir', 'rename']) {
    const victim = await store.open(two, DIRECTORY);
    two.before = (call) => {
      if (call.startsWith(stop)) throw new OperatingError('EIO', 'the power went');
    };
    await t.rejects(victim.rebuildFrom(source), { code: 'EIO' });
    t.equal(victim.point, undefined);
    two.before = () => undefined;
    await victim.close();
    const again = await store.open(two, DIRECTORY);
    t.match(String(again.point?.position), /^(0|10)$/, `stopped at ${stop}: the old one, the new one or none`);
    t.notOk(
      readdirSync(join(folder, 'two', DIRECTORY)).some((name) => name.includes('.new')),
      'nothing is left lying about',
    );
    await again.rebuildFrom(source);
    t.same(again.point, source.point);
    await again.close();
  }
  await source.close();
});

t.test('a source that turns out damaged loses its point, and the copy fails', async (t) => {
  const { store, disk, folder } = await place(t);
  const source = await store.open(new FolderDisk(join(folder, 'one')), DIRECTORY);
  await applyFrom(disk, source, filling(2000));
  const file = join(folder, 'one', DIRECTORY, 'replica.sqlite');
  const bad = flipBit(readFileSync(file), valueOf(100), 3);
  const handle = openSync(file, 'r+');
  writeSync(handle, bad);
  closeSync(handle);
  const target = await store.open(new FolderDisk(join(folder, 'two')), DIRECTORY);
  await t.rejects(target.rebuildFrom(source), { code: 'EIO' });
  t.equal(source.point, undefined);
  const working = await openWorkingReplica({ directory: join(folder, 'state'), bootId: 'b', clock: systemClock, log: silent });
  await t.rejects(working.rebuildFrom(source), { code: 'EIO' });
  t.equal(working.point, undefined);
  await Promise.all([source.close(), target.close(), working.close()]);
});

/** A clock whose timers fire when they are told to: those of `delayMs` that were not cancelled. */
function handClock(): { clock: Clock; fire: (delayMs: number) => void } {
  const timers = new Map<() => void, number>();
  const clock: Clock = {
    ...systemClock,
    after(delay, action) {
      const timer = (): void => {
        timers.delete(timer);
        action();
      };
      timers.set(timer, delay);
      return () => timers.delete(timer);
    },
  };
  const fire = (delayMs: number): void => {
    for (const [timer, delay] of [...timers]) if (delay === delayMs) timer();
  };
  return { clock, fire };
}

/** Another connection holds the file: our thread waits inside SQLite, as it would for a disk. */
function block(folder: string): Database.Database {
  const blocker = new Database(join(folder, DIRECTORY, 'replica.sqlite'));
  blocker.exec('BEGIN EXCLUSIVE');
  return blocker;
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

t.test('a call that is slow keeps its thread; the other replicas get a new one', async (t) => {
  const { clock, fire } = handClock();
  const { store, threads, disk, folder } = await place(t, clock);
  const replica = await store.open(disk, DIRECTORY);
  const other = await store.open(new FolderDisk(join(folder, 'other')), DIRECTORY);
  const blocker = block(folder);
  const entries = filling(60);
  const slow = applyFrom(disk, replica, entries);
  const quick = applyFrom(disk, other, entries);
  let done = false;
  void quick.then(() => (done = true));
  await turn();
  t.notOk(done, 'one thread serves both');
  fire(REPLICA_PATIENCE_MS);
  await quick;
  t.equal(other.point?.position, 3, 'the other one goes on');
  await applyFrom(disk, other, [data(must(entries.at(-1), 'entries').point, { key: key(1000), value: valueOf(1000) })]);
  blocker.exec('COMMIT');
  blocker.close();
  await slow;
  t.same(replica.point, must(entries.at(-1), 'entries').point, 'and the slow one has not failed');
  t.equal(threads.stuck, 0);
  t.equal(disk.health.stalls, 0);
  await applyFrom(disk, replica, [data(must(replica.point, 'it stands'), { key: key(1000), value: valueOf(1000) })]);
  t.same(stored(join(folder, DIRECTORY, 'replica.sqlite')), stored(join(folder, 'other', DIRECTORY, 'replica.sqlite')));
  await replica.close();
  await other.close();
});

t.test('a call that hangs is left behind: ETIMEDOUT, counted, refused until the disk comes back or the call returns', async (t) => {
  const { clock, fire } = handClock();
  const { store, threads, disk, folder } = await place(t, clock);
  const replica = await store.open(disk, DIRECTORY);
  const other = await store.open(new FolderDisk(join(folder, 'other')), DIRECTORY);
  const blocker = block(folder);
  const failed = t.rejects(applyFrom(disk, replica, filling(20)), { code: 'ETIMEDOUT' });
  await turn();
  fire(REPLICA_STALL_MS);
  await failed;
  t.equal(replica.point, undefined);
  t.equal(threads.stuck, 1);
  t.equal(disk.health.stalls, 1);
  await t.rejects(applyFrom(disk, replica, filling(20)), { code: 'EIO' });
  await applyFrom(disk, other, filling(20));
  t.equal(other.point?.position, 1, 'others go on');
  await replica.close();
  await t.rejects(store.open(disk, DIRECTORY), { code: 'ETIMEDOUT' }, 'no other thread goes into that disk');
  t.equal(threads.stuck, 1);
  const anew = store.open(new FolderDisk(folder), DIRECTORY);
  blocker.exec('COMMIT');
  blocker.close();
  const back = await anew;
  t.match(String(back.point?.position), /^[01]$/, 'the disk came back anew');
  await back.close();
  while (threads.stuck > 0) await turn();
  const again = await store.open(disk, DIRECTORY);
  t.equal(again.point?.position, 1, 'the call has returned: the disk is used again, and stands where that call has left it');
  await again.close();
  await other.close();
});

t.test('killed in the middle of batches, it stands at the end of one and holds its rows', async (t) => {
  const { store, disk, folder } = await place(t);
  const random = seededRandom(4);
  const model = new Model();
  let at = emptyPoint;
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'kill-durable-target.js'), folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let durable = 0;
    let killing = false;
    createInterface(child.stdout).on('line', (line) => {
      durable = Number(line.split(' ')[1]);
      if (!killing) setTimeout(() => child.kill('SIGKILL'), random.below(200));
      killing = true;
    });
    await new Promise((resolve) => child.on('close', resolve));
    const replica = await store.open(disk, DIRECTORY);
    const { position } = must(replica.point, 'a kill does not damage it');
    t.ok(position >= durable && position % 100 === 0, `${position} is the end of a batch, not before ${durable}`);
    for (const entry of seededEntries(at, position - at.position)) {
      model.apply(entry);
      at = entry.point;
    }
    t.same(replica.point, at);
    const working = await openWorkingReplica({ directory: join(folder, 'state'), bootId: 'b', clock: systemClock, log: silent });
    await working.rebuildFrom(replica);
    t.same(shown(working.scan(everything)), shown(model.scan(everything)));
    await working.close();
    await replica.close();
  }
  t.ok(at.position > 0);
});

const root = process.getuid?.() === 0;

t.test(
  'no space: ENOSPC, and the replica stands where it stood',
  { skip: root ? false : 'mounting a small file system needs root' },
  async (t) => {
    const { store, disk, folder } = await place(t);
    const small = join(folder, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
    t.teardown(() => execFileSync('umount', ['-l', small]));
    const replica = await store.open(new FolderDisk(small), DIRECTORY);
    const entries = filling(20);
    await applyFrom(disk, replica, entries);
    const { point } = replica;
    const large = data(must(point, 'it applied'), { key: key(1), value: Buffer.alloc(900_000, 1) });
    const more = data(large.point, { key: key(2), value: Buffer.alloc(900_000, 1) });
    await t.rejects(applyFrom(disk, replica, [large, more]), { code: 'ENOSPC' });
    t.same(replica.point, point);
    const next = data(must(point, 'it applied'), { key: key(1), value: Buffer.from('small') });
    await applyFrom(disk, replica, [next]);
    t.same(replica.point, next.point, 'and goes on once it fits');
    t.equal(stored(join(small, DIRECTORY, 'replica.sqlite')).length, 20);

    // A batch that is worked on in parts ends in the first one here; who is given the same batch next gets all of it.
    const other = await store.open(new FolderDisk(folder), 'other');
    await applyFrom(disk, other, entries);
    await applyFrom(disk, other, [next]);
    const batch: LogEntry[] = [];
    for (let point = next.point; batch.length < 10; point = must(batch.at(-1), 'just put there').point) {
      const from = 100 + batch.length * 7000;
      batch.push(data(point, ...Array.from({ length: 7000 }, (_, i) => ({ key: key(from + i), value: Buffer.alloc(100, 2) }))));
    }
    t.same(
      (await Promise.allSettled([applyFrom(disk, replica, batch), applyFrom(disk, other, batch)])).map(({ status }) => status),
      ['rejected', 'fulfilled'],
    );
    t.same(replica.point, next.point);
    t.equal(stored(join(folder, 'other', 'replica.sqlite')).length, 70_020);
    await Promise.all([replica.close(), other.close()]);
  },
);
