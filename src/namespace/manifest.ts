/**
 * Committed extents for readers. The index is asked for a stretch of the manifest at a time, and what it said of a file is kept until that changes: a
 * sequential reader asks once in many reads, and one that jumps about in a file of few or large extents soon no more. Who jumps about in a file of many
 * small ones asks for what it reads and no more: its next read is somewhere else.
 */
import { LRUCache } from 'lru-cache';
import { when, type Awaitable } from '../base/awaitable.js';
import { EXTENT_CACHE_BYTES_MAX, EXTENT_STRETCH_ROWS, MiB } from '../base/limits.js';
import type { IndexStore } from '../index/index-store.js';
import type { Extent } from '../index/schema/extent-row.js';
import { extentRange } from '../index/schema/tables.js';
import { extentOfRow, extentsBackFrom, onlyExtent } from './content.js';
import type { Node } from './node.js';
import { RangeMap, type Range } from './range-map.js';

/** All extents that overlap `start` … `end`. */
interface Found {
  readonly start: number;
  readonly end: number;
  readonly extents: readonly Extent[];
}

/** What V8 keeps, by a look at its heap: of a file with its inode, of a range, of an extent, and beside the bytes of an inline one. */
const FILE_OBJECT_BYTES = 800;
const RANGE_OBJECT_BYTES = 64;
const EXTENT_OBJECT_BYTES = 128;
const INLINE_OBJECT_BYTES = 200;
/** Of one file, before what is known of it is forgotten. */
const FILE_BYTES_MAX = EXTENT_CACHE_BYTES_MAX / 2;
/** Who jumps about in a file of extents as large as this asks for many of them, once nothing has changed the file during so many questions. */
const LARGE_EXTENT_BYTES = MiB;
const CALM_SCANS = 4;

/** What is known of one version of a file's content. */
class Known {
  /** Undefined: a hole. */
  readonly #ranges = new RangeMap<Extent | undefined>();
  /** Taken up in memory, about. */
  bytes = FILE_OBJECT_BYTES;
  scans = 0;

  /** @param extentBytes mean size of the extents that were seen last; Infinity where none were */
  constructor(
    readonly node: Node,
    readonly version: number,
    public extentBytes: number,
  ) {}

  get current(): boolean {
    return this.version === this.node.contentVersion;
  }

  /** What is known from `at` to `end`, up to the first place of which nothing is. */
  *#onwards(at: number, end: number): Generator<Range<Extent | undefined>> {
    for (const range of this.#ranges.within(at, end)) {
      if (range.start > at) return;
      yield range;
      at = range.end;
    }
  }

  /** Gives extents from `at` to `end` to `found`, as far as they are known. Returns where they are not any more. */
  gather(at: number, end: number, found: Extent[]): number {
    let reached = at;
    for (const range of this.#onwards(at, end)) {
      if (range.value !== undefined) found.push(range.value);
      reached = range.end;
    }
    return reached;
  }

  /** Extents from `at` on, in order, as far as they are known. */
  *from(at: number): Generator<Extent> {
    for (const { value } of this.#onwards(at, Infinity)) if (value !== undefined) yield value;
  }

  /** Is everything known that lies just before `at`? */
  reaches(at: number): boolean {
    return at > 0 && this.gather(at - 1, at, []) === at;
  }

  add({ start, end, extents }: Found): void {
    let at = start;
    let extentBytes = 0;
    for (const extent of extents) {
      if (extent.offset > at) this.#put(at, extent.offset, undefined);
      at = extent.offset + extent.bytes;
      this.#put(extent.offset, at, extent);
      this.bytes += EXTENT_OBJECT_BYTES + (extent.kind === 'inline' ? INLINE_OBJECT_BYTES + extent.bytes : 0);
      extentBytes += extent.bytes;
    }
    if (at < end) this.#put(at, end, undefined);
    this.extentBytes = extents.length === 0 ? Infinity : extentBytes / extents.length;
    this.scans++;
  }

  #put(start: number, end: number, value: Extent | undefined): void {
    this.#ranges.set(start, end, value);
    this.bytes += RANGE_OBJECT_BYTES;
  }
}

