/** What a namespace is made of and with. */
import type { Clock, Random } from '../base/clock.js';
import type { IndexStore } from '../index/index-store.js';
import type { Storage } from '../storage/storage.js';
import type { Ino } from './namespace.js';

export type Log = (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;

/** Looked at each time; all but `uploadBytesMax` may change while the namespace is open. */
export interface NamespaceSettings {
  /** ms after which what was written to an open file is committed. */
  readonly commitIntervalMs: number;
  /** close: closing a file and changing names wait until durable. */
  readonly durability: 'interval' | 'close';
  /** Dirty bytes in memory before writers wait. */
  readonly uploadBytesMax: number;
  /** Blob contents kept for readers. */
  readonly readCacheBytesMax: number;
}

export interface NamespaceOptions {
  readonly index: IndexStore;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly settings: NamespaceSettings;
  /** Of this leadership: sessions of earlier ones are dead. */
  readonly epoch: number;
  /** Refuses every change with EROFS, and cleans nothing up. */
  readonly readOnly: boolean;
  /** What the kernel caches of this inode's content and attributes is not true any more. */
  readonly onInvalidate?: (ino: Ino) => void;
}
