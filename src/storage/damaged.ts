/**
 * Corrupt records are kept for inspection: copied, as far as they can be read, to a file in `damaged/` on their disk before their place is given back.
 * Called by rebuild, and by scrub for what belongs to no blob. Bounded by DAMAGED_RECORDS_MAX and DAMAGED_BYTES_MAX on each disk: the oldest go.
 *
 * A name says all: TIME-EPOCH-COUNTER-OFFSET-BYTES.record, the time in milliseconds since 1970, and the place where the record was. README.md has it.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import { segmentEpoch } from '../base/ids.js';
import { DAMAGED_BYTES_MAX, DAMAGED_RECORDS_MAX, SCAN_READ_BYTES_MAX, SHARD_ALIGN_BYTES } from '../base/limits.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import { isFull, type Pool } from './pool.js';
import { SEGMENT_COUNTERS } from './segment-format.js';
import type { FoundRecord } from './storage.js';

export const DAMAGED_DIRECTORY = 'damaged';

type Place = Pick<FoundRecord, 'disk' | 'segment' | 'offset' | 'bytes'>;

interface KeptFile {
  readonly name: string;
  readonly ms: number;
  readonly place: string;
  readonly bytes: number;
}

function parseName(name: string): KeptFile | undefined {
  const match = /^([0-9]+)-([0-9]+-[0-9]+-[0-9]+)-([0-9]+)\.record$/.exec(name);
  return match ? { name, ms: Number(match[1]), place: match[2] ?? '', bytes: Number(match[3]) } : undefined;
}

export class Damaged {
  readonly #pool: Pool;
  readonly #clock: Clock;
  /** One at a time: whoever makes room must not be overtaken. Waiters are bounded by those who rebuild and scrub. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(pool: Pool) {
    this.#pool = pool;
    this.#clock = pool.options.clock;
  }

  /** See `Storage.setAside`. */
  setAside(record: Place): Promise<boolean> {
    const done = this.#last.then(() => this.#keep(record));
    this.#last = done;
    return done;
  }

  /** Never rejects. */
  async #keep({ disk: number, segment, offset, bytes }: Place): Promise<boolean> {
    const shelf = this.#pool.shelf(number);
    const { disk } = shelf;
    if (!disk || bytes > DAMAGED_BYTES_MAX) return false;
    const place = `${segmentEpoch(segment)}-${segment % SEGMENT_COUNTERS}-${offset}`;
    try {
      await disk.makeDirectory(DAMAGED_DIRECTORY);
      const kept = (await disk.list(DAMAGED_DIRECTORY)).map(parseName).filter((file) => file !== undefined);
      if (kept.some((file) => file.place === place)) return true;
      await makeRoom(disk, kept, bytes);
      const held = await shelf.acquire(segment);
      try {
        const { seconds, nanoseconds } = this.#clock.now();
        const ms = seconds * 1000 + Math.floor(nanoseconds / 1e6);
        await copy(disk, held.file, offset, bytes, `${DAMAGED_DIRECTORY}/${ms}-${place}-${bytes}.record`);
      } finally {
        held.release();
      }
      this.#pool.options.log('warn', `a corrupt record of disk ${number} was set aside in ${DAMAGED_DIRECTORY}/`, { disk: number, place });
      return true;
    } catch (thrown) {
      const error = asOperatingError(thrown);
      // The segment is gone: there is nothing to keep. A full disk is no failure of the disk.
      if (error.code === 'ENOENT') return false;
      if (isFull(error)) this.#pool.options.log('warn', `no room on disk ${number} to set a corrupt record aside`, { disk: number, place });
      else this.#pool.ioFailed(number, disk, 'write', thrown);
      return false;
    }
  }
}

/** Removes the oldest until one more fits. */
async function makeRoom(disk: Disk, kept: KeptFile[], bytes: number): Promise<void> {
  kept.sort((a, b) => a.ms - b.ms);
  let total = kept.reduce((sum, file) => sum + file.bytes, bytes);
  for (const [index, file] of kept.entries()) {
    if (total <= DAMAGED_BYTES_MAX && kept.length - index < DAMAGED_RECORDS_MAX) return;
    await disk.unlink(`${DAMAGED_DIRECTORY}/${file.name}`);
    total -= file.bytes;
  }
}

async function copy(disk: Disk, from: DiskFile, offset: number, bytes: number, path: string): Promise<void> {
  const to = await disk.open(path, { create: true, write: true });
  let whole = false;
  try {
    for (let at = 0; at < bytes; at += SCAN_READ_BYTES_MAX) {
      const length = Math.min(SCAN_READ_BYTES_MAX, bytes - at);
      for (const { start, content } of await readable(from, offset + at, length)) await to.write(start - offset, [content]);
    }
    whole = true;
  } finally {
    await to.close();
    if (!whole) await disk.unlink(path);
  }
}

/** What of a range can be read; block by block where not all of it can. */
async function readable(file: DiskFile, offset: number, bytes: number): Promise<{ start: number; content: Buffer }[]> {
  try {
    return [{ start: offset, content: await file.read(offset, bytes) }];
  } catch (thrown) {
    if (asOperatingError(thrown).code !== 'EIO' || bytes <= SHARD_ALIGN_BYTES) return [];
    const half = Math.ceil(bytes / 2 / SHARD_ALIGN_BYTES) * SHARD_ALIGN_BYTES;
    return [...(await readable(file, offset, half)), ...(await readable(file, offset + half, bytes - half))];
  }
}
