/**
 * Looks at the media behind everybody's back, with an index beside them: is every shard that a row points to there and good, and is there a record that no
 * row knows of? Shares only the formats with what it checks.
 */
import { strict as assert } from 'node:assert';
import { segmentEpoch, type BlobId, type DiskNumber } from '../../src/base/ids.js';
import { FRAME_BYTES, RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES, SHARD_ALIGN_BYTES } from '../../src/base/limits.js';
import { OperatingError } from '../../src/base/errors.js';
import type { Location } from '../../src/base/location.js';
import { nativeIo } from '../../src/base/native-io.js';
import { parseSnapshotName, SNAPSHOT_DIRECTORY } from '../../src/durability/snapshots.js';
import { ExportReader } from '../../src/index/export.js';
import { decodeLocationRow } from '../../src/index/schema/blob-rows.js';
import { decodeHeader, encodePrefix, geometryOf, looksLikeRecord, recordSeed } from '../../src/storage/record.js';
import { decodeLocation } from '../../src/storage/location-codec.js';
import { parseSegmentName, segmentPath, SEGMENT_DIRECTORY, SEGMENT_HEADER_BYTES } from '../../src/storage/segment-format.js';
import type { Rows } from './replicas.js';
import { checkRows } from '../namespace/check.js';
import { difference } from './trace.js';
import { Violation } from './violation.js';
import type { World } from './world.js';

export interface BadShard {
  readonly blob: BlobId;
  readonly shard: number;
  /** 0: it has no place. */
  readonly disk: number;
  readonly why: string;
}

/** Why the shard at its place is not good; undefined when it is. */
function shardFault(world: World, location: Location, shard: number): string | undefined {
  const place = location.shards[shard];
  if (place === undefined || place.disk === 0) return 'has no place';
  const medium = world.machine.mounted(world.directory(place.disk));
  const path = segmentPath(place.segment);
  if (medium === undefined || medium.gone || !medium.has(path)) return `its segment ${path} is not there`;
  const { shardBytes } = geometryOf(location);
  const record = medium.file(path).read(place.offset, RECORD_HEADER_BYTES + shardBytes);
  if (record.length < RECORD_HEADER_BYTES + shardBytes) return 'the segment ends before it';
  const header = record.subarray(0, RECORD_HEADER_BYTES);
  if (!header.subarray(0, RECORD_PREFIX_BYTES).equals(encodePrefix(world.membership.poolId, location, shard)))
    return 'the header is another';
  const crcs = nativeIo().frameCrcs(record.subarray(RECORD_HEADER_BYTES), recordSeed(world.membership.poolId, location.blob, shard), 0);
  for (let frame = 0; frame * FRAME_BYTES < shardBytes; frame++)
    if (crcs[frame] !== header.readUInt32LE(RECORD_PREFIX_BYTES + 4 * frame)) return `frame ${frame} is damaged`;
  return undefined;
}

function locationsIn(rows: Rows, table: string): Location[] {
  const prefix = Buffer.from(table).toString('hex');
  const found: Location[] = [];
  for (const [key, value] of rows) if (key.startsWith(prefix)) found.push(decodeLocation(decodeLocationRow(value)));
  return found;
}

/** Shards of blobs in use that are missing or bad. */
export function badShards(world: World, rows: Rows): BadShard[] {
  const bad: BadShard[] = [];
  for (const location of locationsIn(rows, 'b'))
    for (let shard = 0; shard < location.shards.length; shard++) {
      const why = shardFault(world, location, shard);
      if (why !== undefined) bad.push({ blob: location.blob, shard, disk: location.shards[shard]?.disk ?? 0, why });
    }
  return bad;
}

/** Records on the media that no row knows of (I10). */
export function strandedRecords(world: World, rows: Rows): string[] {
  const known = new Set<string>();
  for (const location of [...locationsIn(rows, 'b'), ...locationsIn(rows, 'f')])
    location.shards.forEach(({ disk, segment, offset }, shard) => known.add(`${disk}/${segment}/${offset}/${location.blob}/${shard}`));
  return world.membership.members.flatMap(({ number }) => recordsOn(world, number).filter((name) => !known.has(name)));
}

