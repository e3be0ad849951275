/** The real disk: the suite of all disks, and what only a real one can meet: other processes, links, moved directories, calls that hang. */
import t from 'tap';
import type { Test } from 'tap';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Uuid } from '../../src/base/ids.js';
import { nativeIo } from '../../src/base/native-io.js';
import { LOCK_FILE, openNativeDirectory, openNativeDisk, type NativeDirectory } from '../../src/disk/native-disk.js';
import { diskConformance } from './conformance.js';

const id = '0123456789abcdef0123456789abcdef' as Uuid;

/** A new directory, removed when the test ends. */
function directoryOf(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'ostraka-disk-'));
  t.teardown(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

/** Opens a directory for the time of a test. */
async function opened(t: Test, path: string, stallMs?: number): Promise<NativeDirectory> {
  const directory = await openNativeDirectory(path, stallMs === undefined ? {} : { stallMs });
  t.teardown(() => directory.close());
  return directory;
}

void t.test('conformance', (t) => {
  diskConformance(t, async () => {
    const path = mkdtempSync(join(tmpdir(), 'ostraka-disk-'));
    const open = () => openNativeDisk(path, async () => id);
    return {
      disk: await open(),
      openAgain: open,
      reopen: open,
      cleanUp: async () => {
        rmSync(path, { recursive: true });
      },
    };
  });
  t.end();
});

void t.test('directories that are none', async (t) => {
  const path = directoryOf(t);
  writeFileSync(join(path, 'file'), '');
  await t.rejects(openNativeDirectory(join(path, 'missing')), { code: 'ENOENT', disk: join(path, 'missing') });
  await t.rejects(openNativeDirectory(join(path, 'file')), { code: 'ENOTDIR' });
  await t.rejects(
    openNativeDisk(path, async () => {
      throw new Error('no superblock');
    }),
    { message: 'no superblock' },
  );
  t.notOk((await (await opened(t, path)).list('')).includes(LOCK_FILE), 'nothing is written to what is no disk of ours');
});

void t.test('I9: the lock names the process that has it', async (t) => {
  const path = directoryOf(t);
  const directory = await opened(t, path);
  await directory.lock();
  t.equal(readFileSync(join(path, LOCK_FILE), 'utf8'), `${process.pid}\n`);
  const program = `import { openNativeDirectory } from ${JSON.stringify(new URL('../../src/disk/native-disk.js', import.meta.url).href)};
    const directory = await openNativeDirectory(${JSON.stringify(path)});
    try { await directory.lock(); console.log('locked'); } catch (error) { console.log(error.code, error.message, error.hint); }
    await directory.close();`;
  const tryLock = (): string =>
    execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } });
  t.match(tryLock(), new RegExp(`^EBUSY .*process ${process.pid}.*Unmount`, 's'));
  await directory.close();
  t.equal(tryLock(), 'locked\n', 'free again once closed');
});

void t.test('the directory that was opened, not what its path leads to', async (t) => {
  const path = directoryOf(t);
  const [here, away] = [join(path, 'here'), join(path, 'away')];
  mkdirSync(here);
  const directory = await opened(t, here);
  await directory.identityStillAt(here);
  t.equal(await directory.externalPath('replica/db').catch((error: unknown) => (error as { code: string }).code), 'ENOENT');
  await directory.makeDirectory('replica');
  t.equal(await directory.externalPath('replica/db'), join(here, 'replica/db'));
  renameSync(here, away);
  await t.rejects(directory.identityStillAt(here), { code: 'ENOENT', disk: here });
  mkdirSync(join(here, 'replica'), { recursive: true });
  await t.rejects(directory.identityStillAt(here), { code: 'ESTALE' });
  await t.rejects(directory.externalPath('replica/db'), { code: 'ESTALE' });
  await (await directory.open('written', { create: true, write: true })).close();
  t.ok(readFileSync(join(away, 'written')), 'files still go to the identified directory');
  t.same((await directory.list('')).sort(), ['replica', 'written']);
});

void t.test('a probe sees another disk under the same path', async (t) => {
  const path = directoryOf(t);
  let name = id;
  const disk = await openNativeDisk(path, async () => name);
  await disk.probe();
  name = 'f'.repeat(32) as Uuid;
  await t.rejects(disk.probe(), { code: 'ESTALE', disk: path });
  await disk.close();
});

