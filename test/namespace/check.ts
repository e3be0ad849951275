/** What must hold between the rows of every committed state, crash or not, as the pool's own check has it. Throws with what does not. */
import { strict as assert } from 'node:assert';
import { systemClock } from '../../src/base/clock.js';
import type { BlobId } from '../../src/base/ids.js';
import { check } from '../../src/durability/check/check.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { decodeInode, type InodeRow } from '../../src/index/schema/inode-row.js';
import { parseBlobKey, parseFreeKey, parseNumberKey } from '../../src/index/schema/tables.js';
import { rowsByTable } from './fixture.js';

export interface Checked {
  /** Blobs that something refers to. */
  readonly blobs: Set<BlobId>;
  readonly freeBlobs: Set<BlobId>;
  readonly inodes: Map<number, InodeRow>;
}

export async function checkRows(index: IndexStore): Promise<Checked> {
  const { findings } = await check({ index, clock: systemClock });
  assert.deepEqual(
    findings.map(({ code, message }) => `${code}: ${message}`),
    [],
  );
  const tables = await rowsByTable(index);
  const rows = (letter: string) => tables.get(letter) ?? [];
  return {
    blobs: new Set(rows('b').map(({ key }) => parseBlobKey(key))),
    freeBlobs: new Set(rows('f').flatMap(({ key }) => (parseFreeKey(key).serial === 0 ? [parseFreeKey(key).blob] : []))),
    inodes: new Map(rows('i').map(({ key, value }) => [parseNumberKey(key), decodeInode(parseNumberKey(key), value)])),
  };
}
