/** POSIX ACLs: who may by them, what is inherited, the mode that goes along. */
import * as c from '../constants.js';
import { ALICE, BOB, GUESTS, STAFF, type Who } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Family } from '../suite.js';
import type { User } from '../user.js';
import { listed } from './attributes.js';

const [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER] = [1, 2, 4, 8, 16, 32] as const;
type AclEntry = readonly [tag: number, permissions: number, id?: number];
const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';

function acl(...entries: readonly AclEntry[]): Buffer {
  const buffer = Buffer.alloc(4 + entries.length * 8);
  buffer.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, id = 0xffffffff]] of entries.entries()) {
    buffer.writeUInt16LE(tag, 4 + i * 8);
    buffer.writeUInt16LE(permissions, 6 + i * 8);
    buffer.writeUInt32LE(id, 8 + i * 8);
  }
  return buffer;
}

async function aclOf(s: Sandbox, path: string, name = ACCESS): Promise<AclEntry[]> {
  const value = (await s.expect(s.root.getxattr(path, name), 'ok')).out[0] ?? Buffer.alloc(0);
  const entries: AclEntry[] = [];
  for (let at = 4; at < value.length; at += 8) {
    const id = value.readUInt32LE(at + 4);
    entries.push([value.readUInt16LE(at), value.readUInt16LE(at + 2), ...(id === 0xffffffff ? [] : [id])] as unknown as AclEntry);
  }
  return entries;
}

/** A file of root's, group 4999, with an ACL; what it lets a user open. */
const ENFORCED: readonly (readonly [about: string, who: Who, entries: readonly AclEntry[], reads: boolean, writes: boolean])[] = [
  [
    'a named user',
    ALICE,
    [
      [USER_OBJ, 6],
      [USER, 6, ALICE.uid],
      [GROUP_OBJ, 0],
      [MASK, 7],
      [OTHER, 0],
    ],
    true,
    true,
  ],
  [
    'a named user, masked',
    ALICE,
    [
      [USER_OBJ, 6],
      [USER, 6, ALICE.uid],
      [GROUP_OBJ, 0],
      [MASK, 4],
      [OTHER, 0],
    ],
    true,
    false,
  ],
  [
    'a named user without rights, where others have them',
    ALICE,
    [
      [USER_OBJ, 6],
      [USER, 0, ALICE.uid],
      [GROUP_OBJ, 6],
      [MASK, 7],
      [OTHER, 6],
    ],
    false,
    false,
  ],
  [
    'somebody who is not named',
    BOB,
    [
      [USER_OBJ, 6],
      [USER, 6, ALICE.uid],
      [GROUP_OBJ, 0],
      [MASK, 7],
      [OTHER, 0],
    ],
    false,
    false,
  ],
  [
    'a named group, by a supplementary group',
    BOB,
    [
      [USER_OBJ, 6],
      [GROUP_OBJ, 0],
      [GROUP, 4, GUESTS],
      [MASK, 7],
      [OTHER, 0],
    ],
    true,
    false,
  ],
  [
    'a named group that one is not in',
    ALICE,
    [
      [USER_OBJ, 6],
      [GROUP_OBJ, 0],
      [GROUP, 4, GUESTS],
      [MASK, 7],
      [OTHER, 0],
    ],
    false,
    false,
  ],
  [
    'two named groups, either of which may',
    BOB,
    [
      [USER_OBJ, 6],
      [GROUP_OBJ, 0],
      [GROUP, 4, STAFF],
      [GROUP, 2, GUESTS],
      [MASK, 7],
      [OTHER, 0],
    ],
    true,
    true,
  ],
  [
    'a named group without rights, where others have them',
    BOB,
    [
      [USER_OBJ, 6],
      [GROUP_OBJ, 0],
      [GROUP, 0, STAFF],
      [MASK, 7],
      [OTHER, 6],
    ],
    false,
    false,
  ],
  [
    'others',
    BOB,
    [
      [USER_OBJ, 6],
      [USER, 0, ALICE.uid],
      [GROUP_OBJ, 0],
      [MASK, 0],
      [OTHER, 4],
    ],
    true,
    false,
  ],
];

