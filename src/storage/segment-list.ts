/** Which segment files are on a disk, and whether one of them belongs there. Used by freeing.ts and inspector.ts. */
import { DecodeError } from '../base/bytes.js';
import { asOperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber, SegmentId } from '../base/ids.js';
import type { Disk, DiskFile } from '../disk/disk.js';
import type { Pool } from './pool.js';
import { decodeSegmentHeader, parseSegmentName, SEGMENT_DIRECTORY, SEGMENT_HEADER_BYTES, segmentPath } from './segment-format.js';

/** Ids of the segments on a disk, in their order; none where there is no directory of them yet. @throws OperatingError */
export async function listSegments(disk: Disk): Promise<SegmentId[]> {
  let names: string[];
  try {
    names = await disk.list(SEGMENT_DIRECTORY);
  } catch (thrown) {
    if (asOperatingError(thrown).code === 'ENOENT') return [];
    throw thrown;
  }
  const ids: SegmentId[] = [];
  for (const name of names) {
    const segment = parseSegmentName(name);
    if (segment !== undefined) ids.push(segment);
  }
  return ids.sort((a, b) => a - b);
}

/**
 * What a segment's header says: foreign: it is whole and names another pool, disk or segment: somebody copied the file here, and it is left alone.
 * A code: it cannot be read, or is torn or damaged; then the records speak for themselves.
 */
export async function readSegmentHeader(
  pool: Pool,
  disk: DiskNumber,
  segment: SegmentId,
  file: DiskFile,
): Promise<'good' | 'foreign' | ErrnoName> {
  try {
    const header = decodeSegmentHeader(await file.read(0, SEGMENT_HEADER_BYTES));
    if (header.pool === pool.options.poolId && header.disk === disk && header.segment === segment) return 'good';
    pool.options.log('warn', `${segmentPath(segment)} on disk ${disk} belongs elsewhere: left alone`);
    return 'foreign';
  } catch (error) {
    return error instanceof DecodeError ? 'EBADMSG' : asOperatingError(error).code;
  }
}
