/**
 * What a client of the simulation has: the process that it talks to, the model, and the ways to read everything. An answer that comes after a crash is
 * nobody's; an error that no fault explains is a bug.
 */
import type { Awaitable } from '../../src/base/awaitable.js';
import { must } from '../../src/base/assert.js';
import type { Random } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import type { Caller, Handle, Ino } from '../../src/namespace/namespace.js';
import type { PoolNamespace } from '../../src/namespace/pool-namespace.js';
import type { ModelFile } from './model.js';
import { ModelNames, Tree } from './model.js';
import { expect, Violation } from './violation.js';
import type { World } from './world.js';

export const caller: Caller = { uid: 0, gid: 0, pid: 1 };
const ROOT: Ino = 1;
const NAMES = ['a', 'b', 'c', 'd', 'e'];
const READ_BYTES = 65_536;
/** Answers that faults may cause. Others are bugs. */
const faultCodes: ReadonlySet<string> = new Set(['EIO', 'ENOSPC', 'EROFS']);
/** Answers that quotas may cause: EIO where a write was lost to one, and the end of the file with it. */
const quotaCodes: ReadonlySet<string> = new Set(['EDQUOT', 'EXDEV', 'EIO']);

export class Session {
  names = new ModelNames(new Tree());
  readonly files = new Map<Ino, ModelFile>();
  /** Files without a name, which a power cut may give back. */
  protected readonly buried = new Map<Ino, ModelFile>();
  /** The operation under way. */
  busy: Promise<void> | undefined;
  /** Operations that were answered; and those with an error that faults caused. */
  answered = 0;
  failed = 0;
  failure: Error | undefined;
  protected life = 0;
  protected directory: Ino = 0;

  constructor(
    readonly world: World,
    readonly name: string,
  ) {}

  protected get namespace(): PoolNamespace {
    return must(this.world.process?.pool, 'a pool to work in').namespace;
  }

  protected get head(): number {
    return must(this.world.process?.log, 'an open log').head.position;
  }

  /** The client's own directory is made before faults begin. */
  async enter(): Promise<void> {
    const made = await this.namespace.mkdir(ROOT, this.name, 0o755, caller);
    this.directory = made.ino;
    this.names = new ModelNames(new Tree(new Map([[made.ino, new Map<string, Ino>()]])));
  }

  /** The process that it talked to is gone: nothing that is under way comes back. */
  disconnect(): void {
    this.life++;
    this.busy = undefined;
    for (const file of this.files.values()) file.handles.length = 0;
  }

  /** An answer; one to a client of an earlier life never comes. */
  protected async call<T>(
    work: () => Awaitable<T>,
  ): Promise<{ value: T; error?: undefined } | { value?: undefined; error: OperatingError }> {
    const life = this.life;
    let result: { value: T } | { error: OperatingError };
    try {
      result = { value: await work() };
    } catch (error) {
      if (life === this.life && !(error instanceof OperatingError)) throw error;
      result = { error: error as OperatingError };
    }
    if (life !== this.life) return new Promise(() => undefined);
    this.world.trace.note(`${this.name} ${'error' in result ? result.error.code : 'ok'}`);
    return result;
  }

  /** May something fail, or be lost before it was flushed? */
  protected get troubled(): boolean {
    return this.world.counts.faults > 0 || this.world.quotas;
  }

  /** An error that nothing explains is a bug. */
  protected excuse(error: OperatingError, what: string): void {
    const { counts, quotas } = this.world;
    expect(
      (faultCodes.has(error.code) && counts.faults > 0) || (quotaCodes.has(error.code) && quotas),
      'progress',
      () => `${this.name}: ${what}: ${error.code} ${error.message}${this.world.describe()}`,
    );
    this.failed++;
    this.world.count(`answered: ${error.code} ${what.split(' ')[0] ?? ''}`);
  }

  protected pick<T>(random: Random, items: readonly T[]): T | undefined {
    return items[random.below(items.length)];
  }

  protected openFile(random: Random): ModelFile | undefined {
    return this.pick(
      random,
      [...this.files.values()].filter(({ handles }) => handles.length > 0),
    );
  }

  protected place(random: Random): { directory: Ino; name: string; ino: Ino | undefined } {
    const directory = must(this.pick(random, [...this.names.tree.directories.keys()]), 'there is the own one');
    const name = must(this.pick(random, NAMES), 'there are names');
    return { directory, name, ino: this.names.tree.entries(directory).get(name) };
  }

  protected bury(file: ModelFile): void {
    this.files.delete(file.ino);
    this.buried.set(file.ino, file);
  }

  protected async readTree(): Promise<Tree> {
    const tree = new Tree();
    const visit = async (ino: Ino): Promise<void> => {
      const entries = new Map<string, Ino>();
      const below: Ino[] = [];
      await this.must(() =>
        this.namespace.readdir(ino, 0, false, (entry) => {
          if (entry.name === '.' || entry.name === '..') return true;
          entries.set(entry.name, entry.ino);
          if ((entry.type & 0o170000) === 0o040000) below.push(entry.ino);
          return true;
        }),
      );
      tree.directories.set(ino, entries);
      for (const child of below) await visit(child);
    };
    await visit(this.directory);
    return tree;
  }

  /** A read: nothing that may happen to a pool excuses its failing. */
  protected async must<T>(work: () => Awaitable<T>): Promise<T> {
    const { value, error } = await this.call(work);
    if (error !== undefined)
      throw new Violation('bytes', `${this.name}: cannot read: ${error.code} ${error.message}${this.world.describe()}`);
    return value;
  }

  /** A write failed: the last committed version stands. */
  protected async fallBack(file: ModelFile): Promise<void> {
    const found = await this.content(file.ino);
    file.fellBack(found);
  }

  protected async content(ino: Ino): Promise<Buffer> {
    const handle = await this.must(() => this.namespace.open(ino, 0, caller));
    const parts: Buffer[] = [];
    for (let at = 0; ;) {
      const part = await this.range(ino, handle, at, READ_BYTES);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
    }
    await this.must(() => this.namespace.release(ino, handle));
    return Buffer.concat(parts);
  }

  protected async range(ino: Ino, handle: Handle, offset: number, bytes: number): Promise<Buffer> {
    const read = await this.must(() => this.namespace.read(ino, handle, offset, bytes));
    const out = Buffer.concat(read.pieces);
    read.release();
    return out;
  }
}
