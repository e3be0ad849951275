/**
 * A namespace in plain Maps: what POSIX asks of one, with no disks below. The reference model for tests of front ends and of the real
 * namespace. It does not simulate faults by itself; `failWrites` makes writes to one inode fail.
 */
import { systemClock, type Clock, type Time } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { ACCESS_ACL, decodeAcl, isPlain, modeWithAcl } from '../../src/namespace/acl.js';
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
} from '../../src/namespace/namespace.js';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_ISGID = 0o2000;
const O_TRUNC = 0o1000;
const O_EXCL = 0o200;

interface Node {
  readonly ino: Ino;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  links: number;
  size: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  readonly btime: Time;
  data: Buffer;
  readonly xattrs: Map<string, Buffer>;
  /** Of a directory: name to inode and position. */
  readonly entries: Map<string, { readonly ino: Ino; readonly position: number }>;
  parent: Ino;
  lookups: number;
  handles: number;
}

function fail(code: ConstructorParameters<typeof OperatingError>[0]): never {
  throw new OperatingError(code, code);
}

export class MemoryNamespace implements Namespace {
  readonly #nodes = new Map<Ino, Node>();
  readonly #open = new Map<Handle, Ino>();
  readonly #clock: Clock;
  #nextIno = 2;
  #nextHandle = 1;
  #nextPosition = 3;
  /** Writes to this inode fail. */
  failWrites: Ino | undefined;
  /** Reads and lookups wait for this. */
  gate: Promise<void> | undefined;
  /** … but only reads of this inode. */
  gateIno: Ino | undefined;
  /** Thrown by statfs. */
  bug: Error | undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
    const root = this.#make(1, S_IFDIR | 0o755, { uid: 0, gid: 0, pid: 0 });
    root.links = 2;
  }

  /** Inodes in memory; for tests of forgetting. */
  get inodes(): number {
    return this.#nodes.size;
  }

  get openHandles(): number {
    return this.#open.size;
  }

  #make(ino: Ino, mode: number, caller: Caller): Node {
    const now = this.#clock.now();
    const node: Node = {
      ino,
      mode,
      uid: caller.uid,
      gid: caller.gid,
      rdev: 0,
      links: 1,
      size: 0,
      atime: now,
      mtime: now,
      ctime: now,
      btime: now,
      data: Buffer.alloc(0),
      xattrs: new Map(),
      entries: new Map(),
      parent: 1,
      lookups: 0,
      handles: 0,
    };
    for (const { name, value } of caller.contexts ?? []) node.xattrs.set(name, Buffer.from(value));
    this.#nodes.set(ino, node);
    return node;
  }

  #node(ino: Ino): Node {
    return this.#nodes.get(ino) ?? fail('ESTALE');
  }

  #directory(ino: Ino): Node {
    const node = this.#node(ino);
    return (node.mode & S_IFMT) === S_IFDIR ? node : fail('ENOTDIR');
  }

  #child(parent: Node, name: string): Node {
    return this.#node((parent.entries.get(name) ?? fail('ENOENT')).ino);
  }

  #attributes(node: Node): Attributes {
    const { ino, mode, links, uid, gid, rdev, size, atime, mtime, ctime, btime } = node;
    return { ino, mode, links, uid, gid, rdev, size, blocks: Math.ceil(node.data.length / 512), atime, mtime, ctime, btime };
  }

  #known(node: Node): Attributes {
    node.lookups++;
    return this.#attributes(node);
  }

  #collect(node: Node): void {
    if (node.links === 0 && node.lookups === 0 && node.handles === 0) this.#nodes.delete(node.ino);
  }

  #touch(node: Node, content: boolean): void {
    node.ctime = this.#clock.now();
    if (content) node.mtime = node.ctime;
  }

  #enter(parent: Node, name: string, node: Node): void {
    parent.entries.delete(name);
    parent.entries.set(name, { ino: node.ino, position: this.#nextPosition++ });
    node.parent = parent.ino;
    this.#touch(parent, true);
  }

  #create(parentIno: Ino, name: string, mode: number, caller: Caller): Node {
    const parent = this.#directory(parentIno);
    if (parent.links === 0) fail('ENOENT');
    if (parent.entries.has(name)) fail('EEXIST');
    const umask = (mode & S_IFMT) === S_IFLNK ? 0 : (caller.umask ?? 0);
    const node = this.#make(this.#nextIno++, mode & ~umask, caller);
    if ((parent.mode & S_ISGID) !== 0) {
      node.gid = parent.gid;
      if ((mode & S_IFMT) === S_IFDIR) node.mode |= S_ISGID;
    }
    this.#enter(parent, name, node);
    return node;
  }

  #drop(parent: Node, name: string, node: Node): void {
    parent.entries.delete(name);
    this.#touch(parent, true);
    node.links--;
    this.#touch(node, false);
    if ((node.mode & S_IFMT) === S_IFDIR) {
      node.links = 0;
      parent.links--;
    }
    this.#collect(node);
  }

  #resize(node: Node, size: number): void {
    if (size < node.size) node.data.fill(0, size);
    node.size = size;
    if (node.data.length > size) node.data = Buffer.from(node.data.subarray(0, size));
    this.#touch(node, true);
  }

  async lookup(parent: Ino, name: string): Promise<Attributes | undefined> {
    if (this.gateIno === undefined) await this.gate;
    if (name === '.') return this.#known(this.#node(parent));
    if (name === '..') return this.#known(this.#node(this.#directory(parent).parent));
    const ino = this.#directory(parent).entries.get(name)?.ino;
    return ino === undefined ? undefined : this.#known(this.#node(ino));
  }

  async getattr(ino: Ino): Promise<Attributes> {
    return this.#attributes(this.#node(ino));
  }

  async setattr(ino: Ino, change: AttributeChange): Promise<Attributes> {
    const node = this.#node(ino);
    if (change.size !== undefined && change.size !== node.size) this.#resize(node, change.size);
    if (change.mode !== undefined) node.mode = (node.mode & S_IFMT) | (change.mode & 0o7777);
    node.uid = change.uid ?? node.uid;
    node.gid = change.gid ?? node.gid;
    const now = this.#clock.now();
    if (change.atime !== undefined) node.atime = change.atime === 'now' ? now : change.atime;
    if (change.mtime !== undefined) node.mtime = change.mtime === 'now' ? now : change.mtime;
    node.ctime = change.ctime ?? now;
    return this.#attributes(node);
  }

  forget(ino: Ino, count: number): void {
    const node = this.#nodes.get(ino);
    if (node === undefined) return;
    node.lookups = Math.max(0, node.lookups - count);
    this.#collect(node);
  }

  async hold(ino: Ino): Promise<() => Promise<void>> {
    this.#node(ino).lookups++;
    return async () => {
      this.forget(ino, 1);
    };
  }

  async readlink(ino: Ino): Promise<Buffer> {
    const node = this.#node(ino);
    return (node.mode & S_IFMT) === S_IFLNK ? node.data : fail('EINVAL');
  }

  async symlink(parent: Ino, name: string, target: Uint8Array, caller: Caller): Promise<Attributes> {
    const node = this.#create(parent, name, S_IFLNK | 0o777, caller);
    node.data = Buffer.from(target);
    node.size = target.length;
    return this.#known(node);
  }

  async mknod(parent: Ino, name: string, mode: number, rdev: number, caller: Caller): Promise<Attributes> {
    const node = this.#create(parent, name, mode, caller);
    node.rdev = rdev;
    return this.#known(node);
  }

  async mkdir(parent: Ino, name: string, mode: number, caller: Caller): Promise<Attributes> {
    const node = this.#create(parent, name, S_IFDIR | (mode & 0o7777), caller);
    node.links = 2;
    this.#node(parent).links++;
    return this.#known(node);
  }

  async unlink(parent: Ino, name: string): Promise<void> {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if ((node.mode & S_IFMT) === S_IFDIR) fail('EISDIR');
    this.#drop(directory, name, node);
  }

  async rmdir(parent: Ino, name: string): Promise<void> {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if ((node.mode & S_IFMT) !== S_IFDIR) fail('ENOTDIR');
    if (node.entries.size > 0) fail('ENOTEMPTY');
    this.#drop(directory, name, node);
  }

  async rename(parentIno: Ino, name: string, newParentIno: Ino, newName: string, flags: RenameFlags): Promise<readonly Ino[]> {
    const parent = this.#directory(parentIno);
    const newParent = this.#directory(newParentIno);
    const node = this.#child(parent, name);
    const targetEntry = newParent.entries.get(newName);
    const target = targetEntry === undefined ? undefined : this.#node(targetEntry.ino);
    const isDirectory = (of: Node): boolean => (of.mode & S_IFMT) === S_IFDIR;
    for (let up = newParentIno; isDirectory(node) && up !== 1; up = this.#node(up).parent) if (up === node.ino) fail('EINVAL');
    if (target !== undefined && flags.noReplace) fail('EEXIST');
    if (flags.exchange) {
      if (target === undefined) fail('ENOENT');
      this.#enter(parent, name, target);
      this.#enter(newParent, newName, node);
      const moved = (isDirectory(node) ? 1 : 0) - (isDirectory(target) ? 1 : 0);
      parent.links -= moved;
      newParent.links += moved;
      this.#touch(target, false);
    } else {
      if (target === node) return [];
      if (target !== undefined) {
        if (isDirectory(target) && !isDirectory(node)) fail('EISDIR');
        if (!isDirectory(target) && isDirectory(node)) fail('ENOTDIR');
        if (target.entries.size > 0) fail('ENOTEMPTY');
        this.#drop(newParent, newName, target);
      }
      parent.entries.delete(name);
      this.#touch(parent, true);
      this.#enter(newParent, newName, node);
      if (isDirectory(node)) {
        parent.links--;
        newParent.links++;
      }
    }
    this.#touch(node, false);
    const moved = flags.exchange && target !== undefined ? [node, target] : [node];
    return parent === newParent ? [] : moved.filter(isDirectory).map(({ ino }) => ino);
  }

  async link(ino: Ino, newParent: Ino, newName: string): Promise<Attributes> {
    const node = this.#node(ino);
    const parent = this.#directory(newParent);
    if ((node.mode & S_IFMT) === S_IFDIR) fail('EPERM');
    if (parent.entries.has(newName)) fail('EEXIST');
    parent.entries.set(newName, { ino, position: this.#nextPosition++ });
    this.#touch(parent, true);
    node.links++;
    this.#touch(node, false);
    return this.#known(node);
  }

  #handle(node: Node): Handle {
    const handle = this.#nextHandle++;
    this.#open.set(handle, node.ino);
    node.handles++;
    return handle;
  }

  #close(ino: Ino, handle: Handle): void {
    if (this.#open.get(handle) !== ino) fail('EBADF');
    this.#open.delete(handle);
    const node = this.#node(ino);
    node.handles--;
    this.#collect(node);
  }

  async open(ino: Ino, flags: number): Promise<Handle> {
    const node = this.#node(ino);
    if ((node.mode & S_IFMT) === S_IFDIR) fail('EISDIR');
    if ((flags & O_TRUNC) !== 0) this.#resize(node, 0);
    return this.#handle(node);
  }

  async create(
    parent: Ino,
    name: string,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ attributes: Attributes; handle: Handle }> {
    const there = this.#directory(parent).entries.get(name);
    if (there !== undefined) {
      if ((flags & O_EXCL) !== 0) fail('EEXIST');
      const handle = await this.open(there.ino, flags);
      return { attributes: this.#known(this.#node(there.ino)), handle };
    }
    const node = this.#create(parent, name, S_IFREG | (mode & 0o7777), caller);
    return { attributes: this.#known(node), handle: this.#handle(node) };
  }

  async read(ino: Ino, handle: Handle, offset: number, bytes: number): Promise<{ pieces: readonly Uint8Array[]; release(): void }> {
    if (this.gateIno === undefined || this.gateIno === ino) await this.gate;
    const node = this.#node(ino);
    if (this.#open.get(handle) !== ino) fail('EBADF');
    const end = Math.min(node.size, offset + bytes);
    if (end <= offset) return { pieces: [], release: () => undefined };
    const stored = node.data.subarray(offset, end);
    const hole = end - offset - stored.length;
    return { pieces: hole === 0 ? [stored] : [stored, Buffer.alloc(hole)], release: () => undefined };
  }

  async write(ino: Ino, handle: Handle, offset: number, data: Uint8Array): Promise<number> {
    const node = this.#node(ino);
    if (this.#open.get(handle) !== ino) fail('EBADF');
    if (this.failWrites === ino) fail('EIO');
    const end = offset + data.length;
    if (end > node.data.length) {
      // Amortised growth: a file is written in many pieces.
      const grown = Buffer.alloc(Math.max(end, Math.min(node.data.length * 2, node.data.length + (8 << 20))));
      node.data.copy(grown, 0, 0, Math.min(node.size, node.data.length));
      node.data = grown;
    }
    node.data.set(data, offset);
    node.size = Math.max(node.size, end);
    this.#touch(node, true);
    return data.length;
  }

  async createUnnamed(parent: Ino, mode: number, _flags: number, caller: Caller): Promise<{ attributes: Attributes; handle: Handle }> {
    this.#directory(parent);
    const node = this.#make(this.#nextIno++, S_IFREG | (mode & 0o7777 & ~(caller.umask ?? 0)), caller);
    node.links = 0;
    return { attributes: this.#known(node), handle: this.#handle(node) };
  }

  /** Keeps no holes: all is data. */
  openForWriting(): boolean {
    return false;
  }

  async seek(ino: Ino, _handle: Handle, offset: number, whence: 'data' | 'hole'): Promise<number> {
    const { size } = this.#node(ino);
    if (offset >= size) fail('ENXIO');
    return whence === 'data' ? offset : size;
  }

  async allocate(ino: Ino, _handle: Handle, offset: number, bytes: number, mode: AllocateMode): Promise<void> {
    const node = this.#node(ino);
    const end = offset + bytes;
    if ((mode.punch || mode.zero) && offset < node.data.length) node.data.fill(0, offset, Math.min(end, node.data.length));
    if (!mode.keepSize && end > node.size) this.#resize(node, end);
    this.#touch(node, true);
  }

  async copyRange(source: OpenPlace, target: OpenPlace, bytes: number): Promise<number> {
    const { pieces } = await this.read(source.ino, source.handle, source.offset, bytes);
    return this.write(target.ino, target.handle, target.offset, Buffer.concat(pieces));
  }

  async flush(): Promise<void> {}

  async fsync(ino: Ino): Promise<void> {
    this.#node(ino);
  }

  async release(ino: Ino, handle: Handle): Promise<void> {
    this.#close(ino, handle);
  }

  async readdir(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Promise<void> {
    const directory = this.#directory(ino);
    const offer = (name: string, entryIno: Ino, position: number): boolean => {
      if (position <= offset) return true;
      const node = this.#node(entryIno);
      const attributes = plus ? this.#attributes(node) : undefined;
      const taken = room({ ino: entryIno, name, type: node.mode & S_IFMT, nextOffset: position, attributes });
      if (taken && plus && name !== '.' && name !== '..') node.lookups++;
      return taken;
    };
    if (!offer('.', ino, 1) || !offer('..', directory.parent, 2)) return;
    // Map keeps insertion order, and a name that is entered anew goes to the end: positions only grow.
    for (const [name, entry] of directory.entries) if (!offer(name, entry.ino, entry.position)) return;
  }

  async fsyncdir(): Promise<void> {}

  async setxattr(ino: Ino, name: string, value: Uint8Array, flags: number): Promise<void> {
    const node = this.#node(ino);
    if (flags === 1 && node.xattrs.has(name)) fail('EEXIST');
    if (flags === 2 && !node.xattrs.has(name)) fail('ENODATA');
    if (name === ACCESS_ACL) node.mode = modeWithAcl(node.mode, decodeAcl(value));
    if (name === ACCESS_ACL && isPlain(decodeAcl(value))) node.xattrs.delete(name);
    else node.xattrs.set(name, Buffer.from(value));
    this.#touch(node, false);
  }

  async getxattr(ino: Ino, name: string): Promise<Buffer | undefined> {
    return this.#node(ino).xattrs.get(name);
  }

  async listxattr(ino: Ino): Promise<string[]> {
    return [...this.#node(ino).xattrs.keys()];
  }

  async removexattr(ino: Ino, name: string): Promise<void> {
    const node = this.#node(ino);
    if (!node.xattrs.delete(name)) fail('ENODATA');
    this.#touch(node, false);
  }

  async statfs(): Promise<FileSystemStatus> {
    if (this.bug !== undefined) throw this.bug;
    const blocksFree = 1 << 19;
    return {
      blockBytes: 4096,
      blocks: 1 << 20,
      blocksFree,
      blocksAvailable: blocksFree,
      files: 1 << 20,
      filesFree: (1 << 20) - this.#nodes.size,
    };
  }

  async syncAll(): Promise<void> {}

  async close(): Promise<void> {}
}
