import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { packageRoot } from '../../src/base/package-root.js';
import {
  direntBytes,
  encodeAttrOut,
  encodeDirent,
  encodeInvalidateEntry,
  encodePrune,
  encodeInvalidateInode,
  encodeStatfs,
} from '../../src/frontend/fuse/encode.js';
import { negotiate } from '../../src/frontend/fuse/negotiate.js';
import { Opcode, opcodeName } from '../../src/frontend/fuse/protocol.js';
import { Request } from '../../src/frontend/fuse/request.js';
import { describedOpcodes, describeRequest } from './describe-request.js';
import { play } from './session.js';

interface Golden {
  readonly operation: string;
  readonly request: string;
  readonly reply: string | null;
  readonly [field: string]: unknown;
}

const session = JSON.parse(readFileSync(join(packageRoot, 'test/golden/fuse-session.json'), 'utf8')) as Golden[];

/** A request made by hand: header and body. */
function request(opcode: number, body: Buffer, ino = 1): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeUInt32LE(77, 8);
  header.writeUInt32LE(ino, 16);
  return Buffer.concat([header, body]);
}

function u64(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 8);
  values.forEach((value, i) => out.writeBigUInt64LE(BigInt(value), i * 8));
  return out;
}

t.test('what the kernel sent decodes to what was recorded', async (t) => {
  for (const { request: hex, reply, ...decoded } of session) {
    const bytes = Buffer.from(hex, 'hex');
    t.same(describeRequest(bytes, 0, bytes.length), decoded, `${decoded.operation}, reply of ${reply?.length ?? 0} digits`);
  }
});

t.test('the session played again gets the recorded replies, byte by byte', async (t) => {
  const replies = await play(session.map((entry) => Buffer.from(entry.request, 'hex')));
  session.forEach((entry, i) => t.equal(replies[i]?.toString('hex') ?? null, entry.reply, `${i}: ${entry.operation}`));
});

t.test('the session has every operation that can be made to happen', async (t) => {
  const there = new Set(session.map((entry) => entry.operation));
  // Whether one comes depends on how quick we were.
  there.add('BATCH_FORGET');
  const missing = describedOpcodes.map(opcodeName).filter((name) => !there.has(name));
  t.same(missing, ['DESTROY', 'COPY_FILE_RANGE'], 'only block devices get DESTROY, and one that knows the 64-bit copy not the other');
});

t.test('times before 1970 and large numbers survive', async (t) => {
  const early = session.find((entry) => JSON.stringify(entry.body).includes('-315'));
  t.match(early?.body, { change: { mtime: { seconds: -315521755, nanoseconds: 678901234 } } });
  const out = Buffer.alloc(104);
  const time = { seconds: -5, nanoseconds: 7 };
  const size = 2 ** 52 + 3;
  encodeAttrOut(
    out,
    0,
    {
      ino: 2 ** 40,
      mode: 0o100644,
      links: 1,
      uid: 2 ** 32 - 2,
      gid: 0,
      rdev: 0,
      size,
      blocks: 9,
      atime: time,
      mtime: time,
      ctime: time,
      btime: time,
    },
    { entrySeconds: 1, attributeSeconds: 2 },
  );
  t.equal(out.readBigUInt64LE(16), 2n ** 40n);
  t.equal(out.readBigUInt64LE(24), 2n ** 52n + 3n);
  t.equal(out.readBigInt64LE(48), -5n);
  t.equal(out.readUInt32LE(84), 2 ** 32 - 2);
});

t.test('BATCH_FORGET: all or nothing', async (t) => {
  const count = (n: number): Buffer => Buffer.from(Uint32Array.of(n, 0).buffer);
  const good = request(Opcode.BATCH_FORGET, Buffer.concat([count(2), u64(5, 1, 6, 3)]));
  t.same(describeRequest(good, 0, good.length).body, [
    [5, 1],
    [6, 3],
  ]);
  for (const body of [Buffer.concat([count(3), u64(5, 1, 6, 3)]), Buffer.concat([count(1), u64(5, 1, 6, 3)]), count(2 ** 28)]) {
    const bad = request(Opcode.BATCH_FORGET, body);
    t.throws(() => describeRequest(bad, 0, bad.length), DecodeError);
  }
});

