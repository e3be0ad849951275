/** The working replica in SQLite: what a kill leaves, another boot's file, damage, memory. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import { emptyPoint } from '../../src/index/point.js';
import { currentBootId, openWorkingReplica, type SqliteWorkingReplica } from '../../src/index/sqlite-working.js';
import { silent, temporaryFolder } from './engines.js';
import { everything, Model, shown } from './model.js';
import { seededEntry } from './seeded-entries.js';

const open = (directory: string, bootId = 'boot-1'): Promise<SqliteWorkingReplica> =>
  openWorkingReplica({ directory, bootId, clock: systemClock, log: silent });

async function folderFor(t: { teardown: (action: () => Promise<void>) => void }): Promise<string> {
  const folder = await temporaryFolder();
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
}

/** Runs kill-target.js and kills it a while after it committed so often; the last position that it said was committed. */
async function runAndKill(folder: string, commits: number, afterMs: number): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'kill-target.js'), folder, 'boot-1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let committed = 0;
  let lines = 0;
  createInterface(child.stdout).on('line', (line) => {
    if (lines++ === commits) setTimeout(() => child.kill('SIGKILL'), afterMs);
    committed = Number(line.split(' ')[1]);
  });
  await new Promise((resolve) => child.on('close', resolve));
  return committed;
}

t.test('killed at any moment, it stands at a point and holds what the entries up to there made', async (t) => {
  const folder = await folderFor(t);
  const random = seededRandom(9);
  const model = new Model();
  let at = emptyPoint;
  for (let round = 0; round < 8; round++) {
    const committed = await runAndKill(folder, random.below(4), random.below(100));
    const replica = await open(folder);
    const point = must(replica.point, 'a kill does not damage it');
    t.ok(point.position >= committed, `${point.position} is not before ${committed}, which was committed`);
    while (at.position < point.position) {
      const entry = seededEntry(at);
      model.apply(entry);
      at = entry.point;
    }
    t.same(point, at, 'point and chain are those of the history');
    t.same(shown(replica.scan(everything)), shown(model.scan(everything)), 'and so are the rows');
    await replica.close();
  }
  t.ok(at.position > 1000, `${at.position} entries`);
});

t.test('another boot begins without a point and removes what was left', async (t) => {
  const folder = await folderFor(t);
  const first = await open(folder);
  await first.rebuildFrom(undefined);
  first.apply(seededEntry(emptyPoint));
  await first.close();
  writeFileSync(join(folder, 'working-boot-1.sqlite-wal'), 'left by a kill');
  writeFileSync(join(folder, 'other'), 'not ours');
  const second = await open(folder, 'boot-2');
  t.equal(second.point, undefined);
  await t.rejects(async () => second.get(Buffer.from('a')), { code: 'EIO' });
  t.same(readdirSync(folder), ['other']);
  await second.close();
  t.match(await currentBootId(), /^[0-9a-f-]{36}$/);
});

t.test('what was applied is written by itself after a while', async (t) => {
  const folder = await folderFor(t);
  let fire = (): void => undefined;
  const replica = await openWorkingReplica({
    directory: folder,
    bootId: 'b',
    clock: { ...systemClock, after: (_delay, action) => ((fire = action), () => undefined) },
    log: silent,
  });
  await replica.rebuildFrom(undefined);
  replica.apply(seededEntry(emptyPoint));
  const reader = new Database(replica.path, { readonly: true });
  const position = (): unknown => reader.prepare('SELECT position FROM meta').pluck().get();
  t.equal(position(), 0, 'it lies in memory');
  fire();
  for (let tries = 0; position() !== 1 && tries < 10_000; tries++) await new Promise((resolve) => setTimeout(resolve, 1));
  t.equal(position(), 1);
  reader.close();
  await replica.close();
});

