import t from 'tap';
import type { Clock } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { FUSE_REQUESTS_MAX, FUSE_WRITE_BYTES_MAX } from '../../src/base/limits.js';
import { FuseFrontEnd, type FrontEndOptions } from '../../src/frontend/fuse/front-end.js';
import { Opcode } from '../../src/frontend/fuse/protocol.js';
import type { Attributes } from '../../src/namespace/namespace.js';
import { FakeChannel, settled } from './fake-channel.js';
import { MemoryNamespace } from './memory-namespace.js';
import { standingClock } from './session.js';

let unique = 100;

function message(opcode: number, ino: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeUInt32LE((unique += 2), 8);
  header.writeUInt32LE(ino, 16);
  return Buffer.concat([header, body]);
}

function words(...values: number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}

const name = (text: string): Buffer => Buffer.from(`${text}\0`, 'latin1');

interface Bench {
  readonly channel: FakeChannel;
  readonly frontEnd: FuseFrontEnd;
  readonly invalidated: number[];
  readonly logs: string[];
  readonly send: (...messages: Buffer[]) => Promise<Buffer[]>;
}

function bench(namespace: MemoryNamespace, more: Partial<FrontEndOptions> = {}): Bench {
  const channel = new FakeChannel();
  const invalidated: number[] = [];
  const logs: string[] = [];
  const frontEnd = new FuseFrontEnd({
    namespace,
    channel,
    validity: { entrySeconds: 60, attributeSeconds: 60 },
    clock: standingClock,
    log: (level, text) => logs.push(`${level} ${text}`),
    invalidate: (ino) => invalidated.push(ino),
    ...more,
  });
  frontEnd.ready.catch(() => undefined);
  return {
    channel,
    frontEnd,
    invalidated,
    logs,
    async send(...messages) {
      const before = channel.replies.length;
      frontEnd.deliver(channel.put(messages));
      channel.memory.fill(0xee); // the batch's memory is not theirs any more
      await settled();
      return channel.replies.slice(before);
    },
  };
}

const errno = (reply: Buffer | undefined): number => -(reply?.readInt32LE(4) ?? 1);

t.test('a negative lookup may be remembered', async (t) => {
  const { send } = bench(new MemoryNamespace());
  const [reply] = await send(message(Opcode.LOOKUP, 1, name('nothing')));
  t.equal(errno(reply), 0);
  t.equal(reply?.length, 144);
  t.equal(reply?.readBigUInt64LE(16), 0n, 'no inode');
  t.equal(reply?.readBigUInt64LE(32), 60n, 'valid for so long');
});

t.test('errors become errnos; an unexpected exception is EIO and a line in the log', async (t) => {
  class Broken extends MemoryNamespace {
    override async getattr(ino: number): Promise<Attributes> {
      if (ino === 2) throw new OperatingError('EROFS', 'read-only');
      if (ino === 3) throw new TypeError('undefined is not a function');
      // eslint-disable-next-line @typescript-eslint/only-throw-error
      if (ino === 4) throw 'just words';
      return super.getattr(ino);
    }
    override statfs(): never {
      throw new RangeError('thrown before any promise');
    }
  }
  const { send, logs } = bench(new Broken());
  const body = Buffer.alloc(16);
  const replies = await send(
    message(Opcode.GETATTR, 1, body),
    message(Opcode.GETATTR, 2, body),
    message(Opcode.GETATTR, 3, body),
    message(Opcode.STATFS, 1),
    message(Opcode.GETATTR, 4, body),
  );
  t.same(replies.map(errno).sort(), [0, 30, 5, 5, 5].sort());
  t.equal(logs.length, 1, 'one line for a burst');
  t.match(logs[0], /^error (STATFS|GETATTR) failed$/);
});