/** All records on a disk that can be told to be some, as DISK/SEGMENT/OFFSET/BLOB/SHARD. */
export function recordsOn(world: World, disk: DiskNumber): string[] {
  const medium = world.machine.mounted(world.directory(disk));
  if (medium === undefined || medium.gone) return [];
  const found: string[] = [];
  for (const path of medium.paths()) {
    const segment = path.startsWith(`${SEGMENT_DIRECTORY}/`) ? parseSegmentName(path.slice(SEGMENT_DIRECTORY.length + 1)) : undefined;
    if (segment === undefined) continue;
    const content = medium.file(path).read(0, 2 ** 30);
    for (let offset = SHARD_ALIGN_BYTES; offset + RECORD_HEADER_BYTES <= content.length; offset += SHARD_ALIGN_BYTES) {
      const block = content.subarray(offset, offset + RECORD_HEADER_BYTES);
      if (!looksLikeRecord(block)) continue;
      let header;
      try {
        header = decodeHeader(block);
      } catch {
        // Torn or rotted: nobody can tell whose it was.
        continue;
      }
      if (header.segment !== segment || header.offset !== offset || header.disk !== disk) continue;
      found.push(`${disk}/${segment}/${offset}/${header.blob}/${header.shard}`);
    }
  }
  return found;
}

/** Segments of a disk that epochs before this one made, and later ones with anything in them that is not zeros. */
export function leftSegments(world: World, disk: DiskNumber, epoch: number): string[] {
  const medium = world.machine.mounted(world.directory(disk));
  if (medium === undefined || medium.gone) return [];
  return medium.paths().flatMap((path) => {
    const segment = path.startsWith(`${SEGMENT_DIRECTORY}/`) ? parseSegmentName(path.slice(SEGMENT_DIRECTORY.length + 1)) : undefined;
    if (segment === undefined) return [];
    const filled = (): boolean =>
      medium
        .file(path)
        .read(SEGMENT_HEADER_BYTES, 2 ** 30)
        .some((byte) => byte !== 0);
    return segmentEpoch(segment) < epoch || filled() ? [`${disk}/${path}`] : [];
  });
}

/**
 * Every snapshot of the index that has its name is whole, and the state of its position.
 * @param wasDamaged on such a disk files may have been damaged
 * @returns how many there are
 */
export async function checkSnapshots(world: World, wasDamaged: (disk: DiskNumber) => boolean): Promise<number> {
  let count = 0;
  for (const { number } of world.membership.members) {
    const medium = world.medium(number);
    for (const path of medium.paths()) {
      const snapshot = path.startsWith(`${SNAPSHOT_DIRECTORY}/`) ? parseSnapshotName(path.slice(SNAPSHOT_DIRECTORY.length + 1)) : undefined;
      if (snapshot === undefined) continue;
      count++;
      const rows = new Map<string, Buffer>();
      try {
        const reader = await ExportReader.open(piecesOf(medium.file(path).read(0, medium.file(path).size)), path);
        for await (const chunk of reader.rows())
          for (const { key, value } of chunk) rows.set(Buffer.from(key).toString('hex'), Buffer.from(value));
      } catch (error) {
        if (wasDamaged(number) && error instanceof OperatingError && error.code === 'EBADMSG') continue;
        throw new Violation('snapshots', `${path} on disk ${number}: ${String(error)}`);
      }
      const differing = difference(world.trace.rows(snapshot.position), rows);
      if (differing !== undefined) throw new Violation('snapshots', `${path} on disk ${number}: ${differing}`);
    }
  }
  return count;
}

async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
}

/** The accounting between rows; see test/namespace/check.ts. */
export async function checkAccounting(world: World): Promise<void> {
  const pool = world.process?.pool;
  assert.ok(pool !== undefined);
  try {
    await checkRows(pool.index);
  } catch (error) {
    if (!(error instanceof assert.AssertionError)) throw error;
    throw new Violation('rows', error.message);
  }
}
