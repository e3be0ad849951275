/** /proc/self/mountinfo and mount options. */
import t from 'tap';
import { mountTable, parseMountTable } from '../../src/daemon/mount-table.js';
import { parseMountOptions } from '../../src/daemon/mount-options.js';

t.test('lines with and without optional fields, and escapes', async (t) => {
  const text = [
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue',
    '37 35 0:44 / /srv/a\\040b rw,nosuid - fuse.ostraka photos rw,user_id=0',
    '38 35 0:45 / /srv/\xc3\xa4\\134 rw - tmpfs tmpfs rw',
    'nonsense',
    '',
  ].join('\n');
  t.same(parseMountTable(text), [
    { mountpoint: '/mnt2', type: 'ext3', source: '/dev/root' },
    { mountpoint: '/srv/a b', type: 'fuse.ostraka', source: 'photos' },
    { mountpoint: '/srv/ä\\', type: 'tmpfs', source: 'tmpfs' },
  ]);
});

t.test("this machine's", async (t) => {
  t.ok((await mountTable()).some(({ mountpoint }) => mountpoint === '/proc'));
});

t.test('mount options', async (t) => {
  t.same(parseMountOptions([]), { readOnly: false, allowOther: false, nonEmpty: false });
  t.same(parseMountOptions(['ro,allow_other', 'nonempty']), { readOnly: true, allowOther: true, nonEmpty: true });
  t.equal(parseMountOptions(['ro,rw']).readOnly, false, 'the last one counts');
  t.same(parseMountOptions(['defaults,noauto,nofail,x-systemd.automount,_netdev']), parseMountOptions([]), "fstab's own");
  t.throws(() => parseMountOptions(['ro,async']), { code: 'EINVAL', message: /"async"/ });
});
