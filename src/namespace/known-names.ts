/**
 * All names that directories made since the start ever had, as hashes: what is not among them is not there, and nobody has to look for it in the index. Programs
 * that make files in new directories (tar, rsync, git) have the kernel look up each name before it is made. Names are only added, so that one which went or
 * has the hash of another costs a look, as without this. A bounded number of bytes: directories to which nothing was added for long are given up first.
 */
import { KNOWN_DIRECTORIES_MAX, KNOWN_NAMES_SLOTS_MAX } from '../base/limits.js';
import type { Ino } from './namespace.js';

const SLOTS_MIN = 16;

/** FNV-1a over the bytes of a name; never 0, which marks a free slot. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return hash === 0 ? 1 : hash;
}

/** Of all that are empty: one free slot. */
const NO_SLOTS = new Int32Array(1);

/** A set of hashes: open addressing, at most half full. */
class Hashes {
  slots = NO_SLOTS;
  #count = 0;

  /** Where the hash is, or the free slot where it would be. */
  #find(hash: number): number {
    const mask = this.slots.length - 1;
    // The low bits of FNV alone are weak.
    let at = (hash ^ (hash >>> 15)) & mask;
    while (this.slots[at] !== 0 && this.slots[at] !== hash) at = (at + 1) & mask;
    return at;
  }

  has(hash: number): boolean {
    return this.slots[this.#find(hash)] === hash;
  }

  add(hash: number): void {
    if (this.has(hash)) return;
    if (2 * ++this.#count > this.slots.length) {
      const before = this.slots;
      this.slots = new Int32Array(Math.max(SLOTS_MIN, before.length * 2));
      for (const known of before) if (known !== 0) this.slots[this.#find(known)] = known;
    }
    this.slots[this.#find(hash)] = hash;
  }
}

export class KnownNames {
  /** Those that were made or got a name lately, and those before them: cheaper than to keep them in order. */
  #young = new Map<Ino, Hashes>();
  #old = new Map<Ino, Hashes>();
  #youngSlots = 0;
  readonly #slotsMax: number;
  readonly #directoriesMax: number;

  /** @param slotsMax of all directories together, of 4 bytes each; one that needs a quarter of them is given up */
  constructor(slotsMax = KNOWN_NAMES_SLOTS_MAX, directoriesMax = KNOWN_DIRECTORIES_MAX) {
    this.#slotsMax = slotsMax;
    this.#directoriesMax = directoriesMax;
  }

  /** A directory without names came into being. */
  made(directory: Ino): void {
    const names = new Hashes();
    this.#keep(directory, names, names.slots.length);
  }

  add(directory: Ino, name: string): void {
    const names = this.#of(directory);
    if (names === undefined) return;
    const before = this.#young.has(directory) ? names.slots.length : 0;
    names.add(hashOf(name));
    if (names.slots.length <= this.#slotsMax / 4) this.#keep(directory, names, names.slots.length - before);
    else {
      this.#young.delete(directory);
      this.#old.delete(directory);
      this.#youngSlots -= before;
    }
  }

  /** True: the directory has no such name. False: perhaps. */
  lacks(directory: Ino, name: string): boolean {
    const names = this.#of(directory);
    return names !== undefined && !names.has(hashOf(name));
  }

  #of(directory: Ino): Hashes | undefined {
    return this.#young.get(directory) ?? this.#old.get(directory);
  }

  #keep(directory: Ino, names: Hashes, moreSlots: number): void {
    this.#young.set(directory, names);
    this.#youngSlots += moreSlots;
    if (this.#young.size <= this.#directoriesMax / 2 && this.#youngSlots <= this.#slotsMax / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngSlots = 0;
  }
}
