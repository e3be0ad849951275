/** Real programs on a real mount of the in-memory namespace: what they do must come out as on any file system. */
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from '../support/run.js';
import { describeTree, differences, sha256 } from '../support/tree.js';
import { cannotMount, MemoryDaemon } from './daemon.js';

const skip = (await cannotMount()) ?? false;
const tree = join(packageRoot, 'node_modules', 'zod');

/** What was cached is asked for again. */
async function coldCaches(daemon: MemoryDaemon): Promise<void> {
  await run('sync', ['-f', daemon.mountpoint]);
  await fs.writeFile('/proc/sys/vm/drop_caches', '3');
}

t.test('cp -a, tar, rsync', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const want = await describeTree(tree);
  t.ok(want.size > 200);
  await run('cp', ['-a', tree, daemon.at('copied')]);
  await coldCaches(daemon);
  t.same(differences(want, await describeTree(daemon.at('copied'))), [], 'cp -a');
  await run('tar', ['-C', daemon.at('copied'), '--format=posix', '-cf', daemon.at('tree.tar'), '.']);
  await fs.mkdir(daemon.at('untarred'));
  await run('tar', ['-C', daemon.at('untarred'), '-xpf', daemon.at('tree.tar')]);
  t.same(differences(want, await describeTree(daemon.at('untarred'))), [], 'tar');
  await run('rsync', ['-aHAX', `${tree}/`, daemon.at('synced/')]);
  t.same(differences(want, await describeTree(daemon.at('synced'))), [], 'rsync');
  const again = await run('rsync', ['-aHAX', '--itemize-changes', `${tree}/`, daemon.at('synced/')]);
  t.equal(again.stdout, '', 'a second rsync finds nothing to do');
  await run('diff', ['-r', tree, daemon.at('synced')]);
  await run('rm', ['-rf', daemon.at('copied'), daemon.at('synced')]);
  t.match(await daemon.ask('stats'), { replyErrors: 0, notifyErrors: 0, openFiles: 0 });
});

t.test('git', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const git = (...args: string[]): Promise<unknown> =>
    run('git', ['-C', daemon.at('repo'), '-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'safe.directory=*', ...args]);
  await run('cp', ['-a', tree, daemon.at('repo')]);
  await git('init', '-q');
  await git('add', '-A');
  await git('commit', '-qm', 'one');
  await fs.writeFile(daemon.at('repo', 'new'), 'content');
  await git('add', '-A');
  await git('commit', '-qm', 'two');
  await git('checkout', '-q', 'HEAD~1');
  await coldCaches(daemon);
  await git('fsck', '--full');
  t.match(await run('git', ['-C', daemon.at('repo'), '-c', 'safe.directory=*', 'status', '--porcelain']), { stdout: '' });
});

t.test('large content, by several writers, read by read(2) and mmap', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const content = randomBytes(48 << 20);
  const digest = createHash('sha256').update(content).digest('hex');
  await fs.writeFile(daemon.at('big'), content);
  t.equal(await sha256(daemon.at('big')), digest, 'from the cache');
  await coldCaches(daemon);
  t.equal(await sha256(daemon.at('big')), digest, 'from the namespace');
  await run('dd', [`if=${daemon.at('big')}`, `of=${daemon.at('direct')}`, 'bs=1M', 'iflag=direct', 'oflag=direct', 'status=none']);
  t.equal(await sha256(daemon.at('direct')), digest, 'O_DIRECT');
  await coldCaches(daemon);
  const mapped =
    'import mmap,hashlib,sys; f=open(sys.argv[1]); print(hashlib.sha256(mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)).hexdigest())';
  t.equal((await run('/usr/bin/python3', ['-I', '-c', mapped, daemon.at('big')])).stdout.trim(), digest, 'mmap');

  const half = content.length / 2;
  const writer = async (from: number): Promise<void> => {
    const file = await fs.open(daemon.at('shared'), 'a+').then(async (created) => {
      await created.close();
      return fs.open(daemon.at('shared'), 'r+');
    });
    for (let at = from; at < from + half; at += 100_000) await file.write(content, at, Math.min(100_000, from + half - at), at);
    await file.close();
  };
  await Promise.all([writer(0), writer(half)]);
  await coldCaches(daemon);
  t.equal(await sha256(daemon.at('shared')), digest, 'two writers');
  t.match(await daemon.ask('stats'), { replyErrors: 0 });
});

