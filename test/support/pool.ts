/**
 * A pool for end-to-end tests: directories (or loop devices) as disks, its own configuration, state and run folders, and the
 * real command in child processes. Whatever happens, its mounts, loop devices, processes and files are gone after the test.
 */
import { mkdtemp, mkdir, rename, rm, readFile, writeFile, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forgetJournals, leaveNothing, pidsOf } from './janitor.js';
import { run, type RunResult } from './run.js';

/** The built command beside the built tests. */
export const mainProgram = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface StatusDisk {
  readonly path: string;
  readonly id: string;
  readonly number: number;
  readonly state: string;
  readonly used_bytes: number;
  readonly free_bytes: number;
  readonly errors: number;
}

/** What `ostraka status --json` promises. */
export interface Status {
  readonly pool: string;
  readonly state: string;
  readonly code: string;
  readonly mountpoint: string | null;
  readonly disks: readonly StatusDisk[];
  readonly voters: readonly { readonly path: string; readonly state: string }[];
  readonly usable_bytes: number;
  readonly used_bytes: number;
  readonly endangered_blobs: number;
  readonly objects: number;
  readonly daemon_pid: number | null;
}

export interface PoolOptions {
  /** How many disks (default 6). */
  readonly disks?: number;
  readonly name?: string;
  /** More arguments for init. */
  readonly initArguments?: readonly string[];
  /** Each disk a loop device with a file system of its own, of this size; or a size for each. */
  readonly loopBytes?: number | readonly number[];
  readonly fileSystem?: 'ext4' | 'xfs';
  /** Do not init. */
  readonly raw?: boolean;
}

/** Of the shared memory, so much is left to others. */
const MEMORY_LEFT_BYTES = 1024 ** 3;

/** What a test object must offer (tap's does). */
export interface Teardown {
  teardown(action: () => Promise<void> | void): void;
}

export class TestPool {
  readonly name: string;
  readonly mountpoint: string;
  readonly disks: string[] = [];
  readonly env: NodeJS.ProcessEnv;
  readonly loops: string[] = [];
  /** Backing files of the loop devices. */
  readonly images: string[] = [];
  #memory: string | undefined;
  #memoryBytes = 0;

  private constructor(
    /** Folder of everything this pool has on the machine. */
    readonly root: string,
    name: string,
  ) {
    this.name = name;
    this.mountpoint = join(root, 'mnt');
    this.env = {
      ...process.env,
      OSTRAKA_CONFIG_DIR: join(root, 'config'),
      OSTRAKA_STATE_DIR: join(root, 'state'),
      OSTRAKA_RUN_DIR: join(root, 'run'),
      NO_COLOR: '1',
    };
  }

  /** Makes the disks and, unless `raw`, the pool. */
  static async create(t: Teardown, options: PoolOptions = {}): Promise<TestPool> {
    const root = await mkdtemp(join(tmpdir(), 'ostraka-test-'));
    leaveNothing(root);
    const pool = new TestPool(root, options.name ?? `t${process.pid}`);
    t.teardown(() => pool.destroy());
    await mkdir(pool.mountpoint);
    for (let i = 0; i < (options.disks ?? 6); i++) {
      const directory = join(root, `disk${i}`);
      await mkdir(directory);
      pool.disks.push(directory);
      const bytes = typeof options.loopBytes === 'object' ? options.loopBytes[i] : options.loopBytes;
      if (bytes !== undefined) await pool.attach(i, bytes, options.fileSystem ?? 'ext4');
    }
    if (options.raw !== true) await pool.init(options.initArguments ?? []);
    return pool;
  }

