/**
 * The inside of a simulated disk: a tree of directories and files with what is durable of it, its capacity, and the faults that a test
 * injects. It survives the handles (`SimulatedDisk`) that are opened on it. Everything here happens at once; simulated-disk.ts
 * decides when. Names become durable by a sync of their directory, contents by a sync of the file, neither by the other.
 */
import { assert, must } from '../base/assert.js';
import type { Random } from '../base/clock.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import type { Uuid } from '../base/ids.js';
import type { OperationKind } from './simulated-disk.js';
import { SimulatedFile, type Survival } from './simulated-file.js';

/** A change of names that is not durable yet. A rename between two directories stands in both lists. */
interface NameChange {
  readonly path: string;
  settled: boolean;
  readonly apply: () => void;
}

class SimulatedDirectory {
  readonly kind = 'directory';
  entries = new Map<string, SimulatedNode>();
  readonly durable = new Map<string, SimulatedNode>();
  unsynced: NameChange[] = [];
}

type SimulatedNode = SimulatedFile | SimulatedDirectory;

/** Next calls of this kind (on paths that contain `path`) fail. */
interface Fault {
  readonly kind: OperationKind;
  readonly code: ErrnoName;
  readonly path: string;
  count: number;
}

/** A write that goes astray. lost: reported as done, never done; misdirected: done `shiftBytes` further on. */
interface StrayWrite {
  readonly kind: 'lost' | 'misdirected';
  readonly path: string;
  readonly shiftBytes: number;
}

export interface MediumOptions {
  /** Default 64 GiB. */
  readonly capacityBytes?: number;
  readonly id: Uuid;
}

export class SimulatedMedium {
  readonly id: Uuid;
  /** May be changed at any time; less than what is used means full. */
  capacityBytes: number;
  /** Calls fail with ENODEV while true. */
  gone = false;
  /** While set, calls whose path contains it do not complete. '' holds all. */
  stalledPath: string | undefined;
  #root = new SimulatedDirectory();
  /** Draws what the faults leave open. */
  readonly random: Random;
  #faults: Fault[] = [];
  #strays: StrayWrite[] = [];
  #badSectors: { readonly path: string; readonly from: number; readonly to: number }[] = [];

  constructor(random: Random, options: MediumOptions) {
    this.random = random;
    this.id = options.id;
    this.capacityBytes = options.capacityBytes ?? 64 * 2 ** 30;
  }

  // Faults

  /** The next `count` calls of `kind` on paths that contain `path` fail with `code`. */
  failNext(kind: OperationKind, code: ErrnoName, count = 1, path = ''): void {
    this.#faults.push({ kind, code, count, path });
  }

  /** The next write on a path that contains `path` is reported as done but is not. */
  loseNextWrite(path = ''): void {
    this.#strays.push({ kind: 'lost', path, shiftBytes: 0 });
  }

  /** The next write on a path that contains `path` lands `shiftBytes` (may be negative) from where it should. */
  misdirectNextWrite(shiftBytes: number, path = ''): void {
    this.#strays.push({ kind: 'misdirected', path, shiftBytes });
  }

  /** Flips bit 0 … 7 of a byte that was written. */
  flip(path: string, offset: number, bit = 0): void {
    this.file(path).flip(offset, bit);
  }

  /** Reads of this range of a file fail with EIO from now on, each time. */
  damageSectors(path: string, offset: number, bytes: number): void {
    this.#badSectors.push({ path, from: offset, to: offset + bytes });
  }

