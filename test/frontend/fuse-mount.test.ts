import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { FUSE_DIRTY_BYTES_MAX, FUSE_READAHEAD_BYTES } from '../../src/base/limits.js';
import { cleanStaleMount, isStaleMount } from '../../src/frontend/fuse/stale-mount.js';
import { parseMountTable } from '../../src/frontend/fuse/mount-table.js';
import { until } from '../support/pool.js';
import { run } from '../support/run.js';
import { cannotMount, MemoryDaemon, removeMount } from './daemon.js';

const skip = (await cannotMount()) ?? false;
const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (thrown: unknown) => (thrown as NodeJS.ErrnoException).code ?? String(thrown),
  );

t.test('the mount table: escapes, optional fields, what covers what', async (t) => {
  const text = [
    '36 35 98:0 / /mnt1 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
    '37 35 0:45 / /mnt\\0401\\134 rw - fuse.ostraka a rw',
    '38 35 0:46 / /mnt/\xc3\xa4 rw shared:1 master:2 - fuse.ostraka a rw',
    'nonsense',
  ].join('\n');
  t.same(parseMountTable(text), [
    { mountpoint: '/mnt1', device: '98:0', type: 'ext3', source: '/dev/root' },
    { mountpoint: '/mnt 1\\', device: '0:45', type: 'fuse.ostraka', source: 'a' },
    { mountpoint: '/mnt/ä', device: '0:46', type: 'fuse.ostraka', source: 'a' },
  ]);
});

t.test('mounted, used, unmounted', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, { source: 'pool one' });
  t.match((await run('findmnt', ['-no', 'FSTYPE,SOURCE', daemon.mountpoint])).stdout, /fuse\.ostraka +pool.*one/);
  await fs.writeFile(daemon.at('f'), 'content');
  t.equal(await fs.readFile(daemon.at('f'), 'utf8'), 'content');
  t.equal(await code(fs.readFile(daemon.at('g'))), 'ENOENT');
  const device = (await run('findmnt', ['-no', 'MAJ:MIN', daemon.mountpoint])).stdout.trim();
  const tuned = (name: string): Promise<number> => fs.readFile(`/sys/class/bdi/${device}/${name}`, 'utf8').then(Number);
  t.equal(await tuned('read_ahead_kb'), FUSE_READAHEAD_BYTES / 1024);
  // The kernel keeps it as a share of all memory, in millionths.
  const dirty = await tuned('max_bytes').catch(() => undefined);
  if (dirty === undefined) t.pass('a kernel before 6.2 cannot be told how much may be dirty');
  else t.ok(Math.abs(dirty / FUSE_DIRTY_BYTES_MAX - 1) < 0.05, `${dirty} bytes may be dirty`);
  t.equal((await daemon.ask('unmount 0')).code, 'done');
  t.match(await daemon.event('closed'), { replyErrors: 0, notifyErrors: 0, handles: 0, underWay: 0 });
  t.equal(await daemon.exited, 0);
  t.same(await fs.readdir(daemon.mountpoint), []);
});

t.test('the longest names, 1 MiB requests and all attributes get through', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const name = daemon.at('ä'.repeat(127));
  await fs.writeFile(name, 'x');
  t.same(await fs.readdir(daemon.mountpoint), ['ä'.repeat(127)]);
  t.equal(await code(fs.writeFile(daemon.at('x'.repeat(256)), '')), 'ENAMETOOLONG');
  const content = Buffer.alloc((5 << 20) + 12345, 'Ostraka ');
  await fs.writeFile(daemon.at('big'), content);
  await run('sync', [daemon.at('big')]);
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  const before = (await daemon.ask('stats')).requests as number;
  t.ok((await fs.readFile(daemon.at('big'))).equals(content));
  const reads = ((await daemon.ask('stats')).requests as number) - before;
  t.ok(reads < 40, `read in large pieces: ${reads} requests for 5 MiB`);
  await fs.chmod(name, 0o4751);
  await fs.chown(name, 12, 2 ** 32 - 2);
  await fs.utimes(name, new Date(-1e12), new Date(5e12));
  const stat = await fs.stat(name, { bigint: true });
  t.equal(stat.mode, 0o100751n, 'chown took set-uid away');
  t.equal(stat.gid, 2n ** 32n - 2n);
  t.equal(stat.mtimeMs, 5_000_000_000_000n);
  t.equal(stat.atimeMs, -1_000_000_000_000n);
});

