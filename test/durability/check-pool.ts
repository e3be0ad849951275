/** A small sound pool with a bit of everything, and what breaks rows of it one at a time; for the tests of the check. */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import type { FindingCode } from '../../src/durability/check/finding.js';
import type { IndexStore, Transaction } from '../../src/index/index-store.js';
import { decodeLocationRow } from '../../src/index/schema/blob-rows.js';
import { decodeDirent } from '../../src/index/schema/dirent-row.js';
import { decodeExtent } from '../../src/index/schema/extent-row.js';
import { decodeInode, encodeInode, type InodeRow } from '../../src/index/schema/inode-row.js';
import { decodeQuota, encodeQuota, type QuotaRow } from '../../src/index/schema/quota-row.js';
import * as tables from '../../src/index/schema/tables.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { decodeLocation } from '../../src/storage/location-codec.js';
import type { ShardDamage } from '../../src/storage/storage.js';
import { openPool, pattern, root, ROOT, rowsByTable, writeFile, type Pool } from '../namespace/fixture.js';
import type { MemoryStorage } from '../namespace/memory-storage.js';

export const big = pattern(150_000, 1);
export const small = pattern(700, 2);

type Name = 'folder' | 'inner' | 'big' | 'small' | 'link' | 'twice' | 'limited' | 'within' | 'counted';

/** A pool with a bit of everything, and the numbers in it. */
interface Sound {
  readonly entries: readonly LogEntry[];
  readonly storage: MemoryStorage;
  readonly inos: Readonly<Record<Name, number>>;
  /** Blobs of the file "big", in its order. */
  readonly blobs: readonly number[];
}

async function soundPool(): Promise<Sound> {
  const pool: Pool = await openPool(t, {});
  const { namespace } = pool;
  const folder = (await namespace.mkdir(ROOT, 'folder', 0o755, root)).ino;
  const inner = (await namespace.mkdir(folder, 'inner', 0o755, root)).ino;
  const bigIno = await writeFile(namespace, folder, 'big', big);
  const smallIno = await writeFile(namespace, inner, 'small', small);
  const twice = await writeFile(namespace, ROOT, 'once', pattern(900, 3));
  await namespace.link(twice, folder, 'twice', root);
  await namespace.setxattr(bigIno, 'user.colour', Buffer.from('red'), 0, root);
  const link = (await namespace.symlink(inner, 'link', Buffer.from('../big'), root)).ino;
  const limited = (await namespace.mkdir(ROOT, 'limited', 0o755, root)).ino;
  await namespace.quotas.set(limited, { bytesMax: 1_000_000 });
  const within = (await namespace.mkdir(limited, 'within', 0o755, root)).ino;
  const counted = await writeFile(namespace, within, 'counted', pattern(600, 4));
  const rows = await rowsByTable(pool.index);
  const blobs = (rows.get('e') ?? []).flatMap(({ key, value }) => {
    const { ino, offset } = tables.parseExtentKey(key);
    const extent = decodeExtent(offset, value);
    return ino === bigIno && extent.kind === 'blob' ? [extent.blob] : [];
  });
  const entries = [...pool.log.entries];
  return {
    entries,
    storage: pool.storage,
    inos: { folder, inner, big: bigIno, small: smallIno, link, twice, limited, within, counted },
    blobs,
  };
}

export const sound = await soundPool();
export const { inos } = sound;
export const blob = must(sound.blobs[0], 'a blob');

export type Break = (tx: Transaction) => Promise<void>;

/** One break of one rule. */
export interface Case {
  readonly code: FindingCode;
  readonly name: string;
  readonly break: Break;
  /** Codes that come with it. */
  readonly also?: readonly FindingCode[];
  /** It cannot be repaired. */
  readonly stays?: true;
  /** What must hold after the repair. */
  readonly then?: (index: IndexStore) => Promise<void>;
  readonly damage?: readonly ShardDamage[];
}

export async function inodeOf(tx: Transaction, ino: number): Promise<InodeRow> {
  return decodeInode(ino, must(await tx.get(tables.inodeKey(ino)), `inode ${ino}`));
}

export const putInode =
  (ino: number, change: Partial<InodeRow>): Break =>
  async (tx) => {
    tx.put(tables.inodeKey(ino), encodeInode({ ...(await inodeOf(tx, ino)), ...change }));
  };

/** The quota of the folder `limited`. */
export async function quotaOf(tx: Transaction): Promise<QuotaRow> {
  return decodeQuota(must(await tx.get(tables.quotaKey(inos.limited)), 'the quota'));
}

export const putQuota =
  (change: Partial<QuotaRow>): Break =>
  async (tx) => {
    tx.put(tables.quotaKey(inos.limited), encodeQuota({ ...(await quotaOf(tx)), ...change }));
  };

export async function extentOf(tx: Transaction, ino: number): Promise<{ key: Buffer; value: Buffer }> {
  const { generation } = await inodeOf(tx, ino);
  return must((await tx.scan(tables.extentRange(ino, generation, 0, undefined, 1)))[0], 'an extent');
}

export async function direntOf(tx: Transaction, parent: number, name: string): Promise<ReturnType<typeof decodeDirent>> {
  return decodeDirent(must(await tx.get(tables.direntKey(parent, name)), name));
}

export const locationOf = async (tx: Transaction): Promise<ReturnType<typeof decodeLocation>> =>
  decodeLocation(decodeLocationRow(must(await tx.get(tables.blobKey(blob)), 'the blob')));

/** The inode of a name in lost+found. */
export const pathless = async (index: IndexStore, name: string): Promise<number | undefined> => {
  const lost = await index.get(tables.direntKey(ROOT, 'lost+found'));
  const row = lost === undefined ? undefined : await index.get(tables.direntKey(decodeDirent(lost).ino, name));
  return row === undefined ? undefined : decodeDirent(row).ino;
};
