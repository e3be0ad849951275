/**
 * Ways to break a pool on purpose, to see that the simulation finds them: each leaves a rule out, or puts something between two floors that lies. Most
 * stand between the parts; what only the quorum log itself can leave out is in src/quorum/mutations.ts.
 */
import type { Awaitable } from '../../src/base/awaitable.js';
import { must } from '../../src/base/assert.js';
import { FRAME_BYTES, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES } from '../../src/base/limits.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import type { StripeIo } from '../../src/disk/stripe.js';
import type { IndexStore, Transaction } from '../../src/index/index-store.js';
import { TABLES } from '../../src/index/schema/tables.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import type { OpenQuorumLog, QuorumOptions } from '../../src/quorum/quorum-log.js';
import { openWithMutations } from '../../src/quorum/recovery.js';
import type { PoolNamespace } from '../../src/namespace/pool-namespace.js';
import type { StorageOptions } from '../../src/storage/create-storage.js';
import type { Storage } from '../../src/storage/storage.js';
import { encodePrefix, geometryOf, recordSeed } from '../../src/storage/record.js';
import { SEGMENT_DIRECTORY, segmentPath } from '../../src/storage/segment-format.js';
import { over } from './over.js';
import { onFiles } from './watch.js';

/** What is put in the place of which part. */
export interface Mutation {
  readonly opener?: (opener: DiskOpener) => DiskOpener;
  readonly stripeIo?: StripeIo;
  readonly openQuorumLog?: OpenQuorumLog;
  readonly quorumOptions?: (options: QuorumOptions) => QuorumOptions;
  readonly storageOptions?: (options: StorageOptions) => StorageOptions;
  readonly storage?: (storage: Storage, options: StorageOptions) => Storage;
  /** What doors and services of a pool see. */
  readonly namespace?: (namespace: PoolNamespace) => PoolNamespace;
  readonly index?: (index: IndexStore) => IndexStore;
}

function quorum(mutations: Mutations): Mutation {
  return { openQuorumLog: (options) => openWithMutations(options, mutations) };
}

/** Reads frames of data shards without looking at their checksums. */
class CarelessStripes extends SimulatedStripeIo {
  override async fetch(...[geometry, records, offset, out]: Parameters<StripeIo['fetch']>): ReturnType<StripeIo['fetch']> {
    const { shardBytes } = geometry;
    for (let at = offset; at < offset + out.length;) {
      const shard = Math.floor(at / shardBytes);
      const within = at - shard * shardBytes;
      const bytes = Math.min(FRAME_BYTES - (within % FRAME_BYTES), shardBytes - within, offset + out.length - at);
      const record = records.find((each) => each.shard === shard);
      const found = await record?.file.read(record.offset + RECORD_HEADER_BYTES + within, bytes).catch(() => undefined);
      if (found?.length !== bytes) return super.fetch(geometry, records, offset, out);
      out.set(found, at - offset);
      at += bytes;
    }
    return [];
  }
}

/** Commits extents apart from the rest of their transaction. */
function tornTransactions(index: IndexStore): IndexStore {
  const EXTENTS = 'e'.charCodeAt(0);
  return over(index, {
    async transact<T>(body: (tx: Transaction) => Promise<T>) {
      const late: [Uint8Array, Uint8Array][] = [];
      const first = await index.transact((tx) => {
        late.length = 0;
        return body(
          over(tx, {
            put: (key, value) => {
              if (key[0] === EXTENTS) late.push([Buffer.from(key), Buffer.from(value)]);
              else tx.put(key, value);
            },
          }),
        );
      });
      if (late.length === 0) return first;
      const second = await index.transact(async (tx) => {
        for (const [key, value] of late) tx.put(key, value);
      });
      return { value: first.value, position: second.position };
    },
  });
}

const noRecords: Storage['scan'] = () => ({ [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }) });

/** Where a record's frames have their seed from. */
const SEED_OFFSET = 76;

/** Takes whatever whole record is in a place for the one that should be there. */
class TrustingStripes extends SimulatedStripeIo {
  override async fetch(...[geometry, records, ...rest]: Parameters<StripeIo['fetch']>): ReturnType<StripeIo['fetch']> {
    const believed = records.map(async (record) => {
      const prefix = await record.file.read(record.offset, RECORD_PREFIX_BYTES).catch(() => record.prefix);
      if (prefix.length < RECORD_PREFIX_BYTES) return record;
      return { ...record, prefix, seed: Buffer.from(prefix).readUInt32LE(SEED_OFFSET) };
    });
    return super.fetch(geometry, await Promise.all(believed), ...rest);
  }
}

/** Writes all shards but the last one, and says that it wrote all. */
class FewerStripes extends SimulatedStripeIo {
  override async store(...[geometry, data, records]: Parameters<StripeIo['store']>): ReturnType<StripeIo['store']> {
    const last = geometry.k + geometry.m - 1;
    return super.store(
      geometry,
      data,
      records.filter(({ shard }) => shard !== last || geometry.m === 0),
    );
  }
}

