/**
 * A namespace with `/.ostraka` in it: found by name, never listed, so that find, rsync, tar and du do not see it. What a pool has by that name already comes
 * first, and can be moved away; nothing new gets the name. All else goes to the namespace below, without another promise on the way.
 */
import type { Awaitable } from '../../base/awaitable.js';
import { OperatingError } from '../../base/errors.js';
import type {
  AllocateMode,
  AttributeChange,
  Attributes,
  Caller,
  DirectoryEntry,
  FileSystemStatus,
  Handle,
  Ino,
  Namespace,
  OpenPlace,
  RenameFlags,
} from '../../namespace/namespace.js';
import { CONTROL_INO, isControlInode, refuseChange, type ControlDirectory } from './control-directory.js';

export const CONTROL_NAME = '.ostraka';
const ROOT_INO = 1;

function isControlName(parent: Ino, name: string): boolean {
  return parent === ROOT_INO && name === CONTROL_NAME;
}

export class ControlNamespace implements Namespace {
  readonly #below: Namespace;
  readonly #control: ControlDirectory;

  constructor(below: Namespace, control: ControlDirectory) {
    this.#below = below;
    this.#control = control;
  }

  /** Before something that is named changes: at once, while what the request points to is still there, unless the name is ours. @throws OperatingError EPERM */
  #guarded<T>(parent: Ino, name: string, caller: Caller, change: () => Awaitable<T>): Awaitable<T> {
    return isControlInode(parent) || isControlName(parent, name) ? this.#ifTaken(parent, caller, change) : change();
  }

  async #ifTaken<T>(parent: Ino, caller: Caller, change: () => Awaitable<T>): Promise<T> {
    if (isControlInode(parent) || !(await this.#isTaken(caller))) refuseChange();
    return await change();
  }

  /** Does the pool have something of that name? */
  async #isTaken(caller: Caller): Promise<boolean> {
    const found = await this.#below.lookup(ROOT_INO, CONTROL_NAME, caller);
    if (found !== undefined) this.#below.forget(found.ino, 1);
    return found !== undefined;
  }

  lookup(parent: Ino, name: string, caller: Caller): Awaitable<Attributes | undefined> {
    if (isControlInode(parent)) return this.#lookupInside(parent, name, caller);
    return isControlName(parent, name) ? this.#lookupControl(caller) : this.#below.lookup(parent, name, caller);
  }

  async #lookupInside(parent: Ino, name: string, caller: Caller): Promise<Attributes | undefined> {
    return name === '..' ? this.#below.lookup(ROOT_INO, '.', caller) : this.#control.lookup(parent, name);
  }

  async #lookupControl(caller: Caller): Promise<Attributes> {
    return (await this.#below.lookup(ROOT_INO, CONTROL_NAME, caller)) ?? this.#control.attributes(CONTROL_INO);
  }

  hold(ino: Ino): Promise<() => Promise<void>> {
    return isControlInode(ino) ? Promise.resolve(async () => undefined) : this.#below.hold(ino);
  }

  getattr(ino: Ino, handle?: Handle): Awaitable<Attributes> {
    return isControlInode(ino) ? this.#control.attributes(ino) : this.#below.getattr(ino, handle);
  }

  setattr(ino: Ino, change: AttributeChange, caller: Caller, handle?: Handle): Awaitable<Attributes> {
    if (isControlInode(ino)) refuseChange();
    return this.#below.setattr(ino, change, caller, handle);
  }

  forget(ino: Ino, count: number): void {
    if (!isControlInode(ino)) this.#below.forget(ino, count);
  }

  readlink(ino: Ino): Awaitable<Buffer> {
    if (isControlInode(ino)) throw new OperatingError('EINVAL', 'not a symbolic link');
    return this.#below.readlink(ino);
  }

  symlink(parent: Ino, name: string, target: Uint8Array, caller: Caller): Awaitable<Attributes> {
    const copy = isControlName(parent, name) ? Buffer.from(target) : target;
    return this.#guarded(parent, name, caller, () => this.#below.symlink(parent, name, copy, caller));
  }

  mknod(parent: Ino, name: string, mode: number, rdev: number, caller: Caller): Awaitable<Attributes> {
    return this.#guarded(parent, name, caller, () => this.#below.mknod(parent, name, mode, rdev, caller));
  }

  mkdir(parent: Ino, name: string, mode: number, caller: Caller): Awaitable<Attributes> {
    return this.#guarded(parent, name, caller, () => this.#below.mkdir(parent, name, mode, caller));
  }

  unlink(parent: Ino, name: string, caller: Caller): Awaitable<void> {
    return this.#guarded(parent, name, caller, () => this.#below.unlink(parent, name, caller));
  }

  rmdir(parent: Ino, name: string, caller: Caller): Awaitable<void> {
    return this.#guarded(parent, name, caller, () => this.#below.rmdir(parent, name, caller));
  }

  rename(parent: Ino, name: string, newParent: Ino, newName: string, flags: RenameFlags, caller: Caller): Awaitable<readonly Ino[]> {
    return this.#guarded(parent, name, caller, () =>
      this.#guarded(newParent, newName, caller, () => this.#below.rename(parent, name, newParent, newName, flags, caller)),
    );
  }

  link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Awaitable<Attributes> {
    if (isControlInode(ino)) refuseChange();
    return this.#guarded(newParent, newName, caller, () => this.#below.link(ino, newParent, newName, caller));
  }

  open(ino: Ino, flags: number, caller: Caller): Awaitable<Handle> {
    return isControlInode(ino) ? this.#control.open(ino, flags) : this.#below.open(ino, flags, caller);
  }

  create(parent: Ino, name: string, mode: number, flags: number, caller: Caller): Awaitable<{ attributes: Attributes; handle: Handle }> {
    return this.#guarded(parent, name, caller, () => this.#below.create(parent, name, mode, flags, caller));
  }

  async createUnnamed(parent: Ino, mode: number, flags: number, caller: Caller): Promise<{ attributes: Attributes; handle: Handle }> {
    if (isControlInode(parent)) refuseChange();
    return this.#below.createUnnamed(parent, mode, flags, caller);
  }

  read(ino: Ino, handle: Handle, offset: number, bytes: number): Awaitable<{ pieces: readonly Uint8Array[]; release(): void }> {
    return isControlInode(ino) ? this.#read(handle, offset, bytes) : this.#below.read(ino, handle, offset, bytes);
  }

  #read(handle: Handle, offset: number, bytes: number): { pieces: readonly Uint8Array[]; release(): void } {
    const piece = this.#control.content(handle).subarray(offset, offset + bytes);
    return { pieces: piece.length === 0 ? [] : [piece], release: () => undefined };
  }

  write(ino: Ino, handle: Handle, offset: number, data: Uint8Array, caller: Caller): Awaitable<number> {
    return isControlInode(ino) ? refuseChange() : this.#below.write(ino, handle, offset, data, caller);
  }

  flush(ino: Ino, handle: Handle): Awaitable<void> {
    return isControlInode(ino) ? undefined : this.#below.flush(ino, handle);
  }

  fsync(ino: Ino, handle: Handle, dataOnly: boolean): Awaitable<void> {
    return isControlInode(ino) ? undefined : this.#below.fsync(ino, handle, dataOnly);
  }

  release(ino: Ino, handle: Handle): Awaitable<void> {
    return isControlInode(ino) ? this.#control.close(handle) : this.#below.release(ino, handle);
  }

  openForWriting(ino: Ino): boolean {
    return !isControlInode(ino) && this.#below.openForWriting(ino);
  }

  async seek(ino: Ino, handle: Handle, offset: number, whence: 'data' | 'hole'): Promise<number> {
    return isControlInode(ino) ? this.#control.seek(handle, offset, whence) : this.#below.seek(ino, handle, offset, whence);
  }

  async allocate(ino: Ino, handle: Handle, offset: number, bytes: number, mode: AllocateMode, caller: Caller): Promise<void> {
    if (isControlInode(ino)) refuseChange();
    return this.#below.allocate(ino, handle, offset, bytes, mode, caller);
  }

  async copyRange(source: OpenPlace, target: OpenPlace, bytes: number, caller: Caller): Promise<number> {
    // The kernel copies by reading and writing then.
    if (isControlInode(source.ino) || isControlInode(target.ino)) throw new OperatingError('EXDEV', 'its bytes are in no blob');
    return this.#below.copyRange(source, target, bytes, caller);
  }

  readdir(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Awaitable<void> {
    return isControlInode(ino) ? this.#control.list(ino, offset, plus, room) : this.#below.readdir(ino, offset, plus, room);
  }

  fsyncdir(ino: Ino): Awaitable<void> {
    return isControlInode(ino) ? undefined : this.#below.fsyncdir(ino);
  }

  setxattr(ino: Ino, name: string, value: Uint8Array, flags: number, caller: Caller): Awaitable<void> {
    if (isControlInode(ino)) refuseChange();
    return this.#below.setxattr(ino, name, value, flags, caller);
  }

  getxattr(ino: Ino, name: string): Awaitable<Buffer | undefined> {
    return isControlInode(ino) ? undefined : this.#below.getxattr(ino, name);
  }

  listxattr(ino: Ino): Awaitable<string[]> {
    return isControlInode(ino) ? [] : this.#below.listxattr(ino);
  }

  removexattr(ino: Ino, name: string, caller: Caller): Awaitable<void> {
    if (isControlInode(ino)) refuseChange();
    return this.#below.removexattr(ino, name, caller);
  }

  statfs(ino = ROOT_INO): Awaitable<FileSystemStatus> {
    return this.#below.statfs(isControlInode(ino) ? ROOT_INO : ino);
  }

  syncAll(): Promise<void> {
    return this.#below.syncAll();
  }

  close(): Promise<void> {
    return this.#below.close();
  }
}
