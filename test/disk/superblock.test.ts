/** Superblocks: the bytes, what damage does to them, and the file in a disk's directory. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { newUuid, type Uuid } from '../../src/base/ids.js';
import { packageRoot } from '../../src/base/package-root.js';
import { isNewer, type Membership } from '../../src/disk/membership.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { checkUnused, createSuperblock, readSuperblock, updateSuperblock } from '../../src/disk/superblock-file.js';
import { SLOT_BYTES, SUPERBLOCK_FILE, decodeSlot, encodeSlot, slotLength, type Superblock } from '../../src/disk/superblock.js';
import { failure } from './failure.js';

const uuid = (digit: string): Uuid => digit.repeat(32) as Uuid;

function example(): Superblock {
  const membership: Membership = {
    epoch: 4,
    version: 3,
    poolId: uuid('a'),
    poolName: 'photos',
    k: 2,
    m: 1,
    lastNumber: 6,
    members: [
      { number: 1, id: uuid('1'), role: 'data', state: 'draining', voter: true, zone: 'left', directory: '/mnt/disk1' },
      { number: 2, id: uuid('2'), role: 'data', state: 'active', voter: true, zone: undefined, directory: '/mnt/Größe 2' },
      { number: 5, id: uuid('5'), role: 'witness', state: 'active', voter: true, zone: undefined, directory: '/var/lib/witness' },
    ],
  };
  return {
    diskId: uuid('2'),
    diskNumber: 2,
    created: '2026-01-02T03:04:05.678Z',
    settings: { durability: 'commit', frames: 4 },
    membership,
  };
}

/** As version 1 had it: no states, no epoch, no last number. */
function firstExample(): Superblock {
  const superblock = example();
  const members = superblock.membership.members.map((member) => ({ ...member, state: 'active' as const }));
  return { ...superblock, membership: { ...superblock.membership, epoch: 0, lastNumber: 5, members } };
}

void t.test('what version 1 wrote is read', async (t) => {
  const golden = readFileSync(join(packageRoot, 'test', 'golden', 'superblock-v1.hex'), 'latin1');
  const slot = decodeSlot(Buffer.from(golden.replaceAll('\n', ''), 'hex'));
  t.match(slot, { state: 'good', sequence: 7 });
  t.same(slot.state === 'good' && slot.superblock, firstExample());
});

void t.test('memberships are ordered by epoch, then version', async (t) => {
  const stamp = (epoch: number, version: number): { epoch: number; version: number } => ({ epoch, version });
  t.ok(isNewer(stamp(2, 1), stamp(1, 9)), 'a later leader counts for more than a higher version');
  t.ok(isNewer(stamp(2, 3), stamp(2, 2)));
  t.notOk(isNewer(stamp(2, 3), stamp(2, 3)));
  t.notOk(isNewer(stamp(1, 9), stamp(2, 1)));
  t.ok(isNewer(stamp(0, 1), undefined));
});

void t.test('golden bytes', async (t) => {
  const path = join(packageRoot, 'test', 'golden', 'superblock-v2.hex');
  const bytes = encodeSlot(example(), 7);
  const hex = (bytes.toString('hex').match(/.{1,64}/g) ?? []).join('\n') + '\n';
  if (process.env.OSTRAKA_WRITE_GOLDEN === '1') writeFileSync(path, hex);
  const golden = readFileSync(path, 'latin1');
  t.equal(hex, golden, 'what is written does not change');
  const slot = decodeSlot(Buffer.from(golden.replaceAll('\n', ''), 'hex'));
  t.match(slot, { state: 'good', sequence: 7 });
  t.same(slot.state === 'good' && slot.superblock, example(), 'what was written is read');
});

