/** Who may do what: mode bits of the class that applies, and only those; sticky directories; what root may do without any of them. */
import * as c from '../constants.js';
import { ALICE, BOB, GUESTS, outcome, ROOT, STAFF, type Answer, type Who } from '../process.js';
import type { Sandbox } from '../sandbox.js';
import { family, type Add, type Family } from '../suite.js';
import type { User } from '../user.js';

/** A group of nobody here. */
const STRANGERS = 4999;

/** Which class of the mode applies to the caller, by owner and group of the file. */
interface Role {
  readonly name: string;
  readonly caller: Who;
  readonly owner: number;
  readonly group: number;
  readonly shift: number;
}

const ROLES: readonly Role[] = [
  { name: 'the owner', caller: ALICE, owner: ALICE.uid, group: STRANGERS, shift: 6 },
  { name: 'the owner who is in the group too', caller: ALICE, owner: ALICE.uid, group: STAFF, shift: 6 },
  { name: 'a member by the primary group', caller: BOB, owner: ALICE.uid, group: BOB.gid, shift: 3 },
  { name: 'a member by a supplementary group', caller: BOB, owner: ALICE.uid, group: GUESTS, shift: 3 },
  { name: 'any other user', caller: BOB, owner: ALICE.uid, group: STRANGERS, shift: 0 },
];

/** `bits` for the class that applies, the opposite for the others. */
function modeFor(bits: number, shift: number): number {
  return [6, 3, 0].reduce((mode, at) => mode | ((at === shift ? bits : 7 ^ bits) << at), 0);
}

const letters = (bits: number): string => `${(bits & 4) === 0 ? '-' : 'r'}${(bits & 2) === 0 ? '-' : 'w'}${(bits & 1) === 0 ? '-' : 'x'}`;

interface Use {
  readonly name: string;
  readonly needs: number;
  readonly use: (user: User) => Promise<Answer>;
  /** Outcome where it is permitted. */
  readonly permitted?: string;
}

const FILE_USES: readonly Use[] = [
  { name: 'open for reading', needs: 4, use: (u) => u.open('x', c.O_RDONLY) },
  { name: 'open for writing', needs: 2, use: (u) => u.open('x', c.O_WRONLY) },
  { name: 'open for both', needs: 6, use: (u) => u.open('x', c.O_RDWR) },
  { name: 'open with O_CREAT of what is there', needs: 2, use: (u) => u.open('x', c.O_WRONLY | c.O_CREAT, 0o600) },
  { name: 'truncate', needs: 2, use: (u) => u.truncate('x', 3) },
  { name: 'access', needs: 7, use: (u) => u.access('x', c.R_OK | c.W_OK | c.X_OK) },
  { name: 'execve', needs: 1, use: (u) => u.spawn('./x'), permitted: 'ENOEXEC' },
];

const DIRECTORY_USES: readonly Use[] = [
  { name: 'list it', needs: 4, use: (u) => u.open('x', c.O_RDONLY | c.O_DIRECTORY) },
  { name: 'enter it', needs: 1, use: (u) => u.chdir('x') },
  { name: 'stat what is in it', needs: 1, use: (u) => u.statx('x/f') },
  { name: 'make a file in it', needs: 3, use: (u) => u.open('x/new', c.O_WRONLY | c.O_CREAT, 0o600) },
  { name: 'make a directory in it', needs: 3, use: (u) => u.mkdir('x/new') },
  { name: 'remove a file from it', needs: 3, use: (u) => u.unlink('x/f') },
  { name: 'remove a directory from it', needs: 3, use: (u) => u.rmdir('x/d') },
  { name: 'rename within it', needs: 3, use: (u) => u.rename('x/f', 'x/g') },
  { name: 'rename out of it', needs: 3, use: (u) => u.rename('x/f', 'g') },
  { name: 'rename into it', needs: 3, use: (u) => u.rename('y', 'x/y') },
  { name: 'make a symbolic link in it', needs: 3, use: (u) => u.symlink('t', 'x/l') },
  { name: 'make a file without a name in it', needs: 3, use: (u) => u.open('x', c.O_RDWR | c.O_TMPFILE, 0o600) },
];

