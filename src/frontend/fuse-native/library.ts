/**
 * The typed door to the package fuse-native, which is optional and has no types: its native module alone, version 2.2.6. Its JavaScript is passed by: that
 * gives extended attributes no length to keep to, files no handle, and every call a time limit after which memory is written to that was given back.
 *
 * libfuse's threads hand each call over to the event loop and wait. A call comes as (record, number of the operation, arguments…); it is answered, once, by the operation's
 * signal with the same record, after which the memory of its buffers is libfuse's again.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { OperatingError } from '../../base/errors.js';

/** Operations of libfuse 2 that the package passes on, and that we serve. */
export const OPERATIONS = [
  'init',
  'statfs',
  'fgetattr',
  'getattr',
  'flush',
  'fsync',
  'fsyncdir',
  'readdir',
  'truncate',
  'ftruncate',
  'utimens',
  'readlink',
  'chown',
  'chmod',
  'mknod',
  'setxattr',
  'getxattr',
  'listxattr',
  'removexattr',
  'open',
  'read',
  'write',
  'release',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const;
export type Operation = (typeof OPERATIONS)[number];

/** `record` is libfuse's note of the call; arguments depend on the operation. */
export type Handler = (record: Buffer, operation: number, ...args: never[]) => void;

/** What the native module exports, as its source (fuse-native.c) has it. */
export type Library = {
  /** Bytes that it keeps of one mount. */
  readonly sizeof_fuse_thread_t: number;
  /**
   * Mounts, starts libfuse's threads and returns. Handlers stand at their operations' numbers; `implemented` has a 1 there; `context` becomes their `this`;
   * `allocate` is asked for memory for records.
   */
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    context: object,
    allocate: (bytes: number) => Buffer,
    handlers: readonly Handler[],
    implemented: Uint32Array,
  ): void;
  /** After the end of a mount: it no longer keeps the process alive. Does not unmount. */
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
} & Readonly<Record<`op_${Operation}`, number>> &
  Readonly<Record<`fuse_native_signal_${Operation}`, (record: Buffer, result: number, ...values: unknown[]) => void>>;

/** Room for operations in the native module. */
export const OPERATION_NUMBERS = 35;

const HINT =
  'Install it with "npm install fuse-native@2.2.6" and, on Debian, "apt-get install libfuse2"; or mount without --binding, which needs neither.';

/** @throws OperatingError ENOSYS: it, or libfuse 2, is not installed. */
export function loadLibrary(): Library {
  const require = createRequire(import.meta.url);
  try {
    const package_ = require.resolve('fuse-native/package.json');
    const load = createRequire(package_)('node-gyp-build') as (folder: string) => Library;
    return load(dirname(package_));
  } catch (thrown) {
    const reason = thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown);
    throw new OperatingError('ENOSYS', `the binding fuse-native cannot be loaded: ${reason}`, { hint: HINT, cause: thrown });
  }
}
