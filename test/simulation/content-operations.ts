/** A client's operations on contents of files. */
import type { Awaitable } from '../../src/base/awaitable.js';
import { must } from '../../src/base/assert.js';
import type { Random } from '../../src/base/clock.js';
import type { Handle } from '../../src/namespace/namespace.js';
import type { ModelFile } from './model.js';
import { firstDifference } from './model.js';
import { expect } from './violation.js';
import { NameOperations } from './name-operations.js';
import { caller } from './session.js';

const O_RDWR = 2;
const O_TRUNC = 0o1000;
const HANDLES_MAX = 3;
const FILE_BYTES_MAX = 300_000;
const SCATTERED_BYTES = 60_000;
const SCATTERED_PIECES = 30;

export class ContentOperations extends NameOperations {
  protected async write(random: Random, bytes: number, place: (file: ModelFile, bytes: number) => number): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    const offset = place(file, bytes);
    if (offset + bytes > FILE_BYTES_MAX) return;
    const { error } = await this.call(() => this.put(file, random, offset, bytes));
    if (error === undefined) return;
    this.excuse(error, 'write');
    await this.fallBack(file);
  }

  protected put(file: ModelFile, random: Random, offset: number, bytes: number): Awaitable<number> {
    const data = pattern(bytes, random.below(2 ** 31));
    const handle = must(this.pick(random, file.handles), 'it is open');
    file.change({ kind: 'write', offset, data }, this.head);
    return this.namespace.write(file.ino, handle, offset, data, caller);
  }

  protected async truncate(random: Random): Promise<void> {
    const file = this.pick(random, [...this.files.values()]);
    if (file === undefined) return;
    const size = random.below(3) === 0 ? 0 : random.below(file.content.length + 10_000);
    const writers = file.handles.length > 0;
    file.change({ kind: 'size', size }, this.head);
    const { error } = await this.call(() => this.namespace.setattr(file.ino, { size }, caller));
    if (error === undefined) {
      if (!writers && this.names.tree.links(file.ino) > 0) file.committed(file.version, this.head);
      return;
    }
    this.excuse(error, 'truncate');
    await this.fallBack(file);
  }

  protected async read(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    const handle = must(this.pick(random, file.handles), 'it is open');
    const offset = random.below(file.content.length + 1000);
    const bytes = 1 + random.below(random.below(2) === 0 ? 5000 : FILE_BYTES_MAX);
    const found = await this.range(file.ino, handle, offset, bytes);
    const expected = file.content.subarray(offset, offset + bytes);
    if (found.equals(expected)) return;
    // What was written may have been lost meanwhile, which a handle is told when it is flushed.
    const differs = offset + firstDifference(found, expected);
    expect(
      this.troubled,
      'bytes',
      () => `${this.name}: inode ${file.ino}, ${bytes} bytes at ${offset}: ${found.length} bytes, differs at ${differs}`,
    );
    await this.fallBack(file);
    file.owesError = file.handles.length > 0;
  }

  /** Flushes by way of the handle that was opened first: whatever was lost since is told to it. */
  protected async flush(random: Random, durable: boolean): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    await this.flushed(file, durable, (handle) =>
      durable ? this.namespace.fsync(file.ino, handle) : this.namespace.flush(file.ino, handle),
    );
  }

  protected async flushed(file: ModelFile, durable: boolean, make: (handle: Handle) => Awaitable<void>): Promise<void> {
    const { version } = file;
    const handle = must(file.handles[0], 'it is open');
    const { error } = await this.call(() => make(handle));
    if (error !== undefined) {
      this.excuse(error, durable ? 'fsync' : 'flush');
      file.owesError = false;
      await this.fallBack(file);
      return;
    }
    expect(!file.owesError, 'I8 loud', () => `${this.name}: what was written to inode ${file.ino} was lost, and a flush did not tell`);
    if (this.names.tree.links(file.ino) === 0) return;
    file.committed(version, this.head);
    if (durable || this.world.shape.durability === 'close') file.durable(version);
  }

  /** A whole content at once, committed. */
  protected async save(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    const { error } = await this.call(() => this.put(file, random, 0, 30_000 + random.below(150_000)));
    if (error !== undefined) {
      this.excuse(error, 'write');
      await this.fallBack(file);
    }
    await this.flushed(file, false, (handle) => this.namespace.flush(file.ino, handle));
  }

  /** Many small pieces near each other, committed: as a database writes its pages. */
  protected async scatter(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined || file.content.length < SCATTERED_BYTES) return;
    const from = random.below(file.content.length - SCATTERED_BYTES + 1);
    for (let piece = 0; piece < SCATTERED_PIECES; piece++) {
      const bytes = 1 + random.below(1500);
      const { error } = await this.call(() => this.put(file, random, from + random.below(SCATTERED_BYTES - bytes), bytes));
      if (error === undefined) continue;
      this.excuse(error, 'write');
      return this.fallBack(file);
    }
    await this.flushed(file, false, (handle) => this.namespace.flush(file.ino, handle));
  }

  protected async writeWhileSyncing(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined || file.content.length > FILE_BYTES_MAX / 2) return;
    const syncing = this.flushed(file, true, (handle) => this.namespace.fsync(file.ino, handle));
    const { error } = await this.call(() => this.put(file, random, random.below(file.content.length + 1), 1 + random.below(9000)));
    await syncing;
    if (error === undefined) return;
    this.excuse(error, 'write');
    await this.fallBack(file);
  }

  /** A slow read of the whole file, which has another content, durable, before the bytes are here. */
  protected async replaceWhileReading(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    const before = file.content;
    const reading = this.range(file.ino, must(file.handles[0], 'it is open'), 0, FILE_BYTES_MAX);
    // It knows by then where the bytes are.
    await must(this.world.process, 'the one that reads').clock.sleep(10);
    await this.must(() => this.namespace.setattr(file.ino, { size: 0 }, caller));
    file.change({ kind: 'size', size: 0 }, this.head);
    await this.flushed(file, true, (handle) => this.namespace.fsync(file.ino, handle));
    const found = await reading;
    expect(found.equals(before), 'bytes', () => `${this.name}: inode ${file.ino}: a read that began before it was cut differs`);
  }

  protected async release(random: Random): Promise<void> {
    const file = this.openFile(random);
    if (file === undefined) return;
    await this.flushed(file, false, (handle) => this.namespace.flush(file.ino, handle));
    const handle = must(file.handles.shift(), 'it was open');
    const { error } = await this.call(() => this.namespace.release(file.ino, handle));
    if (error !== undefined) {
      this.excuse(error, 'release');
      await this.fallBack(file);
    }
    if (file.handles.length === 0 && this.names.tree.links(file.ino) === 0) this.bury(file);
  }

  protected async open(random: Random, truncated: boolean): Promise<void> {
    const { ino } = this.place(random);
    const file = ino === undefined ? undefined : this.files.get(ino);
    if (file === undefined || file.handles.length >= HANDLES_MAX) return;
    const head = this.head;
    const { value, error } = await this.call(() => this.namespace.open(file.ino, truncated ? O_RDWR | O_TRUNC : O_RDWR, caller));
    if (error !== undefined) {
      this.excuse(error, 'open');
      return;
    }
    file.handles.push(value);
    if (truncated) file.change({ kind: 'size', size: 0 }, head);
  }
}

/** Bytes that differ at every offset and for every seed. */
function pattern(bytes: number, seed: number): Buffer {
  const out = Buffer.allocUnsafe(bytes);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}
