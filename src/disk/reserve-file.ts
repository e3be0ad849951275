/**
 * Space that is kept allocated on a disk for the time when it is really full, because other programs filled it too or because of what no arithmetic
 * foresaw: then it is let go, so that log and replicas can go on, and what the users delete can be deleted (an unlink is a transaction, too). When
 * there is plenty of room again, it is taken anew. Owned by disk-watch.ts, one for each data disk that is in.
 *
 *   let go ──free space is three times its size──▶ held ──less than half its size is free, or a call said ENOSPC──▶ let go
 */
import { asOperatingError } from '../base/errors.js';
import { RESERVE_FILE_BYTES_MAX } from '../base/limits.js';
import type { Disk } from './disk.js';

/** In the disk's directory. Holds nothing; may be deleted at any time. */
const RESERVE_FILE = 'ostraka.reserve';

/** Its size on a disk of this size: a sixty-fourth, but no more than a log may take. */
function reserveFileBytes(totalBytes: number): number {
  return Math.floor(Math.min(RESERVE_FILE_BYTES_MAX, totalBytes / 64));
}

export class ReserveFile {
  readonly #disk: Disk;
  readonly #told: (held: boolean) => void;
  #heldBytes = 0;
  #known = false;
  #busy: Promise<void> | undefined;
  #ended = false;

  /** @param told it was let go because the disk is full, or taken anew after that */
  constructor(disk: Disk, told: (held: boolean) => void) {
    this.#disk = disk;
    this.#told = told;
    disk.onFull = () => this.#letGo();
  }

  /** Bytes that it keeps from others now. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  async #letGo(): Promise<void> {
    // A look that has begun already may have seen the disk when it was not full yet.
    await this.#busy;
    await this.check(true);
  }

  /** Looks how full the disk is, and takes or lets go. Never rejects: whatever is wrong with the disk shows elsewhere. */
  check(full = false): Promise<void> {
    if (this.#ended) return Promise.resolve();
    this.#busy ??= this.#check(full)
      .catch((thrown: unknown) => {
        asOperatingError(thrown);
      })
      .finally(() => {
        this.#busy = undefined;
      });
    return this.#busy;
  }

  async #check(full: boolean): Promise<void> {
    if (!this.#known) await this.#remove();
    this.#known = true;
    const { totalBytes, freeBytes } = await this.#disk.capacity();
    const bytes = reserveFileBytes(totalBytes);
    if (this.#heldBytes > 0 && (full || freeBytes < this.#heldBytes / 2)) {
      await this.#remove();
      this.#heldBytes = 0;
      this.#told(false);
    } else if (this.#heldBytes === 0 && !full && freeBytes >= 3 * bytes) await this.#take(bytes);
  }

  async #take(bytes: number): Promise<void> {
    const file = await this.#disk.open(RESERVE_FILE, { create: true, write: true });
    try {
      await file.preallocate(0, bytes);
    } catch (error) {
      await this.#remove();
      throw error;
    } finally {
      await file.close();
    }
    this.#heldBytes = bytes;
    this.#told(true);
  }

  async #remove(): Promise<void> {
    try {
      await this.#disk.unlink(RESERVE_FILE);
    } catch (thrown) {
      if (asOperatingError(thrown).code !== 'ENOENT') throw thrown;
    }
  }

  /** The disk goes: nothing more is done on it. */
  end(): void {
    this.#ended = true;
    this.#disk.onFull = undefined;
  }
}
