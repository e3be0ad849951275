/**
 * Mounting by the package fuse-native. What it cannot do stands in README.md. As with our own channel, the calling process serves the mount on its event loop and
 * must never do blocking I/O below the mount point.
 */
import { readdir, readlink } from 'node:fs/promises';
import { systemClock, type Clock } from '../../base/clock.js';
import { OperatingError } from '../../base/errors.js';
import { fuseUnmount } from '../../base/native-fuse.js';
import { NATIVE_END_INTERVAL_MS, NATIVE_END_SOON_MS, NATIVE_OPTION_BYTES_MAX } from '../../base/limits.js';
import type { OperationStats } from '../fuse/meters.js';
import { mountsAt } from '../fuse/mount-table.js';
import { isVisibleMount, unmountFrom, usableMountpoint, usableSource } from '../fuse/mountpoint.js';
import { mayMount, MOUNT_SUBTYPE } from '../fuse/stale-mount.js';
import type { Connection, Mount, MountRequest, MountStats } from '../mount.js';
import { loadLibrary } from './library.js';
import { OpenFiles } from './open-files.js';
import { Paths } from './paths.js';
import { Server } from './server.js';

const DEVICE = '/dev/fuse';
const DESCRIPTORS = '/proc/self/fd';

/** libfuse's options. The package's own list of them leaves out half, `big_writes` first of all, without which every write is one of 4 KiB. */
function optionsOf(request: MountRequest, source: string): string[] {
  return [
    'big_writes',
    'default_permissions',
    // Inode numbers of the namespace, so that hard links are seen as such.
    'use_ino',
    'nonempty',
    // Hard links are strangers to each other in libfuse: what one changes, another asks for.
    'attr_timeout=0',
    `fsname=${source}`,
    `subtype=${MOUNT_SUBTYPE}`,
    ...(request.allowOther === true ? ['allow_other'] : []),
    ...(request.readOnly === true ? ['ro'] : []),
    ...(request.noExec === true ? ['noexec'] : []),
    ...(request.noAtime === true ? ['noatime'] : []),
  ];
}

/** Our descriptors of /dev/fuse. */
async function connections(): Promise<string[]> {
  const found: string[] = [];
  for (const fd of await readdir(DESCRIPTORS)) if (await isConnection(fd)) found.push(fd);
  return found;
}

async function isConnection(fd: string): Promise<boolean> {
  return (await readlink(`${DESCRIPTORS}/${fd}`).catch(() => '')) === DEVICE;
}

/** What there is once libfuse has mounted. */
interface Made {
  readonly mountpoint: string;
  readonly device: string | undefined;
  /** The connection's descriptor. */
  readonly fd: string;
  readonly server: Server;
  readonly files: OpenFiles;
  readonly options: readonly string[];
  /** Nothing of it keeps the process alive any more. */
  readonly end: () => void;
}

class NativeMount implements Mount {
  readonly binding = 'fuse-native';
  readonly mountpoint: string;
  readonly closed: Promise<void>;
  /** The connection has ended. */
  readonly ended: Promise<void>;
  readonly #server: Server;
  readonly #files: OpenFiles;
  readonly #options: readonly string[];
  readonly #device: string | undefined;
  readonly #byHelper: boolean;
  readonly #clock: Clock;
  #abort: () => void = () => undefined;
  #hurry: () => void = () => undefined;
  #isClosed = false;

