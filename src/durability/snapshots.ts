/**
 * Index snapshots on the disks: the export of the index (src/index/README.md) as a dated file in `snapshots/` of m+1 data disks, so that one is left whatever m
 * disks are lost. Small data is in it, since it lives in rows; other data stays in records. A snapshot pins nothing: what was freed since it was made
 * is gone, and recovery names it. A file gets its name only when it is whole and synced.
 */
import { asOperatingError, OperatingError } from '../base/errors.js';
import { MiB, SNAPSHOT_READ_BYTES } from '../base/limits.js';
import type { Disk, DiskFile } from '../disk/disk.js';

export const SNAPSHOT_DIRECTORY = 'snapshots';
const NAME = /^INDEX-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-(\d{1,16})\.ostraka$/;
const UNFINISHED = '.new';
/** A disk with less free space takes none; of a small disk an eighth is enough. */
const FREE_BYTES_MIN = 64 * MiB;

/** A snapshot on a disk. */
export interface SnapshotFile {
  readonly name: string;
  /** Seconds since 1970. */
  readonly seconds: number;
  /** Of the log. */
  readonly position: number;
}

/** INDEX-20260102T030405Z-1234.ostraka */
export function snapshotName(seconds: number, position: number): string {
  const text = new Date(seconds * 1000).toISOString().replace(/[-:]|\.\d+/g, '');
  return `INDEX-${text}-${position}.ostraka`;
}

export function parseSnapshotName(name: string): SnapshotFile | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0, position = 0] = match.slice(1).map(Number);
  return { name, seconds: Date.UTC(year, month - 1, day, hour, minute, second) / 1000, position };
}

/** Snapshots on a disk, newest first. */
export async function listSnapshots(disk: Disk): Promise<SnapshotFile[]> {
  try {
    const found = (await disk.list(SNAPSHOT_DIRECTORY)).flatMap((name) => parseSnapshotName(name) ?? []);
    return found.sort((a, b) => b.seconds - a.seconds || b.position - a.position);
  } catch (error) {
    if (asOperatingError(error).code === 'ENOENT') return [];
    throw error;
  }
}

/** The bytes of a snapshot, a piece at a time. */
export async function* readSnapshot(disk: Disk, name: string): AsyncGenerator<Buffer, void, undefined> {
  const file = await disk.open(`${SNAPSHOT_DIRECTORY}/${name}`);
  try {
    for (let at = 0; ;) {
      const piece = await file.read(at, SNAPSHOT_READ_BYTES);
      if (piece.length === 0) return;
      yield piece;
      at += piece.length;
    }
  } finally {
    await file.close();
  }
}

interface Writing {
  readonly disk: Disk;
  readonly file: DiskFile;
}

export interface WriteSnapshotOptions {
  /** In the order in which they are to be taken. */
  readonly disks: readonly Disk[];
  readonly copies: number;
  readonly name: string;
  /** The export. Consumed once, for all copies. */
  readonly pieces: AsyncIterable<Uint8Array>;
  /** A copy could not be finished on a disk. */
  readonly onFailure: (disk: Disk, error: OperatingError) => void;
}

/**
 * Writes a snapshot to so many of the disks. Resolves with those that have it, durably.
 * @throws what `pieces` throws; OperatingError ENOSPC or EIO when not one copy could be written
 */
export async function writeSnapshot({ disks, copies, name, pieces, onFailure }: WriteSnapshotOptions): Promise<Disk[]> {
  const temporary = `${SNAPSHOT_DIRECTORY}/${name}${UNFINISHED}`;
  let writing: Writing[] = [];
  const attempt = async <T>(disk: Disk, action: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await action();
    } catch (error) {
      onFailure(disk, asOperatingError(error, { disk: disk.directory }));
      return undefined;
    }
  };
  for (const disk of disks) {
    if (writing.length === copies) break;
    const file = await attempt(disk, () => begin(disk, temporary));
    if (file !== undefined) writing.push({ disk, file });
  }
  const give = async ({ disk, file }: Writing): Promise<void> => {
    await file.close().catch(() => undefined);
    // It failed already, or is about to: what is left of it is removed by the next one.
    await disk.unlink(temporary).catch(() => undefined);
  };
  try {
    let at = 0;
    for await (const piece of pieces) {
      const offset = at;
      writing = await survivors(writing, give, ({ disk, file }) => attempt(disk, () => file.write(offset, [piece]).then(() => true)));
      at += piece.length;
    }
  } catch (error) {
    for (const each of writing) await give(each);
    throw error;
  }
  writing = await survivors(writing, give, ({ disk, file }) =>
    attempt(disk, () => finish(disk, file, temporary, `${SNAPSHOT_DIRECTORY}/${name}`)),
  );
  if (writing.length === 0)
    throw new OperatingError('EIO', 'no disk could take a snapshot of the index', { hint: 'The log says why, disk by disk.' });
  return writing.map(({ disk }) => disk);
}

async function survivors(
  writing: readonly Writing[],
  give: (writing: Writing) => Promise<void>,
  action: (writing: Writing) => Promise<true | undefined>,
): Promise<Writing[]> {
  const results = await Promise.all(writing.map(action));
  const lost = writing.filter((_, index) => results[index] !== true);
  for (const each of lost) await give(each);
  return writing.filter((_, index) => results[index] === true);
}

/** The new file, and nothing that earlier tries left beside it. */
async function begin(disk: Disk, temporary: string): Promise<DiskFile> {
  const { freeBytes, totalBytes } = await disk.capacity();
  if (freeBytes < Math.min(FREE_BYTES_MIN, totalBytes / 8))
    throw new OperatingError('ENOSPC', 'there is no room for a snapshot of the index', { disk: disk.directory });
  await disk.makeDirectory(SNAPSHOT_DIRECTORY);
  await disk.syncDirectory('');
  for (const name of await disk.list(SNAPSHOT_DIRECTORY)) if (name.endsWith(UNFINISHED)) await disk.unlink(`${SNAPSHOT_DIRECTORY}/${name}`);
  return disk.open(temporary, { create: true, write: true });
}

async function finish(disk: Disk, file: DiskFile, temporary: string, path: string): Promise<true> {
  await file.sync();
  await file.close();
  await disk.rename(temporary, path);
  await disk.syncDirectory(SNAPSHOT_DIRECTORY);
  return true;
}

/** Removes all but the newest `keep` snapshots of a disk. Called after a newer one is durable. */
export async function expireSnapshots(disk: Disk, keep: number): Promise<number> {
  const old = (await listSnapshots(disk)).slice(keep);
  for (const { name } of old) await disk.unlink(`${SNAPSHOT_DIRECTORY}/${name}`);
  if (old.length > 0) await disk.syncDirectory(SNAPSHOT_DIRECTORY);
  return old.length;
}
