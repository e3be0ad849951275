/** System calls by their names, with their arguments in their order, made by one process. Relative paths start at the directory of the case. */
import * as c from './constants.js';
import type { Answer, Process } from './process.js';

/** A path: bytes as latin1, no path at all, or an address that is not mapped. */
export type Path = string | typeof NULL | typeof FAULT;
export const NULL = Symbol('NULL');
export const FAULT = Symbol('an address that is not mapped');

/** Seconds and nanoseconds, UTIME_NOW or UTIME_OMIT. */
export type Moment = readonly [seconds: number, nanoseconds: number];

export interface Stat {
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  readonly blocks: number;
  readonly blockBytes: number;
  /** Nanoseconds since 1970. */
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly rdev: readonly [major: number, minor: number];
  readonly dev: readonly [major: number, minor: number];
}

export interface Entry {
  readonly name: string;
  readonly ino: bigint;
  readonly type: number;
  readonly offset: bigint;
}

export interface ByteLock {
  readonly type: number;
  readonly whence?: number;
  readonly start?: number;
  readonly bytes?: number;
  readonly pid?: number;
}

const STATX_BASIC = 0x7ff;
const STAT_BYTES = 256;
const escaped = (text: string): string =>
  text.replace(/[^A-Za-z0-9_./-]/g, (byte) => `%${(byte.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`);
const number = (value: number | bigint): string => `i${value}`;
const bytes = (value: Uint8Array | string): string => `h${Buffer.from(value as string, 'latin1').toString('hex')}`;
const path = (value: Path): string => (value === NULL ? 'n' : value === FAULT ? 'x' : `s${escaped(value)}`);

/** For messages: what an argument was. */
function shown(argument: string): string {
  const rest = argument.slice(1);
  if (argument.startsWith('s')) return `'${rest.length > 60 ? `${rest.slice(0, 50)}… (${rest.length})` : rest}'`;
  if (argument.startsWith('i')) return rest;
  return argument.startsWith('n')
    ? 'NULL'
    : argument.startsWith('x')
      ? 'a bad address'
      : rest.length > 40
        ? `${rest.slice(0, 30)}…`
        : argument;
}

export function timespecs(times: readonly Moment[]): Buffer {
  const buffer = Buffer.alloc(16 * times.length);
  for (const [i, [seconds, nanoseconds]] of times.entries()) {
    buffer.writeBigInt64LE(BigInt(seconds), i * 16);
    buffer.writeBigInt64LE(BigInt(nanoseconds), i * 16 + 8);
  }
  return buffer;
}

function flockBytes({ type, whence = 0, start = 0, bytes: length = 0, pid = 0 }: ByteLock): Buffer {
  const buffer = Buffer.alloc(32);
  buffer.writeInt16LE(type, 0);
  buffer.writeInt16LE(whence, 2);
  buffer.writeBigInt64LE(BigInt(start), 8);
  buffer.writeBigInt64LE(BigInt(length), 16);
  buffer.writeInt32LE(pid, 24);
  return buffer;
}

export function decodeLock(buffer: Buffer): Required<ByteLock> {
  return {
    type: buffer.readInt16LE(0),
    whence: buffer.readInt16LE(2),
    start: Number(buffer.readBigInt64LE(8)),
    bytes: Number(buffer.readBigInt64LE(16)),
    pid: buffer.readInt32LE(24),
  };
}

export function decodeStat(buffer: Buffer): Stat {
  const time = (at: number): bigint => buffer.readBigInt64LE(at) * 1_000_000_000n + BigInt(buffer.readUInt32LE(at + 8));
  return {
    blockBytes: buffer.readUInt32LE(4),
    links: buffer.readUInt32LE(16),
    uid: buffer.readUInt32LE(20),
    gid: buffer.readUInt32LE(24),
    mode: buffer.readUInt16LE(28),
    ino: buffer.readBigUInt64LE(32),
    size: Number(buffer.readBigUInt64LE(40)),
    blocks: Number(buffer.readBigUInt64LE(48)),
    atime: time(64),
    ctime: time(96),
    mtime: time(112),
    rdev: [buffer.readUInt32LE(128), buffer.readUInt32LE(132)],
    dev: [buffer.readUInt32LE(136), buffer.readUInt32LE(140)],
  };
}

