/**
 * Small files that were committed a moment ago and whose content still lies in memory, so that they are packed without being read again. Kept by the packer;
 * the ledger says whose content changed since. A bounded number of bytes: what finds no room here is found by the packer's queue in the index.
 *
 *   waiting ──take──▶ taken ──done──▶ (forgotten)
 *      └──content changed──┴──▶ (forgotten)
 */
import { FRESH_BYTES_MAX } from '../base/limits.js';

/** An inline extent: where it is in the file, and its bytes. */
export interface FreshExtent {
  readonly offset: number;
  readonly data: Buffer;
}

/** All inline extents of one content that are worth packing. */
export interface FreshFile {
  readonly ino: number;
  readonly generation: number;
  readonly extents: readonly FreshExtent[];
  readonly bytes: number;
}

export class FreshFiles {
  /** In the order of their commits, which for new files is that of their numbers. */
  readonly #waiting = new Map<number, FreshFile>();
  readonly #taken = new Map<number, FreshFile>();
  #bytes = 0;

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** False: there is no room. */
  add(file: FreshFile): boolean {
    if (this.#bytes + file.bytes > FRESH_BYTES_MAX) return false;
    this.#waiting.set(file.ino, file);
    this.#bytes += file.bytes;
    return true;
  }

  /** The content of this inode is another one now. Returns the bytes that will not be packed from here. */
  forget(ino: number): number {
    const taken = this.#taken.get(ino);
    this.#taken.delete(ino);
    const file = this.#waiting.get(ino);
    if (file === undefined) return taken?.bytes ?? 0;
    this.#waiting.delete(ino);
    this.#bytes -= file.bytes;
    return file.bytes + (taken?.bytes ?? 0);
  }

  /** None will be packed from here. Returns their bytes. */
  clear(): number {
    const bytes = this.#bytes;
    this.#waiting.clear();
    this.#bytes = 0;
    return bytes;
  }

  /** The oldest ones, at least one, as long as they fit. */
  take(bytesMax: number, extentsMax: number): FreshFile[] {
    const files: FreshFile[] = [];
    let bytes = 0;
    let extents = 0;
    for (const file of this.#waiting.values()) {
      bytes += file.bytes;
      extents += file.extents.length;
      if (files.length > 0 && (bytes > bytesMax || extents > extentsMax)) break;
      files.push(file);
    }
    for (const file of files) {
      this.#waiting.delete(file.ino);
      this.#bytes -= file.bytes;
      this.#taken.set(file.ino, file);
    }
    return files;
  }

  /** Was this file taken, and is its content still the same? */
  holds(file: FreshFile): boolean {
    return this.#taken.get(file.ino) === file;
  }

  /** They are packed, or cannot be. */
  done(files: readonly FreshFile[]): void {
    for (const file of files) if (this.holds(file)) this.#taken.delete(file.ino);
  }
}
