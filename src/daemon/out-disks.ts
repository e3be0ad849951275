/**
 * Disks that are out, as rows of the index (I2): a shard is left out because of a disk only after a row says that the disk is out; the row goes when
 * the disk is back. What its absence left without a shard stays recorded as endangered.
 *
 * Its transactions touch rows of its own alone, so it may commit from within a flush, as the data plane does when a sync fails.
 */
import type { Clock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { POOL_DISKS_MAX } from '../base/limits.js';
import type { IndexStore } from '../index/index-store.js';
import { diskOutKey, diskOutRange, encodeDiskOut, parseDiskOutKey } from '../index/schema/pool-rows.js';
import type { Log } from './logger.js';

export class OutDisks {
  /** As the index has it. */
  readonly #out = new Set<DiskNumber>();

  constructor(
    private readonly index: IndexStore,
    private readonly epoch: number,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** Reads the rows, and drops those of disks that are in. @param isIn says whether a disk is in now. */
  async recover(isIn: (disk: DiskNumber) => boolean): Promise<void> {
    for (const { key } of await this.index.scan(diskOutRange(POOL_DISKS_MAX)))
      try {
        this.#out.add(parseDiskOutKey(key));
      } catch (error) {
        // Which disk it was shows by itself; a check drops the row.
        this.log('warn', `a row about a disk that is out cannot be read: ${asOperatingError(error).message}`);
      }
    if (!this.index.writable) return;
    for (const disk of [...this.#out]) if (isIn(disk)) await this.returned(disk);
  }

  /** Resolves when the index says that the disk is out. @throws OperatingError EROFS when nothing can be committed. */
  async declare(disk: DiskNumber): Promise<void> {
    if (this.#out.has(disk)) return;
    const row = encodeDiskOut({ epoch: this.epoch, seconds: this.clock.now().seconds });
    await this.index.transact(async (tx) => {
      tx.put(diskOutKey(disk), row);
    });
    this.#out.add(disk);
    this.log('warn', `disk ${disk} is declared out`, { disk });
  }

  /** The disk is in again. Never rejects: a row too many does no harm, and the next start drops it. */
  async returned(disk: DiskNumber): Promise<void> {
    if (!this.#out.delete(disk)) return;
    try {
      await this.index.transact(async (tx) => {
        tx.delete(diskOutKey(disk));
      });
    } catch (error) {
      this.#out.add(disk);
      this.log('warn', `disk ${disk} is back, which could not be recorded: ${asOperatingError(error).message}`, { disk });
    }
  }
}
