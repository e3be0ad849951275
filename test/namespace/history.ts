/**
 * Random histories of file operations against a plain model. The model knows each file's content as processes see it, and remembers which contents a
 * crash may bring back: any that the file had, and exactly the last one from the moment when all writers had closed it.
 */
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import type { Handle, Ino } from '../../src/namespace/namespace.js';
import { codeOf, O_RDWR, O_TRUNC, pattern, readAll, root, ROOT, type Pool } from './fixture.js';

interface ModelFile {
  readonly ino: Ino;
  content: Buffer;
  links: number;
  readonly handles: Handle[];
  readonly versions: Set<string>;
  /** Closed as of this log position, until something changed. */
  closed: { position: number; digest: string } | undefined;
}

/** From `position` on, before `until`, a crash leaves exactly this content. */
export interface Promise_ {
  readonly ino: Ino;
  readonly position: number;
  readonly until: number;
  readonly digest: string;
}

export interface Directory {
  readonly ino: Ino;
  readonly entries: Map<string, Ino>;
}

interface Place {
  readonly directory: Directory;
  readonly name: string;
  readonly ino: Ino | undefined;
}

export const digestOf = (content: Uint8Array): string => createHash('sha1').update(content).digest('hex');

const CONTENT_BYTES_MAX = 90_000;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

export class History {
  readonly files = new Map<Ino, ModelFile>();
  readonly directories = new Map<Ino, Directory>([[ROOT, { ino: ROOT, entries: new Map() }]]);
  readonly promises: Promise_[] = [];
  readonly #pool: Pool;
  readonly #random: Random;
  readonly #quotas: boolean;
  #seed = 0;

  /** @param quotas directories get quotas and lose them, too: none refuses anything, all must count right. */
  constructor(pool: Pool, seed: number, quotas = false) {
    this.#pool = pool;
    this.#random = seededRandom(seed);
    this.#quotas = quotas;
  }

