/** flock, fcntl's byte-range locks and those of open file descriptions: conflicts, ranges, waiting, and the end of locks. */
import * as c from '../constants.js';
import { ALICE, BOB, outcome, ROOT, type Answer } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Add, type Family } from '../suite.js';
import { decodeLock, type ByteLock, type User } from '../user.js';

/** A second process of alice's. */
const second = (s: Sandbox): User => s.user(ALICE, 2);

async function shared(s: Sandbox, users: readonly User[] = [s.alice, s.bob]): Promise<number[]> {
  await s.file('f', '0123456789', s.root, 0o666);
  await s.expect(s.root.chmod('f', 0o666), 0);
  const fds: number[] = [];
  for (const user of users) fds.push(await s.value(user.open('f', c.O_RDWR)));
  return fds;
}

/** A promise that must not have settled yet. */
async function waits(s: Sandbox, call: Promise<Answer>): Promise<void> {
  const still = new Promise<'waits'>((resolve) => setTimeout(resolve, 60, 'waits'));
  s.same(await Promise.race([call.then(outcome), still]), 'waits', 'the call');
}

const NAMES = ['LOCK_SH', 'LOCK_EX'] as const;
const flocks = family('flock', (add) => {
  for (const [i, first] of NAMES.entries())
    for (const [j, next] of NAMES.entries()) {
      const want = i === 0 && j === 0 ? 'ok' : 'EAGAIN';
      add(`${next} while another has ${first}: ${want}`, async (s) => {
        const [a = -1, b = -1] = await shared(s);
        await s.expect(s.alice.flock(a, i + 1), 0);
        await s.expect(s.bob.flock(b, (j + 1) | c.LOCK_NB), want);
      });
    }
  add('two descriptions in one process conflict, duplicates do not', async (s) => {
    const [a = -1, b = -1] = await shared(s, [s.alice, s.alice]);
    await s.expect(s.alice.flock(a, c.LOCK_EX), 0);
    await s.expect(s.alice.flock(b, c.LOCK_EX | c.LOCK_NB), 'EAGAIN');
    const twin = await s.value(s.alice.dup(a));
    await s.expect(s.alice.flock(twin, c.LOCK_EX | c.LOCK_NB), 0);
    await s.expect(s.alice.close(a), 0);
    await s.expect(s.alice.flock(b, c.LOCK_EX | c.LOCK_NB), 'EAGAIN');
    await s.expect(s.alice.close(twin), 0);
    await s.expect(s.alice.flock(b, c.LOCK_EX | c.LOCK_NB), 0);
  });
  add('LOCK_UN lets the next one in, which waited', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.flock(a, c.LOCK_EX), 0);
    const waiting = s.bob.flock(b, c.LOCK_EX);
    await waits(s, waiting);
    await s.expect(s.alice.flock(a, c.LOCK_UN), 0);
    await s.expect(waiting, 0);
  });
  add('a lock goes with the process', async (s) => {
    const [a = -1, b = -1] = await shared(s, [second(s), s.bob]);
    await s.expect(second(s).flock(a, c.LOCK_EX), 0);
    const waiting = s.bob.flock(b, c.LOCK_EX);
    await waits(s, waiting);
    await second(s).process.end();
    await s.expect(waiting, 0);
  });
  add('a shared lock becomes an exclusive one when nobody else has it', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.flock(a, c.LOCK_SH), 0);
    await s.expect(s.bob.flock(b, c.LOCK_SH), 0);
    await s.expect(s.alice.flock(a, c.LOCK_EX | c.LOCK_NB), 'EAGAIN');
    await s.expect(s.bob.flock(b, c.LOCK_UN), 0);
    await s.expect(s.alice.flock(a, c.LOCK_EX | c.LOCK_NB), 0);
  });
  add('unknown operations: EINVAL', async (s) => {
    const [a = -1] = await shared(s);
    await s.expect(s.alice.flock(a, 0), 'EINVAL');
  });
  add('a descriptor for reading takes an exclusive lock; a directory too', async (s) => {
    await s.file('f');
    for (const path of ['f', '.']) {
      const fd = await s.value(s.root.open(path, c.O_RDONLY));
      await s.expect(s.root.flock(fd, c.LOCK_EX | c.LOCK_NB), 0);
    }
  });
  add('flock and fcntl locks do not know each other', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.flock(a, c.LOCK_EX), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK }), 0);
  });
});

