/** A client's operations on names: each is begun in the model, made, and settled there by what it was answered. */
import type { Awaitable } from '../../src/base/awaitable.js';
import { must } from '../../src/base/assert.js';
import type { Random } from '../../src/base/clock.js';
import type { Ino } from '../../src/namespace/namespace.js';
import type { Tree } from './model.js';
import { matches, ModelFile, type NameChange } from './model.js';
import { expect } from './violation.js';
import { caller, Session } from './session.js';

const O_RDWR = 2;
const DIRECTORIES_MAX = 4;
/** Inodes that a call made and whose number nobody learned. */
const UNKNOWN_FILE = -1;
const UNKNOWN_DIRECTORY = -2;

export class NameOperations extends Session {
  /**
   * Makes a call that changes names.
   * @param expected the code that it must be refused with, or 'none'
   * @returns what it was answered; undefined when it was refused or failed
   */
  protected async change<T>(what: string, expected: string, apply: (tree: Tree) => void, make: () => Awaitable<T>): Promise<T | undefined> {
    const change = this.names.begin(this.head, expected === 'none' ? apply : () => undefined);
    const { value, error } = await this.call(make);
    if (error === undefined) {
      expect(expected === 'none', 'names', `${this.name}: ${what} was done, expected ${expected}`);
      this.names.done(change, this.head);
      if (this.world.shape.durability === 'close') change.durable = true;
      return value;
    }
    if (error.code === expected) {
      this.names.refused(change);
      return undefined;
    }
    this.excuse(error, what);
    await this.reconcile(change);
    return undefined;
  }

  /** A change failed: either it was made, or it was not. */
  protected async reconcile(change: NameChange): Promise<void> {
    const found = await this.readTree();
    const without = this.names.tree;
    const having = without.copy();
    change.apply(having);
    if (matches(found, having) && !matches(found, without)) {
      this.names.done(change, this.head);
      this.learn(found);
    } else {
      expect(
        matches(found, without),
        'names',
        () => `${this.name}: ${found.text()} is there, expected ${without.text()} or ${having.text()}`,
      );
      this.names.refused(change);
    }
  }

  /** Takes over numbers of inodes that a failed call made. */
  protected learn(found: Tree): void {
    // Earlier states are of no use with unknown numbers in them: what is there now is taken as it is, which asks less of a later crash.
    this.names.adopt(found);
    for (const entries of found.directories.values())
      for (const ino of entries.values())
        if (!found.isDirectory(ino) && !this.files.has(ino)) this.files.set(ino, new ModelFile(ino, Buffer.alloc(0), 0));
  }

  protected async create(random: Random): Promise<void> {
    const { directory, name, ino } = this.place(random);
    const made = { ino: UNKNOWN_FILE };
    const result = await this.change(
      `create ${name}`,
      ino === undefined ? 'none' : 'EEXIST',
      (tree) => tree.entries(directory).set(name, made.ino),
      async () => {
        const { attributes, handle } = await this.namespace.create(directory, name, 0o644, O_RDWR, caller);
        made.ino = attributes.ino;
        return handle;
      },
    );
    if (result === undefined) return;
    const file = new ModelFile(made.ino, Buffer.alloc(0), 0);
    file.handles.push(result);
    this.files.set(made.ino, file);
  }

  protected async unlink(random: Random): Promise<void> {
    const { directory, name, ino } = this.place(random);
    const expected = ino === undefined ? 'ENOENT' : this.names.tree.isDirectory(ino) ? 'EISDIR' : 'none';
    const done = await this.change(
      `unlink ${name}`,
      expected,
      (tree) => tree.entries(directory).delete(name),
      async () => {
        await this.namespace.unlink(directory, name);
        return true;
      },
    );
    if (done === true && ino !== undefined) this.unlinked(ino);
  }

  protected unlinked(ino: Ino): void {
    const file = this.files.get(ino);
    if (file === undefined || this.names.tree.links(ino) > 0) return;
    this.namespace.forget(ino, 1e6);
    if (file.handles.length === 0) this.bury(file);
  }

  protected expectedRename(
    from: { directory: Ino; ino: Ino | undefined },
    to: { directory: Ino; ino: Ino | undefined },
    exchange: boolean,
  ): string {
    const { tree } = this.names;
    if (from.ino === undefined) return 'ENOENT';
    if (exchange && to.ino === undefined) return 'ENOENT';
    if (to.ino === from.ino) return 'none';
    if (tree.isDirectory(from.ino) && tree.isBelow(to.directory, from.ino)) return 'EINVAL';
    const target = to.ino !== undefined && tree.isDirectory(to.ino) ? tree.entries(to.ino) : undefined;
    if (exchange) return target !== undefined && tree.isBelow(from.directory, must(to.ino, 'checked')) ? 'EINVAL' : 'none';
    if (to.ino === undefined) return 'none';
    if (target !== undefined) return !tree.isDirectory(from.ino) ? 'EISDIR' : target.size > 0 ? 'ENOTEMPTY' : 'none';
    return tree.isDirectory(from.ino) ? 'ENOTDIR' : 'none';
  }