export function decodeEntries(buffer: Buffer): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < buffer.length; at += buffer.readUInt16LE(at + 16))
    entries.push({
      ino: buffer.readBigUInt64LE(at),
      offset: buffer.readBigInt64LE(at + 8),
      type: buffer.readUInt8(at + 18),
      name: buffer.toString('latin1', at + 19, buffer.indexOf(0, at + 19)),
    });
  return entries;
}

export class User {
  readonly process: Process;

  constructor(process: Process) {
    this.process = process;
  }

  /** Any call that agent.cc knows, with its arguments as that file describes them. */
  call(name: string, ...args: readonly string[]): Promise<Answer> {
    return this.process.send(['call', name, ...args].join(' '), `${name}(${args.map(shown).join(', ')})`);
  }

  #at(name: string, dirfd: number, at: Path, ...args: readonly (number | string)[]): Promise<Answer> {
    return this.call(
      name,
      number(dirfd),
      path(at),
      ...args.map((argument) => (typeof argument === 'number' ? number(argument) : argument)),
    );
  }

  #fd(name: string, fd: number, ...args: readonly (number | string)[]): Promise<Answer> {
    return this.call(name, number(fd), ...args.map((argument) => (typeof argument === 'number' ? number(argument) : argument)));
  }

  open = (at: Path, flags: number, mode = 0, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('openat', dirfd, at, flags, mode);
  close = (fd: number): Promise<Answer> => this.#fd('close', fd);
  read = (fd: number, count: number): Promise<Answer> => this.#fd('read', fd, `r${count}`, count);
  pread = (fd: number, count: number, offset: number): Promise<Answer> => this.#fd('pread64', fd, `r${count}`, count, offset);
  write = (fd: number, data: Uint8Array | string): Promise<Answer> => this.#fd('write', fd, bytes(data), data.length);
  pwrite = (fd: number, data: Uint8Array | string, offset: number | bigint): Promise<Answer> =>
    this.#fd('pwrite64', fd, bytes(data), data.length, number(offset));
  lseek = (fd: number, offset: number | bigint, whence: number): Promise<Answer> => this.#fd('lseek', fd, number(offset), whence);
  truncate = (at: Path, size: number | bigint): Promise<Answer> => this.call('truncate', path(at), number(size));
  ftruncate = (fd: number, size: number | bigint): Promise<Answer> => this.#fd('ftruncate', fd, number(size));
  fallocate = (fd: number, mode: number, offset: number, count: number | bigint): Promise<Answer> =>
    this.#fd('fallocate', fd, mode, offset, number(count));
  fsync = (fd: number): Promise<Answer> => this.#fd('fsync', fd);
  fdatasync = (fd: number): Promise<Answer> => this.#fd('fdatasync', fd);

  mkdir = (at: Path, mode = 0o777, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('mkdirat', dirfd, at, mode);
  mknod = (at: Path, mode: number, rdev = 0, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('mknodat', dirfd, at, mode, rdev);
  unlink = (at: Path, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('unlinkat', dirfd, at, 0);
  rmdir = (at: Path, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('unlinkat', dirfd, at, c.AT_REMOVEDIR);
  link = (from: Path, to: Path, flags = 0, fromFd = c.AT_FDCWD, toFd = c.AT_FDCWD): Promise<Answer> =>
    this.call('linkat', number(fromFd), path(from), number(toFd), path(to), number(flags));
  symlink = (target: Path, at: Path, dirfd = c.AT_FDCWD): Promise<Answer> => this.call('symlinkat', path(target), number(dirfd), path(at));
  readlink = (at: Path, room = 4096, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('readlinkat', dirfd, at, `r${room}`, room);
  rename = (from: Path, to: Path, flags = 0, fromFd = c.AT_FDCWD, toFd = c.AT_FDCWD): Promise<Answer> =>
    this.call('renameat2', number(fromFd), path(from), number(toFd), path(to), number(flags));

  chmod = (at: Path, mode: number, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('fchmodat', dirfd, at, mode);
  lchmod = (at: Path, mode: number, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('fchmodat2', dirfd, at, mode, c.AT_SYMLINK_NOFOLLOW);
  fchmod = (fd: number, mode: number): Promise<Answer> => this.#fd('fchmod', fd, mode);
  chown = (at: Path, uid: number, gid: number, flags = 0, dirfd = c.AT_FDCWD): Promise<Answer> =>
    this.#at('fchownat', dirfd, at, uid, gid, flags);
  fchown = (fd: number, uid: number, gid: number): Promise<Answer> => this.#fd('fchown', fd, uid, gid);
  /** Without times: both the present. */
  utimens = (at: Path, times?: readonly [Moment, Moment], flags = 0, dirfd = c.AT_FDCWD): Promise<Answer> =>
    this.#at('utimensat', dirfd, at, times === undefined ? 'n' : bytes(timespecs(times)), flags);
  access = (at: Path, mode: number, flags = 0, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('faccessat2', dirfd, at, mode, flags);
  statx = (at: Path, flags = 0, dirfd = c.AT_FDCWD): Promise<Answer> => this.#at('statx', dirfd, at, flags, STATX_BASIC, `o${STAT_BYTES}`);
  statfs = (at: Path): Promise<Answer> => this.call('statfs', path(at), 'o120');
  chdir = (at: Path): Promise<Answer> => this.call('chdir', path(at));
  umask = (mask: number): Promise<Answer> => this.call('umask', number(mask));
  getdents = (fd: number, room = 32_768): Promise<Answer> => this.#fd('getdents64', fd, `r${room}`, room);

  setxattr = (at: Path, name: Path, value: Uint8Array | string, flags = 0, call = 'setxattr'): Promise<Answer> =>
    this.call(call, path(at), path(name), bytes(value), number(value.length), number(flags));
  getxattr = (at: Path, name: Path, room = 65_536, call = 'getxattr'): Promise<Answer> =>
    this.call(call, path(at), path(name), `r${room}`, number(room));
  listxattr = (at: Path, room = 65_536, call = 'listxattr'): Promise<Answer> => this.call(call, path(at), `r${room}`, number(room));
  removexattr = (at: Path, name: Path, call = 'removexattr'): Promise<Answer> => this.call(call, path(at), path(name));

  flock = (fd: number, operation: number): Promise<Answer> => this.#fd('flock', fd, operation);
  lock = (fd: number, command: number, lock: ByteLock): Promise<Answer> =>
    this.#fd('fcntl', fd, command, `m${flockBytes(lock).toString('hex')}`);
  fcntl = (fd: number, command: number, value = 0): Promise<Answer> => this.#fd('fcntl', fd, command, value);
  ioctl = (fd: number, command: number, value: number): Promise<Answer> => this.#fd('ioctl', fd, command, value);
  dup = (fd: number): Promise<Answer> => this.#fd('dup', fd);

  copyRange = (from: number, fromOffset: number, to: number, toOffset: number, count: number | bigint, flags = 0): Promise<Answer> =>
    this.call(
      'copy_file_range',
      number(from),
      bytes(timespecs([[fromOffset, 0]]).subarray(0, 8)),
      number(to),
      bytes(timespecs([[toOffset, 0]]).subarray(0, 8)),
      number(count),
      number(flags),
    );

  mmap = (fd: number, length: number, protection: number, flags: number, offset = 0): Promise<Answer> =>
    this.call('mmap', 'i0', number(length), number(protection), number(flags), number(fd), number(offset));
  munmap = (address: number, length: number): Promise<Answer> => this.call('munmap', number(address), number(length));
  msync = (address: number, length: number, flags = c.MS_SYNC): Promise<Answer> =>
    this.call('msync', number(address), number(length), number(flags));
  peek = (address: number, count: number): Promise<Answer> => this.process.send(`peek ${address} ${count}`, `reading memory`);
  poke = (address: number, data: string): Promise<Answer> =>
    this.process.send(`poke ${address} ${Buffer.from(data, 'latin1').toString('hex')}`, `writing memory`);

  /** fork and execve; resolves with the child's pid. */
  spawn = (...argv: readonly string[]): Promise<Answer> =>
    this.process.send(`spawn ${argv.map((text) => `s${escaped(text)}`).join(' ')}`, `execve('${argv[0] ?? ''}')`);
  /** Bytes that differ from place to place and from seed to seed. */
  writePattern = (fd: number, count: number, seed: number): Promise<Answer> =>
    this.process.send(`write ${fd} ${count} ${seed}`, `write of ${count} bytes`);
  tree = (at: string): Promise<Answer> => this.process.send(`tree ${escaped(at)}`, `tree of ${at}`);
}