t.test('sparse files, truncation, appending, mmap writes', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const file = await fs.open(daemon.at('f'), 'w+');
  await file.write('end', 10_000_000);
  await file.write('start', 0);
  await file.truncate(9_000_000);
  await file.truncate(9_500_000);
  await file.close();
  await coldCaches(daemon);
  const read = await fs.readFile(daemon.at('f'));
  t.equal(read.length, 9_500_000);
  t.equal(read.toString('latin1', 0, 5), 'start');
  t.ok(read.subarray(5).every((byte) => byte === 0));
  for (let i = 0; i < 20; i++) await fs.appendFile(daemon.at('log'), `line ${i}\n`);
  await coldCaches(daemon);
  t.equal((await fs.readFile(daemon.at('log'), 'utf8')).split('\n').length, 21);
  const script = 'import mmap,sys\nf=open(sys.argv[1],"r+b")\nm=mmap.mmap(f.fileno(),0)\nm[1:3]=b"XY"\nm.flush()';
  await run('/usr/bin/python3', ['-I', '-c', script, daemon.at('f')]);
  await coldCaches(daemon);
  t.equal((await fs.readFile(daemon.at('f'))).toString('latin1', 0, 5), 'sXYrt');
  await fs.writeFile(daemon.at('f'), 'short');
  t.equal(await fs.readFile(daemon.at('f'), 'utf8'), 'short', 'O_TRUNC');
});

t.test('names: renames over what is there, hard links, symbolic links, unlinked open files', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const [a, b, c] = [daemon.at('a'), daemon.at('b'), daemon.at('c')];
  await fs.writeFile(a, 'a');
  await fs.writeFile(b, 'b');
  const open = await fs.open(b, 'r');
  await fs.rename(a, b);
  t.equal(await fs.readFile(b, 'utf8'), 'a');
  t.equal((await open.readFile()).toString(), 'b', 'the replaced file lives while it is open');
  await open.close();
  await fs.link(b, c);
  t.equal((await fs.stat(b)).nlink, 2);
  t.equal((await fs.stat(b)).ino, (await fs.stat(c)).ino);
  await fs.unlink(b);
  t.equal((await fs.stat(c)).nlink, 1);
  await fs.symlink('c', daemon.at('l'));
  t.equal(await fs.readFile(daemon.at('l'), 'utf8'), 'a');
  t.equal(await fs.readlink(daemon.at('l')), 'c');
  await fs.mkdir(daemon.at('d/e'), { recursive: true });
  await t.rejects(fs.rename(daemon.at('d'), daemon.at('d/e/f')), { code: 'EINVAL' });
  await t.rejects(fs.rmdir(daemon.at('d')), { code: 'ENOTEMPTY' });
  await fs.mkdir(daemon.at('g'));
  await fs.rename(daemon.at('d'), daemon.at('g'));
  t.same((await fs.readdir(daemon.mountpoint)).sort(), ['c', 'g', 'l']);
  await run('setfattr', ['-n', 'user.k', '-v', 'value', c]);
  t.match((await run('getfattr', ['-d', '--absolute-names', c])).stdout, /user\.k="value"/);
  await run('setfattr', ['-x', 'user.k', c]);
  t.equal((await run('getfattr', ['-d', '--absolute-names', c])).stdout, '');
  await run('mkfifo', [daemon.at('fifo')]);
  t.ok((await fs.lstat(daemon.at('fifo'))).isFIFO());
  const umask = 'umask 027; touch u; mkdir v; stat -c %a u v';
  t.equal((await run('sh', ['-c', umask], { cwd: daemon.mountpoint })).stdout, '640\n750\n', 'the umask is applied once');
});

t.test('5,000 entries listed while they go', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  const names = Array.from({ length: 5000 }, (_, i) => `entry-${i}`);
  await fs.mkdir(daemon.at('many'));
  for (let i = 0; i < names.length; i += 100)
    await Promise.all(names.slice(i, i + 100).map((name) => fs.writeFile(daemon.at('many', name), '')));
  t.same((await fs.readdir(daemon.at('many'))).sort(), [...names].sort());
  await coldCaches(daemon);
  const seen = new Set<string>();
  let removed = 0;
  for await (const entry of await fs.opendir(daemon.at('many'), { bufferSize: 16 })) {
    if (seen.has(entry.name)) t.fail(`${entry.name} twice`);
    seen.add(entry.name);
    if (seen.size % 2 === 0) {
      await fs.unlink(daemon.at('many', entry.name));
      removed++;
    }
  }
  t.equal(seen.size, names.length, 'each once, none lost');
  t.equal((await fs.readdir(daemon.at('many'))).length, names.length - removed);
  await run('rm', ['-r', daemon.at('many')]);
  await coldCaches(daemon);
  t.equal((await daemon.ask('stats')).inodes, 1, 'forgotten inodes are gone');
});

t.test('permissions and credentials', { skip }, async (t) => {
  const daemon = await MemoryDaemon.start(t);
  await fs.chmod(daemon.mountpoint, 0o1777);
  await fs.writeFile(daemon.at('secret'), 'x', { mode: 0o600 });
  const nobody = (script: string): Promise<{ stdout: string; code: number | null }> =>
    run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', 'sh', '-c', script], { cwd: daemon.mountpoint, mayFail: true });
  t.not((await nobody('cat secret')).code, 0);
  t.equal((await nobody('echo mine > own && stat -c %u:%g own')).stdout, '65534:65534\n');
  t.not((await nobody('rm -f secret')).code, 0, 'sticky');
  await fs.chmod(daemon.at('own'), 0o4777);
  await nobody('echo more >> own');
  t.equal((await fs.stat(daemon.at('own'))).mode & 0o7777, 0o777, 'a write takes set-uid away');
});
