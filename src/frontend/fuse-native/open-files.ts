/** Open files: the package keeps a number of 31 bits for each, which stands for an inode and a handle of the namespace. */
import { must } from '../../base/assert.js';
import type { Handle, Ino } from '../../namespace/namespace.js';

const NUMBER_MAX = 2 ** 31 - 1;

export interface OpenFile {
  readonly ino: Ino;
  readonly handle: Handle;
}

export class OpenFiles {
  readonly #files = new Map<number, OpenFile>();
  readonly #uses = new Map<Ino, number>();
  /** 0 means none to the package. */
  #last = 0;

  get size(): number {
    return this.#files.size;
  }

  add(file: OpenFile): number {
    do this.#last = this.#last === NUMBER_MAX ? 1 : this.#last + 1;
    while (this.#files.has(this.#last));
    this.#files.set(this.#last, file);
    this.#uses.set(file.ino, (this.#uses.get(file.ino) ?? 0) + 1);
    return this.#last;
  }

  get(number: number): OpenFile {
    return must(this.#files.get(number), 'libfuse names open files');
  }

  isOpen(ino: Ino): boolean {
    return this.#uses.has(ino);
  }

  take(number: number): OpenFile {
    const file = this.get(number);
    this.#files.delete(number);
    const uses = (this.#uses.get(file.ino) ?? 1) - 1;
    if (uses > 0) this.#uses.set(file.ino, uses);
    else this.#uses.delete(file.ino);
    return file;
  }

  /** All that are left, once. */
  takeAll(): OpenFile[] {
    return [...this.#files.keys()].map((number) => this.take(number));
  }
}
