/**
 * Order-preserving encoding of keys. A key is one table tag byte followed by elements; bytewise order of keys is the order of their elements
 * one after the other. README.md lays the elements out byte by byte.
 *
 * Hot path: several keys for each file operation. `keyOf(tag)` restarts one shared builder over a scratch buffer, `end()` copies the key
 * out; nothing else is allocated. So a chain must be finished before the next one begins, and there must be no await in between.
 */
import { assert } from '../base/assert.js';
import { copyOf, DecodeError } from '../base/bytes.js';
import { INDEX_KEY_BYTES_MAX } from '../base/limits.js';
import type { Range } from './index-store.js';

const ESCAPE = 0x00;
const ESCAPED_ZERO = 0xff;
const TERMINATOR = 0x01;
const NUMBER_BYTES_MAX = 7;

const scratch = Buffer.alloc(INDEX_KEY_BYTES_MAX);

/** Builds one key at a time. Every method but `end` returns the builder. */
class KeyBuilder {
  #length = 0;

  /** Begins a new key with its table's tag, 0 … 254 (255 would leave no end for the table's range). */
  start(tag: number): this {
    assert(tag >= 0 && tag < 0xff && Number.isInteger(tag), () => `table tag out of range: ${tag}`);
    scratch[0] = tag;
    this.#length = 1;
    return this;
  }

  #room(bytes: number): number {
    const at = this.#length;
    assert(at + bytes <= INDEX_KEY_BYTES_MAX, () => `key too long: ${at + bytes} bytes`);
    this.#length = at + bytes;
    return at;
  }

  /** A whole number, 0 … 2^53 - 1: one byte that says how many bytes follow, then these, big endian. */
  number(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, () => `not a whole number: ${value}`);
    let bytes = 0;
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes++;
    let at = this.#room(1 + bytes) + bytes;
    scratch[at - bytes] = bytes;
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) scratch[at--] = rest % 256;
    return this;
  }

  /** A byte string that other elements may follow. */
  bytes(value: Uint8Array): this {
    for (let i = 0; i < value.length; i++) this.#escaped(value[i] ?? 0);
    const at = this.#room(2);
    scratch[at] = ESCAPE;
    scratch[at + 1] = TERMINATOR;
    return this;
  }

  /** The same for a string of one character a byte (latin1), as the namespace keeps names. */
  text(value: string): this {
    for (let i = 0; i < value.length; i++) {
      const byte = value.charCodeAt(i);
      assert(byte <= 0xff, 'not a string of bytes');
      this.#escaped(byte);
    }
    const at = this.#room(2);
    scratch[at] = ESCAPE;
    scratch[at + 1] = TERMINATOR;
    return this;
  }

  #escaped(byte: number): void {
    scratch[this.#room(1)] = byte;
    if (byte === ESCAPE) scratch[this.#room(1)] = ESCAPED_ZERO;
  }

  /** A byte string that is the last element: as it is. */
  rest(value: Uint8Array): this {
    scratch.set(value, this.#room(value.length));
    return this;
  }

  /** The same for a string of one character a byte (latin1). */
  restText(value: string): this {
    const at = this.#room(value.length);
    for (let i = 0; i < value.length; i++) {
      const byte = value.charCodeAt(i);
      assert(byte <= 0xff, 'not a string of bytes');
      scratch[at + i] = byte;
    }
    return this;
  }

  /** The key, in memory of its own. */
  end(): Buffer {
    return copyOf(scratch, this.#length);
  }

  /** The range of all keys that begin with what was built so far, at most `limit` rows. */
  range(limit: number, reverse = false): Range {
    const start = this.end();
    return { start, end: prefixEnd(start), limit, reverse };
  }
}

const builder = new KeyBuilder();

/** Begins a key of the table `tag`: `keyOf(TAG).number(ino).restText(name).end()`. One chain at a time. */
export function keyOf(tag: number): KeyBuilder {
  return builder.start(tag);
}

/** The smallest key that is greater than all keys that begin with `prefix`. */
export function prefixEnd(prefix: Uint8Array): Buffer {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  assert(length > 0, 'no key is behind this prefix');
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}

/** The smallest key that is greater than `key`: where a scan goes on behind a row. */
export function keyAfter(key: Uint8Array): Buffer {
  const after = Buffer.alloc(key.length + 1);
  after.set(key);
  return after;
}

/** Bytewise order of two keys: negative, 0 or positive. A loop beats the native call for keys of usual length. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Takes a key apart again, element by element in the order in which it was built. Throws `DecodeError` on what no builder makes. */
export class KeyReader {
  readonly #key: Uint8Array;
  #at = 1;

  constructor(key: Uint8Array) {
    if (key.length === 0) throw new DecodeError('empty key');
    this.#key = key;
  }

  get tag(): number {
    return this.#key[0] ?? 0;
  }

  #next(): number {
    const byte = this.#key[this.#at++];
    if (byte === undefined) throw new DecodeError('key ends early');
    return byte;
  }

  number(): number {
    const bytes = this.#next();
    if (bytes > NUMBER_BYTES_MAX) throw new DecodeError(`number of ${bytes} bytes in a key`);
    let value = 0;
    for (let i = 0; i < bytes; i++) {
      const byte = this.#next();
      if (i === 0 && byte === 0) throw new DecodeError('number with leading zeros in a key');
      value = value * 256 + byte;
    }
    if (!Number.isSafeInteger(value)) throw new DecodeError('number too large in a key');
    return value;
  }

  bytes(): Buffer {
    const out = Buffer.allocUnsafe(this.#key.length - this.#at);
    let length = 0;
    for (;;) {
      const byte = this.#next();
      if (byte === ESCAPE) {
        const mark = this.#next();
        if (mark === TERMINATOR) return out.subarray(0, length);
        if (mark !== ESCAPED_ZERO) throw new DecodeError('bad escape in a key');
      }
      out[length++] = byte;
    }
  }

  /** `bytes` as a string of one character a byte. */
  text(): string {
    return this.bytes().toString('latin1');
  }

  /** All that is left. A view. */
  rest(): Buffer {
    const key = this.#key;
    const view = Buffer.from(key.buffer, key.byteOffset + this.#at, key.length - this.#at);
    this.#at = key.length;
    return view;
  }

  /** `rest` as a string of one character a byte. */
  restText(): string {
    return this.rest().toString('latin1');
  }

  /** Throws unless everything was read. */
  end(): void {
    if (this.#at !== this.#key.length) throw new DecodeError(`${this.#key.length - this.#at} bytes too many in a key`);
  }
}
