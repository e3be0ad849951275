/**
 * The front end: takes batches of requests from a channel, has each served by the namespace and answered exactly once. Pure with respect to
 * the kernel: mount.ts gives it a real channel, tests one of their own.
 *
 * It keeps: a request is answered whatever its handler does (an unexpected exception is EIO and a log line); a batch's memory is not used
 * after the batch; requests and write bytes under way are bounded (the channel is paused). I8: what fails is answered with its errno.
 *
 *   new --INIT agreed--> serving --gone()--> draining --nothing under way, handles released--> ended
 *   new --INIT refused--> refused
 */
import { AssertionError } from '../../base/assert.js';
import type { Awaitable } from '../../base/awaitable.js';
import { errnoNumber } from '../../base/errors.js';
import type { Clock } from '../../base/clock.js';
import { FUSE_REQUESTS_MAX, FUSE_WRITE_BYTES_MAX } from '../../base/limits.js';
import type { FuseChannel } from '../../base/native-fuse.js';
import type { Ino, Namespace } from '../../namespace/namespace.js';
import { attributeOperations, xattrOperations } from './attribute-operations.js';
import type { Context, Log, Operation } from './context.js';
import { decodeBatchForget, decodeForget, decodeInit, decodeInterrupt } from './decode.js';
import { directoryOperations } from './directory-operations.js';
import { encodeInit, type Validity } from './encode.js';
import { failureOf } from './errors.js';
import { fileOperations, openOperations } from './file-operations.js';
import { ioctlOperations } from './ioctl-operations.js';
import { Interrupts, isDying } from './interrupts.js';
import { nameOperations } from './name-operations.js';
import { RequestMeters, type OperationStats } from './meters.js';
import { negotiate, type Negotiated } from './negotiate.js';
import { Outbox, type ReplyChannel } from './outbox.js';
import { rangeOperations } from './range-operations.js';
import { FUSE_MAJOR, INIT_OUT_BYTES, Opcode, opcodeName } from './protocol.js';
import { Request } from './request.js';
import { Retries } from './retries.js';
import type { Describe } from './virtual-attributes.js';

/** What the front end needs of a channel. */
export type RequestChannel = ReplyChannel & Pick<FuseChannel, 'memory' | 'start' | 'length' | 'pause' | 'resume'>;

export interface FrontEndOptions {
  readonly namespace: Namespace;
  readonly channel: RequestChannel;
  readonly validity: Validity;
  readonly clock: Clock;
  readonly log: Log;
  /** Cached pages and attributes of this inode must go. */
  readonly invalidate: (ino: Ino) => void;
  /** Whether a thread is about to die; what the kernel says by default. */
  readonly isDying?: (thread: number) => Promise<boolean>;
  /** What the kernel has cached of this inode's content or listing is written back, and goes. Resolves when it has come; never rejects. Default: nothing is cached. */
  readonly dropPages?: (ino: Ino) => Promise<void>;
  /** Where files are, for attributes `user.ostraka.…`. */
  readonly describe?: Describe | undefined;
}

export interface FrontEndStats {
  readonly requests: number;
  /** Answered EIO, or EINVAL because the request could not be read. */
  readonly failures: number;
  readonly underWay: number;
  readonly interrupts: number;
  readonly openFiles: number;
}

/** They change nothing, so that one which waits may be answered EINTR when its caller dies. Changes under way must not be reported as not done. */
const ABANDONABLE: ReadonlySet<number> = new Set([
  Opcode.LOOKUP,
  Opcode.GETATTR,
  Opcode.READLINK,
  Opcode.READ,
  Opcode.STATFS,
  Opcode.GETXATTR,
  Opcode.LISTXATTR,
]);

const ENOSYS = errnoNumber('ENOSYS');
const EINTR = errnoNumber('EINTR');
const ESTALE = errnoNumber('ESTALE');
const EPROTO = errnoNumber('EPROTO');
/** Unexpected failures are logged so often at most; a disk that fails answers thousands of requests. */
const LOG_INTERVAL_MS = 1000;

function key(low: number, high: number): number {
  return high * 2 ** 32 + low;
}

