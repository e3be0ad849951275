/**
 * Names for inodes, found in the index: `ostraka sync` needs a path to fsync a file through the mount. Directories' rows lead up; the name of a
 * file is looked for in one pass over all names, a page at a time, so that the event loop goes on in between.
 */
import type { Clock } from '../base/clock.js';
import type { IndexStore, Range } from '../index/index-store.js';
import { KeyReader } from '../index/keys.js';
import { pages } from '../index/pages.js';
import { decodeDirent } from '../index/schema/dirent-row.js';
import { decodeInode } from '../index/schema/inode-row.js';
import { TABLES, direntRange, inodeKey, tableRange } from '../index/schema/tables.js';

const PAGE_ROWS = 1000;
/** Deeper paths are longer than PATH_MAX. */
const DEPTH_MAX = 2048;
const ROOT_INO = 1;

/** The index, or a view of it. */
type Readable = Pick<IndexStore, 'get' | 'scan'>;

interface Name {
  readonly parent: number;
  readonly name: string;
}

/** One name of each inode in `wanted` within `range`; stops when all are found. */
async function findNames(
  index: Readable,
  clock: Pick<Clock, 'yield'>,
  range: Range,
  wanted: ReadonlySet<number>,
): Promise<Map<number, Name>> {
  const found = new Map<number, Name>();
  for await (const rows of pages(index, { ...range, limit: PAGE_ROWS }, clock)) {
    for (const { key, value } of rows) {
      const { ino } = decodeDirent(value);
      if (!wanted.has(ino) || found.has(ino)) continue;
      const reader = new KeyReader(key);
      found.set(ino, { parent: reader.number(), name: reader.restText() });
    }
    if (found.size === wanted.size) break;
  }
  return found;
}

async function parentOf(index: Readable, directory: number): Promise<number | undefined> {
  const row = await index.get(inodeKey(directory));
  return row === undefined ? undefined : decodeInode(directory, row).parent;
}

/** Path of a directory below the mount point, '' for the root; undefined when it is gone. */
async function directoryPath(index: Readable, clock: Pick<Clock, 'yield'>, ino: number): Promise<string | undefined> {
  const names: string[] = [];
  for (let at = ino; at !== ROOT_INO;) {
    if (names.length === DEPTH_MAX) return undefined;
    const parent = await parentOf(index, at);
    if (parent === undefined) return undefined;
    const name = (await findNames(index, clock, direntRange(parent, PAGE_ROWS), new Set([at]))).get(at)?.name;
    if (name === undefined) return undefined;
    names.unshift(name);
    at = parent;
  }
  return names.join('/');
}

/** The same of several. Each directory above them is read once, whatever it has of them. */
export async function directoryPaths(
  index: Readable,
  clock: Pick<Clock, 'yield'>,
  inos: readonly number[],
): Promise<Map<number, string | undefined>> {
  const names = new Map<number, Name>();
  for (let unknown = new Set(inos); unknown.size > 0;) {
    const parents = new Map<number, Set<number>>();
    for (const ino of unknown) {
      const parent = ino === ROOT_INO ? undefined : await parentOf(index, ino);
      if (parent !== undefined) parents.set(parent, (parents.get(parent) ?? new Set()).add(ino));
    }
    unknown = new Set();
    for (const [parent, wanted] of parents) {
      for (const [ino, name] of await findNames(index, clock, direntRange(parent, PAGE_ROWS), wanted)) names.set(ino, name);
      if (!names.has(parent)) unknown.add(parent);
    }
  }
  const pathOf = (ino: number, depth: number): string | undefined => {
    if (ino === ROOT_INO) return '';
    const name = names.get(ino);
    const above = name === undefined || depth === DEPTH_MAX ? undefined : pathOf(name.parent, depth + 1);
    if (name === undefined || above === undefined) return undefined;
    return above === '' ? name.name : `${above}/${name.name}`;
  };
  return new Map(inos.map((ino) => [ino, pathOf(ino, 0)]));
}

/**
 * One path below the mount point for each of the files, one character a byte. Files without a name (any more) have none.
 * @param inos at most a few thousand
 */
export async function pathsOf(index: Readable, clock: Pick<Clock, 'yield'>, inos: readonly number[]): Promise<string[]> {
  return [...(await pathsByInode(index, clock, inos)).values()];
}

/** The same, by inode. The root is ''. */
export async function pathsByInode(index: Readable, clock: Pick<Clock, 'yield'>, inos: readonly number[]): Promise<Map<number, string>> {
  const paths = new Map<number, string>();
  if (inos.length === 0) return paths;
  const folders = new Map<number, string | undefined>();
  for (const [ino, { parent, name }] of await findNames(index, clock, tableRange(TABLES.dirent, PAGE_ROWS), new Set(inos))) {
    if (!folders.has(parent)) folders.set(parent, await directoryPath(index, clock, parent));
    const folder = folders.get(parent);
    if (folder !== undefined) paths.set(ino, folder === '' ? name : `${folder}/${name}`);
  }
  if (inos.includes(ROOT_INO)) paths.set(ROOT_INO, '');
  return paths;
}