t.test('what is malformed is EINVAL, what is unknown ENOSYS, and what is no request is dropped', async (t) => {
  const { send, logs } = bench(new MemoryNamespace());
  t.equal(errno((await send(message(Opcode.READ, 1, Buffer.alloc(39))))[0]), 22);
  t.equal(errno((await send(message(4711, 1)))[0]), 38);
  t.equal(errno((await send(message(40, 1, Buffer.alloc(24))))[0]), 38, 'POLL');
  const lying = message(Opcode.STATFS, 1);
  lying.writeUInt32LE(4000, 0);
  t.same(await send(lying), []);
  t.same(await send(message(Opcode.FORGET, 1, Buffer.alloc(3))), []);
  t.ok(logs.some((line) => line.includes('malformed FORGET')));
});

t.test('an interrupt answers what waits and changes nothing, and only that, and only when the caller dies', async (t) => {
  const namespace = new MemoryNamespace();
  const timers: (() => void)[] = [];
  const clock: Clock = { ...standingClock, after: (_, action) => (timers.push(action), () => undefined) };
  let dying = false;
  const { send, frontEnd, channel } = bench(namespace, { clock, isDying: async () => dying });
  const made = await namespace.create(1, 'f', 0o644, 0, { uid: 0, gid: 0, pid: 0 });
  let open: () => void = () => undefined;
  namespace.gate = new Promise((resolve) => (open = resolve));
  const lookup = message(Opcode.LOOKUP, 1, name('f'));
  t.same(await send(lookup), [], 'waits');
  const interrupt = (of: Buffer): Buffer => message(Opcode.INTERRUPT, 0, words(of.readUInt32LE(8), 0));
  t.same(await send(interrupt(lookup)), [], 'a signal that the caller survives is none of our business');
  timers.pop()?.();
  await settled();
  t.equal(channel.replies.length, 0);
  dying = true;
  timers.pop()?.();
  await settled();
  const { replies } = channel;
  t.same(replies.map(errno), [4], 'EINTR when one comes that kills it, of which the kernel says nothing more');
  t.equal(replies[0]?.readUInt32LE(8), lookup.readUInt32LE(8));
  t.same(await send(interrupt(lookup)), [], 'a second one changes nothing');
  t.equal(timers.length, 0);
  open();
  await settled();
  t.equal(frontEnd.stats.underWay, 0);
  namespace.gate = undefined;
  await namespace.release(made.attributes.ino, made.handle);
  await namespace.unlink(1, 'f');
  namespace.forget(made.attributes.ino, 1);
  t.equal(namespace.inodes, 1, 'the lookup that nobody got to know was taken back');

  namespace.gate = new Promise((resolve) => (open = resolve));
  const other = message(Opcode.LOOKUP, 1, name('missing'));
  t.same((await send(other, interrupt(other))).map(errno), [4], 'at once when it is dying already');
  open();
  namespace.gate = undefined;
  const write = message(Opcode.MKDIR, 1, Buffer.concat([words(0o755, 0), name('d')]));
  const both = await send(write, interrupt(write));
  t.same(both.map(errno), [0], 'a change is not interrupted');
});

t.test('a write is copied before the batch ends and answered when it is done', async (t) => {
  const namespace = new MemoryNamespace();
  const { send } = bench(namespace);
  const { attributes, handle } = await namespace.create(1, 'f', 0o644, 0, { uid: 0, gid: 0, pid: 0 });
  const write = (flags: number): Buffer =>
    message(Opcode.WRITE, attributes.ino, Buffer.concat([words(handle, 0, 0, 0, 5, flags, 0, 0, 0, 0), Buffer.from('hello')]));
  t.equal((await send(write(0)))[0]?.readUInt32LE(16), 5);
  const content = async (): Promise<string> => Buffer.concat((await namespace.read(attributes.ino, handle, 0, 10)).pieces).toString();
  t.equal(await content(), 'hello');
  await namespace.setattr(attributes.ino, { mode: 0o6775 });
  t.equal((await send(write(4)))[0]?.readUInt32LE(16), 5);
  t.equal(await content(), 'hello', 'also when set-id bits had to be cleared first');
  t.equal((await namespace.getattr(attributes.ino)).mode, 0o100775);
});

