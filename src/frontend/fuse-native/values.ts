/** What the package takes and gives, as we have it: names, attributes, times, whole numbers in halves. */
import type { Time } from '../../base/clock.js';
import { OperatingError } from '../../base/errors.js';
import { NAME_BYTES_MAX } from '../../base/limits.js';
import type { Attributes, FileSystemStatus } from '../../namespace/namespace.js';

const HALF = 2 ** 32;
const BLOCK_BYTES = 4096;
const STAT_NUMBERS = 18;
const STATFS_NUMBERS = 11;

/** Stands for what is not UTF-8 in a string that was made of bytes. */
const REPLACEMENT = '\uFFFD';

/** A whole number that came in two halves. */
export function wide(low: number, high: number): number {
  return low + high * HALF;
}

/** A length of a file. @throws OperatingError EFBIG: more than a number can say exactly, which is more than a file can have */
export function lengthOf(low: number, high: number): number {
  const length = wide(low, high);
  if (length > Number.MAX_SAFE_INTEGER) throw new OperatingError('EFBIG', `a file of ${length} bytes`);
  return length;
}

/** A name as the namespace has it, a character a byte. @throws OperatingError ENAMETOOLONG, EILSEQ */
export function nameOf(text: string): string {
  const name = Buffer.from(text, 'utf8').toString('latin1');
  // What is not UTF-8 has become longer on its way here.
  if (name.length > NAME_BYTES_MAX) faithful(text);
  if (name.length > NAME_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `name of ${name.length} bytes`);
  return name;
}

/** Bytes for people and for the package; what is not UTF-8 becomes U+FFFD. */
export function textOf(bytes: Buffer | string): string {
  return (typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes).toString('utf8');
}

/** Text that is to be kept must be what the caller said. The package passes on what is not UTF-8 as U+FFFD. @throws OperatingError EILSEQ */
export function faithful(text: string): string {
  if (text.includes(REPLACEMENT)) throw new OperatingError('EILSEQ', 'the binding fuse-native takes names that are UTF-8');
  return text;
}

/** Milliseconds since 1970; the package has no sign. */
function put(numbers: Uint32Array, at: number, value: number): void {
  numbers[at] = value % HALF;
  numbers[at + 1] = Math.floor(value / HALF);
}

function milliseconds({ seconds, nanoseconds }: Time): number {
  return Math.max(0, seconds * 1000 + Math.floor(nanoseconds / 1e6));
}

/** Of milliseconds since 1970. */
export function timeOf(ms: bigint): Time {
  const second = ((ms % 1000n) + 1000n) % 1000n;
  return { seconds: Number((ms - second) / 1000n), nanoseconds: Number(second) * 1e6 };
}

/** struct stat. Inode numbers have 32 bits here, times milliseconds. */
export function statNumbers(attributes?: Attributes): Uint32Array {
  const numbers = new Uint32Array(STAT_NUMBERS);
  if (attributes === undefined) return numbers;
  const { mode, uid, gid, size, links, ino, rdev, blocks, atime, mtime, ctime } = attributes;
  numbers.set([mode, uid, gid], 0);
  put(numbers, 3, size);
  numbers.set([0, links, ino % HALF, rdev, BLOCK_BYTES], 5);
  put(numbers, 10, blocks);
  put(numbers, 12, milliseconds(atime));
  put(numbers, 14, milliseconds(mtime));
  put(numbers, 16, milliseconds(ctime));
  return numbers;
}

/** Of a listing: what getdents(2) shows, type and inode. */
export function entryNumbers(ino: number, type: number): Uint32Array {
  const numbers = new Uint32Array(STAT_NUMBERS);
  numbers[0] = type;
  numbers[7] = ino % HALF;
  return numbers;
}

/** struct statvfs. Its numbers have 32 bits here: a large pool has large blocks. */
export function statfsNumbers(status?: FileSystemStatus): Uint32Array {
  const numbers = new Uint32Array(STATFS_NUMBERS);
  if (status === undefined) return numbers;
  let scale = 1;
  while (status.blocks / scale >= HALF) scale *= 2;
  const inBlocks = (count: number): number => Math.floor(count / scale);
  const bytes = status.blockBytes * scale;
  const files = Math.min(status.files, HALF - 1);
  const filesFree = Math.min(status.filesFree, HALF - 1);
  const [blocks, free, available] = [inBlocks(status.blocks), inBlocks(status.blocksFree), inBlocks(status.blocksAvailable)];
  numbers.set([bytes, bytes, blocks, free, available, files, filesFree, filesFree, 0, 0, NAME_BYTES_MAX]);
  return numbers;
}