t.test('every recorded message is refused when it is one byte shorter or longer', async (t) => {
  const seen = new Set<string>();
  for (const entry of session) {
    if (seen.has(entry.operation) || entry.operation === 'INIT') continue;
    seen.add(entry.operation);
    const whole = Buffer.from(entry.request, 'hex');
    for (const bytes of [whole.subarray(0, -1), Buffer.concat([whole, Buffer.from([1])])]) {
      const copy = Buffer.from(bytes);
      t.throws(() => describeRequest(copy, 0, copy.length), DecodeError, `${entry.operation}: stated length`);
      copy.writeUInt32LE(copy.length, 0);
      t.throws(() => describeRequest(copy, 0, copy.length), DecodeError, `${entry.operation}: length of the body`);
    }
  }
});

t.test('numbers beyond 2^53, odd names and odd times are refused', async (t) => {
  const refused = (bytes: Buffer, what: string): void => {
    t.throws(() => describeRequest(bytes, 0, bytes.length), DecodeError, what);
  };
  const forget = Buffer.alloc(8, 0xff);
  refused(request(Opcode.FORGET, forget), 'count');
  for (const name of ['', 'a/b']) refused(request(Opcode.LOOKUP, Buffer.from(`${name}\0`)), JSON.stringify(name));
  refused(request(Opcode.LOOKUP, Buffer.from('ab')), 'no end');
  refused(request(Opcode.LOOKUP, Buffer.from('a\0b\0')), 'two names');
  const setattr = Buffer.alloc(88);
  setattr.writeUInt32LE(1 << 5, 0);
  setattr.writeUInt32LE(1e9, 60);
  refused(request(Opcode.SETATTR, setattr), 'nanoseconds');
  t.throws(() => new Request(Buffer.alloc(39), 0, 39), DecodeError, 'shorter than a header');
  const extended = request(Opcode.FORGET, u64(1));
  extended.writeUInt16LE(2, 36);
  refused(extended, 'extensions longer than the message');
});

t.test('names are bytes', async (t) => {
  const bytes = request(Opcode.LOOKUP, Buffer.from([0xff, 0xc3, 0xa4, 0x0a, 0]));
  t.equal(describeRequest(bytes, 0, bytes.length).body, '\xff\xc3\xa4\n');
  const out = Buffer.alloc(direntBytes(2, false), 0xee);
  encodeDirent(out, 0, { ino: 3, name: '\xff\xc3', type: 0o100000, nextOffset: 4, attributes: undefined }, false, {
    entrySeconds: 1,
    attributeSeconds: 1,
  });
  t.equal(out.toString('hex'), '030000000000000004000000000000000200000008000000ffc3000000000000');
});

t.test('negotiation', async (t) => {
  const offer = { major: 7, minor: 45, maxReadaheadBytes: 131072, flags: 0xffffffff, flags2: 0xffffffff };
  const newest = negotiate(offer);
  t.match(newest, { kind: 'agreed', reply: { major: 7, minor: 45, maxWriteBytes: 1 << 20, maxPages: 256, flags2: 1 } });
  const taken = newest.kind === 'agreed' ? newest.reply.flags : 0;
  t.equal(taken & (1 << 1), 0, 'POSIX locks stay with the kernel');
  t.equal(taken & (1 << 10), 0, 'BSD locks too');
  t.not(taken & (1 << 6), 0, 'the umask is ours to apply');
  t.not(taken & (1 << 16), 0, 'write-back cache');
  t.not(taken & (1 << 4), 0, 'look-ups of . and ..');
  t.same(negotiate({ ...offer, minor: 30 }), { kind: 'refused' });
  t.same(negotiate({ ...offer, major: 6 }), { kind: 'refused' });
  t.same(negotiate({ ...offer, major: 8 }), { kind: 'again' });
});

t.test('notifications and statfs, byte by byte', async (t) => {
  t.equal(
    encodeInvalidateInode(2, -1, 0).toString('hex'),
    '280000000200000000000000000000000200000000000000ffffffffffffffff0000000000000000',
  );
  t.equal(
    encodePrune(0x1234).toString('hex'),
    '28000000090000000000000000000000' + '01000000000000000000000000000000' + '3412000000000000',
  );
  t.equal(encodeInvalidateEntry(1, 'ab').toString('hex'), '230000000300000000000000000000000100000000000000020000000000000061' + '6200');
  const out = Buffer.alloc(80, 0xee);
  encodeStatfs(out, 0, { blockBytes: 4096, blocks: 10, blocksFree: 5, blocksAvailable: 5, files: 7, filesFree: 6 });
  t.equal(
    out.toString('hex'),
    '0a000000000000000500000000000000050000000000000007000000000000000600000000000000' + '00100000ff00000000100000' + '00'.repeat(28),
  );
});
