/**
 * Rows of long-running jobs, so that they survive a restart: for each kind one row while a run is under way (what was asked for, where it stands), and one for
 * each of its last runs. What belongs to the kind itself (options, cursor, result) is JSON text, which this folder does not look into.
 */
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import type { Range } from '../index-store.js';
import { KeyReader, keyOf } from '../keys.js';
import { checkVersion } from './inode-row.js';
import { TABLES, tableRange } from './tables.js';

const VERSION = 1;
const writer = new ByteWriter(512);

/** The row of a run under way is number 0, runs that ended are 1 … */
export const jobKey = (kind: string, run = 0): Buffer => keyOf(TABLES.job).text(kind).number(run).end();
export const jobRange = (limit: number): Range => tableRange(TABLES.job, limit);
export const parseJobKey = (key: Uint8Array): { kind: string; run: number } => {
  const reader = new KeyReader(key);
  const parsed = { kind: reader.text(), run: reader.number() };
  reader.end();
  return parsed;
};

/** A run under way. */
export interface JobRow {
  readonly paused: boolean;
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly doneBytes: number;
  readonly doneItems: number;
  /** JSON; empty where there is none. */
  readonly options: string;
  readonly cursor: string;
}

export function encodeJob(row: JobRow): Buffer {
  writer
    .reset()
    .u8(VERSION)
    .u8(row.paused ? 1 : 0)
    .varint(row.startedAt)
    .varint(row.doneBytes)
    .varint(row.doneItems);
  return writer.text(row.options).text(row.cursor).copy();
}

/** @throws DecodeError */
export function decodeJob(value: Uint8Array): JobRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'job');
  const paused = reader.u8();
  if (paused > 1) throw new DecodeError(`a job that is paused ${paused}`);
  const counts = { startedAt: reader.varint(), doneBytes: reader.varint(), doneItems: reader.varint() };
  const row = { paused: paused === 1, ...counts, options: reader.text(), cursor: reader.text() };
  reader.end();
  return row;
}

const OUTCOMES = ['done', 'failed', 'cancelled'] as const;

/** A run that ended. */
export interface JobRunRow {
  readonly outcome: (typeof OUTCOMES)[number];
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly doneBytes: number;
  readonly doneItems: number;
  readonly message: string;
  /** JSON; empty where there is none. */
  readonly result: string;
}

export function encodeJobRun(row: JobRunRow): Buffer {
  writer.reset().u8(VERSION).u8(OUTCOMES.indexOf(row.outcome));
  writer.varint(row.startedAt).varint(row.finishedAt).varint(row.doneBytes).varint(row.doneItems);
  return writer.text(row.message).text(row.result).copy();
}

/** @throws DecodeError */
export function decodeJobRun(value: Uint8Array): JobRunRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'job run');
  const outcome = OUTCOMES[reader.u8()];
  if (outcome === undefined) throw new DecodeError('a job ended in a way that is not known');
  const times = { startedAt: reader.varint(), finishedAt: reader.varint() };
  const counts = { doneBytes: reader.varint(), doneItems: reader.varint() };
  const row = { outcome, ...times, ...counts, message: reader.text(), result: reader.text() };
  reader.end();
  return row;
}
