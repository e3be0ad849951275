/**
 * A file of a simulated disk: what programs see now (*current*, the page cache) and what a power cut leaves (*durable*), with the list of
 * changes between the two. Used by simulated-medium.ts alone; knows no paths, no faults, no time.
 */
import { assert } from '../base/assert.js';

/** What a drive writes as a whole or not at all. */
export const SECTOR_BYTES = 512;
/** What the simulated file system allocates. */
export const BLOCK_BYTES = 4096;
/** A simulated file may be this long: images are held in memory. */
const FILE_BYTES_MAX = 2 ** 31;

/** A change that is not durable yet: `sectors` parts of it may survive a power cut independently of each other. */
export interface UnsyncedChange {
  /** in-flight: a call that had not completed; it may have taken effect or not. */
  readonly kind: 'write' | 'punch' | 'size' | 'name' | 'in-flight';
  readonly disk: string;
  readonly path: string;
  readonly sectors: number;
}

/** Decides for one change which of its sectors survive. Asked once a change; the answer once a sector, in order. */
export type Survival = (change: UnsyncedChange) => (sector: number) => boolean;

class Image {
  #bytes = Buffer.alloc(0);
  length = 0;

  read(offset: number, bytes: number): Buffer {
    const end = Math.min(offset + bytes, this.length);
    return end <= offset ? Buffer.alloc(0) : Buffer.from(this.#bytes.subarray(offset, end));
  }

  write(offset: number, data: Uint8Array): void {
    this.grow(offset + data.length);
    this.#bytes.set(data, offset);
  }

  zero(from: number, to: number): void {
    this.#bytes.fill(0, Math.min(from, this.length), Math.min(to, this.length));
  }

  grow(length: number): void {
    assert(length <= FILE_BYTES_MAX, `a simulated file cannot hold ${length} bytes`);
    if (length <= this.length) return;
    if (length > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(length, this.#bytes.length * 2, BLOCK_BYTES));
      this.#bytes.copy(grown, 0, 0, this.length);
      this.#bytes = grown;
    }
    this.length = length;
  }

  flip(offset: number, bit: number): void {
    assert(offset < this.length, `no byte ${offset} to flip in ${this.length}`);
    this.#bytes.writeUInt8(this.#bytes.readUInt8(offset) ^ (1 << bit), offset);
  }

  copy(): Image {
    const image = new Image();
    image.write(0, this.#bytes.subarray(0, this.length));
    return image;
  }
}

interface Change {
  readonly kind: 'write' | 'punch';
  readonly offset: number;
  readonly end: number;
  readonly data: Buffer | undefined;
}

export class SimulatedFile {
  readonly kind = 'file';
  #current = new Image();
  #durable = new Image();
  #unsynced: Change[] = [];
  readonly #blocks = new Set<number>();

  get size(): number {
    return this.#current.length;
  }

  get durableSize(): number {
    return this.#durable.length;
  }

  get allocatedBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  /** True when a power cut could change what is read. */
  get dirty(): boolean {
    return this.#unsynced.length > 0;
  }

  /** Bytes that a write or preallocation of this range would newly allocate. */
  missingBytes(offset: number, bytes: number): number {
    let missing = 0;
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + bytes; block++)
      if (!this.#blocks.has(block)) missing++;
    return missing * BLOCK_BYTES;
  }

  /** What is allocated and never written counts as data, as it may. */
  nextData(offset: number): number {
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < this.size; block++)
      if (this.#blocks.has(block)) return Math.max(offset, block * BLOCK_BYTES);
    return Math.max(offset, this.size);
  }

  allocate(offset: number, bytes: number): void {
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + bytes; block++) this.#blocks.add(block);
  }

  /** A file in the same state. */
  copy(): SimulatedFile {
    const copy = new SimulatedFile();
    copy.#current = this.#current.copy();
    copy.#durable = this.#durable.copy();
    copy.#unsynced = this.#unsynced.map((change) => ({ ...change, data: change.data && Buffer.from(change.data) }));
    for (const block of this.#blocks) copy.#blocks.add(block);
    return copy;
  }

  read(offset: number, bytes: number): Buffer {
    return this.#current.read(offset, bytes);
  }

  /** What a power cut now would surely leave; for tests. */
  readDurable(offset: number, bytes: number): Buffer {
    return this.#durable.read(offset, bytes);
  }

  write(offset: number, data: Uint8Array): void {
    if (data.length === 0) return;
    this.allocate(offset, data.length);
    this.#current.write(offset, data);
    this.#unsynced.push({ kind: 'write', offset, end: offset + data.length, data: Buffer.from(data) });
  }

  punch(offset: number, bytes: number): void {
    const end = offset + bytes;
    this.#current.zero(offset, end);
    this.#unsynced.push({ kind: 'punch', offset, end, data: undefined });
    for (const block of this.#blocks) if (block * BLOCK_BYTES >= offset && (block + 1) * BLOCK_BYTES <= end) this.#blocks.delete(block);
  }

  sync(): void {
    for (const change of this.#unsynced) this.#apply(change, () => true);
    this.#unsynced = [];
  }

  /**
   * A sync that failed: some of the changes reached the disk, and all pages count as clean. Reads go on to show them until the
   * cache is gone, and no later sync writes them (as Linux does).
   */
  failSync(survival: Survival, disk: string, path: string): void {
    this.#land(survival, disk, path);
  }

  /** Power is cut: the page cache is gone. */
  settle(survival: Survival, disk: string, path: string): void {
    this.#land(survival, disk, path);
    this.#current = this.#durable.copy();
    // A hole that was not durable is none any more.
    for (let offset = 0; offset < this.size; offset += BLOCK_BYTES)
      if (this.#durable.read(offset, BLOCK_BYTES).some((byte) => byte !== 0)) this.#blocks.add(offset / BLOCK_BYTES);
  }

  /** Flips a bit on the medium (and in the cache, as after a reboot). */
  flip(offset: number, bit: number): void {
    this.#current.flip(offset, bit);
    if (offset < this.#durable.length) this.#durable.flip(offset, bit);
    for (const change of this.#unsynced)
      if (change.data && offset >= change.offset && offset < change.end) {
        const at = offset - change.offset;
        change.data.writeUInt8(change.data.readUInt8(at) ^ (1 << bit), at);
      }
  }

  #land(survival: Survival, disk: string, path: string): void {
    for (const change of this.#unsynced) {
      const first = Math.floor(change.offset / SECTOR_BYTES);
      const sectors = Math.ceil(change.end / SECTOR_BYTES) - first;
      const keep = survival({ kind: change.kind, disk, path, sectors });
      this.#apply(change, keep);
      // The new size may be recorded before the data: then the file is longer and reads as zeros there.
      if (change.kind === 'write' && change.end > this.#durable.length && survival({ kind: 'size', disk, path, sectors: 1 })(0))
        this.#durable.grow(change.end);
    }
    this.#unsynced = [];
  }

  #apply(change: Change, keep: (sector: number) => boolean): void {
    const first = Math.floor(change.offset / SECTOR_BYTES);
    for (let sector = first, from = change.offset; from < change.end; sector++) {
      const to = Math.min((sector + 1) * SECTOR_BYTES, change.end);
      if (keep(sector - first)) {
        if (change.data) this.#durable.write(from, change.data.subarray(from - change.offset, to - change.offset));
        else this.#durable.zero(from, to);
      }
      from = to;
    }
  }
}
