/** Extended attributes: namespaces, flags, sizes, rights. */
import * as c from '../constants.js';
import { ALICE, BOB, outcome, ROOT } from '../process.js';
import type { Kind, Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import type { User } from '../user.js';

export async function listed(s: Sandbox, path: string, user: User = s.root): Promise<string[]> {
  return (await s.text(user.listxattr(path))).split('\0').slice(0, -1).sort();
}

/** By kind of file, namespace and user (the owner, root, and one with reading only): setting it. */
const SETTING: readonly (readonly [kind: Kind, name: string, owner: string, root: string, other: string])[] = [
  ['file', 'user.a', 'ok', 'ok', 'EACCES'],
  ['directory', 'user.a', 'ok', 'ok', 'EACCES'],
  ['fifo', 'user.a', 'EPERM', 'EPERM', 'EPERM'],
  ['socket', 'user.a', 'EPERM', 'EPERM', 'EPERM'],
  ['character device', 'user.a', 'EPERM', 'EPERM', 'EPERM'],
  ['dangling link', 'user.a', 'EPERM', 'EPERM', 'EPERM'],
  ['file', 'trusted.a', 'EPERM', 'ok', 'EPERM'],
  ['directory', 'trusted.a', 'EPERM', 'ok', 'EPERM'],
  ['fifo', 'trusted.a', 'EPERM', 'ok', 'EPERM'],
  ['dangling link', 'trusted.a', 'EPERM', 'ok', 'EPERM'],
  ['file', 'security.a', 'EPERM', 'ok', 'EPERM'],
  ['directory', 'security.a', 'EPERM', 'ok', 'EPERM'],
  ['dangling link', 'security.a', 'EPERM', 'ok', 'EPERM'],
  ['file', 'system.a', 'EOPNOTSUPP', 'EOPNOTSUPP', 'EOPNOTSUPP'],
  ['file', 'unknown.a', 'EOPNOTSUPP', 'EOPNOTSUPP', 'EACCES'],
  ['file', 'user.', 'EINVAL', 'EINVAL', 'EACCES'],
  ['file', 'nothing', 'EOPNOTSUPP', 'EOPNOTSUPP', 'EACCES'],
];

const namespaces = family('setxattr: kinds, namespaces, users', (add) => {
  for (const [kind, name, owner, root, other] of SETTING)
    for (const [who, want] of [
      [ALICE, owner],
      [ROOT, root],
      [BOB, other],
    ] as const) {
      add(`${name} on a ${kind} by ${who.name}: ${want}`, async (s) => {
        await s.kind(kind, 'x', ALICE);
        const set = () => s.user(who).setxattr('x', name, 'value', 0, 'lsetxattr');
        if (want !== 'ok') {
          await s.refused(set, want);
          return;
        }
        await s.expect(set(), 0);
        s.same(await s.text(s.root.getxattr('x', name, 100, 'lgetxattr')), 'value', 'the value');
        await s.expect(s.user(who).removexattr('x', name, 'lremovexattr'), 0);
        await s.expect(s.root.getxattr('x', name, 100, 'lgetxattr'), 'ENODATA');
      });
    }
  for (const [who, mode, get, set] of [
    [ALICE, 0o600, 'ok', 'ok'],
    [ALICE, 0o000, 'EACCES', 'EACCES'],
    [ALICE, 0o200, 'EACCES', 'ok'],
    [ALICE, 0o400, 'ok', 'EACCES'],
    [BOB, 0o600, 'EACCES', 'EACCES'],
    [BOB, 0o604, 'ok', 'EACCES'],
    [BOB, 0o606, 'ok', 'ok'],
    [BOB, 0o602, 'EACCES', 'ok'],
    [ROOT, 0o000, 'ok', 'ok'],
  ] as const)
    add(`user.* needs reading and writing as the content does: ${who.name}, mode ${mode.toString(8)}`, async (s) => {
      await s.file('f', 'x', s.alice);
      await s.expect(s.root.setxattr('f', 'user.a', 'old'), 0);
      await s.expect(s.root.chmod('f', mode), 0);
      await s.expect(s.user(who).getxattr('f', 'user.a', 10), get === 'ok' ? 3 : get);
      await s.expect(s.user(who).setxattr('f', 'user.a', 'new'), set);
      await s.expect(s.user(who).removexattr('f', 'user.a'), set);
      s.same(outcome(await s.user(who).listxattr('f')), 'ok', 'listing needs no right');
    });
  add('trusted.* is read and listed by root alone', async (s) => {
    await s.file('f', 'x', s.alice);
    await s.expect(s.root.setxattr('f', 'trusted.a', 'secret'), 0);
    await s.expect(s.alice.setxattr('f', 'user.a', 'open'), 0);
    await s.expect(s.alice.getxattr('f', 'trusted.a'), 'ENODATA');
    s.same([await listed(s, 'f', s.alice), await listed(s, 'f')], [['user.a'], ['trusted.a', 'user.a']], 'both listings');
  });
  add('user.* in a sticky directory of somebody else: EPERM', async (s) => {
    await s.dir('d', 0o1777);
    await s.refused(() => s.alice.setxattr('d', 'user.a', 'value'), 'EPERM');
  });
});

const values = family('extended attributes: values and limits', (add) => {
  for (const size of [0, 1, 100, 255, 4000, 4096, 10_000, 65_535, 65_536])
    add(`a value of ${size} bytes`, async (s) => {
      await s.file('f');
      const value = Buffer.alloc(size, 'v');
      await s.expect(s.root.setxattr('f', 'user.a', value), 0);
      await s.expect(s.root.getxattr('f', 'user.a', 0), size);
      s.same((await s.text(s.root.getxattr('f', 'user.a'))).length, size, 'bytes that come back');
      await s.expect(s.root.setxattr('f', 'user.a', 'short'), 0);
      s.same(await s.text(s.root.getxattr('f', 'user.a')), 'short', 'the value that replaces it');
    });
  add('a value of 65,537 bytes: E2BIG', async (s) => {
    await s.file('f');
    await s.refused(() => s.root.setxattr('f', 'user.a', Buffer.alloc(65_537)), 'E2BIG');
  });
  add('a value of every byte', async (s) => {
    await s.file('f');
    const value = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await s.expect(s.root.setxattr('f', 'user.a', value), 0);
    s.same(await s.text(s.root.getxattr('f', 'user.a')), value.toString('latin1'), 'the value');
  });
  for (const room of [1, 4])
    add(`getxattr into ${room} bytes: ERANGE`, async (s) => {
      await s.file('f');
      await s.expect(s.root.setxattr('f', 'user.a', 'value'), 0);
      await s.refused(() => s.root.getxattr('f', 'user.a', room), 'ERANGE');
    });
  add('listxattr into too few bytes: ERANGE; of none: how many', async (s) => {
    await s.file('f');
    await s.expect(s.root.setxattr('f', 'user.a', 'value'), 0);
    await s.refused(() => s.root.listxattr('f', 3), 'ERANGE');
    await s.expect(s.root.listxattr('f', 0), 'user.a'.length + 1);
  });
  add('a name of 255 bytes', async (s) => {
    await s.file('f');
    const name = `user.${'n'.repeat(250)}`;
    await s.expect(s.root.setxattr('f', name, 'value'), 0);
    s.same([await listed(s, 'f'), await s.text(s.root.getxattr('f', name))], [[name], 'value'], 'name and value');
  });
  for (const [about, name] of [
    ['a name of 256 bytes', `user.${'n'.repeat(251)}`],
    ['an empty name', ''],
  ] as const)
    add(`${about}: ERANGE`, async (s) => {
      await s.file('f');
      await s.refused(() => s.root.setxattr('f', name, 'value'), 'ERANGE');
    });
  add('a name of bytes that are no UTF-8', async (s) => {
    await s.file('f');
    await s.expect(s.root.setxattr('f', 'user.\xff\xfe', 'value'), 0);
    s.same(await listed(s, 'f'), ['user.\xff\xfe'], 'the names');
  });
  for (const [about, exists, flags, want] of [
    ['XATTR_CREATE of a new one', false, c.XATTR_CREATE, 'ok'],
    ['XATTR_CREATE of what is there', true, c.XATTR_CREATE, 'EEXIST'],
    ['XATTR_REPLACE of a new one', false, c.XATTR_REPLACE, 'ENODATA'],
    ['XATTR_REPLACE of what is there', true, c.XATTR_REPLACE, 'ok'],
    ['unknown flags', false, 4, 'EINVAL'],
  ] as const)
    add(`${about}: ${want}`, async (s) => {
      await s.file('f');
      if (exists) await s.expect(s.root.setxattr('f', 'user.a', 'old'), 0);
      const set = () => s.root.setxattr('f', 'user.a', 'new', flags);
      if (want !== 'ok') {
        await s.refused(set, want);
        if (exists) s.same(await s.text(s.root.getxattr('f', 'user.a')), 'old', 'the value');
        return;
      }
      await s.expect(set(), 0);
      s.same(await s.text(s.root.getxattr('f', 'user.a')), 'new', 'the value');
    });
  add('removexattr of what is not there: ENODATA', async (s) => {
    await s.file('f');
    await s.refused(() => s.root.removexattr('f', 'user.a'), 'ENODATA');
  });
  add('many attributes, some removed again', async (s) => {
    await s.file('f');
    for (let i = 0; i < 50; i++) await s.expect(s.root.setxattr('f', `user.${i}`, `value ${i}`), 0);
    for (let i = 0; i < 50; i += 2) await s.expect(s.root.removexattr('f', `user.${i}`), 0);
    s.same(await listed(s, 'f'), Array.from({ length: 25 }, (_, i) => `user.${2 * i + 1}`).sort(), 'the names');
    s.same(await s.text(s.root.getxattr('f', 'user.7')), 'value 7', 'a value');
  });
  add('they go along with a rename, a link and an open file without a name', async (s) => {
    await s.file('f');
    await s.expect(s.root.setxattr('f', 'user.a', 'value'), 0);
    await s.expect(s.root.link('f', 'g'), 0);
    await s.expect(s.root.rename('f', 'h'), 0);
    s.same(
      [await s.text(s.root.getxattr('g', 'user.a')), await s.text(s.root.getxattr('h', 'user.a'))],
      ['value', 'value'],
      'by both names',
    );
    const fd = await s.value(s.root.open('h', c.O_RDWR));
    for (const name of ['g', 'h']) await s.expect(s.root.unlink(name), 0);
    s.same(await s.text(s.root.call('fgetxattr', `i${fd}`, 'suser.a', 'r10', 'i10')), 'value', 'without a name');
    await s.expect(s.root.call('fsetxattr', `i${fd}`, 'suser.b', 'h62', 'i1', 'i0'), 0);
    s.same(await s.text(s.root.call('flistxattr', `i${fd}`, 'r100', 'i100')), 'user.a\0user.b\0', 'the names');
  });
  add('what is new has none', async (s) => {
    await s.file('f');
    await s.dir('d');
    await s.expect(s.root.symlink('t', 'l'), 0);
    for (const path of ['f', 'd', 'l']) await s.expect(s.root.listxattr(path, 100, 'llistxattr'), 0);
  });
  add('security.capability goes with a write', async (s) => {
    await s.file('f', 'program', s.root, 0o755);
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    await s.expect(s.root.setxattr('f', 'security.capability', capability), 0);
    await s.expect(s.root.getxattr('f', 'security.capability', 100), 20);
    const fd = await s.value(s.root.open('f', c.O_WRONLY));
    await s.expect(s.root.write(fd, 'x'), 1);
    await s.expect(s.root.getxattr('f', 'security.capability', 100), 'ENODATA');
  });
  add('security.capability goes with a change of owner', async (s) => {
    await s.file('f', 'program', s.root, 0o755);
    await s.expect(s.root.setxattr('f', 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex')), 0);
    await s.expect(s.root.chown('f', ALICE.uid, ALICE.gid), 0);
    await s.expect(s.root.getxattr('f', 'security.capability', 100), 'ENODATA');
  });
});

export const attributes: readonly Family[] = [namespaces, values];