/** Ranges of two processes: do they overlap? */
const RANGES: readonly (readonly [about: string, held: readonly [number, number], asked: readonly [number, number], overlap: boolean])[] = [
  ['the same', [0, 10], [0, 10], true],
  ['one byte in common', [0, 10], [9, 5], true],
  ['one behind the other', [0, 10], [10, 5], false],
  ['one before the other', [10, 10], [0, 10], false],
  ['within', [0, 100], [50, 1], true],
  ['around', [50, 1], [0, 100], true],
  ['to the end of time', [100, 0], [1_000_000, 1], true],
  ['before an open end', [100, 0], [0, 100], false],
  ['far away', [2 ** 40, 10], [2 ** 40 + 5, 10], true],
];
const TYPES = [
  ['F_RDLCK', c.F_RDLCK],
  ['F_WRLCK', c.F_WRLCK],
] as const;

function ranges(set: number, get: number) {
  return (add: Add): void => {
    for (const [about, [start, bytes], [otherStart, otherBytes], overlap] of RANGES)
      for (const [heldName, held] of TYPES)
        for (const [askedName, asked] of TYPES) {
          const conflict = overlap && (held === c.F_WRLCK || asked === c.F_WRLCK);
          add(`${askedName} where another has ${heldName}, ${about}: ${conflict ? 'EAGAIN' : 'ok'}`, async (s) => {
            const [a = -1, b = -1] = await shared(s);
            const ours: ByteLock = { type: held, start, bytes };
            await s.expect(s.alice.lock(a, set, ours), 0);
            const theirs: ByteLock = { type: asked, start: otherStart, bytes: otherBytes };
            const { out } = await s.expect(s.bob.lock(b, get, theirs), 0);
            const found = decodeLock(out[0] ?? Buffer.alloc(32));
            s.same(found.type, conflict ? held : c.F_UNLCK, 'the type that F_GETLK tells');
            if (conflict) s.same([found.start, found.bytes], [start, bytes], 'the range that it tells');
            if (conflict) s.same(found.pid, get === c.F_OFD_GETLK ? -1 : s.alice.process.pid, 'the owner that it tells');
            await s.expect(s.bob.lock(b, set, theirs), conflict ? 'EAGAIN' : 'ok');
          });
        }
  };
}

const records = family('fcntl locks: how they end', (add) => {
  const write: ByteLock = { type: c.F_WRLCK };
  const free: ByteLock = { type: c.F_UNLCK };
  add('one process is never in its own way, by any descriptor', async (s) => {
    const [a = -1, b = -1] = await shared(s, [s.alice, s.alice]);
    await s.expect(s.alice.lock(a, c.F_SETLK, write), 0);
    await s.expect(s.alice.lock(b, c.F_SETLK, write), 0);
  });
  add('close of any descriptor of the file frees all of the process', async (s) => {
    const [a = -1, other = -1, b = -1] = await shared(s, [s.alice, s.alice, s.bob]);
    await s.expect(s.alice.lock(a, c.F_SETLK, write), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, write), 'EAGAIN');
    await s.expect(s.alice.close(other), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, write), 0);
  });
  add('F_SETLKW waits until it is free', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_SETLK, write), 0);
    const waiting = s.bob.lock(b, c.F_SETLKW, write);
    await waits(s, waiting);
    await s.expect(s.alice.lock(a, c.F_SETLK, free), 0);
    await s.expect(waiting, 0);
  });
  add('the end of a process frees its locks', async (s) => {
    const [a = -1, b = -1] = await shared(s, [second(s), s.bob]);
    await s.expect(second(s).lock(a, c.F_SETLK, write), 0);
    const waiting = s.bob.lock(b, c.F_SETLKW, write);
    await waits(s, waiting);
    await second(s).process.end();
    await s.expect(waiting, 0);
  });
  add('two that wait for each other: EDEADLK', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_WRLCK, start: 0, bytes: 1 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 1, bytes: 1 }), 0);
    const waiting = s.alice.lock(a, c.F_SETLKW, { type: c.F_WRLCK, start: 1, bytes: 1 });
    await waits(s, waiting);
    await s.expect(s.bob.lock(b, c.F_SETLKW, { type: c.F_WRLCK, start: 0, bytes: 1 }), 'EDEADLK');
    await s.expect(s.bob.lock(b, c.F_SETLK, free), 0);
    await s.expect(waiting, 0);
  });
  add('a part in the middle is freed, the rest stays', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_WRLCK, start: 0, bytes: 30 }), 0);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_UNLCK, start: 10, bytes: 10 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 10, bytes: 10 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 9, bytes: 1 }), 'EAGAIN');
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 20, bytes: 1 }), 'EAGAIN');
  });
  add('a write lock becomes a read lock, in part', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_WRLCK, start: 0, bytes: 30 }), 0);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_RDLCK, start: 10, bytes: 10 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_RDLCK, start: 10, bytes: 10 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_RDLCK, start: 0, bytes: 1 }), 'EAGAIN');
  });
  add('SEEK_END counts from the end, SEEK_CUR from the offset', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_SETLK, { type: c.F_WRLCK, whence: c.SEEK_END, start: -3, bytes: 2 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 6, bytes: 1 }), 0);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, start: 7, bytes: 1 }), 'EAGAIN');
    await s.expect(s.bob.lseek(b, 9, c.SEEK_SET), 9);
    await s.expect(s.bob.lock(b, c.F_SETLK, { type: c.F_WRLCK, whence: c.SEEK_CUR, start: 0, bytes: 1 }), 0);
  });
  for (const [about, lock, want] of [
    ['a negative start', { type: c.F_WRLCK, start: -1, bytes: 1 }, 'EINVAL'],
    ['an unknown type', { type: 9 }, 'EINVAL'],
    ['an unknown whence', { type: c.F_WRLCK, whence: 9 }, 'EINVAL'],
  ] as const)
    add(`${about}: ${want}`, async (s) => {
      const [a = -1] = await shared(s);
      await s.expect(s.alice.lock(a, c.F_SETLK, lock), want);
    });
});

