/** Where a file is: for `ostraka where`, a page at a time, and as extended attributes, each in one value. */
import { systemClock } from '../base/clock.js';
import { XATTR_VALUE_BYTES_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import { isRegular } from '../namespace/modes.js';
import type { Pool } from './pool.js';

/** One blob of a file. Names as `ostraka where --json` prints them. */
export interface BlobPlace {
  readonly blob: number;
  /** K+M */
  readonly code: string;
  /** Bytes of the file that are in it. */
  readonly file_bytes: number;
  /** The disk of each shard, by number: K of data, then M of parity; null: missing, and waits to be rebuilt. */
  readonly shards: readonly (number | null)[];
}

export interface WhereAnswer {
  readonly size: number;
  readonly pending_bytes: number;
  readonly extents: number;
  readonly inline_bytes: number;
  readonly blobs: readonly BlobPlace[];
  readonly disks: readonly { readonly number: number; readonly path: string }[];
  /** What to pass as `from` for the next page; null: there is none. */
  readonly next: number | null;
}

function codeOf({ k, m }: Location): string {
  return `${k}+${m}`;
}

function diskPaths(pool: Pool): Map<number, string> {
  return new Map(pool.diskSet.members().map(({ member, disk }) => [member.number, disk?.directory ?? member.directory]));
}

/** @throws OperatingError ESTALE */
export async function whereIs(pool: Pool, ino: number, from: number): Promise<WhereAnswer> {
  const page = await pool.namespace.placement(ino, from);
  const blobs = page.blobs.map(({ location, bytes }) => ({
    blob: location.blob,
    code: codeOf(location),
    file_bytes: bytes,
    shards: location.shards.map(({ disk }) => (disk === 0 ? null : disk)),
  }));
  const named = new Set(blobs.flatMap(({ shards }) => shards));
  return {
    size: page.size,
    pending_bytes: page.pendingBytes,
    extents: page.extents,
    inline_bytes: page.inlineBytes,
    blobs,
    disks: [...diskPaths(pool)].filter(([number]) => named.has(number)).map(([number, path]) => ({ number, path })),
    next: page.next ?? null,
  };
}

const ATTRIBUTES = ['code', 'extents', 'blobs', 'disks'] as const;
type Attribute = (typeof ATTRIBUTES)[number];

/** A list that fits into an attribute, and says when it is cut. */
function listed(values: Iterable<string | number>): string {
  const text = [...values].join(',');
  return text.length < XATTR_VALUE_BYTES_MAX ? text : `${text.slice(0, text.lastIndexOf(',', XATTR_VALUE_BYTES_MAX - 5))},…`;
}

/** The value of `user.ostraka.NAME`; undefined: there is none. Of regular files, and of what is committed. */
export async function describeInode(pool: Pool, ino: number, name: string): Promise<string | undefined> {
  const wanted = ATTRIBUTES.find((each) => each === name);
  if (wanted === undefined || !isRegular((await pool.namespace.getattr(ino)).mode)) return undefined;
  let extents = 0;
  const [codes, blobs, disks] = [new Set<string>(), new Set<number>(), new Set<number>()];
  for (let from: number | undefined = 0; from !== undefined;) {
    const page = await pool.namespace.placement(ino, from);
    extents += page.extents;
    for (const { location } of page.blobs) {
      codes.add(codeOf(location));
      blobs.add(location.blob);
      for (const { disk } of location.shards) if (disk !== 0) disks.add(disk);
    }
    from = page.next;
    await systemClock.yield();
  }
  const paths = diskPaths(pool);
  const values: Record<Attribute, () => string> = {
    code: () => listed(codes),
    extents: () => String(extents),
    blobs: () => listed(blobs),
    disks: () => listed([...disks].sort((a, b) => a - b).map((number) => paths.get(number) ?? `disk ${number}`)),
  };
  return values[wanted]();
}
