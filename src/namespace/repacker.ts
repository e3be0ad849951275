/**
 * Puts in order what deleting and writing here and there leaves behind: blobs of which little is live, and files in many small pieces. One pass over all
 * extents finds both, slowly; what is found is read and becomes a new blob (`pack-store.ts`). The last reference that goes takes the old blob with it,
 * as ever (I5). No file's content changes here, and what changes meanwhile is left as it is.
 */
import type { Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import {
  CHANGE_STEP_ROWS,
  DEFRAGMENTED_BYTES_MAX,
  DEFRAGMENTED_FREE_SHARE,
  FRAGMENTS_MIN,
  FRAGMENTS_PER_RUN_MIN,
  PACK_BYTES_MAX,
  PACK_EXTENTS_MAX,
  REPACK_PAUSE_MS,
  REPACK_READS_MAX,
  SHARED_BYTES_SHARE,
} from '../base/limits.js';
import type { Row } from '../index/index-store.js';
import { compareKeys, keyAfter } from '../index/keys.js';
import { pages } from '../index/pages.js';
import { referencesOf } from '../index/schema/blob-rows.js';
import type { Extent } from '../index/schema/extent-row.js';
import { extentKey, extentRange, referencesKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Storage } from '../storage/storage.js';
import { extentOfRow } from './content.js';
import { Fragments, type FragmentedFile } from './fragments.js';
import type { Ledger } from './ledger.js';
import { packedRow, type Packed, type PackStore } from './pack-store.js';
import type { Pins } from './pins.js';
import type { Space } from './space.js';
import { SparsePacks, type SparsePack } from './sparse-packs.js';

export interface RepackerOptions {
  readonly ledger: Ledger;
  readonly storage: Storage;
  readonly packs: PackStore;
  readonly space: Space;
  readonly pins: Pins;
  readonly clock: Clock;
  readonly stopped: () => boolean;
  /** Called between two steps. */
  readonly between: () => Promise<void>;
}

/** What a pass did. */
export interface Repacked {
  /** Blobs with little in them that were packed anew. */
  sparsePacks: number;
  /** Stretches of files that are in one piece now, and their bytes. */
  windows: number;
  windowBytes: number;
}

/** What a pass puts together: from this key on, so much. */
interface Limits {
  readonly from: Buffer | undefined;
  readonly bytesMax: number;
}

export class Repacker {
  readonly #options: RepackerOptions;
  /** Where the last pass had done enough: the next one goes on there, or what is written to all the time would have all of it. */
  #from: Buffer | undefined;

  constructor(options: RepackerOptions) {
    this.#options = options;
  }

  async run(): Promise<Repacked> {
    const { ledger, storage, clock, stopped, between, space } = this.#options;
    const done: Repacked = { sparsePacks: 0, windows: 0, windowBytes: 0 };
    const sparse = new SparsePacks(ledger, clock);
    const fragments = new Fragments(storage.blobBytesMax, storage.smallBytesMax);
    const { usableFreeBytes } = await space.capacity();
    const limits = { from: this.#from, bytesMax: Math.min(DEFRAGMENTED_BYTES_MAX, usableFreeBytes * DEFRAGMENTED_FREE_SHARE) };
    this.#from = undefined;
    const group: SparsePack[] = [];
    let range = tableRange(TABLES.extent, CHANGE_STEP_ROWS);
    for (let ended = false; !ended && !stopped();) {
      const rows = await ledger.index.scan(range);
      const last = rows.at(-1);
      ended = last === undefined || rows.length < CHANGE_STEP_ROWS;
      for (const row of rows) {
        const extent = extentOfRow(row);
        sparse.add(row.key, extent);
        const file = fragments.add(row.key, extent);
        if (file !== undefined) await this.#defragment(file, limits, done);
      }
      const file = ended ? fragments.end() : undefined;
      if (file !== undefined) await this.#defragment(file, limits, done);
      for await (const pack of sparse.found(ended)) {
        if (!fits(group, pack, storage.blobBytesMax)) await this.#repack(group, done);
        group.push(pack);
      }
      if (last !== undefined) range = { ...range, start: keyAfter(last.key) };
      await clock.sleep(REPACK_PAUSE_MS);
      await between();
    }
    if (!stopped()) await this.#repack(group, done);
    return done;
  }

  /** What is live in several packs becomes one. */
  async #repack(group: SparsePack[], done: Repacked): Promise<void> {
    const rows: Row[] = [];
    for (const pack of group) rows.push(...(await this.#extentsOf(pack)));
    done.sparsePacks += group.length;
    group.length = 0;
    if (rows.length > 0) await this.#store(await this.#read(rows));
  }

  /** The rows of a sparse pack's extents, as they are now. */
  async #extentsOf(pack: SparsePack): Promise<Row[]> {
    const { ledger, clock } = this.#options;
    const found: Row[] = [];
    const range = { ...tableRange(TABLES.extent, CHANGE_STEP_ROWS), start: pack.firstKey, end: keyAfter(pack.lastKey) };
    for await (const rows of pages(ledger.index, range, clock))
      for (const row of rows) {
        const extent = extentOfRow(row);
        if (extent.kind === 'blob' && extent.blob === pack.blob && found.length < PACK_EXTENTS_MAX) found.push(row);
      }
    return found;
  }

  async #defragment(file: FragmentedFile, { from: firstKey, bytesMax }: Limits, done: Repacked): Promise<void> {
    const { ledger, clock, stopped, between, storage } = this.#options;
    const { ino, generation } = file.content;
    // What was deleted or replaced as a whole goes in steps.
    if ((await ledger.inode(ino))?.generation !== generation) return;
    for (const start of file.windows) {
      const key = extentKey(ino, generation, start);
      if (firstKey !== undefined && compareKeys(key, firstKey) < 0) continue;
      const end = start + storage.blobBytesMax;
      // A window of very many pieces is done in several; of one that was counted a moment ago nothing may be left.
      for (let from = start; from < end;) {
        const fromMs = clock.monotonicMs();
        if (stopped()) return;
        if (done.windowBytes + storage.blobBytesMax > bytesMax) {
          this.#from ??= key;
          return;
        }
        const rows = await this.#extents(file, from, end);
        const last = rows.length < PACK_EXTENTS_MAX ? undefined : rows.at(-1);
        from = last === undefined ? end : endOf(last);
        if (!(await this.#isWorthIt(rows.map(extentOfRow), file))) continue;
        const packed = await this.#read(rows);
        await this.#store(packed);
        done.windows++;
        done.windowBytes += packed.reduce((sum, { data }) => sum + data.length, 0);
        // Half of the time is for the others.
        await clock.sleep(Math.max(REPACK_PAUSE_MS, clock.monotonicMs() - fromMs));
        await between();
      }
    }
  }

  /** The extents that begin there, as they are now; PACK_EXTENTS_MAX at most. */
  async #extents({ content: { ino, generation } }: FragmentedFile, start: number, end: number): Promise<Row[]> {
    const { ledger, clock } = this.#options;
    const found: Row[] = [];
    for await (const rows of pages(ledger.index, extentRange(ino, generation, start, end, CHANGE_STEP_ROWS), clock)) {
      found.push(...rows);
      if (found.length >= PACK_EXTENTS_MAX) break;
    }
    return found.slice(0, PACK_EXTENTS_MAX);
  }

  async #isWorthIt(extents: readonly Extent[], file: FragmentedFile): Promise<boolean> {
    if (extents.length < FRAGMENTS_MIN || extents.length < runsOf(extents) * FRAGMENTS_PER_RUN_MIN) return false;
    return !(await this.#isShared(extents, file));
  }

  /**
   * Do copies have a good part of this, too (they share blobs)? Then it would take space of its own. A pack belongs to many files without being shared: one
   * of which this file has most is taken for shared when others refer to it as often.
   */
  async #isShared(extents: readonly Extent[], { uses }: FragmentedFile): Promise<boolean> {
    const { ledger, clock } = this.#options;
    let bytes = 0;
    let sharedBytes = 0;
    const known = new Map<BlobId, boolean>();
    for (const [at, extent] of extents.entries()) {
      if (at % CHANGE_STEP_ROWS === 0) await clock.yield();
      bytes += extent.bytes;
      if (extent.kind === 'inline') continue;
      const { blob } = extent;
      let shared = known.get(blob);
      if (shared === undefined) {
        const use = uses.get(blob) ?? { extents: 1, bytes: extent.bytes };
        const references = referencesOf(await ledger.index.get(referencesKey(blob)));
        const blobBytes = (await ledger.locations.find(blob))?.bytes ?? 0;
        shared = blobBytes > PACK_BYTES_MAX ? references > use.extents : references >= 2 * use.extents && 2 * use.bytes >= blobBytes;
        known.set(blob, shared);
      }
      if (shared) sharedBytes += extent.bytes;
    }
    return sharedBytes > bytes * SHARED_BYTES_SHARE;
  }

  /** Extents with their content, as many as fit into one blob; without those that cannot be read now, which is for heal to see to. */
  async #read(rows: readonly Row[]): Promise<Packed[]> {
    const { storage } = this.#options;
    const packed: Packed[] = [];
    let bytes = 0;
    for (let at = 0; at < rows.length; at += REPACK_READS_MAX) {
      const some = rows.slice(at, at + REPACK_READS_MAX).map((row) => ({ row, extent: extentOfRow(row) }));
      const contents = await Promise.all(some.map(({ extent }) => this.#contentOf(extent)));
      for (const [each, { row, extent }] of some.entries()) {
        const data = contents[each];
        if (data === undefined || bytes + data.length > storage.blobBytesMax) continue;
        packed.push(packedRow(row, data, bytes, extent.kind === 'blob' ? extent.blob : undefined));
        bytes += data.length;
      }
    }
    return packed;
  }

  async #contentOf(extent: Extent): Promise<Buffer | undefined> {
    if (extent.kind === 'inline') return extent.data;
    const { ledger, storage, pins } = this.#options;
    pins.pin(extent.blob);
    try {
      const location = await ledger.locations.find(extent.blob);
      if (location === undefined) return undefined;
      const data = Buffer.allocUnsafe(extent.bytes);
      await storage.read(location, extent.blobOffset, data);
      return data;
    } catch (error) {
      if (error instanceof OperatingError) return undefined;
      throw error;
    } finally {
      pins.unpin(extent.blob);
    }
  }

  async #store(packed: readonly Packed[]): Promise<void> {
    if (packed.length > 0 && !this.#options.stopped()) await this.#options.packs.store(packed);
  }
}

/** One that is alone may fill a blob. */
function fits(group: readonly SparsePack[], pack: SparsePack, blobBytesMax: number): boolean {
  return (
    group.length === 0 ||
    (group.reduce((sum, { liveBytes }) => sum + liveBytes, pack.liveBytes) <= Math.min(PACK_BYTES_MAX, blobBytesMax) &&
      group.reduce((sum, { extents }) => sum + extents, pack.extents) <= PACK_EXTENTS_MAX)
  );
}

/** Where the next one may begin. */
function endOf(row: Row): number {
  const { offset, bytes } = extentOfRow(row);
  return offset + bytes;
}

/** How many pieces remain if neighbours become one: holes stay holes. */
function runsOf(extents: readonly Extent[]): number {
  let end: number | undefined;
  let runs = 0;
  for (const { offset, bytes } of extents) {
    if (offset !== end) runs++;
    end = offset + bytes;
  }
  return runs;
}
