/** Runs memory-daemon.js in a child and talks to it. Whatever happens, the mount, the child and the folder are gone after the test. */
import { spawn, type ChildProcess } from 'node:child_process';
import { access, constants, mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mountsAt } from '../../src/frontend/fuse/mount-table.js';
import { MOUNT_TYPE } from '../../src/frontend/fuse/stale-mount.js';
import { leaveNothing } from '../support/janitor.js';
import { run } from '../support/run.js';
import type { Binding } from '../../src/frontend/mount.js';
import type { Teardown } from '../support/pool.js';

export interface DaemonEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** `expect`: an event other than `ready`; the rest goes to memory-daemon.js. */
export interface StartOptions {
  readonly mountpoint?: string;
  readonly expect?: string;
  readonly source?: string;
  readonly readOnly?: boolean;
  readonly byHelper?: boolean;
  readonly user?: number;
  readonly binding?: Binding;
  readonly allowOther?: boolean;
}

const program = fileURLToPath(new URL('./memory-daemon.js', import.meta.url));
const EVENT_LIMIT_MS = 20_000;

/** Why nothing can be mounted here; undefined when it can. */
export async function cannotMount(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'not root';
  return access('/dev/fuse', constants.R_OK | constants.W_OK).then(
    () => undefined,
    () => 'no access to /dev/fuse',
  );
}

export class MemoryDaemon {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly logs: DaemonEvent[] = [];
  readonly #events: DaemonEvent[] = [];
  readonly #ownFolder: boolean;
  #wake: () => void = () => undefined;

  private constructor(
    readonly mountpoint: string,
    options: object,
    ownFolder: boolean,
  ) {
    this.#ownFolder = ownFolder;
    this.child = spawn(process.execPath, [...process.execArgv, program, mountpoint, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.stdout !== null)
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        const event = JSON.parse(line) as DaemonEvent;
        (event.event === 'log' ? this.logs : this.#events).push(event);
        this.#wake();
      });
  }

  /** Starts one; `ready` is awaited unless `expect` says another event. */
  static async start(t: Teardown, options: StartOptions = {}): Promise<MemoryDaemon> {
    const mountpoint = options.mountpoint ?? (await mkdtemp(join(tmpdir(), 'ostraka-fuse-')));
    // Nothing but a folder of our own: a test may give any path.
    if (options.mountpoint === undefined) leaveNothing(mountpoint);
    const daemon = new MemoryDaemon(mountpoint, options, options.mountpoint === undefined);
    t.teardown(() => daemon.destroy());
    const event = await daemon.event(options.expect ?? 'ready', 'failed');
    if (event.event === 'failed' && options.expect !== 'failed') throw new Error(`${String(event.code)}: ${String(event.message)}`);
    return daemon;
  }

  /** The next event of one of these names. */
  async event(...names: string[]): Promise<DaemonEvent> {
    const limit = performance.now() + EVENT_LIMIT_MS;
    for (;;) {
      const index = this.#events.findIndex((event) => names.includes(event.event));
      if (index >= 0) return this.#events.splice(index, 1)[0] as DaemonEvent;
      if (performance.now() > limit) throw new Error(`no event ${names.join(', ')}; there are ${JSON.stringify(this.#events)}`);
      const timer = setTimeout(() => {
        this.#wake();
      }, 500);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      clearTimeout(timer);
    }
  }

  async ask(command: string): Promise<DaemonEvent> {
    this.child.stdin?.write(`${command}\n`);
    return this.event('answer');
  }

  at(...parts: readonly string[]): string {
    return join(this.mountpoint, ...parts);
  }

  /** Kills the child and takes its mount away: only a mount of ours, only an empty folder, whatever path the test gave. */
  async destroy(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGKILL');
      await this.exited;
    }
    await removeMount(this.mountpoint);
    if (this.#ownFolder) await rmdir(this.mountpoint);
  }
}

/** Unmounts what is mounted at `mountpoint` as long as it is one of our mounts. Tests run as root beside others: nothing else is ever touched. */
export async function removeMount(mountpoint: string): Promise<void> {
  for (let i = 0; i < 4; i++) {
    const top = await mountsAt(mountpoint).catch(() => []);
    if (top.at(-1)?.type !== MOUNT_TYPE) return;
    await run('umount', ['-l', mountpoint], { limitMs: 10_000 });
  }
}
