/**
 * Operations on ranges of open files: holes and where they are, and copies that share extents instead of moving bytes. They work on committed
 * content: what a file's upload holds is committed first, so that only rows are left to change. Called by pool-namespace.ts.
 *
 * Keeps I3 for each step: one transaction changes extents, length, times and references together. A hole in a file of very many extents takes
 * several, each of which leaves a smaller hole.
 */
import { must } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { CHANGE_STEP_BYTES, CHANGE_STEP_ROWS, FILE_BYTES_MAX, PACK_EXTENT_BYTES_MIN, SEEK_ROWS } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { sliceExtent } from '../index/schema/extent-row.js';
import { changedInode, type InodeRow } from '../index/schema/inode-row.js';
import { extentRange, packableKey } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import type { Change } from './change.js';
import type { Committer } from './commits.js';
import { clearRange, extentOfRow, overlapping, putExtent } from './content.js';
import { refuse } from './directories.js';
import type { Ledger } from './ledger.js';
import { privilegesLost } from './modes.js';
import type { AllocateMode, Caller } from './namespace.js';
import type { Node } from './node.js';
import type { Uploads } from './uploads.js';

export interface RangesOptions {
  readonly ledger: Ledger;
  readonly uploads: Uploads;
  readonly committer: Committer;
  readonly clock: Clock;
  /** Inline bytes were committed that a pack could hold. */
  readonly onPackable: (ino: number, bytes: number) => void;
}

/** A place in an open file. */
export interface FilePlace {
  readonly node: Node;
  readonly offset: number;
}

interface Stretch {
  /** In order; the first and the last one may reach beyond. */
  readonly extents: readonly Extent[];
  /** Everything before this offset is in `extents`. */
  readonly end: number;
}

export class Ranges {
  readonly #options: RangesOptions;

  constructor(options: RangesOptions) {
    this.#options = options;
  }

  /**
   * lseek(2) with SEEK_DATA or SEEK_HOLE. While somebody may write, everything counts as data: the kernel may hold pages that we have not seen, and
   * who skips a hole must not lose them. Where the file ends it must have told before.
   * @throws OperatingError ENXIO: `offset` is at or behind the end, or nothing but a hole follows; what kept written data from being committed.
   */
  async seek(node: Node, offset: number, whence: 'data' | 'hole'): Promise<number> {
    if (node.openForWriting) {
      if (offset >= node.size) refuse('ENXIO', `offset ${offset} is behind the end`);
      return whence === 'data' ? offset : node.size;
    }
    await this.#settle(node);
    const { ledger, clock } = this.#options;
    // Mostly the first or the second one answers, and who copies a file asks for each.
    let limit = SEEK_ROWS;
    for (let at = offset; ;) {
      const { size, generation, ino } = node.row;
      if (offset >= size) refuse('ENXIO', `offset ${offset} is behind the end`);
      const before = at === 0 ? undefined : (await ledger.index.scan(extentRange(ino, generation, 0, at, 1, true)))[0];
      const rows = await ledger.index.scan(extentRange(ino, generation, at, size, limit));
      const extents = (before === undefined ? rows : [before, ...rows]).map(extentOfRow);
      for (const extent of extents) {
        const end = extent.offset + extent.bytes;
        if (end <= at) continue;
        if (whence === 'data') return Math.max(at, extent.offset);
        if (extent.offset > at) return at;
        at = Math.min(end, size);
      }
      if (rows.length < limit) return whence === 'hole' ? at : refuse('ENXIO', `only a hole follows offset ${offset}`);
      limit = Math.min(limit * 4, CHANGE_STEP_ROWS);
      await clock.yield();
    }
  }

  /**
   * fallocate(2). Without `punch` or `zero` nothing is set aside: it says ENOSPC when there is no room now, and makes the file longer.
   * @throws OperatingError EFBIG, ENOSPC, EDQUOT; what kept written data from being committed.
   */
  async allocate(node: Node, offset: number, bytes: number, mode: AllocateMode, caller: Caller): Promise<void> {
    const end = offset + bytes;
    if (end > FILE_BYTES_MAX) refuse('EFBIG', `a file has at most ${FILE_BYTES_MAX} bytes`);
    const { uploads } = this.#options;
    if (!mode.punch && !mode.zero) {
      const more = end - Math.max(offset, node.size);
      if (!uploads.hasRoom(Math.max(more, 1))) await uploads.makeRoom(Math.max(more, 1));
      if (more > 0) uploads.checkQuota(node, more);
    }
    this.#changed(node, caller);
    const layer = uploads.open(node);
    if (!mode.keepSize && end > layer.size) layer.truncate(end);
    await this.#settle(node);
    if (mode.punch || mode.zero) await this.#clear(node, offset, end);
  }

