/**
 * Identities. Pools and disks carry UUIDs (RFC 9562, version 4); blobs and segments carry numbers that are unique in the
 * pool for ever because each is made from the epoch that made it (no counter has to be stored anywhere).
 */
import type { Random } from './clock.js';
import { assert } from './assert.js';

/** 32 lower-case hexadecimal digits. */
export type Uuid = string & { readonly brand: 'uuid' };

/** The number of a disk in its pool: 1 … 65,535, given when it joins, never given again. 0 means "no disk". */
export type DiskNumber = number;

/** epoch × 2^32 + counter: exact in a double up to epoch 2^20. */
export type BlobId = number;

/** epoch × 2^20 + counter. */
export type SegmentId = number;

/** Epochs count leaderships; a pool may see this many. */
export const EPOCH_MAX = 2 ** 20 - 1;

export function newUuid(random: Random): Uuid {
  const bytes = random.bytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return Buffer.from(bytes).toString('hex') as Uuid;
}

export function isUuid(text: string): text is Uuid {
  return /^[0-9a-f]{32}$/.test(text);
}

/** The 16 bytes of a UUID. */
export function uuidBytes(id: Uuid): Uint8Array {
  assert(isUuid(id), `not a uuid: ${id as string}`);
  return Buffer.from(id, 'hex');
}

export function makeBlobId(epoch: number, counter: number): BlobId {
  assert(epoch > 0 && epoch <= EPOCH_MAX && counter >= 0 && counter < 2 ** 32, `blob id out of range: ${epoch}/${counter}`);
  return epoch * 2 ** 32 + counter;
}

export function makeSegmentId(epoch: number, counter: number): SegmentId {
  assert(epoch > 0 && epoch <= EPOCH_MAX && counter >= 0 && counter < 2 ** 20, `segment id out of range: ${epoch}/${counter}`);
  return epoch * 2 ** 20 + counter;
}

/** The epoch that made a segment. */
export function segmentEpoch(segment: SegmentId): number {
  return Math.floor(segment / 2 ** 20);
}
