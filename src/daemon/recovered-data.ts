/**
 * Recovery's question to the data plane: is all data there that this entry of the log points to (I4)? Asked before the pool's epoch is won, so it uses a
 * data plane of its own that only reads.
 */
import { OperatingError } from '../base/errors.js';
import type { DiskSet } from '../disk/disk-set.js';
import { visitWrites } from '../index/entry.js';
import { pointedLocation } from '../index/schema/blob-rows.js';
import type { LogEntry } from '../quorum/state-machine.js';
import { createStorage } from '../storage/create-storage.js';
import { decodeLocation } from '../storage/location-codec.js';
import type { PoolEnvironment } from './environment.js';
import type { Log } from './logger.js';

/** An epoch for a data plane that makes nothing. */
const READING_EPOCH = 1;

export interface RecoveredData {
  verifyEntry(entry: LogEntry): Promise<boolean>;
  close(): Promise<void>;
}

export async function openRecoveredData(diskSet: DiskSet, environment: PoolEnvironment, log: Log): Promise<RecoveredData> {
  const { clock, random, stripeIo } = environment;
  const refuse = async (): Promise<never> => {
    throw new OperatingError('EROFS', 'recovery changes no data');
  };
  const { poolId, k, m } = diskSet.membership;
  const storage = await createStorage({
    poolId,
    epoch: READING_EPOCH,
    k,
    m,
    diskSet,
    stripeIo,
    clock,
    random,
    log,
    onDiskOut: refuse,
    onMoved: refuse,
    onDamage: () => undefined,
  });
  return {
    async verifyEntry(entry) {
      if (entry.kind !== 'data') return true;
      const locations: Buffer[] = [];
      visitWrites(entry.payload, (key, value) => {
        const location = value === undefined ? undefined : pointedLocation(key, value);
        if (location !== undefined) locations.push(location);
      });
      for (const location of locations) {
        if (await storage.verify(decodeLocation(location))) continue;
        log('warn', `entry ${entry.point.position} points to data that is not there`, { position: entry.point.position });
        return false;
      }
      return true;
    },
    close: () => storage.close(),
  };
}
