/** A pool in memory for tests of the namespace: index, data plane, namespace, and what tests do with them again and again. */
import type t from 'tap';
import { systemClock, seededRandom, type Clock } from '../../src/base/clock.js';
import { Collector } from '../../src/durability/collector.js';
import { OperatingError } from '../../src/base/errors.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { MemoryWorkingReplica } from '../../src/index/memory-replica.js';
import { createIndexStore } from '../../src/index/log-index.js';
import type { IndexStore, Row } from '../../src/index/index-store.js';
import type { Caller, Ino, Namespace } from '../../src/namespace/namespace.js';
import type { NamespaceOptions } from '../../src/namespace/options.js';
import { createNamespace, type PoolNamespace } from '../../src/namespace/pool-namespace.js';
import { FakeLog } from '../index/fake-log.js';
import { MemoryStorage } from './memory-storage.js';

export const root: Caller = { uid: 0, gid: 0, pid: 1 };
export const ROOT = 1;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_TRUNC = 0o1000;

export interface Pool {
  readonly index: IndexStore;
  readonly log: FakeLog;
  readonly working: MemoryWorkingReplica;
  readonly storage: MemoryStorage;
  /** With the interface's signatures, as a front end calls it. */
  readonly namespace: PoolNamespace & Namespace;
  /** Those in force; some may be changed. */
  readonly settings: { -readonly [Key in keyof NamespaceOptions['settings']]: NamespaceOptions['settings'][Key] };
  readonly invalidated: Ino[];
  /** Messages of the log. */
  readonly logged: string[];
}

export interface PoolSettings {
  storage?: MemoryStorage;
  /** What the index has been through before. */
  entries?: readonly LogEntry[];
  epoch?: number;
  clock?: Clock;
  readOnly?: boolean;
  settings?: Partial<NamespaceOptions['settings']>;
  /** Puts something between the namespace and its index. */
  wrap?: (index: IndexStore) => IndexStore;
}

/** An index as it was after these entries. */
export function indexAfter(entries: readonly LogEntry[]): { index: IndexStore; log: FakeLog; working: MemoryWorkingReplica } {
  const working = new MemoryWorkingReplica(true);
  for (const entry of entries) working.apply(entry);
  const log = new FakeLog(working);
  log.durablePosition = log.head.position;
  return { index: createIndexStore(log, working), log, working };
}

export async function openPool(test: typeof t | Test, options: PoolSettings = {}): Promise<Pool> {
  const storage = options.storage ?? new MemoryStorage();
  const epoch = options.epoch ?? 1;
  storage.epoch = epoch;
  const parts = indexAfter(options.entries ?? []);
  const invalidated: Ino[] = [];
  const logged: string[] = [];
  // Long enough that no test commits by itself.
  const settings: Pool['settings'] = {
    commitIntervalMs: 3_600_000,
    durability: 'interval',
    uploadBytesMax: 1 << 20,
    readCacheBytesMax: 512 * 1024,
    ...options.settings,
  };
  const namespace = await createNamespace({
    index: options.wrap?.(parts.index) ?? parts.index,
    storage,
    clock: options.clock ?? systemClock,
    random: seededRandom(1),
    log: (_level, message) => void logged.push(message),
    settings,
    epoch,
    readOnly: options.readOnly ?? false,
    onInvalidate: (ino) => invalidated.push(ino),
  });
  test.teardown(() => namespace.close());
  return { ...parts, storage, namespace, settings, invalidated, logged };
}

/** What a subtest has of tap. */
export interface Test {
  teardown(action: () => Promise<void> | void): void;
}

export async function readAll(namespace: PoolNamespace, ino: Ino, handle: number, offset: number, bytes: number): Promise<Buffer> {
  const read = await namespace.read(ino, handle, offset, bytes);
  const out = Buffer.concat(read.pieces);
  read.release();
  return out;
}

/** A whole file by its inode, as a new reader sees it. */
export async function contentOf(namespace: PoolNamespace, ino: Ino): Promise<Buffer> {
  const handle = await namespace.open(ino, O_RDONLY, root);
  try {
    const { size } = await namespace.getattr(ino);
    const parts: Buffer[] = [];
    for (let at = 0; at < size;) {
      const part = await readAll(namespace, ino, handle, at, 100_000);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
    }
    return Buffer.concat(parts);
  } finally {
    await namespace.flush(ino, handle);
    await namespace.release(ino, handle);
  }
}

/** Makes a file with a content and closes it. */
export async function writeFile(namespace: PoolNamespace, parent: Ino, name: string, data: Uint8Array): Promise<Ino> {
  const { attributes, handle } = await namespace.create(parent, name, 0o644, O_WRONLY, root);
  for (let at = 0; at < data.length; at += 50_000) await namespace.write(attributes.ino, handle, at, data.subarray(at, at + 50_000), root);
  await namespace.flush(attributes.ino, handle);
  await namespace.release(attributes.ino, handle);
  return attributes.ino;
}

/** Gives back the space of everything that nothing refers to any more. */
export async function collect({ namespace, storage, index }: Pool): Promise<void> {
  const collector = new Collector({ namespace, storage, clock: systemClock, log: () => undefined });
  for (let round = 0; round < 3; round++) {
    await index.durable();
    await collector.collect();
  }
}

/** Runs `action` and returns the code of the operating error that it throws. */
export async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
    return 'none';
  } catch (error) {
    if (error instanceof OperatingError) return error.code;
    throw error;
  }
}

/** Waits until `condition` holds; fails the test when it never does. */
export async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error('what was waited for did not happen');
}

/** Counts the rows that are scanned from now on. */
export function countScanned(working: MemoryWorkingReplica): { rows: number } {
  const scan = working.scan.bind(working);
  const scanned = { rows: 0 };
  working.scan = (range) => {
    const found = scan(range);
    scanned.rows += found.length;
    return found;
  };
  return scanned;
}

/** Rows of the index by the letter of their table. */
export async function rowsByTable(index: Pick<IndexStore, 'scan'>): Promise<Map<string, Row[]>> {
  const tables = new Map<string, Row[]>();
  let start = Buffer.from([0]);
  for (;;) {
    const rows = await index.scan({ start, end: Buffer.from([0xff]), limit: 1000 });
    for (const row of rows) {
      const letter = String.fromCharCode(row.key[0] ?? 0);
      tables.set(letter, [...(tables.get(letter) ?? []), row]);
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < 1000) return tables;
    start = Buffer.concat([last.key, Buffer.alloc(1)]);
  }
}

/** Bytes that differ at every offset and for every seed. */
export function pattern(bytes: number, seed: number): Buffer {
  const out = Buffer.allocUnsafe(bytes);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}
