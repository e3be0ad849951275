/**
 * One program that uses the pool: it works in a directory of its own, one call after the other (now and then two at once on one file), beside the
 * model of it. Several of them run at the same time. Every answer is compared with the model; after a crash what is there is compared with what may be.
 */
import { must } from '../../src/base/assert.js';
import type { Random } from '../../src/base/clock.js';
import type { Ino } from '../../src/namespace/namespace.js';
import { firstDifference, matches, ModelFile } from './model.js';
import { expect } from './violation.js';
import { ContentOperations } from './content-operations.js';

export type Operation =
  | 'create'
  | 'write'
  | 'append'
  | 'overwrite'
  | 'bigWrite'
  | 'save'
  | 'truncate'
  | 'read'
  | 'flush'
  | 'fsync'
  | 'writeWhileSyncing'
  // Where reads are slow (profiles.ts).
  | 'replaceWhileReading'
  | 'release'
  | 'open'
  | 'openTruncated'
  | 'unlink'
  | 'rename'
  | 'exchange'
  | 'link'
  | 'mkdir'
  | 'rmdir'
  | 'list'
  | 'fsyncdir'
  | 'sync'
  // In some histories (history.ts).
  | 'quota'
  | 'scatter';

/** How often each is chosen. */
export const operationWeights: readonly (readonly [Operation, number])[] = [
  ['create', 12],
  ['write', 14],
  ['append', 8],
  ['overwrite', 8],
  ['bigWrite', 6],
  ['save', 8],
  ['truncate', 5],
  ['read', 10],
  ['flush', 4],
  ['fsync', 6],
  ['writeWhileSyncing', 2],
  ['release', 10],
  ['open', 6],
  ['openTruncated', 3],
  ['unlink', 7],
  ['rename', 9],
  ['exchange', 2],
  ['link', 3],
  ['mkdir', 3],
  ['rmdir', 3],
  ['list', 2],
  ['fsyncdir', 2],
  ['sync', 2],
];

export class Client extends ContentOperations {
  /** Starts an operation; `busy` until it is answered. */
  start(operation: Operation, random: Random): void {
    const life = this.life;
    const work = this.perform(operation, random).then(
      () => {
        if (life === this.life) this.answered++;
      },
      (error: unknown) => {
        if (life === this.life) this.failure ??= error instanceof Error ? error : new Error(String(error));
      },
    );
    const busy = work.finally(() => {
      if (this.busy === busy) this.busy = undefined;
    });
    this.busy = busy;
  }

  protected async perform(operation: Operation, random: Random): Promise<void> {
    this.world.trace.note(`${this.name} ${operation}`);
    switch (operation) {
      case 'create':
        return this.create(random);
      case 'write':
        return this.write(random, 1 + random.below(4000), (file, bytes) => random.below(Math.max(1, file.content.length + 5000 - bytes)));
      case 'append':
        return this.write(random, 1 + random.below(20_000), (file) => file.content.length);
      case 'overwrite':
        return this.write(random, 1 + random.below(30_000), (file, bytes) => random.below(Math.max(1, file.content.length - bytes)));
      case 'bigWrite':
        return this.write(random, 20_000 + random.below(180_000), (file) => (random.below(2) === 0 ? 0 : file.content.length));
      case 'save':
        return this.save(random);
      case 'scatter':
        return this.scatter(random);
      case 'truncate':
        return this.truncate(random);
      case 'read':
        return this.read(random);
      case 'flush':
        return this.flush(random, false);
      case 'fsync':
        return this.flush(random, true);
      case 'writeWhileSyncing':
        return this.writeWhileSyncing(random);
      case 'replaceWhileReading':
        return this.replaceWhileReading(random);
      case 'release':
        return this.release(random);
      case 'open':
        return this.open(random, false);
      case 'openTruncated':
        return this.open(random, true);
      case 'unlink':
        return this.unlink(random);
      case 'rename':
        return this.rename(random, false);
      case 'exchange':
        return this.rename(random, true);
      case 'link':
        return this.link(random);
      case 'mkdir':
        return this.mkdir(random);
      case 'rmdir':
        return this.rmdir(random);
      case 'list':
        return this.list();
      case 'fsyncdir':
        return this.fsyncdir();
      case 'sync':
        return this.sync();
      case 'quota':
        return this.quota(random);
    }
  }

  /** Compares what is there with what a crash at `position` may have left, and goes on from it. */
  async recover(position: number): Promise<void> {
    const found = await this.readTree();
    const candidates = this.names.candidates(position);
    expect(
      candidates.some((tree) => matches(found, tree)),
      'I4 prefix',
      () => `${this.name}: after a crash at ${position}: ${found.text()}; expected ${candidates.map((tree) => tree.text()).join(' or ')}`,
    );
    this.names.adopt(found);
    for (const [ino, file] of this.buried) this.files.set(ino, file);
    this.buried.clear();
    for (const ino of this.files.keys()) if (found.links(ino) === 0) this.files.delete(ino);
    for (const entries of found.directories.values())
      for (const ino of entries.values())
        if (!found.isDirectory(ino)) {
          const content = await this.content(ino);
          const file = this.files.get(ino);
          if (file === undefined) {
            expect(content.length === 0, 'I3 one swap', `${this.name}: inode ${ino} was never written to and has ${content.length} bytes`);
            this.files.set(ino, new ModelFile(ino, content, 0));
          } else file.recovered(content, position, this.troubled);
        }
  }

  /** Everything that is there is as processes saw it last. */
  async compare(): Promise<void> {
    await this.list();
    for (const file of this.files.values()) {
      const links = this.names.tree.links(file.ino);
      const attributes = await this.must(() => this.namespace.getattr(file.ino));
      expect(attributes.links === links, 'names', `${this.name}: inode ${file.ino} has ${attributes.links} links, expected ${links}`);
      const content = await this.content(file.ino);
      if (content.equals(file.content)) continue;
      const differs = firstDifference(content, file.content);
      expect(
        this.troubled && file.handles.length > 0,
        'bytes',
        () => `${this.name}: inode ${file.ino} has ${content.length} bytes, expected ${file.content.length}; differs at ${differs}`,
      );
      file.fellBack(content);
      file.owesError = true;
    }
  }

  /** Deletes everything but the own directory. */
  async removeAll(): Promise<void> {
    const remove = async (directory: Ino): Promise<void> => {
      for (const [name, ino] of [...this.names.tree.entries(directory)])
        if (this.names.tree.isDirectory(ino)) {
          await remove(ino);
          await this.must(() => this.namespace.rmdir(directory, name));
        } else {
          await this.must(() => this.namespace.unlink(directory, name));
          this.namespace.forget(ino, 1e6);
        }
    };
    await remove(this.directory);
    this.names.adopt(await this.readTree());
    this.files.clear();
    this.buried.clear();
  }

  /** Closes all files. */
  async closeAll(): Promise<void> {
    for (const file of [...this.files.values()])
      while (file.handles.length > 0) {
        await this.flushed(file, false, (handle) => this.namespace.flush(file.ino, handle));
        await this.must(() => this.namespace.release(file.ino, must(file.handles.shift(), 'it is open')));
      }
    for (const file of [...this.files.values()]) if (this.names.tree.links(file.ino) === 0) this.bury(file);
  }
}