void t.test('a full pool fits', async (t) => {
  const random = seededRandom(1);
  const members = Array.from({ length: 256 }, (_, i) => ({
    number: i + 1,
    id: newUuid(random),
    role: 'data' as const,
    state: 'active' as const,
    voter: i < 5,
    zone: `enclosure ${i}`,
    directory: `/mnt/${'x'.repeat(700)}${i}`,
  }));
  const superblock: Superblock = { ...example(), membership: { ...example().membership, members } };
  const bytes = encodeSlot(superblock, 1);
  t.ok(bytes.length <= SLOT_BYTES);
  t.equal(slotLength(bytes), bytes.length);
  t.match(decodeSlot(bytes), { state: 'good' });
  const larger = members.map((member) => ({ ...member, directory: '/' + 'x'.repeat(4000) }));
  t.throws(() => encodeSlot({ ...superblock, membership: { ...superblock.membership, members: larger } }, 1), { code: 'E2BIG' });
});

void t.test('fuzz: every flipped bit and every cut is noticed, random bytes never pass', async (t) => {
  const bytes = encodeSlot(example(), 7);
  let wrong = 0;
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    const slot = decodeSlot(damaged);
    // The header's last bytes are room for later and carry nothing.
    const spare = bit >> 3 >= 40 && bit >> 3 < 64;
    if (slot.state !== (spare ? 'good' : 'damaged')) wrong++;
  }
  t.equal(wrong, 0, 'flipped bits');
  for (let length = 0; length < bytes.length; length++) {
    const { state } = decodeSlot(bytes.subarray(0, length));
    if (state !== (length === 0 ? 'empty' : 'damaged')) wrong++;
  }
  t.equal(wrong, 0, 'cuts');
  const random = seededRandom(2);
  for (let round = 0; round < 3000; round++) {
    const noise = Buffer.from(random.bytes(random.below(600) + 12));
    // Half of them get past the magic, a quarter has a length that fits.
    if (round % 2 === 0) noise.set(bytes.subarray(0, 12));
    if (round % 4 === 0 && noise.length > 64) noise.writeUInt32LE(noise.length - 64, 12);
    if (decodeSlot(noise).state !== 'damaged') wrong++;
  }
  t.equal(wrong, 0, 'noise');
});

void t.test('content that is not valid is damage, even under a right checksum', async (t) => {
  const { membership } = example();
  const [first] = membership.members;
  if (!first) throw new Error('no members');
  const bad: unknown[] = [
    { ...example(), diskNumber: 0 },
    { ...example(), diskId: 'zz' },
    { ...example(), membership: { ...membership, k: 0 } },
    { ...example(), membership: { ...membership, k: 30, m: 3 } },
    { ...example(), membership: { ...membership, epoch: -1 } },
    { ...example(), membership: { ...membership, members: [{ ...first, state: 'gone' }] } },
    { ...example(), membership: { ...membership, members: [] } },
    { ...example(), membership: { ...membership, members: [first, first] } },
    { ...example(), membership: { ...membership, members: [{ ...first, role: 'spare' }] } },
  ];
  for (const superblock of bad) t.throws(() => encodeSlot(superblock as Superblock, 1), { name: 'AssertionError' });
});

function disks(): SimulatedMachine {
  const machine = new SimulatedMachine(seededRandom(5));
  machine.addDisk('/d', { id: uuid('2') });
  return machine;
}

/** Writes into the superblock's file as a failing disk would. */
async function scribble(machine: SimulatedMachine, offset: number, bytes: Uint8Array): Promise<void> {
  const disk = machine.open('/d', false);
  const file = await disk.open(SUPERBLOCK_FILE, { write: true });
  await file.write(offset, [bytes]);
  await disk.syncAll();
  await disk.close();
}

void t.test('a disk is created, read and updated', async (t) => {
  const machine = disks();
  const disk = machine.open('/d');
  const missing = await failure(readSuperblock(disk));
  t.equal(missing.code, 'ENOENT');
  t.match(missing.message, '/d');
  await disk.makeDirectory('lost+found');
  await checkUnused(disk);
  t.same(await disk.list(''), ['lost+found'], 'checking and reading write nothing');
  await createSuperblock(disk, example());
  t.same(await readSuperblock(disk), example());
  const next = { ...example().membership, version: 4, poolName: 'pictures' };
  await updateSuperblock(disk, next);
  t.same((await readSuperblock(disk)).membership, next);
  await updateSuperblock(disk, example().membership);
  t.same((await readSuperblock(disk)).membership, next, 'an older membership changes nothing');
  machine.crash({ power: true, survival: () => () => false });
  t.same((await readSuperblock(machine.open('/d'))).membership, next, 'it is durable');
});