t.test('while files are open: EBUSY, then a lazy unmount that lets them finish', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const file = await fs.open(daemon.at('f'), 'w+');
  await file.write('before');
  t.equal((await daemon.ask('unmount 0')).code, 'EBUSY');
  const asked = daemon.ask('unmount 1');
  while (await fs.stat(daemon.at('f')).catch(() => undefined));
  await file.write(' after');
  await file.sync();
  t.equal((await file.read(Buffer.alloc(20), 0, 20, 0)).bytesRead, 12, 'served on');
  await file.close();
  t.equal((await asked).code, 'done');
  t.equal(await daemon.exited, 0);
});

t.test('a daemon that was killed leaves a dead mount, which is recognised and taken away', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const { mountpoint } = daemon;
  t.notOk(await isStaleMount(mountpoint), 'alive');
  t.equal(await cleanStaleMount(mountpoint), 0, 'a living mount is left alone');
  await fs.writeFile(daemon.at('f'), 'x');
  daemon.child.kill('SIGKILL');
  await daemon.exited;
  t.equal(await code(fs.readdir(mountpoint)), 'ENOTCONN');
  t.ok(await isStaleMount(mountpoint));
  const second = await MemoryDaemon.start(t, { mountpoint, expect: 'failed' });
  t.equal(await second.exited, 1, 'nobody mounts over it');
  t.equal(await cleanStaleMount(mountpoint), 1);
  t.notOk(await isStaleMount(mountpoint));
  t.same(await fs.readdir(mountpoint), []);
  const third = await MemoryDaemon.start(t, { mountpoint });
  await fs.writeFile(third.at('f'), 'again');
});

t.test('mount points that cannot be', { skip }, async (t) => {
  const folder = t.testdir({ file: 'x' });
  const failure = (mountpoint: string): Promise<string> =>
    MemoryDaemon.start(t, { mountpoint }).then(
      () => 'mounted',
      (thrown: unknown) => String(thrown),
    );
  t.match(await failure(join(folder, 'missing')), /ENOENT/);
  t.match(await failure(join(folder, 'file')), /ENOTDIR/);
  const other = await MemoryDaemon.start(t);
  t.match(await failure(other.mountpoint), /EBUSY/);
  await fs.writeFile(other.at('f'), 'still there');
});

t.test('an interrupted reader gets away while its request waits', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.writeFile(daemon.at('f'), 'content');
  await run('sync', [daemon.at('f')]);
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  await daemon.ask('hold');
  const result = await run('timeout', ['-s', 'INT', '0.5', 'cat', daemon.at('f')], { mayFail: true, limitMs: 10_000 });
  t.equal(result.code, 124);
  t.ok(((await daemon.ask('stats')).interrupts as number) >= 1);
  await daemon.ask('letGo');
  t.equal(await fs.readFile(daemon.at('f'), 'utf8'), 'content');
});

t.test('a signal that its process handles fails no system call', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.writeFile(daemon.at('f'), 'content');
  await run('sync', [daemon.at('f')]);
  const program = `$SIG{ALRM} = sub { $signals++ }; alarm 1;
    stat "$ARGV[0]/f" or die "stat: $!"; open(my $new, ">", "$ARGV[0]/new") or die "open: $!"; print "$signals signal"`;
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
  await daemon.ask('hold');
  const running = run('perl', ['-e', program, daemon.mountpoint], { mayFail: true });
  await until('the signal came', async () => ((await daemon.ask('stats')).interrupts as number) >= 1);
  await daemon.ask('letGo');
  const { stdout, stderr } = await running;
  t.equal(stderr, '');
  t.equal(stdout, '1 signal');
});

