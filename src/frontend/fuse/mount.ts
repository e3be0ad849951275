/**
 * Mounting a namespace: the only way in from above. One call mounts and waits until the kernel has agreed on the protocol; the object it
 * returns unmounts. The calling process serves the mount on its event loop, so it must never do blocking I/O below the mount point.
 */
import { writeFile } from 'node:fs/promises';
import { systemClock } from '../../base/clock.js';
import { errnoNumber, OperatingError } from '../../base/errors.js';
import {
  FUSE_BATCH_BYTES,
  FUSE_IO_BYTES_MAX,
  FUSE_OUTBOX_BYTES,
  FUSE_DIRTY_BYTES_MAX,
  FUSE_READAHEAD_BYTES,
  FUSE_SLOTS,
  FUSE_SPIN_MICROSECONDS,
  FUSE_TURN_MICROSECONDS,
  FUSE_VALIDITY_SECONDS,
  KiB,
} from '../../base/limits.js';
import { FuseChannel, fuseMount, fuseUnmount, type FuseChannelCounters } from '../../base/native-fuse.js';
import type { Ino } from '../../namespace/namespace.js';
import type { Connection, Mount, MountRequest, MountStats } from '../mount.js';
import { ControlDirectory, isControlInode, type ControlFile } from './control-directory.js';
import { ControlNamespace } from './control-namespace.js';
import { encodeInvalidateEntry, encodeInvalidateInode, encodePrune } from './encode.js';
import { FuseFrontEnd } from './front-end.js';
import { Invalidations } from './invalidations.js';
import type { OperationStats } from './meters.js';
import { mountsAt } from './mount-table.js';
import { isVisibleMount, unmountFrom, usableMountpoint, usableSource } from './mountpoint.js';
import type { Negotiated } from './negotiate.js';
import { FUSE_MINOR_PRUNE, IN_HEADER_BYTES, WRITE_IN_BYTES } from './protocol.js';
import { MOUNT_SUBTYPE, mayMount } from './stale-mount.js';

export interface MountOptions extends MountRequest {
  /** Word 0 is not 0 while native I/O is under way: the channel then does not spin. */
  readonly busyWord?: Int32Array;
  /** What `/.ostraka` shows; without it, there is no such directory. */
  readonly controlFiles?: readonly ControlFile[];
  /** How long to look for the next request before sleeping; for measurements. */
  readonly spinMicroseconds?: number;
  /** How far the kernel reads ahead, root's mounts only; 0: as the kernel has it. */
  readonly readAheadBytes?: number;
  /** What programs may have written and the kernel not yet handed to us, root's mounts only; 0: as the kernel has it. */
  readonly dirtyBytesMax?: number;
}

/** As any mount's, and what the channel counts. */
export interface ChannelMountStats extends MountStats, Omit<FuseChannelCounters, 'requests'> {}

const WITHOUT_ROOT_HINT = 'Mounting without root needs the package fuse3 and access to /dev/fuse.';
const AS_ROOT_HINT = 'Is the fuse module loaded (modprobe fuse), and may this container mount?';

/** errnos of notifications about what the kernel had forgotten already, or after the mount ended. */
const HARMLESS = new Set([0, errnoNumber('ENOENT'), errnoNumber('ENODEV'), errnoNumber('ENOTCONN'), errnoNumber('ENOTDIR')]);

/** A namespace mounted by our own channel. */
export class FuseMount implements Mount {
  readonly binding = 'channel';
  readonly mountpoint: string;
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
      dropPages: (ino) => this.invalidateInode(ino, true).catch(() => undefined),
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

  async unmount(options: { readonly lazy?: boolean } = {}): Promise<void> {
    if (!this.#isClosed && (await this.isMounted()))
      await unmountFrom(this.mountpoint, options.lazy ?? false, this.#byHelper, () => this.isMounted());
    await this.closed;
  }

  isMounted(): Promise<boolean> {
    return isVisibleMount(this.mountpoint, this.#device);
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

  forgotten(): Promise<void> {
    return this.#invalidations.idle();
  }

  /** Lets the kernel read ahead further, and hold back less, than it does by itself. Root's mounts only; elsewhere, and where a kernel cannot (max_bytes: before 6.2), it stays as it is. */
  async tune(readAheadBytes: number, dirtyBytesMax: number): Promise<void> {
    if (this.#device === undefined || !mayMount()) return;
    const folder = `/sys/class/bdi/${this.#device}`;
    if (readAheadBytes > 0) await writeFile(`${folder}/read_ahead_kb`, String(readAheadBytes / KiB)).catch(() => undefined);
    if (dirtyBytesMax > 0) await writeFile(`${folder}/max_bytes`, String(dirtyBytesMax)).catch(() => undefined);
  }

  connection(): Connection {
    const { major, minor, kernelMinor, names, left } = this.negotiated ?? { major: 7, minor: 0, kernelMinor: 0, names: [], left: [] };
    return { protocol: `${major}.${minor}`, kernelProtocol: `${major}.${kernelMinor}`, flags: names, flagsLeft: left };
  }

  operations(): OperationStats[] {
    return this.#frontEnd.operations();
  }

  stats(): ChannelMountStats {
    const { replies, batches, interrupted, replyErrors } = this.#counters ?? this.#channel.counters;
    return { ...this.#frontEnd.stats, replies, batches, interrupted, replyErrors, notifyErrors: this.#notifyErrors };
  }
}

/**
 * Mounts `options.namespace` and resolves when the mount is usable.
 * @throws OperatingError: ENOENT, ENOTDIR, EBUSY about the mount point; EINVAL; ENODEV, EPERM, EACCES about mounting itself; EPROTO about the kernel.
 */
export async function mountFuse(options: MountOptions): Promise<FuseMount> {
  const source = usableSource(options.source, options.mountpoint);
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
  await mount.tune(options.readAheadBytes ?? FUSE_READAHEAD_BYTES, options.dirtyBytesMax ?? FUSE_DIRTY_BYTES_MAX);
  return mount;
}
