/** An open pool without its mount: recovery order, read-only, disks that come and go, settings that travel with the disks. */
import t from 'tap';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { journalFolder } from '../../src/daemon/folders.js';
import { importPool } from '../../src/daemon/import-pool.js';
import { pathsOf } from '../../src/daemon/inode-paths.js';
import { readDefinition, writeDefinition } from '../../src/daemon/pool-definition.js';
import { reportPool } from '../../src/daemon/pool-report.js';
import type { DiskReport } from '../../src/daemon/status-report.js';
import { describeInode } from '../../src/daemon/where.js';
import { countEndangered, surveyBlobs } from '../../src/durability/survey.js';
import { makeBlobId } from '../../src/base/ids.js';
import { EXTENT_STRETCH_ROWS, SURVEY_ROWS } from '../../src/base/limits.js';
import { encodeEndangered } from '../../src/index/schema/blob-rows.js';
import { endangeredKey } from '../../src/index/schema/tables.js';
import { recordBytesOf } from '../../src/storage/record.js';
import { systemClock } from '../../src/base/clock.js';
import { must } from '../../src/base/assert.js';
import { turnsDuring } from '../support/event-loop.js';
import { exists, until } from '../support/pool.js';
import { caller, O_RDWR, PoolRig, readFile, writeFile } from './pool-rig.js';

const big = Buffer.alloc(3 << 20, 'ostraka ');

t.test('what was written is there after closing and opening', async (t) => {
  const rig = await PoolRig.create(t);
  let pool = await rig.open();
  await writeFile(pool, 'big', big);
  await writeFile(pool, 'small', Buffer.from('small'));
  const { epoch } = pool.log;
  const journal = join(await journalFolder(rig.folders), `journal-${pool.diskSet.membership.poolId}`);
  t.ok(await exists(journal), 'commits land in the journal first');
  await rig.close(pool);
  t.notOk(await exists(journal), 'its memory is given back when all is durable');
  pool = await rig.open();
  t.ok(pool.log.epoch > epoch, 'each leadership has an epoch of its own');
  t.ok((await readFile(pool, 'big')).equals(big));
  t.equal((await readFile(pool, 'small')).toString(), 'small');
  t.same(rig.warnings, []);
  const report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
  t.match(report, {
    pool: 'p',
    state: 'mounted',
    health: 'good',
    code: '4+2',
    mountpoint: '/m',
    endangered_blobs: 0,
    objects: 3,
    daemon_pid: process.pid,
  });
  t.equal(report.disks.length, 6);
  t.equal(report.voters.length, 5);
  t.ok(report.used_bytes >= big.length && report.usable_bytes > report.used_bytes);
  await rig.close(pool);
});

t.test('what of a disk is the pool’s: shards by the index, the reserve, the rest; gone when the files are', async (t) => {
  const rig = await PoolRig.create(t);
  const pool = await rig.open();
  const disks = async (): Promise<DiskReport[]> => [...(await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false })).disks];
  for (const disk of await disks()) t.match(disk, { shards: 0, shard_bytes: 0, level: 0 });
  await writeFile(pool, 'big', big);
  await pool.namespace.syncAll();
  const located = new Map<number, { shards: number; bytes: number }>();
  for await (const { blobs } of surveyBlobs(pool.index))
    for (const { location } of blobs)
      for (const { disk } of location.shards) {
        const { shards = 0, bytes = 0 } = located.get(disk) ?? {};
        located.set(disk, { shards: shards + 1, bytes: bytes + recordBytesOf(location.bytes, location.k) });
      }
  await until('it is counted anew', async () => (await disks()).every(({ shards }) => shards !== 0));
  for (const disk of await disks()) {
    const { shards, bytes } = must(located.get(disk.number), 'every disk has a shard');
    t.match(disk, { shards, shard_bytes: bytes });
    t.equal(disk.other_bytes, disk.used_bytes - bytes - disk.reserve_bytes);
    t.equal(disk.level, bytes / (bytes + disk.free_bytes), 'as rebalance measures it');
    t.ok((disk.counted_at ?? 0) > 0);
  }
  await pool.namespace.unlink(1, 'big');
  await until('nothing is there any more', async () => (await disks()).every(({ shard_bytes: bytes }) => bytes === 0));
  await rig.close(pool);
});

t.test('one owner (I9)', async (t) => {
  const rig = await PoolRig.create(t);
  const pool = await rig.open();
  await t.rejects(rig.open(), { code: 'EBUSY', message: new RegExp(`process ${process.pid}`) });
  await writeFile(pool, 'still', Buffer.from('fine'));
  await rig.close(pool);
});

t.test('two disks are out: it says so, in the index too, and takes them back', async (t) => {
  const rig = await PoolRig.create(t);
  let pool = await rig.open();
  await writeFile(pool, 'before', big);
  await rig.close(pool);
  for (const i of [1, 4]) await rename(must(rig.disks()[i], 'six'), `${must(rig.disks()[i], 'six')}.away`);
  pool = await rig.open();
  t.ok((await readFile(pool, 'before')).equals(big), 'reads reconstruct');
  await writeFile(pool, 'degraded', big);
  let report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
  t.match(report, { state: 'mounted', health: 'endangered' });
  t.ok(report.endangered_blobs > 0);
  t.same(
    report.disks.filter(({ state }) => state === 'offline').map(({ path }) => path),
    [1, 4].map((i) => rig.disks()[i]),
  );
  for (const i of [1, 4]) await rename(`${must(rig.disks()[i], 'six')}.away`, must(rig.disks()[i], 'six'));
  await until('healed', async () => {
    report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
    return report.health === 'good' && report.voters.every(({ state }) => state === 'online');
  });
  t.equal(report.endangered_blobs, 0, 'what was written degraded has all its shards');
  t.ok((await readFile(pool, 'degraded')).equals(big));
  await rig.close(pool);
});