const enforced = family('ACLs: who may', (add) => {
  for (const [about, who, entries, mayRead, mayWrite] of ENFORCED) {
    add(`${about}: ${mayRead ? 'reads' : 'does not read'}, ${mayWrite ? 'writes' : 'does not write'}`, async (s) => {
      await s.file('f');
      await s.expect(s.root.chown('f', 0, 4999), 0);
      await s.expect(s.root.setxattr('f', ACCESS, acl(...entries)), 0);
      await s.expect(s.user(who).open('f', c.O_RDONLY), mayRead ? 'ok' : 'EACCES');
      await s.expect(s.user(who).open('f', c.O_WRONLY), mayWrite ? 'ok' : 'EACCES');
      await s.expect(s.user(who).access('f', c.R_OK), mayRead ? 'ok' : 'EACCES');
      s.same(await aclOf(s, 'f'), entries, 'the ACL');
      const groupBits = entries.find(([tag]) => tag === MASK)?.[1] ?? 0;
      const mode =
        ((entries.find(([tag]) => tag === USER_OBJ)?.[1] ?? 0) << 6) |
        (groupBits << 3) |
        (entries.find(([tag]) => tag === OTHER)?.[1] ?? 0);
      s.same(await s.mode('f'), mode.toString(8), 'the mode');
    });
    add(`${about}: the same for making names in a directory`, async (s) => {
      await s.dir('d');
      await s.expect(s.root.chown('d', 0, 4999), 0);
      const withSearch = entries.map(
        ([tag, permissions, ...id]) => [tag, permissions === 0 && tag !== MASK ? 0 : permissions | 1, ...id] as unknown as AclEntry,
      );
      await s.expect(s.root.setxattr('d', ACCESS, acl(...withSearch)), 0);
      await s.expect(s.user(who).mkdir('d/x'), mayWrite ? 'ok' : 'EACCES');
      await s.expect(s.user(who).open('d', c.O_RDONLY), mayRead ? 'ok' : 'EACCES');
    });
  }
  add('the owner changes it, others do not: EPERM', async (s) => {
    await s.file('f', 'x', s.alice, 0o666);
    const value = acl([USER_OBJ, 6], [USER, 4, BOB.uid], [GROUP_OBJ, 0], [MASK, 4], [OTHER, 0]);
    await s.refused(() => s.bob.setxattr('f', ACCESS, value), 'EPERM');
    await s.expect(s.alice.setxattr('f', ACCESS, value), 0);
    await s.refused(() => s.bob.removexattr('f', ACCESS), 'EPERM');
    await s.expect(s.alice.removexattr('f', ACCESS), 0);
  });
});

