/**
 * Answers libfuse's calls: each exactly once, whatever its operation does (an unexpected exception is EIO and a log line). How many may be under way is the kernel's bound:
 * one for each thread that waits, and a dozen in the background; libfuse has a thread for each.
 *
 *   serving --stop()--> refusing --nothing under way, handles released--> drained
 */
import { AssertionError } from '../../base/assert.js';
import type { Clock } from '../../base/clock.js';
import { errnoNumber } from '../../base/errors.js';
import type { Log } from '../fuse/context.js';
import { failureOf } from '../fuse/errors.js';
import { RequestMeters, type OperationStats } from '../fuse/meters.js';
import { Opcode } from '../fuse/protocol.js';
import { FileOperations, XattrOperations } from './file-operations.js';
import { OPERATION_NUMBERS, OPERATIONS, type Handler, type Library, type Operation } from './library.js';
import { AttributeOperations, NameOperations, type Context } from './operations.js';
import { modifiedMs } from './record.js';
import { lengthOf, statfsNumbers, statNumbers, wide } from './values.js';

/** The kernel's request behind each operation. */
const OPCODES: Readonly<Record<Operation, number>> = {
  init: Opcode.INIT,
  statfs: Opcode.STATFS,
  fgetattr: Opcode.GETATTR,
  getattr: Opcode.GETATTR,
  flush: Opcode.FLUSH,
  fsync: Opcode.FSYNC,
  fsyncdir: Opcode.FSYNCDIR,
  readdir: Opcode.READDIR,
  truncate: Opcode.SETATTR,
  ftruncate: Opcode.SETATTR,
  utimens: Opcode.SETATTR,
  readlink: Opcode.READLINK,
  chown: Opcode.SETATTR,
  chmod: Opcode.SETATTR,
  mknod: Opcode.MKNOD,
  setxattr: Opcode.SETXATTR,
  getxattr: Opcode.GETXATTR,
  listxattr: Opcode.LISTXATTR,
  removexattr: Opcode.REMOVEXATTR,
  open: Opcode.OPEN,
  read: Opcode.READ,
  write: Opcode.WRITE,
  release: Opcode.RELEASE,
  create: Opcode.CREATE,
  unlink: Opcode.UNLINK,
  rename: Opcode.RENAME,
  link: Opcode.LINK,
  symlink: Opcode.SYMLINK,
  mkdir: Opcode.MKDIR,
  rmdir: Opcode.RMDIR,
};

const ENOTCONN = errnoNumber('ENOTCONN');
/** Unexpected failures are logged so often at most. */
const LOG_INTERVAL_MS = 1000;

/** What a signal gets behind the record: the result, then values. */
type Values = readonly [result: number, ...values: unknown[]];

/** An operation under way: what it does, its answer, and the values that go with an errno. */
interface Call<T> {
  readonly work: () => Promise<T>;
  readonly answer: (value: T) => Values;
  readonly failure?: readonly unknown[];
}

const done = (): Values => [0];

export class Server {
  /** Resolves once the kernel has connected. */
  readonly connected: Promise<void>;
  readonly #library: Library;
  readonly #context: Context;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #meters = new RequestMeters();
  #connect: () => void = () => undefined;
  #drained: (() => void) | undefined;
  #stopped = false;
  #requests = 0;
  #underWay = 0;
  #failures = 0;
  #loggedMs = -LOG_INTERVAL_MS;
  #unlogged = 0;

  constructor(library: Library, context: Context, clock: Clock, log: Log) {
    this.#library = library;
    this.#context = context;
    this.#clock = clock;
    this.#log = log;
    this.connected = new Promise((resolve) => {
      this.#connect = resolve;
    });
  }

  /** For `fuse_native_mount`: handlers at their operations' numbers, and which there are. */
  get handlers(): { handlers: readonly Handler[]; implemented: Uint32Array } {
    const table = this.#table();
    const handlers = new Array<Handler>(OPERATION_NUMBERS).fill(() => undefined);
    const implemented = new Uint32Array(OPERATION_NUMBERS);
    for (const operation of OPERATIONS) {
      const number = this.#library[`op_${operation}`];
      handlers[number] = table[operation];
      implemented[number] = 1;
    }
    return { handlers, implemented };
  }

