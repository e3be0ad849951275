/**
 * Sets quotas and takes them away. Both are one transaction as far as anybody can see; what is below the directory already is then counted, or marked anew, in
 * bounded steps that go on after a crash.
 *
 *   set ──▶ counting ──every directory below was walked──▶ active ──clear, or the directory goes──▶ clearing ──no inode is marked any more──▶ (gone)
 *               └──────────────────────────────clear───────────────────────────────────────────────────▲
 *
 * Counting walks from the top: a directory is marked before its entries are looked at, so that what comes into it from then on is marked by whoever brings it;
 * a row for each directory that is still to be read says where. Nothing can take a mark that is being cleared, so one pass over all inodes finds the rest.
 */
import { DecodeError } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import { CHANGE_STEP_ROWS, QUOTAS_MAX } from '../base/limits.js';
import type { Row } from '../index/index-store.js';
import { decodeOrder } from '../index/schema/dirent-row.js';
import { changedInode, decodeInode } from '../index/schema/inode-row.js';
import type { QuotaRow } from '../index/schema/quota-row.js';
import {
  inodeKey,
  orderRange,
  parseNumberKey,
  parseOrderKey,
  parseQuotaWalkKey,
  quotaWalkKey,
  quotaWalkRange,
  tableRange,
  TABLES,
} from '../index/schema/tables.js';
import { decodeNumber, encodeNumber } from '../index/schema/work-rows.js';
import type { Background } from './background.js';
import type { Change } from './change.js';
import { directory, refuse } from './directories.js';
import type { Ledger } from './ledger.js';
import { isDirectory } from './modes.js';
import type { Ino } from './namespace.js';

/** What an operator asks for; undefined: as it is, null: no limit. */
export interface QuotaLimits {
  readonly inodesMax?: number | null | undefined;
  readonly bytesMax?: number | null | undefined;
}

export interface QuotaKeeperOptions {
  readonly ledger: Ledger;
  readonly clock: Pick<Clock, 'yield'>;
  readonly background: Background;
  readonly stopped: () => boolean;
}

const limitOf = (asked: number | null | undefined, before: number | undefined): number | undefined =>
  asked === undefined ? before : (asked ?? undefined);

export class QuotaKeeper {
  readonly #options: QuotaKeeperOptions;
  #working: Promise<void> | undefined;
  /** The quota whose marks are being looked for: it must not be another one before that has ended. */
  #sweeping = 0;
  /** Something was set or cleared since the work began. */
  #again = false;

  constructor(options: QuotaKeeperOptions) {
    this.#options = options;
  }

  /** Goes on with what a set or clear left to be done. */
  resume(): void {
    this.#again = true;
    if (this.#working !== undefined) return;
    this.#working = this.#workAll();
    this.#options.background.run('counting for quotas', this.#working);
  }

  /** Resolves when nothing is being counted or cleared. */
  async settled(): Promise<void> {
    await this.#working;
  }

  /**
   * Limits what is below a directory; at first, or anew. Less than there is: nothing more may come.
   * @throws OperatingError ENOENT, ENOTDIR, ENOSPC: there are as many quotas as there may be
   */
  async set(ino: Ino, limits: QuotaLimits): Promise<void> {
    const { ledger } = this.#options;
    for (;;) {
      const { value: done } = await ledger.change(async (change) => {
        if (this.#sweeping === ino) return false;
        return setStep(change, ledger.quotas.size, ino, limits);
      });
      this.resume();
      if (done) return;
      // Its last one is still being cleared away.
      await this.settled();
      if (this.#options.stopped()) refuse('EBUSY', 'the pool is being closed');
    }
  }

  /** Takes a directory's quota away. @throws OperatingError ENODATA: it has none */
  async clear(ino: Ino): Promise<void> {
    await this.#options.ledger.change((change) => clearStep(change, ino));
    this.resume();
  }

  async #workAll(): Promise<void> {
    try {
      while (this.#again && !this.#options.stopped()) {
        this.#again = false;
        await this.#work();
      }
    } finally {
      this.#working = undefined;
    }
  }

  async #work(): Promise<void> {
    const { ledger, clock, stopped } = this.#options;
    while (!stopped()) {
      const open = ledger.quotas.all().find(([, { state }]) => state !== 'active');
      if (open === undefined) break;
      const [quota, { state }] = open;
      if (state === 'clearing') {
        this.#sweeping = quota;
        await this.#sweep(quota).finally(() => (this.#sweeping = 0));
      } else await ledger.change((change) => countStep(change, quota));
      await clock.yield();
    }
    while (!stopped() && (await ledger.change((change) => dropStrayWalk(change))).value) await clock.yield();
  }

  /** Marks everything anew that has the mark of a quota that was taken away. */
  async #sweep(quota: number): Promise<void> {
    const { ledger, clock, stopped } = this.#options;
    for (let next = 0; ledger.quotas.get(quota)?.state === 'clearing'; await clock.yield()) {
      if (stopped()) return;
      const rows = await ledger.index.scan({ ...tableRange(TABLES.inode, CHANGE_STEP_ROWS), start: inodeKey(next) });
      const marked = rows.filter((row) => markOf(row) === quota).map(({ key }) => parseNumberKey(key));
      const last = rows.at(-1);
      const end = last === undefined || rows.length < CHANGE_STEP_ROWS;
      if (marked.length > 0 || end) await ledger.change((change) => sweepStep(change, quota, marked, end));
      if (last !== undefined) next = parseNumberKey(last.key) + 1;
    }
  }
}

