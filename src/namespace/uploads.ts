/**
 * Uploads: how written data gets from the kernel's hands towards the index. Each inode with unsaved changes has one; its layers hold the bytes, its
 * parts are windows that were stored while writing went on. Nothing here is visible in the index until `Committer` swaps it in.
 *
 *   write ──▶ layer ──window full──▶ part stored (blob, part row) ──commit──▶ extents
 *                └──────────────────────commit────────────────────────────▶ extents
 *   any store fails ──▶ poisoned: nothing of it commits, every open handle is told once, the last committed version stands
 */
import { when, type Awaitable } from '../base/awaitable.js';
import { makeBlobId } from '../base/ids.js';
import type { Clock } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { FILE_BYTES_MAX, UPLOAD_RANGES_MAX } from '../base/limits.js';
import { must } from '../base/assert.js';
import type { StoredBlob } from '../storage/storage.js';
import type { Background } from './background.js';
import type { BlobWriter } from './blob-writer.js';
import { Layer } from './layer.js';
import { LostEnds } from './lost-ends.js';
import type { Ledger } from './ledger.js';
import type { Chunk, ChunkMemory } from './memory.js';
import { privilegesLost } from './modes.js';
import type { Caller, Ino } from './namespace.js';
import type { Node } from './node.js';
import type { Log } from './options.js';
import { abortUpload, putPart } from './parts.js';
import { overQuota } from './quotas.js';
import type { Space } from './space.js';

export interface UploadsOptions {
  readonly ledger: Ledger;
  readonly writer: BlobWriter;
  readonly memory: ChunkMemory;
  readonly space: Space;
  readonly clock: Clock;
  readonly log: Log;
  readonly epoch: number;
  readonly background: Background;
  readonly onInvalidate: (ino: Ino) => void;
}

export class Uploads {
  readonly #options: UploadsOptions;
  readonly #memory: ChunkMemory;
  /** Nodes with changes that nobody commits yet, oldest first. */
  readonly #dirty = new Set<Node>();
  /** Files that the kernel believes to be longer, or shorter, than they are. */
  readonly lostEnds = new LostEnds();
  /** Told when a node has changes, or too many separate ones. */
  onDirty: (node: Node, urgent: boolean) => void = () => undefined;
  #counter = 0;

  constructor(options: UploadsOptions) {
    this.#options = options;
    this.#memory = options.memory;
  }

  get dirty(): ReadonlySet<Node> {
    return this.#dirty;
  }

  /** The layer that takes changes now. */
  open(node: Node): Layer {
    if (node.current !== undefined) return node.current;
    const layer = new Layer(this.#memory, node.size, this.#options.clock.monotonicMs());
    node.current = layer;
    node.sequence++;
    this.#dirty.add(node);
    this.onDirty(node, false);
    return layer;
  }

  /** The node's layer goes to the committer. */
  freeze(node: Node): Layer {
    const layer = must(node.current, 'nothing to commit');
    layer.frozen = true;
    node.current = undefined;
    node.committing = layer;
    this.#dirty.delete(node);
    return layer;
  }

  /**
   * Takes a copy of `data` at once. A promise waits for memory.
   * @throws OperatingError EFBIG, ENOSPC, EDQUOT; and what poisoned the upload while it waited.
   */
  write(node: Node, offset: number, data: Uint8Array, caller: Caller): Awaitable<number> {
    if (data.length === 0) return 0;
    if (offset + data.length > FILE_BYTES_MAX) throw new OperatingError('EFBIG', `file would be longer than ${FILE_BYTES_MAX} bytes`);
    if (this.hasRoom(data.length)) return this.#write(node, offset, data, caller);
    const copy = Buffer.from(data);
    const refused = this.makeRoom(copy.length).then(() => undefined, asOperatingError);
    return refused.then((error) => this.#write(node, offset, copy, caller, error));
  }

  #write(node: Node, offset: number, data: Uint8Array, caller: Caller, refused?: OperatingError): Awaitable<number> {
    const error = refused ?? this.#reserve(node, offset, offset + data.length);
    if (error !== undefined) {
      if (node.current !== undefined) this.poison(node, node.current, error);
      else this.#tell(node, error);
      this.lostEnds.add(node, [], offset + data.length);
      throw error;
    }
    const layer = this.open(node);
    const full = layer.write(offset, data);
    if (caller.datesContent !== true && !layer.mtimeGiven) layer.times.mtime = layer.times.ctime = this.#options.clock.now();
    if (caller.uid !== 0) layer.modeLost |= privilegesLost(node.row, caller);
    for (const chunk of full) this.#storePart(node, layer, chunk);
    if (layer.ranges.size > UPLOAD_RANGES_MAX) this.onDirty(node, true);
    const { poisons } = node;
    return when(this.#memory.budget.room(data.length), () => {
      if (node.poisons !== poisons) throw must(node.lastError, 'a poisoned upload has its reason');
      return data.length;
    });
  }

