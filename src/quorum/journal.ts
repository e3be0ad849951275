/**
 * The journal: a bounded ring in shared memory (tmpfs) that outlives the daemon, not the boot. An entry is copied in and then published by one
 * atomic store, so the next process finds it whole or not at all. Only the pool's owner uses it (I9). The layout is in README.md.
 *
 * `openSharedJournal` is the real one; `memoryJournal` is over plain memory, which a test keeps across a simulated death of the daemon.
 */
import { join } from 'node:path';
import { assert, must } from '../base/assert.js';
import { checksum, sameBytes } from '../base/checksums.js';
import { errnoName, OperatingError } from '../base/errors.js';
import { isUuid, uuidBytes } from '../base/ids.js';
import { KiB } from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';
import type { Journal } from './quorum-log.js';
import { decodeRecord, followsPoint, RECORD_BYTES_MAX, type LogRecord } from './record.js';

/** Before the ring: identity, and the two counters. */
const HEADER_BYTES = 4 * KiB;
const MAGIC = Buffer.from('OSTRAJNL', 'latin1');
const VERSION = 1;
/** The counters count units of this, modulo 2^32; each record starts at one. */
const UNIT_BYTES = 8;
/** Where the counters are, as indices of 32-bit words; each on a cache line of its own. */
const TAIL_WORD = 256;
const HEAD_WORD = 272;
/** Identity: magic 8, version 4, zero 4, ring bytes 8, pool 16, boot 16, checksum 16. */
const IDENTITY_BYTES = 56;

export interface JournalIdentity {
  readonly poolId: string;
  /** Of this boot; the kernel's random boot_id. */
  readonly bootId: string;
}

/** A record's bytes in the ring: its length (u32), itself, padding to a unit. */
function ringUnits(recordBytes: number): number {
  return Math.ceil((4 + recordBytes) / UNIT_BYTES);
}

class RingJournal implements Journal {
  readonly #memory: Buffer;
  readonly #words: Uint32Array;
  readonly #ring: Buffer;
  readonly #units: number;
  readonly #identity: Buffer;
  readonly #release: () => void;
  /** Entries in the ring that this process appended: position and counter behind each. */
  #entries: { readonly position: number; readonly end: number }[] = [];
  #trimmed = 0;
  #closed = false;

  constructor(memory: ArrayBuffer, identity: JournalIdentity, release: () => void) {
    const bytes = memory.byteLength - HEADER_BYTES;
    assert(bytes >= UNIT_BYTES * 2 && bytes % UNIT_BYTES === 0, `a journal of ${memory.byteLength} bytes`);
    const units = bytes / UNIT_BYTES;
    assert(2 ** 32 % units === 0, 'the ring is a power of two, so that counters may wrap');
    this.#memory = Buffer.from(memory);
    this.#words = new Uint32Array(memory, 0, HEADER_BYTES / 4);
    this.#ring = this.#memory.subarray(HEADER_BYTES);
    this.#units = units;
    this.#identity = encodeIdentity(identity, bytes);
    this.#release = release;
  }

  get capacityBytes(): number {
    return this.#ring.length;
  }

  get #tail(): number {
    return Atomics.load(this.#words, TAIL_WORD);
  }

  get #head(): number {
    return Atomics.load(this.#words, HEAD_WORD);
  }

