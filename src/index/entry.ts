/**
 * A transaction's write set as the payload of one log entry. README.md lays it out byte by byte; golden files hold it still. The encoding is
 * canonical: keys ascend strictly, so that one write set has one encoding, and the decoder takes nothing else.
 *
 * Called by the index store (encode, once a commit), by the replicas (decode) and by recovery, which looks for blob locations in entries.
 */
import { assert } from '../base/assert.js';
import { ByteReader, DecodeError, put } from '../base/bytes.js';
import { INDEX_KEY_BYTES_MAX, KiB, LOG_ENTRY_BYTES_MAX, LOG_ENTRY_OVERHEAD_BYTES } from '../base/limits.js';
import { compareKeys } from './keys.js';

/** One row written or (undefined) deleted. */
export interface Write {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** A decoded write: views into the payload. */
export interface DecodedWrite {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

const VERSION = 1;

/** Bytes that the payload of one entry may have. */
export const WRITES_BYTES_MAX = LOG_ENTRY_BYTES_MAX - LOG_ENTRY_OVERHEAD_BYTES;

/** Version byte and the longest count: what a payload takes beside its writes, at most. */
export const WRITES_HEADER_BYTES_MAX = 1 + 4;

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Bytes that one write takes in a payload. */
export function writeBytes(keyBytes: number, valueBytes: number | undefined): number {
  return varintBytes(keyBytes) + keyBytes + (valueBytes === undefined ? 1 : varintBytes(valueBytes + 1) + valueBytes);
}

/** Of the payload that was encoded last. */
let scratch = Buffer.alloc(64 * KiB);

/**
 * Encodes a write set. The payload is valid until the next one is encoded: the log copies it.
 * @param writes in strictly ascending order of keys.
 * @param count how many they are.
 * @param bytes sum of `writeBytes` over them.
 */
export function encodeWrites(writes: Iterable<Write>, count: number, bytes: number): Buffer {
  const payloadBytes = 1 + varintBytes(count) + bytes;
  if (payloadBytes > scratch.length) scratch = Buffer.allocUnsafeSlow(Math.max(payloadBytes, scratch.length * 2));
  const payload = scratch.subarray(0, payloadBytes);
  let at = 0;
  const varint = (value: number): void => {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) payload[at++] = (rest % 0x80) | 0x80;
    payload[at++] = rest;
  };
  payload[at++] = VERSION;
  varint(count);
  for (const { key, value } of writes) {
    varint(key.length);
    put(key, payload, at);
    at += key.length;
    varint(value === undefined ? 0 : value.length + 1);
    if (value === undefined) continue;
    put(value, payload, at);
    at += value.length;
  }
  assert(at === payload.length, () => `write set of ${at} bytes was taken for ${payload.length}`);
  return payload;
}

/** What a payload writes to, at a glance. */
export interface Outline {
  readonly writes: number;
  /** The `tableBit` of each key. */
  readonly tables: number;
}

/** Stands for the table of a key, among 32; now and then two tables have the same one. */
export function tableBit(key: Uint8Array): number {
  return bitOf(key[0]);
}

function bitOf(tag = 0): number {
  return 1 << (tag & 31);
}

/** @throws DecodeError where the payload is of another version or ends early; nothing else is checked. */
export function outlineOf(payload: Uint8Array): Outline {
  if (payload[0] !== VERSION) throw new DecodeError(`write set of unknown version ${payload[0] ?? 'none'}`);
  let at = 1;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = payload[at++];
      if (byte === undefined) throw new DecodeError('write set ends early');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const writes = varint();
  let tables = 0;
  for (let i = 0; i < writes; i++) {
    const keyBytes = varint();
    tables |= bitOf(payload[at]);
    at += keyBytes;
    const mark = varint();
    if (mark > 0) at += mark - 1;
  }
  if (at > payload.length) throw new DecodeError('write set ends early');
  return { writes, tables };
}

/**
 * Calls `visit` for each write in order. Keys and values are views into `payload`.
 * @throws DecodeError on anything that `encodeWrites` does not make; writes before the damage may have been visited.
 */
export function visitWrites(payload: Uint8Array, visit: (key: Buffer, value: Buffer | undefined) => void): void {
  const reader = new ByteReader(payload);
  const version = reader.u8();
  if (version !== VERSION) throw new DecodeError(`write set of unknown version ${version}`);
  const count = reader.varint();
  let last: Buffer | undefined;
  let bytes = 1 + varintBytes(count);
  for (let i = 0; i < count; i++) {
    const key = reader.sized();
    if (key.length === 0 || key.length > INDEX_KEY_BYTES_MAX) throw new DecodeError(`key of ${key.length} bytes in a write set`);
    if (last !== undefined && compareKeys(last, key) >= 0) throw new DecodeError('keys of a write set do not ascend');
    last = key;
    const mark = reader.varint();
    const value = mark === 0 ? undefined : reader.bytes(mark - 1);
    bytes += writeBytes(key.length, value?.length);
    visit(key, value);
  }
  reader.end();
  // Numbers written longer than they need to be would give one write set two encodings.
  if (bytes !== payload.length) throw new DecodeError('write set is not in its canonical form');
}

/** All writes of a payload, in order of keys; views into it. @throws DecodeError */
export function decodeWrites(payload: Uint8Array): DecodedWrite[] {
  const writes: DecodedWrite[] = [];
  visitWrites(payload, (key, value) => writes.push({ key, value }));
  return writes;
}
