import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DecodeError } from '../../src/base/bytes.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { packageRoot } from '../../src/base/package-root.js';
import { FuseFrontEnd } from '../../src/frontend/fuse/front-end.js';
import { Opcode } from '../../src/frontend/fuse/protocol.js';
import { describeRequest, describedOpcodes } from './describe-request.js';
import { FakeChannel, settled } from './fake-channel.js';
import { MemoryNamespace } from './memory-namespace.js';
import { standingClock } from './session.js';

const ROUNDS = 6000;

const golden = (JSON.parse(readFileSync(join(packageRoot, 'test/golden/fuse-session.json'), 'utf8')) as { request: string }[]).map(
  (entry) => Buffer.from(entry.request, 'hex'),
);

/** A recorded message with something wrong: bits, whole words, its length, its operation. */
function mutated(random: Random): Buffer {
  let bytes = Buffer.from(golden[random.below(golden.length)] ?? Buffer.alloc(40));
  if (random.below(4) === 0) bytes = Buffer.from(bytes.subarray(0, random.below(bytes.length + 1)));
  if (random.below(4) === 0) bytes = Buffer.concat([bytes, Buffer.from(random.bytes(random.below(200)))]);
  if (random.below(4) === 0 && bytes.length >= 8) bytes.writeUInt32LE(describedOpcodes[random.below(describedOpcodes.length)] ?? 0, 4);
  for (let i = random.below(4); i > 0 && bytes.length > 8; i--) {
    const at = 8 + random.below(bytes.length - 8);
    if (random.below(2) === 0) bytes[at] = random.below(256);
    else if (at + 4 <= bytes.length) bytes.writeUInt32LE([0, 1, 0x7fffffff, 0xffffffff, bytes.length][random.below(5)] ?? 0, at);
  }
  // Mostly with the length that was read, as only the device can give it.
  if (bytes.length >= 4 && random.below(8) !== 0) bytes.writeUInt32LE(bytes.length, 0);
  return bytes;
}

function decoded(memory: Buffer, start: number, length: number): string {
  try {
    return JSON.stringify(describeRequest(memory, start, length));
  } catch (thrown) {
    if (!(thrown instanceof DecodeError)) throw thrown;
    return 'refused';
  }
}

t.test('the decoder throws nothing but DecodeError and reads nothing outside the message', async (t) => {
  const random = seededRandom(20240607);
  let refused = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const bytes = mutated(random);
    const around = (filler: number): string => {
      const memory = Buffer.alloc(bytes.length + 128, filler);
      bytes.copy(memory, 64);
      return decoded(memory, 64, bytes.length);
    };
    const alone = decoded(bytes, 0, bytes.length);
    if (alone !== around(0) || alone !== around(0x41)) {
      t.fail(`depends on what lies around: ${bytes.toString('hex')}`);
      return;
    }
    if (alone === 'refused') refused++;
  }
  t.ok(refused > ROUNDS / 10 && refused < ROUNDS, `${refused} of ${ROUNDS} refused`);
});

/** Takes anything, but no memory without bound. */
class Bounded extends MemoryNamespace {
  override async write(ino: number, handle: number, offset: number, data: Uint8Array): Promise<number> {
    if (offset > 1 << 20) throw new OperatingError('EFBIG', 'too far');
    return super.write(ino, handle, offset, data);
  }
}

t.test('the front end answers each well-framed request once, whatever is in it', async (t) => {
  const random = seededRandom(7);
  const channel = new FakeChannel();
  const frontEnd = new FuseFrontEnd({
    namespace: new Bounded(standingClock),
    channel,
    validity: { entrySeconds: 1, attributeSeconds: 1 },
    clock: standingClock,
    log: () => undefined,
    invalidate: () => undefined,
  });
  frontEnd.ready.catch(() => undefined);
  const unanswered = new Set<number>([Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY]);
  for (let i = 0; i < ROUNDS; i++) {
    const bytes = mutated(random);
    if (bytes.length < 40) continue;
    const before = channel.replies.length;
    frontEnd.deliver(channel.put([bytes]));
    await settled();
    const replies = channel.replies.slice(before);
    const extensions = bytes.readUInt16LE(36) * 8;
    const ino = bytes.readBigUInt64LE(16);
    const framed = bytes.readUInt32LE(0) === bytes.length && ino < 2n ** 53n && 40 + extensions <= bytes.length;
    const due = framed && !unanswered.has(bytes.readUInt32LE(4)) ? 1 : 0;
    const right = replies.every((reply) => {
      const error = reply.readInt32LE(4);
      return reply.readUInt32LE(0) === reply.length && reply.readUInt32LE(8) === bytes.readUInt32LE(8) && error <= 0 && error > -512;
    });
    if (replies.length !== due || !right) {
      t.fail(`${replies.length} replies where ${due} due: ${bytes.toString('hex')}`);
      return;
    }
    channel.replies.length = 0;
  }
  t.equal(frontEnd.stats.underWay, 0);
});