  /**
   * Takes room in the file's quota for what a write is sure to add to it: what lies behind all that is stored. Whether more is added (holes that are filled), and
   * whether all of it fits, the commit finds out; this is only the earlier answer.
   */
  #reserve(node: Node, start: number, end: number): OperatingError | undefined {
    const { quota } = node.row;
    if (quota === 0) return undefined;
    const { quotas } = this.#options.ledger;
    const layers = [node.committing, node.current];
    const from = Math.max(start, Math.min(node.row.size, ...layers.map((layer) => layer?.cutOffset ?? Infinity)));
    if (from >= end) return undefined;
    let bytes = end - from;
    for (const layer of layers) bytes -= layer?.coveredBytes(from, end) ?? 0;
    if (bytes <= 0) return undefined;
    const written = (node.current?.reserved.written ?? 0) + bytes;
    const more = Math.max(0, written - cutBytes(node)) - (node.current?.reserved.bytes ?? 0);
    if (more > 0 && more > quotas.room(quota).bytes) return overQuota(quota, 'no more bytes');
    const layer = this.open(node);
    // The file may have come to another quota since the layer began: it stays as it was reserved.
    if (layer.reserved.quota === 0) layer.reserved = { quota, written: 0, bytes: 0 };
    layer.reserved.written = written;
    layer.reserved.bytes += more;
    quotas.reserve(layer.reserved.quota, more);
    return undefined;
  }

  /** A layer is about to be counted, or never will be. */
  unreserve({ reserved }: Layer): void {
    if (reserved.bytes > 0) this.#options.ledger.quotas.reserve(reserved.quota, -reserved.bytes);
    reserved.bytes = 0;
    reserved.written = 0;
  }

  /** Is there room for so much more in the file's quota? @throws OperatingError EDQUOT */
  checkQuota(node: Node, bytes: number): void {
    const { quota } = node.row;
    if (quota !== 0 && bytes > this.#options.ledger.quotas.room(quota).bytes) throw overQuota(quota, 'no more bytes');
  }

  /** Is there room for so much more user data, or for anything at all, beside what is on its way? */
  hasRoom(bytes = 1): boolean {
    const { space } = this.#options;
    const free = space.freeBytes - bytes;
    if (free >= this.#memory.budget.usedBytes) return true;
    let pendingBytes = 0;
    for (const node of this.#dirty) for (const layer of [node.committing, node.current]) pendingBytes += layer?.liveBytes() ?? 0;
    return free >= pendingBytes;
  }

  /** Waits for the space of what was deleted, as long as that helps. @throws OperatingError ENOSPC */
  async makeRoom(bytes = 1): Promise<void> {
    while (!this.hasRoom(bytes))
      if (!(await this.#options.space.reclaim()))
        throw new OperatingError('ENOSPC', 'the pool is full', { hint: 'delete something or add a disk' });
  }

  /** A full window goes to the disks while writing goes on. */
  #storePart(node: Node, layer: Layer, chunk: Chunk): void {
    layer.detach(chunk);
    layer.parts.add(chunk);
    chunk.state = 'storing';
    this.#memory.budget.leaving(chunk.bytes);
    chunk.settled = this.#store(node, layer, chunk).finally(() => {
      if (chunk.state === 'storing') chunk.state = 'gone';
      this.#memory.budget.left(chunk.bytes);
      this.#memory.release(chunk);
    });
    this.#options.background.track(chunk.settled);
  }

  async #store(node: Node, layer: Layer, chunk: Chunk): Promise<void> {
    const { writer, ledger, epoch } = this.#options;
    let stored: StoredBlob | undefined;
    try {
      stored = await writer.store(must(chunk.buffer, 'a window being stored has memory'));
      const { blob } = stored.location;
      if (layer.dead) {
        await writer.abandon(stored);
        return;
      }
      layer.upload ??= this.newUpload();
      const upload = layer.upload;
      await ledger.change(async (change) => {
        if (layer.dead) change.bear(blob);
        else putPart(change, upload, epoch, node.ino, blob);
      });
      if (layer.dead) return;
      chunk.stored = stored;
      chunk.state = 'stored';
    } catch (error) {
      this.poison(node, layer, asOperatingError(error));
      // The change may have come through all the same: then it is not expected any more.
      if (stored !== undefined) await writer.abandon(stored);
    }
  }

  /** A number for an upload that no other has, in any session. */
  newUpload(): number {
    return makeBlobId(this.#options.epoch, this.#counter++);
  }

  /**
   * An upload failed. The layer and what was written over it are dropped; the last committed version stands; every handle that is open now reports
   * the error once.
   */
  poison(node: Node, layer: Layer, error: OperatingError): void {
    if (layer.dead || (node.current !== layer && node.committing !== layer)) return;
    const lost = node.committing === layer && node.current !== undefined ? [layer, node.current] : [layer];
    this.lostEnds.add(node, lost);
    for (const dead of lost) this.#kill(dead);
    if (node.committing === layer) node.committing = undefined;
    node.current = undefined;
    if (node.committing === undefined) node.settledSequence = node.sequence;
    this.#dirty.delete(node);
    node.contentVersion++;
    this.#tell(node, error);
  }

  #tell(node: Node, error: OperatingError): void {
    node.poisons++;
    node.lastError = error;
    for (const file of node.handles) file.error ??= error;
    this.#options.log('error', `what was written to inode ${node.ino} is lost: ${error.message}`, { ino: node.ino, code: error.code });
    this.#options.onInvalidate(node.ino);
  }

  /** Drops changes that nobody will ever see: the file is gone. */
  discard(node: Node): void {
    if (node.current !== undefined) this.#kill(node.current);
    node.current = undefined;
    node.settledSequence = node.sequence;
    this.#dirty.delete(node);
  }

  #kill(layer: Layer): void {
    layer.dead = true;
    this.unreserve(layer);
    // A frozen layer's memory may be in use by the committer, which closes it.
    if (!layer.frozen) layer.close();
    if (layer.upload !== undefined)
      this.#options.background.run(`abort of upload ${layer.upload}`, abortUpload(this.#options.ledger, layer.upload));
  }
}

/** What the file's layer cuts off and makes room for, at most. */
function cutBytes({ row, committing, current }: Node): number {
  if (current === undefined || current.cutOffset === Infinity) return 0;
  const storedBytes = Math.min(row.allocatedBytes, Math.max(0, row.size - current.cutOffset));
  return storedBytes + (committing?.coveredBytes(current.cutOffset, Infinity) ?? 0);
}