  freeBytes(): number {
    const used = (this.#head - this.#tail) >>> 0;
    // The length's four bytes and the padding of one record are taken off, so that the figure is what one append may take.
    return Math.max(0, (this.#units - used) * UNIT_BYTES - 4);
  }

  append(record: Uint8Array): void {
    assert(!this.#closed, 'the journal is closed');
    const units = ringUnits(record.length);
    const head = this.#head;
    assert(units <= this.#units - ((head - this.#tail) >>> 0), 'the journal has no room: reserve first');
    const position = must(decodeHeaderPosition(record), 'a record');
    const at = (head % this.#units) * UNIT_BYTES;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(record.length, 0);
    this.#copyIn(at, length);
    this.#copyIn(at + 4, record);
    const end = (head + units) >>> 0;
    // The one store that publishes the entry.
    Atomics.store(this.#words, HEAD_WORD, end);
    this.#entries.push({ position, end });
  }

  trim(position: number): void {
    let end: number | undefined;
    for (
      let entry = this.#entries[this.#trimmed];
      entry !== undefined && entry.position <= position;
      entry = this.#entries[this.#trimmed]
    ) {
      end = entry.end;
      this.#trimmed++;
    }
    if (end === undefined) return;
    Atomics.store(this.#words, TAIL_WORD, end);
    if (this.#trimmed === this.#entries.length || this.#trimmed > 4096) {
      this.#entries = this.#entries.slice(this.#trimmed);
      this.#trimmed = 0;
    }
  }

  recover(): Uint8Array[] {
    if (!sameBytes(this.#memory.subarray(0, this.#identity.length), this.#identity)) return [];
    const found: Uint8Array[] = [];
    let before: LogRecord | undefined;
    const head = this.#head;
    for (let at = this.#tail; at !== head;) {
      const left = ((head - at) >>> 0) * UNIT_BYTES;
      if (left > this.#ring.length) break;
      const ringAt = (at % this.#units) * UNIT_BYTES;
      const length = this.#copyOut(ringAt, 4).readUInt32LE(0);
      if (length > RECORD_BYTES_MAX || 4 + length > left) break;
      const record = decodeRecord(this.#copyOut(ringAt + 4, length));
      if (record?.bytes.length !== length || (before !== undefined && !followsPoint(record, before.entry.point))) break;
      found.push(record.bytes);
      before = record;
      at = (at + ringUnits(length)) >>> 0;
    }
    return found;
  }

  reset(): void {
    assert(!this.#closed, 'the journal is closed');
    // A crash in between leaves no identity, or an empty ring.
    this.#memory.fill(0, 0, this.#identity.length);
    Atomics.store(this.#words, TAIL_WORD, 0);
    Atomics.store(this.#words, HEAD_WORD, 0);
    this.#memory.set(this.#identity, 0);
    this.#entries = [];
    this.#trimmed = 0;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#release();
  }

  #copyIn(at: number, bytes: Uint8Array): void {
    const from = at % this.#ring.length;
    const fits = Math.min(bytes.length, this.#ring.length - from);
    this.#ring.set(bytes.subarray(0, fits), from);
    if (fits < bytes.length) this.#ring.set(bytes.subarray(fits), 0);
  }

  #copyOut(at: number, bytes: number): Buffer {
    const out = Buffer.alloc(bytes);
    const from = at % this.#ring.length;
    const fits = Math.min(bytes, this.#ring.length - from);
    this.#ring.copy(out, 0, from, from + fits);
    if (fits < bytes) this.#ring.copy(out, fits, 0, bytes - fits);
    return out;
  }
}

function decodeHeaderPosition(record: Uint8Array): number | undefined {
  if (record.length < 24) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return view.getUint32(16, true) + view.getUint32(20, true) * 2 ** 32;
}

function encodeIdentity(identity: JournalIdentity, ringBytes: number): Buffer {
  assert(isUuid(identity.poolId), `not a pool id: ${identity.poolId}`);
  const out = Buffer.alloc(IDENTITY_BYTES + 16);
  out.set(MAGIC, 0);
  out.writeUInt32LE(VERSION, 8);
  out.writeBigUInt64LE(BigInt(ringBytes), 16);
  out.set(uuidBytes(identity.poolId), 24);
  out.set(checksum(Buffer.from(identity.bootId, 'utf8')), 40);
  out.set(checksum(out.subarray(0, IDENTITY_BYTES)), IDENTITY_BYTES);
  return out;
}

export interface SharedJournalOptions extends JournalIdentity {
  /** A directory on tmpfs that is ours. */
  readonly directory: string;
  /** Of the ring; a power of two. */
  readonly bytes: number;
}

/**
 * The journal of a pool in shared memory, as `DIRECTORY/journal-POOL`.
 * @throws OperatingError when it cannot be mapped (EPERM: it belongs to another user).
 */
export function openSharedJournal(options: SharedJournalOptions): Journal {
  const path = join(options.directory, `journal-${options.poolId}`);
  const native = nativeIo();
  const memory = native.mapShared(path, HEADER_BYTES + options.bytes);
  if (typeof memory === 'number')
    throw new OperatingError(errnoName(-memory), `the journal cannot be mapped into memory: ${errnoName(-memory)}`, {
      path,
      hint: 'Check that the directory is on tmpfs, has room, and belongs to the user that mounts the pool.',
    });
  return new RingJournal(memory, options, () => {
    native.unmapShared(memory);
  });
}

/** A journal over `memory`, which a simulated death of the daemon leaves and a power cut does not. Its size: 4 KiB and a power of two. */
export function memoryJournal(memory: ArrayBuffer, identity: JournalIdentity): Journal {
  return new RingJournal(memory, identity, () => undefined);
}

/** Memory for `memoryJournal` with a ring of `bytes`, a power of two. */
export function journalMemory(bytes: number): ArrayBuffer {
  return new ArrayBuffer(HEADER_BYTES + bytes);
}
