/** `-o` options. */
import t from 'tap';
import { parseMountOptions } from '../../src/daemon/mount-options.js';

t.test('mount options', async (t) => {
  t.same(parseMountOptions([]), {
    readOnly: false,
    nonEmpty: false,
    noExec: false,
    noAtime: true,
    allowOther: undefined,
    binding: 'channel',
  });
  t.match(parseMountOptions(['ro,allow_other', 'nonempty']), { readOnly: true, allowOther: true, nonEmpty: true });
  t.match(parseMountOptions(['noexec,atime']), { noExec: true, noAtime: false });
  t.equal(parseMountOptions(['noallow_other']).allowOther, false);
  t.equal(parseMountOptions(['ro,rw']).readOnly, false, 'the last one counts');
  t.same(
    parseMountOptions(['defaults,noauto,nofail,x-systemd.automount,_netdev,async,relatime,suid,dev']),
    parseMountOptions([]),
    "fstab's own",
  );
  t.equal(parseMountOptions(['binding=channel,ro', 'binding=fuse-native']).binding, 'fuse-native', 'the last one counts');
  t.throws(() => parseMountOptions(['binding=fuse']), { code: 'EINVAL', message: /"fuse" is not a binding/ });
  t.throws(() => parseMountOptions(['ro,sync']), { code: 'EINVAL', message: /"sync"/ });
});