/** What is bad is written anew where it is. */
function repairInPlace(storage: Storage, { diskSet, stripeIo, poolId }: StorageOptions): Storage {
  return over(storage, {
    rebuild: async (location, shards) => {
      const data = new Uint8Array(location.bytes);
      await storage.read(location, 0, data);
      for (const shard of shards) {
        const place = must(location.shards[shard], 'a shard of the blob');
        const file = await diskSet.disk(place.disk)?.open(segmentPath(place.segment), { write: true });
        if (file === undefined) continue;
        const seed = recordSeed(poolId, location.blob, shard);
        const record = { shard, file, offset: place.offset, prefix: encodePrefix(poolId, location, shard), seed };
        await stripeIo.store(geometryOf(location), data, [record]);
        await file.close();
      }
      return { location, missing: [] };
    },
  });
}

/** A file that is there already is as good as a new one. */
function openOldFiles(opener: DiskOpener): DiskOpener {
  return over(opener, {
    openDisk: async (path, identify) => {
      const disk = await opener.openDisk(path, identify);
      return over(disk, {
        open: (name, mode) => disk.open(name, mode).catch(() => disk.open(name, { ...mode, create: false })),
      });
    },
  });
}

/** Asks again when a sync of a segment failed, and believes the answer. */
function syncTwice(opener: DiskOpener): DiskOpener {
  return onFiles(opener, (first, disk) => {
    let file = first;
    const again = async (): Promise<void> => {
      file = await disk.open(file.path, { write: true });
      await file.sync();
    };
    if (!file.path.startsWith(SEGMENT_DIRECTORY)) return {};
    return {
      get poisoned() {
        return file.poisoned;
      },
      write: (offset, buffers) => file.write(offset, buffers),
      punch: (offset, bytes) => file.punch(offset, bytes),
      preallocate: (offset, bytes) => file.preallocate(offset, bytes),
      sync: () => file.sync().catch(again),
    };
  });
}

async function saysYes(action: () => Awaitable<void>): Promise<void> {
  await Promise.resolve()
    .then(action)
    .catch(() => undefined);
}

/** Flushes say yes, whatever became of what was written. */
function quietFlushes(namespace: PoolNamespace): PoolNamespace {
  return over(namespace, {
    flush: (...given) => saysYes(() => namespace.flush(...given)),
    fsync: (...given) => saysYes(() => namespace.fsync(...given)),
  });
}

/** The collector takes everything for durable. */
function freeEarly(namespace: PoolNamespace): PoolNamespace {
  const { ledger } = namespace;
  return over(namespace, { ledger: over(ledger, { index: over(ledger.index, { durablePosition: Infinity }) }) });
}

/** Whoever counts blobs finds none. */
function countNothing(namespace: PoolNamespace): PoolNamespace {
  const { ledger } = namespace;
  const { index } = ledger;
  const scan: IndexStore['scan'] = async (range) => (range.start[0] === TABLES.blob ? [] : index.scan(range));
  return over(namespace, { ledger: over(ledger, { index: over(index, { scan }) }) });
}

/** Reads that take long: what they need is asked for when they are nearly over. */
export const slowReads: Mutation = {
  storage: (storage, { clock }) =>
    over(storage, {
      read: async (...given) => {
        await clock.sleep(SLOW_READ_MS);
        return storage.read(...given);
      },
    }),
};

const SLOW_READ_MS = 5000;

/** All mutations, by what they leave out. */
export const mutations = {
  'write a place once': { storage: repairInPlace },
  'give each epoch segments of its own': { opener: openOldFiles, storageOptions: (options) => ({ ...options, epoch: 1 }) },
  'sync data before the log': { quorumOptions: (options) => ({ ...options, syncData: async () => true }) },
  'declare a disk out': { storageOptions: (options) => ({ ...options, onDiskOut: async () => undefined }) },
  'record what is endangered': {
    storage: (storage) => over(storage, { store: async (data) => ({ ...(await storage.store(data)), missing: [] }) }),
  },
  'commit in one transaction': { index: tornTransactions },
  'sync the log': quorum({ skipSync: true }),
  'wait for a majority': quorum({ acknowledgeEarly: true }),
  'look for data behind the barrier': { quorumOptions: (options) => ({ ...options, verifyEntry: async () => true }) },
  'apply to replicas behind the barrier alone': quorum({ applyEarly: true }),
  'free late': { namespace: freeEarly },
  'free what nobody reads': {
    ...slowReads,
    namespace: (namespace) => over(namespace, { pins: over(namespace.pins, { has: () => false }) }),
  },
  'verify frames': { stripeIo: new CarelessStripes() },
  'bind records to their places': { stripeIo: new TrustingStripes() },
  'write all shards': { stripeIo: new FewerStripes() },
  'wait for m + 1 voters': { quorumOptions: (options) => ({ ...options, acknowledgements: options.acknowledgements - 1 }) },
  'tell of lost writes': { namespace: quietFlushes },
  'ask whether somebody else leads': quorum({ skipFence: true }),
  'search for what a crash stranded': { storage: (storage) => over(storage, { scan: noRecords }) },
  'give back what is freed': { storage: (storage) => over(storage, { free: async () => undefined }) },
  'take a failed sync for final': { opener: syncTwice },
  'count after a heal': { namespace: countNothing },
  'heal before saying so': {
    storage: (storage) => over(storage, { rebuild: async (location) => ({ location, missing: [] }) }),
  },
} satisfies Readonly<Record<string, Mutation>>;
