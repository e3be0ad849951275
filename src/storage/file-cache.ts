/**
 * Handles on the segment files of one disk, for reading and for giving space back: the last OPEN_SEGMENTS_MAX used ones stay open. A handle in use is never
 * closed; one that fell out of the cache is closed by its last user.
 */
import { LRUCache } from 'lru-cache';
import { must } from '../base/assert.js';
import { asOperatingError } from '../base/errors.js';
import type { SegmentId } from '../base/ids.js';
import { OPEN_SEGMENTS_MAX } from '../base/limits.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import { segmentPath } from './segment-format.js';

/** A file that stays open until it is released, once. */
export interface HeldFile {
  readonly file: DiskFile;
  release(): void;
}

interface Entry {
  opening: Promise<DiskFile>;
  file: DiskFile | undefined;
  users: number;
  dropped: boolean;
}

/** Closing a read handle loses nothing, whatever the disk says. */
function closeQuietly(file: DiskFile | undefined): void {
  file?.close().catch(() => undefined);
}

async function openFile(disk: Disk, path: string): Promise<DiskFile> {
  try {
    return await disk.open(path, { write: true });
  } catch (thrown) {
    // Reading goes on where a file system has turned read-only.
    const { code } = asOperatingError(thrown);
    if (code !== 'EROFS' && code !== 'EACCES') throw thrown;
    return disk.open(path);
  }
}

export class FileCache {
  readonly disk: Disk;
  readonly #entries = new LRUCache<SegmentId, Entry>({
    max: OPEN_SEGMENTS_MAX,
    dispose: (entry) => {
      entry.dropped = true;
      if (entry.users === 0) closeQuietly(entry.file);
    },
  });

  constructor(disk: Disk) {
    this.disk = disk;
  }

  /** At once where the file is open already. @throws OperatingError ENOENT when there is no such segment on the disk. */
  acquire(segment: SegmentId): HeldFile | Promise<HeldFile> {
    const held = this.opened(segment);
    if (held !== undefined) return held;
    const entry = this.#entries.get(segment) ?? this.#open(segment);
    entry.users++;
    return this.#wait(entry);
  }

  /** The same, only if it is open already. */
  opened(segment: SegmentId): HeldFile | undefined {
    const entry = this.#entries.get(segment);
    if (entry?.file === undefined) return undefined;
    entry.users++;
    return this.#hold(entry);
  }

  #open(segment: SegmentId): Entry {
    const entry: Entry = { opening: openFile(this.disk, segmentPath(segment)), file: undefined, users: 0, dropped: false };
    this.#entries.set(segment, entry);
    entry.opening.then(
      (file) => {
        entry.file = file;
      },
      () => {
        if (this.#entries.peek(segment) === entry) this.#entries.delete(segment);
      },
    );
    return entry;
  }

  async #wait(entry: Entry): Promise<HeldFile> {
    try {
      await entry.opening;
    } catch (error) {
      entry.users--;
      throw error;
    }
    return this.#hold(entry);
  }

  #hold(entry: Entry): HeldFile {
    return {
      file: must(entry.file, 'opened'),
      release: () => {
        entry.users--;
        if (entry.dropped && entry.users === 0) closeQuietly(entry.file);
      },
    };
  }

  /** The segment is about to be unlinked. */
  forget(segment: SegmentId): void {
    this.#entries.delete(segment);
  }

  /** Closes everything as soon as it is not in use. */
  drop(): void {
    this.#entries.clear();
  }
}
