/**
 * The small structures of a voter's directory (promise, mark, header of a log file) as bytes, and the names of its files. Pure; layouts are in
 * README.md and held by golden files. Every structure names pool and voter: a directory that was copied from elsewhere never fits.
 */
import { assert } from '../base/assert.js';
import { ByteReader, ByteWriter, DecodeError } from '../base/bytes.js';
import { checksum, CHECKSUM_BYTES, sameBytes } from '../base/checksums.js';
import { isUuid, uuidBytes } from '../base/ids.js';
import { KiB } from '../base/limits.js';
import type { LogPoint } from './state-machine.js';

/** A voter's files, relative to its disk. */
export const QUORUM_DIRECTORY = 'quorum';
/** Its durable replica. */
export const REPLICA_DIRECTORY = 'quorum/replica';
/** Unit of writing: what was synced is never rewritten, so each write starts at a multiple of this. */
export const BLOCK_BYTES = 4 * KiB;

const VERSION = 1;

/** Whose files: the pool and the voter's number in it. */
export interface VoterIdentity {
  readonly poolId: string;
  readonly voter: number;
}

/** A log or mark file: each epoch writes only its own, each writer within it too. In the order of (epoch, sequence). */
export interface FileId {
  readonly epoch: number;
  readonly sequence: number;
}

export interface LogFileHeader {
  readonly id: FileId;
  /** The entry before the file's first one. */
  readonly base: LogPoint;
}

/** How far a voter was synced: a lower bound, never ahead. */
export interface Mark {
  /** The mark file: epoch and number of the writer. */
  readonly id: FileId;
  /** Grows with each write; the slot with the higher one counts. */
  readonly version: number;
  /** The log begins with this file; earlier ones are to be removed. {0, 0} before the first file was made. */
  readonly first: FileId;
  readonly point: LogPoint;
}

export function compareFiles(a: FileId, b: FileId): number {
  return a.epoch - b.epoch || a.sequence - b.sequence;
}

export const promiseName = (epoch: number): string => `promise-${pad(epoch, 7)}`;
export const markName = (id: FileId): string => `mark-${pad(id.epoch, 7)}-${pad(id.sequence, 5)}`;
export const logName = (id: FileId): string => `log-${pad(id.epoch, 7)}-${pad(id.sequence, 5)}`;
/** Path of a voter's file on its disk. */
export const voterPath = (name: string): string => `${QUORUM_DIRECTORY}/${name}`;

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}

/** The names in a voter's directory, sorted by what they are. Unknown names are ignored. */
export interface VoterNames {
  /** Ascending. */
  readonly promises: readonly number[];
  /** Ascending. */
  readonly marks: readonly FileId[];
  /** Ascending. */
  readonly logs: readonly FileId[];
}

export function parseNames(names: readonly string[]): VoterNames {
  const promises: number[] = [];
  const marks: FileId[] = [];
  const logs: FileId[] = [];
  for (const name of names) {
    const match = /^(?:promise-(\d{7})|(mark|log)-(\d{7})-(\d{5}))$/.exec(name);
    if (match === null) continue;
    if (match[1] !== undefined) promises.push(Number(match[1]));
    else (match[2] === 'mark' ? marks : logs).push({ epoch: Number(match[3]), sequence: Number(match[4]) });
  }
  return { promises: promises.sort((a, b) => a - b), marks: marks.sort(compareFiles), logs: logs.sort(compareFiles) };
}

/** The highest epoch that any name tells of. */
export function highestEpoch(names: VoterNames): number {
  return Math.max(0, ...names.promises, ...names.marks.map((id) => id.epoch), ...names.logs.map((id) => id.epoch));
}

/** A promise not to take part under a lower epoch. One sector. */
export function encodePromise(identity: VoterIdentity, epoch: number): Buffer {
  return seal(start('OSTRAPRO', identity).u32(epoch).u32(0), 512);
}

