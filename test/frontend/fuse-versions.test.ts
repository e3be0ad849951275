/** Kernels from Linux 5.4 on: what is agreed with each, and that the layouts agreed on are the ones spoken. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { FuseFrontEnd } from '../../src/frontend/fuse/front-end.js';
import { InitFlag, Opcode } from '../../src/frontend/fuse/protocol.js';
import { FakeChannel, settled } from './fake-channel.js';
import { MemoryNamespace } from './memory-namespace.js';
import { standingClock } from './session.js';

/** A protocol version, and how many flags kernels of it know. */
const versions: readonly [minor: number, kernel: string, flags: number][] = [
  [31, 'Linux 5.4', 27],
  [32, 'Linux 5.10', 28],
  [34, 'Linux 5.15', 30],
  [36, 'Linux 5.17', 34],
  [38, 'Linux 6.3', 36],
  [40, 'Linux 6.9', 40],
  [45, 'Linux 6.18', 43],
  [60, 'a kernel to come', 64],
];
const names = Object.keys(InitFlag);

function words(...values: number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}

let unique = 2;
function message(opcode: number, ino: number, body: Buffer, extensions: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length + extensions.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeUInt32LE((unique += 2), 8);
  header.writeUInt32LE(ino, 16);
  header.writeUInt16LE(extensions.length / 8, 36);
  return Buffer.concat([header, body, extensions]);
}

/** All bits below `count`, in INIT's two words. */
function offered(count: number): [number, number] {
  const low = count >= 32 ? 0xffffffff : 2 ** count - 1;
  return [low, count > 32 ? 2 ** (count - 32) - 1 : 0];
}

class Kernel {
  readonly namespace = new MemoryNamespace();
  readonly channel = new FakeChannel();
  readonly frontEnd = new FuseFrontEnd({
    namespace: this.namespace,
    channel: this.channel,
    validity: { entrySeconds: 1, attributeSeconds: 1 },
    clock: standingClock,
    log: () => undefined,
    invalidate: () => undefined,
  });

  async send(request: Buffer): Promise<Buffer> {
    const before = this.channel.replies.length;
    this.frontEnd.deliver(this.channel.put([request], 0xee));
    await settled();
    return this.channel.replies[before] ?? Buffer.alloc(0);
  }

  /** INIT as a kernel of this version sends it: 16 bytes before 7.36. */
  init(minor: number, flags: number): Promise<Buffer> {
    const [low, high] = offered(flags);
    const head = words(7, minor, 131072, low);
    return this.send(message(Opcode.INIT, 0, minor < 36 ? head : Buffer.concat([head, words(high), Buffer.alloc(44)])));
  }
}

const name = (text: string): Buffer => Buffer.from(`${text}\0`, 'latin1');
const errno = (reply: Buffer): number => -reply.readInt32LE(4);

for (const [minor, kernel, flags] of versions)
  t.test(`7.${minor}, ${kernel}`, async (t) => {
    const { send, init, frontEnd, namespace } = bound(new Kernel());
    const reply = await init(minor, flags);
    t.equal(reply.length, 16 + 64);
    t.equal(reply.readUInt32LE(16), 7);
    t.equal(reply.readUInt32LE(20), Math.min(minor, 45));
    const [low, high] = offered(flags);
    t.equal((reply.readUInt32LE(28) & ~low) >>> 0, 0, 'nothing is taken that was not offered');
    t.equal((reply.readUInt32LE(48) & ~high) >>> 0, 0);
    const negotiated = await frontEnd.ready;
    t.same(
      negotiated.left,
      names.filter((each) => InitFlag[each as keyof typeof InitFlag] < flags && !negotiated.names.includes(each as never)),
    );
    t.equal(negotiated.kernelMinor, minor);
    t.equal(negotiated.names.includes('SECURITY_CTX'), minor >= 38, 'only where the header says how long it is');

    const made = await send(message(Opcode.CREATE, 1, Buffer.concat([words(2, 0o644, 0, 0), name('f')])));
    t.equal(errno(made), 0);
    const ino = made.readUInt32LE(16);
    const extended = minor >= 33 ? words(0, 0) : Buffer.alloc(0);
    const set = await send(message(Opcode.SETXATTR, ino, Buffer.concat([words(5, 0), extended, name('user.a'), Buffer.from('value')])));
    t.equal(errno(set), 0, 'SETXATTR in the layout of this version');
    t.equal((await namespace.getxattr(ino, 'user.a'))?.toString(), 'value');
    t.equal((await send(message(Opcode.LOOKUP, ino, name('.')))).readUInt32LE(16), ino, 'what a kernel asks that opens a handle');
  });

function bound(kernel: Kernel): Pick<Kernel, 'send' | 'init' | 'frontEnd' | 'namespace'> {
  const { frontEnd, namespace } = kernel;
  return { frontEnd, namespace, send: (request) => kernel.send(request), init: (minor, flags) => kernel.init(minor, flags) };
}

