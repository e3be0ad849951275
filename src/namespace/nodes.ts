/**
 * Which inodes are in use, and what becomes of those that lost their last name. The content of an unlinked file lives as long as somebody has it open (or holds it);
 * an orphan row remembers it over a crash. What the kernel merely still knows (a lookup, a working directory) keeps its attributes: a ghost.
 *
 *   linked ──last name gone, open──▶ orphan ──last close──▶ removed (ghost while looked up) ──forgotten──▶ nothing
 *      └──────last name gone, not open─────────────────────────▲
 */
import { when, type Awaitable } from '../base/awaitable.js';
import { OperatingError } from '../base/errors.js';
import { pages } from '../index/pages.js';
import { changedInode, INODE_HAS_XATTRS, type InodeRow } from '../index/schema/inode-row.js';
import { orphanKey, packableKey, symlinkKey, xattrRange } from '../index/schema/tables.js';
import { encodeNumber } from '../index/schema/work-rows.js';
import type { Change } from './change.js';
import { dropContent } from './content.js';
import type { Ledger } from './ledger.js';
import { fileType, S_IFLNK } from './modes.js';
import type { Ino } from './namespace.js';
import { Node } from './node.js';

export class Nodes {
  readonly #ledger: Ledger;
  readonly #epoch: number;
  readonly #nodes = new Map<Ino, Node>();
  readonly #lookups = new Map<Ino, number>();
  readonly #ghosts = new Map<Ino, InodeRow>();

  constructor(ledger: Ledger, epoch: number) {
    this.#ledger = ledger;
    this.#epoch = epoch;
    ledger.onInode = (ino, row) => {
      const node = this.#nodes.get(ino);
      if (node !== undefined && row !== undefined) node.row = row;
    };
  }

  get(ino: Ino): Node | undefined {
    return this.#nodes.get(ino);
  }

  all(): Node[] {
    return [...this.#nodes.values()];
  }

  /** Inodes in use, of whatever kind: nothing may be left when the kernel has let go of everything. */
  get size(): number {
    return this.#nodes.size + this.#ghosts.size;
  }

  /** The kernel got attributes of this inode, and will tell when it forgets them. */
  remember(ino: Ino): void {
    this.#lookups.set(ino, (this.#lookups.get(ino) ?? 0) + 1);
  }

  /** True: the kernel knows this inode no more. */
  forget(ino: Ino, count: number): boolean {
    const left = (this.#lookups.get(ino) ?? 0) - count;
    if (left > 0) this.#lookups.set(ino, left);
    else {
      this.#lookups.delete(ino);
      this.#ghosts.delete(ino);
    }
    return left <= 0;
  }

  /** What is left of an inode that is gone, where the kernel still knows it. */
  ghost(ino: Ino): InodeRow | undefined {
    return this.#ghosts.get(ino);
  }

  changeGhost(row: InodeRow): void {
    if (this.#ghosts.has(row.ino)) this.#ghosts.set(row.ino, row);
  }

  /** The row of an inode, or what is left of it. @throws OperatingError ESTALE */
  row(ino: Ino): Awaitable<InodeRow> {
    return this.#nodes.get(ino)?.row ?? this.#ledger.cachedInode(ino) ?? this.#ghosts.get(ino) ?? this.#readRow(ino);
  }

  #readRow(ino: Ino): Awaitable<InodeRow> {
    return when(this.#ledger.inode(ino), (found) => {
      const row = found ?? this.#ghosts.get(ino);
      if (row === undefined) throw new OperatingError('ESTALE', `inode ${ino} is gone`);
      return row;
    });
  }

  /**
   * Runs `use` with the inode's node in the same turn in which it was found, made if need be; no commit can remove it before `use` took hold of it.
   * @throws OperatingError ESTALE
   */
  attach<T>(ino: Ino, use: (node: Node) => T): Awaitable<T> {
    return this.#ledger.exclusively(() =>
      when(this.#nodes.get(ino) ?? this.#make(ino), (node) => {
        try {
          return use(node);
        } finally {
          this.letGo(node);
        }
      }),
    );
  }

  #make(ino: Ino): Awaitable<Node> {
    return when(this.#ledger.inode(ino), (row) => {
      if (row === undefined) throw new OperatingError('ESTALE', `inode ${ino} is gone`);
      return this.adopt(row);
    });
  }

  /** Keeps an inode as if it were open, until what this resolves to is called. @throws OperatingError ESTALE */
  async hold(ino: Ino): Promise<() => Promise<void>> {
    const node = await this.attach(ino, (found) => {
      found.holds++;
      return found;
    });
    return async () => {
      node.holds--;
      await this.settle(node);
    };
  }

  /** Forgets a node that nobody uses, if the inode has a name. */
  letGo(node: Node): void {
    if (node.idle && node.row.links > 0 && this.#nodes.get(node.ino) === node) this.#nodes.delete(node.ino);
  }

  /** The node of an inode that has none. Of one that is made: call it among the effects of its transaction. */
  adopt(row: InodeRow): Node {
    const node = new Node(row);
    this.#nodes.set(row.ino, node);
    return node;
  }

  /** The last name of an inode goes in this transaction. `row`: with no links left. */
  unlinked(change: Change, row: InodeRow): Awaitable<void> {
    if (!this.#nodes.has(row.ino)) return this.remove(change, row);
    change.putInode(row);
    change.tx.put(orphanKey(row.ino), encodeNumber(this.#epoch));
  }

  /** Takes out an orphan, with all that belongs to it. */
  removeOrphan(change: Change, row: InodeRow): Awaitable<void> {
    change.tx.delete(orphanKey(row.ino));
    return this.remove(change, row);
  }

  /** Takes an inode out, with all that belongs to it, that had a name up to now. */
  remove(change: Change, row: InodeRow): Awaitable<void> {
    const { ino } = row;
    if (row.allocatedBytes > 0) change.tx.delete(packableKey(ino));
    if (fileType(row.mode) === S_IFLNK) change.tx.delete(symlinkKey(ino));
    change.deleteInode(ino);
    change.count(-1, 0);
    change.afterwards(() => {
      if (this.#lookups.has(ino)) this.#ghosts.set(ino, changedInode(row, { links: 0 }));
    });
    return when(dropContent(change, row), () => ((row.flags & INODE_HAS_XATTRS) === 0 ? undefined : removeXattrs(change, ino)));
  }

  /** Lets go of a node that nobody uses. An unlinked file goes for good. */
  settle(node: Node): Promise<void> | undefined {
    if (!node.idle || this.#nodes.get(node.ino) !== node) return undefined;
    this.letGo(node);
    return node.row.links > 0 ? undefined : this.#removeUnlinked(node);
  }

  async #removeUnlinked(node: Node): Promise<void> {
    await this.#ledger.change(async (change) => {
      if (!node.idle || this.#nodes.get(node.ino) !== node) return;
      const row = await change.inode(node.ino);
      if (row !== undefined) await this.removeOrphan(change, row);
      change.afterwards(() => {
        this.#nodes.delete(node.ino);
      });
    });
  }
}

async function removeXattrs({ tx }: Change, ino: Ino): Promise<void> {
  for await (const rows of pages(tx, xattrRange(ino))) for (const { key } of rows) tx.delete(key);
}
