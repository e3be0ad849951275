/** What `ostraka quota` asks of the daemon. */
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { QuotaRow } from '../index/schema/quota-row.js';
import type { ControlRequest } from './control-protocol.js';
import { directoryPaths } from './inode-paths.js';
import type { Pool } from './pool.js';

type QuotaRequest = Extract<ControlRequest, { verb: `quota-${string}` }>;

/** Quotas in one answer. */
const PAGE_QUOTAS = 500;

/** A quota as `ostraka quota --json` prints it. */
export interface QuotaReport {
  /** Of its directory. */
  readonly path: string;
  readonly directory: number;
  /** counting: what was there before is being counted; limits hold for what was counted so far. */
  readonly state: 'active' | 'counting';
  readonly bytes_used: number;
  /** null: no limit. */
  readonly bytes_limit: number | null;
  readonly inodes_used: number;
  readonly inodes_limit: number | null;
}

export interface QuotaAnswer {
  readonly quotas: readonly QuotaReport[];
  /** What to pass as `from` for the next page; null: there is none. */
  readonly next: number | null;
}

/** @throws OperatingError ENOENT, ENOTDIR, ENODATA, ENOSPC, EROFS, ESTALE */
export async function handleQuotaRequest(pool: Pool, mountpoint: string | undefined, request: QuotaRequest): Promise<QuotaAnswer> {
  const { namespace, index } = pool;
  if (request.verb === 'quota-list') return list(pool, mountpoint, request.from);
  if (request.verb === 'quota-set') await namespace.setQuota(request.ino, { bytesMax: request.bytes, inodesMax: request.inodes });
  if (request.verb === 'quota-clear') {
    await clear(pool, request.ino);
    await index.durable();
    return { quotas: [], next: null };
  }
  if (request.verb === 'quota-set') await index.durable();
  return { quotas: await reports(pool, mountpoint, await namespace.quotasAround(request.ino)), next: null };
}

async function clear({ namespace }: Pool, ino: number): Promise<void> {
  try {
    await namespace.clearQuota(ino);
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== 'ENODATA') throw error;
    throw new OperatingError('ENOENT', error.message, { hint: '"ostraka quota show DIR" says which quotas a directory is below.' });
  }
}

async function list(pool: Pool, mountpoint: string | undefined, from: number): Promise<QuotaAnswer> {
  const { quotas } = pool.namespace.ledger;
  const behind = quotas
    .all()
    .filter(([quota, { state }]) => quota >= from && state !== 'clearing')
    .sort(([a], [b]) => a - b);
  const page = behind.slice(0, PAGE_QUOTAS);
  return { quotas: await reports(pool, mountpoint, page), next: behind[PAGE_QUOTAS]?.[0] ?? null };
}

async function reports(pool: Pool, mountpoint: string | undefined, rows: readonly [number, QuotaRow][]): Promise<QuotaReport[]> {
  const paths = await directoryPaths(
    pool.index,
    systemClock,
    rows.map(([quota]) => quota),
  );
  return rows.map(([quota, row]) => {
    const path = paths.get(quota);
    const below = path === undefined ? `?/#${quota}` : Buffer.from(path, 'latin1').toString('utf8');
    return {
      path: below === '' ? (mountpoint ?? '/') : `${mountpoint ?? ''}/${below}`,
      directory: quota,
      state: row.state === 'active' ? 'active' : 'counting',
      bytes_used: row.usedBytes,
      bytes_limit: row.bytesMax ?? null,
      inodes_used: row.usedInodes,
      inodes_limit: row.inodesMax ?? null,
    };
  });
}
