/** POSIX ACLs on a real mount: set, shown, enforced, inherited, in step with the mode, kept over a remount; the umask where there are none. */
import t from 'tap';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

/** Two users that need not exist. */
const ALICE = 4001;
const BOB = 4002;

async function getfacl(path: string): Promise<string[]> {
  const { stdout } = await run('getfacl', ['-ncpE', path]);
  return stdout.trim().split('\n');
}

/** Can this user read the file? */
async function reads(user: number, path: string): Promise<boolean> {
  const ran = await run('setpriv', [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'cat', path], { mayFail: true });
  return ran.code === 0 && ran.stdout === 'content';
}

t.test('ACLs', async (t) => {
  const pool = await TestPool.create(t);
  await pool.mount();
  // The way to the mount is another file system's.
  await run('chmod', ['755', pool.root]);
  const file = pool.at('file');
  await writeFile(file, 'content', { mode: 0o600 });
  t.notOk(await reads(ALICE, file));
  await run('setfacl', ['-m', `u:${ALICE}:r,g:77:rw`, file]);
  t.same(await getfacl(file), ['user::rw-', `user:${ALICE}:r--`, 'group::---', 'group:77:rw-', 'mask::rw-', 'other::---']);
  t.equal((await stat(file)).mode & 0o7777, 0o660, 'the group bits are the mask');
  t.ok(await reads(ALICE, file), 'whom the ACL names');
  t.notOk(await reads(BOB, file), 'and nobody else');
  await run('chmod', ['600', file]);
  t.notOk(await reads(ALICE, file), 'chmod takes the mask away');
  t.same(await getfacl(file), ['user::rw-', `user:${ALICE}:r--`, 'group::---', 'group:77:rw-', 'mask::---', 'other::---']);
  await run('chmod', ['640', file]);
  t.ok(await reads(ALICE, file));

  const folder = pool.at('folder');
  await mkdir(folder, 0o755);
  await run('setfacl', ['-m', `d:u:${BOB}:rwx,d:o::-`, folder]);
  await run('sh', ['-c', `umask 077; mkdir ${folder}/below; printf content >${folder}/below/made; printf content >${pool.at('plain')}`]);
  t.same(await getfacl(`${folder}/below/made`), ['user::rw-', `user:${BOB}:rwx`, 'group::r-x', 'mask::rw-', 'other::---']);
  t.equal((await stat(`${folder}/below/made`)).mode & 0o7777, 0o660, 'the default ACL counts, not the umask');
  t.equal((await stat(pool.at('plain'))).mode & 0o7777, 0o600, 'the umask where there is no default ACL');
  t.ok(await reads(BOB, `${folder}/below/made`));
  t.notOk(await reads(ALICE, `${folder}/below/made`));

  const copied = pool.at('copied');
  await run('cp', ['-a', folder, copied]);
  const before = [await getfacl(folder), await getfacl(`${folder}/below`), await getfacl(`${folder}/below/made`), await getfacl(file)];
  await pool.remount();
  const paths = [copied, `${copied}/below`, `${copied}/below/made`, file];
  t.same(await Promise.all(paths.map(getfacl)), before, 'copied by cp -a, and kept over a remount');
  t.ok(await reads(BOB, `${copied}/below/made`));

  await run('setfacl', ['-b', file]);
  t.same(await getfacl(file), ['user::rw-', 'group::---', 'other::---']);
  t.equal((await run('getfattr', ['-m', '-', file])).stdout, '', 'an ACL that a mode can say leaves no attribute');
  const refused = await run('setfacl', ['-m', `d:u:${BOB}:r`, file], { mayFail: true });
  t.not(refused.code, 0, 'a file has no default ACL');
});
