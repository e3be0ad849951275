/**
 * A machine that boots a real systemd: a Debian made by debootstrap, run by systemd-nspawn without a service manager on this side. The tree is made once
 * ($OSTRAKA_TEST_CACHE, else $XDG_CACHE_HOME, else /var/cache) and never changed: each machine writes to an overlay of its own, which stays from boot to
 * boot. The project and the node that runs us are there at the same paths, read-only. Whatever happens, it is gone after the test.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, readdir, realpath, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { sleep, until, type Teardown } from './pool.js';
import { run, type RunResult } from './run.js';

/** Goes up when the packages change. */
const TREE_VERSION = 1;
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'fuse3', 'libisal2', 'libstdc++6', 'mount'];
const PROGRAMS = ['debootstrap', 'systemd-nspawn', 'nsenter', 'unshare'];
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Hierarchies of control groups that nspawn may use: hybrid ones, or the one. */
const HIERARCHIES = ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup/unified', '/sys/fs/cgroup'];
const GROUP = `ostraka-test-${process.pid}`;
const BOOT_LIMIT_MS = 90_000;

async function isFile(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Why no machine can be booted here; undefined: it can. */
export async function cannotBoot(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0) return 'booting a container needs root on Linux';
  if (!(await isFile('/dev/fuse'))) return 'there is no /dev/fuse';
  for (const program of PROGRAMS)
    if ((await run('sh', ['-c', `command -v ${program}`], { mayFail: true })).code !== 0)
      return `there is no ${program}: run "sh native/setup.sh service" (Debian packages debootstrap, systemd-container)`;
  let tree: string;
  try {
    tree = await debianTree();
  } catch (error) {
    return `debootstrap did not work: ${error instanceof Error ? error.message.slice(-600) : String(error)}`;
  }
  const probe = await run('sh', nspawn(['--directory', tree, '--read-only', '/bin/true']), { mayFail: true, env: nspawnEnvironment() });
  await removeAllGroups();
  return probe.code === 0 ? undefined : `systemd-nspawn does not work here: ${probe.stderr.slice(-600)}`;
}

/** Arguments of sh(1) that run systemd-nspawn in a control group of this test's own, which can be removed afterwards. */
function nspawn(args: readonly string[]): string[] {
  const enter = HIERARCHIES.map(
    (path) => `if [ -f ${path}/cgroup.procs ]; then mkdir -p ${path}/${GROUP}; echo $$ >${path}/${GROUP}/cgroup.procs; fi`,
  );
  return ['-c', `${enter.join('; ')}; exec systemd-nspawn --quiet --register=no --keep-unit "$@"`, 'sh', ...args];
}

function nspawnEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' };
}

/** The codename of this machine where it is a Debian: native modules were built against its libraries. */
async function codename(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string): string | undefined => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(text)?.[1];
  return (field('ID') === 'debian' ? field('VERSION_CODENAME') : undefined) ?? 'bookworm';
}

