/** Holes, shared copies and files without names through a real kernel, as programs use them. */
import t from 'tap';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const execute = promisify(execFile);

/** System calls that Node has not. Prints what they answer. */
const script = `
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def fallocate(fd, mode, offset, length):
    return 'ok' if libc.fallocate(fd, mode, offset, length) == 0 else errno.errorcode[ctypes.get_errno()]
folder = sys.argv[1]
fd = os.open(folder + '/sparse', os.O_RDWR | os.O_CREAT, 0o644)
os.pwrite(fd, b'x' * 300000, 1 << 20)
print('punch', fallocate(fd, 3, (1 << 20) + 100000, 100000))
print('zero', fallocate(fd, 16, (2 << 20), 4096))
print('reserve', fallocate(fd, 0, 0, 3 << 20))
print('collapse', fallocate(fd, 8, 0, 4096))
print('writer', os.lseek(fd, 0, os.SEEK_DATA))
print('bytes', os.pread(fd, 4, (1 << 20) + 99998))
os.close(fd)
fd = os.open(folder + '/sparse', os.O_RDONLY)
print('data', os.lseek(fd, 0, os.SEEK_DATA))
print('hole', os.lseek(fd, 1 << 20, os.SEEK_HOLE))
print('next', os.lseek(fd, (1 << 20) + 100000, os.SEEK_DATA))
print('size', os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512 < 300000)
os.close(fd)
fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b'unnamed')
print('links', os.fstat(fd).st_nlink)
assert libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, (folder + '/named').encode(), 0x400) == 0, ctypes.get_errno()
print('links', os.fstat(fd).st_nlink)
os.close(fd)
a = os.open(folder + '/big', os.O_RDONLY)
b = os.open(folder + '/copy', os.O_RDWR | os.O_CREAT, 0o644)
done = 0
while True:
    n = os.copy_file_range(a, b, 1 << 30, done, done)
    if n == 0: break
    done += n
print('copied', done)
`;

t.test('through the kernel', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const content = randomBytes(40 << 20);
  await writeFile(pool.at('big'), content);
  const { used_bytes: before } = await pool.status();
  const { stdout } = await execute('/usr/bin/python3', ['-I', '-c', script, pool.mountpoint]);
  t.same(stdout.trim().split('\n'), [
    'punch ok',
    'zero ok',
    'reserve ok',
    'collapse ENOTSUP',
    'writer 0',
    "bytes b'xx\\x00\\x00'",
    `data ${1 << 20}`,
    `hole ${(1 << 20) + 100_000}`,
    `next ${(1 << 20) + 200_000}`,
    `size ${3 << 20} True`,
    'links 0',
    'links 1',
    `copied ${content.length}`,
  ]);
  await run('cp', ['--reflink=auto', '--sparse=always', pool.at('sparse'), pool.at('sparse2')]);
  t.ok((await stat(pool.at('sparse2'))).blocks * 512 < 300_000, 'cp keeps holes');
  await pool.remount();
  t.ok(
    createHash('sha256')
      .update(await readFile(pool.at('copy')))
      .digest()
      .equals(createHash('sha256').update(content).digest()),
  );
  t.equal(await readFile(pool.at('named'), 'utf8'), 'unnamed');
  const sparse = Buffer.alloc(3 << 20);
  sparse.fill('x', 1 << 20, (1 << 20) + 100_000);
  sparse.fill('x', (1 << 20) + 200_000, (1 << 20) + 300_000);
  t.ok((await readFile(pool.at('sparse'))).equals(sparse));
  t.ok((await readFile(pool.at('sparse2'))).equals(sparse));
  const { used_bytes: after } = await pool.status();
  t.ok(after - before >= content.length, 'what is shared counts for each file');
  const raw = Number(
    (await run('du', ['-sc', '-B1', ...pool.disks.map((disk) => join(disk, 'segments'))])).stdout.match(/(\d+)\s+total/)?.[1],
  );
  t.ok(raw < content.length * 1.5 * 1.5, `40 MiB are on the disks once, coded (${raw} bytes)`);
  // Still writable where they share.
  const file = await open(pool.at('copy'), 'r+');
  await file.write('changed', 1000);
  await file.close();
  t.equal((await readFile(pool.at('big'))).compare(content), 0, 'the source keeps what it was');
});