/** @throws DecodeError */
export function decodePromise(bytes: Buffer, identity: VoterIdentity): number {
  const reader = open(bytes, 'OSTRAPRO', identity, 512);
  const epoch = reader.u32();
  reader.u32();
  return epoch;
}

/** One slot of a mark file: a block. */
export function encodeMark(identity: VoterIdentity, mark: Mark): Buffer {
  const writer = start('OSTRAMRK', identity).u32(mark.id.epoch).u32(mark.id.sequence).u64(mark.version);
  writer.u32(mark.first.epoch).u32(mark.first.sequence);
  return seal(putPoint(writer, mark.point), BLOCK_BYTES);
}

/** @throws DecodeError */
export function decodeMark(bytes: Buffer, identity: VoterIdentity): Mark {
  const reader = open(bytes, 'OSTRAMRK', identity, BLOCK_BYTES);
  const id = { epoch: reader.u32(), sequence: reader.u32() };
  const version = reader.u64();
  const first = { epoch: reader.u32(), sequence: reader.u32() };
  return { id, version, first, point: takePoint(reader) };
}

/** The first block of a log file. */
export function encodeLogHeader(identity: VoterIdentity, header: LogFileHeader): Buffer {
  const writer = start('OSTRALOG', identity).u32(header.id.epoch).u32(header.id.sequence);
  return seal(putPoint(writer, header.base), BLOCK_BYTES);
}

/** @throws DecodeError */
export function decodeLogHeader(bytes: Buffer, identity: VoterIdentity): LogFileHeader {
  const reader = open(bytes, 'OSTRALOG', identity, BLOCK_BYTES);
  const id = { epoch: reader.u32(), sequence: reader.u32() };
  return { id, base: takePoint(reader) };
}

function start(magic: string, identity: VoterIdentity): ByteWriter {
  return new ByteWriter().bytes(Buffer.from(magic, 'latin1')).u32(VERSION).u32(identity.voter).bytes(poolBytes(identity.poolId));
}

function putPoint(writer: ByteWriter, point: LogPoint): ByteWriter {
  return writer.u64(point.position).u32(point.epoch).u32(0).bytes(point.chain);
}

function takePoint(reader: ByteReader): LogPoint {
  const position = reader.u64();
  const epoch = reader.u32();
  reader.u32();
  return { position, epoch, chain: Buffer.from(reader.bytes(CHECKSUM_BYTES)) };
}

/** Zero-fills to `bytes`, the checksum of all before it in the last 16. */
function seal(writer: ByteWriter, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  assert(writer.length <= bytes - CHECKSUM_BYTES, 'a structure does not fit into its block');
  out.set(writer.view());
  out.set(checksum(out.subarray(0, bytes - CHECKSUM_BYTES)), bytes - CHECKSUM_BYTES);
  return out;
}

function open(bytes: Buffer, magic: string, identity: VoterIdentity, length: number): ByteReader {
  if (bytes.length !== length) throw new DecodeError(`${bytes.length} bytes instead of ${length}`);
  const reader = new ByteReader(bytes);
  if (reader.bytes(8).toString('latin1') !== magic) throw new DecodeError(`not ${magic}`);
  if (!sameBytes(checksum(bytes.subarray(0, length - CHECKSUM_BYTES)), bytes.subarray(length - CHECKSUM_BYTES)))
    throw new DecodeError('the checksum does not match');
  const version = reader.u32();
  if (version !== VERSION) throw new DecodeError(`version ${version} is not known`);
  const voter = reader.u32();
  if (voter !== identity.voter) throw new DecodeError(`belongs to voter ${voter}, not ${identity.voter}`);
  if (!sameBytes(reader.bytes(16), poolBytes(identity.poolId))) throw new DecodeError('belongs to another pool');
  return reader;
}

function poolBytes(poolId: string): Uint8Array {
  assert(isUuid(poolId), `not a pool id: ${poolId}`);
  return uuidBytes(poolId);
}
