/**
 * Starts the daemon of a pool as a process of its own and waits until its mount is usable. Called by the command. The two talk over Node's IPC
 * channel until then: the daemon says "ready" or what went wrong. In the foreground, and without a mount, the channel stays open, so that each learns of the
 * other's end.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { must } from '../base/assert.js';
import { OperatingError, errnoName } from '../base/errors.js';
import { MiB } from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';
import { errorFrom, errorSchema } from './control-protocol.js';
import { ensureFolder, poolPaths, type Folders } from './folders.js';

/** A log longer than this is put aside (as .1) when the pool is mounted next. */
const LOG_BYTES_MAX = 8 * MiB;

/** V8 stops everything to look for garbage where memory outside of its heap grows by half of the heap's limit (memory-keeper.ts). A young generation that holds what some hundred requests make: with 1 MiB it was collected so often that much of it outlived its request. Its pages stay resident. */
const DAEMON_FLAGS: readonly string[] = ['--max-semi-space-size=2', '--max-old-space-size=176'];

/** glibc would keep memory of its own for each of the daemon's threads, and would not give back what large buffers took. */
const DAEMON_ENVIRONMENT = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_TRIM_THRESHOLD_: '1048576' };

export const launchMessageSchema = z.union([
  /** Before anything that may take longer. */
  z.object({ progress: z.string() }),
  z.object({ ready: z.object({ readOnlyReason: z.string().nullable(), messages: z.array(z.string()) }) }),
  z.object({ error: errorSchema }),
]);

export type LaunchMessage = z.infer<typeof launchMessageSchema>;

export interface LaunchOptions {
  readonly folders: Folders;
  readonly pool: string;
  /** Absolute; undefined: the pool is opened without a mount, for as long as this command needs it. */
  readonly mountpoint: string | undefined;
  /** Without a mount: the verb of this command. */
  readonly work?: string;
  /** As given by `-o`. */
  readonly mountOptions: string;
  readonly foreground: boolean;
  /** Told of each step of a start that takes longer. */
  readonly progress: (text: string) => void;
}

export interface Launched {
  readonly pid: number;
  readonly readOnlyReason: string | undefined;
  readonly messages: readonly string[];
  /** Foreground: asks the daemon to unmount and end. Again: also when busy. */
  stop(): void;
  /** Without a mount: tells the daemon that this command needs it no more. */
  disconnect(): void;
  /** This process may end before the daemon does. */
  unref(): void;
  /** Foreground, or without a mount: resolves with the daemon's exit code, or its signal, when it ended. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

async function openLog(path: string): Promise<FileHandle> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > LOG_BYTES_MAX) {
    await rm(`${path}.1`, { force: true });
    await rename(path, `${path}.1`);
  }
  return open(path, 'a', 0o600);
}

function endOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve(code ?? signal ?? 1);
    });
  });
}

/** A service manager that started this command wants to hear of it, not of a daemon that it leaves behind. */
function daemonEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env, ...DAEMON_ENVIRONMENT };
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) Reflect.deleteProperty(env, name);
  return env;
}

function daemonArguments(options: Pick<LaunchOptions, 'pool' | 'mountpoint' | 'mountOptions' | 'work'>): string[] {
  const { pool, mountpoint = '', mountOptions, work } = options;
  return [...DAEMON_FLAGS, join(import.meta.dirname, 'main.js'), pool, mountpoint, mountOptions, ...(work === undefined ? [] : [work])];
}

/**
 * Makes this very process the daemon, in the foreground: for a service manager, which then watches the daemon itself and not a command beside it. Standard
 * streams and the environment stay. Comes back only with an error.
 */
export async function becomeDaemon(
  options: Pick<LaunchOptions, 'folders' | 'pool' | 'mountOptions'> & { readonly mountpoint: string },
): Promise<OperatingError> {
  await ensureFolder(options.folders.state, false);
  const io = nativeIo();
  // Stays across execve; see `launchDaemon`.
  io.setIoFlusher();
  process.chdir('/');
  const environment = Object.entries({ ...process.env, ...DAEMON_ENVIRONMENT }).map(([name, value]) => `${name}=${value ?? ''}`);
  const status = io.become(process.execPath, [process.execPath, ...daemonArguments(options)], environment);
  return new OperatingError(errnoName(-status), 'this process cannot become the daemon', { path: process.execPath });
}

/**
 * Resolves when the mount is usable; without one, when the control socket is.
 * @throws OperatingError what the daemon says, or EIO when it died at the start.
 */
export async function launchDaemon(options: LaunchOptions): Promise<Launched> {
  const { folders, pool, foreground, mountpoint } = options;
  await ensureFolder(folders.state, false);
  const logPath = poolPaths(folders, pool).log;
  const log = foreground ? undefined : await openLog(logPath);
  // Before the daemon's threads exist: memory reclaim must not wait for the file system that it serves. Needs privilege; does without.
  nativeIo().setIoFlusher();
  const child = spawn(process.execPath, daemonArguments(options), {
    // A session of its own: Ctrl-C reaches the command, which asks the daemon to stop.
    detached: true,
    stdio: ['ignore', log?.fd ?? 'inherit', log?.fd ?? 'inherit', 'ipc'],
    cwd: '/',
    env: { ...daemonEnvironment(), ...(foreground && { OSTRAKA_FOREGROUND: '1' }) },
  });
  const ended = endOf(child);
  await log?.close();
  const ready = await new Promise<Extract<LaunchMessage, { ready: unknown }>['ready']>((resolve, reject) => {
    child.on('error', reject);
    child.on('message', (raw) => {
      const message = launchMessageSchema.safeParse(raw);
      if (!message.success) return;
      if ('progress' in message.data) options.progress(message.data.progress);
      else if ('error' in message.data) reject(errorFrom(message.data.error));
      else resolve(message.data.ready);
    });
    void ended.then((how) => {
      reject(
        new OperatingError('EIO', `the daemon of pool "${pool}" ended at its start (${how})`, {
          path: foreground ? undefined : logPath,
          hint: 'Its log says why.',
        }),
      );
    });
  });
  const disconnect = (): void => {
    if (child.connected) child.disconnect();
  };
  const unref = (): void => {
    child.unref();
  };
  if (!foreground && mountpoint !== undefined) {
    disconnect();
    unref();
  }
  return {
    pid: must(child.pid, 'a process that was started has a pid'),
    readOnlyReason: ready.readOnlyReason ?? undefined,
    messages: ready.messages,
    stop: () => child.kill('SIGTERM'),
    disconnect,
    unref,
    ended,
  };
}
