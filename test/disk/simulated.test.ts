/** The simulated disks: the suite of all disks, and the faults that they are there for. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import type { SimulatedOperation } from '../../src/disk/simulated-disk.js';
import { SECTOR_BYTES, type Survival } from '../../src/disk/simulated-file.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import { diskConformance } from './conformance.js';

const nothing: Survival = () => () => false;
const everything: Survival = () => () => true;

async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'resolved';
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error);
  }
}

function machineWith(directory = '/d', seed = 1): SimulatedMachine {
  const machine = new SimulatedMachine(seededRandom(seed));
  machine.addDisk(directory);
  return machine;
}

void t.test('conformance', (t) => {
  diskConformance(t, async () => {
    const machine = machineWith();
    return {
      disk: machine.open('/d'),
      openAgain: async () => machine.open('/d'),
      reopen: async () => machine.open('/d'),
      cleanUp: async () => undefined,
    };
  });
  t.end();
});

void t.test('a power cut takes what was not synced, names and contents apart', async (t) => {
  const machine = machineWith();
  let disk = machine.open('/d');
  const both = await disk.open('both', { create: true, write: true });
  await both.write(0, [Buffer.from('safe')]);
  await both.sync();
  await disk.syncDirectory('');
  await both.write(0, [Buffer.from('lost')]);
  const unnamed = await disk.open('unnamed', { create: true, write: true });
  await unnamed.write(0, [Buffer.from('synced')]);
  await unnamed.sync();
  await disk.rename('both', 'renamed');
  machine.crash({ power: true, survival: nothing });
  t.equal(await code(both.read(0, 4)), 'EIO', 'old handles are dead');
  t.equal(await code(disk.list('')), 'EIO');
  disk = machine.open('/d');
  t.same(await disk.list(''), ['both'], 'the sync of a file does not keep its name');
  const file = await disk.open('both');
  t.equal(String(await file.read(0, 9)), 'safe');
});

void t.test('a directory sync keeps names, not contents', async (t) => {
  const machine = machineWith();
  let disk = machine.open('/d');
  await disk.makeDirectory('sub');
  const file = await disk.open('sub/a', { create: true, write: true });
  await file.write(0, [Buffer.from('gone')]);
  await disk.syncDirectory('sub');
  machine.crash({ power: true, survival: nothing });
  disk = machine.open('/d');
  t.same(await disk.list(''), [], 'the directory itself was not named durably');
  await disk.makeDirectory('sub');
  await (await disk.open('sub/a', { create: true, write: true })).write(0, [Buffer.from('gone')]);
  await disk.syncDirectory('sub');
  await disk.syncDirectory('');
  machine.crash({ power: true, survival: nothing });
  disk = machine.open('/d');
  t.same(await disk.list('sub'), ['a']);
  t.equal(await (await disk.open('sub/a')).size(), 0);
});

void t.test('the death of the daemon keeps what the kernel has', async (t) => {
  const machine = machineWith();
  const file = await machine.open('/d').open('a', { create: true, write: true });
  await file.write(0, [Buffer.from('kept')]);
  machine.crash({ power: false });
  t.equal(String(await (await machine.open('/d').open('a')).read(0, 4)), 'kept');
});

void t.test('torn writes: over many seeds every mixture of old and new sectors is seen, and nothing else', async (t) => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 400; seed++) {
    const machine = machineWith('/d', seed);
    const file = await machine.open('/d').open('a', { create: true, write: true });
    await file.write(0, [Buffer.alloc(3 * SECTOR_BYTES, 'o')]);
    await file.sync();
    await machine.open('/d', false).syncDirectory('');
    await file.write(0, [Buffer.alloc(3 * SECTOR_BYTES, 'n')]);
    machine.crash({ power: true });
    const after = await (await machine.open('/d').open('a')).read(0, 4 * SECTOR_BYTES);
    t.equal(after.length, 3 * SECTOR_BYTES);
    let pattern = '';
    for (let sector = 0; sector < 3; sector++) {
      const bytes = after.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      const first = String.fromCharCode(bytes[0] ?? 0);
      t.ok(
        bytes.every((byte) => byte === bytes[0]),
        'a sector is whole',
      );
      pattern += first;
    }
    seen.add(pattern);
  }
  t.same([...seen].sort(), ['nnn', 'nno', 'non', 'noo', 'onn', 'ono', 'oon', 'ooo']);
});

void t.test('calls in flight at a crash took effect or not, and fail', async (t) => {
  const lengths = new Set<number>();
  for (let seed = 0; seed < 60; seed++) {
    const machine = machineWith('/d', seed);
    const file = await machine.open('/d').open('a', { create: true, write: true });
    machine.schedule = () => undefined;
    const write = code(file.write(0, [Buffer.alloc(10_000, 1)]));
    machine.crash({ power: false });
    t.equal(await write, 'EIO');
    machine.schedule = (_operation, run) => {
      queueMicrotask(run);
    };
    lengths.add(await (await machine.open('/d').open('a')).size());
  }
  t.same(
    [...lengths].sort((a, b) => a - b),
    [0, 4096, 8192, 10_000],
  );
});

void t.test('the scheduler chooses the order in which calls complete', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  const file = await disk.open('a', { create: true, write: true });
  const waiting: { operation: SimulatedOperation; run: () => void }[] = [];
  machine.schedule = (operation, run) => {
    waiting.push({ operation, run });
  };
  const order: string[] = [];
  const calls = ['first', 'second', 'third'].map((text) => file.write(0, [Buffer.from(text)]).then(() => order.push(text)));
  t.same(
    waiting.map(({ operation }) => operation),
    [1, 2, 3].map(() => ({ disk: '/d', kind: 'write', path: 'a' })),
  );
  for (const { run } of waiting.splice(0).reverse()) run();
  await Promise.all(calls);
  t.same(order, ['third', 'second', 'first']);
  t.equal(String(machine.medium('/d').file('a').read(0, 5)), 'first', 'the one that took effect last stands');
});

void t.test('a failed sync: the pages are clean, their fate is open, the file is poisoned', async (t) => {
  const fates = new Set<string>();
  for (let seed = 0; seed < 60; seed++) {
    const machine = machineWith('/d', seed);
    const disk = machine.open('/d');
    const file = await disk.open('a', { create: true, write: true });
    await file.write(0, [Buffer.from('old')]);
    await file.sync();
    await disk.syncDirectory('');
    await file.write(0, [Buffer.from('new')]);
    machine.medium('/d').failNext('sync', 'EIO');
    t.equal(await code(file.sync()), 'EIO');
    t.equal(file.poisoned, true);
    t.equal(await code(file.sync()), 'EIO');
    t.equal(await code(file.write(0, [Buffer.from('x')])), 'EIO');
    t.equal(disk.health.syncErrors, 2);
    t.equal(String(await file.read(0, 3)), 'new', 'the cache still shows it');
    const second = await disk.open('a', { write: true });
    await second.sync();
    machine.crash({ power: true, survival: everything });
    fates.add(String(await (await machine.open('/d').open('a')).read(0, 3)));
  }
  t.same([...fates].sort(), ['new', 'old'], 'a later sync that succeeds means nothing for what was dropped');
});

void t.test('a disk vanishes and comes back', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  const file = await disk.open('a', { create: true, write: true });
  await file.write(0, [Buffer.from('synced')]);
  await file.sync();
  await disk.syncDirectory('');
  const medium = machine.medium('/d');
  machine.vanish(medium);
  t.equal(await code(file.read(0, 1)), 'ENODEV');
  t.equal(await code(disk.probe()), 'ENODEV');
  t.throws(() => machine.open('/d'), { code: 'ENODEV' });
  machine.comeBack(medium);
  t.equal(await code(file.read(0, 1)), 'ENODEV', 'old handles stay dead');
  t.equal(String(await (await machine.open('/d').open('a')).read(0, 6)), 'synced');
});

void t.test('moved, replaced, not mounted', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  await disk.probe();
  machine.move('/d', '/elsewhere');
  t.equal(await code(disk.probe()), 'ENOENT');
  await (await disk.open('works', { create: true, write: true })).close();
  machine.addDisk('/d');
  t.equal(await code(disk.probe()), 'ESTALE');
  t.same(await machine.open('/d').list(''), [], 'what lies in its place is not written to');
  t.same(machine.medium('/elsewhere').paths(), ['works']);
});

void t.test('a full disk', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  machine.medium('/d').capacityBytes = 64 << 10;
  const file = await disk.open('a', { create: true, write: true });
  await file.write(0, [Buffer.alloc(60 << 10)]);
  t.equal((await disk.capacity()).freeBytes, 4 << 10);
  t.equal(await code(file.write(60 << 10, [Buffer.alloc(8 << 10)])), 'ENOSPC');
  t.equal(await code(file.preallocate(100 << 10, 8 << 10)), 'ENOSPC');
  await file.punch(0, 32 << 10);
  await file.write(60 << 10, [Buffer.alloc(8 << 10)]);
  await file.close();
  await disk.unlink('a');
  t.equal((await disk.capacity()).freeBytes, 64 << 10);
});

void t.test('silent damage: bits, lost and misdirected writes', async (t) => {
  const machine = machineWith();
  const medium = machine.medium('/d');
  const file = await machine.open('/d').open('a', { create: true, write: true });
  await file.write(0, [Buffer.alloc(8)]);
  medium.flip('a', 2, 4);
  t.same(await file.read(0, 4), Buffer.from([0, 0, 16, 0]));
  medium.loseNextWrite('a');
  await file.write(0, [Buffer.from('lost')]);
  medium.misdirectNextWrite(4, 'a');
  await file.write(0, [Buffer.from('over')]);
  t.same(await file.read(0, 8), Buffer.from('\0\0\x10\0over'));
});

void t.test('errors of any call, so many times, on such paths', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  const a = await disk.open('a', { create: true, write: true });
  const b = await disk.open('b', { create: true, write: true });
  machine.medium('/d').failNext('read', 'EIO', 2, 'a');
  t.same(
    [await code(a.read(0, 1)), await code(b.read(0, 1)), await code(a.read(0, 1)), await code(a.read(0, 1))],
    ['EIO', 'resolved', 'EIO', 'resolved'],
  );
  t.equal(disk.health.readErrors, 2);
  machine.medium('/d').failNext('open', 'EROFS');
  t.equal(await code(disk.open('c', { create: true })), 'EROFS');
});

void t.test('a stall holds calls until it is released', async (t) => {
  const machine = machineWith();
  const disk = machine.open('/d');
  const file = await disk.open('a', { create: true, write: true });
  machine.medium('/d').stalledPath = 'a';
  let done = false;
  const write = file.write(0, [Buffer.from('x')]).then(() => (done = true));
  t.same(await disk.list(''), ['a'], 'other paths go on');
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(done, false);
  t.equal(disk.operationsInFlight.length, 1);
  machine.release();
  await write;
  t.equal(await file.size(), 1);
});
