/**
 * Names: making, finding, removing and listing them. Each is one transaction (I3) in which the entry, the inode and its directory change together.
 * Permissions are the kernel's business (default_permissions); what the file system itself must refuse is refused here.
 */
import { repeat, when, type Awaitable } from '../base/awaitable.js';
import type { Clock, Time } from '../base/clock.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import { LINKS_MAX, NAME_BYTES_MAX, SYMLINK_BYTES_MAX } from '../base/limits.js';
import type { Committed, Row } from '../index/index-store.js';
import type { DirentRow } from '../index/schema/dirent-row.js';
import { decodeBytes, decodeOrder, encodeBytes } from '../index/schema/dirent-row.js';
import { changedInode, INODE_HAD_NAMES, INODE_HAS_XATTRS, type InodeRow } from '../index/schema/inode-row.js';
import { direntRange, orderRange, orphanKey, parseOrderKey, symlinkKey, xattrKey } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import { ACCESS_ACL, DEFAULT_ACL, decodeAcl, encodeAcl, inheritedAcl, isPlain, type Acl } from './acl.js';
import type { Change } from './change.js';
import type { Ledger } from './ledger.js';
import { fileType, isDirectory, S_IFDIR, S_IFLNK, S_ISGID } from './modes.js';
import type { Attributes, Caller, DirectoryEntry, Ino } from './namespace.js';
import { attributesOf } from './node.js';
import type { Nodes } from './nodes.js';

/** Entries fetched at once for a listing. */
const LIST_ROWS = 256;
/** Cookies of . and ..; those of entries come behind. */
const COOKIE_SELF = 1;
const COOKIE_PARENT = 2;
export const FIRST_COOKIE = 3;

export function refuse(code: ErrnoName, message: string): never {
  throw new OperatingError(code, message);
}

/** @throws OperatingError ENAMETOOLONG, EINVAL */
export function checkName(name: string): void {
  if (name.length > NAME_BYTES_MAX) refuse('ENAMETOOLONG', `name of ${name.length} bytes`);
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) refuse('EINVAL', 'not a name');
}

/** A directory's row. @throws OperatingError ENOENT, ENOTDIR */
export function directory(change: Change, ino: Ino): Awaitable<InodeRow> {
  return when(change.inode(ino), (row) => asDirectory(ino, row));
}

function asDirectory(ino: Ino, row: InodeRow | undefined): InodeRow {
  if (row === undefined || row.links === 0) refuse('ENOENT', `directory ${ino} is gone`);
  return checkType(row);
}

/** @throws OperatingError ENOTDIR */
function checkType(row: InodeRow): InodeRow {
  if (!isDirectory(row.mode)) refuse('ENOTDIR', `inode ${row.ino} is not a directory`);
  return row;
}

/** @throws OperatingError ENOENT */
export function entry(change: Change, parent: Ino, name: string): Awaitable<DirentRow> {
  return when(change.dirent(parent, name), (dirent) => dirent ?? refuse('ENOENT', 'no such entry'));
}

/** @throws OperatingError EEXIST */
function checkFree(change: Change, parent: Ino, name: string): Awaitable<void> {
  return when(change.dirent(parent, name), (dirent) => {
    if (dirent !== undefined) refuse('EEXIST', 'the name exists');
  });
}

/** An inode that an entry points to. */
export function target(change: Change, { ino }: DirentRow): Awaitable<InodeRow> {
  return when(change.inode(ino), (row) => row ?? refuse('EIO', `an entry points to inode ${ino}, which is not there`));
}

/** @throws OperatingError ENOTEMPTY */
export function checkEmpty(change: Change, ino: Ino): Awaitable<void> {
  return when(change.tx.scan(direntRange(ino, 1)), (entries) => {
    if (entries.length > 0) refuse('ENOTEMPTY', 'directory is not empty');
  });
}

export class Directories {
  readonly #ledger: Ledger;
  readonly #nodes: Nodes;
  readonly #clock: Clock;

  constructor(ledger: Ledger, nodes: Nodes, clock: Clock) {
    this.#ledger = ledger;
    this.#nodes = nodes;
    this.#clock = clock;
  }

  #attributes(row: InodeRow): Attributes {
    return attributesOf(row, this.#nodes.get(row.ino));
  }

