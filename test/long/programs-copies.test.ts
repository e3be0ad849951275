/**
 * Programs that copy trees with all that belongs to them: rsync -aHAXS, GNU tar with ACLs, extended attributes and holes, cp. What came from an ext4 is compared on the
 * mount, and once more after its way back, with everything that lstat, getfattr and getfacl tell.
 */
import t from 'tap';
import { mkdir, open, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { allocatedBytes, describeFully } from '../support/metadata.js';
import { Place, lacking, shell } from '../support/place.js';
import { TestPool, type Teardown } from '../support/pool.js';
import { run } from '../support/run.js';
import { differences, sha256, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const SPARSE_BYTES = 128 * MiB;
const SPARSE_DATA_BYTES = 3 * MiB;
/** Holes are kept to blocks of the programs. */
const SPARSE_SLACK_BYTES = 256 * 1024;
/** On Ostraka a file's own row counts, since programs take 0 for more than it says. */
const ROW_BYTES = 512;

/** Everything that rsync's and tar's manuals say they keep. */
const MAKE_ODD_TREE = String.raw`
  cd "$1"
  mkdir links other-links acl attributes owners modes times kinds names sparse
  echo one >links/a; ln links/a links/b; ln links/a other-links/c
  ln -s a links/soft; ln -P links/soft other-links/soft-again; ln -s /nowhere/at/all links/dangling
  echo acl >acl/file; setfacl -m u:1234:rw,g:4321:r,u:65534:- acl/file
  mkdir acl/folder; setfacl -m u:1234:rwx,d:u:1234:rwx,d:g:4321:r-x,d:m::rx acl/folder; touch acl/folder/inherits; mkdir acl/folder/below
  echo attributes >attributes/file
  setfattr -n user.text -v 'some text' attributes/file; setfattr -n user.binary -v 0x00ff0a000d7f80 attributes/file; setfattr -n user.empty attributes/file
  setfattr -n user.large -v "0s$(head -c 2500 /dev/urandom | base64 -w0)" attributes/file
  setfattr -n trusted.secret -v root attributes/file; setfattr -n security.other -v label attributes/file
  setfattr -n user.folder -v yes attributes
  cp /bin/true attributes/capable; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 attributes/capable
  echo o >owners/file; chown 1234:4321 owners/file; mkdir owners/folder; chown 65534:1 owners/folder; ln -s x owners/soft; chown -h 77:78 owners/soft
  for mode in 0000 0400 0777 4755 2755 6711 1644; do echo $mode >modes/$mode; chmod $mode modes/$mode; done
  mkdir -m 1777 modes/sticky; mkdir -m 2775 modes/set-gid
  touch -d '2001-02-03 04:05:06.123456789' times/nanoseconds; touch -d '1931-05-05 01:02:03.000000001' times/before-1970
  touch -d '2100-01-01 00:00:00.5' times/after-2038; touch -h -d '1999-12-31 23:59:59.999999999' links/soft
  mkfifo -m 600 kinds/fifo; mknod -m 640 kinds/null c 1 3; mknod kinds/loop b 7 200
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("kinds/socket")'
  touch names/$'new\nline' names/$'back\\slash' names/$'\377\376 not UTF-8' names/'  spaces  ' names/-dash names/"$(printf 'x%.0s' {1..255})" names/ä
  truncate -s 128M sparse/file
  for at in 0 64 126; do dd if=/dev/urandom of=sparse/file bs=1M count=1 seek=$at conv=notrunc status=none; done
  truncate -s 5M sparse/all-hole
  touch -d '2010-10-10 10:10:10.101010101' links kinds names acl/folder .
`;

/** An ext4 with the odd tree and a real one on it. */
async function original(t: Teardown): Promise<string> {
  const holder = await TestPool.create(t, { disks: 1, loopBytes: 4 * GiB, raw: true });
  const root = join(holder.disks[0] ?? '', 'original');
  await mkdir(root);
  await run('cp', ['-a', smallTree, join(root, 'real')]);
  await shell(MAKE_ODD_TREE, [root]);
  return root;
}

/** A socket is nothing that tar keeps. */
function withoutSockets(lines: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...lines].filter(([path]) => path !== 'kinds/socket'));
}

/** Where it deletes and links, rsync leaves folders with the time of that, on an ext4 too. */
function withoutFolderTimes(lines: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...lines].map(([path, line]) => [path, line.replace(/^(4\d+ .*? )mtime \d+/, '$1')]));
}

type Checks = Pick<typeof t, 'ok' | 'equal'>;

async function sparseIsSparse(t: Checks, folder: string): Promise<void> {
  const bytes = await allocatedBytes(join(folder, 'sparse', 'file'));
  t.ok(
    bytes >= SPARSE_DATA_BYTES && bytes <= SPARSE_DATA_BYTES + SPARSE_SLACK_BYTES,
    `${bytes} bytes are allocated of ${SPARSE_BYTES} with ${SPARSE_DATA_BYTES} of data`,
  );
  t.ok((await allocatedBytes(join(folder, 'sparse', 'all-hole'))) <= ROW_BYTES, 'a file that is one hole takes nothing');
}

const skip = await lacking('rsync', 'tar', 'setfacl', 'setfattr', 'python3');