void t.test('no way out of the directory', async (t) => {
  const path = directoryOf(t);
  const directory = await opened(t, path);
  for (const bad of ['/etc/passwd', '../x', 'a/../../x', 'a//b', './a', 'a/', '', 'nul\0l', 'x'.repeat(5000)])
    await t.rejects(directory.open(bad), TypeError, JSON.stringify(bad.slice(0, 20)));
  symlinkSync('/etc', join(path, 'link'));
  symlinkSync('/etc/passwd', join(path, 'passwd'));
  await t.rejects(directory.open('passwd'), { code: 'ELOOP' });
  await t.rejects(directory.open('link/passwd'), { code: /ENOTDIR|ELOOP/ });
  await t.rejects(directory.list('link'), { code: /ENOTDIR|ELOOP/ });
  await t.rejects(directory.makeDirectory('link/new'), { code: /ENOTDIR|ELOOP/ });
  spawnSync('mkfifo', [join(path, 'fifo')]);
  await t.rejects(directory.open('fifo'), { code: 'EINVAL' }, 'a FIFO holds nobody up');
});

void t.test('large reads and writes arrive whole', async (t) => {
  const directory = await opened(t, directoryOf(t));
  const file = await directory.open('large', { create: true, write: true });
  const part = Buffer.alloc(3 << 20, 'abcdefg');
  await file.write(5, [part, part.subarray(1)]);
  const back = await file.read(5, 8 << 20);
  t.ok(back.equals(Buffer.concat([part, part.subarray(1)])));
  await t.rejects(file.read(0, 65 << 20), TypeError, 'bounded');
  await t.rejects(file.write(-1, [part]), TypeError);
  await t.rejects(file.read(0.5, 1), TypeError);
  await file.close();
});

void t.test('a disk that hangs is left behind, the others go on', { timeout: 60_000 }, async (t) => {
  const path = directoryOf(t);
  const [slow, good] = [join(path, 'slow'), join(path, 'good')];
  mkdirSync(slow);
  mkdirSync(good);
  const fifo = join(path, 'fifo');
  spawnSync('mkfifo', [fifo]);
  const io = nativeIo();
  const [stalled, fine] = [await opened(t, slow, 300), await opened(t, good)];
  await stalled.lock();
  const file = await stalled.open('file', { create: true, write: true });
  const hung = stalled.call('hang', undefined, undefined, (native, disk) => native.hangForTest(disk, fifo));
  const queued = file.write(0, [Buffer.alloc(4096)]);
  const other = await fine.open('file', { create: true, write: true });
  await other.write(0, [Buffer.from('meanwhile')]);
  t.equal(String(await other.read(0, 9)), 'meanwhile');
  t.ok((io.busyWord[0] ?? 0) > 0, 'something is in flight');
  await t.rejects(hung, { code: 'ETIMEDOUT', disk: slow });
  await t.rejects(queued, { code: 'ETIMEDOUT', path: 'file' });
  await t.rejects(file.read(0, 1), { code: 'ETIMEDOUT', disk: slow });
  await t.rejects(stalled.list(''), { code: 'ETIMEDOUT' });
  t.same({ ...stalled.health }, { readErrors: 0, writeErrors: 0, syncErrors: 0, checksumErrors: 0, stalls: 1 });
  t.equal(io.hungThreads(), 1);
  t.equal(io.busyWord[0], 0, 'nothing is in flight for a thread that was left behind');
  await file.close();
  await stalled.close();

  const again = await openNativeDirectory(slow);
  for (let round = 0; ; round++) {
    // The old lock is given back in the background.
    const locked = await again.lock().then(
      () => true,
      () => false,
    );
    if (locked || round > 1000) {
      t.ok(locked, 'the disk can be opened and locked again');
      break;
    }
  }
  await again.close();
  closeSync(openSync(fifo, 'w'));
  for (let round = 0; round < 1000 && io.hungThreads() > 0; round++) await fine.list('');
  t.equal(io.hungThreads(), 0, 'the thread came back and ended');
});