  get #position(): number {
    return this.#pool.log.head.position;
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#random.below(items.length)];
  }

  #openFile(): ModelFile | undefined {
    return this.#pick([...this.files.values()].filter(({ handles }) => handles.length > 0));
  }

  #place(): Place {
    const directory = must(this.#pick([...this.directories.values()]), 'there is the root');
    const name = must(this.#pick(NAMES), 'there are names');
    return { directory, name, ino: directory.entries.get(name) };
  }

  /** The file is about to change: what was promised holds until now. */
  #touch(file: ModelFile): void {
    if (file.closed !== undefined) this.promises.push({ ino: file.ino, ...file.closed, until: this.#position + 1 });
    file.closed = undefined;
  }

  #changed(file: ModelFile, content: Buffer): void {
    file.content = content;
    file.versions.add(digestOf(content));
  }

  /** All writers are gone: the content is a promise. */
  #settle(file: ModelFile): void {
    if (file.handles.length === 0) file.closed = { position: this.#position, digest: digestOf(file.content) };
  }

  #unlinked(ino: Ino): void {
    const file = this.files.get(ino);
    if (file === undefined) return;
    file.links--;
    if (file.links > 0) return;
    this.#touch(file);
    if (file.handles.length === 0) this.files.delete(ino);
  }

  /** Promises up to the end of the history. */
  finish(): readonly Promise_[] {
    for (const file of this.files.values()) this.#touch(file);
    return this.promises;
  }

  async step(): Promise<void> {
    const steps: [number, () => Promise<void>][] = [
      [12, () => this.#create()],
      [30, () => this.#write()],
      [8, () => this.#truncate()],
      [12, () => this.#read()],
      [8, () => this.#flush()],
      [12, () => this.#release()],
      [8, () => this.#open()],
      [8, () => this.#unlink()],
      [10, () => this.#rename()],
      [4, () => this.#link()],
      [4, () => this.#mkdir()],
      [3, () => this.#rmdir()],
      [4, () => this.#list()],
      [2, () => this.#pool.namespace.syncAll()],
      [2, () => this.#pool.namespace.packer.packAll()],
      [2, async () => void (await this.#pool.namespace.packer.repackAll())],
      [this.#quotas ? 10 : 0, () => this.#changeQuota()],
    ];
    let dice = this.#random.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, step] of steps) {
      if (dice < weight) return step();
      dice -= weight;
    }
  }

  async #create(): Promise<void> {
    const { directory, name, ino } = this.#place();
    const create = () => this.#pool.namespace.create(directory.ino, name, 0o644, O_RDWR, root);
    if (ino !== undefined) {
      assert.equal(await codeOf(create), 'EEXIST');
      return;
    }
    const { attributes, handle } = await create();
    const empty = Buffer.alloc(0);
    const file: ModelFile = { ino: attributes.ino, content: empty, links: 1, handles: [handle], versions: new Set(), closed: undefined };
    this.#changed(file, empty);
    this.files.set(file.ino, file);
    directory.entries.set(name, file.ino);
  }

  async #write(): Promise<void> {
    const file = this.#openFile();
    if (file === undefined) return;
    const bytes = 1 + this.#random.below(this.#random.below(4) === 0 ? 40_000 : 3000);
    const append = this.#random.below(3) === 0;
    const offset = append ? file.content.length : this.#random.below(CONTENT_BYTES_MAX - bytes);
    if (offset + bytes > CONTENT_BYTES_MAX) return;
    const data = pattern(bytes, this.#seed++);
    const content = Buffer.alloc(Math.max(file.content.length, offset + bytes));
    file.content.copy(content);
    data.copy(content, offset);
    const handle = must(this.#pick(file.handles), 'it is open');
    assert.equal(await this.#pool.namespace.write(file.ino, handle, offset, data, root), bytes);
    this.#changed(file, content);
  }

  async #truncate(): Promise<void> {
    const file = this.#pick([...this.files.values()]);
    if (file === undefined) return;
    const size = this.#random.below(this.#random.below(3) === 0 ? 1 : CONTENT_BYTES_MAX);
    if (file.links > 0) this.#touch(file);
    const content = Buffer.alloc(size);
    file.content.copy(content, 0, 0, size);
    // A cut below the end and what follows may be two transactions.
    file.versions.add(digestOf(content));
    assert.equal((await this.#pool.namespace.setattr(file.ino, { size }, root)).size, size);
    this.#changed(file, content);
    if (file.links > 0) this.#settle(file);
  }

  async #read(): Promise<void> {
    const file = this.#openFile();
    if (file === undefined) return;
    const offset = this.#random.below(CONTENT_BYTES_MAX);
    const bytes = 1 + this.#random.below(CONTENT_BYTES_MAX);
    const handle = must(this.#pick(file.handles), 'it is open');
    const read = await readAll(this.#pool.namespace, file.ino, handle, offset, bytes);
    assert.ok(read.equals(file.content.subarray(offset, offset + bytes)), `inode ${file.ino}, ${bytes} bytes at ${offset}`);
    assert.equal((await this.#pool.namespace.getattr(file.ino)).size, file.content.length);
  }

  async #flush(): Promise<void> {
    const file = this.#openFile();
    const handle = file?.handles[0];
    if (file === undefined || handle === undefined) return;
    if (this.#random.below(2) === 0) await this.#pool.namespace.flush(file.ino, handle);
    else await this.#pool.namespace.fsync(file.ino, handle, false);
  }

  async #release(): Promise<void> {
    const file = this.#openFile();
    const handle = file?.handles.pop();
    if (file === undefined || handle === undefined) return;
    await this.#pool.namespace.flush(file.ino, handle);
    await this.#pool.namespace.release(file.ino, handle);
    if (file.links > 0) this.#settle(file);
    else if (file.handles.length === 0) this.files.delete(file.ino);
  }

  async #open(): Promise<void> {
    const { ino } = this.#place();
    const file = ino === undefined ? undefined : this.files.get(ino);
    if (file === undefined || file.handles.length > 3) return;
    const cut = this.#random.below(3) === 0;
    this.#touch(file);
    file.handles.push(await this.#pool.namespace.open(file.ino, cut ? O_RDWR | O_TRUNC : O_RDWR, root));
    if (cut) this.#changed(file, Buffer.alloc(0));
  }

  async #unlink(): Promise<void> {
    const { directory, name, ino } = this.#place();
    const unlink = () => this.#pool.namespace.unlink(directory.ino, name, root);
    if (ino === undefined) assert.equal(await codeOf(unlink), 'ENOENT');
    else if (this.directories.has(ino)) assert.equal(await codeOf(unlink), 'EISDIR');
    else {
      this.#unlinked(ino);
      await unlink();
      directory.entries.delete(name);
      this.#pool.namespace.forget(ino, 1000);
    }
  }

  #isBelow(ino: Ino, above: Ino): boolean {
    if (ino === above) return true;
    for (const [at, { entries }] of this.directories) if ([...entries.values()].includes(ino)) return this.#isBelow(at, above);
    return false;
  }

  #expectedRename(from: Place, to: Place, exchange: boolean, noReplace: boolean): string {
    if (from.ino === undefined) return 'ENOENT';
    if (noReplace && to.ino !== undefined) return 'EEXIST';
    if (exchange && to.ino === undefined) return 'ENOENT';
    if (to.ino === from.ino) return 'same';
    const source = this.directories.get(from.ino);
    const target = to.ino === undefined ? undefined : this.directories.get(to.ino);
    if (source !== undefined && this.#isBelow(to.directory.ino, from.ino)) return 'EINVAL';
    if (exchange) return target !== undefined && this.#isBelow(from.directory.ino, target.ino) ? 'EINVAL' : 'none';
    if (to.ino === undefined) return 'none';
    if (target !== undefined) return source === undefined ? 'EISDIR' : target.entries.size > 0 ? 'ENOTEMPTY' : 'none';
    return source === undefined ? 'none' : 'ENOTDIR';
  }

  /** Not waited for: what comes next happens while it is counted. */
  async #changeQuota(): Promise<void> {
    const { quotas, ledger } = this.#pool.namespace;
    const { ino } = must(this.#pick([...this.directories.values()]), 'there is the root');
    const state = ledger.quotas.get(ino)?.state;
    if (state === undefined || state === 'clearing') await quotas.set(ino, { inodesMax: 1e6, bytesMax: 1e9 });
    else await quotas.clear(ino);
  }

  /** Has a file, or one below a directory, more names than one? It stays in its quota then. */
  #hasSeveralNames(ino: Ino | undefined): boolean {
    if (ino === undefined) return false;
    const entries = this.directories.get(ino)?.entries;
    if (entries === undefined) return (this.files.get(ino)?.links ?? 0) > 1;
    return [...entries.values()].some((each) => this.#hasSeveralNames(each));
  }

  async #rename(): Promise<void> {
    const from = this.#place();
    const to = this.#place();
    if (this.#quotas && (this.#hasSeveralNames(from.ino) || this.#hasSeveralNames(to.ino))) return;
    const dice = this.#random.below(4);
    const flags = { exchange: dice === 0, noReplace: dice === 1 };
    const expected = this.#expectedRename(from, to, flags.exchange, flags.noReplace);
    if (expected === 'none' && !flags.exchange && to.ino !== undefined) {
      if (this.directories.has(to.ino)) this.directories.delete(to.ino);
      else this.#unlinked(to.ino);
    }
    const rename = () => this.#pool.namespace.rename(from.directory.ino, from.name, to.directory.ino, to.name, flags, root);
    assert.equal(await codeOf(rename), expected === 'same' ? 'none' : expected, `${from.name} to ${to.name}`);
    if (expected !== 'none' || from.ino === undefined) return;
    to.directory.entries.set(to.name, from.ino);
    if (flags.exchange && to.ino !== undefined) from.directory.entries.set(from.name, to.ino);
    else from.directory.entries.delete(from.name);
  }

  async #link(): Promise<void> {
    const file = this.#pick([...this.files.values()]);
    const { directory, name, ino } = this.#place();
    if (file === undefined) return;
    const expected = file.links === 0 ? 'ENOENT' : ino !== undefined ? 'EEXIST' : 'none';
    const result = await codeOf(() => this.#pool.namespace.link(file.ino, directory.ino, name, root));
    if (this.#quotas && expected === 'none' && result === 'EXDEV') return;
    assert.equal(result, expected);
    if (expected !== 'none') return;
    file.links++;
    directory.entries.set(name, file.ino);
  }

  async #mkdir(): Promise<void> {
    const { directory, name, ino } = this.#place();
    if (this.directories.size > 6 || ino !== undefined) return;
    const made = await this.#pool.namespace.mkdir(directory.ino, name, 0o755, root);
    directory.entries.set(name, made.ino);
    this.directories.set(made.ino, { ino: made.ino, entries: new Map() });
  }

  async #rmdir(): Promise<void> {
    const { directory, name, ino } = this.#place();
    const found = ino === undefined ? undefined : this.directories.get(ino);
    const expected = ino === undefined ? 'ENOENT' : found === undefined ? 'ENOTDIR' : found.entries.size > 0 ? 'ENOTEMPTY' : 'none';
    assert.equal(await codeOf(() => this.#pool.namespace.rmdir(directory.ino, name, root)), expected);
    if (expected !== 'none' || found === undefined) return;
    this.directories.delete(found.ino);
    directory.entries.delete(name);
  }

  async #list(): Promise<void> {
    for (const { ino, entries } of this.directories.values()) {
      const listed = new Map<string, Ino>();
      await this.#pool.namespace.readdir(ino, 0, false, (entry) => {
        if (!entry.name.startsWith('.')) listed.set(entry.name, entry.ino);
        return true;
      });
      assert.deepEqual(new Map([...listed].sort()), new Map([...entries].sort()));
    }
  }

  /** Compares everything that is open or has a name. */
  async compare(): Promise<void> {
    await this.#list();
    for (const file of this.files.values()) {
      const { namespace } = this.#pool;
      assert.equal((await namespace.getattr(file.ino)).links, file.links);
      const own = file.handles[0];
      const handle = own ?? (await namespace.open(file.ino, 0, root));
      const content = await readAll(namespace, file.ino, handle, 0, CONTENT_BYTES_MAX);
      assert.ok(content.equals(file.content), `inode ${file.ino}`);
      if (own === undefined) await namespace.release(file.ino, handle);
    }
  }

  /** Closes and deletes everything. */
  async removeAll(): Promise<void> {
    const { namespace } = this.#pool;
    for (const file of this.files.values()) for (const handle of file.handles) await namespace.release(file.ino, handle);
    const remove = async ({ ino, entries }: Directory): Promise<void> => {
      for (const [name, child] of entries) {
        const below = this.directories.get(child);
        if (below === undefined) await namespace.unlink(ino, name, root);
        else {
          await remove(below);
          await namespace.rmdir(ino, name, root);
        }
      }
    };
    await remove(must(this.directories.get(ROOT), 'there is the root'));
    if (namespace.ledger.quotas.get(ROOT) !== undefined) await namespace.quotas.clear(ROOT);
    await namespace.quotas.settled();
    for (let ino = ROOT + 1; ino < namespace.status().nextIno; ino++) namespace.forget(ino, 1e6);
  }
}
