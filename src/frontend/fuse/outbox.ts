/**
 * Small replies on their way out. During a batch they collect and are written behind it, after the promise jobs that it caused; those that
 * come later (a disk answered) are written together at the end of the tick. Large ones go at once, in pieces, without being copied.
 */
import { assert } from '../../base/assert.js';
import type { FuseChannel } from '../../base/native-fuse.js';
import { encodeHeader } from './encode.js';
import { OUT_HEADER_BYTES } from './protocol.js';
import type { Request } from './request.js';

/** What the outbox needs of the channel; tests put their own in its place. */
export type ReplyChannel = Pick<FuseChannel, 'outbox' | 'outboxUsed' | 'delivering' | 'flush' | 'reply'>;

export class Outbox {
  /** Where `reserve`'s offsets point. */
  readonly memory: Buffer;
  readonly #channel: ReplyChannel;
  #scheduled = false;

  constructor(channel: ReplyChannel) {
    this.#channel = channel;
    this.memory = channel.outbox;
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#channel.flush();
  };

  #header(request: Request, bodyBytes: number, errno: number): number {
    const channel = this.#channel;
    const bytes = OUT_HEADER_BYTES + bodyBytes;
    const padded = (bytes + 7) & ~7;
    assert(padded <= this.memory.length, 'reply larger than the outbox');
    if (channel.outboxUsed + padded > this.memory.length) channel.flush();
    const at = channel.outboxUsed;
    channel.outboxUsed = at + padded;
    if (!channel.delivering && !this.#scheduled) {
      this.#scheduled = true;
      process.nextTick(this.#flush);
    }
    return encodeHeader(this.memory, at, bytes, errno, request.uniqueLow, request.uniqueHigh);
  }

  /** Answers with a body of `bodyBytes` bytes, which the caller writes at the returned offset of `memory` before anything else happens. */
  reserve(request: Request, bodyBytes: number): number {
    return this.#header(request, bodyBytes, 0);
  }

  /** Answers: done. */
  done(request: Request): void {
    this.#header(request, 0, 0);
  }

  /** Answers with a positive errno. */
  error(request: Request, errno: number): void {
    this.#header(request, 0, errno);
  }

  /** Answers with these bytes; they are free again when this returns. */
  pieces(request: Request, pieces: readonly Uint8Array[]): void {
    this.#channel.reply(request.uniqueLow, request.uniqueHigh, pieces);
  }
}
