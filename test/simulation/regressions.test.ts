/** Histories in which the simulation once found something, shrunk and named after what went wrong. */
import t from 'tap';
import type { Operation } from './client.js';
import { run } from './driver.js';
import type { History, Step } from './history.js';

const shape = { disks: 4, code: { k: 2, m: 1 }, durability: 'interval' } as const;
const operation = (client: number, name: Operation, seed: number, afterMs: number): Step => ({
  kind: 'operation',
  client,
  operation: name,
  seed,
  afterMs,
});

const histories: Readonly<Record<string, History>> = {
  // Its successor's marks named them: all voters were broken at the next start, and the pool read-only.
  'a leader that was succeeded takes log files away that its successor counts on': {
    seed: 144,
    shape,
    clients: 3,
    steps: [
      { kind: 'takeOver', forMs: 781 },
      operation(1, 'write', 1161233368, 80),
      operation(1, 'link', 894646619, 2200),
      operation(2, 'release', 1509774260, 142),
      { kind: 'takeOver', forMs: 1748 },
      { kind: 'crash', power: false, again: [] },
    ],
  },
  // The new leader lost all of its voters at once, since their replicas were not as it had left them.
  'a leader that was succeeded goes on with the replicas of its voters': {
    seed: 105,
    shape: { ...shape, durability: 'close' },
    clients: 3,
    steps: [
      operation(1, 'read', 809097854, 3746),
      { kind: 'takeOver', forMs: 2142 },
      operation(0, 'release', 133006498, 2530),
      operation(2, 'fsync', 248709207, 1310),
      operation(0, 'rmdir', 45952951, 6),
    ],
  },
  // It begins with a snapshot of the index, which asked for 64 MiB of free space on every disk.
  'a pool of small disks cannot be repaired': {
    seed: 13,
    shape: { ...shape, capacityMiB: 32 },
    clients: 1,
    steps: [{ kind: 'repair' }],
  },
  // The entry stayed, since k shards were there; the others, unsynced on the disks that left, were missed by nobody once these were back.
  'what was not synced on a disk that leaves with a crash is not known to be missing': {
    seed: 24,
    shape: { ...shape, code: { k: 2, m: 2 } },
    clients: 3,
    steps: [
      operation(0, 'create', 1815097578, 4),
      operation(0, 'save', 443524757, 6),
      { kind: 'crash', power: false, losses: [660118312, 398263860], again: [] },
    ],
  },
};

for (const [name, history] of Object.entries(histories))
  void t.test(name, async (test) => {
    const { error, counts } = await run(history);
    test.equal(error?.message, undefined);
    test.equal(counts.failed, 0, 'no call is refused');
  });
