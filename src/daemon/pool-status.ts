/**
 * The state of a pool as the command sees it: asked from its daemon where one runs, told from superblocks where none does. Also what verbs need
 * around it: refusing a mounted pool, waiting for a daemon's end, cleaning up after a dead one.
 */
import { readFile } from 'node:fs/promises';
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { cleanStaleMount, isStaleMount } from '../frontend/fuse/stale-mount.js';
import { ControlClient } from './control-client.js';
import { poolPaths, type Folders } from './folders.js';
import type { Inspected } from './inspect.js';
import type { PoolDefinition } from './pool-definition.js';
import { shownState, type DiskReport, type StatusReport, type VoterReport } from './status-report.js';

const EXIT_POLL_MS = 20;

/** Asks the daemon, or looks at the disks. */
export async function poolStatus(folders: Folders, definition: PoolDefinition): Promise<StatusReport> {
  return (await daemonStatus(folders, definition)) ?? offlineStatus(definition);
}

/** What the daemon says; undefined when none runs. */
async function daemonStatus(folders: Folders, definition: PoolDefinition): Promise<StatusReport | undefined> {
  const client = await ControlClient.connect(poolPaths(folders, definition.name).socket);
  if (client === undefined) return undefined;
  try {
    return (await client.request({ verb: 'status' })) as StatusReport;
  } catch (error) {
    // It may have ended between our connecting and asking.
    if (!(error instanceof OperatingError) || error.code !== 'ECONNRESET') throw error;
    return undefined;
  } finally {
    client.close();
  }
}

/** @throws OperatingError EBUSY with the daemon's pid when the pool is mounted, or open for another command. */
export async function refuseMountedPool(folders: Folders, definition: PoolDefinition): Promise<void> {
  const status = await daemonStatus(folders, definition);
  if (status === undefined) return;
  const { daemon_pid: pid, mountpoint, work } = status;
  if (pid !== null && work !== null)
    throw new OperatingError('EBUSY', `pool "${definition.name}" is being worked on by "ostraka ${work}", process ${pid}`, {
      hint: 'Wait until it is done, or end it with Ctrl-C; nothing is lost by that.',
    });
  if (pid !== null)
    throw new OperatingError('EBUSY', `pool "${definition.name}" is mounted already at ${mountpoint ?? '?'}, by process ${pid}`, {
      hint: `Unmount it first: ostraka unmount ${definition.name}`,
    });
}

async function offlineStatus(definition: PoolDefinition): Promise<StatusReport> {
  const { lastMountpoint } = definition;
  const dead = lastMountpoint !== null && (await isStale(lastMountpoint));
  // Loaded here: what looks at disks is not needed to ask a daemon.
  const { inspectDisks, newestMembership } = await import('./inspect.js');
  const results = await inspectDisks(definition.members.map(({ directory }) => directory));
  const ours = results.filter(
    (result): result is Inspected => !(result instanceof OperatingError) && result.superblock.membership.poolId === definition.poolId,
  );
  const membership = newestMembership(ours);
  const disks: DiskReport[] = [];
  const voters: VoterReport[] = [];
  for (const [index, member] of definition.members.entries()) {
    const result = results[index];
    const there = ours.find(({ superblock }) => superblock.diskId === member.id);
    const known = membership?.members.find(({ id }) => id === member.id);
    disks.push({
      path: member.directory,
      id: member.id,
      number: member.number,
      role: member.role,
      zone: known?.zone ?? null,
      state: shownState(there === undefined ? 'offline' : 'online', known?.state ?? 'active', false),
      present: there !== undefined,
      reason: there !== undefined ? null : result instanceof OperatingError ? result.message : 'another disk is at this place',
      voter: known?.voter ?? false,
      size_bytes: there?.capacity.totalBytes ?? 0,
      used_bytes: there === undefined ? 0 : there.capacity.totalBytes - there.capacity.freeBytes,
      free_bytes: there?.capacity.freeBytes ?? 0,
      shards: null,
      shard_bytes: null,
      reserve_bytes: 0,
      other_bytes: null,
      level: null,
      counted_at: null,
      errors: 0,
    });
    if (known?.voter === true)
      voters.push({
        path: member.directory,
        state: there === undefined ? 'absent' : 'unknown',
        reason: null,
        synced_position: 0,
        replica_position: 0,
      });
  }
  const offline = disks.filter(({ present }) => !present).length;
  return {
    pool: definition.name,
    pool_id: definition.poolId,
    state: dead ? 'dead' : 'unmounted',
    health: 'unknown',
    messages: offline === 0 ? [] : [`${offline} of ${disks.length} disks cannot be found: mount or connect them before mounting the pool.`],
    code: definition.code,
    mountpoint: dead ? lastMountpoint : null,
    work: null,
    disks,
    voters,
    usable_bytes: 0,
    used_bytes: 0,
    free_bytes: 0,
    endangered_blobs: 0,
    last_count: null,
    troubles: [],
    jobs: [],
    objects: 0,
    log: null,
    daemon_pid: null,
    front_end: null,
  };
}

/** A mount point whose folder is gone is not mounted. */
function isStale(mountpoint: string): Promise<boolean> {
  return isStaleMount(mountpoint).catch(() => false);
}

/** Removes the mount that a dead daemon of this pool left behind. The caller knows that none is alive. True when there was one. */
export async function cleanDeadMount({ lastMountpoint }: PoolDefinition): Promise<boolean> {
  return lastMountpoint !== null && (await isStale(lastMountpoint)) && (await cleanStaleMount(lastMountpoint)) > 0;
}

/** Resolves when the process has ended, whether or not its parent has taken notice: in a container the first process may never do that (proc(5): state Z). */
export async function waitForExit(pid: number): Promise<void> {
  while (await runs(pid)) await systemClock.sleep(EXIT_POLL_MS);
}

async function runs(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The name before it may hold anything, parentheses too.
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(')') + 1));
  } catch {
    return false;
  }
}
