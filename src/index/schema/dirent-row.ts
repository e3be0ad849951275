/** Rows of directories: name → inode, cookie → entry; and symbolic links' targets and extended attributes. */
import { ByteReader, ByteWriter } from '../../base/bytes.js';
import { checkVersion } from './inode-row.js';

const VERSION = 1;
const writer = new ByteWriter(512);

export interface DirentRow {
  readonly ino: number;
  /** File type bits of the mode (S_IFMT). */
  readonly type: number;
  /** Position in the order in which names were made; its row in the table order leads back to the name. */
  readonly cookie: number;
}

export function encodeDirent(row: DirentRow): Buffer {
  return writer
    .reset()
    .u8(VERSION)
    .varint(row.ino)
    .u8(row.type >>> 12)
    .varint(row.cookie)
    .copy();
}

/** @throws DecodeError */
export function decodeDirent(value: Uint8Array): DirentRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'dirent');
  const row = { ino: reader.varint(), type: reader.u8() << 12, cookie: reader.varint() };
  reader.end();
  return row;
}

/** An entry as a listing needs it, so that it takes one scan. */
export interface OrderRow {
  readonly ino: number;
  /** File type bits of the mode (S_IFMT). */
  readonly type: number;
  /** One character a byte. */
  readonly name: string;
}

export function encodeOrder(row: OrderRow): Buffer {
  return writer
    .reset()
    .u8(VERSION)
    .varint(row.ino)
    .u8(row.type >>> 12)
    .bytes(Buffer.from(row.name, 'latin1'))
    .copy();
}

/** @throws DecodeError */
export function decodeOrder(value: Uint8Array): OrderRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'order');
  return { ino: reader.varint(), type: reader.u8() << 12, name: reader.bytes(reader.remaining).toString('latin1') };
}

/** Plain bytes behind a version: a symbolic link's target, an extended attribute's value. */
export function encodeBytes(bytes: Uint8Array): Buffer {
  return writer.reset().u8(VERSION).bytes(bytes).copy();
}

/** A view. @throws DecodeError */
export function decodeBytes(value: Uint8Array, what: string): Buffer {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, what);
  return reader.bytes(reader.remaining);
}