function byMode(add: Add, uses: readonly Use[], make: (s: Sandbox, mode: number, role: Role) => Promise<void>): void {
  for (const role of ROLES)
    for (let bits = 0; bits < 8; bits++)
      for (const { name, needs, use, permitted = 'ok' } of uses) {
        const want = (bits & needs) === needs ? permitted : 'EACCES';
        add(`${name} with ${letters(bits)}, ${role.name}: ${want}`, async (s) => {
          await make(s, modeFor(bits, role.shift), role);
          await s.expect(use(s.user(role.caller)), want);
        });
      }
}

async function makeFile(s: Sandbox, mode: number, { owner, group }: Pick<Role, 'owner' | 'group'>): Promise<void> {
  await s.file('x', 'not a program');
  await s.expect(s.root.chown('x', owner, group), 0);
  await s.expect(s.root.chmod('x', mode), 0);
}

async function makeDirectory(s: Sandbox, mode: number, { owner, group, caller }: Pick<Role, 'owner' | 'group' | 'caller'>): Promise<void> {
  await s.dir('x');
  await s.file('y');
  await s.file('x/f');
  await s.dir('x/d');
  for (const path of ['y', 'x/f', 'x/d']) await s.expect(s.root.chown(path, caller.uid, caller.gid), 0);
  await s.expect(s.root.chown('x', owner, group), 0);
  await s.expect(s.root.chmod('x', mode), 0);
}

interface StickyUse {
  readonly name: string;
  readonly use: (user: User) => Promise<Answer>;
}

const STICKY_USES: readonly StickyUse[] = [
  { name: 'unlink', use: (u) => u.unlink('x/f') },
  { name: 'rmdir', use: (u) => u.rmdir('x/d') },
  { name: 'rename of', use: (u) => u.rename('x/f', 'x/g') },
  { name: 'rename away of', use: (u) => u.rename('x/f', 'g') },
  { name: 'rename over', use: (u) => u.rename('mine', 'x/f') },
  { name: 'exchange with', use: (u) => u.rename('mine', 'x/f', c.RENAME_EXCHANGE) },
];

