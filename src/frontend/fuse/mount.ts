/**
 * Mounting a namespace: the only way in from above. One call mounts and waits until the kernel has agreed on the protocol; the object it
 * returns unmounts. The calling process serves the mount on its event loop, so it must never do blocking I/O below the mount point.
 */
import { realpath, stat, writeFile } from 'node:fs/promises';
import { systemClock, type Clock } from '../../base/clock.js';
import { asOperatingError, errnoNumber, OperatingError } from '../../base/errors.js';
import {
  FUSE_BATCH_BYTES,
  FUSE_IO_BYTES_MAX,
  FUSE_OUTBOX_BYTES,
  FUSE_READAHEAD_BYTES,
  FUSE_SLOTS,
  FUSE_SPIN_MICROSECONDS,
  FUSE_TURN_MICROSECONDS,
  FUSE_VALIDITY_SECONDS,
  KiB,
} from '../../base/limits.js';
import { FuseChannel, fuseMount, fuseUnmount, type FuseChannelCounters } from '../../base/native-fuse.js';
import type { Ino, Namespace } from '../../namespace/namespace.js';
import type { Log } from './context.js';
import { ControlDirectory, isControlInode, type ControlFile } from './control-directory.js';
import { ControlNamespace } from './control-namespace.js';
import { encodeInvalidateEntry, encodeInvalidateInode, encodePrune } from './encode.js';
import { FuseFrontEnd, type FrontEndStats } from './front-end.js';
import { Invalidations } from './invalidations.js';
import type { OperationStats } from './meters.js';
import { mountsAt } from './mount-table.js';
import type { Negotiated } from './negotiate.js';
import { FUSE_MINOR_PRUNE, IN_HEADER_BYTES, WRITE_IN_BYTES } from './protocol.js';
import { MOUNT_SUBTYPE, MOUNT_TYPE, mayMount } from './stale-mount.js';
import type { Describe } from './virtual-attributes.js';

export interface MountOptions {
  readonly mountpoint: string;
  readonly namespace: Namespace;
  /** Shown as the source by mount(8) and df(1); no comma, no backslash. */
  readonly source?: string;
  readonly readOnly?: boolean;
  /** Other users may enter; permissions are checked by the kernel in any case. Default: as root yes, otherwise no (fuse.conf must allow it). */
  readonly allowOther?: boolean;
  readonly noExec?: boolean;
  readonly noAtime?: boolean;
  /** Mount and unmount through fusermount3. Default: unless root. */
  readonly byHelper?: boolean;
  /** Word 0 is not 0 while native I/O is under way: the channel then does not spin. */
  readonly busyWord?: Int32Array;
  /** Where files are, for attributes `user.ostraka.…`. */
  readonly describe?: Describe;
  /** What `/.ostraka` shows; without it, there is no such directory. */
  readonly controlFiles?: readonly ControlFile[];
  readonly clock?: Clock;
  readonly log?: Log;
  /** How long to look for the next request before sleeping; for measurements. */
  readonly spinMicroseconds?: number;
  /** How far the kernel reads ahead, root's mounts only; 0: as the kernel has it. */
  readonly readAheadBytes?: number;
}

export interface MountStats extends FrontEndStats, Omit<FuseChannelCounters, 'requests'> {
  /** Notifications that the kernel refused, but for those about what it did not know. */
  readonly notifyErrors: number;
}

const WITHOUT_ROOT_HINT = 'Mounting without root needs the package fuse3 and access to /dev/fuse.';
const AS_ROOT_HINT = 'Is the fuse module loaded (modprobe fuse), and may this container mount?';

/** errnos of notifications about what the kernel had forgotten already, or after the mount ended. */
const HARMLESS = new Set([0, errnoNumber('ENOENT'), errnoNumber('ENODEV'), errnoNumber('ENOTCONN'), errnoNumber('ENOTDIR')]);

