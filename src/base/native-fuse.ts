/**
 * The typed door to `native/fuse`: the channel to the kernel's FUSE device, and mounting. Only `frontend/fuse` calls it. What may
 * wait runs on native threads and comes back as a promise; nothing here blocks.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { assert } from './assert.js';
import { errnoName, OperatingError } from './errors.js';
import { packageRoot } from './package-root.js';

interface NativeOutcome {
  readonly error: number;
  readonly fd: number;
  readonly message: string;
}

interface NativeChannel {
  readonly handle: object;
  readonly memory: ArrayBuffer;
  readonly outboxStart: number;
}

interface NativeModule {
  open(
    fd: number,
    requestBytesMax: number,
    batchRequests: number,
    batchBytes: number,
    outboxBytes: number,
    spinMicroseconds: number,
    turnMicroseconds: number,
    busyWord: Int32Array | null,
    onBatch: (count: number) => void,
    onGone: (errno: number) => void,
  ): NativeChannel;
  flush(handle: object): void;
  reply(handle: object, uniqueLow: number, uniqueHigh: number, pieces: readonly Uint8Array[]): void;
  pause(handle: object): void;
  resume(handle: object): void;
  close(handle: object): void;
  counters(handle: object): number[];
  notify(handle: object, message: Uint8Array): Promise<NativeOutcome>;
  mount(
    mountpoint: string,
    source: string,
    subtype: string,
    maxReadBytes: number,
    allowOther: boolean,
    readOnly: boolean,
    noExec: boolean,
    noAtime: boolean,
    byHelper: boolean,
  ): Promise<NativeOutcome>;
  unmount(mountpoint: string, lazy: boolean, byHelper: boolean): Promise<NativeOutcome>;
  probe(path: string): Promise<NativeOutcome>;
}

let loaded: NativeModule | undefined;

/** Loaded at the first use, so that programs that never mount do not need the module. */
function native(): NativeModule {
  loaded ??= createRequire(import.meta.url)(join(packageRoot, 'native/fuse/build/Release/ostraka_fuse.node')) as NativeModule;
  return loaded;
}

/** Offsets of the control words in the channel's memory (native/fuse/device.h). */
const OUTBOX_WORD = 0;
const DELIVERING_WORD = 1;
const BATCH_WORD = 16;

export interface FuseChannelOptions {
  /** Connection to the kernel, or anything else that keeps message boundaries. The channel owns it from here on. */
  readonly fd: number;
  /** Bytes of the longest request, headers included. */
  readonly requestBytesMax: number;
  /** Requests in one batch at most, 1 … 64. */
  readonly batchRequests: number;
  /** A batch ends with the request that reaches this many bytes. */
  readonly batchBytes: number;
  /** Bytes of small replies that may wait to be written. */
  readonly outboxBytes: number;
  /** How long to look for the next request before sleeping; 0: not at all. */
  readonly spinMicroseconds: number;
  /** Bound of one turn of the event loop. */
  readonly turnMicroseconds: number;
  /** While word 0 is not 0, others want the core and the channel does not spin. */
  readonly busyWord: Int32Array | undefined;
  /**
   * A batch of requests; `start(i)` and `length(i)` for i < count say where they lie in `memory`, which they own until the callback returns.
   * Promise jobs and nextTicks that follow from it run before the batch's replies are written.
   */
  readonly onBatch: (count: number) => void;
  /** The connection ended (ENODEV: unmounted; ECONNABORTED: aborted). No batch follows. */
  readonly onGone: (errno: number) => void;
}

export interface FuseChannelCounters {
  readonly requests: number;
  readonly batches: number;
  readonly replies: number;
  /** Replies that came after the kernel had given the request up. */
  readonly interrupted: number;
  /** Replies that the kernel refused and that were answered EIO in their place. A bug of ours. */
  readonly replyErrors: number;
}

/** One connection to the kernel on this thread's event loop. */
export class FuseChannel {
  /** Control words, outbox and requests. */
  readonly memory: Buffer;
  /** Where small replies go: a part of `memory`. */
  readonly outbox: Buffer;
  readonly #handle: object;
  readonly #control: Uint32Array;

