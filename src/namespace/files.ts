/**
 * Open files: handles, and what is done with them. Writes come late and with any handle's number (the kernel merges them), so what is written
 * belongs to the inode; a handle knows only whether it may write, which error it still has to report, and how its reader moves.
 */
import { must } from '../base/assert.js';
import { when, type Awaitable } from '../base/awaitable.js';
import type { IndexStore } from '../index/index-store.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import type { Committer } from './commits.js';
import { refuse } from './directories.js';
import { isDirectory, isRegular, opensForWrite, staysUnnamed, truncatesOnOpen, privilegesLost } from './modes.js';
import type { Attributes, Caller, Handle, Ino } from './namespace.js';
import { attributesOf, dateLayer, type GivenTimes, type Node, type OpenFile } from './node.js';
import type { Nodes } from './nodes.js';
import type { Reader, ReadResult } from './reader.js';
import type { Uploads } from './uploads.js';

export interface FilesOptions {
  readonly index: IndexStore;
  readonly nodes: Nodes;
  readonly uploads: Uploads;
  readonly committer: Committer;
  readonly reader: Reader;
  readonly now: () => { readonly seconds: number; readonly nanoseconds: number };
  /** Closing waits until durable. */
  readonly durableClose: boolean;
}

export class Files {
  readonly #options: FilesOptions;
  readonly #files = new Map<Handle, OpenFile>();
  #lastHandle = 0;

  constructor(options: FilesOptions) {
    this.#options = options;
  }

  /** Files that are open. */
  get size(): number {
    return this.#files.size;
  }

