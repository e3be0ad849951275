/** What programs expect of a local file system beyond reading and writing: locks, direct I/O, handles for NFS, listings of folders that change, tools. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { FrontEndReport } from '../../src/daemon/front-end-report.js';
import { packageRoot } from '../../src/base/package-root.js';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const program = (name: string): string => join(packageRoot, 'test/e2e/programs', name);
const python = async (name: string, ...args: string[]): Promise<string[]> =>
  (await run('/usr/bin/python3', ['-I', program(name), ...args])).stdout.trim().split('\n');

const pool = await TestPool.create(t, { disks: 4 });
await pool.mount();
/** A folder of the local file system: what is asked of ours must hold there too, or the question is wrong. */
const local = await mkdtemp(join(tmpdir(), 'ostraka-local-'));
t.teardown(() => rm(local, { recursive: true, force: true }));

t.test('locks: fcntl, open file description, flock; blocking, given back, interrupted', async (t) => {
  const kept = await python('locks.py', pool.mountpoint);
  t.same(
    kept.filter((line) => !line.startsWith('kept ')),
    [],
  );
  t.same(kept, await python('locks.py', local), 'as on a local file system');
  t.equal(kept.length, 21);
});

t.test('direct I/O, cached I/O and shared memory see one file', async (t) => {
  for (const seed of ['1', '2']) t.same(await python('direct.py', pool.mountpoint, seed, '400'), ['equal']);
});

t.test('a folder that changes while it is listed', async (t) => {
  const seen = await python('listing.py', pool.mountpoint);
  t.same(seen, ['each once True', 'nothing twice True', 'dots True', 'places 10', 'rewound True', 'left []']);
});

async function frontEnd(): Promise<FrontEndReport> {
  return ((await pool.json(['status', pool.name])) as { front_end: FrontEndReport }).front_end;
}

/** Requests that opened, listed or closed a folder so far. */
async function listingRequests(): Promise<number> {
  const listing = (await frontEnd()).operations.filter(({ operation }) => /^(OPEN|READ|RELEASE)DIR/.test(operation));
  return listing.reduce((sum, { count }) => sum + count, 0);
}

t.test('a folder is listed from what the kernel has kept, until it changes', async (t) => {
  const same = ["open ['away', 'fifo']", "rewound ['away', 'fifo', 'new']"];
  for (const place of [local, pool.mountpoint]) t.same(await python('relisting.py', place), same, place);

  await run('mkdir', ['-p', ...Array.from({ length: 20 }, (_, at) => pool.at('kept', String(at), 'sub'))]);
  const find = async (): Promise<string> => (await run('find', [pool.at('kept'), '-printf', '%P %s\\n'])).stdout;
  const before = await listingRequests();
  const found = await find();
  const listed = await listingRequests();
  // Each of 41 folders: what is in it, and its end.
  t.equal(listed - before, 82, 'nothing is opened or closed for it');
  t.equal(found.split('\n').length, 42);
  t.equal(await find(), found);
  t.equal(await listingRequests(), listed, 'nothing is asked the second time');
  await writeFile(pool.at('kept', '7', 'new'), 'xyz');
  t.equal((await find()).split('\n').length, 43);
  t.equal(await listingRequests(), listed + 2, 'and then only what has changed');
  await run('rm', ['-r', pool.at('kept')]);
});

t.test('file handles outlive caches and mounts', async (t) => {
  const state = join(local, 'handles.json');
  await python('handles.py', 'take', pool.mountpoint, state);
  const want = [
    "['a', 'direct', 'locked']",
    "a a ['b', 'file']",
    'a/file a/file a/file',
    "a/b/c a/b/c ['deep']",
    'a/b/c/deep a/b/c/deep a/b/c/deep',
    'gone ESTALE',
  ];
  t.same(await python('handles.py', 'use', pool.mountpoint, state), want, 'after the kernel forgot the inodes');
  await pool.remount();
  t.same(await python('handles.py', 'use', pool.mountpoint, state), want, 'in another mount');
});

