/**
 * Pool definitions: NAME.json in the configuration folder says which directories make up a pool on this machine. The disks' superblocks are
 * the authority on who belongs to it; a definition only says where to look, what is set, and where the pool was mounted last.
 */
import { open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { isUuid, type Uuid } from '../base/ids.js';
import { POOL_DISKS_MAX } from '../base/limits.js';
import type { Membership } from '../disk/membership.js';
import { ensureFolder, type Folders } from './folders.js';
import { settingsSchema } from './settings.js';

const uuid = z.custom<Uuid>((value) => typeof value === 'string' && isUuid(value), 'not a UUID of 32 hexadecimal digits');
const path = z.string().refine(isAbsolute, 'not an absolute path');

const memberSchema = z.strictObject({
  number: z.number().int().min(1).max(65_535),
  id: uuid,
  role: z.enum(['data', 'witness']),
  directory: path,
});

const definitionSchema = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  poolId: uuid,
  /** The code of new blobs, for pools that are not mounted. */
  code: z.string().regex(/^\d+\+\d+$/),
  members: z.array(memberSchema).min(1).max(POOL_DISKS_MAX),
  settings: settingsSchema,
  lastMountpoint: path.nullable(),
});

export type PoolDefinition = z.infer<typeof definitionSchema>;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** @throws OperatingError EINVAL unless `name` can be a pool's. */
export function checkPoolName(name: string): void {
  if (!NAME.test(name))
    throw new OperatingError('EINVAL', `"${name}" cannot be the name of a pool`, {
      hint: 'Use 1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit.',
    });
}

function definitionPath(folders: Folders, name: string): string {
  return join(folders.config, `${name}.json`);
}

/**
 * Reads the definition of a pool; undefined when this machine knows none of that name.
 * @throws OperatingError EINVAL when the file is damaged.
 */
export async function findDefinition(folders: Folders, name: string): Promise<PoolDefinition | undefined> {
  checkPoolName(name);
  const file = definitionPath(folders, name);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asOperatingError(error, { path: file });
  }
  const hint = 'Remove it and take the pool over again with "ostraka import --disk DIR…".';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new OperatingError('EINVAL', 'this pool definition is not JSON', { path: file, hint, cause });
  }
  const parsed = definitionSchema.safeParse(json);
  if (!parsed.success)
    throw new OperatingError('EINVAL', `this pool definition is damaged: ${z.prettifyError(parsed.error)}`, { path: file, hint });
  if (parsed.data.name !== name)
    throw new OperatingError('EINVAL', `this pool definition is of "${parsed.data.name}"`, {
      path: file,
      hint: 'Name the file after its pool.',
    });
  return parsed.data;
}

/** @throws OperatingError ENOENT when this machine knows no such pool. */
export async function readDefinition(folders: Folders, name: string): Promise<PoolDefinition> {
  const found = await findDefinition(folders, name);
  if (found !== undefined) return found;
  throw new OperatingError('ENOENT', `no pool "${name}" is known here`, {
    path: definitionPath(folders, name),
    hint: '"ostraka list" shows the pools known; "ostraka import --disk DIR…" takes one over from its disks.',
  });
}

/** Replaces or makes a definition: the old one or the new one is there after a crash, whole. */
export async function writeDefinition(folders: Folders, definition: PoolDefinition): Promise<void> {
  checkPoolName(definition.name);
  await ensureFolder(folders.config, false);
  const file = definitionPath(folders, definition.name);
  const temporary = `${file}.${process.pid}.new`;
  try {
    const handle = await open(temporary, 'w', 0o644);
    try {
      await handle.writeFile(JSON.stringify(definitionSchema.parse(definition), undefined, 2) + '\n');
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    const folder = await open(folders.config, 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await rm(temporary, { force: true });
    throw asOperatingError(error, { path: file });
  }
}

/** Names of all pools known here, sorted. */
export async function definedPools(folders: Folders): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folders.config);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw asOperatingError(error, { path: folders.config });
  }
  return names
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length))
    .filter((name) => NAME.test(name))
    .sort();
}

/** A definition that names the members of a pool as they are now; directories that it knows already stay. */
export function following(definition: PoolDefinition, membership: Membership): PoolDefinition {
  const members = membership.members.map(({ number, id, role, directory }) => {
    const known = definition.members.find((member) => member.id === id);
    return { number, id, role, directory: known?.directory ?? directory };
  });
  return { ...definition, members };
}

/** Makes the definition of a pool name its members as they are now. */
export async function followMembership(folders: Folders, name: string, membership: Membership): Promise<void> {
  const definition = await readDefinition(folders, name);
  const next = following(definition, membership);
  if (JSON.stringify(next.members) !== JSON.stringify(definition.members)) await writeDefinition(folders, next);
}