/** One security context as the kernel appends it. */
function context(attribute: string, value: string): Buffer {
  const body = Buffer.concat([words(value.length, 0), name(attribute), Buffer.from(value)]);
  return Buffer.concat([body, Buffer.alloc((8 - (body.length % 8)) % 8)]);
}

function extension(type: number, ...records: Buffer[]): Buffer {
  const body = Buffer.concat(records);
  return Buffer.concat([words(8 + body.length, type), body]);
}

t.test('labels of security modules come with what is made', async (t) => {
  const { send, init, namespace } = bound(new Kernel());
  await init(45, 43);
  const label = 'system_u:object_r:user_home_t:s0';
  const groups = extension(32, words(1, 1000));
  const labels = extension(2, context('security.selinux', label), context('security.SMACK64', '_'));
  const bodies: [number, Buffer][] = [
    [Opcode.CREATE, Buffer.concat([words(2, 0o644, 0, 0), name('create')])],
    [Opcode.MKDIR, Buffer.concat([words(0o755, 0), name('mkdir')])],
    [Opcode.MKNOD, Buffer.concat([words(0o10644, 0, 0, 0), name('mknod')])],
    [Opcode.SYMLINK, Buffer.concat([name('symlink'), name('target')])],
    [Opcode.TMPFILE, Buffer.concat([words(2, 0o644, 0, 0), name('')])],
  ];
  for (const [opcode, body] of bodies) {
    const reply = await send(message(opcode, 1, body, Buffer.concat([groups, labels])));
    t.equal(errno(reply), 0, String(opcode));
    const ino = reply.readUInt32LE(16);
    t.equal((await namespace.getxattr(ino, 'security.selinux'))?.toString(), label);
    t.equal((await namespace.getxattr(ino, 'security.SMACK64'))?.toString(), '_');
  }
  const plain = await send(message(Opcode.MKDIR, 1, Buffer.concat([words(0o755, 0), name('none')]), extension(0)));
  t.same(await namespace.listxattr(plain.readUInt32LE(16)), [], 'a module that has no label for it');
});

t.test('extensions that are not what they say are refused, and nothing is made', async (t) => {
  const { send, init, namespace } = bound(new Kernel());
  await init(45, 43);
  const bad = [
    words(4, 1),
    words(64, 1),
    extension(2, context('security.a', 'x')),
    extension(1, context('user.a', 'xxx')),
    extension(1, words(100, 0), Buffer.from('security')),
    extension(1, words(4000, 0), name('security.a12')),
    extension(31),
  ];
  for (const [i, extensions] of bad.entries()) {
    const reply = await send(message(Opcode.MKDIR, 1, Buffer.concat([words(0o755, 0), name('d')]), extensions));
    t.equal(errno(reply), 22, `case ${i}`);
  }
  t.equal(namespace.inodes, 1);
});

t.test('STATX, IOCTL and SYNCFS, byte by byte', async (t) => {
  const { send, init, namespace } = bound(new Kernel());
  await init(45, 43);
  const device = await namespace.mknod(1, 'dev', 0o60640, 0x12345678, { uid: 7, gid: 8, pid: 1 });
  const statx = await send(message(Opcode.STATX, device.ino, words(0, 0, 0, 0, 0, 0xfff)));
  t.equal(statx.length, 16 + 288);
  const x = 16 + 32;
  t.equal(statx.readUInt32LE(x), 0xfff, 'with the time of birth');
  t.equal(statx.readUInt32LE(x + 20), 7);
  t.equal(statx.readUInt16LE(x + 28), 0o60640);
  t.ok(statx.readBigUInt64LE(x + 80) > 0n, 'seconds of birth');
  t.equal(statx.readUInt32LE(x + 128), 0x456, 'major');
  t.equal(statx.readUInt32LE(x + 132), 0x12378, 'minor');
  const ioctl = (command: number, room: number, data: Buffer = Buffer.alloc(0)): Promise<Buffer> =>
    send(message(Opcode.IOCTL, 1, Buffer.concat([words(0, 0, 0, command, 0, 0, data.length, room), data])));
  t.equal((await ioctl(0x80086601, 4)).length, 16 + 16 + 4);
  t.equal((await ioctl(0x80087601, 8)).length, 16 + 16 + 4, 'an int, whatever the command says');
  t.equal(errno(await ioctl(0x40086602, 0, words(16))), 95, 'EOPNOTSUPP');
  t.equal(errno(await ioctl(0x40086602, 0, words(0))), 0);
  t.equal(errno(await ioctl(1, 0)), 25, 'ENOTTY');
  t.equal(errno(await send(message(Opcode.SYNCFS, 1, Buffer.alloc(8)))), 0);
});

t.test('README.md says of each operation and each flag what becomes of it', async (t) => {
  const text = readFileSync(join(packageRoot, 'src/frontend/fuse/README.md'), 'utf8');
  const cells = text.split('\n').flatMap((line) => (line.startsWith('| ') ? [(line.split('|')[1] ?? '').trim()] : []));
  const told = new Set(cells.flatMap((cell) => cell.split(/[, ]+/)));
  for (const each of [...Object.keys(Opcode), ...names]) t.ok(told.has(each), each);
});