  #file(ino: Ino, handle: Handle): OpenFile {
    const file = this.#files.get(handle);
    if (file === undefined || file.node.ino !== ino) refuse('EBADF', `handle ${handle} is not open on inode ${ino}`);
    return file;
  }

  /** The inode behind an open handle. @throws OperatingError EBADF */
  node(ino: Ino, handle: Handle): Node {
    return this.#file(ino, handle).node;
  }

  #add(node: Node, flags: number): OpenFile {
    // O_TRUNC is a write, by whatever descriptor: the kernel has asked for the right to it.
    const writes = opensForWrite(flags) || truncatesOnOpen(flags);
    const file: OpenFile = { handle: ++this.#lastHandle, node, writes, error: undefined, expectedOffset: 0, nearReads: 0 };
    node.handles.add(file);
    this.#files.set(file.handle, file);
    return file;
  }

  /** @throws OperatingError ESTALE, EISDIR, EINVAL, ENOSPC */
  open(ino: Ino, flags: number, caller: Caller): Awaitable<Handle> {
    const { uploads } = this.#options;
    const room = opensForWrite(flags) && !uploads.hasRoom() ? uploads.makeRoom() : undefined;
    return when(room, () => this.#openNow(ino, flags, caller));
  }

  #openNow(ino: Ino, flags: number, caller: Caller): Awaitable<Handle> {
    return this.#options.nodes.attach(ino, (node) => {
      if (isDirectory(node.row.mode)) refuse('EISDIR', `inode ${ino} is a directory`);
      if (!isRegular(node.row.mode)) refuse('EINVAL', `inode ${ino} is not a regular file`);
      const file = this.#add(node, flags);
      // Belongs to the upload that begins here: until it commits, the index keeps the whole old file.
      if (truncatesOnOpen(flags)) this.#truncate(node, 0, caller, 'now');
      return file.handle;
    });
  }

  /** Opens an inode that was made in the transaction whose effects are running. */
  created(row: InodeRow, flags: number): Handle {
    const node = this.#options.nodes.adopt(row);
    node.linkable = row.links === 0 && !staysUnnamed(flags);
    return this.#add(node, flags).handle;
  }

  /** Forgets a handle that its caller never got. */
  abandon(handle: Handle): void {
    const file = this.#files.get(handle);
    if (file === undefined) return;
    this.#files.delete(handle);
    file.node.handles.delete(file);
    this.#options.nodes.letGo(file.node);
  }

  read(ino: Ino, handle: Handle, offset: number, bytes: number): Awaitable<ReadResult> {
    return this.#options.reader.read(this.#file(ino, handle), offset, bytes);
  }

  write(ino: Ino, handle: Handle, offset: number, data: Uint8Array, caller: Caller): Awaitable<number> {
    return this.#options.uploads.write(this.#file(ino, handle).node, offset, data, caller);
  }

  #truncate(node: Node, size: number, caller: Caller, times: GivenTimes | 'now' | undefined): void {
    const { uploads } = this.#options;
    const layer = uploads.open(node);
    layer.truncate(size);
    uploads.lostEnds.truncated(node, size);
    if (times === 'now') layer.times.mtime = layer.times.ctime = this.#options.now();
    else if (times !== undefined) dateLayer(node, layer, times);
    if (caller.uid !== 0) layer.modeLost |= privilegesLost(node.row, caller);
  }

  /**
   * Sets a file's length. With a writer around it is part of the upload; otherwise it is committed at once.
   * @param times what it is dated with, in the same commit; undefined: now, if the length changes
   * @throws OperatingError ESTALE, EISDIR, EINVAL; what kept it from being committed.
   */
  truncate(ino: Ino, size: number, caller: Caller, times: GivenTimes | undefined): Awaitable<void> {
    const attached = this.#options.nodes.attach(ino, (found) => {
      if (isDirectory(found.row.mode)) refuse('EISDIR', `inode ${ino} is a directory`);
      if (!isRegular(found.row.mode)) refuse('EINVAL', `inode ${ino} is not a regular file`);
      // To the length that it has, the kernel moves no times.
      this.#truncate(found, size, caller, times ?? (size === found.size ? undefined : 'now'));
      return found;
    });
    return when(attached, (node) => (node.openForWriting ? undefined : this.#commit(node)));
  }

  /** Reports what poisoned an upload, once. */
  #report(file: OpenFile): void {
    const { error } = file;
    file.error = undefined;
    if (error !== undefined) throw error;
  }

  /** As a flush would, where a quota is the reason: whoever writes on and on is to hear of it before the file is closed. @throws OperatingError EDQUOT */
  #reportQuota(ino: Ino, handle: Handle): void {
    const file = this.#files.get(handle);
    if (file?.node.ino === ino && file.error?.code === 'EDQUOT') this.#report(file);
  }

  /** A descriptor was closed. One that could not write has nothing to commit. */
  flush(ino: Ino, handle: Handle): Awaitable<void> {
    const file = this.#file(ino, handle);
    const commits = file.writes && file.node.row.links > 0;
    return when(commits ? this.#closed(file) : undefined, () => {
      this.#report(file);
    });
  }

  #closed(file: OpenFile): Awaitable<void> {
    const { node } = file;
    const { committer, index, durableClose } = this.#options;
    return when(node.top === undefined ? undefined : committer.commit(node), () =>
      durableClose && file.error === undefined && node.position > index.durablePosition ? index.durable(node.position) : undefined,
    );
  }

  async fsync(ino: Ino, handle: Handle): Promise<void> {
    const file = this.#file(ino, handle);
    const { node } = file;
    if (node.row.links > 0) {
      await this.#options.committer.commit(node);
      this.#report(file);
      await this.#options.index.durable();
    }
    this.#report(file);
  }

  /** The last descriptor of an open file is gone; the last one of an inode ends its upload. */
  release(ino: Ino, handle: Handle): Awaitable<void> {
    const file = this.#file(ino, handle);
    const { node } = file;
    this.#files.delete(handle);
    node.handles.delete(file);
    if (node.handles.size > 0) return;
    return when(this.#ended(node), () => this.#options.nodes.settle(node));
  }

  /** Nobody has the inode open any more: what was written is committed, or nobody will see it. */
  #ended(node: Node): Awaitable<void> {
    const { committer, uploads } = this.#options;
    if (node.row.links > 0) return node.settledSequence < node.sequence ? committer.commit(node) : undefined;
    uploads.discard(node);
    return node.commitDone;
  }

  /** Attributes of a node or, without one, of a row. @throws OperatingError ESTALE; EDQUOT, to who writes on and on */
  attributes(ino: Ino, handle?: Handle): Awaitable<Attributes> {
    if (handle !== undefined) this.#reportQuota(ino, handle);
    const { nodes } = this.#options;
    return when(nodes.row(ino), (row) => attributesOf(row, nodes.get(ino)));
  }

  /** Commits what was written to an inode, before it gets a name that others look for. @throws what kept it from being committed. */
  commitInode(ino: Ino): Awaitable<void> {
    const node = this.#options.nodes.get(ino);
    return node?.top === undefined ? undefined : this.#commit(node);
  }

  /** @throws what kept it from being committed */
  #commit(node: Node): Awaitable<void> {
    const { poisons } = node;
    return when(this.#options.committer.commit(node), () => {
      if (node.poisons !== poisons) throw must(node.lastError, 'a poisoned upload has its reason');
    });
  }
}
