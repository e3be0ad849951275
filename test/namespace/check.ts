/** What must hold between the rows of every committed state, crash or not. Throws with what does not. */
import { strict as assert } from 'node:assert';
import type { BlobId } from '../../src/base/ids.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { decodeEndangered, decodeLocationRow, decodeReferences } from '../../src/index/schema/blob-rows.js';
import { decodeDirent, decodeOrder } from '../../src/index/schema/dirent-row.js';
import { decodeExtent } from '../../src/index/schema/extent-row.js';
import { decodeInode, INODE_HAS_XATTRS, type InodeRow } from '../../src/index/schema/inode-row.js';
import {
  parseBlobKey,
  parseExtentKey,
  parseFreeKey,
  parseGarbageKey,
  parseNumberKey,
  parseOrderKey,
  parsePartKey,
  parseXattrKey,
} from '../../src/index/schema/tables.js';
import { decodeCounters, decodeNumber, decodeUpload } from '../../src/index/schema/work-rows.js';
import { KeyReader } from '../../src/index/keys.js';
import { decodeLocation } from '../../src/storage/location-codec.js';
import { isDirectory } from '../../src/namespace/modes.js';
import { rowsByTable } from './fixture.js';

export interface Checked {
  /** Blobs that something refers to. */
  readonly blobs: Set<BlobId>;
  readonly freeBlobs: Set<BlobId>;
  readonly inodes: Map<number, InodeRow>;
}

type Tables = Awaited<ReturnType<typeof rowsByTable>>;

export async function checkRows(index: IndexStore): Promise<Checked> {
  const tables = await rowsByTable(index);
  const rows = (letter: string) => tables.get(letter) ?? [];
  const inodes = new Map(rows('i').map(({ key, value }) => [parseNumberKey(key), decodeInode(parseNumberKey(key), value)]));
  checkNames(tables, inodes);
  const references = checkExtents(tables, inodes);
  const uploads = new Set(rows('u').map(({ key, value }) => (decodeUpload(value), parseNumberKey(key))));
  for (const { key } of rows('p')) {
    const { upload, blob } = parsePartKey(key);
    assert.ok(uploads.has(upload), `part of upload ${upload}, which is not there`);
    references.set(blob, (references.get(blob) ?? 0) + 1);
  }
  const counts = new Map(rows('r').map(({ key, value }) => [parseBlobKey(key), decodeReferences(value)]));
  const blobs = new Set<BlobId>();
  for (const { key, value } of rows('b')) {
    const blob = parseBlobKey(key);
    blobs.add(blob);
    assert.equal(decodeLocation(decodeLocationRow(value)).blob, blob);
    assert.equal(counts.get(blob) ?? 1, references.get(blob), `references of blob ${blob}`);
  }
  for (const blob of references.keys()) assert.ok(blobs.has(blob), `blob ${blob} has no row`);
  for (const blob of counts.keys()) assert.ok(blobs.has(blob), `references of blob ${blob}, which has no row`);
  for (const { key, value } of rows('m')) assert.ok(blobs.has(parseBlobKey(key)) && decodeEndangered(value).length > 0);
  const freeBlobs = new Set<BlobId>();
  for (const { key } of rows('f')) {
    const { blob, serial } = parseFreeKey(key);
    if (serial > 0) continue;
    assert.ok(!blobs.has(blob), `blob ${blob} is free and in use`);
    freeBlobs.add(blob);
  }
  const counters = decodeCounters(rows('c')[0]?.value ?? Buffer.alloc(0));
  assert.equal(counters.inodes, inodes.size);
  assert.equal(
    counters.usedBytes,
    [...inodes.values()].reduce((sum, row) => sum + row.allocatedBytes, 0),
    'used bytes',
  );
  for (const ino of inodes.keys()) assert.ok(ino < counters.nextIno);
  return { blobs, freeBlobs, inodes };
}

