/**
 * Where a test has a program keep its data: on a pool of six loop disks. With OSTRAKA_PLACE=ext4 the same test runs on a plain ext4 instead, which tells
 * what is wrong with the test from what is wrong with us.
 */
import { chmod, mkdir, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { TestPool, type Teardown } from './pool.js';
import { kill, run, type RunOptions, type RunResult } from './run.js';

const MiB = 1024 ** 2;

export class Place {
  private constructor(
    /** Undefined: an ext4. */
    readonly pool: TestPool | undefined,
    /** The folder under test. */
    readonly root: string,
    /** Files beside it, on this machine's own file system. */
    readonly scratch: string,
  ) {}

  /** @param diskBytes of each of the six disks; an ext4 gets four times as much */
  static async create(t: Teardown, diskBytes = 512 * MiB): Promise<Place> {
    const plain = process.env.OSTRAKA_PLACE === 'ext4';
    const pool = await TestPool.create(t, plain ? { disks: 1, loopBytes: 4 * diskBytes, raw: true } : { loopBytes: diskBytes });
    const root = plain ? (pool.disks[0] ?? '') : pool.mountpoint;
    if (!plain) await pool.mount();
    const place = new Place(plain ? undefined : pool, root, pool.scratch());
    await mkdir(place.scratch, { recursive: true });
    // Other users go through here.
    await chmod(pool.root, 0o711);
    // After this test's processes, before the pool.
    t.teardown(() => place.killAll());
    return place;
  }

  at(...parts: readonly string[]): string {
    return join(this.root, ...parts);
  }

  beside(...parts: readonly string[]): string {
    return join(this.scratch, ...parts);
  }

  /** What is read afterwards comes from the disks. */
  async fresh(): Promise<void> {
    await this.pool?.remount();
    await TestPool.dropCaches();
  }

  /** kill -9 of the daemon, then `between`, then the pool is mounted again. */
  async crash(between: () => Promise<void> = async () => undefined): Promise<void> {
    await this.pool?.kill9();
    await between();
    await this.pool?.mount();
  }

  /** Why `crash` would do nothing here. */
  get cannotCrash(): string | false {
    return this.pool === undefined && 'an ext4 has no daemon that could be killed';
  }

  /** Processes whose working folder or program lies here. */
  async pids(): Promise<number[]> {
    const found: number[] = [];
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const links = await Promise.all(['cwd', 'exe'].map((link) => readlink(`/proc/${name}/${link}`).catch(() => '')));
      const zombie = (await readFile(`/proc/${name}/stat`, 'utf8').catch(() => ') Z')).includes(') Z');
      if (!zombie && links.some((path) => path === this.root || path.startsWith(`${this.root}/`))) found.push(Number(name));
    }
    return found;
  }

  /** kill -9 of all `pids`; returns when they are gone. */
  async killAll(): Promise<void> {
    for (let round = 0; round < 500; round++) {
      const pids = (await this.pids()).filter((pid) => pid !== process.pid);
      if (pids.length === 0) return;
      for (const pid of pids) kill(pid, 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`processes on ${this.root} do not die: ${(await this.pids()).join(', ')}`);
  }
}

/** Why programs cannot be run on a mount here, to skip a test with; false: they can. */
export async function lacking(...programs: readonly string[]): Promise<string | false> {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0) return 'mounting loop devices needs root on Linux';
  for (const program of programs)
    if ((await run('sh', ['-c', `command -v ${program}`], { mayFail: true })).code !== 0)
      return `there is no ${program}: run "sh native/setup.sh long"`;
  return false;
}

/** A shell script, with `$1` and so on. */
export function shell(script: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
  return run('bash', ['-euc', script, 'bash', ...args], options);
}
