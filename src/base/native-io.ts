/**
 * The typed door to native/io: erasure code, CRC32C, I/O off the main thread, fused stripe calls, shared memory. Only disk/ uses the
 * I/O part; codec, checksums and shared memory are for everyone. It loads on first use, so that a program that needs none of it runs without
 * the native build.
 *
 * Conventions of the asynchronous calls: they never reject. They resolve with their result, or with a negative errno(3) number. Arguments that
 * no correct program passes (bad handles, ranges, paths with `..`) throw TypeError or RangeError at once.
 */
import { constants } from 'node:os';
import { join } from 'node:path';
import { OperatingError } from './errors.js';
import { packageRoot } from './package-root.js';

/** A disk's queue and threads, made by `createDisk`. Never given again. */
export type DiskHandle = number & { readonly brand: 'disk handle' };
/** An open file on a disk. Never given again. */
export type FileHandle = number & { readonly brand: 'file handle' };
/** Zero, or a negative errno. */
export type Status = number;

/** The columns of a record table: one row of RECORD_COLUMNS numbers for each shard record. */
export const RECORD_COLUMNS = 4;

export interface NativeIo {
  // ── Erasure code and checksums: synchronous, pure ──────────────────────────────────────────────────────────────────────────────

  /**
   * Computes shards of a k+m code. Both arrays have k+m places; all shards given have one length. Every target is computed from the first k
   * sources that are there (so encoding is: data shards as sources, parity shards as targets).
   * @throws TypeError on fewer than k sources, lengths that differ, k outside 1…32 or k+m over 32.
   */
  rebuild(k: number, m: number, sources: readonly (Uint8Array | undefined)[], targets: readonly (Uint8Array | undefined)[]): void;
  /** CRC32C without pre- or post-inversion (ISA-L's crc32_iscsi), chainable: crc(ab, s) = crc(b, crc(a, s)). */
  crc32c(bytes: Uint8Array, seed: number): number;
  /** The CRCs of the frames of a shard, the first of which is frame number `firstFrame`; each seeded by `frameSeed`. */
  frameCrcs(bytes: Uint8Array, seed: number, firstFrame: number): Uint32Array;
  /** `frameSeed` as native code computes it; for tests. */
  frameSeed(seed: number, frame: number): number;
  /** Milliseconds that `rounds` calls of ISA-L's own ec_encode_data take, alone; for the benchmark. */
  encodeBaselineMs(k: number, m: number, data: readonly Uint8Array[], parity: readonly Uint8Array[], rounds: number): number;

  // ── Disks: each has a queue and a thread for fetches, one for syncs, and one for all else ──────────────────────────────────────────

  createDisk(): DiskHandle;
  /** Opens the directory; everything else on this disk is resolved below it. Resolves with device and inode as text. */
  openDirectory(disk: DiskHandle, path: string): Promise<string | Status>;
  /** 0: `path` leads to the directory that was opened; -ESTALE: to something else; or why not. */
  identityStillAt(disk: DiskHandle, path: string): Promise<Status>;
  /** 0: `root`/`path` is, or would be made, in the same directory as `path` below the opened directory; -ESTALE: elsewhere. */
  samePath(disk: DiskHandle, root: string, path: string): Promise<Status>;
  /** Locks (flock) a file below the directory until the disk is closed and writes our pid into it. 0; a positive number is the pid of the owner. */
  lock(disk: DiskHandle, path: string): Promise<number>;
  list(disk: DiskHandle, path: string): Promise<string[] | Status>;
  makeDirectory(disk: DiskHandle, path: string): Promise<Status>;
  unlink(disk: DiskHandle, path: string): Promise<Status>;
  rename(disk: DiskHandle, from: string, to: string): Promise<Status>;
  syncDirectory(disk: DiskHandle, path: string): Promise<Status>;
  syncAll(disk: DiskHandle): Promise<Status>;
  /** [total, available] bytes. */
  capacity(disk: DiskHandle): Promise<readonly [number, number] | Status>;
  /** Ms for which the call that the disk's threads are in now has been running; 0 when idle. Reads a few words, does not wait. */
  oldestAgeMs(disk: DiskHandle): number;
  /** Fails everything queued and running with ETIMEDOUT, leaves threads that hang behind, closes what can be closed in the background. */
  abandon(disk: DiskHandle): void;
  /** Closes all files, the lock and the directory after what is queued. The handle is invalid at once. */
  closeDisk(disk: DiskHandle): Promise<Status>;
  /** Threads left behind in calls that have not come back, in this process. */
  hungThreads(): number;
  /** Holds up the disk's thread for all else than fetches and syncs by reading a FIFO at an absolute path until a writer has come and gone. Only for tests of stalls. */
  hangForTest(disk: DiskHandle, path: string): Promise<Status>;
  /** The same of the thread for fetches. */
  hangFetchesForTest(disk: DiskHandle, path: string): Promise<Status>;

  // ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  openFile(disk: DiskHandle, path: string, create: boolean, write: boolean): Promise<FileHandle | Status>;
  /** Buffers must not change until it resolves. At most 512 buffers and 64 MiB. */
  write(file: FileHandle, offset: number, buffers: readonly Uint8Array[]): Promise<Status>;
  /**
   * `write`, then `sync`, then the names in a directory of the file's disk (none where that is ''), each with a slash behind it: all on the thread for syncs. A
   * negative errno is that of the first step that failed; the file must not be trusted any more then.
   */
  writeSynced(file: FileHandle, offset: number, buffers: readonly Uint8Array[], directory: string): Promise<string | Status>;
  /** At most 64 MiB; shorter only at the end of the file. */
  read(file: FileHandle, offset: number, bytes: number): Promise<Buffer | Status>;
  /**
   * Reads up to so many bytes and walks over good records and zeros, see `StripeIo.scan`. Resolves with 8 bytes, how many bytes were walked over (little endian), and
   * behind them RECORD_PREFIX_BYTES of each record.
   * @param identity 32 bytes, 16 … 47 of the prefix of each record of this segment
   */
  scan(file: FileHandle, offset: number, bytes: number, identity: Uint8Array): Promise<Buffer | Status>;
  /** fdatasync of what was written before the call was made and has resolved. */
  sync(file: FileHandle): Promise<Status>;
  size(file: FileHandle): Promise<number>;
  /** lseek(2) with SEEK_DATA, but the file's size where no data follows, and `offset` where the file system cannot tell. */
  nextData(file: FileHandle, offset: number): Promise<number>;
  preallocate(file: FileHandle, offset: number, bytes: number): Promise<Status>;
  punch(file: FileHandle, offset: number, bytes: number): Promise<Status>;
  /** The handle is invalid at once; calls in flight finish. */
  close(file: FileHandle): Promise<Status>;

  // ── Stripes: see disk/stripe.ts. `table` has RECORD_COLUMNS numbers a record (shard, file, offset, seed), `prefixes` 256 bytes ───────

  /** Resolves with one status for each record, 0 or a positive errno. `token` is for `lateShards` and `giveUp`; 0: none. */
  store(
    k: number,
    m: number,
    shardBytes: number,
    table: Float64Array,
    prefixes: Uint8Array,
    data: Uint8Array,
    token: number,
  ): Promise<Int32Array>;
  /** Shards of the store of this token that their disks were given and have not written yet, a bit each; 0 when it has ended. */
  lateShards(token: number): number;
  /**
   * The store of this token waits no longer for these shards (a bit each): they end with ETIME. A write that is under way goes on, and may by then write what
   * has come into `data`: what it leaves on the disk is of no use.
   */
  giveUp(token: number, shards: number): void;
  /** Resolves with one status for each record, and behind them the status of the whole: 0, or EIO where fewer than k were usable. `token` is for `hurry`. */
  fetch(
    k: number,
    m: number,
    shardBytes: number,
    table: Float64Array,
    prefixes: Uint8Array,
    offset: number,
    out: Uint8Array,
    token: number,
  ): Promise<Int32Array>;
  /**
   * Two tables: records to read and records to write. Resolves with one status for each record, those to write behind those to read, and behind them the
   * status of the whole: 0, or EIO where fewer than k could be read (then nothing was written). No content comes to JavaScript.
   */
  remake(
    k: number,
    m: number,
    shardBytes: number,
    sources: Float64Array,
    sourcePrefixes: Uint8Array,
    targets: Float64Array,
    targetPrefixes: Uint8Array,
  ): Promise<Int32Array>;
  /**
   * The fetch of this token (above 0) goes on without the records that have not answered yet, if enough others are left: they end with ETIME, and what
   * their disks say later is ignored. Does nothing when it has ended, or cannot.
   */
  hurry(token: number): void;
  /** As `store`: one status for each record. */
  verify(k: number, m: number, shardBytes: number, table: Float64Array, prefixes: Uint8Array): Promise<Int32Array>;

