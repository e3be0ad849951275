/** An open pool without its mount: recovery order, read-only, disks that come and go, settings that travel with the disks. */
import t from 'tap';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPool } from '../../src/daemon/create-pool.js';
import { nativeEnvironment } from '../../src/daemon/environment.js';
import { journalFolder, type Folders } from '../../src/daemon/folders.js';
import { importPool } from '../../src/daemon/import-pool.js';
import type { Log } from '../../src/daemon/logger.js';
import { pathsOf } from '../../src/daemon/inode-paths.js';
import { openPool, type Pool } from '../../src/daemon/pool.js';
import { readDefinition, writeDefinition } from '../../src/daemon/pool-definition.js';
import { reportPool } from '../../src/daemon/pool-report.js';
import { systemClock } from '../../src/base/clock.js';
import { must } from '../../src/base/assert.js';
import { exists, until, type Teardown } from '../support/pool.js';

const caller = { uid: 0, gid: 0, pid: 1 };
const O_RDWR = 2;

class Rig {
  readonly folders: Folders;
  readonly warnings: string[] = [];
  readonly #open = new Set<Pool>();

  private constructor(readonly root: string) {
    this.folders = { config: join(root, 'config'), state: join(root, 'state'), run: join(root, 'run') };
  }

  static async create(t: Teardown, disks = 6): Promise<Rig> {
    const rig = new Rig(await mkdtemp(join(tmpdir(), 'ostraka-pool-')));
    t.teardown(async () => {
      for (const pool of rig.#open) await pool.close().catch(() => undefined);
      await rm(rig.root, { recursive: true, force: true });
    });
    const directories = rig.disks(disks);
    for (const directory of directories) await mkdir(directory);
    await createPool({ folders: rig.folders, name: 'p', disks: directories, code: undefined, witnesses: [], zones: [] });
    return rig;
  }

  disks(count = 6): string[] {
    return Array.from({ length: count }, (_, index) => join(this.root, `disk${index}`));
  }

  async open(readOnly = false): Promise<Pool> {
    const definition = await readDefinition(this.folders, 'p');
    const log: Log = (level, message) => {
      if (level !== 'info') this.warnings.push(message);
    };
    const pool = await openPool({
      environment: nativeEnvironment(this.folders, definition, log),
      definition,
      readOnly,
      log,
      progress: () => undefined,
      onInvalidate: () => undefined,
    });
    this.#open.add(pool);
    return pool;
  }

  async close(pool: Pool): Promise<void> {
    this.#open.delete(pool);
    await pool.close();
  }
}

async function write(pool: Pool, name: string, content: Buffer): Promise<number> {
  const { attributes, handle } = await pool.namespace.create(1, name, 0o644, O_RDWR, caller);
  for (let at = 0; at < content.length; at += 1 << 20)
    await pool.namespace.write(attributes.ino, handle, at, content.subarray(at, at + (1 << 20)), caller);
  await pool.namespace.flush(attributes.ino, handle);
  await pool.namespace.release(attributes.ino, handle);
  return attributes.ino;
}

async function read(pool: Pool, name: string): Promise<Buffer> {
  const { ino, size } = await pool.namespace.lookup(1, name);
  const handle = await pool.namespace.open(ino, 0, caller);
  const result = await pool.namespace.read(ino, handle, 0, size);
  const content = Buffer.concat(result.pieces);
  result.release();
  await pool.namespace.release(ino, handle);
  return content;
}

const big = Buffer.alloc(3 << 20, 'ostraka ');

t.test('what was written is there after closing and opening', async (t) => {
  const rig = await Rig.create(t);
  let pool = await rig.open();
  await write(pool, 'big', big);
  await write(pool, 'small', Buffer.from('small'));
  const { epoch } = pool.log;
  const journal = join(await journalFolder(rig.folders), `journal-${pool.diskSet.membership.poolId}`);
  t.ok(await exists(journal), 'commits land in the journal first');
  await rig.close(pool);
  t.notOk(await exists(journal), 'its memory is given back when all is durable');
  pool = await rig.open();
  t.ok(pool.log.epoch > epoch, 'each leadership has an epoch of its own');
  t.ok((await read(pool, 'big')).equals(big));
  t.equal((await read(pool, 'small')).toString(), 'small');
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

t.test('one owner (I9)', async (t) => {
  const rig = await Rig.create(t);
  const pool = await rig.open();
  await t.rejects(rig.open(), { code: 'EBUSY', message: new RegExp(`process ${process.pid}`) });
  await write(pool, 'still', Buffer.from('fine'));
  await rig.close(pool);
});

t.test('two disks are out: it says so, in the index too, and takes them back', async (t) => {
  const rig = await Rig.create(t);
  let pool = await rig.open();
  await write(pool, 'before', big);
  await rig.close(pool);
  for (const i of [1, 4]) await rename(must(rig.disks()[i], 'six'), `${must(rig.disks()[i], 'six')}.away`);
  pool = await rig.open();
  t.ok((await read(pool, 'before')).equals(big), 'reads reconstruct');
  await write(pool, 'degraded', big);
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
  t.ok((await read(pool, 'degraded')).equals(big));
  await rig.close(pool);
});

t.test('three of five voters are lost: read-only, nothing is written', async (t) => {
  const rig = await Rig.create(t);
  let pool = await rig.open();
  await write(pool, 'file', big);
  await rig.close(pool);
  const quorum = rig.disks().map((disk) => join(disk, 'quorum'));
  for (const folder of quorum.slice(0, 3)) await rename(folder, `${folder}.away`);
  await rm(rig.folders.state, { recursive: true });
  pool = await rig.open();
  t.equal(pool.log.writable, false);
  t.ok((await read(pool, 'file')).equals(big));
  await t.rejects(write(pool, 'no', big), { code: 'EROFS' });
  const report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
  t.equal(report.state, 'read-only');
  t.match(report.messages.join(), /read-only/);
  await rig.close(pool);
  for (const folder of quorum.slice(0, 3)) {
    await rm(folder, { recursive: true, force: true });
    await rename(`${folder}.away`, folder);
  }
  pool = await rig.open();
  await write(pool, 'yes', big);
  await rig.close(pool);
});

t.test('no disk is there', async (t) => {
  const rig = await Rig.create(t);
  for (const disk of rig.disks()) await rename(disk, `${disk}.away`);
  await t.rejects(rig.open(), { code: 'ENXIO', message: /none of the 6 disks/ });
  t.same(
    (await readdir(rig.root)).filter((name) => /^disk\d$/.test(name)),
    [],
    'nothing was made in their place',
  );
});

t.test('settings travel with the disks', async (t) => {
  const rig = await Rig.create(t);
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
  const rig = await Rig.create(t);
  let pool = await rig.open();
  await write(pool, 'file', big);
  await rig.close(pool);
  pool = await rig.open(true);
  t.ok((await read(pool, 'file')).equals(big));
  await t.rejects(write(pool, 'no', big), { code: 'EROFS' });
  await rig.close(pool);
});

t.test('names of inodes', async (t) => {
  const rig = await Rig.create(t, 1);
  const pool = await rig.open();
  const folder = await pool.namespace.mkdir(1, 'folder', 0o755, caller);
  const deep = await pool.namespace.mkdir(folder.ino, 'd\xc3\xa4ep', 0o755, caller);
  const { attributes } = await pool.namespace.create(deep.ino, 'file', 0o644, O_RDWR, caller);
  const top = await write(pool, 'top', Buffer.from('x'));
  t.same((await pathsOf(pool.index, systemClock, [attributes.ino, top, 999])).sort(), ['folder/d\xc3\xa4ep/file', 'top']);
  t.same(pool.namespace.writers(), [attributes.ino], 'only one is still open for writing');
  await rig.close(pool);
});