export class Manifests {
  readonly #index: IndexStore;
  readonly #known = new LRUCache<number, Known>({ maxSize: EXTENT_CACHE_BYTES_MAX, sizeCalculation: ({ bytes }) => bytes });

  constructor(index: IndexStore) {
    this.#index = index;
  }

  /**
   * Extents that overlap `start` … `end`, in order; undefined when the content changed meanwhile: ask again.
   * @param onwards the reader goes on from where it was: it will want what follows
   */
  find(node: Node, start: number, end: number, onwards: boolean): Awaitable<Extent[] | undefined> {
    return this.#findOn(this.#of(node), start, end, onwards, []);
  }

  /** @param found before `from` */
  #findOn(known: Known, from: number, end: number, onwards: boolean, found: Extent[]): Awaitable<Extent[] | undefined> {
    const at = known.gather(from, end, found);
    if (at >= end) return found;
    return when(this.#scan(known, at, end, onwards), (stretch) => {
      if (!known.current) return undefined;
      known.add(stretch);
      // The cache looks at the size of what is new to it only. It may be too large to be kept.
      this.#known.delete(known.node.ino);
      this.#known.set(known.node.ino, known);
      return this.#findOn(known, at, end, onwards, found);
    });
  }

  /** What is known without asking: extents that reach beyond `start`, in order. */
  known(node: Node, start: number): Iterable<Extent> {
    const known = this.#known.get(node.ino);
    return known?.node === node && known.current ? known.from(start) : [];
  }

  #of(node: Node): Known {
    const known = this.#known.get(node.ino);
    if (known?.node !== node) return new Known(node, node.contentVersion, Infinity);
    return known.current && known.bytes <= FILE_BYTES_MAX ? known : new Known(node, node.contentVersion, known.extentBytes);
  }

  /** From `at` on; as far as `end` at least, unless there are very many extents. */
  #scan(known: Known, at: number, end: number, onwards: boolean): Awaitable<Found> {
    const { node, extentBytes } = known;
    const few = node.row.allocatedBytes <= extentBytes * EXTENT_STRETCH_ROWS;
    const large = extentBytes >= LARGE_EXTENT_BYTES && known.scans >= CALM_SCANS;
    const expected = few || large || onwards ? Infinity : Math.ceil((end - at) / extentBytes) + 1;
    const exact = expected < EXTENT_STRETCH_ROWS ? this.#exactly(node, at, end, expected) : undefined;
    return when(exact ?? (at === 0 ? this.#only(node) : undefined), (some) => some ?? this.#widely(known, at));
  }

  #exactly({ ino, row }: Node, at: number, end: number, limit: number): Awaitable<Found | undefined> {
    return when(extentsBackFrom(this.#index, { ino, generation: row.generation }, at, end, limit), (extents) => {
      if (extents === undefined) return undefined;
      const latest = extents.at(-1);
      return {
        start: extents.length < limit ? 0 : Math.min(at, extents[0]?.offset ?? at),
        end: Math.max(end, latest === undefined ? 0 : latest.offset + latest.bytes),
        extents,
      };
    });
  }

  #only({ row }: Node): Awaitable<Found | undefined> {
    return when(onlyExtent(this.#index, row), (only) => only && { start: 0, end: Infinity, extents: [only] });
  }

  /** From `at` on, and what lies before unless that is known: the last extent that begins there may reach so far. */
  #widely(known: Known, at: number): Awaitable<Found> {
    const { ino, row } = known.node;
    const reached = at === 0 || known.reaches(at);
    const behind = reached ? [] : this.#index.scan(extentRange(ino, row.generation, 0, at, EXTENT_STRETCH_ROWS, true));
    return when(behind, (back) =>
      when(this.#index.scan(extentRange(ino, row.generation, at, undefined, EXTENT_STRETCH_ROWS)), (rows) => {
        const before = back.reverse().map(extentOfRow);
        const extents = [...before, ...rows.map(extentOfRow)];
        const latest = extents.at(-1);
        const start = back.length < EXTENT_STRETCH_ROWS ? 0 : Math.min(at, before[0]?.offset ?? at);
        return {
          start: reached ? at : start,
          end: rows.length < EXTENT_STRETCH_ROWS || latest === undefined ? Infinity : latest.offset + latest.bytes,
          extents,
        };
      }),
    );
  }
}
