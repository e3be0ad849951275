/**
 * Finds files in many small pieces: the image of a machine or a database whose pages were written one by one, here and there, is read in order at a fraction
 * of the rate that the disks have. Counted in a pass over all extents, in their order (`repacker.ts`), window by window of a blob's size.
 */
import type { BlobId } from '../base/ids.js';
import { FRAGMENTED_BLOBS_MAX, FRAGMENTS_MIN } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import { parseExtentKey } from '../index/schema/tables.js';
import type { ContentId } from './content.js';

/** What one content uses of a blob. */
export interface BlobUse {
  extents: number;
  bytes: number;
}

export interface FragmentedFile {
  readonly content: ContentId;
  /** Where its fragmented windows begin, bytes. */
  readonly windows: readonly number[];
  /** Of all that was seen of it. */
  readonly uses: ReadonlyMap<BlobId, BlobUse>;
}

interface Counted extends FragmentedFile {
  readonly windows: number[];
  readonly uses: Map<BlobId, BlobUse>;
}

export class Fragments {
  readonly #windowBytes: number;
  readonly #smallBytesMax: number;
  #file: Counted | undefined;
  /** The window that is being counted. */
  #window = 0;
  #extents = 0;
  #bytes = 0;

  /** @param smallBytesMax extents of less than this on average are fragments */
  constructor(windowBytes: number, smallBytesMax: number) {
    this.#windowBytes = windowBytes;
    this.#smallBytesMax = smallBytesMax;
  }

  /** The next extent of the pass. Returns the file that was before it, when it has fragmented windows and nothing more of it is to come. */
  add(key: Buffer, extent: Extent): FragmentedFile | undefined {
    const { ino, generation, offset } = parseExtentKey(key);
    let ended: FragmentedFile | undefined;
    const old = this.#file?.content;
    if (this.#file === undefined || old?.ino !== ino || old.generation !== generation || this.#file.uses.size >= FRAGMENTED_BLOBS_MAX) {
      ended = this.end();
      this.#file = { content: { ino, generation }, windows: [], uses: new Map() };
    }
    const window = offset - (offset % this.#windowBytes);
    if (window !== this.#window) this.#endWindow();
    this.#window = window;
    this.#extents++;
    this.#bytes += extent.bytes;
    if (extent.kind === 'blob') count(this.#file.uses, extent.blob, extent.bytes);
    return ended;
  }

  /** The last file of the pass. */
  end(): FragmentedFile | undefined {
    this.#endWindow();
    const file = this.#file;
    this.#file = undefined;
    return file === undefined || file.windows.length === 0 ? undefined : file;
  }

  #endWindow(): void {
    // What is less than that altogether, the packer sees to.
    const fragmented =
      this.#extents >= FRAGMENTS_MIN && this.#bytes < this.#extents * this.#smallBytesMax && this.#bytes >= this.#smallBytesMax;
    if (fragmented) this.#file?.windows.push(this.#window);
    this.#extents = 0;
    this.#bytes = 0;
  }
}

function count(uses: Map<BlobId, BlobUse>, blob: BlobId, bytes: number): void {
  const use = uses.get(blob);
  if (use === undefined) uses.set(blob, { extents: 1, bytes });
  else {
    use.extents++;
    use.bytes += bytes;
  }
}
