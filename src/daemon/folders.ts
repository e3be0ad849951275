/**
 * Where Ostraka keeps what is not on the pool's disks: pool definitions, state (working replicas, witnesses, logs of daemons), the run folder
 * (sockets, pids) and the journals. Called by the daemon and by the command; no pool has to be open.
 *
 * Folders that hold sockets and journals belong to the user alone (0700, checked), since `/tmp` and `/dev/shm` are open to all.
 */
import { chmod, lstat, mkdir, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { OperatingError, asOperatingError } from '../base/errors.js';

/** statfs(2)'s f_type of tmpfs. */
const TMPFS_MAGIC = 0x01021994;

/** Absolute paths; `ensureFolder` makes them where they are needed. */
export interface Folders {
  /** Pool definitions, NAME.json. */
  readonly config: string;
  /** What outlives a boot: witnesses, logs of daemons, and the disposable working replicas. */
  readonly state: string;
  /** Sockets and pids; does not outlive the boot. */
  readonly run: string;
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && path !== '' && isAbsolute(path) ? path : undefined;
}

function given(variable: string | undefined): string | undefined {
  return variable === undefined || variable === '' ? undefined : resolve(variable);
}

/** The folders of this user: $OSTRAKA_{CONFIG,STATE,RUN}_DIR, else the system's for root, else by the XDG base directory specification. */
export function foldersOf(env: NodeJS.ProcessEnv, uid: number): Folders {
  const root = uid === 0;
  const home = absolute(env.HOME) ?? homedir();
  const xdgRun = absolute(env.XDG_RUNTIME_DIR);
  return {
    config:
      given(env.OSTRAKA_CONFIG_DIR) ?? (root ? '/etc/ostraka' : join(absolute(env.XDG_CONFIG_HOME) ?? join(home, '.config'), 'ostraka')),
    state:
      given(env.OSTRAKA_STATE_DIR) ??
      (root ? '/var/lib/ostraka' : join(absolute(env.XDG_STATE_HOME) ?? join(home, '.local', 'state'), 'ostraka')),
    run: given(env.OSTRAKA_RUN_DIR) ?? (root ? '/run/ostraka' : xdgRun === undefined ? `/tmp/ostraka-${uid}` : join(xdgRun, 'ostraka')),
  };
}

/** The folders of the user who runs this process. */
export function ownFolders(): Folders {
  return foldersOf(process.env, ownUid());
}

/** Effective user id of this process. */
export function ownUid(): number {
  return process.geteuid?.() ?? 0;
}

/**
 * Makes a folder (and those above it) unless it is there.
 * @param secret it must be ours alone: mode 0700, not a link.
 * @throws OperatingError EACCES where it belongs to someone else, ENOTDIR where it is something else, and mkdir's errors.
 */
export async function ensureFolder(path: string, secret: boolean): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: secret ? 0o700 : 0o755 });
    if (!secret) return;
    const found = await lstat(path);
    if (!found.isDirectory()) throw new OperatingError('ENOTDIR', 'this must be a directory of ours', { path, hint: 'Remove it.' });
    if (found.uid !== ownUid())
      throw new OperatingError('EACCES', `this directory belongs to user ${found.uid}`, {
        path,
        hint: 'Remove it, or set OSTRAKA_RUN_DIR to a directory of your own.',
      });
    if ((found.mode & 0o077) !== 0) await chmod(path, 0o700);
  } catch (error) {
    throw asOperatingError(error, {
      path,
      hint: 'Set OSTRAKA_CONFIG_DIR, OSTRAKA_STATE_DIR and OSTRAKA_RUN_DIR to directories you may write to.',
    });
  }
}

/** Makes and returns the folder for journals: in shared memory where the machine has it, else the run folder. */
export async function journalFolder(folders: Folders): Promise<string> {
  const inMemory = await statfs('/dev/shm').then(
    (found) => found.type === TMPFS_MAGIC,
    () => false,
  );
  const path = inMemory ? `/dev/shm/ostraka-${ownUid()}` : folders.run;
  await ensureFolder(path, true);
  return path;
}

/** Paths that belong to one pool on this machine. */
export interface PoolPaths {
  readonly socket: string;
  readonly pid: string;
  /** The daemon's log. */
  readonly log: string;
  /** SQLite files of the working replica. */
  readonly working: string;
  /** The witness that `init` makes by itself. */
  readonly witness: string;
}

export function poolPaths(folders: Folders, name: string): PoolPaths {
  return {
    socket: join(folders.run, `${name}.sock`),
    pid: join(folders.run, `${name}.pid`),
    log: join(folders.state, `${name}.log`),
    working: join(folders.state, 'working', name),
    witness: join(folders.state, 'witness', name),
  };
}
