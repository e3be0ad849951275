/**
 * Names that are replaced while somebody looks at them. What a lookup found may be gone by the time the request comes that it was for (open, chmod, readlink). Such a
 * request is answered ESTALE, which the kernel takes as "look again", once for each system call (`retry_estale` in fs/namei.c); of a name that is replaced all the time,
 * as by rename(2), that would be gone again, and the caller would see an error that no local file system gives. So what a thread finds after an ESTALE is held
 * for it, as if it were open, for a time.
 */
import type { Awaitable } from '../../base/awaitable.js';
import type { Cancel, Clock } from '../../base/clock.js';
import { isDirectory } from '../../namespace/modes.js';
import type { Attributes, Ino, Namespace } from '../../namespace/namespace.js';
import type { Log } from './context.js';
import { isErrno } from '../../base/errors.js';

/** From the answer to the end of the system call: some requests of one thread. */
const HOLD_MS = 1000;
const THREADS_MAX = 64;
/** Of one thread: its way may lead through symbolic links, each looked up twice. */
const HOLDS_MAX = 16;
/** A name that is another one at each look. */
const LOOKS_MAX = 16;

type Release = () => Promise<void>;

interface Retry {
  readonly releases: Release[];
  cancel: Cancel;
}

export class Retries {
  readonly #namespace: Pick<Namespace, 'hold' | 'forget'>;
  readonly #clock: Clock;
  readonly #log: Log;
  /** By thread, the one that has waited longest first. */
  readonly #retries = new Map<number, Retry>();
  /** Of those whose time is over; never rejects. */
  #releasing: Promise<void> = Promise.resolve();

  constructor(namespace: Pick<Namespace, 'hold' | 'forget'>, clock: Clock, log: Log) {
    this.#namespace = namespace;
    this.#clock = clock;
    this.#log = log;
  }

  /** A request of this thread is answered ESTALE: it will look again. */
  expect(thread: number): void {
    const known = this.#retries.get(thread);
    known?.cancel();
    this.#retries.delete(thread);
    for (const [oldest] of this.#retries) {
      if (this.#retries.size < THREADS_MAX) break;
      this.#end(oldest);
    }
    const cancel = this.#clock.after(HOLD_MS, () => {
      this.#end(thread);
    });
    this.#retries.set(thread, { releases: known?.releases ?? [], cancel });
  }

  isExpected(thread: number): boolean {
    return this.#retries.has(thread);
  }

  /**
   * Looks a name up for a thread that is expected, and holds what it finds.
   * @param look a lookup, which the kernel will be told of
   * @throws what the lookup or the hold throws
   */
  async found(thread: number, look: () => Awaitable<Attributes | undefined>): Promise<Attributes | undefined> {
    for (let looks = 1; ; looks++) {
      const attributes = await look();
      if (attributes === undefined) return undefined;
      let kept = false;
      try {
        // A directory that is replaced is empty, and nothing is in it any more: those who look again find that out.
        kept = isDirectory(attributes.mode) || looks === LOOKS_MAX || (await this.#hold(thread, attributes.ino));
      } finally {
        // The kernel is not told of this lookup.
        if (!kept) this.#namespace.forget(attributes.ino, 1);
      }
      if (kept) return attributes;
    }
  }

  /** False: it is gone already. */
  async #hold(thread: number, ino: Ino): Promise<boolean> {
    let release: Release;
    try {
      release = await this.#namespace.hold(ino);
    } catch (thrown) {
      if (isErrno(thrown, 'ESTALE')) return false;
      throw thrown;
    }
    const releases = this.#retries.get(thread)?.releases;
    if (releases === undefined) await this.#release(release);
    else if (releases.push(release) > HOLDS_MAX) await this.#release(releases.shift());
    return true;
  }

  #end(thread: number): void {
    const retry = this.#retries.get(thread);
    if (retry === undefined) return;
    this.#retries.delete(thread);
    retry.cancel();
    this.#releasing = this.#releasing.then(async () => {
      for (const release of retry.releases) await this.#release(release);
    });
  }

  async #release(release: Release | undefined): Promise<void> {
    try {
      await release?.();
    } catch (thrown) {
      this.#log('warn', 'an inode that is gone could not be removed; the next mount does it', { reason: String(thrown) });
    }
  }

  /** Lets go of all: the mount ends. Resolves when nothing is held any more. */
  async end(): Promise<void> {
    for (const thread of [...this.#retries.keys()]) this.#end(thread);
    await this.#releasing;
  }
}
