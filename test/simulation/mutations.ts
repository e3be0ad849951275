/**
 * Ways to break a pool on purpose, to see that the simulation finds them: each leaves a rule out, or puts something between two floors that lies. Most
 * stand between the parts; what only the quorum log itself can leave out is in src/quorum/mutations.ts.
 */
import { FRAME_BYTES, RECORD_HEADER_BYTES } from '../../src/base/limits.js';
import type { DiskOpener } from '../../src/disk/disk-opener.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import type { StripeIo } from '../../src/disk/stripe.js';
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

/** All mutations, by what they leave out. */
export const mutations = {
  'sync data before the log': { quorumOptions: (options) => ({ ...options, syncData: async () => true }) },
  'sync the log': quorum({ skipSync: true }),
  'verify frames': { stripeIo: new CarelessStripes() },
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
