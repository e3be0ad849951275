/**
 * The namespace's transactions, one after the other, and the caches of rows that they keep coherent. Everything in this folder that changes a row of
 * the namespace goes through `change`, everything that reads an inode or a name through `inode` and `dirent`.
 *
 * A change has the ledger's turn from its first read until its effects are in the caches, so that within a body a cached row is the committed one, and
 * whatever runs in `exclusively` cannot slip between a decision and its commit. Readers outside of a turn see committed rows too, perhaps one commit
 * old when they get them, as with any call that overlaps another.
 */
import { LRUCache } from 'lru-cache';
import { must } from '../base/assert.js';
import { when, type Awaitable } from '../base/awaitable.js';
import { DecodeError } from '../base/bytes.js';
import { asOperatingError } from '../base/errors.js';
import { INODE_CACHE_MAX, QUOTAS_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { Committed, IndexStore } from '../index/index-store.js';
import type { DirentRow } from '../index/schema/dirent-row.js';
import { decodeDirent } from '../index/schema/dirent-row.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { decodeInode } from '../index/schema/inode-row.js';
import { decodeQuota } from '../index/schema/quota-row.js';
import { countersKey, direntKey, inodeKey, parseNumberKey, tableRange, TABLES } from '../index/schema/tables.js';
import type { Counters } from '../index/schema/work-rows.js';
import { decodeCounters } from '../index/schema/work-rows.js';
import { Turns } from '../index/turns.js';
import type { Storage } from '../storage/storage.js';
import { Change } from './change.js';
import { KnownNames } from './known-names.js';
import { Locations } from './locations.js';
import { isDirectory } from './modes.js';
import type { Log } from './options.js';
import { Quotas } from './quotas.js';

/** In the cache of names: there is no such entry. */
export const ABSENT = 'absent';

const NO_COUNTERS: Counters = { inodes: 0, usedBytes: 0, nextIno: 1 };

export class Ledger {
  readonly index: IndexStore;
  readonly locations: Locations;
  readonly quotas = new Quotas();
  /** Told of every inode row that a commit wrote (undefined: deleted), before anybody else sees the commit. */
  onInode: (ino: number, row: InodeRow | undefined) => void = () => undefined;
  /** Told of every inode whose extents a commit changed, before its effects run. */
  onContent: (ino: number) => void = () => undefined;
  /** References that went from blobs that others still refer to: what packs may have lost. Whoever looks for sparse packs sets it back. */
  partialDrops = 0;
  readonly #inodes = new LRUCache<number, InodeRow>({ max: INODE_CACHE_MAX });
  readonly #dirents = new LRUCache<string, DirentRow | typeof ABSENT>({ max: INODE_CACHE_MAX });
  readonly #names = new KnownNames();
  readonly #turns = new Turns();
  #counters: Counters = NO_COUNTERS;
  /** Grows with each commit: what was read before may be old. */
  #version = 0;

  readonly #log: Log;

  constructor(index: IndexStore, storage: Storage, log: Log) {
    this.index = index;
    this.#log = log;
    this.locations = new Locations(index, (location) => storage.current(location));
  }

  /**
   * Before anything else.
   * @returns why the counters or quotas cannot be believed: then nothing may be changed, or inode numbers would be given twice, and quotas count wrong
   */
  async load(): Promise<string | undefined> {
    const row = await this.index.get(countersKey());
    try {
      if (row !== undefined) this.#counters = decodeCounters(row);
      else if ((await this.index.scan(tableRange(TABLES.inode, 1))).length > 0) return 'the counters are missing';
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return `the counters cannot be read: ${error.message}`;
    }
    return this.#loadQuotas();
  }

  async #loadQuotas(): Promise<string | undefined> {
    let damage: string | undefined;
    for (const { key, value } of await this.index.scan(tableRange(TABLES.quota, QUOTAS_MAX + 1)))
      try {
        this.quotas.set(parseNumberKey(key), decodeQuota(value));
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        damage = `a quota cannot be read: ${error.message}`;
      }
    return damage;
  }

  get counters(): Counters {
    return this.#counters;
  }

  /** Runs `action` while no change is under way. */
  exclusively<T>(action: () => Awaitable<T>): Awaitable<T> {
    return this.#turns.run(action);
  }

  /**
   * One transaction: all or nothing. `body` awaits nothing but its change and may run again; what it wants done after the commit it hands to
   * `change.afterwards`. Has the turn as in `exclusively`. Without a promise where the turn is free, the body had to wait for nothing, and there is room.
   */
  change<T>(body: (change: Change) => Awaitable<T>): Awaitable<Committed<T>> {
    return this.#turns.run(() => this.#changeInTurn(body));
  }

  #changeInTurn<T>(body: (change: Change) => Awaitable<T>): Awaitable<Committed<T>> {
    let last: Change | undefined;
    const committed = this.index.transact((tx) => {
      const change = new Change(this, tx);
      last = change;
      return when(body(change), (value) => when(change.finish(), () => value));
    });
    return when(committed, (done) => {
      this.#apply(must(last, 'the body ran'));
      return done;
    });
  }

  #apply(change: Change): void {
    this.#version++;
    for (const [ino, row] of change.inodes) {
      if (row === undefined) this.#inodes.delete(ino);
      else {
        this.#inodes.set(ino, row);
        if (ino >= this.#counters.nextIno && isDirectory(row.mode)) this.#names.made(ino);
      }
      this.onInode(ino, row);
    }
    for (const [key, { parent, name, row }] of change.dirents) {
      this.#dirents.set(key, row ?? ABSENT);
      if (row !== undefined) this.#names.add(parent, name);
    }
    for (const [quota, row] of change.quotas.rows) this.quotas.set(quota, row);
    this.#counters = change.counters;
    for (const ino of change.contents) this.onContent(ino);
    change.runEffects();
  }

  /** A blob moved while its row was on the way: the row is put right. */
  fix(old: Location, now: Location): void {
    this.locations.swap(old, now).catch((error: unknown) => {
      this.#log('warn', `blob ${now.blob} keeps its old location`, { error: asOperatingError(error).message });
    });
  }

  cachedInode(ino: number): InodeRow | undefined {
    return this.#inodes.get(ino);
  }

  /** Undefined: the cache does not know. */
  cachedDirent(parent: number, name: string): DirentRow | typeof ABSENT | undefined {
    return this.#names.lacks(parent, name) ? ABSENT : this.#dirents.get(direntName(parent, name));
  }

  inode(ino: number): Awaitable<InodeRow | undefined> {
    return this.#inodes.get(ino) ?? this.#readInode(ino);
  }

  #readInode(ino: number): Awaitable<InodeRow | undefined> {
    const version = this.#version;
    return when(this.index.get(inodeKey(ino)), (value) => {
      if (value === undefined) return undefined;
      const row = decodeInode(ino, value);
      if (version === this.#version) this.#inodes.set(ino, row);
      return row;
    });
  }

  dirent(parent: number, name: string): Awaitable<DirentRow | undefined> {
    const cached = this.cachedDirent(parent, name);
    if (cached !== undefined) return cached === ABSENT ? undefined : cached;
    return this.#readDirent(parent, name);
  }

  #readDirent(parent: number, name: string): Awaitable<DirentRow | undefined> {
    const version = this.#version;
    return when(this.index.get(direntKey(parent, name)), (value) => {
      const row = value === undefined ? undefined : decodeDirent(value);
      if (version === this.#version) this.#dirents.set(direntName(parent, name), row ?? ABSENT);
      return row;
    });
  }
}

/** A name as a key of the cache. */
export function direntName(parent: number, name: string): string {
  return `${parent}/${name}`;
}
