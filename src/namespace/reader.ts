/**
 * Reads: the committed extents, with what the file's layers change over them; holes are zeros. Every blob of a plan is pinned in the same turn in
 * which the plan was found valid, so the collector cannot free it before the bytes are here (I5). Bytes from blobs arrive verified (I6).
 */
import { lastly, when, type Awaitable } from '../base/awaitable.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import type { BlobId } from '../base/ids.js';
import { FUSE_IO_BYTES_MAX, KiB, READ_AHEAD_UNITS, READ_SEQUENTIAL_SLACK_BYTES } from '../base/limits.js';
import type { Extent } from '../index/schema/extent-row.js';
import type { Fetched, Fetcher, FetchHint } from './fetcher.js';
import { BlobGone } from './fetcher.js';
import type { Ledger } from './ledger.js';
import type { Manifests } from './manifest.js';
import type { Chunk } from './memory.js';
import type { Node, OpenFile } from './node.js';
import type { Pins } from './pins.js';
import { RangeMap } from './range-map.js';

export interface ReadResult {
  readonly pieces: readonly Uint8Array[];
  release(): void;
}

interface BlobPiece {
  readonly blob: BlobId;
  readonly blobOffset: number;
  readonly bytes: number;
  readonly extent: Extent | undefined;
}

type Piece = Uint8Array | BlobPiece;

/** What is to be read. */
interface Wish {
  readonly node: Node;
  readonly offset: number;
  readonly bytes: number;
  readonly sequential: boolean;
  /** The reader goes on from where it was. */
  readonly onwards: boolean;
}

const EMPTY: ReadResult = { pieces: [], release: () => undefined };
const ZEROS = Buffer.alloc(FUSE_IO_BYTES_MAX);
/** Changes that a read may run into before it asks them to wait. */
const OPTIMISTIC_TRIES = 4;
const TRIES_MAX = 64;
/** The first read of a file is the start of a sequential one if it asks for this much. */
const SEQUENTIAL_START_BYTES = 64 * KiB;
/** After so many near each other a reader is taken to want what follows; in a small file, one that jumps about is near by chance. */
const ONWARDS_READS = 4;

export class Reader {
  readonly #ledger: Ledger;
  readonly #manifests: Manifests;
  readonly #fetcher: Fetcher;
  readonly #pins: Pins;

  constructor(ledger: Ledger, manifests: Manifests, fetcher: Fetcher, pins: Pins) {
    this.#ledger = ledger;
    this.#manifests = manifests;
    this.#fetcher = fetcher;
    this.#pins = pins;
  }

  /** @throws OperatingError EIO when fewer than k shards of something are good. */
  read(file: OpenFile, offset: number, bytes: number): Awaitable<ReadResult> {
    const { node } = file;
    const sequential = this.#noteAccess(file, offset, bytes);
    const onwards = sequential && (offset === 0 || file.nearReads > ONWARDS_READS);
    return this.#try({ node, offset, bytes, sequential, onwards }, 0);
  }

