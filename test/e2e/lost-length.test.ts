/**
 * Write-back that grew a file fails on a real mount, and the kernel keeps the longer length (I3, I4): nothing that is appended behind what is lost becomes a file with
 * zeros in the middle, by whatever handle; closed and opened anew, the file is as it was and can be written.
 */
import t from 'tap';
import { appendFile, open, readFile, rename, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { must } from '../../src/base/assert.js';
import { pattern } from '../namespace/fixture.js';
import { TestPool, until } from '../support/pool.js';

/** Whole pages: appending to half a page may have to read it, which is not what fails here. */
const OLD = pattern(24 * 4096, 1);
/** From here on the kernel can be told to forget a file (FUSE_NOTIFY_PRUNE). */
const FORGETS = [6, 18] as const;

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: NodeJS.ErrnoException) => error.code ?? String(error),
  );

function kernelForgets(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > FORGETS[0] || (major === FORGETS[0] && minor >= FORGETS[1]);
}

async function online(pool: TestPool, disks: number): Promise<boolean> {
  return (await pool.status()).disks.filter(({ state }) => state === 'online').length === disks;
}

t.test('appended to after failed write-back', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  await writeFile(pool.at('f'), OLD);
  await pool.ostraka(['sync', pool.name]);
  const file = await open(pool.at('f'), 'a+');
  const other = await open(pool.at('f'), 'r+');
  // Also when the test fails: the mount cannot go while they are open.
  t.teardown(() => Promise.all([codeOf(file.close()), codeOf(other.close())]).then(() => undefined));
  const away = [0, 1, 2].map((i) => must(pool.disks[i], 'a disk'));
  for (const disk of away) await rename(disk, `${disk}.away`);
  await until('three disks are out', () => online(pool, 3), 60_000);
  await file.write(pattern(2_000_000, 2));
  t.match(await codeOf(file.sync()), /^(EIO|EROFS)$/, 'it is lost, and told');
  t.match(await codeOf(other.sync()), /^(EIO|EROFS)$/, 'to every handle');
  for (const disk of away) await rename(`${disk}.away`, disk);
  await until('all disks are back', () => online(pool, 6), 120_000);
  await until('it can be written', async () => (await codeOf(writeFile(pool.at('g'), 'g'))) === 'none', 120_000);

  t.equal((await file.stat()).size, OLD.length + 2_000_000, 'the kernel keeps its length');
  await file.write('behind');
  t.equal(await codeOf(file.sync()), 'EIO', 'appended behind what is lost');
  await other.write('behind', OLD.length + 2_000_000);
  t.equal(await codeOf(other.sync()), 'EIO', 'by another handle');
  await codeOf(file.close());
  await codeOf(other.close());

  if (kernelForgets()) {
    await until('the kernel forgot its length', async () => (await readFile(pool.at('f'))).length === OLD.length, 30_000);
    await appendFile(pool.at('f'), 'again');
    t.ok((await readFile(pool.at('f'))).equals(Buffer.concat([OLD, Buffer.from('again')])), 'opened anew it can be appended to');
  } else {
    t.comment(`Linux ${release()} cannot be told to forget a file: it is emptied instead`);
    await writeFile(pool.at('f'), OLD);
    await appendFile(pool.at('f'), 'again');
  }
  await pool.remount();
  t.ok((await readFile(pool.at('f'))).equals(Buffer.concat([OLD, Buffer.from('again')])), 'also after a mount');
  await pool.unmount();
});