t.test('set-id bits go with a new owner and with a truncation, directories keep theirs', async (t) => {
  const namespace = new MemoryNamespace();
  const { send } = bench(namespace);
  const { attributes } = await namespace.create(1, 'f', 0o6775, 0, { uid: 0, gid: 0, pid: 0 });
  const setattr = (ino: number, valid: number): Buffer => {
    const body = Buffer.alloc(88);
    body.writeUInt32LE(valid, 0);
    body.writeUInt32LE(5, 76);
    return message(Opcode.SETATTR, ino, body);
  };
  await send(setattr(attributes.ino, 1 << 1));
  t.match(await namespace.getattr(attributes.ino), { mode: 0o100775, uid: 5 });
  await namespace.setattr(attributes.ino, { mode: 0o2745 });
  await send(setattr(attributes.ino, (1 << 3) | (1 << 11)));
  t.match(await namespace.getattr(attributes.ino), { mode: 0o102745 }, 'set-gid without group execution means something else');
  const directory = await namespace.mkdir(1, 'd', 0o2755, { uid: 0, gid: 0, pid: 0 });
  await send(setattr(directory.ino, 1 << 1));
  t.match(await namespace.getattr(directory.ino), { mode: 0o042755, uid: 5 });
});

t.test('write-back that fails: errno, and cached pages must go', async (t) => {
  const namespace = new MemoryNamespace();
  const { send, invalidated } = bench(namespace);
  const { attributes, handle } = await namespace.create(1, 'f', 0o644, 0, { uid: 0, gid: 0, pid: 0 });
  namespace.failWrites = attributes.ino;
  const write = (flags: number): Buffer =>
    message(Opcode.WRITE, attributes.ino, Buffer.concat([words(handle, 0, 0, 0, 1, flags, 0, 0, 0, 0), Buffer.from('x')]));
  t.equal(errno((await send(write(0)))[0]), 5);
  t.same(invalidated, [], 'whoever wrote directly knows');
  t.equal(errno((await send(write(1)))[0]), 5);
  t.same(invalidated, [attributes.ino]);
});

t.test('too much under way pauses the channel; the end of it resumes', async (t) => {
  const namespace = new MemoryNamespace();
  const { send, channel, frontEnd } = bench(namespace);
  let open: () => void = () => undefined;
  namespace.gate = new Promise((resolve) => (open = resolve));
  for (let i = 0; i < FUSE_REQUESTS_MAX; i += 16) await send(...Array.from({ length: 16 }, () => message(Opcode.LOOKUP, 1, name('x'))));
  t.equal(frontEnd.stats.underWay, FUSE_REQUESTS_MAX);
  t.ok(channel.paused);
  open();
  await settled();
  await settled();
  t.notOk(channel.paused);
  t.equal(channel.replies.length, FUSE_REQUESTS_MAX);
});

t.test('bytes of writes under way are bounded', async (t) => {
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  class Slow extends MemoryNamespace {
    override async write(ino: number, handle: number, offset: number, data: Uint8Array): Promise<number> {
      await gate;
      return super.write(ino, handle, offset, data);
    }
  }
  const namespace = new Slow();
  const { send, channel, frontEnd } = bench(namespace);
  const { attributes, handle } = await namespace.create(1, 'f', 0o644, 0, { uid: 0, gid: 0, pid: 0 });
  const bytes = 1 << 20;
  const write = message(Opcode.WRITE, attributes.ino, Buffer.concat([words(handle, 0, 0, 0, bytes, 0, 0, 0, 0, 0), Buffer.alloc(bytes)]));
  let sent = 0;
  for (; !channel.paused && sent < 100; sent++) await send(write);
  t.equal(sent, FUSE_WRITE_BYTES_MAX / bytes, 'no more is taken');
  open();
  await settled();
  t.notOk(channel.paused);
  t.match(frontEnd.stats, { underWay: 0, failures: 0 });
});

