/**
 * Committed extents for readers. The index is asked for a stretch of the manifest at a time, and the last stretch of each file is kept, so that a
 * sequential reader asks once in many reads, and one that jumps about in a file of a few hundred MiB once.
 */
import { LRUCache } from 'lru-cache';
import { EXTENT_CACHE_BYTES_MAX, EXTENT_STRETCH_ROWS } from '../base/limits.js';
import type { IndexStore } from '../index/index-store.js';
import type { Extent } from '../index/schema/extent-row.js';
import { extentRange } from '../index/schema/tables.js';
import { extentOfRow } from './content.js';
import type { Node } from './node.js';

/** All extents that overlap `start` … `end`. */
interface Stretch {
  readonly node: Node;
  readonly version: number;
  readonly start: number;
  readonly end: number;
  readonly extents: readonly Extent[];
}

const EXTENT_OBJECT_BYTES = 96;

export class Manifests {
  readonly #index: IndexStore;
  readonly #stretches = new LRUCache<number, Stretch>({
    maxSize: EXTENT_CACHE_BYTES_MAX,
    sizeCalculation: ({ extents }) =>
      extents.reduce((sum, extent) => sum + EXTENT_OBJECT_BYTES + (extent.kind === 'inline' ? extent.bytes : 0), EXTENT_OBJECT_BYTES),
  });

  constructor(index: IndexStore) {
    this.#index = index;
  }

  /** Extents that overlap `start` … `end`, in order; undefined when the content changed meanwhile: ask again. */
  async find(node: Node, start: number, end: number): Promise<Extent[] | undefined> {
    const found: Extent[] = [];
    for (let at = start; at < end;) {
      const stretch = this.#kept(node, at) ?? (await this.#scan(node, at));
      if (stretch === undefined) return undefined;
      for (const extent of stretch.extents)
        if (extent.offset < end && extent.offset + extent.bytes > at && found.at(-1) !== extent) found.push(extent);
      at = stretch.end;
    }
    return found;
  }

  /** What is known without asking: extents from `start` on. */
  known(node: Node, start: number): readonly Extent[] {
    return this.#kept(node, start)?.extents.filter((extent) => extent.offset >= start) ?? [];
  }

  #kept(node: Node, at: number): Stretch | undefined {
    const stretch = this.#stretches.get(node.ino);
    if (stretch === undefined || stretch.node !== node || stretch.version !== node.contentVersion) return undefined;
    return stretch.start <= at && at < stretch.end ? stretch : undefined;
  }

  async #scan(node: Node, at: number): Promise<Stretch | undefined> {
    const version = node.contentVersion;
    const { ino } = node;
    const { generation } = node.row;
    // The last extent that begins before `at`, which may reach so far, and those behind it; for a reader that did not come from the last stretch more of those before.
    const limit = this.#stretches.peek(ino)?.end === at ? 1 : EXTENT_STRETCH_ROWS;
    const back = at === 0 ? [] : await this.#index.scan(extentRange(ino, generation, 0, at, limit, true));
    const rows = await this.#index.scan(extentRange(ino, generation, at, undefined, EXTENT_STRETCH_ROWS));
    if (node.contentVersion !== version) return undefined;
    const before = back.reverse().map(extentOfRow);
    const after = rows.map(extentOfRow);
    const last = after.at(-1) ?? before.at(-1);
    const stretch = {
      node,
      version,
      start: back.length < limit ? 0 : Math.min(at, before[0]?.offset ?? at),
      end: rows.length < EXTENT_STRETCH_ROWS || last === undefined ? Infinity : last.offset + last.bytes,
      extents: [...before, ...after],
    };
    this.#stretches.set(ino, stretch);
    return stretch;
  }
}
