/** What each operation of libfuse does with the namespace: names, attributes, listings. `file-operations.ts` has open files, `attribute-operations.ts` extended attributes. */
import { OperatingError } from '../../base/errors.js';
import { FUSE_REQUESTS_MAX, SYMLINK_BYTES_MAX } from '../../base/limits.js';
import type { AttributeChange, Caller, DirectoryEntry, Ino, Namespace } from '../../namespace/namespace.js';
import type { Describe } from '../fuse/virtual-attributes.js';
import type { OpenFiles } from './open-files.js';
import type { Paths } from './paths.js';
import { entryNumbers, faithful, statfsNumbers, statNumbers, textOf, timeOf } from './values.js';

export interface Context {
  readonly namespace: Namespace;
  /** Everybody: the package does not tell who calls. */
  readonly caller: Caller;
  readonly paths: Paths;
  readonly files: OpenFiles;
  readonly describe: Describe | undefined;
  /** Not only this process's user. */
  readonly othersEnter: boolean;
}

const PLAIN = { noReplace: false, exchange: false };
const PERMISSIONS = 0o7777;
const SET_ID = 0o6000;
/** chown(2): as it is. */
const UNCHANGED = 2 ** 32 - 1;

/** Of a new file: it belongs to this process's user, whoever wrote it, and must not run as that user. */
export function madeMode({ othersEnter }: Context, mode: number): number {
  return othersEnter ? mode & ~SET_ID : mode;
}

/** Operations on attributes of an inode at a path. */
export class AttributeOperations {
  constructor(readonly context: Context) {}

  async getattr(path: string): Promise<Uint32Array> {
    const { namespace, paths } = this.context;
    return statNumbers(await namespace.getattr(await paths.ino(path)));
  }

  async #change(path: string, change: AttributeChange): Promise<void> {
    const { namespace, paths, caller } = this.context;
    await namespace.setattr(await paths.ino(path), change, caller);
  }

  chmod(path: string, mode: number): Promise<void> {
    return this.#change(path, { mode: mode & PERMISSIONS });
  }

  chown(path: string, uid: number, gid: number): Promise<void> {
    return this.#change(path, { ...(uid !== UNCHANGED && { uid }), ...(gid !== UNCHANGED && { gid }) });
  }

  /** To the length that it has, too, moves the time. */
  truncate(path: string, size: number): Promise<void> {
    return this.#change(path, { size, mtime: 'now' });
  }

  utimens(path: string, atimeMs: bigint, mtimeMs: bigint): Promise<void> {
    return this.#change(path, { atime: timeOf(atimeMs), mtime: timeOf(mtimeMs) });
  }

  async readlink(path: string): Promise<string> {
    const { namespace, paths } = this.context;
    return textOf(await namespace.readlink(await paths.ino(path)));
  }

  /** Of the quota that the path is below, if there is one. */
  async statfs(path: string): Promise<Uint32Array> {
    const { namespace, paths } = this.context;
    return statfsNumbers(await namespace.statfs(await paths.ino(path)));
  }
}

/** Operations on names. */
export class NameOperations {
  constructor(readonly context: Context) {}

  async mknod(path: string, mode: number, rdev: number): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const place = await paths.newPlace(path);
    paths.made(place, (await namespace.mknod(place.parent, place.name, madeMode(this.context, mode), rdev, caller)).ino);
  }

  async mkdir(path: string, mode: number): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const place = await paths.newPlace(path);
    paths.made(place, (await namespace.mkdir(place.parent, place.name, mode, caller)).ino);
  }

  async symlink(target: string, path: string): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const bytes = Buffer.from(faithful(target), 'utf8');
    if (bytes.length > SYMLINK_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `link target of ${bytes.length} bytes`);
    const place = await paths.newPlace(path);
    paths.made(place, (await namespace.symlink(place.parent, place.name, bytes, caller)).ino);
  }

  async link(from: string, to: string): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const place = await paths.newPlace(to);
    paths.made(place, (await namespace.link(await paths.ino(from), place.parent, place.name, caller)).ino);
  }

  async unlink(path: string): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const place = await paths.place(path);
    paths.changed(place);
    await namespace.unlink(place.parent, place.name, caller);
  }

  async rmdir(path: string): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const place = await paths.place(path);
    paths.changed(place);
    await namespace.rmdir(place.parent, place.name, caller);
  }

  async rename(from: string, to: string): Promise<void> {
    const { namespace, paths, files, caller } = this.context;
    const [source, target] = [await paths.place(from), await paths.newPlace(to)];
    if (paths.hides(source, target) && files.isOpen(await paths.ino(from))) {
      await paths.hide(source, target);
      return;
    }
    paths.changed(source, target);
    await namespace.rename(source.parent, source.name, target.parent, target.name, PLAIN, caller);
    paths.changed(source, target);
  }

  /** All names of a folder at once, as the package has it, with type and inode of each. */
  async readdir(path: string): Promise<readonly [names: string[], numbers: Uint32Array[]]> {
    const ino = await this.context.paths.ino(path);
    const names: string[] = [];
    const numbers: Uint32Array[] = [];
    for await (const entry of this.#entries(ino)) {
      names.push(textOf(entry.name));
      numbers.push(entryNumbers(entry.ino, entry.type));
    }
    return [names, numbers];
  }

  /** In steps, so that a large folder does not keep others waiting. */
  async *#entries(ino: Ino): AsyncGenerator<DirectoryEntry> {
    const { namespace } = this.context;
    for (let offset = 0; ;) {
      const some: DirectoryEntry[] = [];
      await namespace.readdir(ino, offset, false, (entry) => some.length < FUSE_REQUESTS_MAX && some.push(entry) > 0);
      yield* some;
      const last = some.at(-1);
      if (last === undefined) return;
      offset = last.nextOffset;
    }
  }

  async fsyncdir(path: string): Promise<void> {
    const { namespace, paths } = this.context;
    await namespace.fsyncdir(await paths.ino(path));
  }
}
