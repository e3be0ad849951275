/**
 * One request of the kernel: its header, decoded, and checked access to its body. The input is not trusted: nothing is read outside the message, and
 * what is not as it says throws DecodeError.
 */
import { DecodeError } from '../../base/bytes.js';
import { nativeIo } from '../../base/native-io.js';
import type { Caller, Ino, SecurityContext } from '../../namespace/namespace.js';
import { IN_HEADER_BYTES } from './protocol.js';

const TWO_32 = 2 ** 32;
const NONE: readonly SecurityContext[] = [];

/** One message: its header, decoded, and where its body lies. The body's accessors are valid until the batch ends. */
export class Request implements Caller {
  readonly opcode: number;
  /** The request's number in two halves: it may use all 64 bits. */
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly ino: Ino;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Bytes of the body, extensions taken off. */
  readonly bodyBytes: number;
  /** Interrupted and answered EINTR; whatever still comes of it is dropped. */
  abandoned = false;
  /** Of the process, where the operation makes something. */
  umask = 0;
  /** With the write-back cache the kernel does, direct writes included. */
  readonly datesContent = true;
  /** What a security module wants on the thing made. */
  contexts: readonly SecurityContext[] = NONE;
  /** Bytes of extensions behind the body. */
  readonly extensionBytes: number;
  readonly #memory: Buffer;
  readonly #body: number;

  /** @throws DecodeError when the header is not one, or says another length than was read. */
  constructor(memory: Buffer, start: number, length: number) {
    if (length < IN_HEADER_BYTES || start < 0 || start + length > memory.length) throw new DecodeError(`request of ${length} bytes`);
    const stated = memory.readUInt32LE(start);
    if (stated !== length) throw new DecodeError(`request of ${length} bytes says ${stated}`);
    this.opcode = memory.readUInt32LE(start + 4);
    this.uniqueLow = memory.readUInt32LE(start + 8);
    this.uniqueHigh = memory.readUInt32LE(start + 12);
    this.ino = whole(memory, start + 16);
    this.uid = memory.readUInt32LE(start + 24);
    this.gid = memory.readUInt32LE(start + 28);
    this.pid = memory.readUInt32LE(start + 32);
    const extensionBytes = (this.extensionBytes = memory.readUInt16LE(start + 36) * 8);
    this.bodyBytes = length - IN_HEADER_BYTES - extensionBytes;
    if (this.bodyBytes < 0) throw new DecodeError(`request of ${length} bytes with ${extensionBytes} of extensions`);
    this.#memory = memory;
    this.#body = start + IN_HEADER_BYTES;
  }

  /** The kernel tells one group of its caller; the others stand in /proc. */
  inGroup(gid: number): boolean {
    return nativeIo().inGroupOf(this.pid, gid);
  }

  #at(offset: number, bytes: number): number {
    if (offset + bytes > this.bodyBytes) throw new DecodeError(`body of ${this.bodyBytes} bytes ends before ${offset + bytes}`);
    return this.#body + offset;
  }

  u32(offset: number): number {
    return this.#memory.readUInt32LE(this.#at(offset, 4));
  }

  /** Whole number up to 2^53. */
  u64(offset: number): number {
    return whole(this.#memory, this.#at(offset, 8));
  }

  /**
   * A place in a file or a length of one, which callers may put as high as they like (a negative one arrives as a very high one): what no number here can say becomes
   * a number that lies beyond every file, so that the namespace answers as for any other.
   */
  place(offset: number): number {
    const at = this.#at(offset, 8);
    return Math.min(this.#memory.readUInt32LE(at) + this.#memory.readUInt32LE(at + 4) * TWO_32, Number.MAX_SAFE_INTEGER);
  }

  /** Signed 64-bit seconds, as times before 1970 have. */
  i64(offset: number): number {
    const at = this.#at(offset, 8);
    const value = this.#memory.readUInt32LE(at) + this.#memory.readInt32LE(at + 4) * TWO_32;
    if (!Number.isSafeInteger(value)) throw new DecodeError(`number too large at ${offset}`);
    return value;
  }

  /** View of `bytes` bytes. */
  view(offset: number, bytes: number): Buffer {
    const at = this.#at(offset, bytes);
    return this.#memory.subarray(at, at + bytes);
  }

  /** View of the extensions. */
  extensions(): Buffer {
    const at = this.#body + this.bodyBytes;
    return this.#memory.subarray(at, at + this.extensionBytes);
  }

  /** A NUL-terminated string that starts here; it ends at `end(offset)`. */
  text(offset: number): string {
    return this.#memory.toString('latin1', this.#body + offset, this.#body + this.end(offset) - 1);
  }

  /** Offset behind the NUL of the string that starts at `offset`. */
  end(offset: number): number {
    let found = offset;
    while (found < this.bodyBytes && this.#memory[this.#body + found] !== 0) found++;
    if (found >= this.bodyBytes) throw new DecodeError(`string without an end at ${offset}`);
    return found + 1;
  }

  /** Asserts that the body has exactly these bytes. */
  exactly(bytes: number): void {
    if (this.bodyBytes !== bytes) throw new DecodeError(`body of ${this.bodyBytes} bytes where ${bytes} belong`);
  }
}

function whole(memory: Buffer, at: number): number {
  const value = memory.readUInt32LE(at) + memory.readUInt32LE(at + 4) * TWO_32;
  if (!Number.isSafeInteger(value)) throw new DecodeError('number beyond 2^53');
  return value;
}
