/**
 * Quotas on directories: limits on how many inodes and bytes are below one, its whole tree counted. Each inode's row names the quota that it counts in (a new
 * one takes it from its directory), each quota the one that it is below; what counts in a quota counts in all of those, too. Bytes are those of content that is
 * stored: without holes, and before redundancy is added; copies that share blobs count in full.
 *
 * All quotas of a pool are here in memory, as committed; `QuotaChange` is the same in a transaction that is being made. A pool without quotas pays for
 * one look at `size` in each.
 */
import { OperatingError } from '../base/errors.js';
import { QUOTAS_MAX } from '../base/limits.js';
import type { QuotaRow } from '../index/schema/quota-row.js';
import type { FileSystemStatus } from './namespace.js';

const NO_ROWS: ReadonlyMap<number, QuotaRow | undefined> = new Map();

type Lookup = (quota: number) => QuotaRow | undefined;

/** A quota that counts something, and those around it, the innermost first. */
function* chain(get: Lookup, quota: number): Generator<[number, QuotaRow]> {
  let at = quota;
  // Damaged rows may lead in a circle; a check finds them.
  for (let depth = 0; at !== 0 && depth < QUOTAS_MAX; depth++) {
    const row = get(at);
    if (row === undefined) return;
    yield [at, row];
    at = row.parent;
  }
}

/** The quota that something with this mark belongs to: one that is taken away stands for the one around it. 0: none. */
function effective(get: Lookup, quota: number): number {
  for (const [at, { state }] of chain(get, quota)) if (state !== 'clearing') return at;
  return 0;
}

/** What is left below some limits; Infinity where there is none. */
export interface Room {
  readonly bytes: number;
  readonly inodes: number;
}

export class Quotas {
  readonly #rows = new Map<number, QuotaRow>();
  /** Bytes that were written, and will count once they are committed. */
  readonly #reservedBytes = new Map<number, number>();
  readonly #get: Lookup = (quota) => this.#rows.get(quota);

  get size(): number {
    return this.#rows.size;
  }

  get(quota: number): QuotaRow | undefined {
    return this.#rows.get(quota);
  }