  async #clear(node: Node, offset: number, end: number): Promise<void> {
    const { ledger, clock } = this.#options;
    for (let at = offset; at < end;) {
      const from = at;
      at = (
        await ledger.change(async (change) => {
          const row = await this.#row(change, node);
          const stop = Math.min(end, row.size);
          if (from >= stop) return end;
          const { droppedBytes, reached } = await clearRange(change, row, from, stop);
          change.count(0, -droppedBytes);
          change.putInode(changedInode(row, { allocatedBytes: row.allocatedBytes - droppedBytes }));
          change.afterwards(() => {
            node.contentVersion++;
          });
          return reached >= stop ? end : reached;
        })
      ).value;
      if (at < end) await clock.yield();
    }
  }

  /**
   * copy_file_range(2): the target refers to the source's blobs from then on; no byte of them moves. One transaction, so it may copy less than asked.
   * @returns bytes copied; 0 at the end of the source
   * @throws OperatingError EFBIG, EDQUOT; what kept written data of either file from being committed.
   */
  async copy(source: FilePlace, target: FilePlace, bytes: number, caller: Caller): Promise<number> {
    if (target.offset + bytes > FILE_BYTES_MAX) refuse('EFBIG', `a file has at most ${FILE_BYTES_MAX} bytes`);
    await this.#settle(source.node);
    this.#changed(target.node, caller);
    await this.#settle(target.node);
    const { ledger, onPackable, uploads } = this.#options;
    uploads.lostEnds.checkPut(target.node, target.offset);
    let packableBytes = 0;
    const { value, position } = await ledger.change(async (change) => {
      const from = await this.#row(change, source.node);
      const to = await this.#row(change, target.node);
      const { extents, end } = await stretchOf(change, from, source.offset, Math.min(source.offset + bytes, from.size));
      const wanted = target.offset + end - source.offset;
      if (wanted <= target.offset) return 0;
      const { droppedBytes, reached } =
        target.offset >= to.size ? { droppedBytes: 0, reached: wanted } : await clearRange(change, to, target.offset, wanted);
      const shift = target.offset - source.offset;
      let copiedBytes = 0;
      packableBytes = 0;
      for (const extent of extents) {
        const start = Math.max(extent.offset, source.offset);
        const stop = Math.min(extent.offset + extent.bytes, reached - shift);
        if (start >= stop) continue;
        const copied = sliceExtent(extent, start, stop);
        putExtent(change, to, { ...copied, offset: start + shift });
        copiedBytes += copied.bytes;
        if (copied.kind === 'inline' && copied.bytes > PACK_EXTENT_BYTES_MIN) packableBytes += copied.bytes;
      }
      const size = Math.max(to.size, reached);
      change.count(0, copiedBytes - droppedBytes);
      change.putInode({ ...to, size, allocatedBytes: to.allocatedBytes + copiedBytes - droppedBytes });
      if (packableBytes > 0) change.tx.put(packableKey(to.ino), encodeNumber(0));
      change.afterwards(() => {
        target.node.contentVersion++;
        // Pages of other ranges may have been written back meanwhile: that upload must not make the file shorter again.
        for (const layer of [target.node.committing, target.node.current])
          if (layer !== undefined && layer.cutOffset === Infinity) layer.size = Math.max(layer.size, size);
      });
      return reached - target.offset;
    });
    if (position > 0) target.node.position = position;
    if (packableBytes > 0) onPackable(target.node.ino, packableBytes);
    return value;
  }

  async #row(change: Change, node: Node): Promise<InodeRow> {
    return (await change.inode(node.ino)) ?? refuse('ESTALE', `inode ${node.ino} is gone`);
  }

  /** The content is about to change: times, unless the caller tells them, and set-id bits for all but root. */
  #changed(node: Node, caller: Caller): void {
    const layer = this.#options.uploads.open(node);
    if (caller.datesContent !== true) layer.times.mtime = layer.times.ctime = this.#options.clock.now();
    if (caller.uid !== 0) layer.modeLost |= privilegesLost(node.row, caller);
  }

  /** Commits what was written so far. @throws why it is lost. */
  async #settle(node: Node): Promise<void> {
    if (node.top === undefined) return;
    const { poisons } = node;
    await this.#options.committer.commit(node);
    if (node.poisons !== poisons) throw must(node.lastError, 'a poisoned upload has its reason');
  }
}

/** Extents that overlap `start` … `end`, as many as one transaction may copy. */
async function stretchOf(change: Change, row: InodeRow, start: number, end: number): Promise<Stretch> {
  if (start >= end) return { extents: [], end: start };
  const { extents: found, all } = await overlapping(change, row, start, end);
  const extents: Extent[] = [];
  let inlineBytes = 0;
  for (const extent of found) {
    if (extent.kind === 'inline') inlineBytes += extent.bytes;
    if (extents.length > 0 && inlineBytes > CHANGE_STEP_BYTES) return { extents, end: extent.offset };
    extents.push(extent);
  }
  const last = extents.at(-1);
  const complete = all || last === undefined;
  return { extents, end: complete ? end : Math.min(end, last.offset + last.bytes) };
}
