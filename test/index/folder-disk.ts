/** A disk over a folder, by plain file calls: as much of one as replicas use. `calls` records the names and syncs that were asked for. */
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { newUuid, type Uuid } from '../../src/base/ids.js';
import { systemRandom } from '../../src/base/clock.js';
import { asOperatingError } from '../../src/base/errors.js';
import type { Capacity, Disk, DiskFile, DiskHealth } from '../../src/disk/disk.js';

function unused(): never {
  throw new Error('replicas do not use this');
}

export class FolderDisk implements Disk {
  readonly id: Uuid = newUuid(systemRandom);
  readonly health: DiskHealth = { readErrors: 0, writeErrors: 0, syncErrors: 0, checksumErrors: 0, stalls: 0 };
  onFull: (() => Promise<void>) | undefined;
  readonly calls: string[] = [];
  /** Called before each call; what it throws is what the disk answers. */
  before: (call: string) => void = () => undefined;

  constructor(readonly directory: string) {}

  async #call<T>(call: string, run: () => Promise<T>): Promise<T> {
    this.before(call);
    this.calls.push(call);
    try {
      return await run();
    } catch (error) {
      throw asOperatingError(error, { disk: this.directory });
    }
  }

  open(path: string): Promise<DiskFile> {
    return this.#call(`open ${path}`, async () => {
      const handle = await open(join(this.directory, path), 'r+');
      return {
        disk: this,
        path,
        poisoned: false,
        write: unused,
        writeSynced: unused,
        read: async (offset, bytes) => {
          const buffer = Buffer.alloc(bytes);
          const { bytesRead } = await handle.read(buffer, 0, bytes, offset);
          return buffer.subarray(0, bytesRead);
        },
        sync: () => this.#call(`sync ${path}`, () => handle.datasync()),
        size: unused,
        nextData: unused,
        preallocate: unused,
        punch: unused,
        close: () => handle.close(),
      };
    });
  }

  list(path: string): Promise<string[]> {
    return this.#call(`list ${path}`, () => readdir(join(this.directory, path)));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call(`mkdir ${path}`, async () => {
      await mkdir(join(this.directory, path), { recursive: true });
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#call(`syncdir ${path}`, async () => {
      const handle = await open(join(this.directory, path), 'r');
      await handle.sync();
      await handle.close();
    });
  }

  unlink(path: string): Promise<void> {
    return this.#call(`unlink ${path}`, () => rm(join(this.directory, path)));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(`rename ${from} ${to}`, () => rename(join(this.directory, from), join(this.directory, to)));
  }

  capacity(): Promise<Capacity> {
    return unused();
  }

  syncAll(): Promise<void> {
    return unused();
  }

  async probe(): Promise<void> {
    // It is always there.
  }

  async externalPath(path: string): Promise<string> {
    return join(this.directory, path);
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}
