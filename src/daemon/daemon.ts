/**
 * The daemon of one pool: an open pool, its mount, and the control socket. `start` resolves when the mount is usable; `stop` unmounts, makes everything
 * durable and lets go of the disks.
 *
 *   starting ──▶ serving ──stop()──▶ unmounting ──▶ closing ──▶ stopped
 *                   ▲                    │ EBUSY (not lazy)
 *                   └────────────────────┘
 *   serving ──unmounted by somebody else──▶ closing
 *
 * Without a mount point it serves the control socket alone, for the command that started it (`ostraka check` of a pool that is not mounted), and closes when
 * that command has gone and no other is connected.
 */
import { rm, writeFile } from 'node:fs/promises';
import { must } from '../base/assert.js';
import { systemClock } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { probePath } from '../base/native-fuse.js';
import { nativeIo } from '../base/native-io.js';
import { mountBy } from '../frontend/bindings.js';
import { cleanStaleMount } from '../frontend/fuse/stale-mount.js';
import type { Mount } from '../frontend/mount.js';
import { controlFiles } from './control-files.js';
import type { ControlRequest, StopProgress } from './control-protocol.js';
import { ControlServer } from './control-server.js';
import { nativeEnvironment } from './environment.js';
import { handleDiskRequest, lookAtDisks } from './disk-requests.js';
import { ensureFolder, poolPaths, type Folders } from './folders.js';
import { reportFrontEnd } from './front-end-report.js';
import { pathsOf } from './inode-paths.js';
import type { Log } from './logger.js';
import { LoopDelay } from './loop-delay.js';
import type { MountOptions } from './mount-options.js';
import { openPool, type Pool } from './pool.js';
import { followMembership, readDefinition, writeDefinition, type PoolDefinition } from './pool-definition.js';
import { reportPool } from './pool-report.js';
import { handleQuotaRequest } from './quota-requests.js';
import type { StatusReport } from './status-report.js';
import { describeInode, whereIs } from './where.js';

/** After a lazy unmount, programs that still have files open get this long to finish. */
const LAZY_LIMIT_MS = 10_000;

export interface DaemonOptions {
  readonly folders: Folders;
  readonly definition: PoolDefinition;
  /** Absolute; undefined: the pool is opened without a mount. */
  readonly mountpoint: string | undefined;
  /** Without a mount: the verb of the command that it is opened for. */
  readonly work?: string | undefined;
  readonly mountOptions: MountOptions;
  readonly log: Log;
  readonly progress: (text: string) => void;
}