  get counts(): { requests: number; underWay: number; failures: number } {
    return { requests: this.#requests, underWay: this.#underWay, failures: this.#failures };
  }

  operations(): OperationStats[] {
    return this.#meters.stats();
  }

  /** Arguments are as fuse-native.c passes them, answers as its signals take them. */
  #table(): Record<Operation, Handler> {
    const files = new FileOperations(this.#context);
    const xattrs = new XattrOperations(this.#context);
    return {
      ...this.#attributeTable(),
      ...this.#nameTable(),
      init: (record) => {
        this.#connect();
        this.#signal('init', record, [0]);
      },
      fgetattr: (record, _, _path: string, file: number) =>
        this.#serve('fgetattr', record, { work: () => files.fgetattr(file), answer: (stat) => [0, stat], failure: [statNumbers()] }),
      ftruncate: (record, _, _path: string, file: number, low: number, high: number) =>
        this.#serve('ftruncate', record, { work: async () => files.ftruncate(file, lengthOf(low, high)), answer: done }),
      open: (record, _, path: string, flags: number) =>
        this.#serve('open', record, { work: () => files.open(path, flags), answer: (file) => [0, file], failure: [0] }),
      create: (record, _, path: string, mode: number) =>
        this.#serve('create', record, { work: () => files.create(path, mode), answer: (file) => [0, file], failure: [0] }),
      read: (record, _, _path: string, file: number, room: Buffer, _bytes: number, low: number, high: number) => {
        const { buffer } = room;
        const work = (): Promise<number> => files.read(file, room, wide(low, high));
        this.#serve('read', record, { work, answer: (bytes) => [bytes, bytes, buffer], failure: [0, buffer] });
      },
      write: (record, _, _path: string, file: number, data: Buffer, _bytes: number, low: number, high: number) => {
        const { buffer } = data;
        const work = (): Promise<number> => files.write(file, data, wide(low, high));
        this.#serve('write', record, { work, answer: (bytes) => [bytes, bytes, buffer], failure: [0, buffer] });
      },
      flush: (record, _, _path: string, file: number) => this.#serve('flush', record, { work: () => files.flush(file), answer: done }),
      fsync: (record, _, _path: string, dataOnly: number, file: number) =>
        this.#serve('fsync', record, { work: () => files.fsync(file, dataOnly !== 0), answer: done }),
      release: (record, _, _path: string, file: number) =>
        this.#serve('release', record, { work: () => files.release(file), answer: done }),
      setxattr: (record, _, path: string, name: string, value: Buffer, _position: number, flags: number) => {
        const { buffer } = value;
        const work = (): Promise<void> => xattrs.setxattr(path, name, value, flags);
        this.#serve('setxattr', record, { work, answer: () => [0, buffer], failure: [buffer] });
      },
      getxattr: (record, _, path: string, name: string, room: Buffer) => {
        const { buffer } = room;
        const work = (): Promise<number> => xattrs.getxattr(path, name, room);
        this.#serve('getxattr', record, { work, answer: (bytes) => [bytes, buffer], failure: [buffer] });
      },
      listxattr: (record, _, path: string, room: Buffer) => {
        const { buffer } = room;
        this.#serve('listxattr', record, {
          work: () => xattrs.listxattr(path, room),
          answer: (bytes) => [bytes, buffer],
          failure: [buffer],
        });
      },
      removexattr: (record, _, path: string, name: string) =>
        this.#serve('removexattr', record, { work: () => xattrs.removexattr(path, name), answer: done }),
    };
  }

