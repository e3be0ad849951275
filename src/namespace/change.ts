/**
 * One transaction of the namespace in the making: inodes, names, counters and references as objects, written as rows at its end. What it wrote it
 * reads back. Single use, by the body that the ledger runs.
 *
 * References to blobs are added up over the whole transaction and settled at its end, so that an overwritten blob whose pieces move around costs
 * one row: a count of none moves the location to the queue of the collector (I5), never frees by itself.
 */
import { assert, must } from '../base/assert.js';
import { each, when, type Awaitable } from '../base/awaitable.js';
import { OperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import type { Transaction } from '../index/index-store.js';
import { encodeEndangered, encodeLocationRow, encodeReferences, referencesOf } from '../index/schema/blob-rows.js';
import type { DirentRow } from '../index/schema/dirent-row.js';
import { decodeDirent, encodeDirent, encodeOrder } from '../index/schema/dirent-row.js';
import type { InodeRow } from '../index/schema/inode-row.js';
import { decodeInode, encodeInode } from '../index/schema/inode-row.js';
import { encodeQuota } from '../index/schema/quota-row.js';
import {
  blobKey,
  countersKey,
  direntKey,
  endangeredKey,
  freeKey,
  inodeKey,
  orderKey,
  quotaKey,
  referencesKey,
} from '../index/schema/tables.js';
import type { Counters } from '../index/schema/work-rows.js';
import { encodeCounters } from '../index/schema/work-rows.js';
import { encodeLocation } from '../storage/location-codec.js';
import type { StoredBlob } from '../storage/storage.js';
import type { Ledger } from './ledger.js';
import { ABSENT, direntName } from './ledger.js';
import { QuotaChange } from './quotas.js';

/** Bytes that one pending inode and one pending blob take in the entry, at most about. */
const INODE_ENTRY_BYTES = 96;
const BLOB_ENTRY_BYTES = 256;

export class Change {
  readonly tx: Transaction;
  /** Rows written; undefined: deleted. */
  readonly inodes = new Map<number, InodeRow | undefined>();
  readonly dirents = new Map<string, { readonly parent: number; readonly name: string; readonly row: DirentRow | undefined }>();
  /** Inodes of which extents were written or dropped. */
  readonly contents: number[] = [];
  counters: Counters;
  /** Inodes that the change makes, moves, fills or removes are charged to them at its end. */
  readonly quotas: QuotaChange;
  readonly #ledger: Ledger;
  /** Made with the first: a change is made for each call, and most have few parts. */
  #references: Map<BlobId, number> | undefined;
  #born: Map<BlobId, StoredBlob> | undefined;
  readonly #effects: (() => void)[] = [];

  constructor(ledger: Ledger, tx: Transaction) {
    this.#ledger = ledger;
    this.tx = tx;
    this.counters = ledger.counters;
    this.quotas = new QuotaChange(ledger.quotas);
  }

  /** What the log entry will take, about. */
  get entryBytes(): number {
    return this.tx.entryBytes + this.inodes.size * INODE_ENTRY_BYTES + (this.#references?.size ?? 0) * BLOB_ENTRY_BYTES;
  }

  inode(ino: number): Awaitable<InodeRow | undefined> {
    return this.inodes.has(ino) ? this.inodes.get(ino) : this.#committed(ino);
  }

  #committed(ino: number): Awaitable<InodeRow | undefined> {
    return this.#ledger.cachedInode(ino) ?? this.#readInode(ino);
  }

  #readInode(ino: number): Awaitable<InodeRow | undefined> {
    return when(this.tx.get(inodeKey(ino)), (value) => (value === undefined ? undefined : decodeInode(ino, value)));
  }

  putInode(row: InodeRow): void {
    assert(row.size >= 0 && row.allocatedBytes >= 0 && row.links >= 0, () => `inode ${row.ino} out of range`);
    this.inodes.set(row.ino, row);
  }

  deleteInode(ino: number): void {
    this.inodes.set(ino, undefined);
  }

  /** A number that no inode of this pool ever had. */
  newIno(): number {
    const ino = this.counters.nextIno;
    this.counters = { ...this.counters, nextIno: ino + 1 };
    return ino;
  }

  /** Keeps the counters exact: call it with every change of their parts. */
  count(inodes: number, usedBytes: number): void {
    const { counters } = this;
    this.counters = { ...counters, inodes: counters.inodes + inodes, usedBytes: counters.usedBytes + usedBytes };
    assert(this.counters.inodes >= 0 && this.counters.usedBytes >= 0, 'counters below zero');
  }

  dirent(parent: number, name: string): Awaitable<DirentRow | undefined> {
    const own = this.dirents.size === 0 ? undefined : this.dirents.get(direntName(parent, name));
    if (own !== undefined) return own.row;
    const cached = this.#ledger.cachedDirent(parent, name);
    if (cached !== undefined) return cached === ABSENT ? undefined : cached;
    return this.#readDirent(parent, name);
  }

  #readDirent(parent: number, name: string): Awaitable<DirentRow | undefined> {
    return when(this.tx.get(direntKey(parent, name)), (value) => (value === undefined ? undefined : decodeDirent(value)));
  }

  putDirent(parent: number, name: string, row: DirentRow): void {
    this.dirents.set(direntName(parent, name), { parent, name, row });
    this.tx.put(direntKey(parent, name), encodeDirent(row));
    this.tx.put(orderKey(parent, row.cookie), encodeOrder({ ino: row.ino, type: row.type, name }));
  }

  deleteDirent(parent: number, name: string, row: DirentRow): void {
    this.dirents.set(direntName(parent, name), { parent, name, row: undefined });
    this.tx.delete(direntKey(parent, name));
    this.tx.delete(orderKey(parent, row.cookie));
  }

  /** A blob's row comes with this transaction, together with what endangers it (I2). It has no reference yet. */
  bear(blob: BlobId): void {
    this.#born ??= new Map();
    if (this.#born.has(blob)) return;
    this.#born.set(blob, must(this.#ledger.locations.expected(blob), `blob ${blob} was not expected`));
    this.addReferences(blob, 0);
  }

  /** Extents of this inode are written or dropped. */
  touch(ino: number): void {
    if (this.contents.at(-1) !== ino) this.contents.push(ino);
  }

  addReferences(blob: BlobId, count: number): void {
    this.#references ??= new Map();
    this.#references.set(blob, (this.#references.get(blob) ?? 0) + count);
  }

  /** Runs `effect` once the transaction is committed, before anybody else has the turn. */
  afterwards(effect: () => void): void {
    this.#effects.push(effect);
  }

  /** Writes what was collected. @throws OperatingError EDQUOT */
  finish(): Awaitable<void> {
    const isCharged = this.#ledger.quotas.size > 0 || this.quotas.rows.size > 0;
    return when(isCharged ? this.#chargeQuotas() : undefined, () =>
      when(this.#references && each(this.#references, ([blob, count]) => this.#settle(blob, count)), () => {
        this.#putRows();
      }),
    );
  }

  #putRows(): void {
    for (const [ino, row] of this.inodes) {
      if (row === undefined) this.tx.delete(inodeKey(ino));
      else this.tx.put(inodeKey(ino), encodeInode(row));
    }
    if (this.counters !== this.#ledger.counters) this.tx.put(countersKey(), encodeCounters(this.counters));
  }

  #chargeQuotas(): Awaitable<void> {
    const charged = each(this.inodes, ([ino, row]) =>
      when(ino < this.#ledger.counters.nextIno ? this.#committed(ino) : undefined, (before) => {
        this.#charge(ino, before, row);
      }),
    );
    return when(charged, () => {
      const { quotas, tx } = this;
      quotas.finish();
      for (const [quota, row] of quotas.rows) {
        if (row === undefined) tx.delete(quotaKey(quota));
        else tx.put(quotaKey(quota), encodeQuota(row));
      }
    });
  }

  /** Every change of an inode's row counts, whoever made it. */
  #charge(ino: number, before: InodeRow | undefined, row: InodeRow | undefined): void {
    const { quotas } = this;
    if (before?.quota === row?.quota && before?.allocatedBytes === row?.allocatedBytes) return;
    if (before !== undefined) quotas.charge(before.quota, -1, -before.allocatedBytes);
    if (row !== undefined) quotas.charge(row.quota, 1, row.allocatedBytes);
    else if (before?.quota === ino) quotas.clear(ino);
  }

  #settle(blob: BlobId, delta: number): Awaitable<void> {
    const born = this.#born?.get(blob);
    if (born !== undefined) {
      this.#settleBorn(born, delta);
      return;
    }
    if (delta === 0) return;
    return when(this.tx.get(referencesKey(blob)), (value) => this.#settleKnown(blob, referencesOf(value), delta));
  }

  #settleBorn(born: StoredBlob, delta: number): void {
    const { tx } = this;
    const { blob } = born.location;
    const location = encodeLocationRow(encodeLocation(born.location));
    assert(delta >= 0, () => `blob ${blob} is born with ${delta} references`);
    if (delta === 0) tx.put(freeKey(blob, 0), location);
    else {
      tx.put(blobKey(blob), location);
      if (delta > 1) tx.put(referencesKey(blob), encodeReferences(delta));
      if (born.missing.length > 0) tx.put(endangeredKey(blob), encodeEndangered(born.missing));
    }
    this.afterwards(() => {
      this.#afterBirth(born);
    });
  }

  #settleKnown(blob: BlobId, before: number, delta: number): Awaitable<void> {
    const { tx } = this;
    const after = before + delta;
    assert(after >= 0, `blob ${blob} has ${after} references`);
    if (after > 1) tx.put(referencesKey(blob), encodeReferences(after));
    else if (before > 1) tx.delete(referencesKey(blob));
    if (delta < 0 && after > 0) {
      this.afterwards(() => {
        this.#ledger.partialDrops -= delta;
      });
      return;
    }
    return when(tx.get(blobKey(blob)), (value) => {
      if (value === undefined)
        throw new OperatingError('EIO', `the index has no location of blob ${blob}`, { hint: 'run a check of the pool' });
      if (after > 0) return;
      tx.delete(blobKey(blob));
      tx.delete(endangeredKey(blob));
      tx.put(freeKey(blob, 0), value);
      this.afterwards(() => {
        this.#ledger.locations.forget(blob);
      });
    });
  }

  #afterBirth(born: StoredBlob): void {
    // A move that came while this transaction was already encoded: the row follows at once.
    const moved = this.#ledger.locations.born(born);
    if (moved !== undefined) this.#ledger.fix(born.location, moved.location);
  }

  runEffects(): void {
    for (const effect of this.#effects) effect();
  }
}
