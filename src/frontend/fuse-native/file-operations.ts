/** Operations on open files, and on extended attributes. */
import { OperatingError } from '../../base/errors.js';
import { isVirtual, refuseVirtual, virtualValue } from '../fuse/virtual-attributes.js';
import { madeMode, type Context } from './operations.js';
import { faithful, statNumbers } from './values.js';

const O_RDWR = 2;
const O_CREAT = 0o100;

export class FileOperations {
  constructor(readonly context: Context) {}

  async open(path: string, flags: number): Promise<number> {
    const { namespace, paths, files, caller } = this.context;
    const ino = await paths.ino(path);
    return files.add({ ino, handle: await namespace.open(ino, flags, caller) });
  }

  /** The package keeps the flags to itself. The kernel asks only for what is not there, and minds what the caller may do with the descriptor. */
  async create(path: string, mode: number): Promise<number> {
    const { namespace, paths, files, caller } = this.context;
    const place = await paths.newPlace(path);
    const { attributes, handle } = await namespace.create(place.parent, place.name, madeMode(this.context, mode), O_RDWR | O_CREAT, caller);
    paths.made(place, attributes.ino);
    return files.add({ ino: attributes.ino, handle });
  }

  async fgetattr(number: number): Promise<Uint32Array> {
    const { namespace, files } = this.context;
    return statNumbers(await namespace.getattr(files.get(number).ino));
  }

  async ftruncate(number: number, size: number): Promise<void> {
    const { namespace, files, caller } = this.context;
    const { ino, handle } = files.get(number);
    await namespace.setattr(ino, { size, mtime: 'now' }, caller, handle);
  }

  /** Into `room`, which is libfuse's memory. Resolves with the bytes read. */
  async read(number: number, room: Buffer, offset: number): Promise<number> {
    const { namespace, files } = this.context;
    const { ino, handle } = files.get(number);
    const content = await namespace.read(ino, handle, offset, room.length);
    try {
      let at = 0;
      for (const piece of content.pieces) {
        room.set(piece, at);
        at += piece.length;
      }
      return at;
    } finally {
      content.release();
    }
  }

  async write(number: number, data: Buffer, offset: number): Promise<number> {
    const { namespace, files, caller } = this.context;
    const { ino, handle } = files.get(number);
    return namespace.write(ino, handle, offset, data, caller);
  }

  async flush(number: number): Promise<void> {
    const { namespace, files } = this.context;
    const { ino, handle } = files.get(number);
    await namespace.flush(ino, handle);
  }

  async fsync(number: number, dataOnly: boolean): Promise<void> {
    const { namespace, files } = this.context;
    const { ino, handle } = files.get(number);
    await namespace.fsync(ino, handle, dataOnly);
  }

  async release(number: number): Promise<void> {
    const { namespace, files, paths } = this.context;
    const { ino, handle } = files.take(number);
    if (!files.isOpen(ino)) paths.closed(ino);
    await namespace.release(ino, handle);
  }
}

/** The kernel does not heed ACLs here, so there are none: as on a file system that was mounted with `noacl`. */
function isAcl(name: string): boolean {
  return name.startsWith('system.posix_acl_');
}

/** `room` of a caller who only asks for the length is empty. @throws OperatingError ERANGE */
function fill(room: Buffer, value: Buffer): number {
  if (room.length > 0 && value.copy(room) < value.length)
    throw new OperatingError('ERANGE', `${value.length} bytes where ${room.length} fit`);
  return value.length;
}

export class XattrOperations {
  constructor(readonly context: Context) {}

  #own(text: string): string {
    const name = Buffer.from(text, 'utf8').toString('latin1');
    if (isAcl(name)) throw new OperatingError('ENOTSUP', 'the binding fuse-native has no ACLs');
    return name;
  }

  async setxattr(path: string, text: string, value: Buffer, flags: number): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const name = this.#own(faithful(text));
    refuseVirtual(name);
    // libfuse's memory, until the answer.
    await namespace.setxattr(await paths.ino(path), name, Buffer.from(value), flags, caller);
  }

  async getxattr(path: string, text: string, room: Buffer): Promise<number> {
    const { namespace, paths, describe } = this.context;
    const name = this.#own(text);
    const ino = await paths.ino(path);
    const value = await (isVirtual(name) ? virtualValue(describe, ino, name) : namespace.getxattr(ino, name));
    if (value === undefined) throw new OperatingError('ENODATA', 'no such attribute');
    return fill(room, value);
  }

  async listxattr(path: string, room: Buffer): Promise<number> {
    const { namespace, paths, caller, othersEnter } = this.context;
    const names = await namespace.listxattr(await paths.ino(path));
    // For the superuser's eyes, and who calls is not known.
    const trustedHidden = othersEnter || caller.uid !== 0;
    const hidden = (name: string): boolean => isVirtual(name) || isAcl(name) || (trustedHidden && name.startsWith('trusted.'));
    const shown = names.filter((name) => !hidden(name)).map((name) => `${name}\0`);
    return fill(room, Buffer.from(shown.join(''), 'latin1'));
  }

  async removexattr(path: string, text: string): Promise<void> {
    const { namespace, paths, caller } = this.context;
    const name = this.#own(text);
    refuseVirtual(name);
    await namespace.removexattr(await paths.ino(path), name, caller);
  }
}
