/**
 * Ways to break a pool on purpose, to see that the simulation finds them: each leaves a rule out, or puts something between two floors that lies. Most
 * stand between the parts; what only the quorum log itself can leave out is in src/quorum/mutations.ts.
 */
import { FRAME_BYTES, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES } from '../../src/base/limits.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import type { Disk, DiskFile } from '../../src/disk/disk.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import type { ShardRecord, StripeIo } from '../../src/disk/stripe.js';
import type { IndexStore, Transaction } from '../../src/index/index-store.js';
import type { Mutations } from '../../src/quorum/mutations.js';
import type { OpenQuorumLog, QuorumOptions } from '../../src/quorum/quorum-log.js';
import { openWithMutations } from '../../src/quorum/recovery.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import type { Storage } from '../../src/storage/storage.js';
import type { Trace } from './trace.js';

/** What is put in the place of which part. */
export interface Mutation {
  readonly opener?: (opener: DiskOpener) => DiskOpener;
  readonly stripeIo?: StripeIo;
  readonly openQuorumLog?: OpenQuorumLog;
  readonly quorumOptions?: (options: QuorumOptions) => QuorumOptions;
  /** What a durable replica is told to apply. */
  readonly replicated?: (entries: readonly LogEntry[], trace: Trace) => readonly LogEntry[];
  readonly storage?: (storage: Storage) => Storage;
  readonly index?: (index: IndexStore) => IndexStore;
}

/** The same object, with some of its members replaced. */
function over<T extends object>(inner: T, members: Partial<T>): T {
  return new Proxy(inner, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return Reflect.get(members, name);
      return own(target, name);
    },
  });
}

/** A member as its own object has it. */
function own(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name, target);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}

function quorum(mutations: Mutations): Mutation {
  return { openQuorumLog: (options) => openWithMutations(options, mutations) };
}

/** Files that this wraps, on all disks. */
function files(wrap: (file: DiskFile, disk: Disk) => DiskFile): Mutation {
  return {
    opener: (opener) => ({
      openDirectory: (path) => opener.openDirectory(path),
      openDisk: async (path, identify) => {
        const disk = await opener.openDisk(path, identify);
        return over(disk, { open: async (name, mode) => wrap(await disk.open(name, mode), disk) });
      },
    }),
  };
}

/** After a failed sync the file is opened again, synced, and used on. */
function trusting(file: DiskFile, disk: Disk): DiskFile {
  let current = file;
  return {
    disk,
    path: file.path,
    poisoned: false,
    write: (offset, buffers) => current.write(offset, buffers),
    read: (offset, bytes) => current.read(offset, bytes),
    size: () => current.size(),
    preallocate: (offset, bytes) => current.preallocate(offset, bytes),
    punch: (offset, bytes) => current.punch(offset, bytes),
    close: () => current.close(),
    async sync() {
      try {
        await current.sync();
      } catch {
        current = await disk.open(file.path, { write: true });
        await current.sync();
      }
    },
  };
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

/** Believes whatever record it finds, so long as its own checksums match. */
class CredulousStripes extends SimulatedStripeIo {
  async #asFound(records: readonly ShardRecord[]): Promise<ShardRecord[]> {
    return Promise.all(
      records.map(async (record) => {
        const header = await record.file.read(record.offset, RECORD_HEADER_BYTES).catch(() => Buffer.alloc(0));
        if (header.length < RECORD_HEADER_BYTES) return record;
        return { ...record, prefix: header.subarray(0, RECORD_PREFIX_BYTES), seed: header.readUInt32LE(76) };
      }),
    );
  }

  override async fetch(...[geometry, records, offset, out]: Parameters<StripeIo['fetch']>): ReturnType<StripeIo['fetch']> {
    return super.fetch(geometry, await this.#asFound(records), offset, out);
  }

  override async verify(...[geometry, records]: Parameters<StripeIo['verify']>): ReturnType<StripeIo['verify']> {
    return super.verify(geometry, await this.#asFound(records));
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

/** Entries behind those that are durable, as far as the trace has them. */
function ahead(entries: readonly LogEntry[], trace: Trace): readonly LogEntry[] {
  const more: LogEntry[] = [];
  for (let at = entries.at(-1)?.point.position ?? trace.position; at < trace.position; at++) {
    const entry = trace.entries[at];
    if (entry === undefined) break;
    more.push(entry);
  }
  return [...entries, ...more];
}

const noRecords: Storage['scan'] = () => ({ [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }) });

/** All mutations, by what they leave out. */
export const mutations = {
  'sync data before the log': { quorumOptions: (options) => ({ ...options, syncData: async () => true }) },
  'sync the log': quorum({ skipSync: true }),
  'wait for enough voters': quorum({ acknowledgeEarly: true }),
  'ask for promises after writing': quorum({ skipFence: true }),
  'look for the data of entries that no barrier covers': { quorumOptions: (options) => ({ ...options, verifyEntry: async () => true }) },
  'never trust a file after its sync failed': files(trusting),
  'keep replicas behind the barrier': { replicated: ahead },
  'free space only when its transaction is durable': {
    index: (index) =>
      new Proxy(index, {
        get(target, name) {
          return name === 'durablePosition' ? target.headPosition : own(target, name);
        },
      }),
  },
  'verify frames': { stripeIo: new CarelessStripes() },
  'bind records to their places': { stripeIo: new CredulousStripes() },
  'record what is endangered': {
    storage: (storage) => over(storage, { store: async (data) => ({ ...(await storage.store(data)), missing: [] }) }),
  },
  'heal before saying so': {
    storage: (storage) => over(storage, { rebuild: async (location) => ({ location, missing: [] }) }),
  },
  'commit in one transaction': { index: tornTransactions },
  'search for what a crash stranded': { storage: (storage) => over(storage, { scan: noRecords }) },
  'give back what is freed': { storage: (storage) => over(storage, { free: async () => undefined }) },
} satisfies Readonly<Record<string, Mutation>> as Readonly<Record<string, Mutation>>;
