/**
 * What the namespace knows of an inode beyond its row while somebody uses it: open files, changes that are not committed, how often its content
 * changed. A node exists while it has a handle or a layer.
 */
import type { Time } from '../base/clock.js';
import type { OperatingError } from '../base/errors.js';
import { changedInode, type InodeRow } from '../index/schema/inode-row.js';
import { later, sameTime } from './file-clock.js';
import type { Layer } from './layer.js';
import { isRegular } from './modes.js';
import type { Attributes, Handle } from './namespace.js';

/** One open file. */
export interface OpenFile {
  readonly handle: Handle;
  readonly node: Node;
  readonly writes: boolean;
  /** An upload was poisoned while this was open: the next flush or fsync says so, once. */
  error: OperatingError | undefined;
  /** Where a sequential reader goes on. */
  expectedOffset: number;
  /** How many of its last reads were each near where the one before ended. */
  nearReads: number;
}

export class Node {
  readonly ino: number;
  /** The committed row. */
  row: InodeRow;
  readonly handles = new Set<OpenFile>();
  /** Those who keep it without having it open. */
  holds = 0;
  /** Made without a name, and has had none yet: it may be given one. */
  linkable = false;
  /** Takes new writes. */
  current: Layer | undefined;
  /** Is becoming visible. */
  committing: Layer | undefined;
  /** The commit in flight; never rejects. */
  commitDone: Promise<void> | undefined;
  /** Layers begun. */
  sequence = 0;
  /** Layers up to this one are committed or dead. */
  settledSequence = 0;
  /** Log position of the last commit of content or of times. */
  position = 0;
  /** Grows when the committed extents change. */
  contentVersion = 0;
  /** The last extent that was committed took the place of one that began there: a guess at the next one. */
  writesAnew = false;
  /** Uploads that failed. */
  poisons = 0;
  lastError: OperatingError | undefined;

  constructor(row: InodeRow) {
    this.ino = row.ino;
    this.row = row;
  }

  get top(): Layer | undefined {
    return this.current ?? this.committing;
  }

  /** Length of the file as everybody sees it. */
  get size(): number {
    return this.top?.size ?? this.row.size;
  }

  get openForWriting(): boolean {
    for (const file of this.handles) if (file.writes) return true;
    return false;
  }

  get idle(): boolean {
    return (
      this.handles.size + this.holds === 0 && this.current === undefined && this.committing === undefined && this.commitDone === undefined
    );
  }
}

/** A row with what a layer over it says about it, and with this size. */
export function withLayer(row: InodeRow, layer: Layer, { size, allocatedBytes }: Pick<InodeRow, 'size' | 'allocatedBytes'>): InodeRow {
  const { times, toldOver } = layer;
  const replaced = toldOver !== undefined && sameTime(toldOver, row.ctime);
  return changedInode(row, {
    mode: row.mode & ~layer.modeLost,
    size,
    allocatedBytes,
    atime: times.atime,
    mtime: times.mtime,
    // A change of the row that came after the layer's last one must not be dated back.
    ctime: times.ctime === undefined ? row.ctime : replaced ? times.ctime : later(row.ctime, times.ctime),
  });
}

/** Times for a layer; what is undefined stays. */
export interface GivenTimes {
  readonly atime?: Time | undefined;
  readonly mtime?: Time | undefined;
  readonly ctime: Time;
  /** By who dates changes: this ctime counts, even if the file has a later one. */
  readonly told: boolean;
}

/** Dates a node's current layer. */
export function dateLayer({ row, committing }: Node, layer: Layer, { atime, mtime, ctime, told }: GivenTimes): void {
  if (atime !== undefined) layer.times.atime = atime;
  if (mtime !== undefined) {
    layer.times.mtime = mtime;
    layer.mtimeGiven = true;
  }
  layer.times.ctime = ctime;
  // When this layer is committed, the row has what the one before it brings.
  layer.toldOver = told ? (committing === undefined ? row : withLayer(row, committing, row)).ctime : undefined;
}

/** Attributes as stat(2) gives them: the committed row, and what the node's layers change. */
export function attributesOf(row: InodeRow, node?: Node): Attributes {
  let seen = row;
  let allocatedBytes = row.allocatedBytes;
  for (const layer of node === undefined ? [] : [node.committing, node.current]) {
    if (layer === undefined) continue;
    if (layer.cutOffset === 0) allocatedBytes = 0;
    allocatedBytes += layer.liveBytes();
    seen = withLayer(seen, layer, { size: layer.size, allocatedBytes });
  }
  return {
    ino: row.ino,
    mode: seen.mode,
    links: row.links,
    uid: row.uid,
    gid: row.gid,
    rdev: row.rdev,
    size: seen.size,
    // A file's own row takes room, too. And the kernel goes on showing the number that it was told last while a file is open and written: programs such as tar -S
    // take 0 for a file that is all hole.
    blocks: Math.max(Math.ceil(allocatedBytes / 512), isRegular(row.mode) ? 1 : 0),
    atime: seen.atime,
    mtime: seen.mtime,
    ctime: seen.ctime,
    btime: row.btime,
  };
}
