/**
 * The plain model of one client's part of the namespace: a directory of its own with everything below. It knows what processes see now, and which
 * states a crash may bring back, given the position up to which recovery found the log:
 *
 *   names     each change was committed between two known positions; before: not there, behind: there, between: either (I3, I4)
 *   contents  each version exists since a position; a commit makes it, or a later one, the least that a crash leaves (I3, I4)
 *   durable   what was acknowledged as durable is the least that a crash leaves, wherever the log ends
 */
import { must } from '../../src/base/assert.js';
import type { Handle, Ino } from '../../src/namespace/namespace.js';
import { expect, type Rule } from './violation.js';

/** What made a version of the one before it. */
export type ContentChange =
  { readonly kind: 'write'; readonly offset: number; readonly data: Buffer } | { readonly kind: 'size'; readonly size: number };

function lengthAfter(length: number, change: ContentChange): number {
  return change.kind === 'size' ? change.size : Math.max(length, change.offset + change.data.length);
}

export function contentAfter(content: Buffer, change: ContentChange): Buffer {
  const after = Buffer.alloc(lengthAfter(content.length, change));
  content.copy(after);
  if (change.kind === 'write') change.data.copy(after, change.offset);
  return after;
}

interface Version {
  readonly content: Buffer;
  readonly change: ContentChange;
  /** The log's head when it came to be: its commit comes behind. */
  readonly since: number;
}

export class ModelFile {
  readonly handles: Handle[] = [];
  /** What was written was seen to be lost; its handles have to tell when they are flushed. */
  owesError = false;
  #versions: Version[];
  /** A crash that leaves the log up to `position` leaves this version or a later one. */
  #floors: { readonly position: number; readonly version: number }[] = [];
  #durable = 0;

  constructor(
    readonly ino: Ino,
    content: Buffer,
    since: number,
  ) {
    this.#versions = [{ content, since, change: nothing }];
  }

