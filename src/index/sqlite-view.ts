/**
 * The working replica held still: a read transaction on a connection of its own, on the main thread, read in small steps, under the rows that were not in the
 * file yet. Made by the working replica alone, which gives it up when its write-ahead file grows too long because of it.
 */
import { OperatingError } from '../base/errors.js';
import type { LogPoint } from '../quorum/state-machine.js';
import type { Range, Row } from './index-store.js';
import { checkRange, type ReplicaView } from './readable-replica.js';
import { asIndexError } from './sqlite-error.js';
import { SqliteFile } from './sqlite-file.js';
import type { UnwrittenRows } from './unwritten-rows.js';

/** What lies over the file. */
export interface Above {
  /** Where the replica stands with it. */
  readonly point: LogPoint;
  /** Held still; later ones win. */
  readonly layers: readonly UnwrittenRows[];
}

export class SqliteView implements ReplicaView {
  readonly point: LogPoint;
  readonly #path: string;
  readonly #onClose: () => void;
  #layers: readonly UnwrittenRows[];
  #file: SqliteFile | undefined;

  /** @throws SQLite's errors. */
  constructor(path: string, { point, layers }: Above, onClose: () => void) {
    this.#path = path;
    this.point = point;
    this.#layers = layers;
    this.#onClose = onClose;
    this.#file = new SqliteFile(path, 'reading', false);
    try {
      this.#file.beginReading();
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#read((file) => {
      for (let layer = this.#layers.length - 1; layer >= 0; layer--) {
        const value = this.#layers[layer]?.get(key);
        if (value !== undefined) return value ?? undefined;
      }
      return file.get(key);
    });
  }

  scan(range: Range): Row[] {
    checkRange(range);
    return this.#read((file) => {
      const inFile = ({ start, end, limit, reverse }: Range): Row[] => file.scan(start, end, limit, reverse === true);
      const all = this.#layers.reduce(
        (below, layer) =>
          (asked: Range): Row[] =>
            layer.scan(asked, below),
        inFile,
      );
      return all(range);
    });
  }

  #read<T>(read: (file: SqliteFile) => T): T {
    if (this.#file === undefined)
      throw new OperatingError('EBUSY', 'too much was written to the pool while its index was read', {
        hint: 'Try again when less is written to it.',
      });
    try {
      return read(this.#file);
    } catch (error) {
      throw asIndexError(error, { path: this.#path });
    }
  }

  /** Later reads fail. */
  giveUp(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#layers = [];
  }

  close(): void {
    this.giveUp();
    this.#onClose();
  }
}
