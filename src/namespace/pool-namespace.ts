/**
 * The namespace of one pool: puts the parts of this folder together and gives each operation of the interface to the one that does it. Made by the
 * daemon, once the index and the data plane are open; closed before them.
 */
import { when, type Awaitable } from '../base/awaitable.js';
import { DecodeError } from '../base/bytes.js';
import { OperatingError } from '../base/errors.js';
import type { Location } from '../base/location.js';
import type { Committed } from '../index/index-store.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import type { QuotaRow } from '../index/schema/quota-row.js';
import type { Counters } from '../index/schema/work-rows.js';
import type { StoredBlob } from '../storage/storage.js';
import { Activity } from './activity.js';
import { AttributeChanges } from './attributes.js';
import { Background } from './background.js';
import { BlobWriter } from './blob-writer.js';
import { Budget } from './budget.js';
import { BufferPool } from '../base/buffers.js';
import { Committer } from './commits.js';
import { Directories, refuse } from './directories.js';
import { Fetcher } from './fetcher.js';
import { FileClock } from './file-clock.js';
import { Files } from './files.js';
import { Ledger } from './ledger.js';
import { Manifests } from './manifest.js';
import { ChunkMemory } from './memory.js';
import { fileType, isDirectory, opensForWrite, PERMISSION_BITS, S_IFDIR, S_IFREG } from './modes.js';
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
} from './namespace.js';
import { attributesOf, type Node } from './node.js';
import { Nodes } from './nodes.js';
import type { NamespaceOptions } from './options.js';
import { Packer } from './packer.js';
import { Pins } from './pins.js';
import { placementOf, type Placement } from './placement.js';
import { Ranges } from './ranges.js';
import { Reader } from './reader.js';
import { QuotaKeeper, type QuotaLimits } from './quota-keeper.js';
import { clearDeadSessions, finishCuts, initialiseNamespace, ROOT_INO } from './recovery.js';
import { Renames } from './rename.js';
import { CommitScheduler } from './scheduler.js';
import { Space } from './space.js';
import { Uploads } from './uploads.js';
import { Xattrs } from './xattrs.js';

/** Window buffers kept while little is written. */
const WINDOWS_KEPT = 1;
const BLOCK_BYTES = 4096;
/** When the kernel is asked to forget a file whose length it has wrong, each time after the one before. */
const FORGET_AFTER_MS = [5, 50, 500];
/** What statfs calls free: inode numbers do not run out, but some programs want a number. */
const FILES_FREE = 2 ** 32;

/** How the namespace stands, for status and tests. */
export interface NamespaceStatus extends Counters {
  readonly dirtyBytes: number;
  readonly openHandles: number;
  readonly nodes: number;
  readonly pinnedBlobs: number;
}

export class PoolNamespace implements Namespace {
  /** For the durability services: the way to change rows, and what readers hold on to. */
  readonly ledger: Ledger;
  readonly pins = new Pins();
  readonly packer: Packer;
  /** For `setQuota` and `clearQuota`, and for who waits until all is counted. */
  readonly quotas: QuotaKeeper;
  /** For the durability services: who uses the pool just now. */
  readonly activity: Activity;
  readonly #options: NamespaceOptions;
  readonly #nodes: Nodes;
  readonly #uploads: Uploads;
  readonly #committer: Committer;
  readonly #scheduler: CommitScheduler;
  readonly #directories: Directories;
  readonly #renames: Renames;
  readonly #files: Files;
  readonly #ranges: Ranges;
  readonly #attributes: AttributeChanges;
  readonly #xattrs: Xattrs;
  readonly space: Space;
  readonly #budget: Budget;
  readonly #windows: BufferPool;
  readonly #fetcher: Fetcher;
  readonly #background: Background;
  #closing = false;

