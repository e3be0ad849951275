/** Rows about the pool itself: its settings, and disks that were declared out. */
import { ByteReader, ByteWriter } from '../../base/bytes.js';
import type { DiskNumber } from '../../base/ids.js';
import type { Range } from '../index-store.js';
import { KeyReader, keyOf } from '../keys.js';
import { checkVersion } from './inode-row.js';
import { TABLES, parseNumberKey, tableRange } from './tables.js';

const VERSION = 1;
const writer = new ByteWriter(64);

/** A setting by its name; the value is text as the operator gives it. */
export const settingKey = (name: string): Buffer => keyOf(TABLES.setting).restText(name).end();
export const settingRange = (limit: number): Range => tableRange(TABLES.setting, limit);
export const parseSettingKey = (key: Uint8Array): string => new KeyReader(key).restText();

export function encodeSetting(value: string): Buffer {
  return writer.reset().u8(VERSION).text(value).copy();
}

/** @throws DecodeError */
export function decodeSetting(value: Uint8Array): string {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'setting');
  const text = reader.text();
  reader.end();
  return text;
}

/**
 * There while the pool is closed after a clean stop with all disks in, during which nothing was left stranded (its value: `clean-stop.ts`). No setting's
 * name begins with a dot. Taken away, durably, before anything else is written.
 */
export const cleanStopKey = (): Buffer => settingKey('.clean-stop');

/** There while the rows of an export take the place of the index: a pool in which it stands is not served. */
export const restoringKey = (): Buffer => settingKey('.restoring');

/** After a recovery: records of blobs that no row knows, and that epochs before this one made, are kept until the operator gives them up. */
export const keepUnknownKey = (): Buffer => settingKey('.keep-unknown');

/** A disk that is out: blobs that were stored since may lack a shard because of it (I2). */
export const diskOutKey = (disk: DiskNumber): Buffer => keyOf(TABLES.diskOut).number(disk).end();
export const diskOutRange = (limit: number): Range => tableRange(TABLES.diskOut, limit);
export const parseDiskOutKey = (key: Uint8Array): DiskNumber => parseNumberKey(key);

export interface DiskOutRow {
  /** Epoch of the daemon that declared it. */
  readonly epoch: number;
  /** When, seconds since 1970. */
  readonly seconds: number;
}

export function encodeDiskOut(row: DiskOutRow): Buffer {
  return writer.reset().u8(VERSION).varint(row.epoch).varint(row.seconds).copy();
}

/** @throws DecodeError */
export function decodeDiskOut(value: Uint8Array): DiskOutRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'disk out');
  const row = { epoch: reader.varint(), seconds: reader.varint() };
  reader.end();
  return row;
}
