/** Extended attributes: one row each. Most inodes have none, and a bit in the inode says so, since the kernel asks for some before every first write. */
import { when, type Awaitable } from '../base/awaitable.js';
import type { Clock } from '../base/clock.js';
import { CHANGE_STEP_ROWS, NAME_BYTES_MAX, XATTR_LIST_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../base/limits.js';
import { decodeBytes, encodeBytes } from '../index/schema/dirent-row.js';
import { changedInode, INODE_HAS_XATTRS, type InodeRow } from '../index/schema/inode-row.js';
import { parseXattrKey, xattrKey, xattrRange } from '../index/schema/tables.js';
import { pages } from '../index/pages.js';
import type { Range, Row } from '../index/index-store.js';
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

async function names(ino: Ino, scan: (range: Range) => Awaitable<Row[]>): Promise<string[]> {
  const found: string[] = [];
  for await (const rows of pages({ scan }, xattrRange(ino, CHANGE_STEP_ROWS)))
    found.push(...rows.map(({ key }) => parseXattrKey(key).name));
  return found;
}

export class Xattrs {
  readonly #ledger: Ledger;
  readonly #nodes: Nodes;
  readonly #clock: Clock;

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

  async #read(ino: Ino, name: string): Promise<Buffer | undefined> {
    const value = await this.#ledger.index.get(xattrKey(ino, name));
    this.#checkThere(ino);
    return value === undefined ? undefined : Buffer.from(decodeBytes(value, 'xattr'));
  }

  /** @throws OperatingError ESTALE */
  async list(ino: Ino): Promise<string[]> {
    const row = await this.#nodes.row(ino);
    if ((row.flags & INODE_HAS_XATTRS) === 0) return [];
    const found = await names(ino, (range) => this.#ledger.index.scan(range));
    this.#checkThere(ino);
    return found;
  }

  /** The attributes of an inode go with it, whoever still knows it. @throws OperatingError ESTALE */
  #checkThere(ino: Ino): void {
    if (this.#nodes.ghost(ino) !== undefined) refuse('ESTALE', `inode ${ino} is gone`);
  }

  /** @throws OperatingError EEXIST, ENODATA, E2BIG, ENOSPC, ENOTSUP */
  async set(ino: Ino, name: string, value: Uint8Array, flags: number): Promise<void> {
    checkXattr(name);
    if (value.length > XATTR_VALUE_BYTES_MAX) refuse('E2BIG', `attribute of ${value.length} bytes`);
    if (isAcl(name)) {
      await this.#setAcl(ino, name, value);
      return;
    }
    await this.#change(ino, async (change) => {
      const old = await change.tx.get(xattrKey(ino, name));
      if (old !== undefined && (flags & XATTR_CREATE) !== 0) refuse('EEXIST', 'the attribute exists');
      if (old === undefined && (flags & XATTR_REPLACE) !== 0) refuse('ENODATA', 'no such attribute');
      if (old === undefined) {
        // As listxattr(2) returns them: each with a NUL.
        const others = await names(ino, (range) => change.tx.scan(range));
        const listBytes = others.reduce((sum, other) => sum + other.length + 1, name.length + 1);
        if (listBytes > XATTR_LIST_BYTES_MAX) refuse('ENOSPC', 'too many attributes');
      }
      change.tx.put(xattrKey(ino, name), encodeBytes(value));
      return {};
    });
  }

  /** An access ACL that says what a mode can say becomes the mode alone. @throws OperatingError EINVAL, EACCES, ENOTSUP */
  async #setAcl(ino: Ino, name: string, value: Uint8Array): Promise<void> {
    const acl = decodeAcl(value);
    await this.#change(ino, async (change, row) => {
      if (fileType(row.mode) === S_IFLNK) refuse('ENOTSUP', 'a symbolic link has no ACL');
      if (name === DEFAULT_ACL && !isDirectory(row.mode)) refuse('EACCES', 'only a directory has a default ACL');
      if (name === DEFAULT_ACL || !isPlain(acl)) change.tx.put(xattrKey(ino, name), encodeBytes(encodeAcl(acl)));
      else change.tx.delete(xattrKey(ino, name));
      return name === ACCESS_ACL ? { mode: modeWithAcl(row.mode, acl) } : {};
    });
  }

  /** @throws OperatingError ENODATA, ENOTSUP */
  async remove(ino: Ino, name: string): Promise<void> {
    checkXattr(name);
    await this.#change(ino, async (change) => {
      if ((await change.tx.get(xattrKey(ino, name))) === undefined) refuse('ENODATA', 'no such attribute');
      change.tx.delete(xattrKey(ino, name));
      return {};
    });
  }

  /** One change of an inode's attributes; `make` returns what changes in its row besides. */
  async #change(ino: Ino, make: (change: Change, row: InodeRow) => Promise<Partial<InodeRow>>): Promise<void> {
    const ctime = this.#clock.now();
    await this.#ledger.change(async (change) => {
      const row = (await change.inode(ino)) ?? refuse('ESTALE', `inode ${ino} is gone`);
      const changed = await make(change, row);
      const left = await change.tx.scan(xattrRange(ino, 1));
      const flags = left.length > 0 ? row.flags | INODE_HAS_XATTRS : row.flags & ~INODE_HAS_XATTRS;
      change.putInode(changedInode(row, { ...changed, flags, ctime }));
    });
  }
}