function checkNames(tables: Tables, inodes: Map<number, InodeRow>): void {
  const rows = (letter: string) => tables.get(letter) ?? [];
  const orders = new Map<string, { ino: number; type: number; name: string }>();
  for (const { key, value } of rows('o')) {
    const { parent, cookie } = parseOrderKey(key);
    orders.set(`${parent}/${cookie}`, decodeOrder(value));
    assert.ok(cookie < (inodes.get(parent)?.nextCookie ?? 0), 'a cookie that was not given');
  }
  const links = new Map<number, number>();
  const entries = new Map<number, number>();
  const add = (map: Map<number, number>, ino: number): void => void map.set(ino, (map.get(ino) ?? 0) + 1);
  assert.equal(rows('d').length, orders.size, 'as many names as places in the order');
  for (const { key, value } of rows('d')) {
    const reader = new KeyReader(key);
    const parent = reader.number();
    const name = reader.restText();
    const { ino, type, cookie } = decodeDirent(value);
    assert.deepEqual(orders.get(`${parent}/${cookie}`), { ino, type, name });
    const row = inodes.get(ino);
    assert.ok(row !== undefined, `entry ${name} of inode ${ino}, which is not there`);
    assert.ok(isDirectory(inodes.get(parent)?.mode ?? 0), 'an entry in something else than a directory');
    assert.equal(row.mode & 0o170000, type);
    add(links, ino);
    add(entries, parent);
    if (isDirectory(row.mode)) {
      add(links, parent);
      assert.equal(row.parent, parent, `parent of ${name}`);
    }
  }
  const orphans = new Set(rows('z').map(({ key, value }) => (decodeNumber(value), parseNumberKey(key))));
  for (const row of inodes.values()) {
    const own = isDirectory(row.mode) ? (row.ino === 1 ? 2 : 1) : 0;
    assert.equal(row.links, (links.get(row.ino) ?? 0) + own, `links of inode ${row.ino}`);
    if (isDirectory(row.mode)) assert.equal(row.size, entries.get(row.ino) ?? 0, `entries of directory ${row.ino}`);
    assert.equal(orphans.has(row.ino), row.links === 0, `orphan row of inode ${row.ino}`);
  }
  for (const ino of orphans) assert.ok(inodes.has(ino));
  const xattrs = new Set(rows('x').map(({ key }) => parseXattrKey(key).ino));
  for (const row of inodes.values()) assert.equal(xattrs.has(row.ino), (row.flags & INODE_HAS_XATTRS) !== 0);
  for (const ino of xattrs) assert.ok(inodes.has(ino));
  for (const { key } of rows('l')) assert.ok(inodes.has(parseNumberKey(key)));
}

/** Returns how many extents point to each blob. */
function checkExtents(tables: Tables, inodes: Map<number, InodeRow>): Map<BlobId, number> {
  const rows = (letter: string) => tables.get(letter) ?? [];
  const garbage = new Map(
    rows('g').map(({ key, value }) => {
      const { ino, generation } = parseGarbageKey(key);
      return [`${ino}/${generation}`, decodeNumber(value)];
    }),
  );
  const references = new Map<BlobId, number>();
  const allocated = new Map<number, number>();
  let last = { content: '', end: 0 };
  for (const { key, value } of rows('e')) {
    const { ino, generation, offset } = parseExtentKey(key);
    const extent = decodeExtent(offset, value);
    const content = `${ino}/${generation}`;
    const end = offset + extent.bytes;
    if (last.content === content) assert.ok(offset >= last.end, `extents of ${content} overlap at ${offset}`);
    last = { content, end };
    if (extent.kind === 'blob') references.set(extent.blob, (references.get(extent.blob) ?? 0) + 1);
    const row = inodes.get(ino);
    if (row?.generation !== generation) {
      assert.equal(garbage.get(content), 0, `extents of ${content} belong to nobody`);
      continue;
    }
    allocated.set(ino, (allocated.get(ino) ?? 0) + extent.bytes);
    if (!garbage.has(content)) assert.ok(end <= row.size, `extent of ${content} ends at ${end}, the file at ${row.size}`);
  }
  for (const row of inodes.values()) assert.equal(row.allocatedBytes, allocated.get(row.ino) ?? 0, `allocated bytes of inode ${row.ino}`);
  return references;
}