t.test('three of five voters are lost: read-only, nothing is written', async (t) => {
  const rig = await PoolRig.create(t);
  let pool = await rig.open();
  await writeFile(pool, 'file', big);
  await rig.close(pool);
  const quorum = rig.disks().map((disk) => join(disk, 'quorum'));
  for (const folder of quorum.slice(0, 3)) await rename(folder, `${folder}.away`);
  await rm(rig.folders.state, { recursive: true });
  pool = await rig.open();
  t.equal(pool.log.writable, false);
  t.ok((await readFile(pool, 'file')).equals(big));
  await t.rejects(writeFile(pool, 'no', big), { code: 'EROFS' });
  const report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
  t.equal(report.state, 'read-only');
  t.match(report.messages.join(), /read-only/);
  await rig.close(pool);
  for (const folder of quorum.slice(0, 3)) {
    await rm(folder, { recursive: true, force: true });
    await rename(`${folder}.away`, folder);
  }
  pool = await rig.open();
  await writeFile(pool, 'yes', big);
  await rig.close(pool);
});

t.test('no disk is there', async (t) => {
  const rig = await PoolRig.create(t);
  for (const disk of rig.disks()) await rename(disk, `${disk}.away`);
  await t.rejects(rig.open(), { code: 'ENXIO', message: /none of the 6 disks/ });
  t.same(
    (await readdir(rig.root)).filter((name) => /^disk\d$/.test(name)),
    [],
    'nothing was made in their place',
  );
});

t.test('settings travel with the disks', async (t) => {
  const rig = await PoolRig.create(t);
  const definition = await readDefinition(rig.folders, 'p');
  await writeDefinition(rig.folders, { ...definition, settings: { commitIntervalMs: 250, durability: 'close' } });
  await rig.close(await rig.open());
  await rm(rig.folders.config, { recursive: true });
  await rm(rig.folders.state, { recursive: true });
  await importPool({ folders: rig.folders, directories: rig.disks(), name: undefined });
  const pool = await rig.open();
  t.match(pool.settings, { commitIntervalMs: 250, durability: 'close' });
  await rig.close(pool);
});

t.test('a pool that was opened read-only changes nothing', async (t) => {
  const rig = await PoolRig.create(t);
  let pool = await rig.open();
  await writeFile(pool, 'file', big);
  await rig.close(pool);
  pool = await rig.open(true);
  t.ok((await readFile(pool, 'file')).equals(big));
  await t.rejects(writeFile(pool, 'no', big), { code: 'EROFS' });
  await rig.close(pool);
});

t.test('names of inodes', async (t) => {
  const rig = await PoolRig.create(t, 1);
  const pool = await rig.open();
  const folder = await pool.namespace.mkdir(1, 'folder', 0o755, caller);
  const deep = await pool.namespace.mkdir(folder.ino, 'd\xc3\xa4ep', 0o755, caller);
  const { attributes } = await pool.namespace.create(deep.ino, 'file', 0o644, O_RDWR, caller);
  const top = await writeFile(pool, 'top', Buffer.from('x'));
  t.same((await pathsOf(pool.index, systemClock, [attributes.ino, top, 999])).sort(), ['folder/d\xc3\xa4ep/file', 'top']);
  t.same(pool.namespace.writers(), [attributes.ino], 'only one is still open for writing');
  await rig.close(pool);
});

t.test('counting much holds nobody up', async (t) => {
  const rig = await PoolRig.create(t);
  const pool = await rig.open();
  const extents = 10 * EXTENT_STRETCH_ROWS;
  const { attributes, handle } = await pool.namespace.create(1, 'holes', 0o644, O_RDWR, caller);
  const { ino } = attributes;
  for (let number = 0; number < extents; number++) await pool.namespace.write(ino, handle, number * 8192, Buffer.from('x'), caller);
  await pool.namespace.flush(ino, handle);
  await pool.namespace.release(ino, handle);
  const endangered = 10 * SURVEY_ROWS;
  await pool.index.transact((tx) => {
    for (let number = 1; number <= endangered; number++) tx.put(endangeredKey(makeBlobId(1, number)), encodeEndangered([1]));
  });
  const described = await turnsDuring(async () => t.equal(await describeInode(pool, ino, 'extents'), String(extents)));
  t.ok(described >= 9, `${described} turns of the event loop for the extents of a file`);
  const counted = await turnsDuring(async () => t.equal(await countEndangered(pool.index, systemClock), endangered));
  t.ok(counted >= 9, `${counted} for endangered blobs`);
  await pool.index.transact((tx) => {
    for (let number = 1; number <= endangered; number++) tx.delete(endangeredKey(makeBlobId(1, number)));
  });
  await rig.close(pool);
});
