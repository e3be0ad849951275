/**
 * Requests whose callers got a signal while they wait. The kernel tells of any signal, once for each request, and waits for our answer all the same; no file system on a disk
 * lets stat(2), open(2) or read(2) fail with EINTR because of a signal that its process handles, and programs do not expect it. So one is given up only when its caller
 * is about to die, also when that comes about later: nobody is kept from dying by a slow disk.
 */
import { readFile } from 'node:fs/promises';
import type { Cancel, Clock } from '../../base/clock.js';
import type { Request } from './request.js';

/** Callers that had a signal are looked at again so often: for the kernel says nothing of a second one. */
const LOOK_INTERVAL_MS = 100;
/** SIGKILL in the kernel's sets of signals: what a thread has pending when its process dies, whatever signal it dies of. */
const KILLED = 1n << 8n;

/** True when this thread, as the kernel numbers them, was told to die. */
export async function isDying(thread: number): Promise<boolean> {
  try {
    const status = await readFile(`/proc/${thread}/status`, 'latin1');
    for (const [, signals] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm))
      if ((BigInt(`0x${signals ?? '0'}`) & KILLED) !== 0n) return true;
    return false;
  } catch {
    // It is gone, or in a container of which we see nothing.
    return false;
  }
}

export class Interrupts {
  readonly #requests = new Set<Request>();
  #cancel: Cancel | undefined;

  /** @param giveUp is told of a request whose caller dies, once */
  constructor(
    private readonly clock: Clock,
    private readonly dying: (thread: number) => Promise<boolean>,
    private readonly giveUp: (request: Request) => void,
  ) {}

  /** The caller of this request, which waits, had a signal. */
  add(request: Request): void {
    this.#requests.add(request);
    void this.#look();
  }

  /** It does not wait any more. */
  done(request: Request): void {
    if (this.#requests.delete(request) && this.#requests.size === 0) this.#cancel?.();
  }

  async #look(): Promise<void> {
    for (const request of [...this.#requests]) if ((await this.dying(request.pid)) && this.#requests.delete(request)) this.giveUp(request);
    this.#cancel?.();
    if (this.#requests.size > 0)
      this.#cancel = this.clock.after(LOOK_INTERVAL_MS, () => {
        void this.#look();
      });
  }
}
