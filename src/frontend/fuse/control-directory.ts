/**
 * `/.ostraka`: a directory of small files that the daemon makes, as far as itself goes. A file's content is made when it is opened, and stays so for that handle;
 * the kernel caches nothing of it (direct I/O) and is told a size of 0, as of files in /proc. Only root and who mounted may look, nobody may change anything.
 * `ControlNamespace` puts it at the root of a mount. Its inodes and handles are numbers that no pool gives out.
 */
import type { Time } from '../../base/clock.js';
import { OperatingError, type ErrnoName } from '../../base/errors.js';
import { CONTROL_HANDLES_MAX } from '../../base/limits.js';
import type { Attributes, DirectoryEntry, Handle, Ino } from '../../namespace/namespace.js';

/** A file of the directory. */
export interface ControlFile {
  readonly name: string;
  /** Must not go through the mount itself. */
  content(): Promise<string>;
}

/** The directory's own number; its files follow. */
export const CONTROL_INO = 2 ** 52;
const ROOT_INO = 1;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const ACCESS_MODE = 3;
const O_TRUNC = 0o1000;

/** Is it the directory, or in it? */
export function isControlInode(ino: Ino): boolean {
  return ino >= CONTROL_INO;
}

function refuse(code: ErrnoName, message: string): never {
  throw new OperatingError(code, message);
}

/** @throws OperatingError ENOTDIR */
function checkDirectory(ino: Ino): void {
  if (ino !== CONTROL_INO) refuse('ENOTDIR', `inode ${ino} is not a directory`);
}

/** Every change of it. @throws OperatingError EPERM */
export function refuseChange(): never {
  refuse('EPERM', 'what the file system shows of itself cannot be changed');
}

export class ControlDirectory {
  readonly #files: readonly ControlFile[];
  readonly #owner: number;
  readonly #since: Time;
  /** Contents of open files. */
  readonly #open = new Map<Handle, Buffer>();
  #lastHandle = CONTROL_INO;

  /** @param since its times, for good */
  constructor(files: readonly ControlFile[], since: Time, owner = process.geteuid?.() ?? 0) {
    this.#files = files;
    this.#since = since;
    this.#owner = owner;
  }

  #file(ino: Ino): ControlFile {
    return this.#files[ino - CONTROL_INO - 1] ?? refuse('ESTALE', `inode ${ino} is gone`);
  }

  attributes(ino: Ino): Attributes {
    const isDirectory = ino === CONTROL_INO;
    if (!isDirectory) this.#file(ino);
    const since = this.#since;
    return {
      ino,
      mode: isDirectory ? S_IFDIR | 0o500 : S_IFREG | 0o400,
      links: isDirectory ? 2 : 1,
      uid: this.#owner,
      gid: 0,
      rdev: 0,
      size: 0,
      blocks: 0,
      atime: since,
      mtime: since,
      ctime: since,
      btime: since,
    };
  }

  /** Undefined: there is no such name. @throws OperatingError ENOTDIR */
  lookup(parent: Ino, name: string): Attributes | undefined {
    checkDirectory(parent);
    if (name === '.') return this.attributes(CONTROL_INO);
    const at = this.#files.findIndex((file) => file.name === name);
    return at < 0 ? undefined : this.attributes(CONTROL_INO + 1 + at);
  }

  /** @throws OperatingError EACCES, EISDIR, ESTALE, EMFILE; what kept the content from being made */
  async open(ino: Ino, flags: number): Promise<Handle> {
    if (ino === CONTROL_INO) refuse('EISDIR', 'is a directory');
    if ((flags & ACCESS_MODE) !== 0 || (flags & O_TRUNC) !== 0) refuse('EACCES', 'it can only be read');
    if (this.#open.size >= CONTROL_HANDLES_MAX) refuse('EMFILE', `${CONTROL_HANDLES_MAX} of these are open`);
    const content = Buffer.from(await this.#file(ino).content());
    this.#open.set(++this.#lastHandle, content);
    return this.#lastHandle;
  }

  /** @throws OperatingError EBADF */
  content(handle: Handle): Buffer {
    return this.#open.get(handle) ?? refuse('EBADF', `handle ${handle} is not open`);
  }

  close(handle: Handle): void {
    this.#open.delete(handle);
  }

  /** @throws OperatingError ENXIO */
  seek(handle: Handle, offset: number, whence: 'data' | 'hole'): number {
    const { length } = this.content(handle);
    if (offset >= length) refuse('ENXIO', `offset ${offset} is behind the end`);
    return whence === 'data' ? offset : length;
  }

  /** Entries behind `offset`, as long as there is room. @throws OperatingError ENOTDIR */
  list(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): void {
    checkDirectory(ino);
    const named: readonly (readonly [string, Ino])[] = [
      ['.', CONTROL_INO],
      ['..', ROOT_INO],
      ...this.#files.map(({ name }, at) => [name, CONTROL_INO + 1 + at] as const),
    ];
    for (const [at, [name, listed]] of named.entries()) {
      if (at < offset) continue;
      const isFile = listed > CONTROL_INO;
      const attributes = plus && isFile ? this.attributes(listed) : undefined;
      if (!room({ ino: listed, name, type: isFile ? S_IFREG : S_IFDIR, nextOffset: at + 1, attributes })) return;
    }
  }
}
