/** A namespace in memory that costs next to nothing: what the FUSE channel alone can do. Files keep their content up to a limit; beyond it, it is zeros. */
import { MiB } from '../../src/base/limits.js';
import { MemoryNamespace } from '../frontend/memory-namespace.js';
import type { AttributeChange, Attributes, OpenPlace } from '../../src/namespace/namespace.js';

/** Content that programs depend on (git's, say) is smaller. */
const KEPT_BYTES_MAX = 16 * MiB;
const O_TRUNC = 0o1000;

export class NullNamespace extends MemoryNamespace {
  readonly #zeros = Buffer.alloc(MiB);
  /** Sizes of files that became too large. */
  readonly #large = new Map<number, number>();

  override async write(ino: number, handle: number, offset: number, data: Uint8Array): Promise<number> {
    const end = offset + data.length;
    if (!this.#large.has(ino) && end <= KEPT_BYTES_MAX) return super.write(ino, handle, offset, data);
    await this.#grow(ino, end);
    return data.length;
  }

  async #grow(ino: number, end: number): Promise<void> {
    if (end > (this.#large.get(ino) ?? 0)) await this.setattr(ino, { size: Math.max(end, (await this.getattr(ino)).size) });
  }

  override async setattr(ino: number, change: AttributeChange): Promise<Attributes> {
    const { size } = change;
    if (size !== undefined && size > KEPT_BYTES_MAX) this.#large.set(ino, size);
    else if (size !== undefined) this.#large.delete(ino);
    return super.setattr(ino, change);
  }

  override async open(ino: number, flags: number): Promise<number> {
    if ((flags & O_TRUNC) !== 0) this.#large.delete(ino);
    return super.open(ino, flags);
  }

  override async read(
    ino: number,
    handle: number,
    offset: number,
    bytes: number,
  ): Promise<{ pieces: readonly Uint8Array[]; release(): void }> {
    const large = this.#large.get(ino);
    if (large === undefined) return super.read(ino, handle, offset, bytes);
    const length = Math.max(0, Math.min(bytes, large - offset));
    return { pieces: [this.#zeros.subarray(0, length)], release: () => undefined };
  }

  /** Of large files in one go, as there is nothing to copy. */
  override async copyRange(source: OpenPlace, target: OpenPlace, bytes: number): Promise<number> {
    const large = this.#large.get(source.ino);
    if (large === undefined) return super.copyRange(source, target, bytes);
    const length = Math.max(0, Math.min(bytes, large - source.offset));
    if (length > 0) await this.#grow(target.ino, target.offset + length);
    return length;
  }
}