  /** Makes disk `i` a file system of its own on a loop device, in memory where there is room: so a test does not wait for this machine's disk. */
  async attach(i: number, bytes: number, fileSystem = 'ext4'): Promise<void> {
    const memory = await statfs('/dev/shm').catch(() => undefined);
    const inMemory = memory !== undefined && memory.bavail * memory.bsize > MEMORY_LEFT_BYTES + 2 * (bytes + this.#memoryBytes);
    if (inMemory) {
      this.#memoryBytes += bytes;
      if (this.#memory === undefined) {
        this.#memory = await mkdtemp('/dev/shm/ostraka-test-');
        leaveNothing(this.#memory);
      }
    }
    const image = join((inMemory ? this.#memory : undefined) ?? this.root, `disk${i}.img`);
    await rm(image, { force: true });
    await run('truncate', ['-s', String(bytes), image]);
    this.images[i] = image;
    const device = (await run('losetup', ['-f', '--show', image])).stdout.trim();
    this.loops[i] = device;
    await run(`mkfs.${fileSystem}`, [fileSystem === 'ext4' ? '-qF' : '-qf', device]);
    await this.mountDisk(i);
  }

  /** Mounts loop disk `i` on its directory. */
  async mountDisk(i: number): Promise<void> {
    await run('mount', [this.loops[i] ?? '', this.disks[i] ?? '']);
  }

  async unmountDisk(i: number): Promise<void> {
    await run('umount', [this.disks[i] ?? '']);
  }

  /**
   * Cuts the power: the daemon is killed, and at once each disk's image is copied as it is; everything else is lost: what file systems hold back in memory, the journal
   * in shared memory, the working replica. Then the disks are as after a boot: their file systems recovered and mounted again. Only loop disks. A disk's own
   * volatile cache is not emulated: of what a file system had given to a device, all is kept.
   */
  async cutPower(): Promise<void> {
    await this.kill9();
    for (const image of this.images) await run('cp', ['--sparse=always', image, `${image}.cut`]);
    await run('umount', ['-l', this.mountpoint], { mayFail: true });
    for (const [i, image] of this.images.entries()) {
      await this.unmountDisk(i);
      await run('losetup', ['-d', this.loops[i] ?? '']);
      await rename(`${image}.cut`, image);
      this.loops[i] = (await run('losetup', ['-f', '--show', image])).stdout.trim();
      await this.mountDisk(i);
    }
    await forgetJournals(join(this.root, 'config'));
    await rm(join(this.root, 'state'), { recursive: true, force: true });
  }

  /** Lines of the daemon's log. */
  async daemonLog(): Promise<string[]> {
    return (await readFile(join(this.root, 'state', `${this.name}.log`), 'utf8').catch(() => '')).split('\n');
  }

  /** Runs `ostraka ARGS`, as it is: what a test runner would have each Node of its descendants load takes 45 MiB of a daemon's memory, and a thread. */
  ostraka(
    args: readonly string[],
    options: { mayFail?: boolean; limitMs?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
  ): Promise<RunResult> {
    const { NODE_OPTIONS = '' } = options.env ?? this.env;
    const own = NODE_OPTIONS.split(' ').filter((option) => !option.includes('@tapjs'));
    return run('env', [`NODE_OPTIONS=${own.join(' ')}`, process.execPath, mainProgram, ...args], { env: this.env, ...options });
  }

  async init(more: readonly string[] = []): Promise<RunResult> {
    return this.ostraka(['init', this.name, ...this.disks.flatMap((disk) => ['--disk', disk]), ...more]);
  }

  async mount(...more: readonly string[]): Promise<RunResult> {
    return this.ostraka(['mount', this.name, this.mountpoint, ...more]);
  }

  async unmount(): Promise<RunResult> {
    return this.ostraka(['unmount', this.name]);
  }

  /** Unmounts and mounts again: what is read afterwards comes from the disks. */
  async remount(): Promise<void> {
    await this.unmount();
    await this.mount();
  }

  async status(): Promise<Status> {
    return JSON.parse((await this.ostraka(['status', this.name, '--json'])).stdout) as Status;
  }

  /** Pulls loop disk `i`: its device answers nothing but errors; a moment later its file system is unmounted and the device is gone. */
  async pullDisk(i: number): Promise<void> {
    await run('truncate', ['-s', '0', this.images[i] ?? '']);
    await run('losetup', ['-c', this.loops[i] ?? '']);
    await sleep(500);
    await run('umount', ['-l', this.disks[i] ?? '']);
    await run('losetup', ['-d', this.loops[i] ?? '']);
  }

  /** Runs `ostraka ARGS --json` and returns what it prints. */
  async json(args: readonly string[]): Promise<unknown> {
    const { stdout } = await this.ostraka([...args, '--json'], { limitMs: 400_000 });
    return JSON.parse(stdout.slice(stdout.indexOf('{')));
  }

  /** kill -9 of the daemon, and waits until it is gone. */
  async kill9(): Promise<void> {
    await this.killPid(await this.pid());
  }

  /** The daemon's, as it wrote it down. */
  async pid(): Promise<number> {
    return Number(await readFile(join(this.root, 'run', `${this.name}.pid`), 'utf8'));
  }

  /** Mounts, and kills the daemon while it starts, after so long. */
  async killAtMount(afterMs: number): Promise<void> {
    const mounting = this.ostraka(['mount', this.name, this.mountpoint], { mayFail: true });
    await until('the daemon starts', async () => (await this.starting()).length > 0, 60_000, 40);
    await sleep(afterMs);
    for (const pid of await this.starting()) await this.killPid(pid);
    await mounting;
  }

  /** Daemons of this pool that live. */
  private async starting(): Promise<number[]> {
    const found: number[] = [];
    for (const pid of await pidsOf([this.root]))
      if (/daemon\/main\.js|^ostraka /.test(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))) found.push(pid);
    return found;
  }

  async killPid(pid: number): Promise<void> {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      return;
    }
    for (let i = 0; i < 500; i++) {
      const gone = await readFile(`/proc/${pid}/stat`, 'utf8').then(
        (text) => text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3) === 'Z',
        () => true,
      );
      if (gone) return;
      await sleep(i < 20 ? 2 : 20);
    }
    throw new Error(`process ${pid} does not die`);
  }

  /** A path below the mount point. */
  at(...parts: readonly string[]): string {
    return join(this.mountpoint, ...parts);
  }

  /** A scratch path beside the disks. */
  scratch(...parts: readonly string[]): string {
    return join(this.root, 'scratch', ...parts);
  }

  /** VmHWM (peak resident) and VmRSS of the daemon, bytes. */
  async memory(): Promise<{ peakBytes: number; residentBytes: number }> {
    const pid = (await this.status()).daemon_pid;
    const text = await readFile(`/proc/${pid ?? 0}/status`, 'utf8');
    const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? '0') * 1024;
    return { peakBytes: field('VmHWM'), residentBytes: field('VmRSS') };
  }

  /** Forgets the kernel's cached pages and names, so that reads reach the daemon and the disks. */
  static async dropCaches(): Promise<void> {
    await run('sync', []);
    await writeFile('/proc/sys/vm/drop_caches', '3');
  }

  async destroy(): Promise<void> {
    const mayFail = { mayFail: true, limitMs: 20_000 };
    const pids = await pidsOf([this.root]);
    // What the test itself may only have seen as a lost connection.
    for (const line of await this.daemonLog()) if (line.includes('internal error')) process.stderr.write(`${line}\n`);
    await run('umount', ['-l', this.mountpoint], mayFail);
    for (const pid of pids) await this.killPid(pid).catch(() => undefined);
    await run('umount', ['-l', this.mountpoint], mayFail);
    for (const [i, device] of this.loops.entries()) {
      await run('umount', ['-l', this.disks[i] ?? ''], mayFail);
      await run('losetup', ['-d', device], mayFail);
    }
    await forgetJournals(join(this.root, 'config'));
    if (this.#memory !== undefined) await rm(this.#memory, { recursive: true, force: true });
    await rm(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Polls until `condition` holds; throws after `limitMs`. */
export async function until(what: string, condition: () => Promise<boolean>, limitMs = 30_000, everyMs = 100): Promise<void> {
  const end = performance.now() + limitMs;
  for (;;) {
    if (await condition().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`did not come true within ${limitMs} ms: ${what}`);
    await sleep(everyMs);
  }
}

/** True when the path is there. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
