/**
 * Commits: a layer becomes the file's content. What is still in memory is stored (small runs ride in the transaction), then one transaction puts
 * the extents, the length and the times, and ends the upload (I2, I3). Only a commit that would not fit into one log entry is cut into several, each
 * of them a version that could as well have been committed had the writes come in another order.
 *
 *   frozen ──parts settled, runs stored──▶ prepared ──transaction──▶ committed
 *      └────────────any failure──────────────┴──▶ poisoned
 */
import { assert, must } from '../base/assert.js';
import { when, type Awaitable } from '../base/awaitable.js';
import { asOperatingError } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import { CHANGE_STEP_BYTES, CHANGE_STEP_ROWS, COMMIT_INLINE_BYTES_MAX, PACK_EXTENT_BYTES_MIN } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { inlineData, sliceExtent } from '../index/schema/extent-row.js';
import { changedInode, type InodeRow } from '../index/schema/inode-row.js';
import { extentRange, garbageKey, packableKey } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import type { Storage, StoredBlob } from '../storage/storage.js';
import type { BlobWriter } from './blob-writer.js';
import type { Change } from './change.js';
import { clearRange, cutContent, dropContent, putExtent, type Step as Cleared } from './content.js';
import type { FreshExtent, FreshFile } from './fresh-files.js';
import type { Layer } from './layer.js';
import type { Ledger } from './ledger.js';
import type { ChunkMemory } from './memory.js';
import type { Node } from './node.js';
import { withLayer } from './node.js';
import { abortUpload, dropParts } from './parts.js';
import type { Uploads } from './uploads.js';

/** Dirty bytes that lie side by side in one window. */
interface Stretch {
  readonly start: number;
  end: number;
  readonly parts: Buffer[];
}

/** A blob that is being stored, and what is in it. */
interface Stores {
  readonly stretches: readonly Stretch[];
  readonly stored: Promise<StoredBlob>;
}

/** Extents to come, in order, and the blobs that are only for them. */
interface Prepared {
  readonly extents: Extent[];
  readonly blobs: StoredBlob[];
  readonly packableBytes: number;
}

/** Where the next step of a commit goes on. */
interface Cursor {
  readonly index: number;
  readonly offset: number;
}

/** A layer on its way. */
interface Run {
  readonly node: Node;
  readonly layer: Layer;
  /** Of the node, when it began. */
  readonly sequence: number;
  readonly leavingBytes: number;
  prepared: Prepared | undefined;
}

/** How a step of a commit ended. */
interface Stepped {
  readonly next: Cursor | undefined;
  /** Parts of the upload are still there. */
  readonly partsLeft: boolean;
  /** The inode is gone, or the layer is dead. */
  readonly gone: boolean;
}

/** What a step of a commit has come to. */
interface Step {
  readonly row: InodeRow;
  index: number;
  offset: number;
  size: number;
  allocatedBytes: number;
  readonly fresh: FreshExtent[];
  /** Where inline extents may begin now. */
  readonly inline: number[];
}

export interface CommitterOptions {
  readonly ledger: Ledger;
  /** Lets others have their turn between the steps of what is long. */
  readonly clock: Pick<Clock, 'yield'>;
  readonly storage: Storage;
  readonly writer: BlobWriter;
  readonly uploads: Uploads;
  readonly memory: ChunkMemory;
  /** Inline bytes were committed that a pack could hold. `file`: they are all that the file has of the kind. Called among the effects of the commit. */
  readonly onPackable: (bytes: number, file?: FreshFile) => void;
  /** After a step of a commit inline extents may begin there. Called among its effects. */
  readonly onInline: (ino: number, offsets: readonly number[]) => void;
  /** A commit is over. */
  readonly onSettled: (node: Node) => void;
}

export class Committer {
  readonly #options: CommitterOptions;
  /** Cuts that an error interrupted: what they left must go before the file grows again. */
  readonly #unfinishedCuts = new Map<number, number>();

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Commits everything written to the node before this call, or it is lost and told to its handles. Neither throws nor rejects. */
  commit(node: Node): Promise<void> | undefined {
    return this.#commitUpTo(node, node.sequence);
  }

