/**
 * Watches what processes do while they do it, for rules that no look at the outcome would show broken: where they write in segments (I1), and what their
 * entries say of shards that were left out (I2). What it finds is thrown by the driver after the step.
 */
import { segmentEpoch } from '../../src/base/ids.js';
import { MiB } from '../../src/base/limits.js';
import type { Disk, DiskFile } from '../../src/disk/disk.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import type { SimulatedDisk } from '../../src/disk/simulated-disk.js';
import type { SimulatedMedium } from '../../src/disk/simulated-medium.js';
import { visitWrites } from '../../src/index/entry.js';
import { decodeLocationRow } from '../../src/index/schema/blob-rows.js';
import { TABLES } from '../../src/index/schema/tables.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { decodeLocation, missingShards } from '../../src/storage/location-codec.js';
import { parseSegmentName, SEGMENT_DIRECTORY } from '../../src/storage/segment-format.js';
import { over } from './over.js';
import type { Rows } from './replicas.js';
import { Violation, type Rule } from './violation.js';
import type { PoolProcess } from './world.js';

/** With so little left a disk may refuse a shard. */
const FULL_BYTES = 8 * MiB;

/** A range of a segment file that was written. */
interface Written {
  readonly from: number;
  readonly to: number;
}

export class Watch {
  /** What was seen first. */
  failure: Violation | undefined;
  /** Records and headers, by the path of the segment. */
  readonly #written = new WeakMap<SimulatedMedium, Map<string, Written[]>>();
  /** The process that declared a disk out, or saw one full, whatever became of it since. */
  #excused: PoolProcess | undefined;

  #broken(rule: Rule, message: string): void {
    this.failure ??= new Violation(rule, message);
  }

  /** An opener whose disks tell what is written in segments. */
  opener(inner: DiskOpener, process: PoolProcess): DiskOpener {
    const told = over(inner, {
      openDisk: async (path, identify) => {
        const disk = await inner.openDisk(path, identify);
        return over(disk, {
          capacity: async () => {
            const capacity = await disk.capacity();
            if (capacity.freeBytes < FULL_BYTES) this.#excused = process;
            return capacity;
          },
        });
      },
    });
    return onFiles(told, (file, disk) => {
      const name = file.path.startsWith(`${SEGMENT_DIRECTORY}/`) ? file.path.slice(SEGMENT_DIRECTORY.length + 1) : '';
      const segment = parseSegmentName(name);
      if (segment === undefined) return {};
      return {
        write: (offset, buffers) => {
          const data = Buffer.concat(buffers);
          this.#write(disk.medium, file.path, offset, data);
          const epoch = process.log?.epoch ?? 0;
          if (segmentEpoch(segment) !== epoch)
            this.#broken(
              'I1 written once',
              `epoch ${epoch} writes to ${file.path} of disk ${disk.directory}, which is of epoch ${segmentEpoch(segment)}`,
            );
          return file.write(offset, buffers);
        },
      };
    });
  }

  #write(medium: SimulatedMedium, path: string, offset: number, data: Buffer): void {
    const files = this.#written.get(medium) ?? new Map<string, Written[]>();
    this.#written.set(medium, files);
    const written = files.get(path) ?? [];
    files.set(path, written);
    const to = offset + data.length;
    const before = written.find((each) => each.from < to && each.to > offset);
    if (before !== undefined)
      this.#broken('I1 written once', `${path}: ${offset} to ${to} is written, after ${before.from} to ${before.to} was`);
    // A zero in front of records to come makes the file as long as what is allocated.
    if (data.some((byte) => byte !== 0)) written.push({ from: offset, to });
  }

  /** An entry of `process` was appended. @param rows those after it */
  appended(entry: LogEntry, process: PoolProcess, rows: () => Rows): void {
    if (entry.kind !== 'data') return;
    visitWrites(entry.payload, (key, value) => {
      if (value === undefined) return;
      if (key[0] === TABLES.diskOut) this.#excused = process;
      if (key[0] !== TABLES.blob || this.#excused === process) return;
      const location = decodeLocation(decodeLocationRow(value));
      const missing = missingShards(location);
      if (missing.length === 0) return;
      const table = TABLES.diskOut.toString(16);
      for (const each of rows().keys()) if (each.startsWith(table)) return;
      this.#broken(
        'I2 data before pointer',
        `blob ${location.blob} lacks shards ${missing.join(', ')}, and no disk was declared out, nor full`,
      );
    });
  }
}

/** An opener whose files have some members replaced, as `change` says when they are opened. */
export function onFiles(inner: DiskOpener, change: (file: DiskFile, disk: SimulatedDisk) => Partial<DiskFile>): DiskOpener {
  return over(inner, {
    openDisk: async (path, identify) => {
      const disk = await inner.openDisk(path, identify);
      const outer: Disk = over(disk, {
        open: async (name, mode) => {
          const file = await disk.open(name, mode);
          return over(file, { disk: outer, ...change(file, disk as SimulatedDisk) });
        },
      });
      return outer;
    },
  });
}
