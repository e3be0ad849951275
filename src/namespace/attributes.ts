/** setattr: length to the upload, times to the upload while there is one, everything else to the row. */
import { LRUCache } from 'lru-cache';
import { undoing, when, type Awaitable } from '../base/awaitable.js';
import type { Time } from '../base/clock.js';
import { FILE_BYTES_MAX, FILE_CLOCK_AHEAD_SECONDS, TOLD_CTIMES_MAX } from '../base/limits.js';
import { decodeBytes, encodeBytes } from '../index/schema/dirent-row.js';
import { changedInode, INODE_HAS_XATTRS, type InodeRow } from '../index/schema/inode-row.js';
import { xattrKey } from '../index/schema/tables.js';
import { later, sameTime, type FileClock } from './file-clock.js';
import { ACCESS_ACL, aclWithMode, decodeAcl, encodeAcl } from './acl.js';
import type { Change } from './change.js';
import { refuse } from './directories.js';
import type { Files } from './files.js';
import type { Ledger } from './ledger.js';
import { PERMISSION_BITS, privilegesLost } from './modes.js';
import type { AttributeChange, Attributes, Caller, Ino } from './namespace.js';
import { dateLayer, type GivenTimes } from './node.js';
import type { Nodes } from './nodes.js';
import type { Uploads } from './uploads.js';

/** A change with its dates. */
interface Dated extends Pick<AttributeChange, 'size' | 'mode' | 'uid' | 'gid'> {
  /** Undefined: those that a change of the length or the owner brings along. */
  readonly times: GivenTimes | undefined;
  readonly ctime: Time;
  /** Mode, user or group change. */
  readonly owned: boolean;
}

/** Of all that a change of attributes can change. The ACL goes with the mode. */
function same(a: InodeRow, b: InodeRow): boolean {
  const owner = a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
  return owner && sameTime(a.ctime, b.ctime) && sameTime(a.mtime, b.mtime) && sameTime(a.atime, b.atime);
}

export class AttributeChanges {
  readonly #ledger: Ledger;
  readonly #nodes: Nodes;
  readonly #files: Files;
  readonly #uploads: Uploads;
  readonly #clock: FileClock;
  readonly #told = new LRUCache<Ino, Time>({ max: TOLD_CTIMES_MAX });

  constructor(ledger: Ledger, nodes: Nodes, files: Files, uploads: Uploads, clock: FileClock) {
    this.#ledger = ledger;
    this.#nodes = nodes;
    this.#files = files;
    this.#uploads = uploads;
    this.#clock = clock;
  }

  set(ino: Ino, wanted: AttributeChange, caller: Caller): Awaitable<Attributes> {
    const { size, mode, uid, gid } = wanted;
    if (size !== undefined) {
      if (!Number.isSafeInteger(size) || size < 0) refuse('EINVAL', `length ${size}`);
      if (size > FILE_BYTES_MAX) refuse('EFBIG', `length ${size}`);
    }
    const now = this.#clock.now();
    const atime = wanted.atime === 'now' ? now : wanted.atime;
    const mtime = wanted.mtime === 'now' ? now : wanted.mtime;
    const { ctime } = wanted;
    const owned = mode !== undefined || uid !== undefined || gid !== undefined;
    if (ctime !== undefined) {
      if (!owned && size === undefined && atime === undefined && this.#isOvertaken(ino, ctime)) return this.#files.attributes(ino);
      this.#clock.told(ctime);
    }
    const given = atime !== undefined || mtime !== undefined || ctime !== undefined;
    const times = given ? { atime, mtime, ctime: ctime ?? now, told: ctime !== undefined } : undefined;
    // The kernel sends the times of each file that is unlinked, once more; a refusal would be an error of the next syncfs(2).
    if (!owned && size === undefined && this.#nodes.ghost(ino) !== undefined) return this.#files.attributes(ino);
    if (ctime !== undefined) this.#told.set(ino, ctime);
    const dated: Dated = { size, mode, uid, gid, times, ctime: ctime ?? now, owned };
    const changed = undoing(
      () => this.#change(ino, dated, caller),
      () => {
        // The kernel goes on with the times from before.
        this.#told.delete(ino);
      },
    );
    return when(changed, () => this.#files.attributes(ino));
  }

  #change(ino: Ino, dated: Dated, caller: Caller): Awaitable<void> {
    const { size, times } = dated;
    const truncated = size === undefined ? undefined : this.#files.truncate(ino, size, caller, times);
    return when(truncated, () => {
      const folded = times === undefined || size !== undefined || this.#fold(ino, times);
      return dated.owned || !folded ? this.#changeRow(ino, dated, folded ? undefined : times, caller) : undefined;
    });
  }

  #changeRow(ino: Ino, { mode, uid, gid, ctime }: Dated, times: GivenTimes | undefined, caller: Caller): Awaitable<void> {
    const changed = this.#ledger.change((change) =>
      when(change.inode(ino), (committed) => {
        const row = committed ?? this.#nodes.ghost(ino) ?? refuse('ESTALE', `inode ${ino} is gone`);
        let newMode = mode === undefined ? row.mode : (row.mode & ~PERMISSION_BITS) | (mode & PERMISSION_BITS);
        if (mode === undefined && (uid !== undefined || gid !== undefined)) newMode &= ~privilegesLost(row, caller);
        const now = changedInode(row, { atime: times?.atime, mtime: times?.mtime, mode: newMode, uid, gid, ctime });
        if (committed === undefined) {
          this.#nodes.changeGhost(now);
          return;
        }
        // The kernel tells the times of what was renamed or linked, mostly those that we dated it with; rsync and tar set the mode and the owner that are there.
        if (same(now, committed)) return;
        return when(mode === undefined ? undefined : this.#changeAcl(change, row, newMode), () => {
          change.putInode(now);
        });
      }),
    );
    return when(changed, () => undefined);
  }

  /**
   * The kernel's flusher reads the times of a file without its lock: what it sends may come after a truncate(2) that was made meanwhile, and was dated later. The
   * kernel goes on with the later times, and tells them nobody again. (A clock that was set back is another matter.)
   */
  #isOvertaken(ino: Ino, ctime: Time): boolean {
    const told = this.#told.get(ino);
    return told !== undefined && later(ctime, told) === told && told.seconds - ctime.seconds <= FILE_CLOCK_AHEAD_SECONDS;
  }

  /** chmod changes the ACL along with the mode. */
  #changeAcl(change: Change, row: InodeRow, mode: number): Awaitable<void> {
    if ((row.flags & INODE_HAS_XATTRS) === 0) return;
    const key = xattrKey(row.ino, ACCESS_ACL);
    return when(change.tx.get(key), (value) => {
      if (value !== undefined) change.tx.put(key, encodeBytes(encodeAcl(aclWithMode(decodeAcl(decodeBytes(value, 'xattr')), mode))));
    });
  }

  /** Lets the upload carry the times, where there is one: the kernel sends them between the last write and the flush. */
  #fold(ino: Ino, times: GivenTimes): boolean {
    const node = this.#nodes.get(ino);
    if (node?.top === undefined) return false;
    dateLayer(node, this.#uploads.open(node), times);
    return true;
  }
}
