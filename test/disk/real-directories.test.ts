/** The watch over disks, init and import on real directories, with real locks between processes. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { systemClock, systemRandom } from '../../src/base/clock.js';
import { newUuid } from '../../src/base/ids.js';
import { findPools } from '../../src/disk/find-pools.js';
import { initialiseDisks } from '../../src/disk/initialise-disks.js';
import type { Membership } from '../../src/disk/membership.js';
import { openNativeDirectory } from '../../src/disk/native-disk.js';
import { nativeOpener, openDiskSet } from '../../src/disk/open-disk-set.js';
import { failure } from './failure.js';

const opener = nativeOpener(systemClock);
const log = (): void => undefined;

async function newFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-disks-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function newPool(t: Test, count = 3): Promise<{ folder: string; membership: Membership }> {
  const folder = await newFolder(t);
  const members = Array.from({ length: count }, (_, i) => ({
    number: i + 1,
    id: newUuid(systemRandom),
    role: 'data' as const,
    state: 'active' as const,
    voter: true,
    zone: undefined,
    directory: join(folder, `disk ${i + 1}`),
  }));
  for (const { directory } of members) await mkdir(directory);
  const membership: Membership = {
    epoch: 0,
    version: 1,
    poolId: newUuid(systemRandom),
    poolName: 'real',
    k: 2,
    m: 1,
    lastNumber: members.length,
    members,
  };
  await initialiseDisks({ opener, membership, settings: {}, created: new Date().toISOString() });
  return { folder, membership };
}

void t.test('opens, notices what is moved, unmounted and deleted, and finds it again', async (t) => {
  const { folder, membership } = await newPool(t);
  const set = await openDiskSet({ clock: systemClock, membership, log });
  t.teardown(() => set.close());
  const states = (): string =>
    set
      .members()
      .map((member) => (member.state === 'online' ? '+' : '-'))
      .join('');
  t.equal(states(), '+++');

  const home = join(folder, 'disk 1');
  const away = join(folder, 'away');
  const disk = set.disk(1);
  const file = await disk?.open('data', { create: true, write: true });
  await rename(home, away);
  await file?.write(0, [Buffer.from('descriptors still work')]);
  await set.probeNow();
  t.equal(states(), '-++', 'but it is not where it belongs');
  t.equal(set.members()[0]?.reason?.code, 'ENOENT');
  t.equal((await failure(file?.read(0, 1) ?? Promise.resolve())).code, 'EBADF');

  await mkdir(home);
  await set.probeNow();
  t.equal(states(), '-++');
  t.same(await readdir(home), [], 'missing is not new: nothing is written into what is in its place');
  await rm(home, { recursive: true });
  await rename(away, home);
  await set.probeNow();
  t.equal(states(), '+++');
  t.equal(String(await (await set.disk(1)?.open('data'))?.read(0, 11)), 'descriptors');

  await rm(join(folder, 'disk 2'), { recursive: true });
  await mkdir(join(folder, 'disk 2'));
  await set.probeNow();
  t.equal(states(), '+-+');
  t.same(await readdir(join(folder, 'disk 2')), []);
});

void t.test('I9: another process that owns a disk is named; when it is killed, the disks are free', async (t) => {
  const { membership } = await newPool(t);
  const program = `
    import { openDiskSet } from ${JSON.stringify(new URL('../../src/disk/open-disk-set.js', import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL('../../src/base/clock.js', import.meta.url).href)};
    await openDiskSet({ clock: systemClock, membership: JSON.parse(process.argv[1]), log: () => {} });
    process.stdout.write('open');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, '--', JSON.stringify(membership)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('.', import.meta.url)),
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const refused = await failure(openDiskSet({ clock: systemClock, membership, log }));
  t.equal(refused.code, 'EBUSY');
  t.match(refused.message, String(child.pid));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const set = await openDiskSet({ clock: systemClock, membership, log });
  t.ok(set.members().every((member) => member.state === 'online'));
  await set.close();
});

void t.test('init refuses what is not an empty directory, and changes nothing', async (t) => {
  const folder = await newFolder(t);
  const good = join(folder, 'good');
  const full = join(folder, 'full');
  await mkdir(join(good, 'lost+found'), { recursive: true });
  await mkdir(full);
  await writeFile(join(full, 'thesis.txt'), 'mine');
  await writeFile(join(folder, 'file'), '');
  await symlink(good, join(folder, 'link'));
  const init = (...directories: string[]): Promise<void> => {
    const members = directories.map((directory, i) => ({
      number: i + 1,
      id: newUuid(systemRandom),
      role: 'data' as const,
      state: 'active' as const,
      voter: true,
      zone: undefined,
      directory,
    }));
    const membership: Membership = {
      epoch: 0,
      version: 1,
      poolId: newUuid(systemRandom),
      poolName: 'real',
      k: 1,
      m: 1,
      lastNumber: members.length,
      members,
    };
    return initialiseDisks({ opener, membership, settings: {}, created: new Date().toISOString() });
  };
  const cases: [string, string, RegExp][] = [
    [join(folder, 'missing'), 'ENOENT', /missing/],
    [join(folder, 'file'), 'ENOTDIR', /file/],
    [full, 'ENOTEMPTY', /thesis\.txt/],
    ['relative', 'EINVAL', /relative/],
    [join(folder, 'link'), 'EBUSY', /good|link/],
  ];
  for (const [directory, code, message] of cases) {
    const error = await failure(init(good, directory));
    t.equal(error.code, code, directory);
    t.match(error.message, message);
    t.same(
      (await readdir(good)).filter((name) => name !== 'ostraka.lock'),
      ['lost+found'],
    );
  }
  t.same(await readdir(full), ['thesis.txt']);
  const other = join(folder, 'other');
  await mkdir(other);
  await init(good, other);
  const again = await failure(init(good));
  t.equal(again.code, 'EEXIST');
  t.match(again.message, 'pool "real"');
  const { pools, failures } = await findPools(opener, [good, other, full]);
  t.equal(pools.length, 1);
  t.same([...(pools[0]?.found.values() ?? [])], [good, other]);
  t.match(failures, [{ directory: full, error: { code: 'ENOENT' } }]);
});

void t.test('closing a disk while a call hangs in it fails that call in the end', { timeout: 60_000 }, async (t) => {
  const folder = await newFolder(t);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const directory = await openNativeDirectory(folder, { stallMs: 300 });
  const hung = failure(directory.call('hang', undefined, undefined, (native, disk) => native.hangForTest(disk, fifo)));
  await systemClock.sleep(20);
  await directory.close();
  t.equal((await hung).code, 'ETIMEDOUT');
  t.equal(directory.health.stalls, 1);
  const writer = await open(fifo, 'w');
  await writer.close();
});
