/** `ostraka systemd` and `install-helper` without systemd: what they write, where, and that they take it away again. test/long/systemd.test.ts boots one. */
import t from 'tap';
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exitCodes } from '../../src/cli/exit-codes.js';
import { fstabEntries, mountsToWaitFor } from '../../src/cli/mounts-to-wait-for.js';
import { fstabLine, mountUnitName, unitsOf, type UnitOptions } from '../../src/cli/service-units.js';
import { TestPool, exists, mainProgram } from '../support/pool.js';

const options: UnitOptions = {
  pool: 'photos',
  mountpoint: '/srv/my photos',
  mountOptions: 'ro,noatime',
  diskMounts: ['/mnt/a', '/mnt/b-c'],
  folders: ['/etc/ostraka', '/var/lib/ostraka'],
  command: ['/usr/bin/node', '/opt/100%/$x "y"/main.js'],
  environment: { OSTRAKA_RUN_DIR: '/run/a b' },
  scrubCalendar: 'weekly',
  user: false,
};

/** The values of a setting, in order. */
function values(text: string, key: string): string[] {
  return text.split('\n').flatMap((line) => (line.startsWith(`${key}=`) ? [line.slice(key.length + 1)] : []));
}

t.test('units', async (t) => {
  const units = unitsOf(options);
  t.same(
    units.map(({ name }) => name),
    ['ostraka@photos.service', 'ostraka-scrub@photos.service', 'ostraka-scrub@photos.timer'],
  );
  const [service = '', scrub = '', timer = ''] = units.map(({ text }) => text);
  const command = '/usr/bin/node "/opt/100%%/$$x \\"y\\"/main.js"';
  t.same(values(service, 'ExecStart'), [`${command} mount photos "/srv/my photos" --foreground -o ro,noatime`]);
  t.same(values(service, 'ExecStop'), [`-${command} unmount photos`]);
  t.same(values(service, 'Environment'), ['"OSTRAKA_RUN_DIR=/run/a b"']);
  t.same(values(service, 'RequiresMountsFor'), ['/etc/ostraka /var/lib/ostraka /srv'], 'no disk: it starts without');
  t.same(values(service, 'Wants'), ['mnt-a.mount', 'mnt-b\\x2dc.mount']);
  t.same(values(service, 'After'), ['mnt-a.mount', 'mnt-b\\x2dc.mount']);
  t.same(values(service, 'Type'), ['notify']);
  t.same(values(scrub, 'ExecStart'), [`${command} scrub photos --watch`]);
  t.same([...values(scrub, 'IOSchedulingClass'), ...values(scrub, 'CPUSchedulingPolicy')], ['idle', 'idle']);
  t.same([...values(timer, 'OnCalendar'), ...values(timer, 'Persistent')], ['weekly', 'true']);
  for (const { name, text } of units)
    for (const key of [
      'ProtectSystem',
      'PrivateTmp',
      'ProtectHome',
      'PrivateDevices',
      'ReadOnlyPaths',
      'ProtectKernelTunables',
      'PrivateMounts',
    ])
      t.same(values(text, key), [], `${name}: ${key} would hide the mount`);
  const [user = ''] = unitsOf({ ...options, user: true }).map(({ text }) => text);
  t.same(values(user, 'NoNewPrivileges'), [], 'fusermount3 is set-user-id');
  t.same(values(user, 'WantedBy'), ['default.target']);
});

t.test('names and lines', async (t) => {
  for (const [path, unit] of [
    ['/mnt/a-b c/ü.x/.y', 'mnt-a\\x2db\\x20c-\\xc3\\xbc.x-.y.mount'],
    ['/.hidden/x', '\\x2ehidden-x.mount'],
    ['//a//b/', 'a-b.mount'],
    ['/', '-.mount'],
  ] as const)
    t.equal(mountUnitName(path), unit);
  t.equal(
    fstabLine(options),
    'photos /srv/my\\040photos ostraka ro,noatime,nofail,x-systemd.mount-timeout=10min,x-systemd.after=/mnt/a,x-systemd.after=/mnt/b-c 0 0',
  );
  const fstab = fstabEntries('# comment\nUUID=1 /  ext4 defaults 0 1\n\nLABEL=x\t/mnt/my\\040disk ext4 nofail,noatime 0 2\n');
  t.same(
    [...fstab],
    [
      ['/', ['defaults']],
      ['/mnt/my disk', ['nofail', 'noatime']],
    ],
  );
  t.same(mountsToWaitFor(['/mnt/my disk/pool', '/srv/a', '/data/b'], new Set(['/', '/data', '/data/b']), fstab), [
    '/mnt/my disk',
    '/srv/a',
    '/data',
    '/data/b',
  ]);
});

