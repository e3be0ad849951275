/** What `ostraka disk` asks of the daemon: checks of directories, the change itself, and the jobs that follow from it. */
import { stat } from 'node:fs/promises';
import { systemClock, type Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { Member } from '../disk/membership.js';
import { checkCandidate, checkZone } from './candidates.js';
import type { ControlRequest } from './control-protocol.js';
import { findMember, type MembershipChanger } from './membership-changer.js';
import type { Pool } from './pool.js';

export type DiskRequest = Extract<ControlRequest, { verb: `disk-${string}` }>;

/** A disk that hangs answers no look; what comes next does without it. */
const LOOK_LIMIT_MS = 5000;

/** How a disk stands after a request. */
export interface DiskAnswer {
  readonly disk: Pick<Member, 'number' | 'id' | 'state' | 'voter'> & { readonly path: string };
  /** Of a removal: it has left the pool. Otherwise it does so by itself when nothing names it any more. */
  readonly gone: boolean;
  readonly warnings: readonly string[];
}

/** What is real in a request: this machine, or a simulated one. */
export interface DiskRequestGround {
  readonly clock: Pick<Clock, 'sleep'>;
  /** Looks at a directory that is to become a disk. Resolves with warnings. @throws OperatingError what is wrong with it */
  readonly checkNew: (pool: Pool, directory: string) => Promise<readonly string[]>;
}

const thisMachine: DiskRequestGround = { clock: systemClock, checkNew };

/** @throws OperatingError as MembershipChanger does; EROFS while the pool is read-only */
export async function handleDiskRequest(pool: Pool, request: DiskRequest, ground = thisMachine): Promise<DiskAnswer> {
  const { members, diskSet } = pool;
  if (members === undefined)
    throw new OperatingError('EROFS', 'the disks of a pool change only while it can be written', {
      hint: pool.readOnlyReason ?? 'It was mounted read-only.',
    });
  // Whoever replaces a disk has often just pulled it out: nothing shall be copied from there.
  await lookAtDisks(pool, ground.clock);
  if (request.verb === 'disk-add') return add(pool, members, request, ground);
  const found = findMember(diskSet.membership, request.disk, (number) => diskSet.disk(number)?.directory);
  switch (request.verb) {
    case 'disk-drain': {
      const member = await members.setDraining(found.number, request.on);
      if (member.role === 'data') await (request.on ? startJob(pool, 'drain') : Promise.resolve());
      return answer(pool, member);
    }
    case 'disk-replace': {
      const warnings = await ground.checkNew(pool, request.directory);
      const member = await members.replace(found.number, { directory: request.directory, zone: undefined }, request.force);
      await startJob(pool, 'heal');
      if (diskSet.membership.members.some(({ state }) => state === 'draining')) await startJob(pool, 'drain');
      return answer(pool, member, warnings);
    }
    case 'disk-remove': {
      const gone = await members.remove(found.number, request.force);
      if (!gone) await startJob(pool, 'heal');
      const now = diskSet.membership.members.find(({ number }) => number === found.number);
      return { ...answer(pool, now ?? found), gone };
    }
  }
}

async function add(
  pool: Pool,
  members: MembershipChanger,
  { directory, zone }: Extract<DiskRequest, { verb: 'disk-add' }>,
  ground: DiskRequestGround,
): Promise<DiskAnswer> {
  if (zone !== null) checkZone(zone);
  const warnings = await ground.checkNew(pool, directory);
  const member = await members.add({ directory, zone: zone ?? undefined });
  // What found no place before finds one now.
  await startJob(pool, 'heal');
  return answer(pool, member, warnings);
}

/** Looks which disks are there now, since whoever asks for something has often just pulled one out, or put one back. */
export async function lookAtDisks({ diskSet }: Pick<Pool, 'diskSet'>, clock: Pick<Clock, 'sleep'> = systemClock): Promise<void> {
  await Promise.race([diskSet.probeNow(), clock.sleep(LOOK_LIMIT_MS)]);
}

function answer(pool: Pool, { number, id, state, voter, directory }: Member, warnings: readonly string[] = []): DiskAnswer {
  return { disk: { number, id, state, voter, path: pool.diskSet.disk(number)?.directory ?? directory }, gone: false, warnings };
}

/** @throws OperatingError what is wrong with the directory */
async function checkNew(pool: Pool, path: string): Promise<string[]> {
  const { directory, device } = await checkCandidate(path, 'data');
  const shared: string[] = [];
  for (const { member, disk } of pool.diskSet.members()) {
    const other = disk?.directory ?? member.directory;
    const found = member.role === 'data' ? await stat(other).catch(() => undefined) : undefined;
    if (found?.dev === device && other !== directory) shared.push(other);
  }
  return shared.length === 0 ? [] : [`${directory} is on one file system with ${shared.join(', ')}: they fail together.`];
}

/** Starts a job if this daemon has that kind; one that is under way goes on. */
async function startJob(pool: Pool, kind: string): Promise<void> {
  try {
    await pool.jobs.start(kind);
  } catch (error) {
    // Heal and drain start by themselves as well, when there is something for them to do.
    if (!(error instanceof OperatingError)) throw error;
  }
}
