/**
 * Extended attributes: one row each. Most inodes have none, and a bit in the inode says so, since the kernel asks for some before every first write. What those of an
 * inode take together has a bound, and is counted once while the inode is in use: or each new one would have all others read.
 */
import { LRUCache } from 'lru-cache';
import { when, type Awaitable } from '../base/awaitable.js';
import type { Clock } from '../base/clock.js';
import {
  NAME_BYTES_MAX,
  XATTR_LIST_BYTES_MAX,
  XATTR_ROW_BYTES,
  XATTR_TOTALS_MAX,
  XATTR_VALUE_BYTES_MAX,
  XATTRS_BYTES_MAX,
} from '../base/limits.js';
import { decodeBytes, encodeBytes } from '../index/schema/dirent-row.js';
import { changedInode, INODE_HAS_XATTRS, type InodeRow } from '../index/schema/inode-row.js';
import { parseXattrKey, xattrKey, xattrRange } from '../index/schema/tables.js';
import { pages } from '../index/pages.js';
import { ACCESS_ACL, DEFAULT_ACL, decodeAcl, encodeAcl, isAcl, isPlain, modeWithAcl } from './acl.js';
import type { Change } from './change.js';
import { refuse } from './directories.js';
import type { Ledger } from './ledger.js';
import { fileType, isDirectory, S_IFLNK, XATTR_CREATE, XATTR_REPLACE } from './modes.js';
import type { Ino } from './namespace.js';
import type { Nodes } from './nodes.js';

const CLASSES = ['user.', 'trusted.', 'security.'];

function checkXattr(name: string): void {
  if (isAcl(name)) return;
  if (name.length > NAME_BYTES_MAX) refuse('ERANGE', `attribute name of ${name.length} bytes`);
  const prefix = CLASSES.find((start) => name.startsWith(start));
  if (prefix === undefined || name.includes('\0')) refuse('ENOTSUP', `attributes of this kind are not kept`);
  if (name === prefix) refuse('EINVAL', 'a kind is not a name');
}

/** What an inode's attributes take. */
interface Total {
  /** As listxattr(2) returns their names: each with a NUL. */
  readonly listBytes: number;
  readonly bytes: number;
}

function grown({ listBytes, bytes }: Total, name: string, valueBytes: number, oldBytes: number | undefined): Total {
  if (oldBytes !== undefined) return { listBytes, bytes: bytes + valueBytes - oldBytes };
  return { listBytes: listBytes + name.length + 1, bytes: bytes + name.length + valueBytes + XATTR_ROW_BYTES };
}

async function count({ tx }: Change, ino: Ino): Promise<Total> {
  let total: Total = { listBytes: 0, bytes: 0 };
  for await (const rows of pages(tx, xattrRange(ino)))
    for (const { key, value } of rows) total = grown(total, parseXattrKey(key).name, value.length, undefined);
  return total;
}

export class Xattrs {
  readonly #ledger: Ledger;
  readonly #nodes: Nodes;
  readonly #clock: Clock;
  readonly #totals = new LRUCache<Ino, Total>({ max: XATTR_TOTALS_MAX });

  constructor(ledger: Ledger, nodes: Nodes, clock: Clock) {
    this.#ledger = ledger;
    this.#nodes = nodes;
    this.#clock = clock;
  }

