/**
 * The superblock of a disk: its identity and a copy of the pool's membership, as bytes. Pure: superblock-file.ts reads and writes the file.
 * README.md beside this file lays out the bytes. Everything that is read is checked; nothing that is not wholly right is ever believed.
 */
import { z } from 'zod';
import { assert } from '../base/assert.js';
import { ByteReader, ByteWriter } from '../base/bytes.js';
import { CHECKSUM_BYTES, checksum, sameBytes } from '../base/checksums.js';
import { OperatingError } from '../base/errors.js';
import { EPOCH_MAX, isUuid, type DiskNumber, type Uuid } from '../base/ids.js';
import { BLOB_SHARDS_MAX, KiB, POOL_DISKS_MAX } from '../base/limits.js';
import type { Membership } from './membership.js';

/** The file's name in a disk's directory. */
export const SUPERBLOCK_FILE = 'ostraka.superblock';
/** Two of these make the file. Room for POOL_DISKS_MAX members with names of about 900 bytes. */
export const SLOT_BYTES = 256 * KiB;
/** The header of every version, now and later: magic, version, body length, sequence, checksum, zeros. */
export const SLOT_HEADER_BYTES = 64;
/** What this program writes; it reads this and older ones. 2: members have a state, memberships an epoch and the last number given. */
export const SUPERBLOCK_VERSION = 2;
const SUPERBLOCK_MAGIC = Buffer.from('OSTRAKSB', 'latin1');
const BODY_BYTES_MAX = SLOT_BYTES - SLOT_HEADER_BYTES;
/** Bytes of the header that the checksum covers, before the body: magic, version, length, sequence. */
const CHECKED_HEADER_BYTES = 24;

/** What `init` fixes for good, beyond the code: names and plain values. */
export type PoolSettings = Readonly<Record<string, string | number | boolean>>;

export interface Superblock {
  readonly diskId: Uuid;
  readonly diskNumber: DiskNumber;
  /** When the disk joined the pool, ISO 8601, UTC. */
  readonly created: string;
  readonly settings: PoolSettings;
  readonly membership: Membership;
}

/** One slot as found. empty: never written; newer: intact, but of a later version of the format. */
export type Slot =
  | { readonly state: 'good'; readonly sequence: number; readonly superblock: Superblock }
  | { readonly state: 'empty' }
  | { readonly state: 'newer'; readonly version: number }
  | { readonly state: 'damaged'; readonly why: string };

const uuid = z.string().refine(isUuid);
const diskNumber = z.number().int().min(1).max(65_535);
const member = z.object({
  number: diskNumber,
  id: uuid,
  role: z.enum(['data', 'witness']),
  state: z.enum(['active', 'draining', 'failed']).default('active'),
  voter: z.boolean(),
  zone: z.string().min(1).max(255).optional(),
  directory: z.string().min(1).max(4096),
});
const membership = z
  .object({
    epoch: z.number().int().min(0).max(EPOCH_MAX).default(0),
    version: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
    poolId: uuid,
    poolName: z.string().min(1).max(255),
    k: z.number().int().min(1).max(BLOB_SHARDS_MAX),
    m: z
      .number()
      .int()
      .min(0)
      .max(BLOB_SHARDS_MAX - 1),
    lastNumber: diskNumber.optional(),
    members: z.array(member).min(1).max(POOL_DISKS_MAX),
  })
  .refine(({ k, m }) => k + m <= BLOB_SHARDS_MAX, 'k + m is too large')
  .refine(({ members }) => new Set(members.map((each) => each.number)).size === members.length, 'a number is given twice')
  .refine(({ members }) => new Set(members.map((each) => each.id)).size === members.length, 'an id is given twice');
const body = z.object({
  diskId: uuid,
  diskNumber,
  created: z.iso.datetime(),
  settings: z.record(z.string().max(255), z.union([z.string(), z.number(), z.boolean()])),
  membership,
});

/** The bytes of a slot: header and body, without the zeros behind them. @throws OperatingError E2BIG: paths and zones are too long. */
export function encodeSlot(superblock: Superblock, sequence: number): Buffer {
  assert(Number.isSafeInteger(sequence) && sequence > 0, 'sequence is positive');
  const checked = body.safeParse(superblock);
  assert(checked.success, `superblock is well formed: ${checked.error?.message ?? ''}`);
  const text = Buffer.from(JSON.stringify(checked.data), 'utf8');
  if (text.length > BODY_BYTES_MAX)
    throw new OperatingError('E2BIG', `the pool's description takes ${text.length} bytes, a superblock holds ${BODY_BYTES_MAX}`, {
      hint: 'Use shorter paths for the disks.',
    });
  const head = new ByteWriter(SLOT_HEADER_BYTES).bytes(SUPERBLOCK_MAGIC).u32(SUPERBLOCK_VERSION).u32(text.length).u64(sequence).copy();
  return new ByteWriter(SLOT_HEADER_BYTES + text.length)
    .bytes(head)
    .bytes(checksum(head, text))
    .align(SLOT_HEADER_BYTES)
    .bytes(text)
    .copy();
}

/** How many bytes of a slot `decodeSlot` needs, from its first SLOT_HEADER_BYTES; 0 when these are no header. */
export function slotLength(header: Uint8Array): number {
  if (header.length < SLOT_HEADER_BYTES || !sameBytes(header.subarray(0, 8), SUPERBLOCK_MAGIC)) return 0;
  const bodyBytes = new ByteReader(header.subarray(12, 16)).u32();
  return bodyBytes > BODY_BYTES_MAX ? 0 : SLOT_HEADER_BYTES + bodyBytes;
}

/** Judges the bytes of one slot (as many as there are; at least `slotLength` of them if it is to be good). Never throws. */
export function decodeSlot(bytes: Uint8Array): Slot {
  if (bytes.every((byte) => byte === 0)) return { state: 'empty' };
  const length = slotLength(bytes);
  if (length === 0) return { state: 'damaged', why: 'no superblock header' };
  if (bytes.length < length) return { state: 'damaged', why: 'it ends early' };
  const reader = new ByteReader(bytes.subarray(8));
  const version = reader.u32();
  reader.u32();
  const sequenceBytes = reader.bytes(8);
  const expected = reader.bytes(CHECKSUM_BYTES);
  const text = Buffer.from(bytes.subarray(SLOT_HEADER_BYTES, length));
  if (!sameBytes(expected, checksum(bytes.subarray(0, CHECKED_HEADER_BYTES), text)))
    return { state: 'damaged', why: 'its checksum does not match' };
  if (version > SUPERBLOCK_VERSION) return { state: 'newer', version };
  try {
    const sequence = new ByteReader(sequenceBytes).u64();
    const parsed = body.safeParse(JSON.parse(text.toString('utf8')));
    if (!parsed.success) return { state: 'damaged', why: `its content is not valid: ${parsed.error.issues[0]?.message ?? ''}` };
    const { membership: found, ...rest } = parsed.data;
    const members = found.members.map((each) => ({ ...each, zone: each.zone }));
    const lastNumber = Math.max(found.lastNumber ?? 0, ...members.map(({ number }) => number));
    return { state: 'good', sequence, superblock: { ...rest, membership: { ...found, lastNumber, members } } };
  } catch (error) {
    return { state: 'damaged', why: `its content is not valid: ${String(error)}` };
  }
}