export const permissions: readonly Family[] = [
  family('permission bits of a file', (add) => {
    byMode(add, FILE_USES, makeFile);
    for (const mode of [0o000, 0o400, 0o010, 0o001])
      for (const { name, use, needs } of FILE_USES) {
        const executes = (needs & 1) !== 0;
        const permitted = !executes || (mode & 0o111) !== 0;
        const want = permitted ? (name === 'execve' ? 'ENOEXEC' : 'ok') : 'EACCES';
        add(`${name} with mode ${mode.toString(8)} by root: ${want}`, async (s) => {
          await makeFile(s, mode, { owner: ALICE.uid, group: STRANGERS });
          await s.expect(use(s.root), want);
        });
      }
  }),
  family('permission bits of a directory', (add) => {
    byMode(add, DIRECTORY_USES, makeDirectory);
    for (const { name, use } of DIRECTORY_USES)
      add(`${name} with mode 0 by root: ok`, async (s) => {
        await makeDirectory(s, 0, { owner: ALICE.uid, group: STRANGERS, caller: ROOT });
        await s.expect(use(s.root), 'ok');
      });
  }),
  family('sticky directories', (add) => {
    for (const owner of [ROOT, ALICE])
      for (const fileOwner of [ROOT, ALICE, BOB])
        for (const caller of [ROOT, ALICE, BOB])
          for (const { name, use } of STICKY_USES) {
            const may = caller === ROOT || caller === owner || caller === fileOwner;
            const want = may ? 'ok' : 'EPERM';
            add(`${name} ${fileOwner.name}'s in ${owner.name}'s by ${caller.name}: ${want}`, async (s) => {
              await s.dir('x', 0o1777);
              await s.file('x/f');
              await s.dir('x/d');
              await s.file('mine');
              for (const path of ['x/f', 'x/d']) await s.expect(s.root.chown(path, fileOwner.uid, fileOwner.gid), 0);
              await s.expect(s.root.chown('mine', caller.uid, caller.gid), 0);
              await s.expect(s.root.chown('x', owner.uid, owner.gid), 0);
              if (may) await s.expect(use(s.user(caller)), 'ok');
              else await s.refused(() => use(s.user(caller)), want);
            });
          }
    add('the sticky bit of the directory that is moved to counts, too', async (s) => {
      await s.dir('from', 0o777);
      await s.dir('to', 0o1777);
      await s.file('from/f', 'f', s.bob);
      await s.file('to/f', 'f', s.alice);
      await s.refused(() => s.bob.rename('from/f', 'to/f'), 'EPERM');
    });
    add('another user makes files in a sticky directory, and removes them', async (s) => {
      await s.dir('x', 0o1777);
      await s.file('x/f', 'f', s.bob);
      await s.expect(s.bob.unlink('x/f'), 0);
    });
  }),
  family('moving a directory needs writing to it', (add) => {
    for (const [mode, want] of [
      [0o755, 'EACCES'],
      [0o757, 'ok'],
    ] as const) {
      add(`to another parent, mode ${mode.toString(8)}, not its owner: ${want}`, async (s) => {
        await s.dir('a', 0o777);
        await s.dir('b', 0o777);
        await s.expect(s.root.mkdir('a/d', mode), 0);
        await s.expect(s.bob.rename('a/d', 'b/d'), want);
      });
      add(`within its parent, mode ${mode.toString(8)}, not its owner: ok`, async (s) => {
        await s.dir('a', 0o777);
        await s.expect(s.root.mkdir('a/d', mode), 0);
        await s.expect(s.bob.rename('a/d', 'a/e'), 'ok');
      });
    }
  }),
  family('rights at the time of open', (add) => {
    add('a descriptor keeps its rights when the mode goes', async (s) => {
      await s.file('f', 'content', s.alice, 0o644);
      const fd = await s.value(s.bob.open('f', c.O_RDONLY));
      await s.expect(s.alice.chmod('f', 0), 0);
      s.same(await s.text(s.bob.read(fd, 10)), 'content', 'what is read');
      await s.expect(s.bob.open('f', c.O_RDONLY), 'EACCES');
    });
    add('a file may be made for writing with a mode that forbids it', async (s) => {
      const fd = await s.value(s.alice.open('f', c.O_RDWR | c.O_CREAT, 0o000));
      await s.expect(s.alice.write(fd, 'text'), 4);
      s.same(await s.text(s.alice.pread(fd, 10, 0)), 'text', 'what is read');
      await s.expect(s.alice.open('f', c.O_RDONLY), 'EACCES');
    });
    add('a working directory stays when its mode goes', async (s) => {
      await s.dir('d', 0o755);
      await s.expect(s.bob.chdir('d'), 0);
      await s.expect(s.root.chmod('d', 0o700), 0);
      await s.expect(s.bob.open('.', c.O_RDONLY), 'EACCES');
      s.same(outcome(await s.bob.chdir('..')), 'EACCES', 'the way out needs search');
    });
    add('O_NOATIME is for the owner: EPERM', async (s) => {
      await s.file('f', 'content', s.alice, 0o666);
      await s.expect(s.root.chmod('f', 0o666), 0);
      await s.expect(s.bob.open('f', c.O_RDONLY | c.O_NOATIME), 'EPERM');
      await s.expect(s.alice.open('f', c.O_RDONLY | c.O_NOATIME), 'ok');
      await s.expect(s.root.open('f', c.O_RDONLY | c.O_NOATIME), 'ok');
    });
  }),
];
