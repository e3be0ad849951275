/** The space that is kept for a full disk: taken while there is plenty, let go when there is none, and taken anew. */
import t from 'tap';
import { seededRandom } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { ReserveFile } from '../../src/disk/reserve-file.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';

void t.test('taken, let go, taken anew', async (t) => {
  const machine = new SimulatedMachine(seededRandom(1));
  const medium = machine.addDisk('/d', { capacityBytes: 256 * MiB });
  const disk = machine.open('/d');
  const told: boolean[] = [];
  const reserve = new ReserveFile(disk, (held) => told.push(held));
  t.equal(reserve.heldBytes, 0);
  await reserve.check();
  t.equal(reserve.heldBytes, 4 * MiB);
  t.equal(medium.usedBytes(), 4 * MiB);
  const other = await disk.open('other', { create: true, write: true });
  await other.preallocate(0, 249 * MiB);
  await reserve.check();
  t.equal(reserve.heldBytes, 4 * MiB, '3 MiB are left: more than half of it');
  // The log finds no room: the reserve goes before it is told so.
  await t.rejects(other.preallocate(249 * MiB, 5 * MiB), { code: 'ENOSPC' });
  await disk.onFull?.();
  t.equal(reserve.heldBytes, 0);
  await other.preallocate(249 * MiB, 5 * MiB);
  await reserve.check();
  t.equal(reserve.heldBytes, 0, 'no room yet');
  await other.punch(0, 100 * MiB);
  await reserve.check();
  t.equal(reserve.heldBytes, 4 * MiB);
  await other.preallocate(0, 97 * MiB);
  await reserve.check();
  t.equal(reserve.heldBytes, 0, 'also without a call that failed');
  t.same(told, [true, false, true, false]);
  // What an earlier life left is no reserve of this one.
  await other.punch(0, 100 * MiB);
  await reserve.check();
  reserve.end();
  t.equal(disk.onFull, undefined);
  const next = new ReserveFile(disk, () => undefined);
  medium.capacityBytes = 160 * MiB;
  await next.check();
  t.equal(next.heldBytes, 0);
  t.notOk(medium.has('ostraka.reserve'));
  // A disk that is out is no reason to fail.
  machine.vanish(medium);
  await next.check();
});
