/**
 * The I/O interface of one mounted disk. `native-disk.ts` is the real one, `simulated-disk.ts` its twin; the same
 * conformance suite runs on both.
 *
 * Contract:
 * - All paths are relative to the disk's directory and are resolved below the descriptor of the directory that was
 *   identified at `open` (openat), never by an absolute path: another file system mounted over it is never written to.
 * - Every call that fails rejects with an OperatingError that names the disk; errors are also counted in `health`.
 * - A failed sync is final: after `sync()` rejected, the file is poisoned; each later write or sync on it rejects with EIO.
 * - Nothing here blocks the event loop.
 */
import type { Uuid } from '../base/ids.js';

/** How to open a file on a disk. */
export interface OpenMode {
  /** Create it; fails with EEXIST when it is there. */
  create?: boolean;
  /** Open for writing too. */
  write?: boolean;
}

/** An open file on a disk. */
export interface DiskFile {
  readonly disk: Disk;
  readonly path: string;
  /** True after a sync failed: nothing unsynced in it can be trusted, and no call will make it so. */
  readonly poisoned: boolean;
  /** Writes all of `buffers` one after the other at `offset` (pwritev). Short writes are continued or fail. */
  write(offset: number, buffers: readonly Uint8Array[]): Promise<void>;
  /**
   * `write`, then `sync`, then `list` of a directory of the same disk where one is given, as one call, which is much cheaper than three. Resolves with the
   * names, each with a slash behind it. After it rejected, the file is poisoned as by a sync that failed.
   */
  writeSynced(offset: number, buffers: readonly Uint8Array[], directory?: string): Promise<string>;
  /** Reads up to `bytes` at `offset`; shorter only at the end of the file. */
  read(offset: number, bytes: number): Promise<Buffer>;
  /** fdatasync(2). */
  sync(): Promise<void>;
  size(): Promise<number>;
  /** The first byte at or behind `offset` that does not lie in a hole, as far as the file system tells; the size where there is none. */
  nextData(offset: number): Promise<number>;
  /** Allocates without changing the size (fallocate, FALLOC_FL_KEEP_SIZE); quietly does nothing where unsupported. */
  preallocate(offset: number, bytes: number): Promise<void>;
  /** Gives the range's space back (FALLOC_FL_PUNCH_HOLE); quietly does nothing where unsupported. */
  punch(offset: number, bytes: number): Promise<void>;
  close(): Promise<void>;
}

/** What statvfs says. */
export interface Capacity {
  readonly totalBytes: number;
  /** Free for us (f_bavail). */
  readonly freeBytes: number;
  /** Names the file system (st_dev as text): directories of one share its space. Left out where unknown. */
  readonly fileSystem?: string;
}

/** Counters since the daemon's start. */
export interface DiskHealth {
  readErrors: number;
  writeErrors: number;
  syncErrors: number;
  /** Frames or headers whose checksum did not match. */
  checksumErrors: number;
  /** Calls that took longer than the stall limit, or never came back. */
  stalls: number;
}

/** A disk whose superblock was read and whose lock is ours. */
export interface Disk {
  /** The directory as the operator named it. */
  readonly directory: string;
  readonly id: Uuid;
  readonly health: DiskHealth;
  /** Called after each call that failed with ENOSPC; resolves when what can be given up for such a case was. Never rejects. Set by whoever watches the disk. */
  onFull: (() => Promise<void>) | undefined;
  open(path: string, mode?: OpenMode): Promise<DiskFile>;
  /** Names in a directory of the disk, without . and .., unsorted. ENOENT when it is not there. */
  list(path: string): Promise<string[]>;
  /** Creates a directory; fine if it exists. Durable only after `syncDirectory` of its parent. */
  makeDirectory(path: string): Promise<void>;
  /** Makes created, renamed and removed names in a directory durable. '' is the disk's directory. */
  syncDirectory(path: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  capacity(): Promise<Capacity>;
  /** syncfs(2): everything written so far on this disk's file system. */
  syncAll(): Promise<void>;
  /**
   * Is the directory still the one that was identified? Resolves when `directory` leads to the same inode and its superblock
   * still names this disk; otherwise rejects (ENOENT: gone, ESTALE: something else is there, EIO: unreadable).
   */
  probe(): Promise<void>;
  /**
   * A path for libraries that open files themselves (SQLite), after checking that it leads below the identified directory.
   */
  externalPath(path: string): Promise<string>;
  /** Releases the lock and all descriptors. */
  close(): Promise<void>;
}
