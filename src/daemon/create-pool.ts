/**
 * `ostraka init`: makes a pool of directories. Everything is checked on all of them before anything is written; if it fails half way, what it
 * made (and only that) is removed again.
 */
import { lstat, mkdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { OperatingError } from '../base/errors.js';
import { newUuid } from '../base/ids.js';
import { POOL_DISKS_MAX } from '../base/limits.js';
import type { Membership } from '../disk/membership.js';
import { LOCK_FILE } from '../disk/native-disk.js';
import { withDirectory } from '../disk/disk-opener.js';
import { UNFINISHED_MARK, checkUnused } from '../disk/superblock-file.js';
import { withUnfinished } from '../disk/unfinished.js';
import { SUPERBLOCK_FILE } from '../disk/superblock.js';
import { QUORUM_DIRECTORY } from '../quorum/voter-format.js';
import { checkCandidate, checkZone, refuseTwice, type Candidate } from './candidates.js';
import { checkCode, defaultCode, formatCode, planVoters, type Code, type VoterPlan } from './code.js';
import { makingEnvironment, type MakingEnvironment } from './environment.js';
import { ensureFolder, poolPaths, type Folders } from './folders.js';
import { initialisePool } from './initialise-pool.js';
import { checkPoolName, findDefinition, writeDefinition, type PoolDefinition } from './pool-definition.js';

export interface CreateOptions {
  readonly folders: Folders;
  readonly name: string;
  readonly disks: readonly string[];
  /** By the number of disks unless given. */
  readonly code: Code | undefined;
  readonly witnesses: readonly string[];
  /** DIR=LABEL */
  readonly zones: readonly string[];
}

export interface Created {
  readonly definition: PoolDefinition;
  readonly membership: Membership;
  /** What the operator should know. */
  readonly warnings: readonly string[];
  /** What was done by itself. */
  readonly notes: readonly string[];
}

/** @throws OperatingError: what is wrong with which directory; nothing has changed then. */
export async function createPool(options: CreateOptions): Promise<Created> {
  const { folders, name } = options;
  checkPoolName(name);
  if ((await findDefinition(folders, name)) !== undefined)
    throw new OperatingError('EEXIST', `a pool "${name}" is known here already`, {
      hint: 'Choose another name; "ostraka list" shows those taken.',
    });
  if (options.disks.length + options.witnesses.length > POOL_DISKS_MAX)
    throw new OperatingError('EINVAL', `a pool has at most ${POOL_DISKS_MAX} disks`, { hint: 'Make two pools.' });
  const candidates: Candidate[] = [];
  for (const path of options.disks) candidates.push(await checkCandidate(path, 'data'));
  for (const path of options.witnesses) candidates.push(await checkCandidate(path, 'witness'));
  refuseTwice(candidates);
  const disks = candidates.filter(({ role }) => role === 'data');
  const zones = parseZones(options.zones, disks);
  const zoneOf = disks.map(({ directory }) => zones.get(directory));
  const code = options.code ?? defaultCode(disks.length);
  checkCode(code, zoneOf);
  const plan = planVoters(code, zoneOf, options.witnesses.length);
  const environment = makingEnvironment(() => undefined);
  const removed = await removeUnfinished(environment, candidates);
  for (const { directory } of candidates) await withDirectory(environment.opener, directory, checkUnused);
  const own = poolPaths(folders, name).witness;
  if (plan.ownWitness) await checkOwnWitness(own);
  const membership = formMembership(environment, name, code, plan, candidates, zones, plan.ownWitness ? own : undefined);
  const definition: PoolDefinition = {
    version: 1,
    name,
    poolId: membership.poolId,
    code: formatCode(code),
    members: membership.members.map(({ number, id, role, directory }) => ({ number, id, role, directory })),
    settings: {},
    lastMountpoint: null,
  };
  await write(environment, membership, definition, folders, plan.ownWitness ? own : undefined);
  const { warnings, notes } = remarks(code, plan, disks, options.witnesses.length, own);
  if (removed.length > 0) notes.unshift(`Making a pool of ${removed.join(', ')} was cut off once; what that had left was removed.`);
  return { definition, membership, warnings, notes };
}

/** Files of a disk that a pool gets when it is made, in the order in which they can go again. */
const MADE_FILES = [QUORUM_DIRECTORY, SUPERBLOCK_FILE, LOCK_FILE, UNFINISHED_MARK];

/** Removes what an `init` that was cut off has left in these directories and in those that it was given beside them. Returns all of these. */
async function removeUnfinished({ opener }: MakingEnvironment, candidates: readonly Candidate[]): Promise<string[]> {
  const removed = new Set<string>();
  for (const { directory } of candidates)
    await withUnfinished(opener, directory, async (directories) => {
      for (const each of directories) {
        for (const name of MADE_FILES) await rm(join(each, name), { recursive: true, force: true });
        removed.add(each);
      }
    });
  return [...removed];
}

function parseZones(given: readonly string[], disks: readonly Candidate[]): Map<string, string> {
  const zones = new Map<string, string>();
  for (const text of given) {
    const at = text.lastIndexOf('=');
    const directory = at < 0 ? undefined : resolve(text.slice(0, at));
    const label = text.slice(at + 1);
    if (directory === undefined) throw new OperatingError('EINVAL', `"${text}" is not a zone`, { hint: 'Give DIR=LABEL.' });
    checkZone(label);
    if (!disks.some((disk) => disk.directory === directory))
      throw new OperatingError('EINVAL', `zone "${label}" is given for a directory that is no disk of this pool`, {
        path: directory,
        hint: 'Give zones for directories that are given with --disk.',
      });
    zones.set(directory, label);
  }
  return zones;
}

/** The witness of an earlier pool of this name that is no longer known here must not be taken over; an empty directory is none. */
async function checkOwnWitness(path: string): Promise<void> {
  await rmdir(path).catch(() => undefined);
  const there = await lstat(path).then(
    () => true,
    () => false,
  );
  if (there)
    throw new OperatingError('ENOTEMPTY', 'there is a witness of another pool of this name already', {
      path,
      hint: 'Choose another name, import that pool, or remove this directory if that pool is gone for good.',
    });
}

function formMembership(
  { random }: MakingEnvironment,
  name: string,
  { k, m }: Code,
  plan: VoterPlan,
  candidates: readonly Candidate[],
  zones: ReadonlyMap<string, string>,
  ownWitness: string | undefined,
): Membership {
  const members = candidates.map(({ directory, role }, index) => ({
    number: index + 1,
    id: newUuid(random),
    role,
    state: 'active' as const,
    // Data disks come first, so their index here is that in the plan.
    voter: role === 'witness' || plan.data.includes(index),
    zone: zones.get(directory),
    directory,
  }));
  if (ownWitness !== undefined)
    members.push({
      number: members.length + 1,
      id: newUuid(random),
      role: 'witness',
      state: 'active',
      voter: true,
      zone: undefined,
      directory: ownWitness,
    });
  return { epoch: 0, version: 1, poolId: newUuid(random), poolName: name, k, m, lastNumber: members.length, members };
}

/** Writes superblocks, then the definition; takes back what it made when something fails. */
async function write(
  environment: MakingEnvironment,
  membership: Membership,
  definition: PoolDefinition,
  folders: Folders,
  ownWitness: string | undefined,
): Promise<void> {
  const undo: (() => Promise<void>)[] = [];
  try {
    if (ownWitness !== undefined) {
      await ensureFolder(dirname(ownWitness), false);
      await mkdir(ownWitness, { mode: 0o700 });
      undo.push(() => rm(ownWitness, { recursive: true }));
    }
    await initialisePool(environment, membership, () => {
      for (const { directory } of membership.members)
        for (const name of [...MADE_FILES].reverse()) undo.push(() => rm(join(directory, name), { recursive: true, force: true }));
    });
    await writeDefinition(folders, definition);
  } catch (error) {
    // Last made, first removed. What cannot be removed is told by the error that came first.
    for (const action of undo.reverse()) await action().catch(() => undefined);
    throw error;
  }
}

function remarks(
  code: Code,
  plan: VoterPlan,
  disks: readonly Candidate[],
  witnesses: number,
  own: string,
): { warnings: string[]; notes: string[] } {
  const warnings: string[] = [];
  const notes: string[] = [];
  if (code.m === 0) warnings.push(`code ${formatCode(code)} protects from nothing: losing one disk loses data. Use two disks or more.`);
  const shared = new Map<number, string[]>();
  for (const { device, directory } of disks) shared.set(device, [...(shared.get(device) ?? []), directory]);
  for (const directories of shared.values())
    if (directories.length > 1)
      warnings.push(`these are on one file system and fail together: ${directories.join(', ')}. Use a disk of its own for each.`);
  if (plan.ownWitness)
    notes.push(
      `A witness was put at ${own}: it votes on the index together with the disks, since they are too few to be a majority system alone.`,
    );
  const voters = plan.data.length + witnesses + (plan.ownWitness ? 1 : 0);
  if (plan.tolerated < code.m)
    warnings.push(
      `with ${voters} voters, losing ${plan.tolerated + 1} of them makes the pool read-only; ${2 * code.m + 1 - voters} more --witness would avoid that.`,
    );
  return { warnings, notes };
}