export class FuseFrontEnd {
  /** Resolves once the kernel agreed; rejects when it is too old. */
  readonly ready: Promise<Negotiated>;
  readonly #options: FrontEndOptions;
  readonly #channel: RequestChannel;
  readonly #outbox: Outbox;
  readonly #operations: (Operation | undefined)[] = [];
  readonly #meters = new RequestMeters();
  readonly #waiting = new Map<number, Request>();
  readonly #interrupted: Interrupts;
  readonly #retries: Retries;
  readonly #files = new Map<number, Ino>();
  #negotiated: Negotiated | undefined;
  #agree: (negotiated: Negotiated) => void = () => undefined;
  #refuse: (error: Error) => void = () => undefined;
  #drained: (() => void) | undefined;
  #underWay = 0;
  #writeBytes = 0;
  #paused = false;
  #requests = 0;
  #failures = 0;
  #interrupts = 0;
  #loggedMs = -LOG_INTERVAL_MS;
  #unlogged = 0;

  constructor(options: FrontEndOptions) {
    this.#options = options;
    this.#channel = options.channel;
    this.#outbox = new Outbox(options.channel);
    this.#interrupted = new Interrupts(options.clock, options.isDying ?? isDying, (request) => {
      request.abandoned = true;
      this.#outbox.error(request, EINTR);
    });
    this.#retries = new Retries(options.namespace, options.clock, options.log);
    this.ready = new Promise((agree, refuse) => {
      this.#agree = agree;
      this.#refuse = refuse;
    });
    const context: Context = {
      namespace: options.namespace,
      outbox: this.#outbox,
      validity: options.validity,
      files: this.#files,
      retries: this.#retries,
      describe: options.describe,
      setxattrExtended: () => this.#negotiated?.setxattrExtended ?? false,
      writing: (bytes) => {
        this.#writeBytes += bytes;
      },
      writebackFailed: options.invalidate,
      dropPages: options.dropPages ?? (async () => undefined),
    };
    for (const group of [
      nameOperations,
      attributeOperations,
      xattrOperations,
      openOperations,
      fileOperations,
      rangeOperations,
      directoryOperations,
      ioctlOperations,
    ])
      for (const [opcode, operation] of group(context)) this.#operations[opcode] = operation;
  }

  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  get stats(): FrontEndStats {
    return {
      requests: this.#requests,
      failures: this.#failures,
      underWay: this.#underWay,
      interrupts: this.#interrupts,
      openFiles: this.#files.size,
    };
  }

  /** Requests by operation, the most frequent first. */
  operations(): OperationStats[] {
    return this.#meters.stats();
  }

  /** Serves a batch of `count` requests of the channel. */
  deliver(count: number): void {
    const { memory } = this.#channel;
    for (let i = 0; i < count; i++) this.#receive(memory, this.#channel.start(i), this.#channel.length(i));
    this.#balance();
  }

  #receive(memory: Buffer, start: number, length: number): void {
    let request: Request;
    try {
      request = new Request(memory, start, length);
    } catch (thrown) {
      // Without a header that can be trusted there is nobody to answer.
      this.#options.log('error', 'not a request', { reason: String(thrown) });
      return;
    }
    this.#requests++;
    const operation = this.#operations[request.opcode];
    if (operation !== undefined) {
      this.#serve(operation, request);
      return;
    }
    const startMs = this.#options.clock.monotonicMs();
    try {
      this.#control(request);
    } catch (thrown) {
      // FORGET and INTERRUPT have no answer, INIT must have one.
      this.#options.log('error', `malformed ${opcodeName(request.opcode)}`, { reason: String(thrown) });
      if (request.opcode === Opcode.INIT) this.#outbox.error(request, EPROTO);
    }
    this.#meters.done(request.opcode, this.#options.clock.monotonicMs() - startMs, false);
  }

  /** Requests of the protocol itself; none waits. */
  #control(request: Request): void {
    const { namespace } = this.#options;
    switch (request.opcode) {
      case Opcode.FORGET:
        namespace.forget(request.ino, decodeForget(request));
        break;
      case Opcode.BATCH_FORGET:
        decodeBatchForget(request, (ino, count) => {
          namespace.forget(ino, count);
        });
        break;
      case Opcode.INTERRUPT:
        this.#interrupt(request);
        break;
      case Opcode.INIT:
        this.#init(request);
        break;
      case Opcode.DESTROY:
        this.#outbox.done(request);
        break;
      case Opcode.NOTIFY_REPLY:
        break;
      default:
        // The kernel then does it by other means, or tells its caller, and mostly does not ask again.
        this.#outbox.error(request, ENOSYS);
    }
  }

  #init(request: Request): void {
    const outcome = negotiate(decodeInit(request));
    if (outcome.kind === 'agreed') {
      encodeInit(this.#outbox.memory, this.#outbox.reserve(request, INIT_OUT_BYTES), outcome.reply);
      this.#negotiated = outcome.negotiated;
      this.#agree(outcome.negotiated);
    } else if (outcome.kind === 'again') {
      const at = this.#outbox.reserve(request, INIT_OUT_BYTES);
      this.#outbox.memory.fill(0, at, at + INIT_OUT_BYTES).writeUInt32LE(FUSE_MAJOR, at);
    } else {
      this.#outbox.error(request, EPROTO);
      this.#refuse(new Error('the FUSE protocol of this kernel is too old (before Linux 5.4)'));
    }
  }

  #interrupt(request: Request): void {
    const { uniqueLow, uniqueHigh } = decodeInterrupt(request);
    this.#interrupts++;
    const waiting = this.#waiting.get(key(uniqueLow, uniqueHigh));
    if (waiting === undefined || waiting.abandoned) return;
    this.#interrupted.add(waiting);
  }

  #serve(operation: Operation, request: Request): void {
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    let failed = false;
    try {
      const serving = operation(request);
      if (serving instanceof Promise) {
        void this.#serveOn(serving, request, startMs);
        return;
      }
    } catch (thrown) {
      failed = this.#fail(request, thrown);
    }
    this.#meters.done(request.opcode, clock.monotonicMs() - startMs, failed);
  }

  /** A request that has to wait for something. */
  async #serveOn(serving: Promise<void>, request: Request, startMs: number): Promise<void> {
    this.#underWay++;
    const abandonable = ABANDONABLE.has(request.opcode);
    const number = key(request.uniqueLow, request.uniqueHigh);
    if (abandonable) this.#waiting.set(number, request);
    let failed = false;
    try {
      await serving;
    } catch (thrown) {
      failed = this.#fail(request, thrown);
    } finally {
      this.#meters.done(request.opcode, this.#options.clock.monotonicMs() - startMs, failed);
      if (abandonable) {
        this.#waiting.delete(number);
        this.#interrupted.done(request);
      }
      this.#underWay--;
      if (this.#paused) this.#balance();
      if (this.#underWay === 0) this.#drained?.();
    }
  }

  /** True when it should not have failed. */
  #fail(request: Request, thrown: unknown): boolean {
    const failure = failureOf(thrown);
    if (!failure.expected) this.#failures++;
    if (failure.errno === ESTALE) this.#retries.expect(request.pid);
    if (!request.abandoned) this.#outbox.error(request, failure.errno);
    if (!failure.expected) this.#report(request, thrown);
    // A bug of ours is not handled: the process ends, and the one who asked has an answer.
    if (failure.fatal) {
      this.#channel.flush(); // nothing is written any more once the exception is out
      process.nextTick(() => {
        throw thrown;
      });
    }
    return !failure.expected;
  }

  #report(request: Request, thrown: unknown): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#loggedMs < LOG_INTERVAL_MS && !(thrown instanceof AssertionError)) {
      this.#unlogged++;
      return;
    }
    this.#options.log('error', `${opcodeName(request.opcode)} failed`, {
      ino: request.ino,
      errno: failureOf(thrown).errno,
      reason: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
      notLogged: this.#unlogged,
    });
    this.#loggedMs = nowMs;
    this.#unlogged = 0;
  }

  /** Takes no more requests while too much is under way. */
  #balance(): void {
    const full = this.#underWay >= FUSE_REQUESTS_MAX || this.#writeBytes >= FUSE_WRITE_BYTES_MAX;
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) this.#channel.pause();
    else this.#channel.resume();
  }

  /**
   * The connection ended. Waits for what is under way (its replies go nowhere) and releases what the kernel left open; after that the
   * namespace hears nothing more from here.
   */
  async drain(): Promise<void> {
    this.#refuse(new Error('the connection to the kernel ended'));
    if (this.#underWay > 0)
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    await this.#retries.end();
    const { namespace, log } = this.#options;
    const release = async (action: () => Awaitable<void>): Promise<void> => {
      try {
        await action();
      } catch (thrown) {
        log('warn', 'release after the end of the mount failed', { reason: String(thrown) });
      }
    };
    for (const [handle, ino] of this.#files) await release(() => namespace.release(ino, handle));
    this.#files.clear();
  }
}
