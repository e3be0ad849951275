/**
 * Commits: a layer becomes the file's content. What is still in memory is stored (small runs ride in the transaction), then one transaction puts
 * the extents, the length and the times, and ends the upload (I2, I3). Only a commit that would not fit into one log entry is cut into several, each
 * of them a version that could as well have been committed had the writes come in another order.
 *
 *   frozen ──parts settled, runs stored──▶ prepared ──transaction──▶ committed
 *      └────────────any failure──────────────┴──▶ poisoned
 */
import { assert } from '../base/assert.js';
import { asOperatingError } from '../base/errors.js';
import { CHANGE_STEP_BYTES, CHANGE_STEP_ROWS, COMMIT_INLINE_BYTES_MAX, PACK_EXTENT_BYTES_MIN } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { inlineData, sliceExtent } from '../index/schema/extent-row.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { extentRange, garbageKey, packableKey } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import type { Storage, StoredBlob } from '../storage/storage.js';
import type { BlobWriter } from './blob-writer.js';
import type { Change } from './change.js';
import { clearRange, cutContent, dropContent, putExtent } from './content.js';
import type { FreshExtent, FreshFile } from './fresh-files.js';
import type { Layer } from './layer.js';
import type { Ledger } from './ledger.js';
import type { ChunkMemory } from './memory.js';
import type { Node } from './node.js';
import { withLayer } from './node.js';
import { abortUpload, dropParts } from './parts.js';
import type { Uploads } from './uploads.js';

/** Dirty bytes that lie side by side in one window. */
interface Run {
  readonly start: number;
  end: number;
  readonly parts: Buffer[];
}

/** A blob that is being stored, and what is in it. */
interface Stores {
  readonly runs: readonly Run[];
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

export interface CommitterOptions {
  readonly ledger: Ledger;
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

  /** Resolves when everything written to the node before this call is committed, or lost and told to its handles. Never rejects. */
  async commit(node: Node): Promise<void> {
    const target = node.sequence;
    while (node.settledSequence < target) {
      if (node.commitDone === undefined) {
        if (node.current === undefined) return;
        node.commitDone = this.#runToEnd(node);
      }
      await node.commitDone;
    }
  }

  async #runToEnd(node: Node): Promise<void> {
    try {
      await this.#run(node);
    } finally {
      node.commitDone = undefined;
      this.#options.onSettled(node);
    }
  }

