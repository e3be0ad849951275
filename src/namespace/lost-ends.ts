/**
 * Files whose length the kernel has wrong. It owns the length of an inode that it caches, and no answer corrects it: after an upload that changed a length is lost,
 * the kernel goes on with the length that the upload would have made. What is written then, by programs that append or by pages that were on their way, lies where it
 * would lie in the file that is lost; on top of the committed version it would make a file that nobody wrote, with zeros, or an older version's bytes, in
 * the place of what is lost.
 *
 *   upload lost that grew the file ───▶ a commit past the stored end must bring along all that is missing in between
 *   upload lost that cut the file  ───▶ a commit must cut at least as far
 *   brought along, cut, or the kernel forgot the inode ───▶ nothing is wrong any more
 *
 * What does not is refused, as a whole, by poisoning it. Kept in memory: another mount is another kernel's cache.
 */
import { OperatingError } from '../base/errors.js';
import type { Ino } from './namespace.js';
import type { Layer } from './layer.js';
import type { Node } from './node.js';

interface LostEnd {
  /** The lost upload cut the file here; Infinity: nowhere. */
  readonly cutOffset: number;
  /** How long the kernel believes the file to be. */
  readonly end: number;
}

export class LostEnds {
  readonly #lost = new Map<Ino, LostEnd>();

  /** Changes of `node` are lost: these layers, the newest last, or a write that none took, up to `end`. */
  add({ ino, row }: Node, layers: readonly Layer[], end = layers.at(-1)?.size ?? 0): void {
    const before = this.#lost.get(ino);
    const cutOffset = Math.min(before?.cutOffset ?? Infinity, ...layers.map((layer) => layer.cutOffset));
    const lost = { cutOffset, end: Math.max(end, before?.end ?? 0) };
    if (cutOffset < row.size || lost.end > row.size) this.#lost.set(ino, lost);
  }

  /** A program sets the length, and the kernel with it: what is cut off is no more missed. */
  truncated({ ino, row }: Node, size: number): void {
    const lost = this.#lost.get(ino);
    if (lost !== undefined && size <= Math.min(row.size, lost.cutOffset)) this.#lost.delete(ino);
  }

  /** Is the kernel wrong about this file's length? */
  has(ino: Ino): boolean {
    return this.#lost.has(ino);
  }

  /** The kernel forgets the inode, and its length. */
  forget(ino: Ino): void {
    this.#lost.delete(ino);
  }

  /** A layer is about to be committed. @throws OperatingError EIO: the file would have something in it that nobody wrote */
  check({ ino, row }: Node, layer: Layer): void {
    const lost = this.#lost.get(ino);
    if (lost === undefined) return;
    const kept = Math.min(row.size, layer.cutOffset);
    if (lost.cutOffset < kept) refuse(`it was to be cut at ${lost.cutOffset}, and that is lost`);
    const needed = Math.min(lost.end, layer.size);
    if (kept < needed && !isCovered(layer, kept, needed)) refuse(`what was written from ${kept} to ${needed} is lost`);
  }

  /** Bytes are about to be put at `offset` without a layer. @throws OperatingError EIO as `check` */
  checkPut({ ino, row }: Node, offset: number): void {
    const lost = this.#lost.get(ino);
    if (lost === undefined) return;
    if (lost.cutOffset < row.size) refuse(`it was to be cut at ${lost.cutOffset}, and that is lost`);
    if (row.size < Math.min(lost.end, offset)) refuse(`what was written from ${row.size} to ${Math.min(lost.end, offset)} is lost`);
  }

  /** A layer was committed, and brought along what was missing so far. */
  committed(ino: Ino, layer: Layer): void {
    const lost = this.#lost.get(ino);
    if (lost === undefined) return;
    // The kernel truncated too, so its length is the layer's.
    const end = layer.cutOffset < lost.end ? layer.size : lost.end;
    if (end <= layer.size) this.#lost.delete(ino);
    else this.#lost.set(ino, { cutOffset: Infinity, end });
  }
}

function refuse(reason: string): never {
  throw new OperatingError('EIO', `the file is not as long as it seems: ${reason}`, {
    hint: 'write it anew: open it with O_TRUNC, or put a new file in its place',
  });
}

function isCovered(layer: Layer, start: number, end: number): boolean {
  let at = start;
  for (const range of layer.ranges.within(start, end)) {
    if (range.start > at) return false;
    at = range.end;
  }
  return at >= end;
}