t.test('damage is found at the start, or by the read that meets it; the file goes', async (t) => {
  const folder = await folderFor(t);
  let replica = await open(folder);
  await replica.rebuildFrom(undefined);
  let at = emptyPoint;
  const model = new Model();
  for (let i = 0; i < 3000; i++) {
    const entry = seededEntry(at);
    replica.apply(entry);
    model.apply(entry);
    at = entry.point;
  }
  await replica.close();
  const good = readFileSync(replica.path);
  const [row] = model.scan(everything).filter(({ value }) => value.length > 100);
  const { key, value } = must(row, 'a row');
  const bad = Buffer.from(good);
  for (let spot = bad.indexOf(value); spot >= 0; spot = bad.indexOf(value)) bad[spot + 50] = (bad[spot + 50] ?? 0) ^ 4;

  writeFileSync(replica.path, bad);
  replica = await open(folder);
  t.equal(replica.point, undefined, 'found at the start');
  await replica.close();

  writeFileSync(replica.path, good);
  replica = await open(folder);
  t.same(replica.point, at);
  writeFileSync(replica.path, bad);
  // What is in the page cache is good still; a scan of everything goes past it.
  t.throws(
    () => {
      for (let i = 0; i < 3; i++) {
        replica.scan(everything);
        replica.get(key);
      }
    },
    { code: 'EIO' },
  );
  t.equal(replica.point, undefined);
  t.notOk(existsSync(replica.path), 'the next start does not meet it again');
  t.throws(() => replica.apply(seededEntry(at)), { name: 'AssertionError' });
  await replica.rebuildFrom(undefined);
  t.same(replica.point, emptyPoint, 'and it can be made anew');
  await replica.close();

  writeFileSync(replica.path, 'no database');
  replica = await open(folder);
  t.equal(replica.point, undefined);
  await replica.close();
});

t.test('reads see what lies in memory, what is being written, and the file, as one', async (t) => {
  const folder = await folderFor(t);
  const replica = await open(folder);
  await replica.rebuildFrom(undefined);
  const model = new Model();
  let at = emptyPoint;
  const more = (entries: number): void => {
    for (let i = 0; i < entries; i++) {
      const entry = seededEntry(at);
      replica.apply(entry);
      model.apply(entry);
      at = entry.point;
    }
  };
  const same = (message: string): void => {
    t.same(shown(replica.scan(everything)), shown(model.scan(everything)), message);
    const backwards = { ...everything, reverse: true };
    t.same(shown(replica.scan(backwards)), shown(model.scan(backwards)), `${message}, backwards`);
    for (const { key, value } of model.scan(everything).slice(0, 50)) t.same(replica.get(key), value, message);
  };
  more(300);
  await replica.flush();
  more(300);
  const flushed = replica.flush();
  more(300);
  same('all three');
  const view = replica.view();
  const held = shown(model.scan(everything));
  more(100);
  await flushed;
  await replica.flush();
  t.same(shown(view.scan(everything)), held, 'a view stands still');
  t.equal(view.point.position, 900);
  view.close();
  same('written');
  await replica.close();
});

t.test('a batch that cannot be written takes the replica away', async (t) => {
  const folder = await folderFor(t);
  const replica = await open(folder);
  await replica.rebuildFrom(undefined);
  const db = new Database(replica.path);
  db.exec('DROP TABLE kv');
  db.close();
  replica.apply(seededEntry(emptyPoint));
  await t.rejects(replica.flush(), { code: 'EIO' });
  t.equal(replica.point, undefined);
  t.equal(replica.room(), undefined, 'nobody waits for it');
  await replica.close();
});

t.test('100,000 rows: memory and write-ahead file stay within bounds', async (t) => {
  const folder = await folderFor(t);
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'fill-target.js'), folder]);
  const { wrong, grownMiB, walMiB } = JSON.parse(stdout) as { wrong: number; grownMiB: number; walMiB: number };
  t.equal(wrong, 0);
  t.comment(stdout);
  // Page caches, a thread, rows on their way, garbage; 100 MB of rows are not in it.
  t.ok(grownMiB < 150, `memory grew by ${grownMiB} MiB`);
  t.ok(walMiB < 512, `write-ahead file of ${walMiB} MiB`);
});

t.test('nothing keeps the process alive', async (t) => {
  const folder = await folderFor(t);
  const program = `
    import { openWorkingReplica } from ${JSON.stringify(new URL('../../src/index/sqlite-working.js', import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL('../../src/base/clock.js', import.meta.url).href)};
    const options = { directory: process.argv[1], bootId: 'b', clock: systemClock, log() {} };
    const first = await openWorkingReplica(options);
    await first.rebuildFrom(undefined);
    await first.close();
    const second = await openWorkingReplica(options);
    process.stdout.write(String(second.point.position));`;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, folder], { timeout: 20_000 });
  t.equal((await run).stdout, '0');
});