  #commitUpTo(node: Node, target: number): Promise<void> | undefined {
    while (node.settledSequence < target) {
      if (node.commitDone === undefined && node.current === undefined) return undefined;
      const done = node.commitDone ?? this.#begin(node);
      if (done !== undefined) return done.then(() => this.#commitUpTo(node, target));
    }
    return undefined;
  }

  /** Undefined: it is over already. */
  #begin(node: Node): Promise<void> | undefined {
    const { uploads, memory, onSettled } = this.#options;
    const { sequence } = node;
    const layer = uploads.freeze(node);
    const leavingBytes = layer.dirtyMemoryBytes();
    memory.budget.leaving(leavingBytes);
    const run: Run = { node, layer, sequence, leavingBytes, prepared: undefined };
    let running: Awaitable<void> = undefined;
    try {
      running = this.#commit(run);
    } catch (error) {
      uploads.poison(node, layer, asOperatingError(error));
    }
    const ending = running instanceof Promise ? this.#endLater(run, running) : this.#end(run);
    if (ending === undefined) onSettled(node);
    else
      node.commitDone = ending.finally(() => {
        node.commitDone = undefined;
        onSettled(node);
      });
    return node.commitDone;
  }

  #commit(run: Run): Awaitable<void> {
    const { node, layer } = run;
    // Now, before more can be lost that this layer has nothing to do with.
    this.#options.uploads.lostEnds.check(node, layer);
    return layer.parts.size > 0 ? this.#commitBehindParts(run) : this.#commitStored(run);
  }

  async #commitBehindParts(run: Run): Promise<void> {
    for (const chunk of run.layer.parts) await chunk.settled;
    await this.#commitStored(run);
  }

  #commitStored(run: Run): Awaitable<void> {
    const { node, layer } = run;
    if (layer.dead) return;
    return when(this.#prepare(layer), (prepared) => {
      run.prepared = prepared;
      if (layer.dead) return;
      return when(this.#apply(node, layer, prepared), () => {
        if (!layer.dead) this.#options.uploads.lostEnds.committed(node.ino, layer);
      });
    });
  }

  async #endLater(run: Run, running: Promise<void>): Promise<void> {
    try {
      await running;
    } catch (error) {
      this.#options.uploads.poison(run.node, run.layer, asOperatingError(error));
    }
    await this.#end(run);
  }

  #end({ node, layer, sequence, leavingBytes, prepared }: Run): Promise<void> | undefined {
    if (node.committing === layer) node.committing = undefined;
    node.settledSequence = node.current === undefined ? node.sequence : Math.max(node.settledSequence, sequence);
    this.#options.memory.budget.left(leavingBytes);
    layer.close();
    return layer.dead ? this.#abandon(prepared) : undefined;
  }

  /** Blobs of a dead layer go to the collector. */
  async #abandon(prepared: Prepared | undefined): Promise<void> {
    for (const stored of prepared?.blobs ?? []) await this.#options.writer.abandon(stored);
  }

  /** Stores what is in memory. */
  #prepare(layer: Layer): Awaitable<Prepared> {
    const { storage } = this.#options;
    const extents: Extent[] = [];
    const small: Stretch[] = [];
    const stores: Stores[] = [];
    for (const stretch of this.#stretches(layer, extents)) {
      if (stretch.end - stretch.start < storage.smallBytesMax) small.push(stretch);
      else stores.push({ stretches: [stretch], stored: this.#storeStretches([stretch]) });
    }
    const inline = this.#gatherSmall(small, stores);
    let packableBytes = 0;
    for (const { start, parts } of inline) {
      // A view is enough: rows are encoded before the layer gives its memory back.
      const data = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
      if (data.length > PACK_EXTENT_BYTES_MIN) packableBytes += data.length;
      extents.push({ kind: 'inline', offset: start, bytes: data.length, data });
    }
    return when(stores.length === 0 ? [] : this.#stored(stores, extents), (blobs) => {
      extents.sort((a, b) => a.offset - b.offset);
      return { extents, blobs, packableBytes };
    });
  }

  /** Waits for blobs that are being stored, and gives the extents that are in them to `extents`. */
  async #stored(stores: readonly Stores[], extents: Extent[]): Promise<StoredBlob[]> {
    // All of them settle before anything else happens to their memory.
    const settled = await Promise.allSettled(stores.map(({ stored }) => stored));
    const blobs: StoredBlob[] = [];
    let failure: Error | undefined;
    settled.forEach((result, at) => {
      if (result.status === 'rejected') {
        failure ??= asOperatingError(result.reason);
        return;
      }
      blobs.push(result.value);
      let blobOffset = 0;
      for (const { start, end } of stores[at]?.stretches ?? []) {
        const bytes = end - start;
        extents.push({ kind: 'blob', offset: start, bytes, blob: result.value.location.blob, blobOffset });
        blobOffset += bytes;
      }
    });
    if (failure !== undefined) {
      for (const stored of blobs) await this.#options.writer.abandon(stored);
      throw failure;
    }
    return blobs;
  }

  /** Dirty stretches of a layer. Parts that are stored already go to `extents`. */
  #stretches(layer: Layer, extents: Extent[]): Stretch[] {
    const stretches: Stretch[] = [];
    const { windowBytes } = this.#options.memory;
    for (const { start, end, value: chunk } of layer.ranges.ranges) {
      if (chunk.stored !== undefined) {
        const { blob } = chunk.stored.location;
        extents.push({ kind: 'blob', offset: start, bytes: end - start, blob, blobOffset: start - chunk.base });
        continue;
      }
      assert(chunk.buffer !== undefined, 'dirty bytes without memory');
      const bytes = chunk.buffer.subarray(start - chunk.base, end - chunk.base);
      const last = stretches.at(-1);
      if (last !== undefined && last.end === start && start % windowBytes !== 0) {
        last.end = end;
        last.parts.push(bytes);
      } else stretches.push({ start, end, parts: [bytes] });
    }
    return stretches;
  }

  #storeStretches(stretches: readonly Stretch[]): Promise<StoredBlob> {
    const parts = stretches.flatMap((stretch) => stretch.parts);
    const only = parts[0];
    return parts.length === 1 && only !== undefined ? this.#options.writer.store(only) : this.#options.writer.gather(parts);
  }

  /** Gathers small stretches into blobs when they are too many to ride along. Returns those that do ride. */
  #gatherSmall(small: Stretch[], stores: Stores[]): Stretch[] {
    const { storage } = this.#options;
    const bytes = small.reduce((sum, { start, end }) => sum + end - start, 0);
    if (bytes <= COMMIT_INLINE_BYTES_MAX) return small;
    let group: Stretch[] = [];
    let groupBytes = 0;
    const inline: Stretch[] = [];
    const close = (): void => {
      if (groupBytes >= storage.smallBytesMax) stores.push({ stretches: group, stored: this.#storeStretches(group) });
      else inline.push(...group);
      group = [];
      groupBytes = 0;
    };
    for (const stretch of small) {
      const stretchBytes = stretch.end - stretch.start;
      if (groupBytes + stretchBytes > storage.blobBytesMax) close();
      group.push(stretch);
      groupBytes += stretchBytes;
    }
    close();
    return inline;
  }

  /** The swap. */
  #apply(node: Node, layer: Layer, prepared: Prepared): Awaitable<void> {
    // Not counted twice; that it fits, the transaction itself sees to.
    this.#options.uploads.unreserve(layer);
    const { cutOffset } = layer;
    const cuts = cutOffset > 0 && cutOffset < node.row.size;
    const cut = cuts || this.#unfinishedCuts.has(node.ino) ? this.#cutLong(node, cuts ? cutOffset : undefined) : undefined;
    return when(cut, () =>
      when(this.#applyStep(node, layer, prepared, undefined), (stepped) =>
        stepped.next === undefined && !stepped.partsLeft ? undefined : this.#applyRest(node, layer, prepared, stepped),
      ),
    );
  }

  async #applyRest(node: Node, layer: Layer, prepared: Prepared, first: Stepped): Promise<void> {
    let stepped = first;
    while (stepped.next !== undefined) {
      await this.#options.clock.yield();
      stepped = await this.#applyStep(node, layer, prepared, stepped.next);
    }
    if (stepped.partsLeft && layer.upload !== undefined) await abortUpload(this.#options.ledger, layer.upload);
  }

  /** @param from undefined: the first step, with what the layer cut off */
  #applyStep(node: Node, layer: Layer, prepared: Prepared, from: Cursor | undefined): Awaitable<Stepped> {
    const changed = this.#options.ledger.change((change) =>
      when(change.inode(node.ino), (row) => {
        if (row === undefined || layer.dead) return { next: undefined, partsLeft: true, gone: true };
        const shortened = from === undefined && layer.cutOffset < row.size ? this.#shortened(change, layer, row) : row;
        return when(shortened, (now) => this.#step(change, node, layer, prepared, from, now));
      }),
    );
    return when(changed, ({ value, position }) => {
      if (position > 0) node.position = position;
      if (value.gone) layer.dead = true;
      return value;
    });
  }

  /** The row after what the layer cut off. A content that is cut to nothing is replaced by a new, empty one. */
  #shortened(change: Change, layer: Layer, row: InodeRow): Awaitable<InodeRow> {
    const { cutOffset } = layer;
    if (cutOffset === 0)
      return when(dropContent(change, row), () =>
        changedInode(row, { size: 0, allocatedBytes: 0, generation: row.allocatedBytes === 0 ? row.generation : row.generation + 1 }),
      );
    return when(cutContent(change, row, cutOffset), ({ droppedBytes, reached }) => {
      assert(reached === Infinity, 'a long cut was not made before');
      change.count(0, -droppedBytes);
      return changedInode(row, { size: cutOffset, allocatedBytes: row.allocatedBytes - droppedBytes });
    });
  }

  /** Puts extents from `from` on, as many as one step takes; `next` is where the next step goes on, undefined after the last one. */
  #step(change: Change, node: Node, layer: Layer, prepared: Prepared, from: Cursor | undefined, row: InodeRow): Awaitable<Stepped> {
    const { index, offset } = from ?? { index: 0, offset: prepared.extents[0]?.offset ?? 0 };
    const { size, allocatedBytes } = row;
    const step: Step = { row, index, offset, size, allocatedBytes, fresh: [], inline: [] };
    return when(this.#putExtents(change, node, prepared, step), () => {
      const next = step.index < prepared.extents.length ? { index: step.index, offset: step.offset } : undefined;
      this.#putRow(change, layer, prepared, step, next === undefined);
      change.afterwards(() => {
        node.contentVersion++;
        if (next === undefined && node.committing === layer) node.committing = undefined;
      });
      const dropped = next === undefined && layer.upload !== undefined ? dropParts(change, layer.upload) : true;
      return when(dropped, (all) => ({ next, partsLeft: !all, gone: false }));
    });
  }

  /** @param puts of this step before */
  #putExtents(change: Change, node: Node, prepared: Prepared, step: Step, puts = 0): Awaitable<void> {
    const { extents } = prepared;
    for (let done = puts; step.index < extents.length; done++) {
      const extent = extents[step.index];
      assert(extent !== undefined && step.offset >= extent.offset, 'cursor behind its extent');
      if (done >= CHANGE_STEP_ROWS * 4 || (done > 0 && change.entryBytes > CHANGE_STEP_BYTES)) return;
      // Nothing lies behind the end of a content.
      const end = extent.offset + extent.bytes;
      const cleared = step.offset >= step.size ? undefined : clearRange(change, step.row, step.offset, end, node.writesAnew);
      if (cleared instanceof Promise)
        return cleared.then((later) => {
          this.#putExtent(change, node, extents, step, later);
          return this.#putExtents(change, node, prepared, step, done + 1);
        });
      this.#putExtent(change, node, extents, step, cleared);
    }
  }

  /** @param cleared what made room for it, as far as there is room now */
  #putExtent(change: Change, node: Node, extents: readonly Extent[], step: Step, cleared: Cleared | undefined): void {
    const { offset, row } = step;
    const extent = must(extents[step.index], 'the step goes on');
    const end = extent.offset + extent.bytes;
    const { droppedBytes, reached } = cleared ?? { droppedBytes: 0, reached: end };
    node.writesAnew = cleared?.anew === true;
    if (extent.kind === 'blob' && this.#options.ledger.locations.expected(extent.blob) !== undefined) change.bear(extent.blob);
    const value = putExtent(change, row, sliceExtent(extent, offset, reached));
    if (extent.kind === 'inline' && extent.bytes > PACK_EXTENT_BYTES_MIN) step.fresh.push({ offset, data: inlineData(value) });
    // And what is left of one that it lies in the middle of.
    step.inline.push(offset, reached);
    step.allocatedBytes += reached - offset - droppedBytes;
    step.size = Math.max(step.size, reached);
    step.offset = reached === end ? (extents[++step.index]?.offset ?? end) : reached;
  }

  #putRow(change: Change, layer: Layer, { packableBytes }: Prepared, step: Step, last: boolean): void {
    const { row, size, allocatedBytes, fresh, inline } = step;
    const { ino, generation } = row;
    change.count(0, allocatedBytes - row.allocatedBytes);
    change.putInode(withLayer(row, layer, { size: last ? layer.size : size, allocatedBytes }));
    if (packableBytes > 0) change.tx.put(packableKey(ino), encodeNumber(0));
    const bytes = fresh.reduce((sum, { data }) => sum + data.length, 0);
    const whole = row.allocatedBytes === 0 ? { ino, generation, extents: fresh, bytes } : undefined;
    change.afterwards(() => {
      this.#options.onInline(ino, inline);
      if (last && packableBytes > 0) this.#options.onPackable(packableBytes, whole);
    });
  }

  /** A cut that takes more extents than one transaction drops goes first, in steps that a crash may interrupt (`finishCuts`). */
  async #cutLong(node: Node, cutOffset: number | undefined): Promise<void> {
    const { ledger, clock } = this.#options;
    const { ino } = node;
    const { generation } = node.row;
    let offset = this.#unfinishedCuts.get(ino);
    if (cutOffset !== undefined) {
      const rows = await ledger.index.scan(extentRange(ino, generation, cutOffset, undefined, CHANGE_STEP_ROWS));
      if (rows.length === CHANGE_STEP_ROWS) offset = Math.min(offset ?? Infinity, cutOffset);
    }
    if (offset === undefined) return;
    const from = offset;
    this.#unfinishedCuts.set(ino, from);
    for (let done = false; !done;) {
      const step = await ledger.change((change) => cutStep(change, ino, from));
      if (step.position > 0) node.position = step.position;
      node.contentVersion++;
      done = step.value;
      if (!done) await clock.yield();
    }
    this.#unfinishedCuts.delete(ino);
  }
}

/**
 * One step of cutting a content at `offset`. The inode is shorter after the first one; a garbage row says that extents behind its end are still
 * there, which must go before it may grow again. Resolves true when they are gone.
 */
export async function cutStep(change: Change, ino: number, offset: number): Promise<boolean> {
  const row = await change.inode(ino);
  if (row === undefined) return true;
  const { droppedBytes, reached } = await cutContent(change, row, offset);
  const done = reached === Infinity;
  if (done) change.tx.delete(garbageKey(ino, row.generation));
  else change.tx.put(garbageKey(ino, row.generation), encodeNumber(offset));
  change.count(0, -droppedBytes);
  change.putInode(changedInode(row, { size: Math.min(row.size, offset), allocatedBytes: row.allocatedBytes - droppedBytes }));
  return done;
}
