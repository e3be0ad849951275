/** EROFS: what a read-only mount refuses, to everybody, and what it still does. */
import * as c from '../constants.js';
import { ALICE, outcome, ROOT, type Answer } from '../process.js';
import { KINDS, type Sandbox } from '../sandbox.js';
import { family } from '../suite.js';
import type { User } from '../user.js';
import { OTHER, PATH_CALLS } from './calls.js';

/** Before the mount becomes read-only: one of each kind, alice's. */
export async function prepareReadOnly(s: Sandbox): Promise<void> {
  for (const kind of KINDS) await s.kind(kind, kind.replaceAll(' ', '-'), ALICE);
  await s.kind('file', 'x', ALICE);
  await s.kind('file', OTHER, ALICE);
  await s.dir('empty');
  await s.expect(s.root.setxattr('x', 'user.there', 'value'), 0);
  await s.expect(s.root.chmod('x', 0o755), 0);
  for (const path of ['empty', '.']) await s.expect(s.root.chown(path, ALICE.uid, ALICE.gid), 0);
}

const REFUSED: readonly (readonly [name: string, call: (u: User, s: Sandbox) => Promise<Answer>])[] = [
  ['open O_WRONLY', (u) => u.open('x', c.O_WRONLY)],
  ['open O_RDWR', (u) => u.open('x', c.O_RDWR)],
  ['open O_TRUNC', (u) => u.open('x', c.O_RDONLY | c.O_TRUNC)],
  ['open O_CREAT of a new name', (u) => u.open('y', c.O_WRONLY | c.O_CREAT, 0o644)],
  ['access W_OK', (u) => u.access('x', c.W_OK)],
  ['rmdir', (u) => u.rmdir('empty')],
  ['removexattr', (u) => u.removexattr('x', 'user.there')],
  ['rename RENAME_EXCHANGE', (u) => u.rename('x', OTHER, c.RENAME_EXCHANGE)],
  ['fchmod', async (u, s) => u.fchmod(await s.value(u.open('x', c.O_RDONLY)), 0o600)],
  ['fchown', async (u, s) => u.fchown(await s.value(u.open('x', c.O_RDONLY)), -1, ALICE.gid)],
  ['futimens', async (u, s) => u.utimens('', undefined, c.AT_EMPTY_PATH, await s.value(u.open('x', c.O_RDONLY)))],
  ['fsetxattr', async (u, s) => u.call('fsetxattr', `i${await s.value(u.open('x', c.O_RDONLY))}`, 'suser.a', 'h61', 'i1', 'i0')],
];

export const readOnly = family('a read-only mount', (add) => {
  for (const who of [ROOT, ALICE]) {
    for (const { name, call, changes, last, short } of PATH_CALLS) {
      if (!changes || short === true || name === 'rmdir' || name === 'removexattr' || name === 'lremovexattr') continue;
      if (who === ALICE && name.includes('another owner')) continue;
      const path = name === 'open O_TMPFILE' ? '.' : last === 'there' ? 'x' : 'new';
      add(`${name} by ${who.name}: EROFS`, async (s) => {
        await s.refused(() => call(s.user(who), path), 'EROFS');
      });
    }
    for (const [name, call] of REFUSED)
      add(`${name} by ${who.name} is refused: EROFS`, async (s) => {
        const before = await s.describe();
        s.same(outcome(await call(s.user(who), s)), 'EROFS', 'the call');
        s.unchanged(await s.describe(), before, 'everything');
      });
  }
  for (const kind of KINDS)
    add(`what is there is seen: a ${kind}`, async (s) => {
      const { uid } = await s.stat(kind.replaceAll(' ', '-'));
      s.same(uid, ALICE.uid, 'its owner');
    });
  add('mkdir of what is there: EEXIST', async (s) => {
    await s.refused(() => s.root.mkdir('x'), 'EEXIST');
  });
  add('open O_CREAT of what is there, for reading', async (s) => {
    await s.expect(s.alice.open('x', c.O_RDONLY | c.O_CREAT, 0o644), 'ok');
  });
  add('reading, listing, attributes, locks and mappings work', async (s) => {
    s.same(await s.content('x'), '\0'.repeat(10), 'the content');
    s.true((await s.list('.')).length >= KINDS.length, 'the listing');
    s.same(await s.text(s.root.getxattr('x', 'user.there')), 'value', 'the attribute');
    const fd = await s.value(s.root.open('x', c.O_RDONLY));
    await s.expect(s.root.flock(fd, c.LOCK_EX | c.LOCK_NB), 0);
    await s.expect(s.root.lock(fd, c.F_SETLK, { type: c.F_RDLCK }), 0);
    const address = await s.value(s.root.mmap(fd, 4096, c.PROT_READ, c.MAP_SHARED));
    s.same(await s.text(s.root.peek(address, 2)), '\0\0', 'memory');
    await s.expect(s.root.fsync(fd), 0);
  });
  add('a fifo is written to, since that changes nothing', async (s) => {
    const reader = await s.value(s.alice.open('fifo', c.O_RDONLY | c.O_NONBLOCK));
    const writer = await s.value(s.alice.open('fifo', c.O_WRONLY | c.O_NONBLOCK));
    await s.expect(s.alice.write(writer, 'text'), 4);
    s.same(await s.text(s.alice.read(reader, 9)), 'text', 'what is read');
  });
  add('statfs says that it is read-only', async (s) => {
    const { out } = await s.expect(s.root.statfs('.'), 0);
    s.same(Number(out[0]?.readBigInt64LE(80) ?? 0n) & 1, 1, 'the flag ST_RDONLY');
  });
});
