/**
 * Committed extents for readers. The index is asked for a stretch of the manifest at a time, and the last stretch of each file is kept, so that a
 * sequential reader asks once in many reads, and one that jumps about in a file of few extents once. Who jumps about in a file of many asks for what it
 * reads and no more: its next read is somewhere else.
 */
import { LRUCache } from 'lru-cache';
import { when, type Awaitable } from '../base/awaitable.js';
import { EXTENT_CACHE_BYTES_MAX, EXTENT_STRETCH_ROWS } from '../base/limits.js';
import type { IndexStore } from '../index/index-store.js';
import type { Extent } from '../index/schema/extent-row.js';
import { extentRange } from '../index/schema/tables.js';
import { extentOfRow, extentsBackFrom, onlyExtent } from './content.js';
import type { Node } from './node.js';

/** All extents that overlap `start` … `end`. */
interface Found {
  readonly start: number;
  readonly end: number;
  readonly extents: readonly Extent[];
}

interface Stretch extends Found {
  readonly node: Node;
  readonly version: number;
}

/** What V8 keeps, by a look at its heap: of a stretch with its inode, of an extent, and beside the bytes of an inline one. */
const STRETCH_OBJECT_BYTES = 800;
const EXTENT_OBJECT_BYTES = 128;
const INLINE_OBJECT_BYTES = 200;

/** Infinity where there is none. */
function meanBytes(extents: readonly Extent[]): number {
  return extents.length === 0 ? Infinity : extents.reduce((sum, { bytes }) => sum + bytes, 0) / extents.length;
}

export class Manifests {
  readonly #index: IndexStore;
  readonly #stretches = new LRUCache<number, Stretch>({
    maxSize: EXTENT_CACHE_BYTES_MAX,
    sizeCalculation: ({ extents }) =>
      extents.reduce(
        (sum, extent) => sum + EXTENT_OBJECT_BYTES + (extent.kind === 'inline' ? INLINE_OBJECT_BYTES + extent.bytes : 0),
        STRETCH_OBJECT_BYTES,
      ),
  });

  constructor(index: IndexStore) {
    this.#index = index;
  }

  /**
   * Extents that overlap `start` … `end`, in order; undefined when the content changed meanwhile: ask again.
   * @param onwards the reader goes on from where it was: it will want what follows
   */
  find(node: Node, start: number, end: number, onwards: boolean): Awaitable<Extent[] | undefined> {
    return this.#findOn(node, start, end, onwards, []);
  }

  /** @param found before `at` */
  #findOn(node: Node, at: number, end: number, onwards: boolean, found: Extent[]): Awaitable<Extent[] | undefined> {
    if (at >= end) return found;
    return when(this.#kept(node, at) ?? this.#scan(node, at, end, onwards), (stretch) => {
      if (stretch === undefined) return undefined;
      for (const extent of stretch.extents)
        if (extent.offset < end && extent.offset + extent.bytes > at && found.at(-1) !== extent) found.push(extent);
      return this.#findOn(node, stretch.end, end, onwards, found);
    });
  }

  /** What is known without asking: extents that reach beyond `start`. */
  known(node: Node, start: number): readonly Extent[] {
    return this.#kept(node, start)?.extents.filter((extent) => extent.offset + extent.bytes > start) ?? [];
  }

  #kept(node: Node, at: number): Stretch | undefined {
    const stretch = this.#stretches.get(node.ino);
    if (stretch === undefined || stretch.node !== node || stretch.version !== node.contentVersion) return undefined;
    return stretch.start <= at && at < stretch.end ? stretch : undefined;
  }

  /** From `at` on; as far as `end` at least, unless there are very many extents. */
  #scan(node: Node, at: number, end: number, onwards: boolean): Awaitable<Stretch | undefined> {
    const version = node.contentVersion;
    const last = this.#stretches.peek(node.ino);
    const extentBytes = last?.node === node ? meanBytes(last.extents) : Infinity;
    const few = node.row.allocatedBytes <= extentBytes * EXTENT_STRETCH_ROWS;
    const expected = few || onwards ? Infinity : Math.ceil((end - at) / extentBytes) + 1;
    const exact = expected < EXTENT_STRETCH_ROWS ? this.#exactly(node, at, end, expected) : undefined;
    return when(exact ?? (at === 0 ? this.#only(node) : undefined), (some) =>
      when(some ?? this.#widely(node, at), (found) => {
        if (node.contentVersion !== version) return undefined;
        const stretch = { node, version, ...found };
        this.#stretches.set(node.ino, stretch);
        return stretch;
      }),
    );
  }

  #exactly({ ino, row }: Node, at: number, end: number, limit: number): Awaitable<Found | undefined> {
    return when(extentsBackFrom(this.#index, { ino, generation: row.generation }, at, end, limit), (extents) => {
      if (extents === undefined) return undefined;
      const latest = extents.at(-1);
      return {
        start: Math.min(at, extents[0]?.offset ?? at),
        end: Math.max(end, latest === undefined ? 0 : latest.offset + latest.bytes),
        extents,
      };
    });
  }

  #only({ row }: Node): Awaitable<Found | undefined> {
    return when(onlyExtent(this.#index, row), (only) => only && { start: 0, end: Infinity, extents: [only] });
  }

  /** From `at` on, and for a reader that did not come from the last stretch what lies before. */
  #widely({ ino, row }: Node, at: number): Awaitable<Found> {
    // The last extent that begins before `at` may reach so far.
    const limit = this.#stretches.peek(ino)?.end === at ? 1 : EXTENT_STRETCH_ROWS;
    const behind = at === 0 ? [] : this.#index.scan(extentRange(ino, row.generation, 0, at, limit, true));
    return when(behind, (back) =>
      when(this.#index.scan(extentRange(ino, row.generation, at, undefined, EXTENT_STRETCH_ROWS)), (rows) => {
        const before = back.reverse().map(extentOfRow);
        const extents = [...before, ...rows.map(extentOfRow)];
        const latest = extents.at(-1);
        return {
          start: back.length < limit ? 0 : Math.min(at, before[0]?.offset ?? at),
          end: rows.length < EXTENT_STRETCH_ROWS || latest === undefined ? Infinity : latest.offset + latest.bytes,
          extents,
        };
      }),
    );
  }
}