  /** Throws if there are damaged sectors in the range. */
  checkSectors(path: string, offset: number, bytes: number): void {
    if (this.#badSectors.some((bad) => bad.path === path && bad.from < offset + bytes && bad.to > offset))
      throw this.#error('EIO', 'a sector cannot be read', path);
  }

  clearFaults(): void {
    this.#faults = [];
    this.#strays = [];
    this.#badSectors = [];
  }

  /** Throws if a fault is due for this call. */
  checkFault(kind: OperationKind, path: string): void {
    if (this.gone) throw this.#error('ENODEV', 'the disk is gone', path);
    const fault = this.#faults.find((f) => f.kind === kind && path.includes(f.path));
    if (!fault) return;
    if (--fault.count <= 0) this.#faults.splice(this.#faults.indexOf(fault), 1);
    throw this.#error(fault.code, `injected ${fault.code} in ${kind}`, path);
  }

  // Files

  /** The file at `path` as it is now; for tests and handles. Throws ENOENT, EISDIR. */
  file(path: string): SimulatedFile {
    const node = this.#find(path);
    if (node.kind !== 'file') throw this.#error('EISDIR', 'is a directory', path);
    return node;
  }

  has(path: string): boolean {
    try {
      this.#find(path);
      return true;
    } catch {
      return false;
    }
  }

  create(path: string): SimulatedFile {
    const [parent, name] = this.#parent(path);
    if (parent.entries.has(name)) throw this.#error('EEXIST', 'exists already', path);
    const file = new SimulatedFile();
    this.#link(parent, name, file, path);
    return file;
  }

  write(file: SimulatedFile, path: string, offset: number, buffers: readonly Uint8Array[]): void {
    let data: Uint8Array = Buffer.concat(buffers);
    const stray = this.#strays.find((s) => path.includes(s.path));
    if (stray) {
      this.#strays.splice(this.#strays.indexOf(stray), 1);
      if (stray.kind === 'lost') return;
      offset = Math.max(0, offset + stray.shiftBytes);
    }
    const wanted = data.length;
    const room = Math.max(0, this.capacityBytes - this.usedBytes());
    // A full disk takes a part of the write.
    while (data.length > 0 && file.missingBytes(offset, data.length) > room) data = data.subarray(0, Math.floor(data.length / 2));
    file.write(offset, data);
    if (data.length < wanted) throw this.#error('ENOSPC', 'no space left on disk', path);
  }

  preallocate(file: SimulatedFile, path: string, offset: number, bytes: number): void {
    if (file.missingBytes(offset, bytes) > this.capacityBytes - this.usedBytes())
      throw this.#error('ENOSPC', 'no space left on disk', path);
    file.allocate(offset, bytes);
  }

  /** A sync that fails: some data reached the disk, none is dirty any more. */
  failSync(file: SimulatedFile, path: string): void {
    file.failSync(randomSurvival(this.random), '', path);
  }

  // Names

  list(path: string): string[] {
    return [...this.#directory(path).entries.keys()];
  }

  makeDirectory(path: string): void {
    if (path === '') return;
    const [parent, name] = this.#parent(path);
    const there = parent.entries.get(name);
    if (there?.kind === 'directory') return;
    if (there) throw this.#error('EEXIST', 'exists already and is a file', path);
    this.#link(parent, name, new SimulatedDirectory(), path);
  }

  unlink(path: string): void {
    const [parent, name] = this.#parent(path);
    const node = parent.entries.get(name);
    if (!node) throw this.#error('ENOENT', 'no such file', path);
    if (node.kind === 'directory') throw this.#error('EISDIR', 'is a directory', path);
    parent.entries.delete(name);
    parent.unsynced.push({ path, settled: false, apply: () => void parent.durable.delete(name) });
  }

  rename(from: string, to: string): void {
    const [source, oldName] = this.#parent(from);
    const [target, newName] = this.#parent(to);
    const node = source.entries.get(oldName);
    if (!node) throw this.#error('ENOENT', 'no such file', from);
    if (target.entries.get(newName)?.kind === 'directory') throw this.#error('EISDIR', 'is a directory', to);
    if (source === target && oldName === newName) return;
    source.entries.delete(oldName);
    target.entries.set(newName, node);
    const change: NameChange = {
      path: to,
      settled: false,
      apply: () => {
        if (source.durable.get(oldName) === node) source.durable.delete(oldName);
        target.durable.set(newName, node);
      },
    };
    source.unsynced.push(change);
    if (target !== source) target.unsynced.push(change);
  }

  syncDirectory(path: string): void {
    this.#syncNames(this.#directory(path));
  }

  syncAll(): void {
    const visit = (directory: SimulatedDirectory): void => {
      this.#syncNames(directory);
      for (const node of directory.entries.values())
        if (node.kind === 'file') node.sync();
        else visit(node);
    };
    visit(this.#root);
  }

  usedBytes(): number {
    const sum = (directory: SimulatedDirectory): number => {
      let bytes = 0;
      for (const node of directory.entries.values()) bytes += node.kind === 'file' ? node.allocatedBytes : sum(node);
      return bytes;
    };
    return sum(this.#root);
  }

  /** All paths of files, for tests. */
  paths(): string[] {
    const found: string[] = [];
    const visit = (directory: SimulatedDirectory, prefix: string): void => {
      for (const [name, node] of directory.entries)
        if (node.kind === 'file') found.push(prefix + name);
        else visit(node, `${prefix}${name}/`);
    };
    visit(this.#root, '');
    return found.sort();
  }

  /**
   * A disk in the same state, without faults; what is not durable of its names becomes one change a name. For tests that go on from one state in
   * many ways.
   */
  copy(): SimulatedMedium {
    const copy = new SimulatedMedium(this.random, { capacityBytes: this.capacityBytes, id: this.id });
    copy.gone = this.gone;
    const nodes = new Map<SimulatedNode, SimulatedNode>();
    const copyNode = (node: SimulatedNode): SimulatedNode => {
      const there = nodes.get(node);
      if (there) return there;
      if (node.kind === 'file') {
        const file = node.copy();
        nodes.set(node, file);
        return file;
      }
      const directory = new SimulatedDirectory();
      nodes.set(node, directory);
      for (const [name, child] of node.entries) directory.entries.set(name, copyNode(child));
      for (const [name, child] of node.durable) directory.durable.set(name, copyNode(child));
      for (const name of new Set([...node.entries.keys(), ...node.durable.keys()])) {
        const now = directory.entries.get(name);
        if (now === directory.durable.get(name)) continue;
        const apply = (): void => void (now ? directory.durable.set(name, now) : directory.durable.delete(name));
        directory.unsynced.push({ path: name, settled: false, apply });
      }
      return directory;
    };
    const root = copyNode(this.#root);
    if (root.kind === 'directory') copy.#root = root;
    return copy;
  }

  /** Removes everything, as a new file system in its place would. */
  wipe(): void {
    this.#root = new SimulatedDirectory();
  }

  /** Power is cut: what was not synced survives as `survival` says. */
  settle(survival: Survival, disk: string): void {
    const settleDirectory = (directory: SimulatedDirectory, prefix: string): void => {
      for (const change of directory.unsynced) {
        if (change.settled) continue;
        change.settled = true;
        if (survival({ kind: 'name', disk, path: change.path, sectors: 1 })(0)) change.apply();
      }
      directory.unsynced = [];
      // Both what was seen and what survives: a name moved to another directory is settled there.
      for (const [name, node] of new Map([...directory.entries, ...directory.durable]))
        if (node.kind === 'directory') settleDirectory(node, `${prefix}${name}/`);
    };
    const settleFiles = (directory: SimulatedDirectory, prefix: string): void => {
      directory.entries = new Map(directory.durable);
      for (const [name, node] of directory.entries)
        if (node.kind === 'file') node.settle(survival, disk, prefix + name);
        else settleFiles(node, `${prefix}${name}/`);
    };
    settleDirectory(this.#root, '');
    settleFiles(this.#root, '');
  }

  #syncNames(directory: SimulatedDirectory): void {
    for (const change of directory.unsynced) {
      if (!change.settled) change.apply();
      change.settled = true;
    }
    directory.unsynced = [];
  }

  #link(parent: SimulatedDirectory, name: string, node: SimulatedNode, path: string): void {
    parent.entries.set(name, node);
    parent.unsynced.push({ path, settled: false, apply: () => void parent.durable.set(name, node) });
  }

  #find(path: string): SimulatedNode {
    let node: SimulatedNode = this.#root;
    for (const name of path === '' ? [] : path.split('/')) {
      assert(name !== '' && name !== '.' && name !== '..', `not a path within a disk: ${path}`);
      if (node.kind === 'file') throw this.#error('ENOTDIR', 'not a directory', path);
      const next: SimulatedNode | undefined = node.entries.get(name);
      if (!next) throw this.#error('ENOENT', 'no such file or directory', path);
      node = next;
    }
    return node;
  }

  #directory(path: string): SimulatedDirectory {
    const node = this.#find(path);
    if (node.kind !== 'directory') throw this.#error('ENOTDIR', 'not a directory', path);
    return node;
  }

  #parent(path: string): [SimulatedDirectory, string] {
    const parts = path.split('/');
    const name = must(parts.pop(), 'split gives one part at least');
    assert(name !== '' && name !== '.' && name !== '..', `not a path of a file within a disk: ${path}`);
    return [this.#directory(parts.join('/')), name];
  }

  #error(code: ErrnoName, message: string, path: string): OperatingError {
    return new OperatingError(code, message, { path });
  }
}

/**
 * The adversary of a power cut: one time in four nothing unsynced survives, one time in four everything, else each change is on its own:
 * gone, whole, a prefix of its sectors, or any of them.
 */
export function randomSurvival(random: Random): Survival {
  const whole = random.below(4);
  return ({ sectors }) => {
    if (whole < 2) return () => whole === 1;
    const mode = random.below(4);
    if (mode < 2) return () => mode === 1;
    const prefix = random.below(sectors + 1);
    return (sector) => (mode === 2 ? sector < prefix : random.below(2) === 1);
  };
}