t.test('write-back that fails is told by fsync, and the cache is emptied', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.writeFile(daemon.at('f'), 'committed');
  await run('sync', [daemon.at('f')]);
  const { ino } = await fs.stat(daemon.at('f'));
  await daemon.ask(`failWrites ${ino}`);
  const file = await fs.open(daemon.at('f'), 'r+');
  await file.write('corrupted', 0);
  t.equal(await code(file.sync()), 'EIO');
  await file.close().catch(() => undefined);
  await daemon.ask('failWrites 0');
  for (let i = 0; i < 100 && (await fs.readFile(daemon.at('f'), 'utf8')) !== 'committed'; i++) await new Promise((r) => setTimeout(r, 20));
  t.equal(await fs.readFile(daemon.at('f'), 'utf8'), 'committed');
});

t.test('an aborted connection ends the daemon, its clients get errors and no hang', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const file = await fs.open(daemon.at('f'), 'w');
  await file.write('x');
  await daemon.ask('abort');
  t.match(await daemon.event('closed'), { handles: 0 }, 'open handles were released');
  t.not(await code(file.sync()), 'done');
  await file.close().catch(() => undefined);
  t.equal(await daemon.exited, 0);
  t.ok(await isStaleMount(daemon.mountpoint));
});

t.test('read-only', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, { readOnly: true });
  t.equal(await code(fs.writeFile(daemon.at('f'), '')), 'EROFS');
});

t.test('through fusermount3: mounted, used, busy, unmounted', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t, { byHelper: true, readOnly: false, source: 'by helper' });
  await fs.writeFile(daemon.at('f'), 'content');
  const file = await fs.open(daemon.at('f'), 'r');
  t.equal((await daemon.ask('unmount 0')).code, 'EBUSY');
  await file.close();
  t.equal((await daemon.ask('unmount 0')).code, 'done');
  t.equal(await daemon.exited, 0);
  const folder = t.testdir({ file: 'x' });
  const failed = await MemoryDaemon.start(t, { byHelper: true, mountpoint: folder, source: 'a,b' }).catch((thrown: unknown) =>
    String(thrown),
  );
  t.match(failed, /EINVAL/, 'a source that would become an option');
});

t.test('an unprivileged user mounts through fusermount3', { skip }, async (t) => {
  const user = 65534;
  const folder = await fs.mkdtemp('/tmp/ostraka-nobody-');
  await fs.chown(folder, user, user);
  t.teardown(async () => {
    await removeMount(folder);
    await fs.rmdir(folder);
  });
  const daemon = await MemoryDaemon.start(t, { mountpoint: folder, user }).catch((thrown: unknown) => String(thrown));
  if (typeof daemon === 'string') {
    t.comment(`not possible here: ${daemon}`);
    return;
  }
  t.match((await run('findmnt', ['-no', 'FSTYPE,OPTIONS', folder])).stdout, /fuse\.ostraka .*user_id=65534/);
  t.equal(await code(fs.stat(join(folder, 'f'))), 'EACCES', 'not even root may enter');
  const inside = await run('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'sh',
    '-c',
    `echo hi > ${folder}/f && cat ${folder}/f`,
  ]);
  t.equal(inside.stdout, 'hi\n');
  t.equal((await daemon.ask('unmount 0')).code, 'done', 'and unmounts through it');
  t.equal(await daemon.exited, 0);
});

t.test('a worker that ends with its mount open takes nothing else with it', { skip }, async (t) => {
  const { Worker } = await import('node:worker_threads');
  const folder = await fs.mkdtemp('/tmp/ostraka-worker-');
  t.teardown(async () => {
    await removeMount(folder);
    await fs.rmdir(folder);
  });
  const worker = new Worker(new URL('./memory-daemon.js', import.meta.url), { argv: [folder], stdout: true });
  await once(worker.stdout, 'data');
  t.equal(await code(fs.writeFile(join(folder, 'f'), 'x')), 'done');
  await worker.terminate();
  t.equal(await code(fs.stat(join(folder, 'f'))), 'ENOTCONN');
  t.equal(await cleanStaleMount(folder), 1);
});