  /** What processes see. */
  get content(): Buffer {
    return must(this.#versions.at(-1), 'there is one').content;
  }

  /** The number of the version that processes see. */
  get version(): number {
    return this.#versions.length - 1;
  }

  /** When the version that processes see came to be. */
  get since(): number {
    return must(this.#versions.at(-1), 'there is one').since;
  }

  change(change: ContentChange, since: number): void {
    this.#versions.push({ content: contentAfter(this.content, change), change, since });
  }

  /** `version` was committed by `position`. */
  committed(version: number, position: number): void {
    this.#floors.push({ position, version });
  }

  /** `version` was acknowledged as durable. */
  durable(version: number): void {
    this.#durable = Math.max(this.#durable, version);
  }

  /** The least and the last version that may be there when the log ends at `position`. */
  #range(position: number): { least: number; last: number } {
    let least = this.#durable;
    for (const floor of this.#floors) if (floor.position <= position) least = Math.max(least, floor.version);
    let last = this.#versions.length - 1;
    while (last > 0 && (this.#versions[last]?.since ?? 0) >= position) last--;
    return { least, last: Math.max(least, last) };
  }

  /** What was found after a crash at `position`. @param lossy writes may have failed without the model's knowledge */
  recovered(found: Buffer, position: number, lossy: boolean): void {
    const { least, last } = this.#range(position);
    this.#match(found, least, last, lossy, `after a crash at ${position}`, 'I4 prefix');
    this.#versions = [{ content: found, since: 0, change: nothing }];
    this.#floors = [];
    this.#durable = 0;
    this.owesError = false;
  }

  /** What is there after a write failed: a version that was committed, or is about to be. Not one from before a flush that said yes (I8). */
  fellBack(found: Buffer): void {
    const { least } = this.#range(Infinity);
    this.#versions = this.#match(found, least, this.version, true, 'after an error', 'I8 loud');
  }

  /**
   * Finds the version that this is.
   * @param whenOld the rule that is broken when it is one from before those
   * @param lossy writes that lie side by side may be left out: they failed, and those after them were made to what stood
   * @returns the versions that lead to it
   */
  #match(found: Buffer, least: number, last: number, lossy: boolean, when: string, whenOld: Rule): Version[] {
    const versions = this.#versions;
    for (let kept = last; kept >= least; kept--)
      if (must(versions[kept], 'in range').content.equals(found)) return versions.slice(0, kept + 1);
    for (let kept = last; lossy && kept >= least; kept--)
      for (let from = kept + 2; from <= last; from++) {
        const path = versions.slice(0, kept + 1);
        for (const { change, since } of versions.slice(from, last + 1)) {
          const content = contentAfter(must(path.at(-1), 'there is one').content, change);
          path.push({ content, change, since });
          if (content.equals(found)) return path;
        }
      }
    const known = versions.findIndex(({ content }) => content.equals(found));
    const { content } = must(versions[last], 'there is one');
    expect(
      false,
      known < 0 ? 'I3 one swap' : whenOld,
      () =>
        `inode ${this.ino} ${when} has ${found.length} bytes, ` +
        (known < 0
          ? `no version that it had (of ${least}…${last}; from the last of ${content.length} bytes it differs at ${firstDifference(content, found)})`
          : `version ${known}, not one of ${least}…${last}`),
    );
  }
}

const nothing: ContentChange = { kind: 'write', offset: 0, data: Buffer.alloc(0) };

export function firstDifference(a: Buffer, b: Buffer): number {
  const bytes = Math.min(a.length, b.length);
  for (let at = 0; at < bytes; at++) if (a[at] !== b[at]) return at;
  return bytes;
}

/** Names and inodes of directories, by the directory's inode. */
export class Tree {
  constructor(readonly directories = new Map<Ino, Map<string, Ino>>()) {}

  copy(): Tree {
    return new Tree(new Map([...this.directories].map(([ino, entries]) => [ino, new Map(entries)])));
  }

  entries(ino: Ino): Map<string, Ino> {
    return must(this.directories.get(ino), `directory ${ino}`);
  }

  isDirectory(ino: Ino | undefined): boolean {
    return ino !== undefined && this.directories.has(ino);
  }

  /** Names of an inode. */
  links(ino: Ino): number {
    let count = 0;
    for (const entries of this.directories.values()) for (const child of entries.values()) if (child === ino) count++;
    return count;
  }

  isBelow(ino: Ino, above: Ino): boolean {
    if (ino === above) return true;
    for (const [at, entries] of this.directories) for (const child of entries.values()) if (child === ino) return this.isBelow(at, above);
    return false;
  }

  text(): string {
    const lines = [...this.directories].map(
      ([ino, entries]) =>
        `${ino}: ${[...entries]
          .map(([name, child]) => `${name}=${child}`)
          .sort()
          .join(' ')}`,
    );
    return lines.sort().join('; ');
  }
}

/** One change of names. */
export interface NameChange {
  /** The log's head before it was asked for. */
  readonly before: number;
  /** The log's head after it was answered; undefined: it was not. */
  after: number | undefined;
  /** Does it to a tree; what it makes has this inode, where it is known. */
  readonly apply: (tree: Tree) => void;
  /** It was answered when it was durable. */
  durable: boolean;
}

/** The names of one client, now and as a crash may leave them. */
export class ModelNames {
  tree: Tree;
  #base: Tree;
  #changes: NameChange[] = [];

  constructor(tree: Tree) {
    this.#base = tree.copy();
    this.tree = tree;
  }

  /** A change is under way. */
  begin(before: number, apply: (tree: Tree) => void): NameChange {
    const change: NameChange = { before, after: undefined, apply, durable: false };
    this.#changes.push(change);
    return change;
  }

  /** It was answered. */
  done(change: NameChange, after: number): void {
    change.after = after;
    change.apply(this.tree);
  }

  /** It was not done at all. */
  refused(change: NameChange): void {
    this.#changes = this.#changes.filter((each) => each !== change);
  }

  /** All that was answered so far is durable. */
  durable(): void {
    for (const change of this.#changes) if (change.after !== undefined) change.durable = true;
  }

  /** The trees that a crash may leave when the log ends at `position`. */
  candidates(position: number): Tree[] {
    let trees = [this.#base.copy()];
    for (const change of this.#changes) {
      const surely = change.durable || (change.after !== undefined && change.after <= position);
      const maybe = !surely && change.before < position;
      if (!surely && !maybe) continue;
      const changed = trees.map((tree) => tree.copy());
      for (const tree of changed) change.apply(tree);
      trees = surely ? changed : [...trees, ...changed];
    }
    return trees;
  }

  /** What was found is what there is from now on. */
  adopt(tree: Tree): void {
    this.tree = tree;
    this.#base = tree.copy();
    this.#changes = [];
  }
}

/** Is `found` this tree? Inodes whose number nobody learned match what is in their place. */
export function matches(found: Tree, expected: Tree): boolean {
  const same = (a: Ino, b: Ino): boolean => {
    const here = found.entries(a);
    const there = expected.entries(b);
    if (here.size !== there.size) return false;
    for (const [name, child] of there) {
      const other = here.get(name);
      if (other === undefined || found.isDirectory(other) !== expected.isDirectory(child)) return false;
      if (child >= 0 && child !== other) return false;
      if (expected.isDirectory(child) && !same(other, child)) return false;
    }
    return true;
  };
  const [root] = expected.directories.keys();
  return root !== undefined && same(root, root);
}