  constructor(options: NamespaceOptions) {
    const { index, storage, clock, log, settings, epoch } = options;
    this.#options = options;
    this.activity = new Activity(clock);
    this.ledger = new Ledger(index, storage, log);
    const { ledger, pins } = this;
    this.#background = new Background(log);
    this.quotas = new QuotaKeeper({ ledger, clock, background: this.#background, stopped: () => this.#closing });
    this.space = new Space(storage, clock);
    this.#budget = new Budget(settings.uploadBytesMax);
    this.#nodes = new Nodes(ledger, epoch);
    this.#windows = new BufferPool(storage.blobBytesMax, {
      // The budget may be overdrawn by what the requests in flight bring.
      keepMax: WINDOWS_KEPT + 2 * Math.ceil(settings.uploadBytesMax / storage.blobBytesMax),
      resting: { keepMax: WINDOWS_KEPT, clock },
    });
    const memory = new ChunkMemory(this.#budget, this.#windows);
    const writer = new BlobWriter(storage, ledger, this.space, this.#windows);
    const onInvalidate = options.onInvalidate ?? ((): void => undefined);
    const fileClock = new FileClock(clock);
    const common = { ledger, storage, writer, space: this.space, clock: fileClock, epoch, background: this.#background };
    this.#uploads = new Uploads({ ...common, memory, log, onInvalidate });
    this.packer = new Packer({ ...common, nodes: this.#nodes, pins, newUpload: () => this.#uploads.newUpload() });
    this.#committer = new Committer({
      ...common,
      memory,
      uploads: this.#uploads,
      onPackable: (bytes, file) => {
        this.packer.note(bytes, file);
      },
      onInline: (ino, offsets) => {
        this.packer.noteExtents(ino, offsets);
      },
      onSettled: (node) => {
        const settled = this.#nodes.settle(node);
        if (settled !== undefined) this.#background.run(`end of inode ${node.ino}`, settled);
      },
    });
    this.#scheduler = new CommitScheduler(this.#uploads, this.#committer, this.#budget, this.#background, clock, settings);
    this.#fetcher = new Fetcher(storage, ledger.locations, pins, () => settings.readCacheBytesMax, clock);
    this.#files = new Files({
      index,
      nodes: this.#nodes,
      uploads: this.#uploads,
      committer: this.#committer,
      reader: new Reader(ledger, new Manifests(index), this.#fetcher, pins),
      now: () => fileClock.now(),
      get durableClose() {
        return settings.durability === 'close';
      },
    });
    this.#ranges = new Ranges({
      ledger,
      uploads: this.#uploads,
      committer: this.#committer,
      clock: fileClock,
      onPackable: (ino, bytes) => {
        this.packer.noteCopied(ino, bytes);
      },
    });
    this.#directories = new Directories(ledger, this.#nodes, fileClock);
    this.#renames = new Renames(ledger, this.#nodes, this.#directories, fileClock);
    this.#attributes = new AttributeChanges(ledger, this.#nodes, this.#files, this.#uploads, fileClock);
    this.#xattrs = new Xattrs(ledger, this.#nodes, fileClock);
  }

  /**
   * Reads or makes what must be there, finishes what must not wait, and begins the background work.
   * @throws DecodeError a row that has to be read before anything is changed cannot be; read-only it starts all the same
   */
  async start(): Promise<void> {
    const { readOnly, clock, epoch, log } = this.#options;
    const damage = await this.ledger.load();
    await this.space.refresh();
    if (readOnly) return;
    if (damage !== undefined) throw new DecodeError(damage);
    await initialiseNamespace(this.ledger, clock);
    const cuts = await finishCuts(this.ledger);
    const cleared = clearDeadSessions(this.ledger, this.#nodes, { epoch, clock, log, stopped: () => this.#closing }).then(
      ({ uploads, orphans }) => {
        if (cuts + uploads + orphans > 0) log('info', 'cleared what the last session left', { cuts, uploads, orphans });
      },
    );
    this.#background.run('clearing of dead sessions', cleared);
    this.packer.start();
    if (this.ledger.quotas.size > 0) this.quotas.resume();
  }