  async #run(node: Node): Promise<void> {
    const { uploads, memory } = this.#options;
    const { sequence } = node;
    const layer = uploads.freeze(node);
    const leavingBytes = layer.dirtyMemoryBytes();
    memory.budget.leaving(leavingBytes);
    let prepared: Prepared | undefined;
    try {
      // Now, before more can be lost that this layer has nothing to do with.
      uploads.lostEnds.check(node, layer);
      for (const chunk of layer.parts) await chunk.settled;
      if (layer.dead) return;
      prepared = await this.#prepare(layer);
      if (layer.dead) return;
      await this.#apply(node, layer, prepared);
      if (!layer.dead) uploads.lostEnds.committed(node.ino, layer);
    } catch (error) {
      uploads.poison(node, layer, asOperatingError(error));
    } finally {
      if (node.committing === layer) node.committing = undefined;
      node.settledSequence = node.current === undefined ? node.sequence : Math.max(node.settledSequence, sequence);
      memory.budget.left(leavingBytes);
      layer.close();
      if (layer.dead) await this.#abandon(prepared);
    }
  }

  /** Blobs of a dead layer go to the collector. */
  async #abandon(prepared: Prepared | undefined): Promise<void> {
    for (const stored of prepared?.blobs ?? []) await this.#options.writer.abandon(stored);
  }

  /** Stores what is in memory. */
  async #prepare(layer: Layer): Promise<Prepared> {
    const { storage } = this.#options;
    const extents: Extent[] = [];
    const small: Run[] = [];
    const stores: Stores[] = [];
    for (const run of this.#runs(layer, extents)) {
      if (run.end - run.start < storage.smallBytesMax) small.push(run);
      else stores.push({ runs: [run], stored: this.#storeRuns([run]) });
    }
    const inline = this.#gatherSmall(small, stores);
    let packableBytes = 0;
    for (const run of inline) {
      // A view is enough: rows are encoded before the layer gives its memory back.
      const data = run.parts.length === 1 && run.parts[0] !== undefined ? run.parts[0] : Buffer.concat(run.parts);
      if (data.length > PACK_EXTENT_BYTES_MIN) packableBytes += data.length;
      extents.push({ kind: 'inline', offset: run.start, bytes: data.length, data });
    }
    const blobs: StoredBlob[] = stores.length === 0 ? [] : await this.#stored(stores, extents);
    extents.sort((a, b) => a.offset - b.offset);
    return { extents, blobs, packableBytes };
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
      for (const run of stores[at]?.runs ?? []) {
        const bytes = run.end - run.start;
        extents.push({ kind: 'blob', offset: run.start, bytes, blob: result.value.location.blob, blobOffset });
        blobOffset += bytes;
      }
    });
    if (failure !== undefined) {
      for (const stored of blobs) await this.#options.writer.abandon(stored);
      throw failure;
    }
    return blobs;
  }

  /** Dirty runs of a layer. Parts that are stored already go to `extents`. */
  #runs(layer: Layer, extents: Extent[]): Run[] {
    const runs: Run[] = [];
    const { windowBytes } = this.#options.memory;
    for (const { start, end, value: chunk } of layer.ranges.ranges) {
      if (chunk.stored !== undefined) {
        const { blob } = chunk.stored.location;
        extents.push({ kind: 'blob', offset: start, bytes: end - start, blob, blobOffset: start - chunk.base });
        continue;
      }
      assert(chunk.buffer !== undefined, 'dirty bytes without memory');
      const bytes = chunk.buffer.subarray(start - chunk.base, end - chunk.base);
      const last = runs.at(-1);
      if (last !== undefined && last.end === start && start % windowBytes !== 0) {
        last.end = end;
        last.parts.push(bytes);
      } else runs.push({ start, end, parts: [bytes] });
    }
    return runs;
  }

  #storeRuns(runs: readonly Run[]): Promise<StoredBlob> {
    const parts = runs.flatMap((run) => run.parts);
    const only = parts[0];
    return parts.length === 1 && only !== undefined ? this.#options.writer.store(only) : this.#options.writer.gather(parts);
  }

  /** Gathers small runs into blobs when they are too many to ride along. Returns those that do ride. */
  #gatherSmall(small: Run[], stores: Stores[]): Run[] {
    const { storage } = this.#options;
    const bytes = small.reduce((sum, run) => sum + run.end - run.start, 0);
    if (bytes <= COMMIT_INLINE_BYTES_MAX) return small;
    let group: Run[] = [];
    let groupBytes = 0;
    const inline: Run[] = [];
    const close = (): void => {
      if (groupBytes >= storage.smallBytesMax) stores.push({ runs: group, stored: this.#storeRuns(group) });
      else inline.push(...group);
      group = [];
      groupBytes = 0;
    };
    for (const run of small) {
      const runBytes = run.end - run.start;
      if (groupBytes + runBytes > storage.blobBytesMax) close();
      group.push(run);
      groupBytes += runBytes;
    }
    close();
    return inline;
  }

  /** The swap. */
  async #apply(node: Node, layer: Layer, prepared: Prepared): Promise<void> {
    const { ledger, uploads } = this.#options;
    // Not counted twice; that it fits, the transaction itself sees to.
    uploads.unreserve(layer);
    const { cutOffset } = layer;
    const cuts = cutOffset > 0 && cutOffset < node.row.size;
    if (cuts || this.#unfinishedCuts.has(node.ino)) await this.#cutLong(node, cuts ? cutOffset : undefined);
    let cursor: Cursor | undefined = { index: 0, offset: prepared.extents[0]?.offset ?? 0 };
    let partsLeft = false;
    for (let first = true; cursor !== undefined; first = false) {
      const from: Cursor = cursor;
      const { value, position } = await ledger.change(async (change) => {
        const row = await change.inode(node.ino);
        if (row === undefined || layer.dead) return { next: undefined, partsLeft: false, gone: true };
        const next = await this.#step(
          change,
          node,
          layer,
          prepared,
          from,
          first && cutOffset < row.size ? await this.#shortened(change, layer, row) : row,
        );
        const left = next === undefined && layer.upload !== undefined && !(await dropParts(change, layer.upload));
        change.afterwards(() => {
          node.contentVersion++;
          if (next === undefined && node.committing === layer) node.committing = undefined;
        });
        return { next, partsLeft: left, gone: false };
      });
      if (position > 0) node.position = position;
      if (value.gone) layer.dead = true;
      cursor = value.next;
      partsLeft = value.partsLeft || value.gone;
    }
    if (partsLeft && layer.upload !== undefined) await abortUpload(ledger, layer.upload);
  }

  /** The row after what the layer cut off. A content that is cut to nothing is replaced by a new, empty one. */
  async #shortened(change: Change, layer: Layer, row: InodeRow): Promise<InodeRow> {
    const { cutOffset } = layer;
    if (cutOffset === 0) {
      await dropContent(change, row);
      return { ...row, size: 0, allocatedBytes: 0, generation: row.allocatedBytes === 0 ? row.generation : row.generation + 1 };
    }
    const { droppedBytes, reached } = await cutContent(change, row, cutOffset);
    assert(reached === Infinity, 'a long cut was not made before');
    change.count(0, -droppedBytes);
    return { ...row, size: cutOffset, allocatedBytes: row.allocatedBytes - droppedBytes };
  }

  /** Puts extents from `from` on, as many as one step takes. Resolves where the next step goes on; undefined after the last one. */
  async #step(
    change: Change,
    node: Node,
    layer: Layer,
    { extents, packableBytes }: Prepared,
    from: Cursor,
    row: InodeRow,
  ): Promise<Cursor | undefined> {
    let { index, offset } = from;
    let { allocatedBytes, size } = row;
    const fresh: FreshExtent[] = [];
    const inline: number[] = [];
    for (let puts = 0; index < extents.length; puts++) {
      const extent = extents[index];
      assert(extent !== undefined && offset >= extent.offset, 'cursor behind its extent');
      if (puts >= CHANGE_STEP_ROWS * 4 || (puts > 0 && change.entryBytes > CHANGE_STEP_BYTES)) break;
      const end = extent.offset + extent.bytes;
      // Nothing lies behind the end of a content.
      const cleared = offset >= size ? undefined : await clearRange(change, row, offset, end, node.writesAnew);
      const { droppedBytes, reached } = cleared ?? { droppedBytes: 0, reached: end };
      node.writesAnew = cleared?.anew === true;
      if (extent.kind === 'blob' && this.#options.ledger.locations.expected(extent.blob) !== undefined) change.bear(extent.blob);
      const value = putExtent(change, row, sliceExtent(extent, offset, reached));
      if (extent.kind === 'inline' && extent.bytes > PACK_EXTENT_BYTES_MIN) fresh.push({ offset, data: inlineData(value) });
      // And what is left of one that it lies in the middle of.
      inline.push(offset, reached);
      allocatedBytes += reached - offset - droppedBytes;
      size = Math.max(size, reached);
      offset = reached;
      if (reached === end) offset = extents[++index]?.offset ?? end;
    }
    const last = index >= extents.length;
    change.count(0, allocatedBytes - row.allocatedBytes);
    change.putInode({ ...withLayer(row, layer), size: last ? layer.size : size, allocatedBytes });
    if (packableBytes > 0) change.tx.put(packableKey(row.ino), encodeNumber(0));
    change.afterwards(() => {
      this.#options.onInline(row.ino, inline);
    });
    if (last && packableBytes > 0) {
      const { ino, generation } = row;
      const bytes = fresh.reduce((sum, { data }) => sum + data.length, 0);
      const whole = row.allocatedBytes === 0 ? { ino, generation, extents: fresh, bytes } : undefined;
      change.afterwards(() => {
        this.#options.onPackable(packableBytes, whole);
      });
    }
    return last ? undefined : { index, offset };
  }

  /** A cut that takes more extents than one transaction drops goes first, in steps that a crash may interrupt (`finishCuts`). */
  async #cutLong(node: Node, cutOffset: number | undefined): Promise<void> {
    const { ledger } = this.#options;
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
  change.putInode({ ...row, size: Math.min(row.size, offset), allocatedBytes: row.allocatedBytes - droppedBytes });
  return done;
}