  all(): [number, QuotaRow][] {
    return [...this.#rows];
  }

  /** Takes over what was read or committed; undefined: it is gone. */
  set(quota: number, row: QuotaRow | undefined): void {
    if (row === undefined) this.#rows.delete(quota);
    else this.#rows.set(quota, row);
  }

  effective(quota: number): number {
    return quota === 0 ? 0 : effective(this.#get, quota);
  }

  chain(quota: number): [number, QuotaRow][] {
    return [...chain(this.#get, quota)];
  }

  /** What may still come below a quota, with what is on its way counted in. */
  room(quota: number): Room {
    let [bytes, inodes] = [Infinity, Infinity];
    for (const [at, row] of chain(this.#get, quota)) {
      if (row.bytesMax !== undefined) bytes = Math.min(bytes, row.bytesMax - row.usedBytes - (this.#reservedBytes.get(at) ?? 0));
      if (row.inodesMax !== undefined) inodes = Math.min(inodes, row.inodesMax - row.usedInodes);
    }
    return { bytes: Math.max(0, bytes), inodes: Math.max(0, inodes) };
  }

  /** How the file system looks from below a quota: as large as the innermost limit, and with what is left of all of them. */
  statusBelow(quota: number, pool: FileSystemStatus): FileSystemStatus {
    const limits = this.chain(quota);
    const bytes = limits.find(([, { bytesMax }]) => bytesMax !== undefined)?.[1];
    const inodes = limits.find(([, { inodesMax }]) => inodesMax !== undefined)?.[1];
    const room = this.room(quota);
    let status = pool;
    if (bytes?.bytesMax !== undefined) {
      const blocks = (of: number): number => Math.floor(of / pool.blockBytes);
      const free = Math.max(0, bytes.bytesMax - bytes.usedBytes);
      const blocksAvailable = Math.min(pool.blocksAvailable, blocks(room.bytes));
      status = { ...status, blocks: blocks(bytes.bytesMax), blocksFree: blocks(free), blocksAvailable };
    }
    if (inodes?.inodesMax !== undefined) {
      const files = Math.max(inodes.inodesMax, inodes.usedInodes);
      status = { ...status, files, filesFree: Math.min(files - inodes.usedInodes, room.inodes) };
    }
    return status;
  }

  /** Bytes (less than none: back again) that a commit will bring. Only for answering early: the commit itself is held to the limits in any case. */
  reserve(quota: number, bytes: number): void {
    for (const [at] of chain(this.#get, quota)) {
      const reserved = (this.#reservedBytes.get(at) ?? 0) + bytes;
      if (reserved > 0) this.#reservedBytes.set(at, reserved);
      else this.#reservedBytes.delete(at);
    }
  }
}

/** Quotas in one transaction. What inodes do is charged at its end, all together, so that a file that replaces another needs no more room than the difference. */
export class QuotaChange {
  /** Rows written; undefined: deleted. Made with the first: most changes write none. */
  #rows: Map<number, QuotaRow | undefined> | undefined;
  /** Off where nothing is added that was not there before: counting, and repairs. */
  enforced = true;
  readonly #quotas: Quotas;
  readonly #get: Lookup = (quota) => this.get(quota);

  constructor(quotas: Quotas) {
    this.#quotas = quotas;
  }

  /** Has the pool any? */
  get any(): boolean {
    return this.#quotas.size > 0;
  }

  get rows(): ReadonlyMap<number, QuotaRow | undefined> {
    return this.#rows ?? NO_ROWS;
  }

  get(quota: number): QuotaRow | undefined {
    return this.rows.has(quota) ? this.rows.get(quota) : this.#quotas.get(quota);
  }

  put(quota: number, row: QuotaRow | undefined): void {
    this.#rows ??= new Map();
    this.#rows.set(quota, row);
  }

  effective(quota: number): number {
    return quota === 0 ? 0 : effective(this.#get, quota);
  }

  /** Is it a quota that an operator has set, and not taken away? */
  isSet(quota: number): boolean {
    const row = this.get(quota);
    return row !== undefined && row.state !== 'clearing';
  }

  /** Something came (or, less than none, went) in a quota. */
  charge(quota: number, inodes: number, bytes: number): void {
    for (const [at, row] of [...chain(this.#get, quota)])
      // Wrong numbers are a check's business, and must not stop anybody.
      this.put(at, { ...row, usedInodes: Math.max(0, row.usedInodes + inodes), usedBytes: Math.max(0, row.usedBytes + bytes) });
  }

  /** A quota, with all that counts in it, is below another one from now on. */
  moveBelow(quota: number, parent: number): void {
    const row = this.get(quota);
    if (row === undefined || row.parent === parent) return;
    this.charge(row.parent, -row.usedInodes, -row.usedBytes);
    this.put(quota, { ...row, parent });
    this.charge(parent, row.usedInodes, row.usedBytes);
  }

  /** Takes a quota away: what counts in it counts in the one around it. The row stays until nothing is marked with it. */
  clear(quota: number): void {
    const row = this.get(quota);
    if (row === undefined) return;
    this.put(quota, { ...row, state: 'clearing', bytesMax: undefined, inodesMax: undefined });
    for (const each of new Set([...this.#quotas.all().map(([below]) => below), ...this.rows.keys()]))
      if (this.get(each)?.parent === quota) this.moveBelow(each, row.parent);
  }

  /** At the end of a transaction. @throws OperatingError EDQUOT: more came than a limit allows */
  finish(): void {
    for (const [quota, row] of this.rows) {
      if (row === undefined) continue;
      if (row.state === 'clearing' && row.usedInodes === 0) this.put(quota, undefined);
      else if (this.enforced) checkLimits(quota, row, this.#quotas.get(quota));
    }
  }
}

function checkLimits(quota: number, now: QuotaRow, before: QuotaRow | undefined): void {
  const { bytesMax = Infinity, inodesMax = Infinity } = now;
  if (now.usedBytes > bytesMax && now.usedBytes > (before?.usedBytes ?? 0)) throw overQuota(quota, `${bytesMax} bytes`);
  if (now.usedInodes > inodesMax && now.usedInodes > (before?.usedInodes ?? 0)) throw overQuota(quota, `${inodesMax} inodes`);
}

export function overQuota(quota: number, limit: string): OperatingError {
  return new OperatingError('EDQUOT', `the quota of directory ${quota} allows ${limit}`, {
    hint: 'delete something there, or raise the limit: ostraka quota set DIR',
  });
}
