/**
 * What a case works with: a directory of its own on the target, and users whose working directory it is. Helpers state what must be, and throw a Mismatch where it
 * is not; one case states as much as it likes.
 */
import {
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from './constants.js';
import { ALICE, BOB, outcome, Process, ROOT, type Answer, type Who } from './process.js';
import { decodeEntries, decodeStat, User, type Entry, type Path, type Stat } from './user.js';

/** The target did something else than what was stated. */
export class Mismatch extends Error {}

/** A tick of the kernel's coarse clock and then some: what it shows as ctime of a file, and what the daemon wrote down, may be so far apart. */
const CTIME_SLACK_SECONDS = 0.05;
const CTIME = / c (-?\d+\.\d+)/;

/** The line of `tree` about a file, with the ctime of an earlier one where they differ by a tick at most: the kernel may have asked anew meanwhile. */
function withinTick(line: string, earlier: string | undefined): string {
  const ctime = (text: string): string => CTIME.exec(text)?.[1] ?? '';
  const old = ctime(earlier ?? '');
  return old !== '' && Math.abs(Number(old) - Number(ctime(line))) < CTIME_SLACK_SECONDS ? line.replace(CTIME, ` c ${old}`) : line;
}

/** Device numbers: /dev/null, and a block device that no driver serves. */
export const NULL_DEVICE = (1 << 8) | 3;
export const NO_DEVICE = (250 << 8) | 7;

/** The processes that act for users; one for each name, started when it is first needed. */
export class Processes {
  readonly #program: string;
  readonly #running = new Map<string, Process>();

  constructor(program: string) {
    this.#program = program;
  }

  /** The process `which` (a user may have several). */
  get(who: Who, which = 1): Process {
    const key = `${who.name} ${which}`;
    let process = this.#running.get(key);
    if (process?.alive !== true) {
      process = new Process(this.#program, who);
      this.#running.set(key, process);
    }
    return process;
  }

  get program(): string {
    return this.#program;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#running.values()].map((process) => process.end()));
    this.#running.clear();
  }
}

export class Sandbox {
  /** Absolute path of the case's directory: root's, mode 777. */
  readonly path: string;
  readonly #processes: Processes;
  readonly #users = new Map<string, User>();

  constructor(path: string, processes: Processes) {
    this.path = path;
    this.#processes = processes;
  }

  /** A user's process whose working directory is the case's. */
  user(who: Who, which = 1): User {
    const key = `${who.name} ${which}`;
    let user = this.#users.get(key);
    if (user === undefined) {
      user = new User(this.#processes.get(who, which));
      this.#users.set(key, user);
      void user.chdir(this.path).catch(() => undefined);
    }
    return user;
  }

  get root(): User {
    return this.user(ROOT);
  }

  get alice(): User {
    return this.user(ALICE);
  }

  get bob(): User {
    return this.user(BOB);
  }

  /** Path of the program that users are made of, for what must execute something. */
  get program(): string {
    return this.#processes.program;
  }

  /** Descriptors, masks and working directories of the processes are as at the start. */
  async leave(): Promise<void> {
    for (const user of this.#users.values()) {
      if (!user.process.alive) continue;
      void user.call('close_range', 'i3', 'i4294967295', 'i0').catch(() => undefined);
      void user.umask(0).catch(() => undefined);
      await user.chdir('/').catch(() => undefined);
    }
  }

  /** States the outcome: an errno's name, `ok`, or the value that the call returns. */
  async expect(call: Promise<Answer>, want: string | number, about = ''): Promise<Answer> {
    const answer = await call;
    const got = typeof want === 'number' && answer.error === undefined ? answer.value : outcome(answer);
    if (got !== want) throw new Mismatch(`${about === '' ? '' : `${about}: `}${answer.call}: got ${got}, want ${want}`);
    return answer;
  }

  /** What a call returns that must succeed. */
  async value(call: Promise<Answer>): Promise<number> {
    return (await this.expect(call, 'ok')).value;
  }

  /** The text in the only buffer of a call that must succeed. */
  async text(call: Promise<Answer>): Promise<string> {
    return (await this.expect(call, 'ok')).out[0]?.toString('latin1') ?? '';
  }

  /** The call fails with this errno, and nothing below the case's directory is another than before. */
  async refused(call: () => Promise<Answer>, errno: string, about = ''): Promise<void> {
    const before = this.describe();
    const answer = call();
    const after = this.describe();
    await this.expect(answer, errno, about);
    this.unchanged(await after, await before, `${about} nothing has changed after ${(await answer).call}`);
  }

  same(got: unknown, want: unknown, what: string): void {
    const text = (value: unknown): string =>
      JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? String(part) : part));
    if (text(got) !== text(want)) throw new Mismatch(`${what}: got ${text(got)}, want ${text(want)}`);
  }

  /** Two descriptions are the same. */
  unchanged(got: readonly string[], want: readonly string[], what: string): void {
    this.same(
      got.map((line, i) => withinTick(line, want[i])),
      want,
      what,
    );
  }

  true(condition: boolean, what: string): void {
    if (!condition) throw new Mismatch(what);
  }

  /** Everything below the case's directory, as root sees it: one line a file with all but the access time. */
  async describe(): Promise<string[]> {
    const { out } = await this.expect(this.root.tree('.'), 'ok');
    return (out[0]?.toString('latin1') ?? '').split('\n').slice(0, -1);
  }

  async stat(path: Path, user = this.root, flags = AT_SYMLINK_NOFOLLOW): Promise<Stat> {
    return decodeStat((await this.expect(user.statx(path, flags), 'ok')).out[0] ?? Buffer.alloc(0));
  }

  async fstat(fd: number, user: User): Promise<Stat> {
    return decodeStat((await this.expect(user.statx('', 0x1000, fd), 'ok')).out[0] ?? Buffer.alloc(0));
  }

  async mode(path: Path): Promise<string> {
    return ((await this.stat(path)).mode & ~S_IFMT).toString(8);
  }

  /** Is nothing there? */
  async gone(path: Path): Promise<void> {
    await this.expect(this.root.statx(path, AT_SYMLINK_NOFOLLOW), 'ENOENT');
  }

  /** A new file with this content. */
  async file(path: Path, content: string | Buffer = 'content', user = this.root, mode = 0o644): Promise<void> {
    const fd = await this.value(user.open(path, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (content.length > 0) await this.expect(user.write(fd, content), content.length);
    await this.expect(user.close(fd), 0);
  }

  async dir(path: Path, mode = 0o755, user = this.root): Promise<void> {
    await this.expect(user.mkdir(path, mode), 0);
    if ((mode & 0o7000) !== 0) await this.expect(user.chmod(path, mode), 0);
  }

  async content(path: Path, user = this.root): Promise<string> {
    const fd = await this.value(user.open(path, O_RDONLY));
    const { size } = await this.fstat(fd, user);
    const text = await this.text(user.pread(fd, size + 10, 0));
    await this.expect(user.close(fd), 0);
    return text;
  }

  /** Names and types below a directory, sorted, without the dots. */
  async list(path: Path, user = this.root): Promise<string[]> {
    const fd = await this.value(user.open(path, O_RDONLY | 0o200000));
    const found: Entry[] = [];
    for (;;) {
      const { out } = await this.expect(user.getdents(fd), 'ok');
      const entries = decodeEntries(out[0] ?? Buffer.alloc(0));
      if (entries.length === 0) break;
      found.push(...entries);
    }
    await this.expect(user.close(fd), 0);
    return found
      .map(({ name }) => name)
      .filter((name) => name !== '.' && name !== '..')
      .sort();
  }

  /** One of each kind of file, by the name of its kind, in the working directory or below `folder`; owned by `owner`. */
  async kind(kind: Kind, path: string, owner: Who = ROOT): Promise<void> {
    const { root } = this;
    const special: Partial<Record<Kind, [mode: number, rdev: number]>> = {
      fifo: [S_IFIFO, 0],
      socket: [S_IFSOCK, 0],
      'character device': [S_IFCHR, NULL_DEVICE],
      'block device': [S_IFBLK, NO_DEVICE],
    };
    const links: Partial<Record<Kind, string>> = {
      'link to a file': `${path}.file`,
      'link to a directory': `${path}.dir`,
      'dangling link': `${path}.nothing`,
      'link to itself': path,
    };
    const found = special[kind];
    const target = links[kind];
    const calls: Promise<Answer>[] = [];
    const regular = (at: string): void => {
      calls.push(root.mknod(at, S_IFREG | 0o644), root.truncate(at, 10), root.chown(at, owner.uid, owner.gid));
    };
    if (kind === 'file') regular(path);
    if (kind === 'directory') calls.push(root.mkdir(path, 0o755), root.chown(path, owner.uid, owner.gid));
    if (kind === 'link to a file') regular(`${path}.file`);
    if (kind === 'link to a directory') calls.push(root.mkdir(`${path}.dir`, 0o755), root.chown(`${path}.dir`, owner.uid, owner.gid));
    if (target !== undefined) {
      const base = target.slice(target.lastIndexOf('/') + 1);
      calls.push(root.symlink(base, path), root.chown(path, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW));
    }
    if (found !== undefined) calls.push(root.mknod(path, found[0] | 0o644, found[1]), root.chown(path, owner.uid, owner.gid));
    for (const call of calls) await this.expect(call, 0);
  }
}

export const KINDS = [
  'file',
  'directory',
  'link to a file',
  'link to a directory',
  'dangling link',
  'link to itself',
  'fifo',
  'socket',
  'character device',
  'block device',
] as const;
export type Kind = (typeof KINDS)[number];
