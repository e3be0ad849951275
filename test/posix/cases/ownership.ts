/** chmod, chown, umask, set-gid directories, and the set-id bits that go when a file changes. */
import * as c from '../constants.js';
import { ALICE, BOB, GUESTS, ROOT, STAFF, type Answer, type Who } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Add, type Family } from '../suite.js';
import type { User } from '../user.js';

const STRANGERS = 4999;
const MODES = [0, 0o1, 0o20, 0o444, 0o644, 0o755, 0o777, 0o1777, 0o4755, 0o6711, 0o7777] as const;

/** Changes to a file that take its set-id bits away when somebody without privileges makes them. */
const TAKING: readonly {
  readonly name: string;
  readonly change: (s: Sandbox, user: User) => Promise<Answer>;
  readonly rootKeeps: boolean;
}[] = [
  { name: 'write', rootKeeps: true, change: (s, u) => withFile(s, u, (fd) => u.write(fd, 'x')) },
  { name: 'pwrite', rootKeeps: true, change: (s, u) => withFile(s, u, (fd) => u.pwrite(fd, 'x', 5)) },
  { name: 'writev', rootKeeps: true, change: (s, u) => withFile(s, u, (fd) => u.call('writev', `i${fd}`, 'v61,62', 'i2')) },
  { name: 'truncate', rootKeeps: true, change: (_s, u) => u.truncate('f', 3) },
  { name: 'ftruncate', rootKeeps: true, change: (s, u) => withFile(s, u, (fd) => u.ftruncate(fd, 3)) },
  { name: 'open O_TRUNC', rootKeeps: true, change: (_s, u) => u.open('f', c.O_WRONLY | c.O_TRUNC) },
  { name: 'fallocate', rootKeeps: true, change: (s, u) => withFile(s, u, (fd) => u.fallocate(fd, 0, 0, 100)) },
  { name: 'chown to the same owner', rootKeeps: false, change: (_s, u) => u.chown('f', ALICE.uid, -1) },
  { name: 'chown to a group of one’s own', rootKeeps: false, change: (_s, u) => u.chown('f', -1, STAFF) },
];

async function withFile(s: Sandbox, user: User, use: (fd: number) => Promise<Answer>): Promise<Answer> {
  return use(await s.value(user.open('f', c.O_WRONLY)));
}

function setIds(add: Add): void {
  const rows = [
    [0o6755, 0o755],
    [0o4755, 0o755],
    [0o2755, 0o755],
    [0o4711, 0o711],
    // Without execution by the group, set-gid means something else, and stays.
    [0o6744, 0o2744],
    [0o1755, 0o1755],
  ] as const;
  for (const { name, change, rootKeeps } of TAKING)
    for (const [before, after] of rows)
      for (const who of [ALICE, ROOT]) {
        const want = who === ROOT && rootKeeps ? before : after;
        add(`${name} by ${who.name}: ${before.toString(8)} becomes ${want.toString(8)}`, async (s) => {
          await s.file('f', 'content', s.alice);
          await s.expect(s.root.chown('f', ALICE.uid, STAFF), 0);
          await s.expect(s.alice.chmod('f', before), 0);
          s.same(await s.mode('f'), before.toString(8), 'the mode at first');
          await s.expect(change(s, s.user(who)), 'ok');
          s.same(await s.mode('f'), want.toString(8), 'the mode');
        });
      }
}

interface Owning {
  readonly who: Who;
  readonly uid: number;
  readonly gid: number;
  readonly want: string;
  readonly about: string;
}

/** Of a file that is alice's and STAFF's. */
const CHOWNS: readonly Owning[] = [
  { who: ROOT, uid: BOB.uid, gid: GUESTS, want: 'ok', about: 'root gives it to anybody' },
  { who: ROOT, uid: -1, gid: GUESTS, want: 'ok', about: 'root changes the group alone' },
  { who: ROOT, uid: 0, gid: 0, want: 'ok', about: 'root takes it' },
  { who: ALICE, uid: BOB.uid, gid: -1, want: 'EPERM', about: 'an owner cannot give it away' },
  { who: ALICE, uid: ALICE.uid, gid: -1, want: 'ok', about: 'an owner may keep it' },
  { who: ALICE, uid: -1, gid: ALICE.gid, want: 'ok', about: 'an owner may choose the primary group' },
  { who: ALICE, uid: -1, gid: STAFF, want: 'ok', about: 'an owner may choose a supplementary group' },
  { who: ALICE, uid: -1, gid: GUESTS, want: 'EPERM', about: 'an owner cannot choose a group of others' },
  { who: ALICE, uid: ALICE.uid, gid: ALICE.gid, want: 'ok', about: 'an owner may name both' },
  { who: ALICE, uid: -1, gid: -1, want: 'ok', about: 'an owner may change nothing' },
  { who: BOB, uid: BOB.uid, gid: -1, want: 'EPERM', about: 'nobody else takes it' },
  { who: BOB, uid: -1, gid: STAFF, want: 'EPERM', about: 'nobody else sets its group, the same one even' },
];