  /** One word in memory of the process: more than 0 while any I/O is queued, running, or not yet delivered. */
  readonly busyWord: Int32Array;

  // ── Shared memory and the process ─────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Maps a file into memory, shared: stores into the array are in the file for the next process at once. Creates it (0600) with `bytes` zeros if
   * it is not there. A negative errno: EPERM it belongs to another user, EINVAL it has another size, ELOOP it is a link… Blocks briefly;
   * meant for tmpfs.
   */
  mapShared(path: string, bytes: number): ArrayBuffer | Status;
  /** Unmaps; the array is detached (length 0). */
  unmapShared(memory: ArrayBuffer): void;
  /**
   * Has V8 look for garbage from now on, in steps beside what else runs: tells it of so many bytes outside of its heap, and that they are gone again. It looks when
   * 64 MiB have come since it did last; past half of its heap's limit it would stop everything for it.
   */
  beginCollection(bytes: number): void;
  /** Gives free pages within the C heap back to the system (malloc_trim(3)). Takes some milliseconds. */
  trimMemory(): void;
  /**
   * Gives the pages that lie wholly within an array back to the system at once (madvise(2), MADV_DONTNEED); it does not wait for V8 to see that the array is garbage. The
   * array may be used again: those bytes are zeros then. Private memory of this process only, not mapShared's.
   */
  discardPages(memory: Uint8Array): void;
  /** Has this process, as /proc shows it, that group beside the one that it acts with? False where it cannot be seen. */
  inGroupOf(pid: number, gid: number): boolean;
  /**
   * Puts the calling thread `steps` (1 … 39) of nice(2) before the program's other threads; those that it starts from now on go with it, but for native ones that move
   * much. 0, or -EACCES where that is not permitted: then nothing changes.
   */
  goBefore(steps: number): Status;
  /** Puts the calling thread, started by one that went before, back among the others. */
  stayBehind(): void;
  /** CLOCK_REALTIME_COARSE: nanoseconds since 1970, by the tick with which the kernel dates files. */
  kernelTime(): bigint;
  /** Does the directory lie in memory (tmpfs, ramfs)? False where it cannot be asked. */
  isTmpfs(directory: string): boolean;
  /** PR_SET_IO_FLUSHER for the calling thread and those it starts. False where not permitted. */
  setIoFlusher(): boolean;
  /**
   * Sends one datagram to a Unix socket; a path that begins with "@" is in the abstract name space. Does not wait: -EAGAIN when the receiver's
   * queue is full.
   */
  sendDatagram(path: string, text: string): Status;
  /**
   * execve(2): this process becomes another program, with nothing but its standard streams. Comes back only with a negative errno.
   * @param args the first one is the program's own name
   * @param environment NAME=VALUE each
   */
  become(program: string, args: readonly string[], environment: readonly string[]): Status;
}

const modulePath = join(packageRoot, 'native', 'io', 'build', 'Release', 'ostraka_io.node');
let loaded: NativeIo | undefined;

/**
 * The native module.
 * @throws OperatingError ENOENT when it was not built.
 */
export function nativeIo(): NativeIo {
  if (loaded === undefined) {
    try {
      // DEEPBIND: node exports OpenSSL's `gf_mul`, which ISA-L's own calls of its function of that name would reach otherwise, and crash.
      const module: { exports: unknown } = { exports: {} };
      process.dlopen(module, modulePath, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_DEEPBIND);
      loaded = module.exports as NativeIo;
    } catch (cause) {
      throw new OperatingError('ENOENT', `the native I/O module cannot be loaded: ${modulePath}`, {
        path: modulePath,
        hint: 'Run "npm run build" in the package folder (it needs g++, make and libisal-dev).',
        cause,
      });
    }
  }
  return loaded;
}