t.test('times: the kernel makes some of them, we others, and they are in order and stay', async (t) => {
  for (const place of [local, pool.mountpoint])
    t.same(await python('times.py', 'order', join(place, 'order')), ['older than an earlier one: none'], place);
  const state = join(local, 'times.json');
  t.same(await python('times.py', 'take', pool.at('times'), state), ['29 changes']);
  await pool.remount();
  t.same(await python('times.py', 'same', pool.at('times'), state), ['compared 97'], 'nothing looks changed in another mount');
});

t.test('the time of birth stays what it was', async (t) => {
  const birth = async (name: string): Promise<number> => Number((await run('stat', ['-c', '%W', pool.at(name)])).stdout);
  const before = Math.floor(Date.now() / 1000);
  await writeFile(pool.at('born'), 'x');
  const born = await birth('born');
  t.ok(born >= before && born <= Date.now() / 1000, `${born} at ${before}`);
  await run('touch', ['-d', '2001-01-01', pool.at('born')]);
  await run('mv', [pool.at('born'), pool.at('moved')]);
  await writeFile(pool.at('moved'), 'other content');
  t.equal(await birth('moved'), born);
  await pool.remount();
  t.equal(await birth('moved'), born, 'in another mount');
  t.equal((await stat(pool.at('moved'))).mtimeMs > 1e12, true);
});

t.test('status --verbose shows what was agreed, and requests by operation', async (t) => {
  await writeFile(pool.at('counted'), 'x');
  const found = await frontEnd();
  t.match(found.protocol, /^7\.\d+$/);
  t.ok(found.flags.includes('WRITEBACK_CACHE') && !found.flags_left.includes('WRITEBACK_CACHE'));
  t.match(found, { under_way: Number, failures: 0, refused_replies: 0, refused_notifications: 0 });
  const creates = found.operations.find(({ operation }) => operation === 'CREATE');
  t.ok((creates?.count ?? 0) > 0);
  for (const each of [...found.operations, found.loop_delay]) {
    t.equal(
      each.histogram.reduce((sum, count) => sum + count, 0),
      each.count,
      'the histogram has them all',
    );
    t.ok(each.p50_us <= each.p99_us && each.p99_us <= each.max_us);
  }
  t.equal(
    found.operations.reduce((sum, { count }) => sum + count, 0) + found.under_way,
    found.requests,
    'every request is of some operation',
  );
  const { stdout } = await pool.ostraka(['status', pool.name, '--verbose']);
  t.match(stdout, /protocol +FUSE 7\.\d+ \(the kernel speaks 7\.\d+\)/);
  t.match(stdout, /flags +ASYNC_READ/);
  t.match(stdout, /^ *CREATE +\d+ +0 +[\d.]+ (µs|ms|s) /m);
  t.match(stdout, /event loop delay/);
  t.notMatch((await pool.ostraka(['status', pool.name])).stdout, /protocol/, 'only where it is asked for');
});

t.test('syncfs(2) after deleting has no error to report', async (t) => {
  for (let round = 0; round < 3; round++) {
    await writeFile(pool.at('short-lived'), 'x');
    await rm(pool.at('short-lived'));
    t.equal((await run('sync', ['-f', pool.mountpoint], { mayFail: true })).stderr, '');
  }
});

