/** Real trees through ordinary tools, and everything equal afterwards, also from the disks after unmount and mount. */
import t from 'tap';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';
import { describeTree, differences, randomFile, realTrees, sha256 } from '../support/tree.js';

t.test('cp, tar, rsync, git and a 2 GiB file', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  const at = (...parts: string[]): string => pool.at(...parts);
  await mkdir(pool.scratch(), { recursive: true });

  const originals = new Map<string, Map<string, string>>();
  for (const tree of realTrees) originals.set(basename(tree), await describeTree(tree));
  const files = [...originals.values()].reduce((sum, lines) => sum + lines.size, 0);
  t.ok(files >= 8000, `the input has ${files} files and folders`);

  await t.test('cp -a', async (t) => {
    await mkdir(at('cp'));
    await run('cp', ['-a', ...realTrees, at('cp')], { limitMs: 240_000 });
    for (const [name, want] of originals) t.same(differences(want, await describeTree(at('cp', name))), [], name);
    for (const tree of realTrees) t.equal((await run('diff', ['-r', '--no-dereference', tree, at('cp', basename(tree))])).stdout, '');
  });

  await t.test('tar out and in', async (t) => {
    const archive = pool.scratch('tree.tar');
    await run('tar', ['-C', at('cp'), '-cf', archive, 'include']);
    await mkdir(at('tar'));
    await run('tar', ['-C', at('tar'), '-xpf', archive], { limitMs: 240_000 });
    const seconds = (lines: Map<string, string>): Map<string, string> =>
      new Map([...lines].map(([path, line]) => [path, line.replace(/ (\d+)\d{9}( |$)/, ' $1$2')]));
    const want = originals.get('include') ?? new Map<string, string>();
    t.same(differences(seconds(want), seconds(await describeTree(at('tar', 'include')))), []);
  });

  await t.test('rsync -a twice: the second transfers no file', async (t) => {
    await mkdir(at('rsync'));
    const rsync = ['-a', '--stats', '/usr/include/', at('rsync') + '/'];
    await run('rsync', rsync, { limitMs: 240_000 });
    const again = await run('rsync', rsync, { limitMs: 240_000 });
    t.match(again.stdout, /Number of regular files transferred: 0\n/);
    t.same(differences(originals.get('include') ?? new Map<string, string>(), await describeTree(at('rsync'))), []);
  });

  await t.test('git init, add, commit, fsck', async (t) => {
    await run('cp', ['-a', realTrees[1] ?? '', at('repo')]);
    const git = (...args: string[]) =>
      run('git', ['-C', at('repo'), '-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'gc.auto=0', ...args]);
    await git('init', '-q');
    await git('add', '-Af', '.');
    await git('commit', '-qm', 'all');
    await git('fsck', '--strict');
    t.equal((await git('status', '--porcelain')).stdout, '');
  });

  const bigSum = await randomFile(pool.scratch('big'), 2 * 1024 ** 3);
  await t.test('a 2 GiB random file', async (t) => {
    await run('cp', [pool.scratch('big'), at('big')], { limitMs: 240_000 });
    t.equal(await sha256(at('big')), bigSum);
  });

  await t.test('odd names, sizes and links', async (t) => {
    await mkdir(at('odd'));
    for (const size of [0, 1, 511, 512, 513, 4095, 4096, 16383, 16384, 65535, 65536, 65537, 262144, 8388607, 8388608, 8388609])
      await run('dd', [
        'if=/dev/urandom',
        `of=${pool.scratch('odd' + size)}`,
        'bs=1M',
        'iflag=fullblock,count_bytes',
        `count=${size}`,
        'status=none',
      ]);
    await run('sh', ['-c', `cp ${pool.scratch('odd')}* "${at('odd')}"`]);
    for (const size of [0, 1, 511, 65536, 65537, 8388607, 8388609])
      t.equal(await sha256(at('odd', 'odd' + size)), await sha256(pool.scratch('odd' + size)));
    const name = 'ä'.repeat(127) + 'x';
    await writeFile(at('odd', name), 'long');
    await run('ln', [at('odd', name), at('odd', 'hard')]);
    await run('ln', ['-s', 'hard', at('odd', 'soft')]);
    t.equal((await run('cat', [at('odd', 'soft')])).stdout, 'long');
    await run('truncate', ['-s', '100M', at('odd', 'sparse')]);
    await run('dd', ['if=/dev/zero', `of=${at('odd', 'sparse')}`, 'bs=4096', 'count=1', 'seek=5000', 'conv=notrunc', 'status=none']);
    t.equal(await sha256(at('odd', 'sparse')), '20492a4d0d84f8beb1767f6616229f85d44c2827b64bdbfb260ee12fa1109e0e');
  });

  const before = await describeTree(pool.mountpoint);
  await pool.remount();
  await TestPool.dropCaches();
  t.same(differences(before, await describeTree(pool.mountpoint)), [], 'all the same after unmount and mount');
  t.equal(await sha256(at('big')), bigSum);
  t.equal(join(pool.mountpoint, 'big'), at('big'));

  await t.test('deleting everything gives the space back to the count', async (t) => {
    const full = await pool.status();
    t.ok(full.used_bytes > 2 * 1024 ** 3, `used ${full.used_bytes}`);
    await run('sh', ['-c', `rm -rf "${pool.mountpoint}"/*`], { limitMs: 240_000 });
    t.same((await describeTree(pool.mountpoint)).size, 0);
    t.ok((await pool.status()).used_bytes < 1024 ** 2);
  });
  await pool.unmount();
});