  /** One change of the directory `parent`, at the present time. @throws OperatingError ENOENT, ENOTDIR, what `make` throws */
  #changeIn<T>(parent: Ino, make: (change: Change, above: InodeRow, now: Time) => Awaitable<T>): Awaitable<Committed<T>> {
    const now = this.#clock.now();
    return this.#ledger.change((change) => when(directory(change, parent), (above) => make(change, above, now)));
  }

  /** The inode of a name, remembered for the kernel; undefined: there is no such name. @throws OperatingError ENAMETOOLONG, ENOTDIR, ESTALE */
  lookup(parent: Ino, name: string): Awaitable<Attributes | undefined> {
    if (name.length > NAME_BYTES_MAX) refuse('ENAMETOOLONG', `name of ${name.length} bytes`);
    if (name === '.') return this.#found(parent);
    if (name === '..') return when(this.#nodes.row(parent), (row) => this.#found(row.parent));
    return when(this.#ledger.dirent(parent, name), (dirent) => (dirent === undefined ? this.#missed(parent) : this.#found(dirent.ino)));
  }

  #missed(parent: Ino): Awaitable<undefined> {
    return when(this.check(parent), () => undefined);
  }

  #found(ino: Ino): Awaitable<Attributes | undefined> {
    return when(this.#ledger.inode(ino), (row) => {
      // It went while it was looked up.
      if (row === undefined) return undefined;
      this.#nodes.remember(ino);
      return this.#attributes(row);
    });
  }

  /**
   * Makes an inode and its name. `more` writes what else belongs to it, `made` runs among the effects.
   * @throws OperatingError EEXIST, ENOENT, ENOTDIR, …
   */
  make(
    parent: Ino,
    name: string,
    mode: number,
    caller: Caller,
    options: { rdev?: number; size?: number; more?: (change: Change, row: InodeRow) => void; made?: (row: InodeRow) => void } = {},
  ): Awaitable<Committed<InodeRow>> {
    checkName(name);
    const isDir = isDirectory(mode);
    const make = (change: Change, above: InodeRow, defaultAcl: Acl | undefined, now: Time): InodeRow => {
      const { rdev = 0, size = 0 } = options;
      const row = changedInode(fresh(change, above, defaultAcl, mode, caller, now), { parent: isDir ? parent : 0, rdev, size });
      change.putInode(row);
      change.count(1, 0);
      change.putDirent(parent, name, { ino: row.ino, type: fileType(mode), cookie: above.nextCookie });
      change.putInode(grown(above, 1, isDir ? 1 : 0, now, above.nextCookie + 1));
      options.more?.(change, row);
      change.afterwards(() => {
        this.#nodes.remember(row.ino);
        options.made?.(row);
      });
      return row;
    };
    return this.#changeIn(parent, (change, above, now) =>
      when(checkFree(change, parent, name), () =>
        when(defaultAclOf(change, above, mode), (defaultAcl) => make(change, above, defaultAcl, now)),
      ),
    );
  }

  /** Makes a file without a name: an orphan from the start, as long as it is open. `made` runs among the effects. @throws OperatingError ENOENT, ENOTDIR */
  makeUnnamed(parent: Ino, mode: number, caller: Caller, session: number, made: (row: InodeRow) => void): Awaitable<Committed<InodeRow>> {
    return this.#changeIn(parent, (change, above, now) =>
      when(defaultAclOf(change, above, mode), (defaultAcl) => {
        const row = changedInode(fresh(change, above, defaultAcl, mode, caller, now), { links: 0 });
        change.putInode(row);
        change.count(1, 0);
        change.tx.put(orphanKey(row.ino), encodeNumber(session));
        change.afterwards(() => {
          this.#nodes.remember(row.ino);
          made(row);
        });
        return row;
      }),
    );
  }

  symlink(parent: Ino, name: string, target: Uint8Array, caller: Caller): Awaitable<Committed<InodeRow>> {
    if (target.length === 0) refuse('ENOENT', 'empty target');
    if (target.length > SYMLINK_BYTES_MAX) refuse('ENAMETOOLONG', `target of ${target.length} bytes`);
    return this.make(parent, name, S_IFLNK | 0o777, caller, {
      size: target.length,
      more: (change, row) => {
        change.tx.put(symlinkKey(row.ino), encodeBytes(target));
      },
    });
  }

  readlink(ino: Ino): Awaitable<Buffer> {
    return when(this.#ledger.index.get(symlinkKey(ino)), (value) => {
      // Replaced, perhaps, since it was looked up: then the kernel looks again.
      if (this.#nodes.ghost(ino) !== undefined) refuse('ESTALE', `inode ${ino} is gone`);
      if (value === undefined) refuse('EINVAL', `inode ${ino} is not a symbolic link`);
      return Buffer.from(decodeBytes(value, 'symlink'));
    });
  }

  link(ino: Ino, parent: Ino, name: string): Awaitable<Committed<InodeRow>> {
    checkName(name);
    return this.#changeIn(parent, (change, above, now) =>
      when(change.inode(ino), (row) => {
        // One that lost its last name gets no other (linkat(2)).
        if (row === undefined || (row.links === 0 && this.#nodes.get(ino)?.linkable !== true)) refuse('ENOENT', `inode ${ino} is gone`);
        if (isDirectory(row.mode)) refuse('EPERM', 'directories have one name only');
        if (row.links >= LINKS_MAX) refuse('EMLINK', `${row.links} links`);
        return when(checkFree(change, parent, name), () => this.#linked(change, row, above, name, now));
      }),
    );
  }

  #linked(change: Change, row: InodeRow, above: InodeRow, name: string, now: Time): InodeRow {
    const { ino } = row;
    const quota = change.quotas.effective(above.quota);
    // In which of both would it count? Programs such as mv copy then. One that has no name yet goes where its first one is.
    if (row.links > 0 && change.quotas.effective(row.quota) !== quota) refuse('EXDEV', 'a file has all its names in one quota');
    const flags = row.links > 0 ? row.flags | INODE_HAD_NAMES : row.flags;
    const linked = changedInode(row, { links: row.links + 1, ctime: now, quota, flags });
    change.putInode(linked);
    if (row.links === 0) change.tx.delete(orphanKey(ino));
    change.putDirent(above.ino, name, { ino, type: fileType(row.mode), cookie: above.nextCookie });
    change.putInode(grown(above, 1, 0, now, above.nextCookie + 1));
    change.afterwards(() => {
      const node = this.#nodes.get(ino);
      if (node !== undefined) node.linkable = false;
      this.#nodes.remember(ino);
    });
    return linked;
  }

  unlink(parent: Ino, name: string): Awaitable<Committed<void>> {
    return this.#changeIn(parent, (change, above, now) =>
      when(entry(change, parent, name), (dirent) => {
        if (dirent.type === S_IFDIR) refuse('EISDIR', 'is a directory');
        change.deleteDirent(parent, name, dirent);
        change.putInode(grown(above, -1, 0, now));
        return when(target(change, dirent), (row) => this.dropLink(change, row, now));
      }),
    );
  }

  rmdir(parent: Ino, name: string): Awaitable<Committed<void>> {
    return this.#changeIn(parent, (change, above, now) =>
      when(entry(change, parent, name), (dirent) => {
        if (dirent.type !== S_IFDIR) refuse('ENOTDIR', 'not a directory');
        return when(checkEmpty(change, dirent.ino), () => {
          change.deleteDirent(parent, name, dirent);
          change.putInode(grown(above, -1, -1, now));
          return when(target(change, dirent), (row) => this.#nodes.remove(change, changedInode(row, { ctime: now })));
        });
      }),
    );
  }

  /** One name of a file that is no directory goes. */
  dropLink(change: Change, row: InodeRow, now: Time): Awaitable<void> {
    const left = changedInode(row, { links: row.links - 1, ctime: now });
    if (left.links === 0) return this.#nodes.unlinked(change, left);
    change.putInode(changedInode(left, { flags: left.flags | INODE_HAD_NAMES }));
  }

  /** The row of an inode that is a directory. @throws OperatingError ESTALE, ENOTDIR */
  check(ino: Ino): Awaitable<InodeRow> {
    return when(this.#nodes.row(ino), checkType);
  }

  /** Entries behind `offset` as long as there is room for them. */
  list(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Awaitable<void> {
    return when(this.check(ino), ({ parent }) => {
      const dots: [number, string, Ino][] = [
        [COOKIE_SELF, '.', ino],
        [COOKIE_PARENT, '..', parent],
      ];
      for (const [cookie, name, dotIno] of dots) {
        if (offset >= cookie) continue;
        if (!room({ ino: dotIno, name, type: S_IFDIR, nextOffset: cookie, attributes: undefined })) return;
      }
      return this.#listBehind(ino, Math.max(offset, COOKIE_PARENT), plus, room);
    });
  }

  #listBehind(ino: Ino, offset: number, plus: boolean, room: (entry: DirectoryEntry) => boolean): Awaitable<void> {
    let after = offset;
    let rows: readonly Row[] = [];
    let at = 0;
    let more = true;
    return repeat(() => {
      const row = rows[at++];
      if (row === undefined)
        return (
          more &&
          when(this.#ledger.index.scan(orderRange(ino, after, LIST_ROWS)), (found) => {
            rows = found;
            at = 0;
            more = found.length === LIST_ROWS;
            return true;
          })
        );
      after = parseOrderKey(row.key).cookie;
      const listed = decodeOrder(row.value);
      if (!plus) return room({ ...listed, nextOffset: after, attributes: undefined });
      return when(this.#ledger.inode(listed.ino), (inode) => {
        // Removed since the scan.
        if (inode === undefined) return true;
        const taken = room({ ...listed, nextOffset: after, attributes: this.#attributes(inode) });
        if (taken) this.#nodes.remember(listed.ino);
        return taken;
      });
    });
  }
}

