/** Targets of the suite: directories of real file systems, gone after the test whatever happens; and the program that users are made of. */
import { chmod, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { leaveNothing } from '../support/janitor.js';
import type { Teardown } from '../support/pool.js';
import { run } from '../support/run.js';

/** Why the suite cannot run here; false: it can. */
export async function cannotRun(): Promise<string | false> {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0) return 'the suite acts as three users and mounts: it needs root on Linux';
  if ((await stat('/dev/fuse').catch(() => undefined)) === undefined) return 'there is no /dev/fuse';
  return false;
}

/** A folder that other users may enter. */
async function folder(t: Teardown, name: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), `ostraka-${name}-`));
  leaveNothing(path);
  t.teardown(() => rm(path, { recursive: true, force: true }));
  await chmod(path, 0o755);
  return path;
}

/** Compiles agent.cc, or another program of this folder. */
export async function buildAgent(t: Teardown, name = 'agent'): Promise<string> {
  const program = join(await folder(t, name), name);
  const flags = ['-std=c++17', '-O1', '-Wall', '-Wextra', '-Werror'];
  await run('g++', [...flags, '-o', program, join(packageRoot, `test/posix/${name}.cc`)]);
  return program;
}

/** An ext4 of this size on a loop device, with ACLs, attributes of up to 64 KiB and nanoseconds. Resolves with its mount point. */
export async function ext4(t: Teardown, bytes: number): Promise<string> {
  const root = await folder(t, 'ext4');
  const image = join(root, 'image');
  const mountpoint = join(root, 'mnt');
  await run('truncate', ['-s', String(bytes), image]);
  await run('mkfs.ext4', ['-qF', '-I', '256', '-O', 'ea_inode', image]);
  await mkdir(mountpoint);
  t.teardown(() => run('umount', [mountpoint], { mayFail: true }).then(() => undefined));
  await run('mount', ['-o', 'loop,acl,user_xattr', image, mountpoint]);
  return mountpoint;
}