  #try(wish: Wish, tries: number): Awaitable<ReadResult> {
    if (tries === TRIES_MAX)
      throw new OperatingError('EIO', `inode ${wish.node.ino} points to data that the index does not know`, {
        hint: 'run a check of the pool',
      });
    const planned = tries < OPTIMISTIC_TRIES ? this.#plan(wish) : this.#ledger.exclusively(() => this.#plan(wish));
    return when(planned, (pieces) => {
      if (pieces === undefined) return this.#try(wish, tries + 1);
      const fetched = wish.sequential ? this.#fetchOnwards(pieces, wish) : this.#fetch(pieces, false);
      if (!(fetched instanceof Promise)) return fetched;
      return fetched.catch((error: unknown) => {
        if (!(error instanceof BlobGone)) throw error;
        return this.#try(wish, tries + 1);
      });
    });
  }

  #fetchOnwards(pieces: readonly Piece[], { node, offset, bytes }: Wish): Awaitable<ReadResult> {
    return lastly(
      () => this.#fetch(pieces, true),
      () => {
        this.#readAhead(node, offset + bytes);
      },
    );
  }

  #noteAccess(file: OpenFile, offset: number, bytes: number): boolean {
    const near = Math.abs(offset - file.expectedOffset) <= READ_SEQUENTIAL_SLACK_BYTES;
    const sequential = near && (file.nearReads > 0 || (offset === 0 && bytes >= SEQUENTIAL_START_BYTES));
    file.nearReads = near ? file.nearReads + 1 : 0;
    file.expectedOffset = near ? Math.max(file.expectedOffset, offset + bytes) : offset + bytes;
    return sequential;
  }

  /** Pieces of the range, blobs pinned; undefined when a commit came in between. */
  #plan(wish: Wish): Awaitable<Piece[] | undefined> {
    const { node, offset, bytes, onwards } = wish;
    const scannedEnd = baseEnd(node, offset + bytes);
    const version = node.contentVersion;
    const found = scannedEnd > offset ? this.#manifests.find(node, offset, scannedEnd, onwards) : [];
    return when(found, (base) =>
      base === undefined || node.contentVersion !== version ? undefined : this.#planOver(base, scannedEnd, wish),
    );
  }

  /** The same over these extents, which are those of the content up to `scannedEnd`. */
  #planOver(base: readonly Extent[], scannedEnd: number, { node, offset, bytes }: Wish): Piece[] | undefined {
    const end = Math.min(offset + bytes, node.size);
    if (baseEnd(node, end) > Math.max(scannedEnd, offset)) return undefined;
    if (end <= offset) return [];
    const plan = new RangeMap<Extent | Chunk>();
    const visible = baseEnd(node, end);
    for (const extent of base) {
      const start = Math.max(extent.offset, offset);
      const stop = Math.min(extent.offset + extent.bytes, visible);
      if (start < stop) plan.set(start, stop, extent);
    }
    const { committing, current } = node;
    if (committing !== undefined)
      for (const { start, end: stop, value } of committing.ranges.within(offset, Math.min(end, current?.cutOffset ?? Infinity)))
        plan.set(start, stop, value);
    if (current !== undefined) for (const { start, end: stop, value } of current.ranges.within(offset, end)) plan.set(start, stop, value);
    return this.#pieces(plan, offset, end);
  }

  #pieces(plan: RangeMap<Extent | Chunk>, offset: number, end: number): Piece[] {
    const pieces: Piece[] = [];
    let at = offset;
    for (const { start, end: stop, value } of plan.ranges) {
      zeros(pieces, start - at);
      pieces.push('kind' in value ? extentPiece(value, start, stop) : chunkPiece(value, start, stop));
      at = stop;
    }
    zeros(pieces, end - at);
    for (const piece of pieces) if (!(piece instanceof Uint8Array)) this.#pins.pin(piece.blob);
    return pieces;
  }

  /** Fetches what is in blobs and unpins them. */
  #fetch(pieces: readonly Piece[], sequential: boolean): Awaitable<ReadResult> {
    const [first] = pieces;
    if (first === undefined) return EMPTY;
    return pieces.length === 1 ? this.#fetchPiece(first, sequential) : this.#fetchPieces(pieces, sequential);
  }

  async #fetchPieces(pieces: readonly Piece[], sequential: boolean): Promise<ReadResult> {
    const results = await Promise.allSettled(pieces.map(async (piece) => this.#fetchPiece(piece, sequential)));
    const fetched: Fetched[] = [];
    let failure: Error | undefined;
    for (const result of results) {
      if (result.status === 'fulfilled') fetched.push(result.value);
      else failure ??= result.reason instanceof Error ? result.reason : asOperatingError(result.reason);
    }
    const release = (): void => {
      for (const one of fetched) one.release();
    };
    if (failure !== undefined) {
      release();
      throw failure;
    }
    return { pieces: fetched.flatMap((one) => one.pieces), release };
  }

  #fetchPiece(piece: Piece, sequential: boolean): Awaitable<Fetched> {
    if (piece instanceof Uint8Array) return { pieces: [piece], release: () => undefined };
    return lastly(
      () => this.#fetcher.fetch(piece.blob, piece.blobOffset, piece.bytes, hintOf(piece.extent, sequential)),
      () => {
        this.#pins.unpin(piece.blob);
      },
    );
  }

  /** Begins to fetch what a sequential reader wants next. */
  #readAhead(node: Node, offset: number): void {
    if (offset >= baseEnd(node, Infinity)) return;
    let units = 0;
    for (const extent of this.#manifests.known(node, offset)) {
      if (units >= READ_AHEAD_UNITS) return;
      const skip = Math.max(0, offset - extent.offset);
      units += extent.kind === 'blob' ? this.#fetcher.fetchAhead(extent, skip, READ_AHEAD_UNITS - units) : 1;
    }
  }
}

/** Where the committed content ends as far as it shows, `end` at most. */
function baseEnd(node: Node, end: number): number {
  return Math.min(end, node.row.size, node.committing?.cutOffset ?? Infinity, node.current?.cutOffset ?? Infinity);
}

function zeros(pieces: Piece[], bytes: number): void {
  for (let left = bytes; left > 0; left -= ZEROS.length) pieces.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
}

function extentPiece(extent: Extent, start: number, stop: number): Piece {
  const skip = start - extent.offset;
  return extent.kind === 'inline'
    ? extent.data.subarray(skip, skip + stop - start)
    : { blob: extent.blob, blobOffset: extent.blobOffset + skip, bytes: stop - start, extent };
}

function chunkPiece(chunk: Chunk, start: number, stop: number): Piece {
  const skip = start - chunk.base;
  // A copy: the memory may be written to, or given to another file, before the reply is out.
  if (chunk.buffer !== undefined) return Buffer.from(chunk.buffer.subarray(skip, skip + stop - start));
  if (chunk.stored === undefined) throw new OperatingError('EIO', 'what was written here is lost');
  return { blob: chunk.stored.location.blob, blobOffset: skip, bytes: stop - start, extent: undefined };
}

function hintOf(extent: Extent | undefined, sequential: boolean): FetchHint {
  if (extent?.kind !== 'blob') return { whole: undefined };
  return { whole: sequential ? { offset: extent.blobOffset, bytes: extent.bytes } : undefined, packed: extent.bytes };
}
