/**
 * Extents put together into one blob. The blob is stored and held by a part row; then, in bounded steps, each extent that is still the same row is replaced
 * by its range of the blob; then the part goes, and with it the blob if nothing was the same any more. Neighbours in one file become one extent: what was
 * written in many small pieces is one piece from then on. What is moved is never protected less than before: a blob that lacks shards goes again. A crash at any point loses nothing and strands nothing: content and length of files never
 * change here.
 */
import type { Awaitable } from '../base/awaitable.js';
import type { Clock } from '../base/clock.js';
import type { BlobId } from '../base/ids.js';
import { CHANGE_STEP_ROWS } from '../base/limits.js';
import type { Row } from '../index/index-store.js';
import { encodeExtent } from '../index/schema/extent-row.js';
import { extentKey, packableKey, parseExtentKey } from '../index/schema/tables.js';
import type { BlobWriter } from './blob-writer.js';
import type { Change } from './change.js';
import type { Ledger } from './ledger.js';
import type { Nodes } from './nodes.js';
import { dropParts, putPart } from './parts.js';

/** One extent that goes into the pack. */
export interface Packed {
  readonly key: Buffer;
  readonly data: Buffer;
  readonly blobOffset: number;
  /** Is it still what it was? */
  readonly same: (change: Change) => Awaitable<boolean>;
  /** The blob that it is a range of until now; undefined: it is inline. */
  readonly from?: BlobId;
  /** With it the file leaves the queue of the packer. */
  readonly last?: boolean;
}

/** An extent as it was read from the index: to be packed as long as its row is the same. */
export function packedRow({ key, value }: Row, data: Buffer, blobOffset: number, from?: BlobId): Packed {
  const same = async (change: Change): Promise<boolean> => (await change.tx.get(key))?.equals(value) === true;
  return { key, data, blobOffset, same, ...(from !== undefined && { from }) };
}

export interface PackOptions {
  readonly settled?: () => Promise<void>;
  readonly mayLack?: boolean;
}

/** An extent of the blob, which grows while what follows in the blob follows in the file, too. */
interface Piece {
  readonly ino: number;
  readonly generation: number;
  readonly offset: number;
  readonly bytes: number;
  readonly blobOffset: number;
}

export interface PackStoreOptions {
  readonly ledger: Ledger;
  readonly writer: BlobWriter;
  readonly nodes: Nodes;
  readonly clock: Clock;
  readonly epoch: number;
  readonly newUpload: () => number;
  /** An extent of this inode that was found in the index is in a pack now. */
  readonly onPacked: (ino: number) => void;
}

export class PackStore {
  readonly #options: PackStoreOptions;

  constructor(options: PackStoreOptions) {
    this.#options = options;
  }

  /**
   * @param extents in order; their data lies in the blob as `blobOffset` says, without gaps
   * @param settled called when all are replaced, before the blob is let go that nothing refers to
   * @param mayLack even if the blob lacks shards
   * @returns false: it lacks shards, and all is as it was
   */
  async store(extents: readonly Packed[], { settled, mayLack = false }: PackOptions = {}): Promise<boolean> {
    const { ledger, writer, epoch, clock } = this.#options;
    const stored = await writer.gather(extents.map(({ data }) => data));
    if (!mayLack && stored.missing.length > 0) {
      await writer.abandon(stored);
      return false;
    }
    const { blob } = stored.location;
    const upload = this.#options.newUpload();
    await ledger.change(async (change) => {
      putPart(change, upload, epoch, 0, blob);
    });
    let end: Piece | undefined;
    for (let at = 0; at < extents.length; at += CHANGE_STEP_ROWS) {
      const step = extents.slice(at, at + CHANGE_STEP_ROWS);
      const before = end;
      end = (await ledger.change((change) => this.#replace(change, blob, step, before))).value;
      await clock.yield();
    }
    await settled?.();
    await ledger.change((change) => dropParts(change, upload));
    return true;
  }

  /** One step. @param before the piece that the step before ended with @returns the one that this step ends with */
  async #replace(change: Change, blob: BlobId, step: readonly Packed[], before: Piece | undefined): Promise<Piece | undefined> {
    // Somebody may have written over a part of it since.
    let piece = before !== undefined && (await change.tx.get(keyOf(before)))?.equals(valueOf(before, blob)) === true ? before : undefined;
    for (const { key, data, blobOffset, same, from, last } of step) {
      const still = same(change);
      // At once for files that are packed from memory, of which there are many.
      if (!(typeof still === 'boolean' ? still : await still)) continue;
      const { ino, generation, offset } = parseExtentKey(key);
      if (piece?.ino === ino && piece.generation === generation && follows(piece, offset, blobOffset)) {
        change.tx.delete(key);
        piece = { ...piece, bytes: piece.bytes + data.length };
      } else {
        if (piece !== undefined) change.tx.put(keyOf(piece), valueOf(piece, blob));
        change.addReferences(blob, 1);
        piece = { ino, generation, offset, bytes: data.length, blobOffset };
      }
      if (last === true) change.tx.delete(packableKey(ino));
      if (from !== undefined) change.addReferences(from, -1);
      change.afterwards(() => {
        const node = this.#options.nodes.get(ino);
        if (node !== undefined) node.contentVersion++;
        if (last === undefined) this.#options.onPacked(ino);
      });
    }
    if (piece !== undefined) change.tx.put(keyOf(piece), valueOf(piece, blob));
    return piece;
  }
}

function keyOf({ ino, generation, offset }: Piece): Buffer {
  return extentKey(ino, generation, offset);
}

function valueOf({ offset, bytes, blobOffset }: Piece, blob: BlobId): Buffer {
  return encodeExtent({ kind: 'blob', offset, bytes, blob, blobOffset });
}

function follows(piece: Piece, offset: number, blobOffset: number): boolean {
  return piece.offset + piece.bytes === offset && piece.blobOffset + piece.bytes === blobOffset;
}
