/**
 * A sparse file of 100 GiB: 4 KiB written at random places, through write(2) and through a mapping; read back in another mount and without two disks. What was
 * never written takes no space, and is skipped by those who ask for data.
 */
import t from 'tap';
import { stat } from 'node:fs/promises';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const GiB = 1024 ** 3;
const BLOCK = 4096;
const WRITES = 4000;

/** Writes, or compares, the same blocks at the same places; the last write to a place counts. Prints how many places there are, and bytes of data by SEEK_DATA. */
const WORK = `
import mmap, os, random, sys
what, path, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
places = random.Random(7)
def block(i): return random.Random(i).randbytes(${BLOCK})
order = [places.randrange(size // ${BLOCK}) for _ in range(count)] + [0, size // ${BLOCK} - 1]
last = {at: i for i, at in enumerate(order)}
if what == 'write':
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.truncate(fd, size)
    half = len(order) // 2
    for i in range(half): os.pwrite(fd, block(i), order[i] * ${BLOCK})
    with mmap.mmap(fd, size) as memory:
        for i in range(half, len(order)): memory[order[i] * ${BLOCK}:(order[i] + 1) * ${BLOCK}] = block(i)
        memory.flush()
    os.fsync(fd)
else:
    fd = os.open(path, os.O_RDONLY)
    for at, i in last.items(): assert os.pread(fd, ${BLOCK}, at * ${BLOCK}) == block(i), f'block {at} is not what was written'
    data = at = 0
    while True:
        try: start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError: break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        assert all(place in last for place in range(start // ${BLOCK}, at // ${BLOCK})), 'data where nothing was written'
        data += at - start
    print(len(last), data)
`;

t.test('a sparse file of 100 GiB', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 256 * 1024 ** 2 });
  await pool.mount();
  const work = async (what: string): Promise<string> =>
    (
      await run('python3', ['-I', '-c', WORK, what, pool.at('sparse'), String(100 * GiB), String(WRITES)], { limitMs: 400_000 })
    ).stdout.trim();
  await work('write');
  const { size, blocks } = await stat(pool.at('sparse'));
  t.equal(size, 100 * GiB);
  t.ok(blocks * 512 < (WRITES + 2) * BLOCK * 1.1, `${blocks} blocks of 512 bytes`);
  const compare = async (what: string): Promise<void> => {
    const [places, data] = (await work('compare')).split(' ').map(Number);
    t.equal(data, (places ?? 0) * BLOCK, `${what}: data is what was written, and nothing else`);
  };
  await compare('at once');
  await run('cp', ['--reflink=auto', '--sparse=always', pool.at('sparse'), pool.at('copy')], { limitMs: 400_000 });
  t.equal((await stat(pool.at('copy'))).size, 100 * GiB, 'copied within the mount');
  await pool.unmount();

  for (const i of [1, 4]) await pool.unmountDisk(i);
  await pool.mount();
  await TestPool.dropCaches();
  await compare('in another mount, without two disks');
  await run('rm', [pool.at('sparse')]);
  await run('mv', [pool.at('copy'), pool.at('sparse')]);
  await compare('the copy');
  await pool.unmount();
  for (const i of [1, 4]) await pool.mountDisk(i);
  await pool.mount();
  await pool.ostraka(['heal', pool.name, '--watch'], { limitMs: 200_000 });
  t.equal((await pool.ostraka(['check', pool.name], { limitMs: 200_000, mayFail: true })).code, 0, 'it checks');
  await pool.unmount();
});
