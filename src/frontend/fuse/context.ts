/** What all operations share: the namespace below, the way out, and what is open. */
import type { Awaitable } from '../../base/awaitable.js';
import type { Handle, Ino, Namespace } from '../../namespace/namespace.js';
import type { Validity } from './encode.js';
import type { Outbox } from './outbox.js';
import type { Request } from './request.js';
import type { Retries } from './retries.js';
import type { Describe } from './virtual-attributes.js';

/** Answers one request: a reply goes to the outbox, or it throws. Everything in the request's memory is used before the first await, or before it returns. */
export type Operation = (request: Request) => Awaitable<void>;

/** Structured log lines; wired to the daemon's logger. */
export type Log = (level: 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface Context {
  readonly namespace: Namespace;
  readonly outbox: Outbox;
  readonly validity: Validity;
  /** Open files, to be released when the mount ends without the kernel's doing it. */
  readonly files: Map<Handle, Ino>;
  /** Who looks a name up again. */
  readonly retries: Retries;
  /** Values of attributes that the file system makes. */
  readonly describe: Describe | undefined;
  /** SETXATTR_EXT was negotiated. */
  setxattrExtended(): boolean;
  /** The namespace has taken (positive) or finished (negative) so many bytes of writes. */
  writing(bytes: number): void;
  /** Written-back data of this inode was refused: what the kernel has cached of it must go. */
  writebackFailed(ino: Ino): void;
  /** Has the kernel write back what it holds of this inode's content, or of its listing, and forget it. */
  dropPages(ino: Ino): Promise<void>;
}