export class Daemon {
  /** Resolves when nothing is served any more and the pool begins to close. */
  readonly closing: Promise<void>;
  /** Resolves when the daemon has stopped; rejects when what was committed could not be made durable. */
  readonly stopped: Promise<void>;
  readonly #options: DaemonOptions;
  #pool: Pool | undefined;
  #mount: Mount | undefined;
  readonly #loopDelay = new LoopDelay(systemClock);
  #control: ControlServer | undefined;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #released = false;
  #probing: Promise<number> | undefined;
  #closingResolve: () => void = () => undefined;
  #stoppedResolve: (closing: Promise<void>) => void = () => undefined;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.closing = new Promise((resolve) => {
      this.#closingResolve = resolve;
    });
    this.stopped = new Promise((resolve) => {
      this.#stoppedResolve = resolve;
    });
  }

  /**
   * Opens the pool and, where there is a mount point, mounts it.
   * @throws OperatingError; nothing is left behind then.
   */
  async start(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      await this.#close().catch(() => undefined);
      throw error;
    }
  }

  async #open(): Promise<void> {
    const { folders, definition, mountpoint, mountOptions, log, progress } = this.#options;
    const { readOnly } = mountOptions;
    const paths = poolPaths(folders, definition.name);
    await ensureFolder(folders.run, true);
    const pool = await openPool({
      environment: nativeEnvironment(folders, definition, log),
      definition,
      readOnly,
      log,
      progress,
      onInvalidate: (ino) => {
        this.#mount?.forget(ino);
      },
      membershipChanged: async (membership) => {
        try {
          await followMembership(folders, definition.name, membership);
        } catch (error) {
          // The disks know who belongs to the pool; this file only says where to look for them.
          log('warn', `the pool's definition could not be brought up to date: ${asOperatingError(error).message}`);
        }
      },
    });
    this.#pool = pool;
    await writeFile(paths.pid, `${process.pid}\n`);
    // The disks are locked: mounts of a dead daemon of this pool, here or where it was mounted last, are nobody's.
    for (const path of new Set([mountpoint, definition.lastMountpoint]))
      if (typeof path === 'string' && (await cleanStaleMount(path).catch(() => 0)) > 0)
        log('info', 'the mount of a dead daemon was removed', { path });
    this.#control = await ControlServer.open(paths.socket, (request) => this.#handle(request));
    if (mountpoint === undefined) log('info', `open without a mount, for "ostraka ${this.#work}"`, { epoch: pool.log.epoch });
    else await this.#mountAt(mountpoint, pool);
  }

  async #mountAt(mountpoint: string, pool: Pool): Promise<void> {
    const { folders, definition, mountOptions, log } = this.#options;
    const { binding, readOnly, allowOther, noExec, noAtime } = mountOptions;
    const mount = await mountBy(binding, {
      mountpoint,
      namespace: pool.namespace,
      source: definition.name,
      readOnly: readOnly || pool.readOnlyReason !== undefined,
      noExec,
      noAtime,
      ...(allowOther !== undefined && { allowOther }),
      busyWord: nativeIo().busyWord,
      describe: (ino, attribute) => describeInode(pool, ino, attribute),
      controlFiles: controlFiles({ status: () => this.status(), settings: () => pool.settings }),
      clock: systemClock,
      log,
    });
    this.#mount = mount;
    const known = await readDefinition(folders, definition.name);
    if (known.lastMountpoint !== mount.mountpoint) await writeDefinition(folders, { ...known, lastMountpoint: mount.mountpoint });
    log('info', 'mounted', { mountpoint: mount.mountpoint, binding, epoch: pool.log.epoch });
    // Unmounted by us or by somebody else: nothing is left to serve.
    void mount.closed.then(() => this.#close().catch(() => undefined));
  }

  /** Why the pool can only be read, beside the operator's own wish. */
  get readOnlyReason(): string | undefined {
    return this.#pool?.readOnlyReason;
  }

  async status(): Promise<StatusReport> {
    const { definition, mountpoint, mountOptions } = this.#options;
    const pool = must(this.#pool, 'an open pool has a status');
    return reportPool({
      pool,
      name: definition.name,
      mountpoint,
      ...(mountpoint === undefined && { work: this.#work }),
      readOnly: mountOptions.readOnly,
      frontEnd: this.#mount === undefined ? null : reportFrontEnd(this.#mount, this.#loopDelay.durations),
    });
  }

  /** Resolves when a request has gone through the mount and back; it hangs as long as that does. Without a mount, or where it has ended, at once. */
  async probe(): Promise<void> {
    const mount = this.#mount;
    if (mount === undefined || this.#closing !== undefined || !(await mount.isMounted())) return;
    this.#probing ??= probePath(mount.mountpoint).finally(() => {
      this.#probing = undefined;
    });
    await this.#probing;
  }

  get #work(): string {
    return this.#options.work ?? 'something';
  }

  /** Without a mount: who started it needs it no more. It ends when the last connection has. */
  release(): void {
    if (this.#released || this.#options.mountpoint !== undefined) return;
    this.#released = true;
    void this.#control?.idle().then(() => this.#close().catch(() => undefined));
  }

  /**
   * Unmounts, makes everything durable, lets go of the disks.
   * @param lazy also while files are open: the mount disappears at once, programs get some time to finish
   * @throws OperatingError EBUSY when files are open, and all goes on; or what could not be made durable
   */
  async stop(lazy: boolean): Promise<void> {
    this.#stopping ??= this.#unmount(lazy).finally(() => {
      this.#stopping = undefined;
    });
    await this.#stopping;
    await this.#close();
  }

  async #unmount(lazy: boolean): Promise<void> {
    const mount = this.#mount;
    if (mount === undefined) return;
    // While a request of ours is under way there, the mount is busy.
    if (this.#probing !== undefined) await Promise.race([this.#probing, systemClock.sleep(LAZY_LIMIT_MS)]);
    try {
      await mount.unmount();
      return;
    } catch (error) {
      if (!lazy || asOperatingError(error).code !== 'EBUSY') throw error;
    }
    this.#options.log('warn', 'the mount is in use and is detached', { mountpoint: mount.mountpoint });
    const ended = mount.unmount({ lazy: true });
    const late = systemClock.sleep(LAZY_LIMIT_MS).then(() => 'late' as const);
    if ((await Promise.race([ended, late])) !== 'late') return;
    // What the kernel holds of files that stay open is asked for before the connection ends.
    for (const ino of this.#writers()) mount.forget(ino);
    await Promise.race([mount.forgotten(), systemClock.sleep(LAZY_LIMIT_MS)]);
    this.#options.log('warn', 'files stay open: the connection is cut', { mountpoint: mount.mountpoint });
    mount.abort();
    await mount.closed;
  }

  /** Lets go of everything, once. */
  #close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    this.#closingResolve();
    this.#stoppedResolve(this.#closing);
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const { folders, definition, log } = this.#options;
    const paths = poolPaths(folders, definition.name);
    this.#control?.stopListening();
    this.#loopDelay.stop();
    try {
      await this.#pool?.close();
      if (this.#pool !== undefined) log('info', 'everything is durable, the disks are released');
    } finally {
      if (this.#pool !== undefined) await rm(paths.pid, { force: true });
    }
  }

  /** Sends what was answered, and ends the connections. */
  async endControl(): Promise<void> {
    // The connection to the kernel ends before umount(2) does, on a busy machine by seconds; who asked for the stop waits for both.
    await this.#stopping?.catch(() => undefined);
    await this.#control?.close();
  }

  /** Inodes that are open for writing. */
  #writers(): number[] {
    return this.#pool?.namespace.writers() ?? [];
  }

  async #handle(request: ControlRequest): Promise<unknown> {
    const pool = this.#pool;
    if (request.verb === 'stop-progress') return this.#stopProgress();
    if (pool === undefined || this.#closing !== undefined) throw new OperatingError('ECONNRESET', 'the daemon is about to end');
    switch (request.verb) {
      case 'status':
        return this.status();
      case 'writers':
        return { mountpoint: this.#needMount(), paths: await pathsOf(pool.index, systemClock, this.#writers()) };
      case 'where':
        return whereIs(pool, request.ino, request.from);
      case 'sync':
        await pool.namespace.syncAll();
        return {};
      case 'settings':
        return { pending: (await pool.changeSettings(request.settings)).map(({ key }) => key) };
      case 'release':
        this.release();
        return { stays: (this.#control?.connections ?? 0) > 1 };
      case 'job':
        if (request.action === 'start') await lookAtDisks(pool);
        return pool.jobs.request(request.kind, request.action, request.options);
      case 'findings':
        return pool.check.findings(request.list, request.from);
      case 'disk-add':
      case 'disk-drain':
      case 'disk-replace':
      case 'disk-remove':
        return handleDiskRequest(pool, request);
      case 'quota-set':
      case 'quota-clear':
      case 'quota-show':
      case 'quota-list':
        return handleQuotaRequest(pool, this.#mount?.mountpoint, request);
      case 'stop':
        this.#needMount();
        await this.stop(request.lazy);
        return { pid: process.pid };
    }
  }

  #stopProgress(): StopProgress {
    const step = this.#closing !== undefined ? 'closing' : this.#stopping !== undefined ? 'unmounting' : 'serving';
    const pool = this.#pool;
    return {
      step,
      dirty_bytes: pool?.namespace.status().dirtyBytes ?? 0,
      unsynced_bytes: pool?.storage.unsyncedBytes ?? 0,
      changes: pool === undefined ? 0 : Math.max(0, pool.log.head.position - pool.log.durablePosition),
      late_disks: (pool?.diskSet.members() ?? []).filter(({ state }) => state === 'suspect').map(({ member }) => member.directory),
    };
  }

  #needMount(): string {
    const { mountpoint, definition } = this.#options;
    if (mountpoint !== undefined) return mountpoint;
    throw new OperatingError(
      'ENOTCONN',
      `pool "${definition.name}" is not mounted: "ostraka ${this.#work}" works on it, process ${process.pid}`,
    );
  }
}