  constructor(request: MountRequest, made: Made) {
    this.mountpoint = made.mountpoint;
    this.#device = made.device;
    this.#server = made.server;
    this.#files = made.files;
    this.#options = made.options;
    this.#byHelper = request.byHelper ?? !mayMount();
    this.#clock = request.clock ?? systemClock;
    const aborted = new Promise<void>((resolve) => {
      this.#abort = resolve;
    });
    this.ended = Promise.race([this.#watch(made.fd), aborted]);
    this.closed = this.ended.then(async () => {
      await this.#server.drain();
      made.end();
      this.#isClosed = true;
    });
  }

  /** The package does not say when the kernel has let go; libfuse then closes its descriptor. */
  async #watch(fd: string): Promise<void> {
    const hurried = new Promise<void>((resolve) => {
      this.#hurry = resolve;
    });
    let soon = false;
    void hurried.then(() => {
      soon = true;
    });
    while (await isConnection(fd)) {
      if (soon) await this.#clock.sleep(NATIVE_END_SOON_MS);
      else
        await new Promise<void>((resolve) => {
          this.#clock.after(NATIVE_END_INTERVAL_MS, resolve);
          void hurried.then(resolve);
        });
    }
  }

  async unmount(options: { readonly lazy?: boolean } = {}): Promise<void> {
    if (!this.#isClosed && (await this.isMounted()))
      await unmountFrom(this.mountpoint, options.lazy ?? false, this.#byHelper, () => this.isMounted());
    this.#hurry();
    await this.closed;
  }

  isMounted(): Promise<boolean> {
    return isVisibleMount(this.mountpoint, this.#device);
  }

  /** The connection itself ends with the process. */
  abort(): void {
    this.#server.stop();
    this.#abort();
  }

  /** Writes come at once, attributes are asked for anew, cached pages go when a file is opened: there is no way to say it earlier. */
  forget(): void {
    return;
  }

  async forgotten(): Promise<void> {
    return;
  }

  connection(): Connection {
    return { protocol: undefined, kernelProtocol: undefined, flags: this.#options, flagsLeft: [] };
  }

  operations(): OperationStats[] {
    return this.#server.operations();
  }

  stats(): MountStats {
    const { requests, failures, underWay } = this.#server.counts;
    const openFiles = this.#files.size;
    return { requests, failures, underWay, interrupts: 0, openFiles, replyErrors: 0, notifyErrors: 0 };
  }
}

/**
 * Mounts `request.namespace` and resolves when the mount is usable. Others may enter only where `allowOther` says so; whatever is made belongs to this process's user.
 * @throws OperatingError ENOSYS: not installed; ENOENT, ENOTDIR, EBUSY about the mount point; EINVAL; EIO: libfuse refused, and said why on standard error.
 */
export async function mountFuseNative(request: MountRequest): Promise<Mount> {
  const library = loadLibrary();
  const source = usableSource(request.source, request.mountpoint);
  const mountpoint = await usableMountpoint(request.mountpoint);
  const options = optionsOf(request, source);
  const text = `-o${options.join(',')}`;
  if (Buffer.byteLength(text) > NATIVE_OPTION_BYTES_MAX)
    throw new OperatingError('EINVAL', `the mount's source has ${source.length} characters, which is too long`, { path: mountpoint });
  const caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid };
  const files = new OpenFiles();
  const paths = new Paths(request.namespace, caller);
  const othersEnter = request.allowOther === true;
  const context = { namespace: request.namespace, caller, paths, files, describe: request.describe, othersEnter };
  const server = new Server(library, context, request.clock ?? systemClock, request.log ?? (() => undefined));
  const { handlers, implemented } = server.handlers;
  const before = await connections();
  // Both must live as long as libfuse's threads, which is as long as the process.
  const thread = Buffer.alloc(library.sizeof_fuse_thread_t);
  const memory = [thread];
  const allocate = (bytes: number): Buffer => {
    const record = Buffer.alloc(bytes);
    memory.push(record);
    return record;
  };
  try {
    library.fuse_native_mount(mountpoint, text, thread, memory, allocate, handlers, implemented);
  } catch (thrown) {
    throw new OperatingError('EIO', 'libfuse did not mount; its message stands before this one', {
      path: mountpoint,
      hint: 'Is the fuse module loaded (modprobe fuse), and is fusermount installed (Debian: fuse3)?',
      cause: thrown,
    });
  }
  const fd = (await connections()).find((each) => !before.includes(each)) ?? '';
  const device = (await mountsAt(mountpoint)).at(-1)?.device;
  const end = (): void => {
    library.fuse_native_unmount(mountpoint, thread);
  };
  const mount = new NativeMount(request, { mountpoint, device, fd, server, files, options, end });
  if ((await Promise.race([server.connected, mount.ended.then(() => 'ended')])) !== 'ended') return mount;
  await fuseUnmount(mountpoint, true, request.byHelper ?? !mayMount()).catch(() => undefined);
  throw new OperatingError('EPROTO', `${mountpoint}: the connection ended before it was used`, { path: mountpoint });
}
