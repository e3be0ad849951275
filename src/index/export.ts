/**
 * Dump of a view of the index as a stream, and the way back. What is in memory at one time is bounded by a chunk on either side. Used by `ostraka index
 * export` and `import`, by snapshots, and by recovery.
 */
import { DecodeError } from '../base/bytes.js';
import { checksum, CHECKSUM_BYTES, sameBytes } from '../base/checksums.js';
import type { Clock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { EXPORT_CHUNK_BYTES } from '../base/limits.js';
import {
  chain,
  decodeChunk,
  decodeHeader,
  decodePreamble,
  encodeChunk,
  encodeHeader,
  encodeTrailer,
  headerRestBytes,
  PREAMBLE_BYTES,
  type ExportAbout,
} from './export-format.js';
import type { IndexView, Row } from './index-store.js';
import { keyAfter } from './keys.js';

/** Rows of one read: the largest there are make some megabytes then. */
const SCAN_ROWS = 64;

/** Pieces of the stream, one after the other. @param pause called between chunks with the rows so far */
export async function* exportRows(
  view: Pick<IndexView, 'scan'>,
  about: ExportAbout,
  pause: (rows: number) => Promise<void>,
): AsyncGenerator<Buffer, void, undefined> {
  yield encodeHeader(about);
  let chained: Buffer = Buffer.alloc(CHECKSUM_BYTES);
  let [chunks, count] = [0, 0];
  let start: Buffer = Buffer.from([0]);
  for (let more = true; more;) {
    const rows: Row[] = [];
    for (let bytes = 0; more && bytes < EXPORT_CHUNK_BYTES;) {
      const some = await view.scan({ start, end: Buffer.from([0xff]), limit: SCAN_ROWS });
      more = some.length === SCAN_ROWS;
      start = keyAfter(some.at(-1)?.key ?? start);
      for (const row of some) bytes += row.key.length + row.value.length;
      rows.push(...some);
    }
    if (rows.length === 0) break;
    const chunk = encodeChunk(rows);
    chained = chain(chained, chunk.checksum);
    chunks++;
    count += rows.length;
    yield chunk.bytes;
    await pause(count);
  }
  yield encodeTrailer(chunks, count, chained);
}

/** Takes so many bytes at a time from a stream of pieces. */
class Pieces {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async take(bytes: number): Promise<Buffer> {
    while (this.#rest.length < bytes) {
      const next = await this.#source.next();
      if (next.done === true) throw new DecodeError('the export ends early');
      this.#rest = this.#rest.length === 0 ? Buffer.from(next.value) : Buffer.concat([this.#rest, next.value]);
    }
    const taken = this.#rest.subarray(0, bytes);
    this.#rest = this.#rest.subarray(bytes);
    return taken;
  }

  async end(): Promise<void> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return;
      this.#rest = Buffer.from(next.value);
    }
    throw new DecodeError('something follows the export');
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

/** An export being read. Rows are to be believed only after `rows` came to its end: the trailer says that all were there. */
export class ExportReader {
  private constructor(
    readonly about: ExportAbout,
    private readonly pieces: Pieces,
    private readonly what: string,
  ) {}

  /** @param what names the stream in errors. @throws OperatingError EBADMSG: damaged, cut off, or no export; what the source threw */
  static async open(source: AsyncIterable<Uint8Array>, what: string): Promise<ExportReader> {
    const pieces = new Pieces(source);
    try {
      const preamble = Buffer.from(await pieces.take(PREAMBLE_BYTES));
      const rest = await pieces.take(headerRestBytes(preamble));
      return new ExportReader(decodeHeader(preamble, rest), pieces, what);
    } catch (error) {
      await pieces.close();
      throw damaged(error, what);
    }
  }

  /** All rows, a chunk at a time, in the order of their keys; once. @throws as `open` */
  async *rows(): AsyncGenerator<readonly Row[], void, undefined> {
    const { pieces } = this;
    let chained: Buffer = Buffer.alloc(CHECKSUM_BYTES);
    let [chunks, count] = [0, 0];
    let last: Buffer | undefined;
    try {
      for (;;) {
        const bytes = Buffer.from(await pieces.take(PREAMBLE_BYTES));
        const sum = Buffer.from(await pieces.take(CHECKSUM_BYTES));
        const preamble = decodePreamble(bytes);
        if (preamble.kind === 'trailer') {
          if (!sameBytes(checksum(bytes, chained), sum)) throw new DecodeError('the end does not fit what came before');
          if (preamble.chunks !== chunks || preamble.rows !== count) throw new DecodeError(`${count} rows instead of ${preamble.rows}`);
          await pieces.end();
          return;
        }
        const stored = await pieces.take(preamble.storedBytes);
        if (!sameBytes(checksum(bytes, stored), sum)) throw new DecodeError('a chunk does not match its checksum');
        const rows = decodeChunk(preamble, stored, last);
        chained = chain(chained, sum);
        chunks++;
        count += rows.length;
        last = rows.at(-1)?.key ?? last;
        yield rows;
      }
    } catch (error) {
      throw damaged(error, this.what);
    } finally {
      await pieces.close();
    }
  }

  /** Reads to the end and believes nothing. Resolves with the number of rows. @throws as `open` */
  async verify(clock: Pick<Clock, 'yield'>): Promise<number> {
    let count = 0;
    for await (const rows of this.rows()) {
      count += rows.length;
      await clock.yield();
    }
    return count;
  }
}

function damaged(error: unknown, what: string): unknown {
  if (!(error instanceof DecodeError) && !(error instanceof SyntaxError)) return error;
  return new OperatingError('EBADMSG', `${what} cannot be used: ${error.message}`, {
    hint: 'Nothing was changed. Use another copy of it.',
  });
}