const inherited = family('ACLs: modes, defaults, mistakes', (add) => {
  const named = acl([USER_OBJ, 6], [USER, 6, ALICE.uid], [GROUP_OBJ, 4], [MASK, 6], [OTHER, 0]);
  for (const [mode, want] of [
    [
      0o600,
      [
        [USER_OBJ, 6],
        [USER, 6, ALICE.uid],
        [GROUP_OBJ, 4],
        [MASK, 0],
        [OTHER, 0],
      ],
    ],
    [
      0o741,
      [
        [USER_OBJ, 7],
        [USER, 6, ALICE.uid],
        [GROUP_OBJ, 4],
        [MASK, 4],
        [OTHER, 1],
      ],
    ],
    [
      0o777,
      [
        [USER_OBJ, 7],
        [USER, 6, ALICE.uid],
        [GROUP_OBJ, 4],
        [MASK, 7],
        [OTHER, 7],
      ],
    ],
  ] as const)
    add(`chmod ${mode.toString(8)} changes owner, mask and others`, async (s) => {
      await s.file('f');
      await s.expect(s.root.setxattr('f', ACCESS, named), 0);
      await s.expect(s.root.chmod('f', mode), 0);
      s.same([await aclOf(s, 'f'), await s.mode('f')], [want, mode.toString(8)], 'ACL and mode');
    });
  add('an ACL that says what a mode can say becomes the mode, and leaves no attribute', async (s) => {
    await s.file('f');
    await s.expect(s.root.setxattr('f', ACCESS, acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 1])), 0);
    s.same(await s.mode('f'), '751', 'the mode');
    await s.expect(s.root.getxattr('f', ACCESS), 'ENODATA');
    s.same(await listed(s, 'f'), [], 'the names');
  });
  const defaults = acl([USER_OBJ, 7], [USER, 7, BOB.uid], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 0]);
  for (const [about, mode, want, make] of [
    ['a file of 666', 0o660, 6, (u: User) => u.open('d/x', c.O_WRONLY | c.O_CREAT, 0o666)],
    ['a file of 640', 0o640, 4, (u: User) => u.open('d/x', c.O_WRONLY | c.O_CREAT, 0o640)],
    ['a directory of 777', 0o770, 7, (u: User) => u.mkdir('d/x', 0o777)],
    ['a fifo of 600', 0o600, 0, (u: User) => u.mknod('d/x', c.S_IFIFO | 0o600)],
  ] as const)
    add(`a default ACL gives ${about} its rights, whatever the umask`, async (s) => {
      await s.dir('d', 0o777);
      await s.expect(s.root.chmod('d', 0o777), 0);
      await s.expect(s.root.setxattr('d', DEFAULT, defaults), 0);
      await s.expect(s.alice.umask(0o077), 0);
      await s.expect(make(s.alice), 'ok');
      s.same(await s.mode('d/x'), mode.toString(8), 'the mode');
      s.same(
        await aclOf(s, 'd/x'),
        [
          [USER_OBJ, mode >> 6],
          [USER, 7, BOB.uid],
          [GROUP_OBJ, 5],
          [MASK, want],
          [OTHER, 0],
        ],
        'the ACL',
      );
      const isDir = ((await s.stat('d/x')).mode & c.S_IFMT) === c.S_IFDIR;
      if (isDir) s.same(await aclOf(s, 'd/x', DEFAULT), await aclOf(s, 'd', DEFAULT), 'the default ACL');
      else await s.expect(s.root.getxattr('d/x', DEFAULT), 'ENODATA');
    });
  add('a symbolic link inherits nothing', async (s) => {
    await s.dir('d', 0o777);
    await s.expect(s.root.setxattr('d', DEFAULT, defaults), 0);
    await s.expect(s.root.symlink('t', 'd/l'), 0);
    s.same(await s.mode('d/l'), '777', 'the mode');
    await s.expect(s.root.listxattr('d/l', 100, 'llistxattr'), 0);
  });
  add('O_TMPFILE inherits', async (s) => {
    await s.dir('d', 0o777);
    await s.expect(s.root.setxattr('d', DEFAULT, defaults), 0);
    const fd = await s.value(s.root.open('d', c.O_RDWR | c.O_TMPFILE, 0o660));
    s.same((await s.fstat(fd, s.root)).mode & 0o7777, 0o660, 'the mode');
    await s.expect(s.root.call('fgetxattr', `i${fd}`, `s${ACCESS}`, 'r100', 'i100'), 44);
  });
  add('removing the default ACL: what is made then heeds the umask', async (s) => {
    await s.dir('d', 0o777);
    await s.expect(s.root.setxattr('d', DEFAULT, defaults), 0);
    await s.expect(s.root.removexattr('d', DEFAULT), 0);
    await s.expect(s.root.umask(0o027), 0);
    await s.file('d/f', 'x', s.root, 0o666);
    s.same(await s.mode('d/f'), '640', 'the mode');
  });
  for (const [about, name, value, want] of [
    ['without an entry for others', ACCESS, acl([USER_OBJ, 7], [GROUP_OBJ, 5]), 'EINVAL'],
    ['a named user without a mask', ACCESS, acl([USER_OBJ, 7], [USER, 7, 5], [GROUP_OBJ, 5], [OTHER, 1]), 'EINVAL'],
    ['two owners', ACCESS, acl([USER_OBJ, 7], [USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 1]), 'EINVAL'],
    ['in another order', ACCESS, acl([GROUP_OBJ, 5], [USER_OBJ, 7], [OTHER, 1]), 'EINVAL'],
    ['rights above rwx', ACCESS, acl([USER_OBJ, 8], [GROUP_OBJ, 5], [OTHER, 1]), 'EINVAL'],
    ['an unknown tag', ACCESS, acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 1], [64, 1]), 'EINVAL'],
    ['another version', ACCESS, Buffer.from('03000000', 'hex'), 'EOPNOTSUPP'],
    ['half an entry', ACCESS, Buffer.from('020000000100', 'hex'), 'EINVAL'],
    ['the default of a file', DEFAULT, acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 1]), 'EACCES'],
  ] as const)
    add(`${about}: ${want}`, async (s) => {
      await s.file('f');
      await s.refused(() => s.root.setxattr('f', name, value), want);
    });
  for (const [about, name, group, want] of [
    ['an ACL of one outside the group takes the set-group-id bit away', ACCESS, GUESTS, '770'],
    ['an ACL of one in the group leaves the set-group-id bit', ACCESS, STAFF, '2770'],
    ['a default ACL of one outside the group leaves the set-group-id bit', DEFAULT, GUESTS, '2775'],
  ] as const)
    add(about, async (s) => {
      await s.dir('d', 0o775);
      await s.expect(s.root.chown('d', ALICE.uid, group), 0);
      await s.expect(s.root.chmod('d', 0o2775), 0);
      await s.expect(s.alice.setxattr('d', name, defaults), 0);
      s.same(await s.mode('d'), want, 'the mode');
    });
  add('of a symbolic link: EOPNOTSUPP', async (s) => {
    await s.expect(s.root.symlink('t', 'l'), 0);
    await s.refused(() => s.root.setxattr('l', ACCESS, named, 0, 'lsetxattr'), 'EOPNOTSUPP');
  });
});

export const acls: readonly Family[] = [enforced, inherited];
