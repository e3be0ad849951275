/**
 * Records what the running kernel really sends, as root: `node record-golden.js` mounts an in-memory namespace, has a child do one of
 * everything there, and writes test/golden/fuse-session.json: requests in order, what they decode to, and our replies to them when the same
 * session is played to a front end without a kernel (the clock stands still, so that they are always the same).
 */
import { mkdtempSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.js';
import { FuseChannel, fuseMount, fuseUnmount } from '../../src/base/native-fuse.js';
import { packageRoot } from '../../src/base/package-root.js';
import { FuseFrontEnd } from '../../src/frontend/fuse/front-end.js';
import { run } from '../support/run.js';
import { describeRequest } from './describe-request.js';
import { MemoryNamespace } from './memory-namespace.js';
import { play } from './session.js';

const script = String.raw`
set -e
cd "$1"
mkdir d && mkdir d/e && echo content > f && ln -s target l && readlink l && ln f g && mv f h && mv -T h d/h
mknod p p && chmod 640 d/h && chown 5:6 d/h && touch -d '1960-01-02 03:04:05.678901234' d/h && touch p && truncate -s 3 d/h
stat -c %W d/h && lsattr d/h && chattr -d d/h && setfattr -n user.a -v b d/h && getfattr -d d/h && setfattr -x user.a d/h
dd if=/dev/zero of=w bs=100 count=1 conv=fsync && sync d && df . >/dev/null && ls -l d && ls d/nothing || true
/usr/bin/python3 -I -S -c "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.renameat2(-100, b'w', -100, b'g', 2)
libc.renameat2(-100, b'w', -100, b'x', 1)
os.rename('x', 'y')
fd = os.open('y', os.O_RDWR | os.O_TRUNC)
os.pwrite(fd, b'12345', 7)
os.fdatasync(fd)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
libc.fallocate(fd, 3, 4096, 4096)
os.lseek(fd, 3, os.SEEK_DATA)
os.copy_file_range(fd, os.open('copy', os.O_CREAT | os.O_RDWR), 12, 0, 1)
os.open('d', os.O_TMPFILE | os.O_RDWR, 0o600)
os.close(fd)"
cd /
echo 3 > /proc/sys/vm/drop_caches
cat "$1/y" "$1/g" && ls "$1" "$1/d"
`;
const interrupted = String.raw`
echo 3 > /proc/sys/vm/drop_caches
timeout -s INT 1 cat "$1/g" || true
`;
const removal = String.raw`
set -e
cd "$1"
rm g y p l d/h && rmdir d/e d
`;

const mountpoint = mkdtempSync(join(tmpdir(), 'ostraka-golden-'));
const namespace = new MemoryNamespace();
const requests: Buffer[] = [];
const fd = await fuseMount({
  mountpoint,
  source: 'golden',
  subtype: 'ostraka',
  maxReadBytes: 1 << 20,
  allowOther: true,
  readOnly: false,
  noExec: false,
  noAtime: false,
  byHelper: false,
});
let gone: () => void = () => undefined;
const ended = new Promise<void>((resolve) => (gone = resolve));
const channel: FuseChannel = new FuseChannel({
  fd,
  requestBytesMax: (1 << 20) + 80,
  batchRequests: 16,
  batchBytes: 1 << 17,
  outboxBytes: 1 << 16,
  spinMicroseconds: 0,
  turnMicroseconds: 1000,
  busyWord: undefined,
  onBatch: (count) => {
    for (let i = 0; i < count; i++)
      requests.push(Buffer.from(channel.memory.subarray(channel.start(i), channel.start(i) + channel.length(i))));
    frontEnd.deliver(count);
  },
  onGone: gone,
});
const frontEnd: FuseFrontEnd = new FuseFrontEnd({
  namespace,
  channel,
  validity: { entrySeconds: 3600, attributeSeconds: 3600 },
  clock: systemClock,
  log: console.error,
  invalidate: () => undefined,
});
try {
  await frontEnd.ready;
  await run('bash', ['-c', script, 'bash', mountpoint]);
  let open: () => void = () => undefined;
  namespace.gate = new Promise((resolve) => (open = resolve));
  await run('bash', ['-c', interrupted, 'bash', mountpoint]);
  open();
  await run('bash', ['-c', removal, 'bash', mountpoint]);
} finally {
  await fuseUnmount(mountpoint, true, false);
  await ended;
  channel.close();
  rmdirSync(mountpoint);
}
const replies = await play(requests);
const session = requests.map((request, i) => ({
  ...describeRequest(request, 0, request.length),
  request: request.toString('hex'),
  reply: replies[i]?.toString('hex') ?? null,
}));
writeFileSync(join(packageRoot, 'test/golden/fuse-session.json'), `${JSON.stringify(session, undefined, 1)}\n`);
