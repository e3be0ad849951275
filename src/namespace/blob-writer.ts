/** The way of dirty data into the data plane: so many blobs at one time, each known to `locations` from the moment in which it is stored. */
import { asOperatingError, isErrno } from '../base/errors.js';
import { STORES_IN_FLIGHT_MAX } from '../base/limits.js';
import { Slots } from '../base/slots.js';
import type { Storage, StoredBlob } from '../storage/storage.js';
import type { BufferPool } from '../base/buffers.js';
import type { Ledger } from './ledger.js';
import type { Space } from './space.js';

export class BlobWriter {
  readonly #storage: Storage;
  readonly #ledger: Ledger;
  readonly #space: Space;
  readonly #buffers: BufferPool;
  readonly #slots = new Slots(STORES_IN_FLIGHT_MAX);

  /** @param buffers of blobBytesMax, for gathering. */
  constructor(storage: Storage, ledger: Ledger, space: Space, buffers: BufferPool) {
    this.#storage = storage;
    this.#ledger = ledger;
    this.#space = space;
    this.#buffers = buffers;
  }

  /** Stores `data`, which must not change until then. @throws OperatingError ENOSPC, EIO. */
  store(data: Uint8Array): Promise<StoredBlob> {
    return this.#slots.run(() => this.#store(data));
  }

  /** Stores what lies in several places as one blob; it is put together only when its turn has come. */
  gather(parts: readonly Uint8Array[]): Promise<StoredBlob> {
    return this.#slots.run(async () => {
      const buffer = this.#buffers.take();
      try {
        let at = 0;
        for (const part of parts) {
          buffer.set(part, at);
          at += part.length;
        }
        return await this.#store(buffer.subarray(0, at));
      } finally {
        this.#buffers.give(buffer);
      }
    });
  }

  async #store(data: Uint8Array): Promise<StoredBlob> {
    const stored = await this.#stored(data);
    this.#ledger.locations.expect(stored);
    this.#space.stored(data.length);
    return stored;
  }

  async #stored(data: Uint8Array): Promise<StoredBlob> {
    for (;;)
      try {
        return await this.#storage.store(data);
      } catch (thrown) {
        if (!isErrno(thrown, 'ENOSPC') || !(await this.#space.reclaim())) throw thrown;
      }
  }

  /** Nobody wants this blob after all: queued for the collector. Where that fails, the next start's search finds it (I10). */
  async abandon(stored: StoredBlob): Promise<void> {
    const { blob } = stored.location;
    try {
      await this.#ledger.change(async (change) => {
        if (this.#ledger.locations.expected(blob) !== undefined) change.bear(blob);
      });
    } catch (thrown) {
      asOperatingError(thrown);
      this.#storage.leave();
    }
  }
}
