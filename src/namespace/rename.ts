/** renameat2(2): one transaction in which two entries, their directories, and what was replaced change together (I3). */
import { when, type Awaitable } from '../base/awaitable.js';
import type { Clock, Time } from '../base/clock.js';
import type { Committed } from '../index/index-store.js';
import type { DirentRow } from '../index/schema/dirent-row.js';
import { changedInode, type InodeRow } from '../index/schema/inode-row.js';
import type { Change } from './change.js';
import type { Directories } from './directories.js';
import { checkEmpty, checkName, directory, entry, grown, refuse, target } from './directories.js';
import type { Ledger } from './ledger.js';
import { isDirectory, S_IFDIR } from './modes.js';
import type { Ino, RenameFlags } from './namespace.js';
import type { Nodes } from './nodes.js';
import { moveToQuota } from './quota-moves.js';

/** One side of a rename. */
interface Side {
  readonly parent: Ino;
  readonly name: string;
}

/** What a rename is about. */
interface Entries {
  readonly source: DirentRow;
  /** What has the new name already. */
  readonly replaced: DirentRow | undefined;
  /** The inode of `source`. */
  readonly moved: InodeRow;
}

/** Directories deeper than this cannot have been made by path (PATH_MAX); the walk up is bounded all the same. */
const DEPTH_MAX = 65_536;

export class Renames {
  readonly #ledger: Ledger;
  readonly #nodes: Nodes;
  readonly #directories: Directories;
  readonly #clock: Clock;

  constructor(ledger: Ledger, nodes: Nodes, directories: Directories, clock: Clock) {
    this.#ledger = ledger;
    this.#nodes = nodes;
    this.#directories = directories;
    this.#clock = clock;
  }

  /** The directories that are in another directory now. @throws OperatingError ENOENT, EEXIST, EINVAL, ENOTDIR, EISDIR, ENOTEMPTY, EXDEV, EDQUOT. */
  rename(from: Side, to: Side, flags: RenameFlags): Awaitable<Committed<readonly Ino[]>> {
    checkName(from.name);
    checkName(to.name);
    if (flags.noReplace && flags.exchange) refuse('EINVAL', 'noreplace and exchange exclude each other');
    const now = this.#clock.now();
    return this.#ledger.change((change) =>
      when(this.#entries(change, from, to, flags), (entries) => {
        const { source, replaced, moved } = entries;
        // Two names of one file: nothing happens, and both stay.
        if (replaced?.ino === source.ino) return [];
        const outside = isDirectory(moved.mode) ? this.#checkOutside(change, source.ino, to.parent) : undefined;
        const other = flags.exchange ? replaced : undefined;
        const done = when(outside, () =>
          other === undefined ? this.#move(change, from, to, entries, now) : this.#exchange(change, from, to, entries, other, now),
        );
        return when(done, () => {
          if (from.parent === to.parent) return [];
          const both = other === undefined ? [source] : [source, other];
          return both.filter(({ type }) => type === S_IFDIR).map(({ ino }) => ino);
        });
      }),
    );
  }

  #entries(change: Change, from: Side, to: Side, flags: RenameFlags): Awaitable<Entries> {
    const parents = when(directory(change, from.parent), () => directory(change, to.parent));
    return when(parents, () =>
      when(entry(change, from.parent, from.name), (source) =>
        when(change.dirent(to.parent, to.name), (replaced) => {
          if (flags.noReplace && replaced !== undefined) refuse('EEXIST', 'the name exists');
          if (flags.exchange && replaced === undefined) refuse('ENOENT', 'nothing to exchange with');
          return when(target(change, source), (moved) => ({ source, replaced, moved }));
        }),
      ),
    );
  }

  /** A directory must not go below itself. @throws OperatingError EINVAL */
  async #checkOutside(change: Change, ino: Ino, under: Ino): Promise<void> {
    let at = under;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      if (at === ino) refuse('EINVAL', 'a directory cannot be moved into itself');
      const row = await directory(change, at);
      if (row.parent === at) return;
      at = row.parent;
    }
    refuse('EINVAL', 'directories too deep');
  }

  #move(change: Change, from: Side, to: Side, { source, replaced, moved }: Entries, now: Time): Awaitable<void> {
    const isDir = isDirectory(moved.mode);
    const directories = isDir ? 1 : 0;
    return when(replaced === undefined ? 0 : this.#replace(change, replaced, isDir, now), (replacedDirectories) => {
      change.deleteDirent(from.parent, from.name, source);
      const left = when(directory(change, from.parent), (below) => {
        change.putInode(grown(below, -1, -directories, now));
        // Read again: both sides may be the same directory.
        return directory(change, to.parent);
      });
      return when(left, (above) => {
        const entries = replaced === undefined ? 1 : 0;
        // The entry keeps the place of the one that it replaces.
        const cookie = replaced?.cookie ?? above.nextCookie;
        change.putInode(grown(above, entries, directories - replacedDirectories, now, above.nextCookie + entries));
        change.putDirent(to.parent, to.name, { ...source, cookie });
        return this.#arrived(change, moved.ino, to.parent, now);
      });
    });
  }

  /** What had the name goes. Returns how many directories that were. @throws OperatingError EISDIR, ENOTDIR, ENOTEMPTY */
  #replace(change: Change, replaced: DirentRow, byDirectory: boolean, now: Time): Awaitable<number> {
    return when(target(change, replaced), (old) => {
      if (!isDirectory(old.mode)) {
        if (byDirectory) refuse('ENOTDIR', 'a directory does not replace a file');
        return when(this.#directories.dropLink(change, old, now), () => 0);
      }
      if (!byDirectory) refuse('EISDIR', 'a directory is replaced by directories only');
      const empty = when(checkEmpty(change, old.ino), () => this.#nodes.remove(change, changedInode(old, { ctime: now })));
      return when(empty, () => 1);
    });
  }

  async #exchange(change: Change, from: Side, to: Side, { source, moved }: Entries, other: DirentRow, now: Time): Promise<void> {
    const back = await target(change, other);
    if (isDirectory(back.mode)) await this.#checkOutside(change, back.ino, from.parent);
    change.putDirent(to.parent, to.name, { ...source, cookie: other.cookie });
    change.putDirent(from.parent, from.name, { ...other, cookie: source.cookie });
    const directories = (isDirectory(moved.mode) ? 1 : 0) - (isDirectory(back.mode) ? 1 : 0);
    change.putInode(grown(await directory(change, from.parent), 0, -directories, now));
    change.putInode(grown(await directory(change, to.parent), 0, directories, now));
    await this.#arrived(change, moved.ino, to.parent, now);
    await this.#arrived(change, back.ino, from.parent, now);
  }

  /** An inode is in another directory now. Its row may be one of those directories itself. @throws OperatingError EXDEV */
  #arrived(change: Change, ino: Ino, parent: Ino, now: Time): Awaitable<void> {
    return when(change.inode(ino), (row) => {
      if (row === undefined) return;
      change.putInode(changedInode(row, { parent: isDirectory(row.mode) ? parent : 0, ctime: now }));
      if (!change.quotas.any) return;
      return when(change.inode(parent), (above) => moveToQuota(change, ino, change.quotas.effective(above?.quota ?? 0)));
    });
  }
}
