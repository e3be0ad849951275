/**
 * Recovery's question to the data plane: is all data there that this entry of the log points to (I4)? Asked before the pool's epoch is won, so it uses a
 * data plane of its own that only reads.
 */
import { OperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import type { Location } from '../base/location.js';
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
  /**
   * Shards that nobody can vouch for, of blobs that stay all the same: they were not synced when the power went, and are damaged, gone, or on a disk that is
   * out. They have to be recorded as endangered before a barrier covers their entries (I2).
   */
  doubtful(): ReadonlyMap<BlobId, readonly number[]>;
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
  const doubtful = new Map<BlobId, { readonly position: number; readonly shards: readonly number[] }>();
  /** Shards that have a place and were not found good there. */
  const missing = async (location: Location): Promise<number[]> => {
    const damaged = new Set((await storage.inspect(location, 'frames')).map(({ shard }) => shard));
    return location.shards.flatMap(({ disk }, shard) =>
      disk !== 0 && (damaged.has(shard) || diskSet.disk(disk) === undefined) ? [shard] : [],
    );
  };
  return {
    doubtful: () => new Map([...doubtful].flatMap(([blob, { shards }]) => (shards.length > 0 ? [[blob, shards]] : []))),
    async verifyEntry(entry) {
      if (entry.kind !== 'data') return true;
      const locations: Buffer[] = [];
      visitWrites(entry.payload, (key, value) => {
        const location = value === undefined ? undefined : pointedLocation(key, value);
        if (location !== undefined) locations.push(location);
      });
      const { position } = entry.point;
      for (const bytes of locations) {
        const location = decodeLocation(bytes);
        const shards = await missing(location);
        // A later entry may have another place for it.
        if ((doubtful.get(location.blob)?.position ?? 0) <= position) doubtful.set(location.blob, { position, shards });
        if (location.shards.filter(({ disk }) => disk !== 0).length - shards.length >= location.k) continue;
        log('warn', `entry ${position} points to data that is not there`, { position });
        return false;
      }
      return true;
    },
    close: () => storage.close(),
  };
}