/** A mounted namespace. */
export class FuseMount {
  /** Absolute, symbolic links resolved. */
  readonly mountpoint: string;
  /** The connection ended, by unmounting or abort, all requests have been served and all handles released. */
  readonly closed: Promise<void>;
  readonly #channel: FuseChannel;
  readonly #frontEnd: FuseFrontEnd;
  /** major:minor of this mount; undefined where the table did not show it. */
  readonly #device: string | undefined;
  readonly #byHelper: boolean;
  readonly #invalidations = new Invalidations(async (ino) => {
    // A mount that has ended has nothing cached.
    await this.invalidateInode(ino, true).catch(() => undefined);
    if ((this.negotiated?.minor ?? 0) >= FUSE_MINOR_PRUNE) await this.#notify(encodePrune(ino)).catch(() => undefined);
  });
  readonly #gone: () => void;
  #isClosed = false;
  #counters: FuseChannelCounters | undefined;
  #notifyErrors = 0;

  /** @internal `mountFuse` is the way to one. */
  constructor(mountpoint: string, device: string | undefined, fd: number, options: MountOptions) {
    this.mountpoint = mountpoint;
    this.#device = device;
    this.#byHelper = options.byHelper ?? !mayMount();
    let gone: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      gone = resolve;
    });
    this.#gone = gone;
    this.#channel = new FuseChannel({
      fd,
      requestBytesMax: IN_HEADER_BYTES + WRITE_IN_BYTES + FUSE_IO_BYTES_MAX,
      batchRequests: FUSE_SLOTS,
      batchBytes: FUSE_BATCH_BYTES,
      outboxBytes: FUSE_OUTBOX_BYTES,
      spinMicroseconds: options.spinMicroseconds ?? FUSE_SPIN_MICROSECONDS,
      turnMicroseconds: FUSE_TURN_MICROSECONDS,
      busyWord: options.busyWord,
      onBatch: (count) => {
        this.#frontEnd.deliver(count);
      },
      onGone: gone,
    });
    const clock = options.clock ?? systemClock;
    const { namespace, controlFiles } = options;
    this.#frontEnd = new FuseFrontEnd({
      namespace: controlFiles === undefined ? namespace : new ControlNamespace(namespace, new ControlDirectory(controlFiles, clock.now())),
      channel: this.#channel,
      validity: { entrySeconds: FUSE_VALIDITY_SECONDS, attributeSeconds: FUSE_VALIDITY_SECONDS },
      clock,
      log: options.log ?? (() => undefined),
      describe: async (ino, name) => (isControlInode(ino) ? undefined : options.describe?.(ino, name)),
      invalidate: (ino) => {
        this.forget(ino);
      },
      // The kernel writes back before it forgets; there is no other way to ask for it.
      writeBack: (ino) => this.invalidateInode(ino, true).catch(() => undefined),
    });
    this.closed = ended.then(() => this.#end());
  }

  async #end(): Promise<void> {
    await this.#frontEnd.drain();
    this.#counters ??= this.#channel.counters;
    this.#isClosed = true;
    this.#channel.close();
  }

  /** Resolves once the kernel has agreed on the protocol. */
  get ready(): Promise<Negotiated> {
    return this.#frontEnd.ready;
  }

  /** What both sides agreed on; undefined before `ready`. */
  get negotiated(): Negotiated | undefined {
    return this.#frontEnd.negotiated;
  }

  /**
   * Unmounts and waits until the kernel has written back and let go. Plain: EBUSY while files are open there. `lazy`: the mount disappears at
   * once and is served on until its last user is gone. Doing it again, or after somebody else did, is no error.
   * @throws OperatingError EBUSY, EPERM
   */
  async unmount(options: { readonly lazy?: boolean } = {}): Promise<void> {
    if (!this.#isClosed && (await this.isMounted())) {
      try {
        await fuseUnmount(this.mountpoint, options.lazy ?? false, this.#byHelper);
      } catch (thrown) {
        const error = asOperatingError(thrown, { path: this.mountpoint });
        // EINVAL: somebody else was quicker.
        if (error.code === 'EINVAL' && !(await this.isMounted())) return await this.closed;
        if (error.code !== 'EBUSY') throw error;
        const hint = `Programs use it (fuser -vm ${this.mountpoint} lists them); a lazy unmount lets them finish.`;
        throw new OperatingError('EBUSY', `${this.mountpoint} is in use`, { path: this.mountpoint, hint, cause: thrown });
      }
    }
    await this.closed;
  }

  /** True while this very mount is the one to be seen at its mount point. */
  async isMounted(): Promise<boolean> {
    const top = (await mountsAt(this.mountpoint)).at(-1);
    return top?.type === MOUNT_TYPE && (this.#device === undefined || top.device === this.#device);
  }

  /**
   * Ends the connection at once: programs there get ENOTCONN, pages not written back are lost. The mount point stays, dead, until it is
   * unmounted. `closed` follows when what is under way has ended.
   */
  abort(): void {
    this.#counters ??= this.#channel.counters;
    this.#channel.close();
    this.#gone();
  }

  /** Makes the kernel forget the attributes and, with `data`, the cached pages of an inode. Resolves when it has. */
  async invalidateInode(ino: Ino, data: boolean): Promise<void> {
    await this.#notify(encodeInvalidateInode(ino, data ? 0 : -1, 0));
  }

  /** Makes the kernel forget a name. Resolves when it has. */
  async invalidateEntry(parent: Ino, name: string): Promise<void> {
    await this.#notify(encodeInvalidateEntry(parent, name));
  }

  async #notify(message: Buffer): Promise<void> {
    if (!HARMLESS.has(await this.#channel.notify(message))) this.#notifyErrors++;
  }

  /**
   * Makes the kernel forget an inode's attributes and cached pages soon; what of them is not written back, it writes back first. An inode that nobody uses it
   * forgets as a whole, with the length that it kept, where it can be told to (from Linux 6.18 on).
   */
  forget(ino: Ino): void {
    this.#invalidations.add(ino);
  }

  /** Resolves when the kernel has forgotten all that it was told to forget. */
  forgotten(): Promise<void> {
    return this.#invalidations.idle();
  }

  /** Lets the kernel read ahead further than it does by itself. Root's mounts only; elsewhere it stays as it is. */
  async readAhead(bytes: number): Promise<void> {
    if (bytes === 0 || this.#device === undefined || !mayMount()) return;
    await writeFile(`/sys/class/bdi/${this.#device}/read_ahead_kb`, String(bytes / KiB)).catch(() => undefined);
  }

  /** Requests by operation, the most frequent first. */
  operations(): OperationStats[] {
    return this.#frontEnd.operations();
  }

  stats(): MountStats {
    const { replies, batches, interrupted, replyErrors } = this.#counters ?? this.#channel.counters;
    return { ...this.#frontEnd.stats, replies, batches, interrupted, replyErrors, notifyErrors: this.#notifyErrors };
  }
}

/** The directory to mount on, resolved. @throws OperatingError ENOENT, ENOTDIR, EBUSY */
async function usableMountpoint(path: string): Promise<string> {
  const there = (await mountsAt(path)).at(-1);
  if (there !== undefined)
    throw new OperatingError('EBUSY', `${path}: something is mounted here already (${there.type})`, {
      path,
      hint: 'Choose another mount point, or unmount that first.',
    });
  try {
    const resolved = await realpath(path);
    if ((await stat(resolved)).isDirectory()) return resolved;
  } catch (thrown) {
    throw asOperatingError(thrown, { path, hint: `Make the mount point first: mkdir -p ${path}` });
  }
  throw new OperatingError('ENOTDIR', `${path} is not a directory`, { path, hint: 'A mount point is a directory.' });
}

/**
 * Mounts `options.namespace` and resolves when the mount is usable.
 * @throws OperatingError: ENOENT, ENOTDIR, EBUSY about the mount point; EINVAL; ENODEV, EPERM, EACCES about mounting itself; EPROTO about the kernel.
 */
export async function mountFuse(options: MountOptions): Promise<FuseMount> {
  const source = options.source ?? MOUNT_SUBTYPE;
  if (!/^[^,\\\0]+$/.test(source))
    throw new OperatingError('EINVAL', `"${source}" cannot be a mount's source`, { path: options.mountpoint });
  const byHelper = options.byHelper ?? !mayMount();
  const mountpoint = await usableMountpoint(options.mountpoint);
  const fd = await fuseMount(
    {
      mountpoint,
      source,
      subtype: MOUNT_SUBTYPE,
      maxReadBytes: FUSE_IO_BYTES_MAX,
      allowOther: options.allowOther ?? mayMount(),
      readOnly: options.readOnly ?? false,
      noExec: options.noExec ?? false,
      noAtime: options.noAtime ?? false,
      byHelper,
    },
    mayMount() ? AS_ROOT_HINT : WITHOUT_ROOT_HINT,
  );
  const device = (await mountsAt(mountpoint)).at(-1)?.device;
  const mount = new FuseMount(mountpoint, device, fd, options);
  try {
    await mount.ready;
  } catch (thrown) {
    await fuseUnmount(mountpoint, true, byHelper).catch(() => undefined);
    mount.abort();
    throw new OperatingError('EPROTO', `${mountpoint}: ${String(thrown)}`, { path: mountpoint, cause: thrown });
  }
  await mount.readAhead(options.readAheadBytes ?? FUSE_READAHEAD_BYTES);
  return mount;
}