  #checkWritable(): void {
    const { readOnly, index } = this.#options;
    if (!readOnly && index.writable) return;
    const code = readOnly ? 'EROFS' : index.refusalCode;
    throw new OperatingError(code, 'the pool is read-only', { hint: 'see `ostraka status` for the reason' });
  }

  /** With `durability=close`, what was committed must be durable before the caller hears of it. */
  #settled<T>(change: () => Awaitable<Committed<T>>): Awaitable<T> {
    this.#checkWritable();
    return this.activity.during(() =>
      when(change(), ({ value, position }) => {
        const waits = this.#options.settings.durability === 'close' && position > 0;
        return when(waits ? this.#options.index.durable(position) : undefined, () => value);
      }),
    );
  }

  #made(change: () => Awaitable<Committed<InodeRow>>): Awaitable<Attributes> {
    return when(this.#settled(change), (row) => attributesOf(row, this.#nodes.get(row.ino)));
  }

  status(): NamespaceStatus {
    return {
      ...this.ledger.counters,
      dirtyBytes: this.#budget.usedBytes,
      openHandles: this.#files.size,
      nodes: this.#nodes.size,
      pinnedBlobs: this.pins.size,
    };
  }

  /** Inodes that are open for writing: the kernel may hold unsaved pages of theirs. */
  writers(): Ino[] {
    const open = this.#nodes.all().filter((node) => [...node.handles].some(({ writes }) => writes));
    return open.map(({ ino }) => ino);
  }

  /** Limits what is below a directory. @throws OperatingError ENOENT, ENOTDIR, ENOSPC, EROFS */
  async setQuota(ino: Ino, limits: QuotaLimits): Promise<void> {
    this.#checkWritable();
    await this.quotas.set(ino, limits);
  }

  /** @throws OperatingError ENODATA, EROFS */
  async clearQuota(ino: Ino): Promise<void> {
    this.#checkWritable();
    await this.quotas.clear(ino);
  }

  /** The quota that an inode counts in, and those around it, the innermost first. @throws OperatingError ESTALE */
  async quotasAround(ino: Ino): Promise<[number, QuotaRow][]> {
    const { quotas } = this.ledger;
    return quotas.chain((await this.#nodes.row(ino)).quota).filter(([, { state }]) => state !== 'clearing');
  }

  /** Storage moved shards of a blob (after a failed sync, or a rebuild). False: nothing refers to it. */
  moved(old: Location, now: StoredBlob): Promise<boolean> {
    return this.ledger.locations.swap(old, now.location);
  }

  lookup(parent: Ino, name: string): Awaitable<Attributes | undefined> {
    return this.#directories.lookup(parent, name);
  }

  /** Where committed content is, a page from `from` on. @throws OperatingError ESTALE */
  placement(ino: Ino, from: number): Promise<Placement> {
    return placementOf(this.ledger, this.#nodes, ino, from);
  }

  getattr(ino: Ino, handle?: Handle): Awaitable<Attributes> {
    return this.#files.attributes(ino, handle);
  }

  setattr(ino: Ino, change: AttributeChange, caller: Caller): Awaitable<Attributes> {
    this.#checkWritable();
    return this.#attributes.set(ino, change, caller);
  }

  forget(ino: Ino, count: number): void {
    if (this.#nodes.forget(ino, count)) this.#uploads.lostEnds.forget(ino);
  }

  hold(ino: Ino): Promise<() => Promise<void>> {
    return this.#nodes.hold(ino);
  }

  readlink(ino: Ino): Awaitable<Buffer> {
    return this.#directories.readlink(ino);
  }

  symlink(parent: Ino, name: string, target: Uint8Array, caller: Caller): Awaitable<Attributes> {
    return this.#made(() => this.#directories.symlink(parent, name, target, caller));
  }

  mknod(parent: Ino, name: string, mode: number, rdev: number, caller: Caller): Awaitable<Attributes> {
    const type = fileType(mode) === 0 ? S_IFREG : fileType(mode);
    if (isDirectory(type)) refuse('EPERM', 'directories are made by mkdir');
    return this.#made(() => this.#directories.make(parent, name, type | (mode & PERMISSION_BITS), caller, { rdev }));
  }

  mkdir(parent: Ino, name: string, mode: number, caller: Caller): Awaitable<Attributes> {
    return this.#made(() => this.#directories.make(parent, name, S_IFDIR | (mode & PERMISSION_BITS), caller));
  }

  unlink(parent: Ino, name: string): Awaitable<void> {
    return this.#settled(() => this.#directories.unlink(parent, name));
  }

  rmdir(parent: Ino, name: string): Awaitable<void> {
    return this.#settled(() => this.#directories.rmdir(parent, name));
  }

  rename(parent: Ino, name: string, newParent: Ino, newName: string, flags: RenameFlags): Awaitable<readonly Ino[]> {
    this.#checkWritable();
    // Who looks behind the new name finds what was written before the rename.
    const committed = when(this.ledger.dirent(parent, name), (source) =>
      source === undefined ? undefined : this.#files.commitInode(source.ino),
    );
    return when(committed, () => this.#settled(() => this.#renames.rename({ parent, name }, { parent: newParent, name: newName }, flags)));
  }

  link(ino: Ino, newParent: Ino, newName: string): Awaitable<Attributes> {
    this.#checkWritable();
    return when(this.#files.commitInode(ino), () => this.#made(() => this.#directories.link(ino, newParent, newName)));
  }

  open(ino: Ino, flags: number, caller: Caller): Awaitable<Handle> {
    if (opensForWrite(flags)) this.#checkWritable();
    return this.#files.open(ino, flags, caller);
  }

  create(parent: Ino, name: string, mode: number, flags: number, caller: Caller): Awaitable<{ attributes: Attributes; handle: Handle }> {
    this.#checkWritable();
    const room = this.#uploads.hasRoom() ? undefined : this.#uploads.makeRoom();
    let handle = 0;
    const made = (row: InodeRow): void => {
      handle = this.#files.created(row, flags);
    };
    const created = when(room, () =>
      this.#made(() => this.#directories.make(parent, name, S_IFREG | (mode & PERMISSION_BITS), caller, { made })),
    );
    if (!(created instanceof Promise)) return { attributes: created, handle };
    return created.then(
      (attributes) => ({ attributes, handle }),
      (error: unknown) => {
        // Made, but it could not be made durable: the file stays, nobody knows the handle.
        this.#files.abandon(handle);
        throw error;
      },
    );
  }

  async createUnnamed(parent: Ino, mode: number, flags: number, caller: Caller): Promise<{ attributes: Attributes; handle: Handle }> {
    this.#checkWritable();
    if (!this.#uploads.hasRoom()) await this.#uploads.makeRoom();
    let handle = 0;
    const { value } = await this.#directories.makeUnnamed(
      parent,
      S_IFREG | (mode & PERMISSION_BITS),
      caller,
      this.#options.epoch,
      (row) => {
        handle = this.#files.created(row, flags);
      },
    );
    return { attributes: attributesOf(value, this.#nodes.get(value.ino)), handle };
  }

  read(ino: Ino, handle: Handle, offset: number, bytes: number): Awaitable<{ pieces: readonly Uint8Array[]; release(): void }> {
    return this.activity.during(() => this.#files.read(ino, handle, offset, bytes));
  }

  write(ino: Ino, handle: Handle, offset: number, data: Uint8Array, caller: Caller): Awaitable<number> {
    try {
      this.#checkWritable();
    } catch (error) {
      this.#uploads.lostEnds.add(this.#files.node(ino, handle), [], offset + data.length);
      throw error;
    }
    return this.activity.during(() => this.#files.write(ino, handle, offset, data, caller));
  }

  flush(ino: Ino, handle: Handle): Awaitable<void> {
    return this.activity.during(() => this.#files.flush(ino, handle));
  }

  fsync(ino: Ino, handle: Handle): Awaitable<void> {
    return this.activity.during(() => this.#files.fsync(ino, handle));
  }

  release(ino: Ino, handle: Handle): Awaitable<void> {
    return when(this.#files.release(ino, handle), () => {
      if (this.#uploads.lostEnds.has(ino)) this.#background.run(`forgetting of inode ${ino}`, this.#haveForgotten(ino));
    });
  }

  /** Asks the kernel to forget the wrong length of a file that is not open any more. It still holds the file for a moment after a RELEASE. */
  async #haveForgotten(ino: Ino): Promise<void> {
    for (const afterMs of FORGET_AFTER_MS) {
      await this.#options.clock.sleep(afterMs);
      const open = (this.#nodes.get(ino)?.handles.size ?? 0) > 0;
      if (open || this.#closing || !this.#uploads.lostEnds.has(ino)) return;
      this.#options.onInvalidate?.(ino);
    }
  }

  openForWriting(ino: Ino): boolean {
    return this.#nodes.get(ino)?.openForWriting ?? false;
  }

  async seek(ino: Ino, handle: Handle, offset: number, whence: 'data' | 'hole'): Promise<number> {
    return this.#ranges.seek(this.#files.node(ino, handle), offset, whence);
  }

  async allocate(ino: Ino, handle: Handle, offset: number, bytes: number, mode: AllocateMode, caller: Caller): Promise<void> {
    this.#checkWritable();
    return await this.#ranges.allocate(this.#files.node(ino, handle), offset, bytes, mode, caller);
  }

  async copyRange(source: OpenPlace, target: OpenPlace, bytes: number, caller: Caller): Promise<number> {
    this.#checkWritable();
    const place = ({ ino, handle, offset }: OpenPlace): { node: Node; offset: number } => ({ node: this.#files.node(ino, handle), offset });
    return await this.#ranges.copy(place(source), place(target), bytes, caller);
  }

  readdir(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Awaitable<void> {
    return this.#directories.list(ino, offset, plus, room);
  }

  async fsyncdir(ino: Ino): Promise<void> {
    await this.#directories.check(ino);
    await this.activity.during(() => this.#options.index.durable());
  }

  setxattr(ino: Ino, name: string, value: Uint8Array, flags: number): Awaitable<void> {
    this.#checkWritable();
    return this.#xattrs.set(ino, name, value, flags);
  }

  getxattr(ino: Ino, name: string): Awaitable<Buffer | undefined> {
    return this.#xattrs.get(ino, name);
  }

  listxattr(ino: Ino): Awaitable<string[]> {
    return this.#xattrs.list(ino);
  }

  removexattr(ino: Ino, name: string): Awaitable<void> {
    this.#checkWritable();
    return this.#xattrs.remove(ino, name);
  }

  async statfs(ino: Ino = ROOT_INO): Promise<FileSystemStatus> {
    const { usableBytes, usableFreeBytes } = await this.space.capacity();
    const blocksFree = Math.max(0, Math.floor((usableFreeBytes - this.#budget.usedBytes) / BLOCK_BYTES));
    const pool: FileSystemStatus = {
      blockBytes: BLOCK_BYTES,
      blocks: Math.floor(usableBytes / BLOCK_BYTES),
      blocksFree,
      blocksAvailable: blocksFree,
      files: this.ledger.counters.inodes + FILES_FREE,
      filesFree: FILES_FREE,
    };
    const { quotas } = this.ledger;
    return quotas.size === 0 ? pool : quotas.statusBelow((await this.#nodes.row(ino)).quota, pool);
  }

  async syncAll(): Promise<void> {
    const changed = this.#nodes.all().filter((node) => node.top !== undefined && node.row.links > 0);
    await Promise.all(changed.map(async (node) => await this.#committer.commit(node)));
    if (!this.#options.readOnly) await this.#options.index.durable();
  }

  /** Resolves when no work is under way that nobody waits for. */
  async idle(): Promise<void> {
    await this.#background.idle();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#scheduler.stop();
    this.packer.stop();
    try {
      if (this.#options.index.writable) await this.syncAll();
    } finally {
      await this.#background.idle();
      this.#fetcher.close();
      this.#windows.close();
    }
  }
}

/** The namespace over an open index and data plane. A new, writable pool gets its root. @throws DecodeError it can only be opened read-only */
export async function createNamespace(options: NamespaceOptions): Promise<PoolNamespace> {
  const namespace = new PoolNamespace(options);
  await namespace.start();
  return namespace;
}