  protected async rename(random: Random, exchange: boolean): Promise<void> {
    const from = this.place(random);
    const to = this.place(random);
    const expected = this.expectedRename(from, to, exchange);
    const moved = from.ino === undefined ? undefined : this.files.get(from.ino);
    const version = moved?.version ?? 0;
    const apply = (tree: Tree): void => {
      if (from.ino === undefined || from.ino === to.ino) return;
      tree.entries(to.directory).set(to.name, from.ino);
      if (exchange && to.ino !== undefined) tree.entries(from.directory).set(from.name, to.ino);
      else tree.entries(from.directory).delete(from.name);
      if (!exchange && to.ino !== undefined && tree.isDirectory(to.ino)) tree.directories.delete(to.ino);
    };
    const done = await this.change(`rename ${from.name} to ${to.name}`, expected, apply, async () => {
      const flags = { exchange, noReplace: false };
      await this.namespace.rename(from.directory, from.name, to.directory, to.name, flags);
      return true;
    });
    if (done !== true) return;
    // What was written before has its place before the name.
    if (moved !== undefined && !this.troubled) moved.committed(version, this.head);
    if (to.ino !== undefined && !exchange && to.ino !== from.ino) this.unlinked(to.ino);
  }

  protected async link(random: Random): Promise<void> {
    const file = this.pick(random, [...this.files.values()]);
    const { directory, name, ino } = this.place(random);
    if (file === undefined) return;
    const expected = this.names.tree.links(file.ino) === 0 ? 'ENOENT' : ino === undefined ? 'none' : 'EEXIST';
    await this.change(
      `link ${name}`,
      expected,
      (tree) => tree.entries(directory).set(name, file.ino),
      () => this.namespace.link(file.ino, directory, name),
    );
  }

  protected async mkdir(random: Random): Promise<void> {
    const { directory, name, ino } = this.place(random);
    if (this.names.tree.directories.size >= DIRECTORIES_MAX) return;
    const made = { ino: UNKNOWN_DIRECTORY };
    await this.change(
      `mkdir ${name}`,
      ino === undefined ? 'none' : 'EEXIST',
      (tree) => {
        tree.entries(directory).set(name, made.ino);
        tree.directories.set(made.ino, new Map());
      },
      async () => {
        made.ino = (await this.namespace.mkdir(directory, name, 0o755, caller)).ino;
      },
    );
  }

  protected async rmdir(random: Random): Promise<void> {
    const { directory, name, ino } = this.place(random);
    const { tree } = this.names;
    const expected = ino === undefined ? 'ENOENT' : !tree.isDirectory(ino) ? 'ENOTDIR' : tree.entries(ino).size > 0 ? 'ENOTEMPTY' : 'none';
    await this.change(
      `rmdir ${name}`,
      expected,
      (each) => {
        each.entries(directory).delete(name);
        if (ino !== undefined) each.directories.delete(ino);
      },
      () => this.namespace.rmdir(directory, name),
    );
  }

  protected async list(): Promise<void> {
    const found = await this.readTree();
    expect(matches(found, this.names.tree), 'names', () => `${this.name}: ${found.text()} is there, expected ${this.names.tree.text()}`);
  }

  protected async fsyncdir(): Promise<void> {
    const { error } = await this.call(() => this.namespace.fsyncdir(this.directory));
    if (error !== undefined) this.excuse(error, 'fsyncdir');
    else this.names.durable();
  }

  /** A directory gets limits that are near what is there, or loses them. */
  protected async quota(random: Random): Promise<void> {
    const directory = must(this.pick(random, [...this.names.tree.directories.keys()]), 'there is the own one');
    const clears = random.below(3) === 0;
    const limits = {
      bytesMax: random.below(3) === 0 ? null : random.below(300_000),
      inodesMax: random.below(3) === 0 ? null : 1 + random.below(10),
    };
    this.world.quotas = true;
    const { error } = await this.call(() => (clears ? this.namespace.clearQuota(directory) : this.namespace.setQuota(directory, limits)));
    this.world.count(`quota: ${clears ? 'cleared' : 'set'}${error === undefined ? '' : `, ${error.code}`}`);
    if (error !== undefined && !(clears && error.code === 'ENODATA')) this.excuse(error, 'quota');
  }

  protected async sync(): Promise<void> {
    const versions = [...this.files.values()].map((file) => ({ file, version: file.version }));
    const { error } = await this.call(() => this.namespace.syncAll());
    if (error !== undefined) {
      this.excuse(error, 'sync');
      return;
    }
    this.names.durable();
    if (!this.troubled) for (const { file, version } of versions) if (this.names.tree.links(file.ino) > 0) file.durable(version);
  }
}
