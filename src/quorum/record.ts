/**
 * One entry of the log as bytes: the same in the journal and in voters' log files. The layout is in README.md and held by golden files.
 *
 * A record names its position and the chain of the entry before it, and its own chain is the checksum over all of that and the payload. So
 * a record that is stale, misplaced, torn or of another history never fits (I6), and two logs with the same chain at a position are the
 * same up to there.
 */
import { Arena } from '../base/arena.js';
import { assert } from '../base/assert.js';
import { checksum, CHECKSUM_BYTES, sameBytes } from '../base/checksums.js';
import { EPOCH_MAX } from '../base/ids.js';
import { LOG_ENTRY_BYTES_MAX } from '../base/limits.js';
import type { EntryKind, LogEntry, LogPoint } from './state-machine.js';

/** "OLE1", little endian. */
const MAGIC = 0x31454c4f;
/** Bytes before the payload. */
export const RECORD_HEADER_BYTES = 64;
/** The longest record. */
export const RECORD_BYTES_MAX = RECORD_HEADER_BYTES + LOG_ENTRY_BYTES_MAX;
const CHAIN_AT = 48;

/** Records that follow each other lie side by side, and are written as one run. */
const arena = new Arena();

const kindCodes: Readonly<Record<EntryKind, number>> = { data: 1, barrier: 2, lead: 3 };
const kindNames: readonly (EntryKind | undefined)[] = [undefined, 'data', 'barrier', 'lead'];

/** An entry with its encoded form. */
export interface LogRecord {
  readonly entry: LogEntry;
  /** Chain of the entry before it. */
  readonly previous: Uint8Array;
  /** barrier, lead: what all entries up to this position point to was synced before this one was made. data: 0. */
  readonly covers: number;
  /** Header and payload; `entry.payload` and the chains are views into it. */
  readonly bytes: Buffer;
}

/** Makes the record that follows `before`. Copies the payload. */
export function encodeRecord(before: LogPoint, epoch: number, kind: EntryKind, covers: number, payload: Uint8Array): LogRecord {
  const position = before.position + 1;
  assert(payload.length <= LOG_ENTRY_BYTES_MAX, () => `a log entry of ${payload.length} bytes`);
  assert(kind === 'data' || payload.length === 0, () => `a ${kind} entry has no payload`);
  assert(kind === 'data' ? covers === 0 : covers < position, () => `${kind} at ${position} cannot cover ${covers}`);
  assert(epoch > 0 && epoch <= EPOCH_MAX && epoch >= before.epoch, () => `epoch ${epoch} after ${before.epoch}`);
  assert(before.chain.length === CHECKSUM_BYTES, 'a chain has 16 bytes');
  const bytes = arena.take(RECORD_HEADER_BYTES + payload.length);
  bytes.fill(0, 0, RECORD_HEADER_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt8(kindCodes[kind], 4);
  bytes.writeUInt32LE(payload.length, 8);
  bytes.writeUInt32LE(epoch, 12);
  writeNumber(bytes, position, 16);
  writeNumber(bytes, covers, 24);
  bytes.set(before.chain, 32);
  bytes.set(payload, RECORD_HEADER_BYTES);
  bytes.set(checksum(bytes.subarray(0, CHAIN_AT), payload), CHAIN_AT);
  return view(bytes, kind, position, epoch, covers);
}

/**
 * The record at the start of `bytes` (what follows it is ignored); undefined where there is no intact one. The views of the
 * result are into `bytes`.
 */
export function decodeRecord(bytes: Buffer): LogRecord | undefined {
  const length = recordLength(bytes);
  if (length === undefined || bytes.length < length) return undefined;
  const kind = kindNames[bytes.readUInt8(4)];
  const position = readNumber(bytes, 16);
  const covers = readNumber(bytes, 24);
  const epoch = bytes.readUInt32LE(12);
  if (kind === undefined || position === undefined || covers === undefined || position === 0) return undefined;
  if (bytes.readUInt8(5) !== 0 || bytes.readUInt16LE(6) !== 0 || epoch === 0 || epoch > EPOCH_MAX) return undefined;
  if (kind === 'data' ? covers !== 0 : covers >= position || length !== RECORD_HEADER_BYTES) return undefined;
  const own = checksum(bytes.subarray(0, CHAIN_AT), bytes.subarray(RECORD_HEADER_BYTES, length));
  if (!sameBytes(own, bytes.subarray(CHAIN_AT, RECORD_HEADER_BYTES))) return undefined;
  return view(bytes.subarray(0, length), kind, position, epoch, covers);
}

/** Length of the record whose header starts `bytes`, as far as the header alone can tell; undefined where none starts. */
export function recordLength(bytes: Buffer): number | undefined {
  if (bytes.length < RECORD_HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  const payloadBytes = bytes.readUInt32LE(8);
  return payloadBytes > LOG_ENTRY_BYTES_MAX ? undefined : RECORD_HEADER_BYTES + payloadBytes;
}

/** Does the record continue the history at `before`? */
export function followsPoint(record: LogRecord, before: LogPoint): boolean {
  const { position, epoch } = record.entry.point;
  return position === before.position + 1 && epoch >= before.epoch && sameBytes(record.previous, before.chain);
}

function view(bytes: Buffer, kind: EntryKind, position: number, epoch: number, covers: number): LogRecord {
  const chain = bytes.subarray(CHAIN_AT, RECORD_HEADER_BYTES);
  const entry: LogEntry = { point: { position, epoch, chain }, kind, payload: bytes.subarray(RECORD_HEADER_BYTES) };
  return { entry, previous: bytes.subarray(32, CHAIN_AT), covers, bytes };
}

function writeNumber(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function readNumber(bytes: Buffer, at: number): number | undefined {
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  return Number.isSafeInteger(value) ? value : undefined;
}