/** A directory after it got (or lost) entries and subdirectories. */
export function grown(row: InodeRow, entries: number, subdirectories: number, now: Time, nextCookie = row.nextCookie): InodeRow {
  return changedInode(row, { size: row.size + entries, links: row.links + subdirectories, mtime: now, ctime: now, nextCookie });
}

/** A new inode's row; owner, group, mode and ACLs as the caller and the directory `above` want them. */
function fresh(change: Change, above: InodeRow, defaultAcl: Acl | undefined, mode: number, caller: Caller, now: Time): InodeRow {
  const isDir = isDirectory(mode);
  const inherits = (above.mode & S_ISGID) !== 0;
  const ino = change.newIno();
  const made = fileType(mode) === S_IFLNK ? { mode, flags: 0 } : inherit(change, defaultAcl, ino, mode, caller);
  const contexts = caller.contexts ?? [];
  for (const { name, value } of contexts) change.tx.put(xattrKey(ino, name), encodeBytes(value));
  return {
    ino,
    mode: isDir && inherits ? made.mode | S_ISGID : made.mode,
    links: isDir ? 2 : 1,
    uid: caller.uid,
    gid: inherits ? above.gid : caller.gid,
    rdev: 0,
    size: 0,
    allocatedBytes: 0,
    generation: 0,
    flags: contexts.length > 0 ? made.flags | INODE_HAS_XATTRS : made.flags,
    parent: 0,
    nextCookie: isDir ? FIRST_COOKIE : 0,
    atime: now,
    mtime: now,
    ctime: now,
    btime: now,
    quota: change.quotas.effective(above.quota),
  };
}