  /** @throws OperatingError ENOTSUP, ESTALE */
  get(ino: Ino, name: string): Awaitable<Buffer | undefined> {
    checkXattr(name);
    return when(this.#nodes.row(ino), ({ flags }) => ((flags & INODE_HAS_XATTRS) === 0 ? undefined : this.#read(ino, name)));
  }

  #read(ino: Ino, name: string): Awaitable<Buffer | undefined> {
    return when(this.#ledger.index.get(xattrKey(ino, name)), (value) => {
      this.#checkThere(ino);
      return value === undefined ? undefined : Buffer.from(decodeBytes(value, 'xattr'));
    });
  }

  /** @throws OperatingError ESTALE */
  list(ino: Ino): Awaitable<string[]> {
    return when(this.#nodes.row(ino), ({ flags }) => ((flags & INODE_HAS_XATTRS) === 0 ? [] : this.#names(ino)));
  }

  async #names(ino: Ino): Promise<string[]> {
    const found: string[] = [];
    for await (const rows of pages(this.#ledger.index, xattrRange(ino))) for (const { key } of rows) found.push(parseXattrKey(key).name);
    this.#checkThere(ino);
    return found;
  }

  /** The attributes of an inode go with it, whoever still knows it. @throws OperatingError ESTALE */
  #checkThere(ino: Ino): void {
    if (this.#nodes.ghost(ino) !== undefined) refuse('ESTALE', `inode ${ino} is gone`);
  }

  /** @throws OperatingError EEXIST, ENODATA, E2BIG, ENOSPC, ENOTSUP */
  set(ino: Ino, name: string, value: Uint8Array, flags: number): Awaitable<void> {
    checkXattr(name);
    if (value.length > XATTR_VALUE_BYTES_MAX) refuse('E2BIG', `attribute of ${value.length} bytes`);
    if (isAcl(name)) return this.#setAcl(ino, name, value);
    const encoded = encodeBytes(value);
    return this.#change(ino, (change, row) =>
      when(change.tx.get(xattrKey(ino, name)), (old) => {
        if (old !== undefined && (flags & XATTR_CREATE) !== 0) refuse('EEXIST', 'the attribute exists');
        if (old === undefined && (flags & XATTR_REPLACE) !== 0) refuse('ENODATA', 'no such attribute');
        return when(this.#total(change, row), (before) => {
          const after = grown(before, name, encoded.length, old?.length);
          if (after.listBytes > Math.max(before.listBytes, XATTR_LIST_BYTES_MAX) || after.bytes > Math.max(before.bytes, XATTRS_BYTES_MAX))
            refuse('ENOSPC', 'too many attributes');
          change.afterwards(() => {
            this.#totals.set(ino, after);
          });
          change.tx.put(xattrKey(ino, name), encoded);
          return { flags: row.flags | INODE_HAS_XATTRS };
        });
      }),
    );
  }

  /** What the attributes of an inode take, before a change. */
  #total(change: Change, { ino, flags }: InodeRow): Awaitable<Total> {
    if ((flags & INODE_HAS_XATTRS) === 0) return { listBytes: 0, bytes: 0 };
    return this.#totals.get(ino) ?? count(change, ino);
  }

  /** An access ACL that says what a mode can say becomes the mode alone. @throws OperatingError EINVAL, EACCES, ENOTSUP */
  #setAcl(ino: Ino, name: string, value: Uint8Array): Awaitable<void> {
    const acl = decodeAcl(value);
    return this.#change(ino, (change, row) => {
      if (fileType(row.mode) === S_IFLNK) refuse('ENOTSUP', 'a symbolic link has no ACL');
      if (name === DEFAULT_ACL && !isDirectory(row.mode)) refuse('EACCES', 'only a directory has a default ACL');
      if (name === DEFAULT_ACL || !isPlain(acl)) change.tx.put(xattrKey(ino, name), encodeBytes(encodeAcl(acl)));
      else change.tx.delete(xattrKey(ino, name));
      const mode = name === ACCESS_ACL ? modeWithAcl(row.mode, acl) : row.mode;
      return when(this.#left(change, row), (flags) => ({ flags, mode }));
    });
  }

  /** @throws OperatingError ENODATA, ENOTSUP */
  remove(ino: Ino, name: string): Awaitable<void> {
    checkXattr(name);
    return this.#change(ino, (change, row) =>
      when(change.tx.get(xattrKey(ino, name)), (old) => {
        if (old === undefined) refuse('ENODATA', 'no such attribute');
        change.tx.delete(xattrKey(ino, name));
        return when(this.#left(change, row), (flags) => ({ flags }));
      }),
    );
  }

  /** After one went, or an ACL changed: the flags, which say whether any are left. They are counted anew when the next one comes. */
  #left(change: Change, { ino, flags }: InodeRow): Awaitable<number> {
    change.afterwards(() => {
      this.#totals.delete(ino);
    });
    return when(change.tx.scan(xattrRange(ino, 1)), (left) => (left.length > 0 ? flags | INODE_HAS_XATTRS : flags & ~INODE_HAS_XATTRS));
  }

  /** One change of an inode's attributes; `make` returns what changes in its row besides. */
  #change(ino: Ino, make: (change: Change, row: InodeRow) => Awaitable<Partial<InodeRow>>): Awaitable<void> {
    const ctime = this.#clock.now();
    const changed = this.#ledger.change((change) =>
      when(change.inode(ino), (row = refuse('ESTALE', `inode ${ino} is gone`)) =>
        when(make(change, row), (more) => {
          change.putInode(changedInode(row, { ...more, ctime }));
        }),
      ),
    );
    return when(changed, () => undefined);
  }
}
