/** The same program on the mount and on this machine's own file system: what comes out must be the same. */
import type t from 'tap';
import { mkdir } from 'node:fs/promises';
import { describeFully } from './metadata.js';
import { shell, type Place } from './place.js';
import { differences } from './tree.js';

/** Long enough for a build while other things run. */
const LIMIT_MS = 600_000;

export interface Twice {
  /** Folder on the mount. */
  readonly ours: string;
  /** Folder beside it. */
  readonly local: string;
}

/**
 * Runs a script in a folder of its own on both; `$1` is a folder that holds what both need. What it prints must be the same.
 * @returns the folders
 */
export async function runTwice(checks: Pick<typeof t, 'equal'>, place: Place, name: string, script: string, input: string): Promise<Twice> {
  const both = { ours: place.at(name), local: place.beside(name) };
  const said: string[] = [];
  for (const folder of [both.local, both.ours]) {
    await mkdir(folder);
    said.push((await shell(script, [input], { cwd: folder, limitMs: LIMIT_MS })).stdout);
  }
  checks.equal(said[1], said[0], `${name}: the same output`);
  return both;
}

/** Modes, owners, links, attributes, ACLs and content are the same, but for paths that match `unless`. */
export async function sameTrees(checks: Pick<typeof t, 'same'>, { ours, local }: Twice, unless = /^$/): Promise<void> {
  const [want, got] = [await describeFully(local), await describeFully(ours)].map(
    (tree) => new Map([...tree].filter(([path]) => !unless.test(path)).map(([path, line]) => [path, line.replace(/ mtime -?\d+/, '')])),
  );
  checks.same(differences(want ?? new Map<string, string>(), got ?? new Map<string, string>()), [], `${want?.size} files and folders`);
}
