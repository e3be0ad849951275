/**
 * What a mount is, whatever carries the requests between it and the kernel: the one interface of both bindings. `bindings.ts` mounts.
 */
import type { Clock } from '../base/clock.js';
import type { Ino, Namespace } from '../namespace/namespace.js';
import type { Log } from './fuse/context.js';
import type { OperationStats } from './fuse/meters.js';
import type { Describe } from './fuse/virtual-attributes.js';

/** What carries requests: our own channel to /dev/fuse (`fuse/`), or the package fuse-native (`fuse-native/`). */
export const BINDINGS = ['channel', 'fuse-native'] as const;
export type Binding = (typeof BINDINGS)[number];

export interface MountRequest {
  readonly mountpoint: string;
  readonly namespace: Namespace;
  /** Shown as the source by mount(8) and df(1); no comma, no backslash. */
  readonly source?: string;
  readonly readOnly?: boolean;
  /** Other users may enter; permissions are checked by the kernel in any case. Each binding has a default of its own. */
  readonly allowOther?: boolean;
  readonly noExec?: boolean;
  readonly noAtime?: boolean;
  /** Mount and unmount through fusermount3. Default: unless root. */
  readonly byHelper?: boolean;
  /** Where files are, for attributes `user.ostraka.…`. */
  readonly describe?: Describe;
  readonly clock?: Clock;
  readonly log?: Log;
}

/** How both sides talk. */
export interface Connection {
  /** Version of FUSE's protocol that is spoken, and the newest that the kernel speaks; undefined: the binding does not tell. */
  readonly protocol: string | undefined;
  readonly kernelProtocol: string | undefined;
  /** What was agreed on, or asked for. */
  readonly flags: readonly string[];
  /** Offered by the kernel, and left alone. */
  readonly flagsLeft: readonly string[];
}

export interface MountStats {
  readonly requests: number;
  /** Answered EIO, or EINVAL because the request could not be read. */
  readonly failures: number;
  readonly underWay: number;
  readonly interrupts: number;
  readonly openFiles: number;
  /** Replies and notifications that the kernel refused, but for notifications about what it did not know. */
  readonly replyErrors: number;
  readonly notifyErrors: number;
}

/** A mounted namespace. */
export interface Mount {
  readonly binding: Binding;
  /** Absolute, symbolic links resolved. */
  readonly mountpoint: string;
  /** The connection ended, by unmounting or abort, all requests have been served and all handles released. */
  readonly closed: Promise<void>;
  /**
   * Unmounts and waits until the kernel has written back and let go. Plain: EBUSY while files are open there. `lazy`: the mount disappears at
   * once and is served on until its last user is gone. Doing it again, or after somebody else did, is no error.
   * @throws OperatingError EBUSY, EPERM
   */
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
  /** True while this very mount is the one to be seen at its mount point. */
  isMounted(): Promise<boolean>;
  /** Serves nothing more: programs there get errors, what the kernel holds back is lost. The mount point stays, dead, until it is unmounted. */
  abort(): void;
  /** Makes the kernel forget what it has cached of an inode soon, where the binding can; what is not written back, it writes back first. */
  forget(ino: Ino): void;
  /** Resolves when the kernel has forgotten all that it was told to forget. */
  forgotten(): Promise<void>;
  connection(): Connection;
  /** Requests by operation, the most frequent first. */
  operations(): OperationStats[];
  stats(): MountStats;
}