void t.test('one damaged copy is as good as none, two are an error that names the file, and nothing is written over', async (t) => {
  for (const slot of [0, 1]) {
    const machine = disks();
    await createSuperblock(machine.open('/d', false), example());
    await scribble(machine, slot * SLOT_BYTES + 100, Buffer.from('damage'));
    t.same(await readSuperblock(machine.open('/d', false)), example());
    await scribble(machine, (1 - slot) * SLOT_BYTES, Buffer.alloc(300));
    const before = machine
      .medium('/d')
      .file(SUPERBLOCK_FILE)
      .read(0, 2 * SLOT_BYTES);
    for (const work of [readSuperblock, checkUnused, (d: Parameters<typeof checkUnused>[0]) => createSuperblock(d, example())]) {
      const error = await failure(work(machine.open('/d', false)));
      t.equal(error.code, 'EBADMSG');
      t.match(error.message, `/d/${SUPERBLOCK_FILE}`);
      t.ok(error.hint);
    }
    t.same(
      machine
        .medium('/d')
        .file(SUPERBLOCK_FILE)
        .read(0, 2 * SLOT_BYTES),
      before,
    );
    t.same(machine.medium('/d').paths(), [SUPERBLOCK_FILE]);
  }
});

void t.test('a superblock of a newer version is an error of its own', async (t) => {
  const { checksum } = await import('../../src/base/checksums.js');
  const machine = disks();
  await createSuperblock(machine.open('/d', false), example());
  const newer = encodeSlot(example(), 9);
  newer.writeUInt32LE(3, 8);
  checksum(newer.subarray(0, 24), newer.subarray(64)).copy(newer, 24);
  await scribble(machine, SLOT_BYTES, newer);
  const error = await failure(readSuperblock(machine.open('/d', false)));
  t.equal(error.code, 'ENOTSUP');
  t.match(error.message, 'version 3');
});

void t.test('directories that cannot become disks', async (t) => {
  const machine = disks();
  const disk = machine.open('/d');
  await (await disk.open('holiday.jpg', { create: true, write: true })).close();
  const full = await failure(createSuperblock(disk, example()));
  t.equal(full.code, 'ENOTEMPTY');
  t.match(full.message, 'holiday.jpg');
  t.same(await disk.list(''), ['holiday.jpg']);
  await disk.unlink('holiday.jpg');
  await createSuperblock(disk, example());
  const taken = await failure(createSuperblock(disk, { ...example(), membership: { ...example().membership, poolName: 'other' } }));
  t.equal(taken.code, 'EEXIST');
  t.match(taken.message, 'pool "photos"');
  t.same(await readSuperblock(disk), example());
});

void t.test('a power cut at any point of an update leaves the old or the new', async (t) => {
  const next = { ...example().membership, version: 4 };
  const versions = new Set<number>();
  for (let seed = 0; seed < 300; seed++) {
    const random = seededRandom(seed);
    const machine = new SimulatedMachine(random);
    machine.addDisk('/d', { id: uuid('2') });
    const disk = machine.open('/d');
    await createSuperblock(disk, example());
    let left = random.below(16);
    if (random.below(4) === 0) machine.medium('/d').failNext('sync', 'EIO');
    machine.schedule = (_operation, run) => {
      if (left-- > 0) queueMicrotask(run);
    };
    const update = updateSuperblock(disk, next).catch((error: unknown) => error);
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
    machine.crash({ power: true });
    await update;
    machine.schedule = (_operation, run) => {
      queueMicrotask(run);
    };
    machine.medium('/d').clearFaults();
    const again = machine.open('/d');
    versions.add((await readSuperblock(again)).membership.version);
    await updateSuperblock(again, { ...next, version: 5 });
    t.equal((await readSuperblock(again)).membership.version, 5, 'and the next one goes through');
  }
  t.same([...versions].sort(), [3, 4]);
});
