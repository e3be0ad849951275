/**
 * From paths to inodes. The package is told paths alone; libfuse keeps them steady while an operation uses them: no rename or removal of a part of one comes
 * meanwhile. Found names are remembered by (folder, name), so that a renamed folder takes what is in it along; whoever changes a name says so here.
 *
 * libfuse renames what is unlinked or replaced while open to `.fuse_hidden…` and unlinks that at the last close. Here such a file loses its name at once, as it
 * should, and the hidden name stands for its inode as long as it is open: no listing shows it, and no crash leaves it behind.
 */
import { LRUCache } from 'lru-cache';
import { OperatingError } from '../../base/errors.js';
import { NATIVE_PATHS_MAX } from '../../base/limits.js';
import type { Caller, Ino, Namespace } from '../../namespace/namespace.js';
import { faithful, nameOf } from './values.js';

const ROOT: Ino = 1;
/** Made once, since errors are dear to make. */
const NO_ENTRY = new OperatingError('ENOENT', 'no such entry');
const HIDDEN = /^\.fuse_hidden[0-9a-f]{16}$/;

/** A name in a folder. */
export interface Place {
  readonly parent: Ino;
  /** As the namespace has it. */
  readonly name: string;
}

function keyOf({ parent, name }: Place): string {
  return `${parent}/${name}`;
}

export class Paths {
  readonly #namespace: Namespace;
  readonly #caller: Caller;
  readonly #known = new LRUCache<string, Ino>({ max: NATIVE_PATHS_MAX });
  /** Files without a name that are open; bounded by those. */
  readonly #hidden = new Map<string, Ino>();
  /** Changes of names: what was looked up before one is not remembered after it. */
  #changes = 0;

  constructor(namespace: Namespace, caller: Caller) {
    this.#namespace = namespace;
    this.#caller = caller;
  }

  /** The inode at this path. @throws OperatingError ENOENT, ENOTDIR, ENAMETOOLONG */
  async ino(path: string): Promise<Ino> {
    let at = ROOT;
    for (const part of path.split('/')) if (part !== '') at = await this.#child({ parent: at, name: nameOf(part) });
    return at;
  }

  /** The last name of a path, and the folder that it is in. */
  async place(path: string): Promise<Place> {
    const slash = path.lastIndexOf('/');
    return { parent: await this.ino(path.slice(0, slash)), name: nameOf(path.slice(slash + 1)) };
  }

  /** Where something is to be made. @throws OperatingError EILSEQ too */
  async newPlace(path: string): Promise<Place> {
    return this.place(faithful(path));
  }

  async #child(place: Place): Promise<Ino> {
    const key = keyOf(place);
    const known = this.#hidden.get(key) ?? this.#known.get(key);
    if (known !== undefined) return known;
    const changes = this.#changes;
    const found = await this.#namespace.lookup(place.parent, place.name, this.#caller);
    if (found === undefined) throw NO_ENTRY;
    const { ino } = found;
    this.#namespace.forget(ino, 1);
    if (changes === this.#changes) this.#known.set(key, ino);
    return ino;
  }

  /** The namespace gave `ino` this name, and counted a lookup for it. */
  made(place: Place, ino: Ino): void {
    this.#changes++;
    this.#known.set(keyOf(place), ino);
    this.#namespace.forget(ino, 1);
  }

  /** This name is gone, or stands for another inode now. */
  changed(...places: readonly Place[]): void {
    this.#changes++;
    for (const place of places) this.#known.delete(keyOf(place));
  }

  /** Is a rename to this place libfuse's way to unlink an open file? */
  hides(from: Place, to: Place): boolean {
    return from.parent === to.parent && HIDDEN.test(to.name);
  }

  /** Takes the name of an open file away; until `closed`, the hidden one stands for the inode. */
  async hide(from: Place, to: Place): Promise<void> {
    const ino = await this.#child(from);
    await this.#namespace.unlink(from.parent, from.name, this.#caller);
    this.changed(from);
    this.#hidden.set(keyOf(to), ino);
  }

  /** Its last descriptor is about to go. libfuse then unlinks the hidden name, which is not there, and does not mind. */
  closed(ino: Ino): void {
    for (const [key, hidden] of this.#hidden) if (hidden === ino) this.#hidden.delete(key);
  }
}