  constructor(options: FuseChannelOptions) {
    assert(options.batchRequests >= 1 && options.batchRequests <= 64, 'batchRequests out of range');
    assert(options.requestBytesMax >= 8192 && options.outboxBytes >= 4096, 'the channel needs larger buffers');
    const opened = native().open(
      options.fd,
      options.requestBytesMax,
      options.batchRequests,
      options.batchBytes,
      options.outboxBytes,
      options.spinMicroseconds,
      options.turnMicroseconds,
      options.busyWord ?? null,
      options.onBatch,
      options.onGone,
    );
    this.#handle = opened.handle;
    this.memory = Buffer.from(opened.memory);
    this.outbox = this.memory.subarray(opened.outboxStart, opened.outboxStart + options.outboxBytes);
    this.#control = new Uint32Array(opened.memory, 0, BATCH_WORD + 2 * options.batchRequests);
  }

  /** Offset in `memory` of request `i` of the batch. */
  start(i: number): number {
    return this.#control[BATCH_WORD + 2 * i] ?? 0;
  }

  /** Bytes of request `i` of the batch. */
  length(i: number): number {
    return this.#control[BATCH_WORD + 2 * i + 1] ?? 0;
  }

  /** True while a batch is delivered: the outbox is flushed behind it without being asked. */
  get delivering(): boolean {
    return this.#control[DELIVERING_WORD] === 1;
  }

  get outboxUsed(): number {
    return this.#control[OUTBOX_WORD] ?? 0;
  }

  set outboxUsed(bytes: number) {
    this.#control[OUTBOX_WORD] = bytes;
  }

  /** Writes the replies that wait in the outbox. */
  flush(): void {
    native().flush(this.#handle);
  }

  /** Writes one successful reply with these pieces as its body, without copying them. */
  reply(uniqueLow: number, uniqueHigh: number, pieces: readonly Uint8Array[]): void {
    native().reply(this.#handle, uniqueLow, uniqueHigh, pieces);
  }

  /** Takes no more requests until `resume`. */
  pause(): void {
    native().pause(this.#handle);
  }

  resume(): void {
    native().resume(this.#handle);
  }

  /** Ends the connection; what the kernel still waits for fails with ENOTCONN or ECONNABORTED there. */
  close(): void {
    native().close(this.#handle);
  }

  get counters(): FuseChannelCounters {
    const [requests = 0, batches = 0, replies = 0, interrupted = 0, replyErrors = 0] = native().counters(this.#handle);
    return { requests, batches, replies, interrupted, replyErrors };
  }

  /** Sends a notification from a thread of its own: the kernel may wait for other requests before it takes it. Resolves to an errno or 0. */
  async notify(message: Uint8Array): Promise<number> {
    return (await native().notify(this.#handle, message)).error;
  }
}

export interface FuseMountRequest {
  readonly mountpoint: string;
  readonly source: string;
  readonly subtype: string;
  readonly maxReadBytes: number;
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  readonly noExec: boolean;
  readonly noAtime: boolean;
  /** Through fusermount3 instead of mount(2). */
  readonly byHelper: boolean;
}

function check(outcome: NativeOutcome, path: string, hint?: string): NativeOutcome {
  if (outcome.error !== 0) throw new OperatingError(errnoName(outcome.error), `${path}: ${outcome.message}`, { path, hint });
  return outcome;
}

/** Mounts and returns the connection's descriptor. @throws OperatingError with the errno of mount(2). */
export async function fuseMount(request: FuseMountRequest, hint?: string): Promise<number> {
  const r = request;
  const outcome = await native().mount(
    r.mountpoint,
    r.source,
    r.subtype,
    r.maxReadBytes,
    r.allowOther,
    r.readOnly,
    r.noExec,
    r.noAtime,
    r.byHelper,
  );
  return check(outcome, r.mountpoint, hint).fd;
}

/** @throws OperatingError: EBUSY while the mount is in use and `lazy` is not asked for, EINVAL when nothing is mounted there. */
export async function fuseUnmount(mountpoint: string, lazy: boolean, byHelper: boolean): Promise<void> {
  check(await native().unmount(mountpoint, lazy, byHelper), mountpoint);
}

/** statfs(2), which no cache answers, from a thread of its own: 0 or an errno. A mount whose server hangs never answers. */
export async function probePath(path: string): Promise<number> {
  return (await native().probe(path)).error;
}
