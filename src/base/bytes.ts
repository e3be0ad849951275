/**
 * Reading and writing binary records. Integers are little endian unless the name says otherwise; whole numbers go up to 2^53. The reader
 * never trusts its input: past the end, or on an impossible value, it throws `DecodeError`.
 */

/** The bytes are not what they should be. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

/** Up to so many bytes are copied quicker one by one than by a call. */
const SHORT_BYTES = 48;

/** Copies `bytes` to `target` from `at` on. */
export function put(bytes: Uint8Array, target: Uint8Array, at: number): void {
  if (bytes.length > SHORT_BYTES) target.set(bytes, at);
  else for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i] as number;
}

/** The first `length` bytes, in memory of their own. */
export function copyOf(bytes: Uint8Array, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  if (length > SHORT_BYTES) copy.set(bytes.subarray(0, length));
  else for (let i = 0; i < length; i++) copy[i] = bytes[i] as number;
  return copy;
}

/** Appends to a growing buffer. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  #room(bytes: number): number {
    const at = this.#length;
    const need = at + bytes;
    if (need > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = need;
    return at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    this.#buffer.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeUInt32LE(value, at);
    return this;
  }

  /** Whole number up to 2^53 in eight bytes. */
  u64(value: number): this {
    const at = this.#room(8);
    this.#buffer.writeUInt32LE(value >>> 0, at);
    this.#buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
    return this;
  }

  /** Whole number up to 2^53 as LEB128, 1 … 8 bytes. */
  varint(value: number): this {
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    return this.u8(rest);
  }

  bytes(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#buffer.set(value, at);
    return this;
  }

  /** Length as varint, then the bytes. */
  sized(value: Uint8Array): this {
    return this.varint(value.length).bytes(value);
  }

  /** Length as varint, then UTF-8. */
  text(value: string): this {
    return this.sized(Buffer.from(value, 'utf8'));
  }

  /** Zeros up to a multiple of `alignment`. */
  align(alignment: number): this {
    const pad = (alignment - (this.#length % alignment)) % alignment;
    const at = this.#room(pad);
    this.#buffer.fill(0, at, at + pad);
    return this;
  }

  /** What was written: a view, valid until the writer is used again. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** What was written, as a copy. */
  copy(): Buffer {
    return copyOf(this.#buffer, this.#length);
  }

  reset(): this {
    this.#length = 0;
    return this;
  }
}

/** Reads from the start of a buffer to its end. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get offset(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes < 0 || bytes > this.#buffer.length - at)
      throw new DecodeError(`record ends early: ${bytes} bytes wanted at ${at} of ${this.#buffer.length}`);
    this.#at = at + bytes;
    return at;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#buffer.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  u64(): number {
    const at = this.#take(8);
    const value = this.#buffer.readUInt32LE(at) + this.#buffer.readUInt32LE(at + 4) * 2 ** 32;
    if (!Number.isSafeInteger(value)) throw new DecodeError(`number too large at ${at}`);
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      if (scale > 2 ** 49) throw new DecodeError(`varint too long at ${this.#at}`);
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    if (!Number.isSafeInteger(value)) throw new DecodeError(`number too large at ${this.#at}`);
    return value;
  }

  /** A view into the source. */
  bytes(count: number): Buffer {
    const at = this.#take(count);
    return this.#buffer.subarray(at, at + count);
  }

  sized(): Buffer {
    return this.bytes(this.varint());
  }

  text(): string {
    return this.sized().toString('utf8');
  }

  /** Throws unless everything was read. */
  end(): void {
    if (this.remaining !== 0) throw new DecodeError(`${this.remaining} bytes too many`);
  }
}