t.test('attributes of a name: too long, ACLs, room', async (t) => {
  const namespace = new MemoryNamespace();
  const { send } = bench(namespace);
  t.equal(errno((await send(message(Opcode.LOOKUP, 1, name('x'.repeat(256)))))[0]), 36);
  t.equal(
    errno((await send(message(Opcode.GETXATTR, 1, Buffer.concat([words(0, 0), name('system.posix_acl_access')]))))[0]),
    61,
    'ENODATA',
  );
  await namespace.setxattr(1, 'user.a', Buffer.from('value'), 0);
  await namespace.setxattr(1, 'trusted.b', Buffer.from(''), 0);
  const get = async (room: number): Promise<Buffer | undefined> =>
    (await send(message(Opcode.GETXATTR, 1, Buffer.concat([words(room, 0), name('user.a')]))))[0];
  t.equal((await get(0))?.readUInt32LE(16), 5);
  t.equal(errno(await get(4)), 34, 'ERANGE');
  t.equal((await get(5))?.subarray(16).toString(), 'value');
  const list = message(Opcode.LISTXATTR, 1, words(100, 0));
  t.equal((await send(list))[0]?.subarray(16).toString(), 'user.a\0trusted.b\0');
  list.writeUInt32LE(1000, 24);
  t.equal((await send(list))[0]?.subarray(16).toString(), 'user.a\0', 'trusted.* is for root');
});

t.test('folders are not opened, and the kernel is told of those that have another parent', async (t) => {
  const namespace = new MemoryNamespace();
  const dropped: number[] = [];
  const dropPages = async (ino: number): Promise<void> => void dropped.push(ino);
  const { send } = bench(namespace, { dropPages });
  const who = { uid: 0, gid: 0, pid: 0 };
  const [a, b] = [await namespace.mkdir(1, 'a', 0o755, who), await namespace.mkdir(1, 'b', 0o755, who)];
  const [inA, inB] = [await namespace.mkdir(a.ino, 'x', 0o755, who), await namespace.mkdir(b.ino, 'x', 0o755, who)];
  t.equal(errno((await send(message(Opcode.OPENDIR, 1, Buffer.alloc(8))))[0]), 38, 'ENOSYS');
  const rename = async (parent: number, from: string, newParent: number, to: string, flags = 0): Promise<number> =>
    errno((await send(message(Opcode.RENAME2, parent, Buffer.concat([words(newParent, 0, flags, 0), name(from), name(to)]))))[0]);
  t.equal(await rename(1, 'b', 1, 'c'), 0);
  t.equal(await rename(a.ino, 'nothing', b.ino, 'x'), 2, 'ENOENT');
  t.same(dropped, [], 'nothing is in another folder');
  t.equal(await rename(a.ino, 'x', b.ino, 'x', 2), 0);
  t.same(dropped, [inA.ino, inB.ino], 'both were exchanged');
  t.equal(await rename(b.ino, 'x', a.ino, 'y'), 0);
  t.same(dropped.slice(2), [inA.ino]);
});

t.test('at the end open handles are released and what is under way is waited for', async (t) => {
  const namespace = new MemoryNamespace();
  const { send, frontEnd } = bench(namespace);
  await send(message(Opcode.CREATE, 1, Buffer.concat([words(0, 0o644, 0, 0), name('f')])));
  t.match(frontEnd.stats, { openFiles: 1 });
  t.equal(namespace.openHandles, 1);
  let open: () => void = () => undefined;
  namespace.gate = new Promise((resolve) => (open = resolve));
  await send(message(Opcode.LOOKUP, 1, name('f')));
  let ended = false;
  const drained = frontEnd.drain().then(() => (ended = true));
  await settled();
  t.notOk(ended);
  open();
  await drained;
  t.equal(namespace.openHandles, 0);
});