t.test('rsync -aHAXS, tar --acls --xattrs --sparse, cp', { skip }, async (t) => {
  const from = await original(t);
  const want = await describeFully(from);
  t.ok(want.size > 250, `${want.size} files and folders`);
  t.ok(
    want.get('other-links/c')?.includes('links 3') === true && want.get('acl/file')?.includes('user:1234:rw-') === true,
    'the original is odd',
  );
  const place = await Place.create(t);
  const back = join(from, '..', 'back');

  await t.test('rsync -aHAXS there and back', async (t) => {
    const rsync = ['-aHAXS', '--devices', '--specials', '--numeric-ids'];
    await run('rsync', [...rsync, `${from}/`, place.at('rsync/')]);
    await place.fresh();
    t.same(differences(want, await describeFully(place.at('rsync'))), [], 'all of it is on the mount');
    await sparseIsSparse(t, place.at('rsync'));
    const again = await run('rsync', [...rsync, '-c', '--itemize-changes', `${from}/`, place.at('rsync/')]);
    t.equal(again.stdout, '', 'a second one finds nothing to do');
    await run('rsync', [...rsync, `${place.at('rsync')}/`, `${back}/`]);
    t.same(differences(want, await describeFully(back)), [], 'and back');
    await sparseIsSparse(t, back);
    await rm(back, { recursive: true });
  });

  await t.test('rsync brings changes, renames and removals over', async (t) => {
    const changed = join(from, '..', 'changed');
    await run('cp', ['-a', from, changed]);
    await shell(
      `cd $1; rm links/b; mv real/package.json real/moved; echo more >>attributes/file; setfacl -b acl/file; setfattr -x user.text attributes/file; ln owners/file names/new-link;
      dd if=/dev/urandom of=sparse/file bs=1M count=1 seek=90 conv=notrunc status=none; rm -r real/src`,
      [changed],
    );
    await run('rsync', ['-aHAXS', '--inplace', '--delete', '--numeric-ids', `${changed}/`, place.at('rsync/')]);
    const wantNow = withoutFolderTimes(await describeFully(changed));
    t.same(differences(wantNow, withoutFolderTimes(await describeFully(place.at('rsync')))), []);
    await rm(changed, { recursive: true });
    await rm(place.at('rsync'), { recursive: true });
  });

  await t.test('tar --xattrs --acls --sparse in and out', async (t) => {
    const kept = ['--format=posix', '--xattrs', '--xattrs-include=*', '--acls', '--sparse', '--numeric-owner'];
    await run('tar', [...kept, '-C', from, '--exclude=./kinds/socket', '-cf', place.at('from.tar'), '.']);
    await mkdir(place.at('tar'));
    await run('tar', [...kept, '-C', place.at('tar'), '-xpf', place.at('from.tar')]);
    await place.fresh();
    // tar leaves the mtime of what lies beside an excluded file alone.
    t.same(differences(withoutSockets(want), await describeFully(place.at('tar'))), [], 'unpacked on the mount');
    await sparseIsSparse(t, place.at('tar'));
    await run('tar', [...kept, '-C', place.at('tar'), '-cf', place.at('again.tar'), '.']);
    t.ok(
      (await stat(place.at('again.tar'))).size < (await stat(place.at('from.tar'))).size + MiB,
      'holes are found by the one who reads, too',
    );
    await run('tar', [...kept, '-C', place.at('tar'), '--compare', '-f', place.at('from.tar')]);
    await mkdir(back);
    await run('tar', [...kept, '-C', back, '-xpf', place.at('again.tar')]);
    t.same(differences(withoutSockets(want), await describeFully(back)), [], 'packed on the mount');
    await rm(back, { recursive: true });
  });

  await t.test('cp -a --sparse=always, --reflink=auto', async (t) => {
    await run('cp', ['-a', '--reflink=auto', '--sparse=always', from, place.at('cp')]);
    t.same(differences(want, await describeFully(place.at('cp'))), [], 'cp from outside');
    await sparseIsSparse(t, place.at('cp'));
    await run('cp', ['-a', '--reflink=auto', '--sparse=always', place.at('cp'), place.at('cp-again')]);
    await place.fresh();
    t.same(differences(want, await describeFully(place.at('cp-again'))), [], 'cp within the mount');
    await sparseIsSparse(t, place.at('cp-again'));

    await writeFile(place.at('zeros'), Buffer.alloc(32 * MiB));
    t.ok((await allocatedBytes(place.at('zeros'))) >= 32 * MiB, 'zeros that were written are data');
    await run('cp', ['--sparse=always', place.at('zeros'), place.at('holes')]);
    t.ok((await allocatedBytes(place.at('holes'))) <= ROW_BYTES, 'and holes afterwards');
    t.equal(await sha256(place.at('holes')), await sha256(place.at('zeros')));
  });

  await t.test('cp within the mount shares what it copies', { skip: place.pool === undefined && 'an ext4 shares nothing' }, async (t) => {
    const { pool } = place;
    if (pool === undefined) return;
    const freeBytes = async (): Promise<number> => {
      const { bavail, bsize } = await statfs(place.root);
      return bavail * bsize;
    };
    await run('dd', ['if=/dev/urandom', `of=${place.at('large')}`, 'bs=1M', 'count=128', 'status=none']);
    await pool.ostraka(['sync', pool.name]);
    const before = await freeBytes();
    await run('cp', ['--reflink=auto', place.at('large'), place.at('large-copy')]);
    t.ok((await freeBytes()) > before - 16 * MiB, 'no second copy of the data');
    const want = await sha256(place.at('large'));
    const file = await open(place.at('large-copy'), 'r+');
    await file.write('changed', 60 * MiB);
    await file.close();
    t.equal(await sha256(place.at('large')), want, 'a change of the copy is one of the copy');
    await rm(place.at('large'));
    await place.fresh();
    const got = await readFile(place.at('large-copy'));
    t.equal(got.toString('latin1', 60 * MiB, 60 * MiB + 7), 'changed');
    t.not(await sha256(place.at('large-copy')), want);
  });
});
