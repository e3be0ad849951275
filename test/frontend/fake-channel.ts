/** A channel without a kernel: requests are put in, replies come out as bytes. */
import type { RequestChannel } from '../../src/frontend/fuse/front-end.js';

export class FakeChannel implements RequestChannel {
  readonly memory = Buffer.alloc(2 * 1024 * 1024);
  readonly outbox = Buffer.alloc(64 * 1024);
  outboxUsed = 0;
  readonly delivering = false;
  paused = false;
  /** Every reply written, in order. */
  readonly replies: Buffer[] = [];
  #starts: number[] = [];
  #lengths: number[] = [];

  /** Lays out a batch; returns its count. What is around the requests is filled with `filler`. */
  put(requests: readonly Uint8Array[], filler = 0): number {
    this.memory.fill(filler);
    let at = 4016;
    this.#starts = [];
    this.#lengths = [];
    for (const request of requests) {
      this.memory.set(request, at);
      this.#starts.push(at);
      this.#lengths.push(request.length);
      at += (request.length + 4095) & ~4095;
    }
    return requests.length;
  }

  start(i: number): number {
    return this.#starts[i] ?? 0;
  }

  length(i: number): number {
    return this.#lengths[i] ?? 0;
  }

  flush(): void {
    for (let at = 0; at < this.outboxUsed;) {
      const length = this.outbox.readUInt32LE(at);
      if (length < 16) throw new Error(`reply of ${length} bytes`);
      this.replies.push(Buffer.from(this.outbox.subarray(at, at + length)));
      at += (length + 7) & ~7;
    }
    this.outboxUsed = 0;
  }

  reply(uniqueLow: number, uniqueHigh: number, pieces: readonly Uint8Array[]): void {
    const body = Buffer.concat(pieces);
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + body.length, 0);
    header.writeUInt32LE(uniqueLow, 8);
    header.writeUInt32LE(uniqueHigh, 12);
    this.replies.push(Buffer.concat([header, body]));
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

/** Lets promise jobs and nextTicks run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