/** The tree, made unless it is there. */
async function debianTree(): Promise<string> {
  const { OSTRAKA_TEST_CACHE: own, XDG_CACHE_HOME: xdg } = process.env;
  const cache = own ?? (xdg !== undefined && isAbsolute(xdg) ? xdg : '/var/cache');
  const release = await codename();
  const tree = join(cache, 'ostraka-test', `${release}-${TREE_VERSION}`);
  if (await isFile(tree)) return tree;
  await mkdir(join(cache, 'ostraka-test'), { recursive: true });
  const partial = `${tree}.${process.pid}.partial`;
  try {
    const mirror = process.env.OSTRAKA_TEST_MIRROR ?? 'http://deb.debian.org/debian';
    await run('debootstrap', ['--variant=minbase', `--include=${PACKAGES.join(',')}`, release, partial, mirror], { limitMs: 900_000 });
    await rm(join(partial, 'var/cache/apt/archives'), { recursive: true, force: true });
    await rename(partial, tree);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return tree;
}

export interface Bind {
  readonly from: string;
  readonly to: string;
}

export class Container {
  readonly #folder: string;
  readonly #root: string;
  #nspawn: ChildProcess | undefined;
  #leader: number | undefined;
  #console = '';
  #started: ChildProcess[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
    this.#root = join(folder, 'root');
  }

  static async create(t: Teardown): Promise<Container> {
    const tree = await debianTree();
    const folder = await mkdtemp('/tmp/ostraka-test-machine-');
    const container = new Container(folder);
    t.teardown(() => container.#destroy());
    for (const name of ['root', 'upper', 'work']) await mkdir(join(folder, name));
    const layers = `lowerdir=${tree},upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')}`;
    const overlay = await run('mount', ['-t', 'overlay', 'overlay', '-o', layers, container.#root], { mayFail: true });
    // Where overlays cannot be, on another overlay for one, it is copied.
    if (overlay.code !== 0) await run('cp', ['-a', `${tree}/.`, container.#root]);
    return container;
  }

  /** Where a file of the machine lies here. */
  file(path: string): string {
    return join(this.#root, path);
  }

  async write(path: string, text: string): Promise<void> {
    await mkdir(join(this.#root, path, '..'), { recursive: true });
    await writeFile(this.file(path), text);
  }

  /** Boots, and waits until everything that starts at boot has. */
  async boot(binds: readonly Bind[]): Promise<void> {
    const readOnly = new Set([packageRoot, await realpath(join(packageRoot, 'node_modules')), await realpath(process.execPath)]);
    const child = spawn(
      'sh',
      nspawn([
        ...['--boot', '--console=pipe', '--capability=all', '--machine=ostraka-test', '--directory', this.#root, '--bind=/dev/fuse'],
        ...[...readOnly].map((path) => `--bind-ro=${path}`),
        ...binds.map(({ from, to }) => `--bind=${from}:${to}`),
      ]),
      { stdio: ['ignore', 'pipe', 'pipe'], env: nspawnEnvironment() },
    );
    this.#nspawn = child;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.#console = (this.#console + text).slice(-10_000)));
    try {
      await until('the machine has booted', () => this.#hasBooted(), BOOT_LIMIT_MS);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.#console}\n${await this.journal().catch(String)}`);
    }
  }

  async #hasBooted(): Promise<boolean> {
    const pid = this.#nspawn?.pid ?? 0;
    if (this.#nspawn?.exitCode !== null) throw new Error(`systemd-nspawn ended: ${this.#console}`);
    const [leader] = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter(Boolean);
    if (leader === undefined) return false;
    this.#leader = Number(leader);
    const { stdout } = await this.run(['systemctl', 'is-system-running'], { mayFail: true });
    return /^(running|degraded)$/.test(stdout.trim());
  }

  /** Runs a program in the machine. */
  run(command: readonly string[], options: { mayFail?: boolean; limitMs?: number; env?: NodeJS.ProcessEnv } = {}): Promise<RunResult> {
    if (this.#leader === undefined) throw new Error('the machine is not up');
    return run('nsenter', ['-t', String(this.#leader), '-a', '--wd', ...command], {
      ...options,
      env: { PATH, HOME: '/root', LANG: 'C.UTF-8', NO_COLOR: '1', ...options.env },
    });
  }

  /** Starts a program in the machine; its process here is an nsenter's. */
  start(command: readonly string[]): ChildProcess {
    const child = spawn('nsenter', ['-t', String(this.#leader ?? 0), '-a', '--wd', ...command], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH },
    });
    this.#started.push(child);
    return child;
  }

  async journal(...args: readonly string[]): Promise<string> {
    return (await this.run(['journalctl', '--boot', '--no-pager', ...args], { mayFail: true })).stdout;
  }

  /** A property of a unit, as `systemctl show` has it. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.run(['systemctl', 'show', '--value', '-p', property, unit])).stdout.trim();
  }

  /** Shuts down as an operator would, and waits until it is off. */
  async powerOff(): Promise<void> {
    const child = this.#nspawn;
    // systemd stops all processes for a moment at the end, and an nsenter stays stopped when its program was.
    for (const each of this.#started) each.kill('SIGKILL');
    await this.run(['systemctl', 'poweroff'], { mayFail: true });
    await until('the machine is off', async () => child?.exitCode !== null, 120_000);
    this.#nspawn = undefined;
    this.#leader = undefined;
  }

  async #destroy(): Promise<void> {
    const child = this.#nspawn;
    for (const each of this.#started) each.kill('SIGKILL');
    // With its first process the machine is gone.
    if (child !== undefined && child.exitCode === null) {
      if (this.#leader !== undefined) process.kill(this.#leader, 'SIGKILL');
      else child.kill('SIGKILL');
      for (let i = 0; i < 100 && child.exitCode === null && child.signalCode === null; i++) await sleep(100);
      child.kill('SIGKILL');
    }
    await run('umount', ['-l', this.#root], { mayFail: true });
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    await removeAllGroups();
  }
}

async function removeAllGroups(): Promise<void> {
  for (const hierarchy of HIERARCHIES) await removeGroups(join(hierarchy, GROUP));
}

/** Control groups go innermost first. */
async function removeGroups(path: string): Promise<void> {
  if (!(await stat(path).catch(() => undefined))?.isDirectory()) return;
  for (const entry of await readdir(path, { withFileTypes: true })) if (entry.isDirectory()) await removeGroups(join(path, entry.name));
  for (let i = 0; i < 20; i++) {
    if (
      await rmdir(path).then(
        () => true,
        () => false,
      )
    )
      return;
    await sleep(100);
  }
}