/** False: wait until the directory's last quota is gone. */
async function setStep(change: Change, count: number, ino: Ino, { inodesMax, bytesMax }: QuotaLimits): Promise<boolean> {
  const inode = await directory(change, ino);
  const before = change.quotas.get(ino);
  if (before?.state === 'clearing') return false;
  change.quotas.enforced = false;
  const limits = { inodesMax: limitOf(inodesMax, before?.inodesMax), bytesMax: limitOf(bytesMax, before?.bytesMax) };
  if (before !== undefined) {
    change.quotas.put(ino, { ...before, ...limits });
    return true;
  }
  if (count >= QUOTAS_MAX) refuse('ENOSPC', `a pool has at most ${QUOTAS_MAX} quotas`);
  const empty = inode.size === 0;
  const row: QuotaRow = {
    state: empty ? 'active' : 'counting',
    parent: change.quotas.effective(inode.quota),
    usedInodes: 0,
    usedBytes: 0,
    ...limits,
  };
  change.quotas.put(ino, row);
  change.putInode(changedInode(inode, { quota: ino }));
  if (!empty) change.tx.put(quotaWalkKey(ino, ino), encodeNumber(0));
  return true;
}

async function clearStep(change: Change, ino: Ino): Promise<void> {
  const { quotas } = change;
  const row = quotas.get(ino);
  if (row === undefined || !quotas.isSet(ino)) refuse('ENODATA', 'the directory has no quota of its own');
  quotas.enforced = false;
  quotas.clear(ino);
  const inode = await change.inode(ino);
  if (inode !== undefined) change.putInode(changedInode(inode, { quota: row.parent }));
  const around = quotas.get(row.parent);
  if (row.state !== 'counting' || around === undefined) return;
  // What was not counted yet is for the quota around it to count; it passed this directory by.
  quotas.put(row.parent, { ...around, state: 'counting' });
  change.tx.put(quotaWalkKey(row.parent, ino), encodeNumber(0));
}

/** Some entries of one directory; without one that is left, the quota is active. */
async function countStep(change: Change, quota: number): Promise<void> {
  const row = change.quotas.get(quota);
  if (row?.state !== 'counting') return;
  change.quotas.enforced = false;
  const [walk] = await change.tx.scan(quotaWalkRange(quota, 1));
  if (walk === undefined) {
    change.quotas.put(quota, { ...row, state: 'active' });
    return;
  }
  const { ino } = parseQuotaWalkKey(walk.key);
  const inode = await change.inode(ino);
  // It was moved away since, and all that is in it was told.
  const entries = inode?.quota === quota ? await change.tx.scan(orderRange(ino, decodeNumber(walk.value), CHANGE_STEP_ROWS)) : [];
  for (const { value } of entries) await takeIn(change, quota, decodeOrder(value).ino);
  const last = entries.at(-1);
  if (last === undefined || entries.length < CHANGE_STEP_ROWS) change.tx.delete(walk.key);
  else change.tx.put(walk.key, encodeNumber(parseOrderKey(last.key).cookie));
}

async function takeIn(change: Change, quota: number, ino: Ino): Promise<void> {
  const row = await change.inode(ino);
  if (row === undefined) return;
  if (row.quota === ino && change.quotas.isSet(ino)) {
    change.quotas.moveBelow(ino, quota);
    return;
  }
  if (row.quota !== quota) change.putInode(changedInode(row, { quota }));
  // That a directory is marked does not say that what is in it is: it may have been in a quota that was cleared before it had counted everything.
  if (isDirectory(row.mode) && row.size > 0) change.tx.put(quotaWalkKey(quota, ino), encodeNumber(0));
}

/** undefined: the row cannot be read. */
function markOf({ key, value }: Row): number | undefined {
  try {
    return decodeInode(parseNumberKey(key), value).quota;
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return undefined;
  }
}

async function sweepStep(change: Change, quota: number, marked: readonly Ino[], end: boolean): Promise<void> {
  if (change.quotas.get(quota)?.state !== 'clearing') return;
  change.quotas.enforced = false;
  for (const ino of marked) {
    const row = await change.inode(ino);
    if (row?.quota === quota) change.putInode(changedInode(row, { quota: change.quotas.effective(quota) }));
  }
  // Nothing is marked any more, whatever its row counts: that lets it go.
  const row = change.quotas.get(quota);
  if (end && row !== undefined) change.quotas.put(quota, { ...row, usedInodes: 0 });
}

/** Directories to be read for a quota that counts no more. True: there may be others. */
async function dropStrayWalk(change: Change): Promise<boolean> {
  const rows = await change.tx.scan(tableRange(TABLES.quotaWalk, CHANGE_STEP_ROWS));
  const stray = rows.filter(({ key }) => change.quotas.get(parseQuotaWalkKey(key).quota)?.state !== 'counting');
  for (const { key } of stray) change.tx.delete(key);
  return stray.length > 0;
}