  #attributeTable(): Pick<Record<Operation, Handler>, 'statfs' | 'getattr' | 'truncate' | 'utimens' | 'readlink' | 'chown' | 'chmod'> {
    const attributes = new AttributeOperations(this.#context);
    return {
      statfs: (record, _, path: string) =>
        this.#serve('statfs', record, {
          work: () => attributes.statfs(path),
          answer: (numbers) => [0, numbers],
          failure: [statfsNumbers()],
        }),
      getattr: (record, _, path: string) =>
        this.#serve('getattr', record, { work: () => attributes.getattr(path), answer: (stat) => [0, stat], failure: [statNumbers()] }),
      truncate: (record, _, path: string, low: number, high: number) =>
        this.#serve('truncate', record, { work: async () => attributes.truncate(path, lengthOf(low, high)), answer: done }),
      utimens: (record, _, path: string, low: number, high: number) => {
        const atimeMs = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
        const work = async (): Promise<void> => attributes.utimens(path, atimeMs, modifiedMs(record, atimeMs));
        this.#serve('utimens', record, { work, answer: done });
      },
      readlink: (record, _, path: string) =>
        this.#serve('readlink', record, { work: () => attributes.readlink(path), answer: (target) => [0, target], failure: [''] }),
      chown: (record, _, path: string, uid: number, gid: number) =>
        this.#serve('chown', record, { work: () => attributes.chown(path, uid, gid), answer: done }),
      chmod: (record, _, path: string, mode: number) =>
        this.#serve('chmod', record, { work: () => attributes.chmod(path, mode), answer: done }),
    };
  }

  #nameTable(): Pick<
    Record<Operation, Handler>,
    'readdir' | 'fsyncdir' | 'mknod' | 'unlink' | 'rename' | 'link' | 'symlink' | 'mkdir' | 'rmdir'
  > {
    const names = new NameOperations(this.#context);
    const serve = (operation: Operation, record: Buffer, work: () => Promise<void>): void => {
      this.#serve(operation, record, { work, answer: done });
    };
    return {
      readdir: (record, _, path: string) =>
        this.#serve('readdir', record, {
          work: () => names.readdir(path),
          answer: ([list, numbers]) => [0, list, numbers],
          failure: [[], []],
        }),
      fsyncdir: (record, _, path: string) => serve('fsyncdir', record, () => names.fsyncdir(path)),
      mknod: (record, _, path: string, mode: number, rdev: number) => serve('mknod', record, () => names.mknod(path, mode, rdev)),
      unlink: (record, _, path: string) => serve('unlink', record, () => names.unlink(path)),
      rename: (record, _, from: string, to: string) => serve('rename', record, () => names.rename(from, to)),
      link: (record, _, from: string, to: string) => serve('link', record, () => names.link(from, to)),
      symlink: (record, _, target: string, path: string) => serve('symlink', record, () => names.symlink(target, path)),
      mkdir: (record, _, path: string, mode: number) => serve('mkdir', record, () => names.mkdir(path, mode)),
      rmdir: (record, _, path: string) => serve('rmdir', record, () => names.rmdir(path)),
    };
  }

  #signal(operation: Operation, record: Buffer, values: Values): void {
    this.#library[`fuse_native_signal_${operation}`](record, ...values);
  }

  #serve<T>(operation: Operation, record: Buffer, call: Call<T>): void {
    this.#requests++;
    if (this.#stopped) {
      // Once this call has come back to native code, as answers that took time.
      process.nextTick(() => {
        this.#signal(operation, record, [-ENOTCONN, ...(call.failure ?? [])]);
      });
      return;
    }
    void this.#run(operation, record, call);
  }

  async #run<T>(operation: Operation, record: Buffer, { work, answer, failure: rest = [] }: Call<T>): Promise<void> {
    this.#underWay++;
    const startMs = this.#clock.monotonicMs();
    let failed = false;
    try {
      const values = answer(await work());
      this.#signal(operation, record, values);
    } catch (thrown) {
      const failure = failureOf(thrown);
      failed = !failure.expected;
      this.#signal(operation, record, [-failure.errno, ...rest]);
      if (failed) this.#report(operation, failure.errno, thrown);
      // A bug of ours is not handled: the process ends, and the one who asked has an answer.
      if (failure.fatal)
        process.nextTick(() => {
          throw thrown;
        });
    } finally {
      if (failed) this.#failures++;
      this.#meters.done(OPCODES[operation], this.#clock.monotonicMs() - startMs, failed);
      this.#underWay--;
      if (this.#underWay === 0) this.#drained?.();
    }
  }

  #report(operation: Operation, errno: number, thrown: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#loggedMs < LOG_INTERVAL_MS && !(thrown instanceof AssertionError)) {
      this.#unlogged++;
      return;
    }
    const reason = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    this.#log('error', `${operation} failed`, { errno, reason, notLogged: this.#unlogged });
    this.#loggedMs = nowMs;
    this.#unlogged = 0;
  }

  /** From now on every call is answered ENOTCONN. */
  stop(): void {
    this.#stopped = true;
  }

  /** The connection ended. Waits for what is under way and releases what the kernel left open; after that the namespace hears nothing more from here. */
  async drain(): Promise<void> {
    this.stop();
    if (this.#underWay > 0)
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    const { namespace, files } = this.#context;
    for (const { ino, handle } of files.takeAll())
      try {
        await namespace.release(ino, handle);
      } catch (thrown) {
        this.#log('warn', 'release after the end of the mount failed', { reason: String(thrown) });
      }
  }
}