t.test('install and uninstall', async (t) => {
  const pool = await TestPool.create(t);
  const units = join(pool.root, 'units');
  const service = `ostraka@${pool.name}.service`;
  const printed = (await pool.ostraka(['systemd', 'install', pool.name, pool.mountpoint, '--print', '--unit-dir', units])).stdout;
  t.notOk(await exists(units), '--print writes nothing');
  await pool.ostraka(['systemd', 'install', pool.name, pool.mountpoint, '--unit-dir', units]);
  t.same((await readdir(units)).sort(), [`ostraka-scrub@${pool.name}.service`, `ostraka-scrub@${pool.name}.timer`, service]);
  const text = await readFile(join(units, service), 'utf8');
  t.ok(printed.includes(text.trimEnd()), 'what --print shows is what is written');
  t.same(values(text, 'ExecStart'), [`${process.execPath} ${mainProgram} mount ${pool.name} ${pool.mountpoint} --foreground`]);
  t.ok(values(text, 'Environment').includes(`OSTRAKA_CONFIG_DIR=${join(pool.root, 'config')}`), 'the service finds the pool');
  t.same(values(text, 'Wants').length, 6);
  await pool.ostraka(['systemd', 'uninstall', pool.name, '--unit-dir', units]);
  t.same(await readdir(units), []);

  const fails = async (args: readonly string[]): Promise<number | null> => (await pool.ostraka(args, { mayFail: true })).code;
  t.equal(await fails(['systemd', 'uninstall', pool.name, '--unit-dir', units]), exitCodes.missing.code);
  t.equal(await fails(['systemd', 'install', 'other', pool.mountpoint, '--unit-dir', units]), exitCodes.missing.code);
  t.equal(await fails(['systemd', 'install', pool.name, '/no/such', '--unit-dir', units]), exitCodes.missing.code);
  t.equal(await fails(['systemd', 'install', pool.name, pool.mountpoint, '--print', '--scrub', 'a\nb']), exitCodes.usage.code);
  t.equal(await fails(['systemd', 'install', pool.name, pool.mountpoint, '--print', '-o', 'sync']), exitCodes.usage.code);
  t.same(await readdir(units), []);
});

t.test('helpers of mount(8)', async (t) => {
  const pool = await TestPool.create(t);
  const folder = join(pool.root, 'sbin');
  const helpers = ['mount.fuse.ostraka', 'mount.ostraka', 'umount.fuse.ostraka', 'umount.ostraka'];
  await pool.ostraka(['install-helper', '--dir', folder]);
  await pool.ostraka(['install-helper', '--dir', folder]);
  t.same((await readdir(folder)).sort(), helpers);
  for (const name of helpers) t.equal((await stat(join(folder, name))).mode & 0o777, 0o755);
  await pool.ostraka(['install-helper', '--dir', folder, '--remove']);
  t.same(await readdir(folder), []);
  await writeFile(join(folder, 'mount.ostraka'), '#!/bin/sh\n');
  const refused = await pool.ostraka(['install-helper', '--dir', folder], { mayFail: true });
  t.equal(refused.code, exitCodes.refused.code);
  await pool.ostraka(['install-helper', '--dir', folder, '--remove']);
  t.same(await readdir(folder), ['mount.ostraka'], 'what is not ours stays');

  // As mount(8) calls them.
  const helper = (...args: string[]): Promise<{ code: number | null; stderr: string }> => pool.ostraka(args, { mayFail: true });
  await mkdir(join(pool.root, pool.name));
  const fstab = 'rw,user=me,x-systemd.automount,_netdev,nofail,noatime';
  t.equal((await helper('mount-helper', pool.name, pool.mountpoint, '-fv', '-o', fstab)).code, 0);
  t.equal((await pool.status()).state, 'unmounted', '-f mounts nothing');
  const bad = await helper('mount-helper', pool.name, pool.mountpoint, '-o', 'colour=blue');
  t.equal(bad.code, 32);
  t.match(bad.stderr, /colour=blue/);
  const mounted = await helper(
    'mount-helper',
    join(pool.root, pool.name),
    pool.mountpoint,
    '-sn',
    '-o',
    `${fstab},colour=blue`,
    '-t',
    'fuse.ostraka',
  );
  t.equal(mounted.code, 0, mounted.stderr);
  t.equal((await pool.status()).state, 'mounted');
  await writeFile(pool.at('file'), 'content');
  t.equal((await helper('mount-helper', pool.name, pool.mountpoint, '-o', 'rw,allow_other,max_read=1048576,remount,ro')).code, 0);
  await t.rejects(writeFile(pool.at('file'), 'no'), { code: 'EROFS' });
  t.equal((await helper('mount-helper', pool.name, pool.mountpoint, '-o', 'remount,rw')).code, 0);
  await writeFile(pool.at('file'), 'other');
  const unmounted = await helper('unmount-helper', pool.mountpoint, '-n');
  t.equal(unmounted.code, 0, unmounted.stderr);
  t.equal((await pool.status()).state, 'unmounted');
  t.equal((await helper('unmount-helper', pool.mountpoint)).code, 32);
  await pool.mount('-o', 'ro');
  t.equal(await readFile(pool.at('file'), 'utf8'), 'other');
  const refusedWrite = await helper('mount-helper', pool.name, pool.mountpoint, '-o', 'remount,rw');
  t.equal(refusedWrite.code, 32);
  t.match(refusedWrite.stderr, /read-only/);
  t.equal((await helper('unmount-helper', pool.mountpoint, '-l')).code, 0);
});