export const ownership: readonly Family[] = [
  family('chmod', (add) => {
    for (const mode of MODES)
      for (const kind of ['file', 'directory', 'fifo', 'socket', 'character device'] as const)
        add(`${mode.toString(8)} of a ${kind} is what stat says, and its type stays`, async (s) => {
          await s.kind(kind, 'x');
          const before = await s.stat('x');
          await s.expect(s.root.chmod('x', mode), 0);
          const after = await s.stat('x');
          s.same(after.mode, (before.mode & c.S_IFMT) | mode, 'the mode');
          s.same([after.ino, after.links, after.uid, after.mtime], [before.ino, before.links, before.uid, before.mtime], 'all else');
        });
    for (const mode of MODES)
      add(`fchmod ${mode.toString(8)} on a descriptor that may only read`, async (s) => {
        await s.file('f', 'content', s.alice);
        const fd = await s.value(s.alice.open('f', c.O_RDONLY));
        await s.expect(s.alice.fchmod(fd, mode & ~c.S_IFMT), 0);
        s.same((await s.fstat(fd, s.alice)).mode & 0o7777, mode, 'the mode');
      });
    for (const [who, want] of [
      [ALICE, 'ok'],
      [ROOT, 'ok'],
      [BOB, 'EPERM'],
    ] as const)
      add(`fchmod by ${who.name} of alice's file: ${want}`, async (s) => {
        await s.file('f', 'content', s.alice);
        const fd = await s.value(s.user(who).open('f', c.O_RDONLY));
        await s.expect(s.user(who).fchmod(fd, 0o600), want);
      });
    for (const [group, mode, want] of [
      [STAFF, 0o2755, 0o2755],
      [STRANGERS, 0o2755, 0o755],
      [STRANGERS, 0o2744, 0o744],
      [ALICE.gid, 0o6711, 0o6711],
    ] as const)
      add(`set-gid ${mode.toString(8)} by the owner, group ${group}: ${want.toString(8)}`, async (s) => {
        await s.file('f', 'content', s.alice);
        await s.expect(s.root.chown('f', ALICE.uid, group), 0);
        await s.expect(s.alice.chmod('f', mode), 0);
        s.same(await s.mode('f'), want.toString(8), 'the mode');
      });
  }),
  family('chown', (add) => {
    for (const { who, uid, gid, want, about } of CHOWNS)
      for (const way of ['chown', 'fchown', 'lchown of a link'] as const)
        add(`${way} to ${uid}:${gid}: ${about}: ${want}`, async (s) => {
          await s.file('f', 'content', s.alice);
          await s.expect(s.root.symlink('f', 'l'), 0);
          for (const path of ['f', 'l']) await s.expect(s.root.chown(path, ALICE.uid, STAFF, c.AT_SYMLINK_NOFOLLOW), 0);
          const user = s.user(who);
          const fd = await s.value(user.open('f', c.O_RDONLY));
          const call = (): Promise<Answer> =>
            way === 'chown'
              ? user.chown('l', uid, gid)
              : way === 'fchown'
                ? user.fchown(fd, uid, gid)
                : user.chown('l', uid, gid, c.AT_SYMLINK_NOFOLLOW);
          if (want !== 'ok') {
            await s.refused(call, want);
            return;
          }
          await s.expect(call(), 0);
          const [changed, other] = way === 'lchown of a link' ? ['l', 'f'] : ['f', 'l'];
          const after = await s.stat(changed);
          s.same([after.uid, after.gid], [uid === -1 ? ALICE.uid : uid, gid === -1 ? STAFF : gid], 'owner and group');
          const untouched = await s.stat(other);
          s.same([untouched.uid, untouched.gid], [ALICE.uid, STAFF], 'owner and group of the other one');
        });
    add('a directory keeps its set-gid bit', async (s) => {
      await s.dir('d', 0o2775);
      await s.expect(s.root.chown('d', ALICE.uid, GUESTS), 0);
      s.same(await s.mode('d'), '2775', 'the mode');
    });
    add('large ids', async (s) => {
      await s.file('f');
      await s.expect(s.root.chown('f', 4_000_000_000, 4_294_967_290), 0);
      const { uid, gid } = await s.stat('f');
      s.same([uid, gid], [4_000_000_000, 4_294_967_290], 'owner and group');
    });
  }),
  family('set-id bits', setIds),
  family('umask', (add) => {
    for (const mask of [0o000, 0o022, 0o027, 0o077, 0o777, 0o133])
      for (const [name, asked, make] of [
        ['open', 0o666, (u: User) => u.open('x', c.O_WRONLY | c.O_CREAT, 0o666)],
        ['open with set-id', 0o6777, (u: User) => u.open('x', c.O_WRONLY | c.O_CREAT, 0o6777)],
        ['mkdir', 0o777, (u: User) => u.mkdir('x', 0o777)],
        ['mkdir with the sticky bit', 0o1777, (u: User) => u.mkdir('x', 0o1777)],
        ['mknod of a fifo', 0o644, (u: User) => u.mknod('x', c.S_IFIFO | 0o644)],
        ['mknod of a file', 0o777, (u: User) => u.mknod('x', c.S_IFREG | 0o777)],
      ] as const)
        add(`${name} with umask ${mask.toString(8)}`, async (s) => {
          await s.expect(s.alice.umask(mask), 0);
          await s.expect(make(s.alice), 'ok');
          s.same(await s.mode('x'), (asked & ~mask).toString(8), 'the mode');
        });
    add('a symbolic link has mode 777 whatever the umask', async (s) => {
      await s.expect(s.alice.umask(0o077), 0);
      await s.expect(s.alice.symlink('t', 'x'), 0);
      s.same(await s.mode('x'), '777', 'the mode');
    });
    add('O_TMPFILE heeds it', async (s) => {
      await s.expect(s.alice.umask(0o027), 0);
      const fd = await s.value(s.alice.open('.', c.O_RDWR | c.O_TMPFILE, 0o666));
      s.same((await s.fstat(fd, s.alice)).mode & 0o7777, 0o640, 'the mode');
    });
  }),
  family('owner and group of what is made', (add) => {
    const makers = [
      ['a file', (u: User) => u.open('d/x', c.O_WRONLY | c.O_CREAT, 0o644), false],
      ['a directory', (u: User) => u.mkdir('d/x', 0o755), true],
      ['a fifo', (u: User) => u.mknod('d/x', c.S_IFIFO | 0o644), false],
      ['a socket', (u: User) => u.mknod('d/x', c.S_IFSOCK | 0o644), false],
      ['a symbolic link', (u: User) => u.symlink('t', 'd/x'), false],
    ] as const;
    for (const [name, make, isDirectory] of makers)
      for (const who of [ROOT, ALICE, BOB])
        for (const setGid of [false, true])
          add(`${name} by ${who.name} in a directory ${setGid ? 'with' : 'without'} set-gid`, async (s) => {
            await s.dir('d', setGid ? 0o2777 : 0o777);
            await s.expect(s.root.chown('d', ROOT.uid, STRANGERS), 0);
            await s.expect(make(s.user(who)), 'ok');
            const { uid, gid, mode } = await s.stat('d/x');
            s.same([uid, gid], [who.uid, setGid ? STRANGERS : who.gid], 'owner and group');
            s.same((mode & 0o2000) !== 0, isDirectory && setGid, 'set-gid');
          });
    add('O_TMPFILE in a set-gid directory', async (s) => {
      await s.dir('d', 0o2777);
      await s.expect(s.root.chown('d', ROOT.uid, STRANGERS), 0);
      const fd = await s.value(s.alice.open('d', c.O_RDWR | c.O_TMPFILE, 0o644));
      const { uid, gid } = await s.fstat(fd, s.alice);
      s.same([uid, gid], [ALICE.uid, STRANGERS], 'owner and group');
    });
    add('set-gid is taken from a program that a stranger makes in a set-gid directory', async (s) => {
      await s.dir('d', 0o2777);
      await s.expect(s.root.chown('d', ROOT.uid, STRANGERS), 0);
      await s.expect(s.alice.open('d/x', c.O_WRONLY | c.O_CREAT, 0o2775), 'ok');
      s.same(await s.mode('d/x'), '775', 'the mode');
    });
    add('and from one of a group of others', async (s) => {
      await s.file('f', 'x', s.alice, 0o755);
      await s.expect(s.root.chown('f', ALICE.uid, STRANGERS), 0);
      await s.expect(s.root.chmod('f', 0o2755), 0);
      await s.expect(s.alice.chmod('f', 0o2711), 0);
      s.same(await s.mode('f'), '711', 'the mode');
    });
  }),
];