const descriptions = family('locks of open file descriptions: how they end', (add) => {
  const write: ByteLock = { type: c.F_WRLCK };
  add('two descriptions of one process conflict', async (s) => {
    const [a = -1, b = -1] = await shared(s, [s.alice, s.alice]);
    await s.expect(s.alice.lock(a, c.F_OFD_SETLK, write), 0);
    await s.expect(s.alice.lock(b, c.F_OFD_SETLK, write), 'EAGAIN');
  });
  add('close of another descriptor frees nothing, of the last duplicate all', async (s) => {
    const [a = -1, other = -1, b = -1] = await shared(s, [s.alice, s.alice, s.bob]);
    await s.expect(s.alice.lock(a, c.F_OFD_SETLK, write), 0);
    const twin = await s.value(s.alice.dup(a));
    await s.expect(s.alice.close(other), 0);
    await s.expect(s.alice.close(a), 0);
    await s.expect(s.bob.lock(b, c.F_OFD_SETLK, write), 'EAGAIN');
    await s.expect(s.alice.close(twin), 0);
    await s.expect(s.bob.lock(b, c.F_OFD_SETLK, write), 0);
  });
  add('they conflict with those of processes', async (s) => {
    const [a = -1, b = -1] = await shared(s, [s.alice, s.alice]);
    await s.expect(s.alice.lock(a, c.F_OFD_SETLK, write), 0);
    await s.expect(s.alice.lock(b, c.F_SETLK, write), 'EAGAIN');
  });
  add('F_OFD_SETLKW waits until it is free', async (s) => {
    const [a = -1, b = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_OFD_SETLK, write), 0);
    const waiting = s.bob.lock(b, c.F_OFD_SETLKW, write);
    await waits(s, waiting);
    await s.expect(s.alice.close(a), 0);
    await s.expect(waiting, 0);
  });
  add('a pid that is not 0: EINVAL', async (s) => {
    const [a = -1] = await shared(s);
    await s.expect(s.alice.lock(a, c.F_OFD_SETLK, { type: c.F_WRLCK, pid: 5 }), 'EINVAL');
  });
});

const users = family('locks and users', (add) => {
  for (const who of [ROOT, ALICE, BOB])
    add(`an unlinked file keeps its locks, ${who.name}`, async (s) => {
      const [a = -1, b = -1] = await shared(s, [s.user(who), s.user(who, 2)]);
      await s.expect(s.root.unlink('f'), 0);
      await s.expect(s.user(who).lock(a, c.F_SETLK, { type: c.F_WRLCK }), 0);
      await s.expect(s.user(who, 2).lock(b, c.F_SETLK, { type: c.F_WRLCK }), 'EAGAIN');
    });
});

export const locks: readonly Family[] = [
  flocks,
  family('fcntl locks: ranges', ranges(c.F_SETLK, c.F_GETLK)),
  records,
  family('locks of open file descriptions: ranges', ranges(c.F_OFD_SETLK, c.F_OFD_GETLK)),
  descriptions,
  users,
];