t.test('tools of local file systems get answers', async (t) => {
  await writeFile(pool.at('f'), 'x');
  const failure = async (command: string, ...args: string[]): Promise<string> => {
    const { code, stderr } = await run(command, args, { mayFail: true });
    return code === 0 ? 'done' : stderr.trim();
  };
  t.match((await run('lsattr', ['-d', pool.mountpoint])).stdout, /^-+ /);
  t.match((await run('lsattr', ['-v', pool.at('f')])).stdout, /^0 +-+ /, 'generation 0, no flags');
  t.equal(await failure('chattr', '-i', pool.at('f')), 'done', 'taking away what is not there');
  t.match(await failure('chattr', '+i', pool.at('f')), /Operation not supported while setting flags/);
  t.match(await failure('fstrim', pool.mountpoint), /not supported/);
  const ioctl = `
import errno, fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(struct.unpack('i', fcntl.ioctl(fd, 2, bytes(4)))[0])
print(fcntl.ioctl(fd, 0x801c581f, bytes(28)) == bytes(28))
fcntl.ioctl(fd, 0x401c5820, bytes(28))
for command, data in [(0x401c5820, b'\\x08' + bytes(27)), (0x5411, bytes(4))]:
    try:
        fcntl.ioctl(fd, command, data)
    except OSError as error:
        print(errno.errorcode[error.errno])
`;
  const { stdout } = await run('/usr/bin/python3', ['-I', '-c', ioctl, pool.at('f')]);
  t.same(stdout.trim().split('\n'), ['4096', 'True', 'ENOTSUP', 'ENOTTY'], 'FIGETBSZ, FSGETXATTR, FSSETXATTR, TIOCOUTQ');
  t.match(await failure('cp', '--reflink=always', pool.at('f'), pool.at('g')), /Operation not supported/, 'FICLONE never reaches us');
  t.equal(await failure('cp', '--reflink=auto', '--sparse=always', pool.at('f'), pool.at('g')), 'done');
  t.equal(await readFile(pool.at('f'), 'utf8'), 'x');
});

t.test('what something is mounted on cannot be renamed, removed or replaced', async (t) => {
  const attempts = `
import errno, os, sys
root = sys.argv[1]
def says(call, *arguments):
    try:
        call(*[os.path.join(root, path) for path in arguments])
        return 'done'
    except OSError as error:
        return errno.errorcode[error.errno]
print(says(os.rename, 'folder', 'other'), says(os.rmdir, 'folder'), says(os.rename, 'empty', 'folder'), says(os.unlink, 'file'), says(os.rename, 'spare', 'file'))
print(says(os.rename, 'above', 'moved'), says(os.rename, 'moved', 'above'), says(os.rmdir, 'above/below'))
`;
  const results: string[] = [];
  for (const parent of [local, pool.mountpoint]) {
    const root = join(parent, 'mounted-on');
    await run('mkdir', ['-p', ...['folder', 'empty', 'above/below'].map((name) => join(root, name))]);
    for (const name of ['file', 'spare']) await writeFile(join(root, name), name);
    const targets = ['folder', 'above/below', 'file'].map((name) => join(root, name));
    try {
      for (const target of targets.slice(0, 2)) await run('mount', ['-t', 'tmpfs', 'tmpfs', target]);
      await run('mount', ['--bind', join(root, 'spare'), targets[2] ?? '']);
      results.push((await run('/usr/bin/python3', ['-I', '-c', attempts, root])).stdout);
    } finally {
      for (const target of targets) await run('umount', [target], { mayFail: true });
    }
    t.equal(await readFile(join(root, 'file'), 'utf8'), 'file', 'what lies below is as it was');
  }
  t.equal(results[1], 'EBUSY EBUSY EBUSY EBUSY EBUSY\ndone done EBUSY\n');
  t.equal(results[0], results[1], 'as on a local file system');
});

t.test('reading moves no access time, and the mount says so', async (t) => {
  t.match((await run('findmnt', ['-no', 'OPTIONS', pool.mountpoint])).stdout, /(^|,)noatime(,|$)/m);
  await run('touch', ['-ad', '2001-01-01', pool.at('f')]);
  await pool.remount();
  await readFile(pool.at('f'));
  t.equal((await stat(pool.at('f'))).atime.getUTCFullYear(), 2001);
});

t.test('who holds a lock keeps the mount and the lock', async (t) => {
  const holder = spawn('flock', [pool.at('f'), 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => void holder.kill('SIGKILL'));
  holder.stdin.write('held\n');
  await once(holder.stdout, 'data');
  const { code, stderr } = await pool.ostraka(['unmount', pool.name], { mayFail: true });
  t.equal(code, 4, stderr);
  t.match(stderr, /busy|in use/i);
  t.equal((await run('flock', ['-n', pool.at('f'), 'true'], { mayFail: true })).code, 1, 'it is still locked');
  holder.stdin.end();
  await once(holder, 'close');
  await pool.remount();
  t.equal((await run('flock', ['-n', pool.at('f'), 'true'], { mayFail: true })).code, 0);
});