/** What a directory gives to all that is made in it. Symbolic links have none. */
function defaultAclOf(change: Change, above: InodeRow, mode: number): Awaitable<Acl | undefined> {
  return (above.flags & INODE_HAS_XATTRS) === 0 || fileType(mode) === S_IFLNK ? undefined : readDefaultAcl(change, above.ino);
}

function readDefaultAcl(change: Change, ino: Ino): Awaitable<Acl | undefined> {
  return when(change.tx.get(xattrKey(ino, DEFAULT_ACL)), (value) =>
    value === undefined ? undefined : decodeAcl(decodeBytes(value, 'xattr')),
  );
}

/** Without a default ACL above, the umask decides. */
function inherit(
  change: Change,
  defaultAcl: Acl | undefined,
  ino: Ino,
  mode: number,
  { umask = 0 }: Caller,
): { mode: number; flags: number } {
  if (defaultAcl === undefined) return { mode: mode & ~(umask & 0o777), flags: 0 };
  const inherited = inheritedAcl(defaultAcl, mode);
  const rows = [
    ...(isPlain(inherited.acl) ? [] : [[ACCESS_ACL, inherited.acl] as const]),
    ...(isDirectory(mode) ? [[DEFAULT_ACL, defaultAcl] as const] : []),
  ];
  for (const [name, acl] of rows) change.tx.put(xattrKey(ino, name), encodeBytes(encodeAcl(acl)));
  return { mode: inherited.mode, flags: rows.length > 0 ? INODE_HAS_XATTRS : 0 };
}
