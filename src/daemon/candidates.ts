/** Directories that are to become disks or witnesses: what can be said of each before anything is written. For `init` and `disk add`. */
import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { MiB } from '../base/limits.js';

/** A disk with less free space is full: segments and logs could not even begin. */
const DISK_FREE_BYTES_MIN = 32 * MiB;
const WITNESS_FREE_BYTES_MIN = 16 * MiB;
const ZONE_LABEL = /^[\w.:-]{1,64}$/;

/** A directory that passed its own checks. */
export interface Candidate {
  /** Absolute, as the operator named it. */
  readonly directory: string;
  readonly role: 'data' | 'witness';
  readonly device: number;
  readonly inode: number;
}

/** @throws OperatingError EINVAL unless `label` can name a zone. */
export function checkZone(label: string): void {
  if (ZONE_LABEL.test(label)) return;
  throw new OperatingError('EINVAL', `"${label}" cannot be the name of a zone`, {
    hint: 'Use letters, digits, dots, dashes, colons and underscores.',
  });
}

/** It is there, a directory, ours to write to, with room. */
export async function checkCandidate(path: string, role: 'data' | 'witness'): Promise<Candidate> {
  const directory = resolve(path);
  const word = role === 'data' ? 'disk' : 'witness';
  const where = { disk: directory };
  try {
    const found = await stat(directory);
    if (!found.isDirectory())
      throw new OperatingError('ENOTDIR', `${word} ${directory} is not a directory`, {
        ...where,
        hint: 'Give the directory on which the disk is mounted.',
      });
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    const space = await statfs(directory);
    const needed = role === 'data' ? DISK_FREE_BYTES_MIN : WITNESS_FREE_BYTES_MIN;
    if (space.bavail * space.bsize < needed)
      throw new OperatingError('ENOSPC', `${word} ${directory} is full: it has less than ${needed / MiB} MiB free`, {
        ...where,
        hint: 'Free some space on it, or give another disk.',
      });
    return { directory, role, device: found.dev, inode: found.ino };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && !(error instanceof OperatingError))
      throw new OperatingError('ENOENT', `${word} ${directory} is not there`, {
        ...where,
        hint: 'Mount the disk, or make the directory first.',
      });
    if (code === 'EACCES' && !(error instanceof OperatingError))
      throw new OperatingError('EACCES', `${word} ${directory} cannot be read and written by this user`, {
        ...where,
        hint: 'Give the directory to this user (chown), or run this as root.',
      });
    throw asOperatingError(error, where);
  }
}

/** The same directory under two names (links, bind mounts) has one device and inode. */
export function refuseTwice(candidates: readonly Candidate[]): void {
  const seen = new Map<string, Candidate>();
  for (const each of candidates) {
    const key = `${each.device}:${each.inode}`;
    const before = seen.get(key);
    if (before !== undefined) {
      const names = before.directory === each.directory ? each.directory : `${before.directory} and ${each.directory}`;
      throw new OperatingError('EINVAL', `the same directory is given twice: ${names}`, {
        disk: each.directory,
        hint: 'Give each disk once.',
      });
    }
    seen.set(key, each);
  }
}
